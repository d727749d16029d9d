package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// The size of the fleet of BenchmarkRepository.
const (
	benchClusters     = 1000
	benchApplications = 20
	benchDefinitions  = 200 // the applications and their placements among them
	benchReports      = 20
)

// BenchmarkRepository is what a repository costs the hub once it is delivered: a look at a remote with nothing new, a commit
// that changes one definition, and a report of one cluster about one application. CPU is that of this process, and so of everything that the hub does meanwhile.
func BenchmarkRepository(b *testing.B) {
	var archive strings.Builder
	archive.WriteString(tenant)
	for i := range benchApplications {
		name := fmt.Sprintf("app-%02d", i)
		archive.WriteString(placementFile(name, everyEdge) + applicationFile(name, name, "manifests/"+name, name, "") +
			configMapFile("manifests/"+name+"/config.yaml", name, "color", "red"))
	}
	for i := range benchDefinitions - 2*benchApplications - 3 {
		fmt.Fprintf(&archive, "-- tenants/role-%03d.yaml --\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n"+
			"metadata: {name: role-%03d, namespace: retail}\nrules: []\n", i, i)
	}
	f := newFleet(b, archive.String())
	r := &requests{}
	f.stop()
	f.wrap = r.wrap
	f.startHub()
	for i := range benchClusters {
		name := fmt.Sprintf("edge-%04d", i)
		f.create(&clusterv1.ManagedCluster{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"cluster.open-cluster-management.io/clusterset": "edge", "tier": "edge"}},
			Spec:       clusterv1.ManagedClusterSpec{HubAcceptsClient: true, LeaseDurationSeconds: 3600},
		})
		f.available(name, true)
	}
	f.deliver()
	f.push("")
	for f.countWorks() < benchApplications*benchClusters {
		time.Sleep(time.Second)
	}
	expectQuiet(f, r)
	for b.Loop() {
		const looks = 5
		asked, cpu, from := r.count(), processTime(b), polls(b)
		for polls(b) < from+looks {
			time.Sleep(200 * time.Millisecond) // asking costs too
		}
		b.ReportMetric(float64(r.count()-asked)/looks, "requests/look")
		b.ReportMetric(float64((processTime(b)-cpu).Milliseconds())/looks, "cpu-ms/look")

		asked, cpu = r.count(), processTime(b)
		r.drain()
		f.push(placementFile("app-00", `{numberOfClusters: 1000, predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge}}}}]}`))
		expectQuiet(f, r)
		b.ReportMetric(float64(len(r.drain())), "definition-requests/commit")
		b.ReportMetric(float64(r.count()-asked), "requests/commit")
		b.ReportMetric(float64((processTime(b) - cpu).Milliseconds()), "cpu-ms/commit")
		f.push(placementFile("app-00", everyEdge))
		expectQuiet(f, r)

		cpu = processTime(b)
		f.reportOneByOne("app-00", benchReports)
		b.ReportMetric(float64((processTime(b)-cpu).Milliseconds())/benchReports, "cpu-ms/report")
	}
}

// reportOneByOne says for each of the first n works of an application that it is applied, and waits each time until the
// application says so: nothing is reported at once.
func (f *theFleet) reportOneByOne(name string, n int) {
	f.t.Helper()
	var list workv1.ManifestWorkList
	if err := f.client.List(f.ctx, &list, client.MatchingLabels{musterv1alpha1.OwnerLabel: fleet.ApplicationOwner("retail", name).Digest()}); err != nil {
		f.t.Fatal(err)
	}
	for i := range n {
		w := &list.Items[i]
		meta.SetStatusCondition(&w.Status.Conditions, metav1.Condition{
			Type: workv1.WorkApplied, Status: metav1.ConditionTrue, Reason: "Bench", ObservedGeneration: w.Generation,
		})
		if err := f.client.Status().Update(f.ctx, w); err != nil {
			f.t.Fatal(err)
		}
		f.eventually(func() string {
			if current := f.application("retail/" + name).Status.Summary.Current; int(current) <= i {
				return fmt.Sprintf("%d of %d reports are told", current, i+1)
			}
			return ""
		})
	}
}

func (f *theFleet) countWorks() int {
	f.t.Helper()
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWorkList"))
	if err := f.client.List(f.ctx, &list, client.Limit(1)); err != nil {
		f.t.Fatal(err)
	}
	n := len(list.Items)
	if more := list.GetRemainingItemCount(); more != nil {
		n += int(*more)
	}
	return n
}

func processTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
