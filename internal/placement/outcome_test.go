package placement

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestScoreRateLimit has the two best of a 7, b 5 and c 1 chosen and written at noon; then something changes.
func TestScoreRateLimit(t *testing.T) {
	byScore := func(s *clusterv1beta1.PlacementSpec) { s.SortBy = clusterv1beta1.SortByScore }
	limit := func(text string) func(*clusterv1beta1.Placement, *fleet.World) {
		return func(p *clusterv1beta1.Placement, _ *fleet.World) { p.Spec.ScoreRateLimit = text }
	}
	rate := func(cluster string, value int32) func(*clusterv1beta1.Placement, *fleet.World) {
		return func(_ *clusterv1beta1.Placement, w *fleet.World) {
			for i := range w.Scores {
				if w.Scores[i].Namespace == cluster {
					w.Scores[i].Status.Scores[0].Value = value
				}
			}
		}
	}
	rows := map[string]struct {
		why     string
		change  []func(*clusterv1beta1.Placement, *fleet.World)
		after   time.Duration
		written bool
		again   time.Duration // after noon
		updated time.Duration // lastScoreUpdateTime after noon
	}{
		"nothing":            {"no write without a difference", nil, time.Second, false, 0, 0},
		"score soon":         {"only a score changed, and the last such update is 10s old", []func(*clusterv1beta1.Placement, *fleet.World){rate("a", 8)}, 10 * time.Second, false, time.Minute, 0},
		"other cluster soon": {"another cluster is better now, by scores alone", []func(*clusterv1beta1.Placement, *fleet.World){rate("c", 9)}, 10 * time.Second, false, time.Minute, 0},
		"score later":        {"the default of 1m has passed", []func(*clusterv1beta1.Placement, *fleet.World){rate("a", 8)}, time.Minute, true, 0, time.Minute},
		"shorter limit":      {"the placement's own limit has passed", []func(*clusterv1beta1.Placement, *fleet.World){rate("a", 8), limit("5s")}, 5 * time.Second, true, 0, 5 * time.Second},
		"longer limit":       {"the placement's own limit has not passed", []func(*clusterv1beta1.Placement, *fleet.World){rate("a", 8), limit("2h")}, time.Hour, false, 2 * time.Hour, 0},
		"no limit":           {"0s is no limit", []func(*clusterv1beta1.Placement, *fleet.World){rate("a", 8), limit("0s")}, 0, true, 0, 0},
		"spec": {"a new generation is no matter of scores", []func(*clusterv1beta1.Placement, *fleet.World){rate("a", 8),
			func(p *clusterv1beta1.Placement, _ *fleet.World) { p.Generation++ }}, time.Second, true, 0, 0},
		"more wanted": {"another number is none either", []func(*clusterv1beta1.Placement, *fleet.World){
			func(p *clusterv1beta1.Placement, _ *fleet.World) { wants(3)(&p.Spec) }}, time.Second, true, 0, 0},
		"dropped": {"a chosen cluster that is tainted goes at once", []func(*clusterv1beta1.Placement, *fleet.World){
			func(_ *clusterv1beta1.Placement, w *fleet.World) {
				w.Clusters[1] = with(w.Clusters[1], taint("k", "", clusterv1.TaintEffectNoSelect))
			}}, time.Second, true, 0, 0},
		"spread": {"with spread constraints a label may have moved the choice: it is not held back", []func(*clusterv1beta1.Placement, *fleet.World){rate("c", 9),
			func(p *clusterv1beta1.Placement, _ *fleet.World) {
				spreadOver("zone", 1, clusterv1beta1.ScheduleAnyway)(&p.Spec)
			}}, time.Second, true, 0, 0},
		"group": {"a cluster that moves to another named group does so at once", []func(*clusterv1beta1.Placement, *fleet.World){
			func(_ *clusterv1beta1.Placement, w *fleet.World) {
				w.Clusters[0], w.Clusters[1] = cluster("a"), cluster("b", "first=yes")
			}}, time.Second, true, 0, 0},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			w := world(cluster("a", "first=yes"), cluster("b"), cluster("c"))
			for i, c := range []string{"a", "b", "c"} {
				scored(w, c, "cpu", []int32{7, 5, 1}[i], nil)
			}
			p := placement(byScore, wants(2), exact(usage("cpu", 1)), func(s *clusterv1beta1.PlacementSpec) {
				s.DecisionStrategy.GroupStrategy.DecisionGroups = []clusterv1beta1.DecisionGroup{{GroupName: "first",
					ClusterSelector: clusterv1beta1.GroupClusterSelector{LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{"first": "yes"}}}}}
			})
			first := Schedule(p, w)
			p.Status = Next(p, &first, nil).Status
			pages := Objects(p, &first, nil)
			if p.Status.LastScoreUpdateTime == nil || !p.Status.LastScoreUpdateTime.Time.Equal(noon) {
				t.Fatalf("the first decisions with scores are an update of scores, got %v", p.Status.LastScoreUpdateTime)
			}
			for _, change := range row.change {
				change(p, w)
			}
			result := NewIndex(w).ScheduleAt(p, noon.Add(row.after), nil)
			got := Next(p, &result, pages)
			again := time.Duration(0)
			if !got.Again.IsZero() {
				again = got.Again.Sub(noon)
			}
			if written := len(got.Writes) > 0; written != row.written || again != row.again {
				t.Errorf("%s: written %t, again after %s; want %t, %s", row.why, written, again, row.written, row.again)
			}
			if updated := got.Status.LastScoreUpdateTime.Sub(noon); updated != row.updated {
				t.Errorf("%s: lastScoreUpdateTime is noon+%s, want +%s", row.why, updated, row.updated)
			}
		})
	}
}

// TestSortByName: whoever does not ask for scores has OCM's behaviour.
func TestSortByName(t *testing.T) {
	p := placement(wants(1), exact(usage("cpu", 1)))
	w := scored(world(cluster("a"), cluster("b")), "a", "cpu", 5, nil)
	first := Schedule(p, w)
	pages := Objects(p, &first, nil)
	p.Status = Next(p, &first, nil).Status
	w.Scores = nil
	p.Status.LastScoreUpdateTime = &metav1.Time{Time: noon} // from when it was sorted by score
	next := Schedule(p, scored(w, "b", "cpu", 5, nil))
	got := Next(p, &next, pages)
	if len(got.Writes) != 1 || got.Status.LastScoreUpdateTime != nil {
		t.Errorf("a new score moves the choice at once and leaves no time: %d writes, %v", len(got.Writes), got.Status.LastScoreUpdateTime)
	}
}

func TestUnusable(t *testing.T) {
	long := placement()
	long.Name = strings.Repeat("x", 64)
	fits := placement()
	fits.Name = strings.Repeat("x", 63)
	rows := map[string]struct {
		why  string
		p    *clusterv1beta1.Placement
		want string
	}{
		"long name":     {"no label can hold it, so that no decision could be written", long, ":the name has 64 characters, and the label of its PlacementDecisions that holds it may have 63"},
		"longest name":  {"this one can be written", fits, ""},
		"endless limit": {"more than a duration can be", placement(func(s *clusterv1beta1.PlacementSpec) { s.SortBy, s.ScoreRateLimit = "Score", "99999999999999999h" }), ":scoreRateLimit 99999999999999999h is no duration"},
		"unused limit":  {"OCM does not read it", placement(func(s *clusterv1beta1.PlacementSpec) { s.ScoreRateLimit = "99999999999999999h" }), ""},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := Schedule(row.p, world(cluster("a")))
			if r.Misconfigured() != row.want {
				t.Errorf("%s: %q, want %q", row.why, r.Misconfigured(), row.want)
			}
		})
	}
	r := Schedule(long, world(cluster("a")))
	next := Next(long, &r, nil)
	if len(next.Writes) != 0 || len(next.Status.DecisionGroups) != 0 {
		t.Errorf("pages that cannot be written: %v, groups %v", next.Writes, next.Status.DecisionGroups)
	}
	if c := condition(t, r, clusterv1beta1.PlacementConditionMisconfigured); c.Status != metav1.ConditionTrue {
		t.Errorf("the condition says nothing: %+v", c)
	}
}

// TestConditionsAreOfTheirGeneration: a reader waits for the generation that it wrote.
func TestConditionsAreOfTheirGeneration(t *testing.T) {
	p := placement()
	r := Schedule(p, world(cluster("a")))
	p.Status = Status(p, &r)
	got := map[string]int64{}
	for _, c := range p.Status.Conditions {
		got[c.Type] = c.ObservedGeneration
	}
	if diff := cmp.Diff(map[string]int64{"PlacementMisconfigured": 3, "PlacementSatisfied": 3}, got); diff != "" {
		t.Errorf("observed generations (-want +got):\n%s", diff)
	}
	if !Scheduled(p) {
		t.Error("the placement was scheduled at its generation")
	}
	p.Generation++
	if Scheduled(p) {
		t.Error("the status is about the generation before")
	}
}

// TestBalanceLeavesOutItsOwn: what a placement has chosen itself counts neither for a cluster nor for the fleet's maximum.
func TestBalanceLeavesOutItsOwn(t *testing.T) {
	w := decided(decided(decided(world(cluster("a"), cluster("b")), "one", "b"), "two", "b"), "edge", "a", "b")
	r := Schedule(placement(exact(builtIn("Balance", 1))), w)
	if diff := cmp.Diff([]int64{100, -100}, r.Prioritizers[0].Scores); diff != "" {
		t.Errorf("a is on no other placement, b on both of two (-want +got):\n%s", diff)
	}
	w = decided(decided(world(cluster("a"), cluster("b")), "one", "a"), "edge", "a")
	r = Schedule(placement(exact(builtIn("Balance", 1))), w)
	if diff := cmp.Diff([]int64{-100, 100}, r.Prioritizers[0].Scores); diff != "" {
		t.Errorf("the most that others have is 1, not 2 (-want +got):\n%s", diff)
	}
}
