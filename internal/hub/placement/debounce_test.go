package placement

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/test"
)

func TestDebouncer(t *testing.T) {
	p := types.NamespacedName{Namespace: "retail", Name: "edge"}
	begin := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	var b debouncer
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	expect := func(ms int, want time.Duration, why string) {
		t.Helper()
		if got := b.wait(p, at(ms)); got != want {
			t.Errorf("at %d ms it waits %s, want %s: %s", ms, got, want, why)
		}
	}
	expect(0, 0, "nothing changed")
	b.note(p, at(0))
	expect(0, quietPeriod, "another may follow")
	b.note(p, at(10))
	expect(20, 10*time.Millisecond, "one followed")
	expect(30, 0, "no other came")
	expect(30, 0, "the wait is over")
	b.note(p, at(100))
	b.cancel(p)
	expect(100, 0, "something else happened that does not wait")
	for ms := 200; ms < 700; ms += 10 {
		b.note(p, at(ms))
	}
	expect(695, 5*time.Millisecond, "it goes on and on")
	expect(700, 0, "nobody waits longer than that")
	b.note(p, at(705))
	expect(705, quietPeriod, "the next change begins another wait")
}

// TestManyChangesScheduleOnce has the real controller with a clock that stands still: all changes meanwhile are scheduled once.
// Every cluster gets the label that some placements select by; each of them is scheduled once and the others are not.
func TestManyChangesScheduleOnce(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(30 * time.Second)
	ctx := context.Background()
	s := newStanding(t)

	const clusters, affected = 40, 3
	edge, elsewhere := s.tenant(t), s.tenant(t)
	var list []*clusterv1.ManagedCluster
	for i := range clusters {
		list = append(list, s.cluster(t, fmt.Sprintf("c%02d-%s", i, edge), edge))
	}
	last := s.cluster(t, "last-"+elsewhere, elsewhere)
	var selecting, all []*clusterv1beta1.Placement
	for i := range affected {
		selecting = append(selecting, s.placement(t, edge, fmt.Sprintf("edge%d", i), "tier", "edge"))
		all = append(all, s.placement(t, edge, fmt.Sprintf("core%d", i), "zone", "1"))
	}
	watching := s.placement(t, elsewhere, "last", "tier", "edge")
	all = append(append(all, selecting...), watching)
	s.settle(g, all...)

	before := scheduled(t)
	for _, c := range list {
		s.label(t, c, "tier", "edge")
	}
	s.label(t, last, "tier", "edge")
	s.noticed(g, watching)
	g.Expect(scheduled(t)-before).To(Equal(0), "schedulings while changes come")

	s.clock.Step(quietPeriod)
	for _, p := range selecting {
		g.Eventually(func() int32 {
			g.Expect(s.client.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
			return p.Status.NumberOfSelectedClusters
		}).Should(Equal(int32(clusters)))
	}
	s.settle(g, all...)
	g.Expect(scheduled(t)-before).To(Equal(affected+1), "schedulings after %d changes that %d placements look at, and one that %s does", clusters, affected, watching.Name)
}

// standing is the real controller with a clock that moves only when it is told to.
type standing struct {
	clock      *clocktesting.FakeClock
	placements *Placements
	client     client.Client
}

func newStanding(t *testing.T) *standing {
	t.Helper()
	config := test.Hub(t).Config()
	config.QPS = -1
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: clusterScheme(t), Metrics: metricsserver.Options{BindAddress: "0"}})
	must(t, err)
	s := &standing{clock: clocktesting.NewFakeClock(time.Now())}
	s.placements = &Placements{
		Client: mgr.GetClient(), Now: s.clock.Now, Concurrency: 4, Name: "standing",
		queue: func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
			return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{Name: name, Clock: s.clock})
		},
	}
	must(t, s.placements.SetupWithManager(mgr))
	s.client, err = client.New(config, client.Options{Scheme: clusterScheme(t)})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return s
}

// tenant is a namespace with a set of its own name bound to it.
func (s *standing) tenant(t *testing.T) string {
	t.Helper()
	name := test.Namespace(t, test.Hub(t))
	must(t, s.client.Create(t.Context(), &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	must(t, s.client.Create(t.Context(), &clusterv1beta2.ManagedClusterSetBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: name}, Spec: clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: name},
	}))
	return name
}

func (s *standing) cluster(t *testing.T, name, set string) *clusterv1.ManagedCluster {
	t.Helper()
	c := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{clusterv1beta2.ClusterSetLabel: set}}}
	must(t, s.client.Create(t.Context(), c))
	return c
}

func (s *standing) placement(t *testing.T, namespace, name, key, value string) *clusterv1beta1.Placement {
	t.Helper()
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Spec.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
	p.Spec.Predicates[0].RequiredClusterSelector.LabelSelector.MatchLabels = map[string]string{key: value}
	must(t, s.client.Create(t.Context(), p))
	return p
}

func (s *standing) label(t *testing.T, c *clusterv1.ManagedCluster, key, value string) {
	t.Helper()
	patch := client.MergeFrom(c.DeepCopy())
	c.Labels[key] = value
	must(t, s.client.Patch(t.Context(), c, patch))
}

// settle lets time pass until the placements are scheduled and the controller has seen all that it wrote.
func (s *standing) settle(g *WithT, placements ...*clusterv1beta1.Placement) {
	g.THelper()
	for _, p := range placements {
		g.Eventually(func() bool {
			s.clock.Step(maxDelay)
			g.Expect(s.client.Get(context.Background(), client.ObjectKeyFromObject(p), p)).To(Succeed())
			l := &s.placements.ledger
			l.mu.Lock()
			defer l.mu.Unlock()
			key := client.ObjectKeyFromObject(p)
			_, busy := l.busy[key]
			return p.Status.Conditions != nil && !busy && l.cacheIsCurrent(key)
		}).Should(BeTrue(), "%s is scheduled", p.Name)
	}
}

// noticed waits until a change that concerns a placement has gone through the handlers, and with it all that came before.
func (s *standing) noticed(g *WithT, p *clusterv1beta1.Placement) {
	g.THelper()
	g.Eventually(func() bool {
		b := &s.placements.debouncer
		b.mu.Lock()
		defer b.mu.Unlock()
		_, yes := b.pending[client.ObjectKeyFromObject(p)]
		return yes
	}).Should(BeTrue())
}
