package placement

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
)

// queue remembers what was added to it.
type queue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	added []string
}

func (q *queue) AddAfter(r reconcile.Request, _ time.Duration) { q.added = append(q.added, r.String()) }

func clusterScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, clusterv1beta1.AddToScheme, clusterv1beta2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// TestOwnWritesScheduleNobody shows the controller what it wrote, and then what somebody else wrote.
func TestOwnWritesScheduleNobody(t *testing.T) {
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge", Generation: 1}}
	var page clusterv1beta1.PlacementDecision
	c := fake.NewClientBuilder().WithScheme(clusterScheme(t)).WithObjects(p).WithStatusSubresource(p, &page).
		WithIndex(&page, pagesByPlacement, placementsOfPage).Build()
	r := &Placements{Client: c, Now: time.Now}
	r.facts.reader = c
	if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(p)}); err != nil {
		t.Fatal(err)
	}
	var live clusterv1beta1.Placement
	get := func(name string, o client.Object) {
		t.Helper()
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "retail", Name: name}, o); err != nil {
			t.Fatal(err)
		}
	}
	get("edge", &live)
	get("edge-decision-1", &page)
	show := func() []string {
		q := &queue{}
		r.onPlacement().Update(t.Context(), event.UpdateEvent{ObjectOld: p, ObjectNew: &live}, q)
		r.onPage().Create(t.Context(), event.CreateEvent{Object: &page}, q)
		return q.added
	}
	if added := show(); len(added) > 0 {
		t.Errorf("our own writes schedule %v", added)
	}
	page.Status.Decisions = []clusterv1beta1.ClusterDecision{{ClusterName: "intruder"}}
	live.Status.NumberOfSelectedClusters = 7
	for _, o := range []client.Object{&page, &live} {
		if err := c.Status().Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if added := show(); !slices.Equal(added, []string{"retail/edge", "retail/edge"}) {
		t.Errorf("writes of somebody else to the status and to a page schedule %v", added)
	}
}

// TestAffected has the sets prod, stage, gold and silver, bound in retail, and dev, bound in labs, with placements that look at different things.
func TestAffected(t *testing.T) {
	set := func(name string) *clusterv1beta2.ManagedClusterSet {
		return &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	gold := set("gold")
	gold.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{
		SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}},
	}
	silver := set("silver")
	silver.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{
		SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "silver"}},
	}
	binding := func(namespace, set string) *clusterv1beta2.ManagedClusterSetBinding {
		return &clusterv1beta2.ManagedClusterSetBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: set}}
	}
	placed := func(namespace, name string, change func(*clusterv1beta1.PlacementSpec)) *clusterv1beta1.Placement {
		p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		change(&p.Spec)
		return p
	}
	cluster := func(revision string, change ...func(*clusterv1.ManagedCluster)) *clusterv1.ManagedCluster {
		c := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "a", ResourceVersion: revision, Labels: map[string]string{clusterv1beta2.ClusterSetLabel: "prod"}}}
		for _, f := range change {
			f(c)
		}
		return c
	}
	label := func(key, value string) func(*clusterv1.ManagedCluster) {
		return func(c *clusterv1.ManagedCluster) { c.Labels[key] = value }
	}
	heartbeat := func(c *clusterv1.ManagedCluster) {
		c.Status.Conditions = []metav1.Condition{{Type: "ManagedClusterConditionAvailable", Status: metav1.ConditionTrue}}
	}
	scored := func(name string, value int32) *clusterv1alpha1.AddOnPlacementScore {
		s := &clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}}
		s.Status.Scores = []clusterv1alpha1.AddOnPlacementScoreItem{{Name: "cpu", Value: value}}
		return s
	}
	tainted := func(c *clusterv1.ManagedCluster) {
		c.Spec.Taints = []clusterv1.Taint{{Key: "k", Effect: clusterv1.TaintEffectNoSelect}}
	}
	reader := fake.NewClientBuilder().WithScheme(clusterScheme(t)).WithObjects(
		set("prod"), set("stage"), set("dev"), set("unbound"), gold, silver,
		binding("retail", "prod"), binding("retail", "stage"), binding("retail", "gold"), binding("retail", "silver"), binding("labs", "dev"), cluster(""),
		placed("retail", "all", func(*clusterv1beta1.PlacementSpec) {}),
		placed("retail", "byTier", func(s *clusterv1beta1.PlacementSpec) {
			s.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
			s.Predicates[0].RequiredClusterSelector.LabelSelector.MatchLabels = map[string]string{"tier": "edge"}
		}),
		placed("retail", "byScore", func(s *clusterv1beta1.PlacementSpec) {
			s.PrioritizerPolicy.Configurations = []clusterv1beta1.PrioritizerConfig{{Weight: 1, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{
				Type: clusterv1beta1.ScoreCoordinateTypeAddOn, AddOn: &clusterv1beta1.AddOnScore{ResourceName: "usage", ScoreName: "cpu"}}}}
		}),
		placed("retail", "byCEL", func(s *clusterv1beta1.PlacementSpec) {
			s.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
			s.Predicates[0].RequiredClusterSelector.CelSelector.CelExpressions = []string{"true"}
		}),
		placed("retail", "onlyDev", func(s *clusterv1beta1.PlacementSpec) { s.ClusterSets = []string{"dev"} }),
		placed("retail", "onlyGold", func(s *clusterv1beta1.PlacementSpec) { s.ClusterSets = []string{"gold"} }),
		placed("labs", "all", func(*clusterv1beta1.PlacementSpec) {}),
	).Build()

	r := &Placements{Now: time.Now}
	r.facts.reader = reader
	update := func(before, after client.Object) event.UpdateEvent {
		return event.UpdateEvent{ObjectOld: before, ObjectNew: after}
	}
	rows := map[string]struct {
		why     string
		handler handler.EventHandler
		event   any
		want    string
	}{
		"new cluster":      {"it may be chosen by all that can reach its set", r.onCluster(), event.CreateEvent{Object: cluster("1")}, "retail/all retail/byCEL retail/byScore retail/byTier"},
		"deleted cluster":  {"the same when it goes", r.onCluster(), event.DeleteEvent{Object: cluster("1")}, "retail/all retail/byCEL retail/byScore retail/byTier"},
		"resync":           {"nothing happened", r.onCluster(), update(cluster("1"), cluster("1")), ""},
		"heartbeat":        {"conditions are looked at by nobody but CEL", r.onCluster(), update(cluster("1"), cluster("2", heartbeat)), "retail/byCEL"},
		"its label":        {"a label reaches those that select by it", r.onCluster(), update(cluster("1"), cluster("2", label("tier", "edge"))), "retail/byCEL retail/byTier"},
		"another label":    {"and no others", r.onCluster(), update(cluster("1"), cluster("2", label("x", "y"))), "retail/byCEL"},
		"taint":            {"a taint concerns all that do not keep the cluster out anyway", r.onCluster(), update(cluster("1"), cluster("2", tainted)), "retail/all retail/byCEL retail/byScore"},
		"moved":            {"a cluster that changes its set concerns those that can reach either; onlyDev is not bound to dev", r.onCluster(), update(cluster("1"), cluster("2", label(clusterv1beta2.ClusterSetLabel, "dev"))), "labs/all retail/all retail/byCEL retail/byScore retail/byTier"},
		"moved within":     {"a cluster that moves between two sets of a namespace keeps its places, and the reasons that name the set change", r.onCluster(), update(cluster("1"), cluster("2", label(clusterv1beta2.ClusterSetLabel, "stage"))), "retail/all retail/byCEL retail/byScore"},
		"second set":       {"of two sets of the namespace the reasons name the first, which is another one now", r.onCluster(), update(cluster("1"), cluster("2", label("tier", "gold"))), "retail/all retail/byCEL retail/byScore retail/onlyGold"},
		"second set, last": {"a set after the first by name changes nothing for who could choose the cluster before", r.onCluster(), update(cluster("1"), cluster("2", label("tier", "silver"))), "retail/byCEL"},
		"no set":           {"a cluster of an unbound set concerns nobody", r.onCluster(), event.CreateEvent{Object: cluster("1", label(clusterv1beta2.ClusterSetLabel, "unbound"))}, ""},
		"score":            {"a score reaches those that rank by it", r.onScore(), update(scored("usage", 1), scored("usage", 2)), "retail/byCEL retail/byScore"},
		"same score":       {"written again with the same values it reaches nobody", r.onScore(), update(scored("usage", 1), scored("usage", 1)), ""},
		"another score":    {"another object's scores only CEL can read", r.onScore(), event.CreateEvent{Object: scored("other", 1)}, "retail/byCEL"},
		"set":              {"a set that comes concerns the namespaces that are bound to it", r.onSet(), event.CreateEvent{Object: set("dev")}, "labs/all"},
		"set status":       {"a set's status does not", r.onSet(), update(set("dev"), set("dev")), ""},
		"binding":          {"a binding concerns its namespace", r.onBinding(), event.DeleteEvent{Object: binding("labs", "dev")}, "labs/all"},
		"binding's status": {"its condition is not read", r.onBinding(), update(binding("labs", "dev"), binding("labs", "dev")), ""},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			q := &queue{}
			switch e := row.event.(type) {
			case event.CreateEvent:
				row.handler.Create(context.Background(), e, q)
			case event.UpdateEvent:
				row.handler.Update(context.Background(), e, q)
			case event.DeleteEvent:
				row.handler.Delete(context.Background(), e, q)
			}
			slices.Sort(q.added)
			if got := strings.Join(slices.Compact(q.added), " "); got != row.want {
				t.Errorf("%s:\n got %q\nwant %q", row.why, got, row.want)
			}
		})
	}
}

// TestLedger is the order of our own writes and of what the watch shows.
func TestLedger(t *testing.T) {
	p := client.ObjectKey{Namespace: "retail", Name: "all"}
	const page = "all-decision-1"
	var l ledger
	expect := func(got, want bool, why string) {
		t.Helper()
		if got != want {
			t.Error(why)
		}
	}
	now := time.Now()
	began := func() bool { return l.begin(p, now) == 0 }
	expect(began(), true, "a placement that nothing was written for waits")
	l.wrote(p, page, 10)
	expect(l.end(p), false, "nobody else wrote, and it is scheduled again")
	expect(began(), false, "a placement is scheduled with the pages from before its last write")
	expect(l.observe(p, page, 9, false), false, "an older revision wakes the placement")
	expect(l.observe(p, page, 10, false), true, "the last of our writes does not wake the placement that waits")
	expect(began(), true, "the placement waits although all of its writes have been shown")
	expect(l.end(p), false, "nothing happened, and it is scheduled again")
	expect(l.observe(p, page, 10, false), false, "our own write schedules a placement that does not wait")
	expect(l.observe(p, page, 11, false), true, "somebody else's write goes unnoticed")
	expect(l.observe(p, page, 12, true), true, "somebody's deletion goes unnoticed")
	l.wrote(p, page, 12)
	expect(began(), true, "a placement waits for a page that was deleted before the write was noted")

	expect(l.observe(p, page, 20, false), false, "while it is being scheduled nobody can tell whose write it is")
	expect(l.observe(p, "", 21, false), false, "nor of the placement itself")
	l.wrote(p, page, 20)
	l.wrote(p, "", 21)
	expect(l.end(p), false, "our own writes, shown before they were answered, schedule it again")

	expect(began(), true, "all writes have been shown")
	expect(l.observe(p, page, 31, false), false, "while it is being scheduled nobody can tell whose write it is")
	l.wrote(p, page, 30)
	expect(l.end(p), true, "somebody wrote after us while it was being scheduled, and that goes unnoticed")

	expect(began(), true, "all writes have been shown")
	l.deleting(p, page)
	l.deleted(p, page, true)
	expect(l.observe(p, page, 32, true), false, "our own deletion schedules it again")
	expect(l.end(p), false, "our own deletion schedules it again")
	l.deleting(p, page)
	l.deletionFailed(p, page)
	expect(began(), true, "what is gone is waited for")
	expect(l.observe(p, page, 33, true), false, "while it is being scheduled nothing is added to the queue")
	expect(l.end(p), true, "somebody deleted what we failed to, and that goes unnoticed")

	// A page that came and went while the watch was broken is never shown.
	const passing = "all-decision-2"
	expect(began(), true, "all writes have been shown")
	l.wrote(p, passing, 40)
	l.deleting(p, passing)
	l.deleted(p, passing, true)
	expect(l.end(p), false, "our own deletion schedules it again")
	expect(began(), true, "a page that is gone is waited for")
	expect(l.end(p), false, "nothing happened, and it is scheduled again")
	expect(l.observe(p, passing, 40, false), false, "our own page, shown after we deleted it, schedules it again")
	expect(l.observe(p, passing, 41, true), false, "our own deletion, shown late, schedules it again")

	// Nor is the last of our writes when somebody deleted the page after it.
	expect(began(), true, "all writes have been shown")
	l.wrote(p, page, 50)
	expect(l.end(p), false, "nobody else wrote, and it is scheduled again")
	expect(began(), false, "it does not wait for its last write")
	now = now.Add(maxWait - time.Second)
	if wait := l.begin(p, now); wait != time.Second {
		t.Errorf("it waits for another %s, want 1s", wait)
	}
	now = now.Add(time.Second)
	expect(began(), true, "it waits for ever for what nobody will show")
}

func TestUntil(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	rows := map[string]struct {
		why    string
		moment time.Time
		want   time.Duration
	}{
		"never":    {"nothing is waited for", time.Time{}, 0},
		"soon":     {"a little later than that, so that what expires then has expired", now.Add(time.Minute), time.Minute + 10*time.Millisecond},
		"passed":   {"at once", now.Add(-time.Minute), 10 * time.Millisecond},
		"for ever": {"further away than a duration can be", now.AddDate(5000, 0, 0), 24*time.Hour + 10*time.Millisecond},
	}
	for name, row := range rows {
		if got := until(row.moment, now); got != row.want {
			t.Errorf("%s: %s, want %s: %s", name, got, row.want, row.why)
		}
	}
}
