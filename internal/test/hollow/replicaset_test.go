package hollow_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/test/archive"
	"github.com/muster-io/muster/internal/test/hollow"
)

// maxReplicaSetRatio is what a change of a ManifestWorkReplicaSet may take, in parts of what a bare client takes.
const maxReplicaSetRatio = 1.25

// BenchmarkReplicaSet is a ManifestWorkReplicaSet on CLUSTERS (1,000) hollow clusters, with works of 8 KiB: the time in which a change
// of one line is written, answered and counted in its status. The floor is a bare client that writes the same works and counts the
// same answers, while no hub runs.
func BenchmarkReplicaSet(tb *testing.B) {
	clusters := size(tb, "CLUSTERS", 1000)
	b := newBench(tb, clusters, archive.Retail)
	for _, add := range []func(*runtime.Scheme) error{clusterv1beta1.AddToScheme, workv1alpha1.AddToScheme} {
		must(tb, add(b.client.Scheme()))
	}
	must(b, b.clusters.CreateNamespaces(b.ctx))
	b.choose(clusters)
	line := func(i int) string { return fmt.Sprintf("line-%04d", i) }
	set := &workv1alpha1.ManifestWorkReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shop"}}
	set.Spec.PlacementRefs = []workv1alpha1.LocalPlacementReference{{Name: "all"}}
	set.Spec.ManifestWorkTemplate.Workload.Manifests = b.template(line(0))
	must(b, b.client.Create(b.ctx, set))
	b.startControllers("manifestworkreplicaset")
	defer b.inBackground(b.clusters.Answer)()
	b.waitForSet(set, clusters)

	var took []time.Duration
	for i := range rounds {
		b.profile("profile", fmt.Sprintf("replicaset-%d.pprof", i), 5)
		began := time.Now()
		must(b, b.client.Get(b.ctx, client.ObjectKeyFromObject(set), set))
		set.Spec.ManifestWorkTemplate.Workload.Manifests = b.template(line(i + 1))
		must(b, b.client.Update(b.ctx, set))
		b.waitForSet(set, clusters)
		took = append(took, time.Since(began))
	}
	running, peak, err := b.hub.Memory()
	must(b, err)
	b.stopHub()

	floor := b.bareRounds(line)
	ratio := float64(median(took)) / float64(median(floor))
	tb.ReportMetric(ratio, "x-bare-client")
	tb.ReportMetric(float64(mib(running)), "MiB")
	tb.ReportMetric(float64(mib(peak)), "peak-MiB")
	tb.ReportMetric(0, "ns/op")
	b.say("a ManifestWorkReplicaSet on %d clusters: a line is changed, answered and counted in %v, by a bare client in %v: ratio %.2f (at most %.2f); rounds %v and %v; the hub holds %d MiB, at most %d MiB",
		clusters, median(took).Round(time.Millisecond), median(floor).Round(time.Millisecond), ratio, maxReplicaSetRatio, took, floor, mib(running), mib(peak))
	if ratio > maxReplicaSetRatio {
		tb.Errorf("it takes %.2f times as long as a bare client", ratio)
	}
}

// choose lets placement retail/all choose all clusters, as a placement controller does.
func (b *bench) choose(clusters int) {
	b.Helper()
	must(b, client.IgnoreAlreadyExists(b.client.Create(b.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "retail"}})))
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "all"}}
	must(b, b.client.Create(b.ctx, p))
	for first := 0; first < clusters; first += clusterv1beta1.MaxClusterDecisions {
		page := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
			Namespace: "retail", Name: fmt.Sprintf("all-%d", first), Labels: map[string]string{clusterv1beta1.PlacementLabel: "all", clusterv1beta1.DecisionGroupIndexLabel: "0"},
		}}
		must(b, b.client.Create(b.ctx, page))
		for i := first; i < min(first+clusterv1beta1.MaxClusterDecisions, clusters); i++ {
			page.Status.Decisions = append(page.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: hollow.Name(i)})
		}
		must(b, b.client.Status().Update(b.ctx, page))
	}
	p.Status.NumberOfSelectedClusters = int32(clusters)
	must(b, b.client.Status().Update(b.ctx, p))
}

// template is a ConfigMap with a line, of the size of a work.
func (b *bench) template(line string) []workv1.Manifest {
	b.Helper()
	raw, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"namespace": "shop", "name": "shop"},
		"data": map[string]any{"line": line, "text": strings.Repeat("x", workBytes)},
	})
	must(b, err)
	return []workv1.Manifest{{RawExtension: runtime.RawExtension{Raw: raw}}}
}

// waitForSet waits until the status counts all clusters at the present template.
func (b *bench) waitForSet(set *workv1alpha1.ManifestWorkReplicaSet, clusters int) {
	b.Helper()
	b.wait(20*time.Millisecond, func() string {
		var now workv1alpha1.ManifestWorkReplicaSet
		if err := b.client.Get(b.ctx, client.ObjectKeyFromObject(set), &now); err != nil {
			return err.Error()
		}
		c := meta.FindStatusCondition(now.Status.Conditions, workv1alpha1.ManifestWorkReplicaSetConditionPlacementRolledOut)
		if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != set.Generation || now.Status.Summary.Updated != clusters {
			return fmt.Sprintf("the status is %+v", now.Status)
		}
		return ""
	})
}
