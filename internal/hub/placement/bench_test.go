package placement

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/event"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/test"
)

const (
	benchClusters   = 1000
	benchPlacements = 1000
	benchSites      = 100 // a placement selects the clusters of one site, 10 of them
	benchWriters    = 8   // at once: the bare client's, and the placements that the controller schedules
	benchRatio      = 1.5 // how long the controller may take, of the bare client's time
)

// BenchmarkPlacements is a controller that starts where 1,000 placements over 1,000 clusters were never scheduled, until
// the last status is written. The floor is a bare client that writes the same 1,000 PlacementDecisions and 1,000 statuses
// to the same API server, before and after. The events of the decisions go out behind them, as always. Then the label of one
// cluster changes: it may reschedule the 20 placements of its old and its new site and no others, whatever else changes about
// clusters that nobody looks at.
func BenchmarkPlacements(b *testing.B) {
	log.SetLogger(logr.Discard())
	f := newBenchFleet(b)
	var bare, hub time.Duration
	rounds := 0
	for b.Loop() {
		rounds++
		before := f.measureBare(b, fmt.Sprintf("before-%d", rounds))
		hub += f.measureHub(b, fmt.Sprintf("hub-%d", rounds))
		bare += (before + f.measureBare(b, fmt.Sprintf("after-%d", rounds))) / 2
	}
	b.ReportMetric(bare.Seconds()/float64(rounds), "bare-s")
	b.ReportMetric(hub.Seconds()/float64(rounds), "hub-s")
	b.ReportMetric(hub.Seconds()/bare.Seconds(), "hub/bare")
	if ratio := hub.Seconds() / bare.Seconds(); ratio > benchRatio {
		b.Errorf("the controller takes %.2f times as long as a bare client, it may take %.1f times", ratio, benchRatio)
	}
}

// benchFleet is an API server with 1,000 clusters in one set.
type benchFleet struct {
	config *rest.Config
	scheme *runtime.Scheme
	client client.WithWatch
	world  fleet.World
}

func newBenchFleet(b *testing.B) *benchFleet {
	b.Helper()
	f := &benchFleet{config: test.Hub(b).Config(), scheme: runtime.NewScheme()}
	f.config.QPS = -1
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme,
		clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, clusterv1beta1.AddToScheme, clusterv1beta2.AddToScheme,
	} {
		must(b, add(f.scheme))
	}
	var err error
	f.client, err = client.NewWithWatch(f.config, client.Options{Scheme: f.scheme})
	must(b, err)
	set := clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "bench"}}
	must(b, f.client.Create(b.Context(), set.DeepCopy()))
	f.world.ClusterSets = append(f.world.ClusterSets, set)
	for i := range benchClusters {
		f.world.Clusters = append(f.world.Clusters, clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("bench-%04d", i), Labels: map[string]string{clusterv1beta2.ClusterSetLabel: "bench", "site": site(i)},
		}})
	}
	immediately(b, benchClusters, func(i int) error { return f.client.Create(b.Context(), f.world.Clusters[i].DeepCopy()) })
	return f
}

func site(i int) string { return fmt.Sprintf("site-%02d", i%benchSites) }

func must(b testing.TB, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// immediately does n things, some of them at once.
func immediately(b *testing.B, n int, do func(i int) error) {
	b.Helper()
	next := make(chan int)
	var group sync.WaitGroup
	for range benchWriters {
		group.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
}

// tenant creates a namespace that is bound to the set, with the placements.
func (f *benchFleet) tenant(b *testing.B, namespace string) []clusterv1beta1.Placement {
	b.Helper()
	ctx := b.Context()
	binding := clusterv1beta2.ManagedClusterSetBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bench"}, Spec: clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: "bench"},
	}
	must(b, f.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	must(b, f.client.Create(ctx, binding.DeepCopy()))
	f.world.Bindings = []clusterv1beta2.ManagedClusterSetBinding{binding}
	placements := make([]clusterv1beta1.Placement, benchPlacements)
	immediately(b, benchPlacements, func(i int) error {
		p := &placements[i]
		p.Namespace, p.Name = namespace, fmt.Sprintf("placement-%04d", i)
		p.Spec.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
		p.Spec.Predicates[0].RequiredClusterSelector.LabelSelector.MatchLabels = map[string]string{"site": site(i)}
		return f.client.Create(ctx, p)
	})
	return placements
}

// remove takes the placements and their pages away: no garbage collector runs here.
func (f *benchFleet) remove(b *testing.B, namespace string) {
	b.Helper()
	for _, kind := range []client.Object{&clusterv1beta1.Placement{}, &clusterv1beta1.PlacementDecision{}, &clusterv1beta2.ManagedClusterSetBinding{}} {
		must(b, f.client.DeleteAllOf(b.Context(), kind, client.InNamespace(namespace)))
	}
}

// measureBare writes what the controller would write.
func (f *benchFleet) measureBare(b *testing.B, namespace string) time.Duration {
	b.Helper()
	placements := f.tenant(b, namespace)
	defer f.remove(b, namespace)
	f.world.Time = time.Now()
	index := placement.NewIndex(&f.world)
	outcomes := make([]placement.Outcome, len(placements))
	for i := range placements {
		result := index.Schedule(&placements[i])
		outcomes[i] = placement.Next(&placements[i], &result, nil)
		if len(result.Chosen) != benchClusters/benchSites || len(outcomes[i].Writes) != 1 {
			b.Fatalf("%d clusters in %d pages", len(result.Chosen), len(outcomes[i].Writes))
		}
	}
	begin := time.Now()
	immediately(b, len(placements), func(i int) error {
		page := outcomes[i].Writes[0].Page.DeepCopy()
		if err := f.client.Create(b.Context(), page); err != nil {
			return err
		}
		page.Status = outcomes[i].Writes[0].Page.Status
		if err := f.client.Status().Update(b.Context(), page); err != nil {
			return err
		}
		placements[i].Status = outcomes[i].Status
		return f.client.Status().Update(b.Context(), &placements[i])
	})
	return time.Since(begin)
}

// measureHub starts a controller and waits for the last status, then for what one label moves.
func (f *benchFleet) measureHub(b *testing.B, namespace string) time.Duration {
	b.Helper()
	f.tenant(b, namespace)
	defer f.remove(b, namespace)
	skip := true
	mgr, err := ctrl.NewManager(f.config, ctrl.Options{
		Scheme: f.scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip},
	})
	must(b, err)
	events, err := event.NewRecorder(mgr, "muster-placement")
	must(b, err)
	placements := &Placements{Client: mgr.GetClient(), Events: events, Now: time.Now, Concurrency: benchWriters, Name: "placement"}
	must(b, placements.SetupWithManager(mgr))
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- mgr.Start(ctx) }()
	f.wait(b, namespace, func(p *clusterv1beta1.Placement) bool {
		return placement.Scheduled(p) && p.Status.NumberOfSelectedClusters == benchClusters/benchSites
	}, benchPlacements)
	took := time.Since(begin)
	f.moveOne(b, namespace)
	cancel()
	must(b, <-done)
	return took
}

// moveOne gives a cluster another site, after another cluster got a label that nobody looks at.
func (f *benchFleet) moveOne(b *testing.B, namespace string) {
	b.Helper()
	before := scheduled(b)
	f.label(b, 7, "unused", namespace)
	f.label(b, 0, "site", site(1))
	const affected = 2 * benchPlacements / benchSites
	f.wait(b, namespace, func(p *clusterv1beta1.Placement) bool {
		return p.Status.NumberOfSelectedClusters != benchClusters/benchSites
	}, affected)
	if n := scheduled(b) - before; n != affected {
		b.Errorf("one label rescheduled %d placements, it can affect %d", n, affected)
	}
	b.ReportMetric(float64(scheduled(b)-before), "rescheduled")
	f.label(b, 0, "site", site(0))
	f.wait(b, namespace, func(p *clusterv1beta1.Placement) bool {
		return p.Status.NumberOfSelectedClusters == benchClusters/benchSites
	}, benchPlacements)
}

func (f *benchFleet) label(b *testing.B, cluster int, key, value string) {
	b.Helper()
	patch := fmt.Sprintf(`{"metadata": {"labels": {%q: %q}}}`, key, value)
	must(b, f.client.Patch(b.Context(), f.world.Clusters[cluster].DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))))
}

// scheduled is how many times placements were scheduled in this process, by its own metric.
func scheduled(b testing.TB) int {
	b.Helper()
	families, err := metrics.Registry.Gather()
	must(b, err)
	for _, family := range families {
		if family.GetName() == "scheduling_scheduling_duration_seconds" {
			return samples(family)
		}
	}
	b.Fatal("schedulings are not measured")
	return 0
}

func samples(family *dto.MetricFamily) int {
	n := 0
	for _, m := range family.Metric {
		n += int(m.Histogram.GetSampleCount())
	}
	return n
}

// wait watches until so many placements are as they should be.
func (f *benchFleet) wait(b *testing.B, namespace string, ok func(*clusterv1beta1.Placement) bool, n int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	var list clusterv1beta1.PlacementList
	must(b, f.client.List(ctx, &list, client.InNamespace(namespace)))
	good := map[string]bool{}
	note := func(p *clusterv1beta1.Placement) {
		delete(good, p.Name)
		if ok(p) {
			good[p.Name] = true
		}
	}
	for i := range list.Items {
		note(&list.Items[i])
	}
	if len(good) == n {
		return
	}
	watch, err := f.client.Watch(ctx, &clusterv1beta1.PlacementList{}, client.InNamespace(namespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	must(b, err)
	defer watch.Stop()
	for e := range watch.ResultChan() {
		if p, isPlacement := e.Object.(*clusterv1beta1.Placement); isPlacement {
			note(p)
		}
		if len(good) == n {
			return
		}
	}
	b.Fatalf("%d of %d placements are as they should be", len(good), n)
}
