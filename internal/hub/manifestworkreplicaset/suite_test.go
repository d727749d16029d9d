package manifestworkreplicaset_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/api/crds"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/manifestworkreplicaset"
	"github.com/muster-io/muster/internal/hub/workgc"
	"github.com/muster-io/muster/internal/test"
)

func TestMain(m *testing.M) { test.Main(m, test.Environment{HubCRDs: crds.Hub()}) }

func TestReplicaSets(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(3 * time.Minute) // a loaded machine takes its time
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "ManifestWorkReplicaSets")
}

// api is a client of the API server, as any OCM client has one; the hub that runs has the two work controllers and no other.
var api client.Client

var _ = BeforeSuite(func() {
	log.SetLogger(GinkgoLogr)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, clusterv1beta1.AddToScheme, workv1.AddToScheme, workv1alpha1.AddToScheme,
	} {
		Expect(add(scheme)).To(Succeed())
	}
	config := test.Hub(GinkgoTB()).Config()
	config.QPS = -1
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	Expect(err).NotTo(HaveOccurred())
	works, err := hub.WatchWorks(mgr)
	Expect(err).NotTo(HaveOccurred())
	sets := &manifestworkreplicaset.ReplicaSets{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Works: works, Writers: 8, StatusInterval: 20 * time.Millisecond, Now: time.Now,
	}
	Expect(sets.Setup(mgr)).To(Succeed())
	Expect((&workgc.Collector{Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Works: works, Now: time.Now}).Setup(mgr)).To(Succeed())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	DeferCleanup(func() {
		cancel()
		Expect(<-done).To(Succeed())
	})
	api, err = client.New(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
})

// tenant is a namespace with placements, whose clusters have its name as a suffix.
type tenant struct{ name string }

func newTenant() tenant { return tenant{test.Namespace(GinkgoTB(), test.Hub(GinkgoTB()))} }

// cluster makes the namespace of a cluster.
func (t tenant) cluster(ctx context.Context, name string) {
	err := api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: t.of(name)}})
	ExpectWithOffset(2, client.IgnoreAlreadyExists(err)).To(Succeed())
}

func (t tenant) of(cluster string) string { return cluster + "-" + t.name }

// choose lets a placement choose clusters, one list for each group, as a placement controller does.
func (t tenant) choose(ctx context.Context, placement string, groups ...[]string) {
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: placement}}
	ExpectWithOffset(1, client.IgnoreAlreadyExists(api.Create(ctx, p))).To(Succeed())
	total, status := 0, []clusterv1beta1.DecisionGroupStatus(nil)
	for i, group := range groups {
		page := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
			Namespace: t.name, Name: fmt.Sprintf("%s-decision-%d", placement, i+1),
			Labels: map[string]string{clusterv1beta1.PlacementLabel: placement, clusterv1beta1.DecisionGroupIndexLabel: fmt.Sprint(i), clusterv1beta1.DecisionGroupNameLabel: fmt.Sprintf("g%d", i)},
		}}
		ExpectWithOffset(1, client.IgnoreAlreadyExists(api.Create(ctx, page))).To(Succeed())
		ExpectWithOffset(1, api.Get(ctx, client.ObjectKeyFromObject(page), page)).To(Succeed())
		page.Status.Decisions = []clusterv1beta1.ClusterDecision{}
		for _, name := range group {
			t.cluster(ctx, name)
			page.Status.Decisions = append(page.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: t.of(name)})
		}
		ExpectWithOffset(1, api.Status().Update(ctx, page)).To(Succeed())
		total += len(group)
		status = append(status, clusterv1beta1.DecisionGroupStatus{DecisionGroupIndex: int32(i), DecisionGroupName: fmt.Sprintf("g%d", i), ClustersCount: int32(len(group))})
	}
	ExpectWithOffset(1, api.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
	p.Status.NumberOfSelectedClusters, p.Status.DecisionGroups = int32(total), status
	ExpectWithOffset(1, api.Status().Update(ctx, p)).To(Succeed())
}

// works are those of a ManifestWorkReplicaSet by cluster, without the tenant's suffix.
func (t tenant) works(ctx context.Context, set string) map[string]*workv1.ManifestWork {
	var list workv1.ManifestWorkList
	ExpectWithOffset(1, api.List(ctx, &list, client.MatchingLabels{workv1alpha1.ManifestWorkReplicaSetLabelKey: t.name + "." + set})).To(Succeed())
	works := map[string]*workv1.ManifestWork{}
	for i := range list.Items {
		w := &list.Items[i]
		works[w.Namespace[:len(w.Namespace)-len(t.name)-1]] = w
	}
	return works
}

// on are the clusters that have a work with this color.
func (t tenant) on(ctx context.Context, set, color string) func() []string {
	return func() []string {
		clusters := []string{}
		for name, w := range t.works(ctx, set) {
			if w.DeletionTimestamp.IsZero() && string(w.Spec.Workload.Manifests[0].Raw) == string(manifest(color).Raw) {
				clusters = append(clusters, name)
			}
		}
		return clusters
	}
}

// report says of the works on clusters what an agent would: pairs of a condition and its status.
func (t tenant) report(ctx context.Context, set string, clusters []string, conditions ...string) {
	for _, name := range clusters {
		EventuallyWithOffset(1, func() error {
			w := t.works(ctx, set)[name]
			if w == nil {
				return fmt.Errorf("no work on %s", name)
			}
			for i := 0; i < len(conditions); i += 2 {
				meta.SetStatusCondition(&w.Status.Conditions, metav1.Condition{
					Type: conditions[i], Status: metav1.ConditionStatus(conditions[i+1]), Reason: "Reported", ObservedGeneration: w.Generation,
				})
			}
			return api.Status().Update(ctx, w)
		}).Should(Succeed())
	}
}

// get reads the ManifestWorkReplicaSet.
func (t tenant) get(ctx context.Context, name string) *workv1alpha1.ManifestWorkReplicaSet {
	set := &workv1alpha1.ManifestWorkReplicaSet{}
	ExpectWithOffset(1, api.Get(ctx, client.ObjectKey{Namespace: t.name, Name: name}, set)).To(Succeed())
	return set
}

// edit changes the ManifestWorkReplicaSet and tries again when the controller was faster.
func (t tenant) edit(ctx context.Context, name string, change func(*workv1alpha1.ManifestWorkReplicaSet)) {
	EventuallyWithOffset(1, func() error {
		set := t.get(ctx, name)
		change(set)
		return api.Update(ctx, set)
	}).Should(Succeed())
}

// says is a condition as "status reason".
func (t tenant) says(ctx context.Context, name, condition string) func() string {
	return func() string {
		c := meta.FindStatusCondition(t.get(ctx, name).Status.Conditions, condition)
		if c == nil {
			return ""
		}
		return string(c.Status) + " " + c.Reason
	}
}

// counts are the summary as desired/total/updated/applied/available/progressing/degraded.
func (t tenant) counts(ctx context.Context, name string) func() string {
	return func() string {
		s := t.get(ctx, name).Status.Summary
		return fmt.Sprintf("%d/%d/%d/%d/%d/%d/%d", s.DesiredTotal, s.Total, s.Updated, s.Applied, s.Available, s.Progressing, s.Degraded)
	}
}

func manifest(color string) workv1.Manifest {
	return workv1.Manifest{RawExtension: runtime.RawExtension{Raw: fmt.Appendf(nil,
		`{"apiVersion":"v1","data":{"color":%q},"kind":"ConfigMap","metadata":{"name":"settings","namespace":"shop"}}`, color)}}
}
