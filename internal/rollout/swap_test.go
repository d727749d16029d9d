package rollout

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// swapFleet is an owner on clusters: b and c are chosen, a was replaced.
func swapFleet() (work.Changes, Input) {
	in := Input{
		Owner: web, Now: time.Unix(0, 0), Complete: true, PlanDigest: "0123456789", MaxClusterPercent: 10,
		Grounds: "one", Settled: &musterv1alpha1.Settled{Grounds: "one", Clusters: 2},
		Decisions: map[string]fleet.Decision{
			"a": {Cluster: "a", Step: "Scores"}, "b": {Cluster: "b", Chosen: true, Step: "Chosen"}, "c": {Cluster: "c", Chosen: true, Step: "Chosen"},
		},
		Unreachable: map[string]bool{},
	}
	var changes work.Changes
	for _, name := range []string{"a", "b", "c"} {
		in.Live = append(in.Live, healthyWork(name))
	}
	for i := range in.Live {
		lw := &in.Live[i]
		c := work.Change{Action: work.Keep, Cluster: lw.Cluster, Name: lw.Name, Live: lw}
		if lw.Cluster == "a" {
			c.Action = work.Delete
		} else {
			c.Wanted = wants(lw.Cluster, 0, settings)
		}
		changes = append(changes, c)
	}
	return changes, in
}

func healthyWork(cluster string) fleet.LiveWork {
	return edit(live(cluster, 0, settings), func(lw *fleet.LiveWork) { lw.Status.Health = fleet.HealthHealthy })
}

func TestSwap(t *testing.T) {
	for name, test := range map[string]struct {
		why    string
		change func(in *Input)
		want   HeldReason // "" is removed
	}{
		"replaced":        {why: "one for one, and the replacement is healthy", change: func(*Input) {}},
		"not healthy":     {why: "surge first, then remove", change: func(in *Input) { in.Live[2].Status.Health = fleet.HealthProgressing }, want: ReplacementPending},
		"not applied":     {why: "the replacement has not answered yet", change: func(in *Input) { in.Live[2].Status.Applied = false }, want: ReplacementPending},
		"silent":          {why: "nor is one healthy that does not answer", change: func(in *Input) { in.Unreachable["c"] = true }, want: ReplacementPending},
		"not heard again": {why: "what the replacement reported may be of before the hub was away", change: func(in *Input) { in.Unheard = true }, want: ReplacementPending},
		"other grounds":   {why: "somebody has changed the choice", change: func(in *Input) { in.Grounds = "two" }, want: ApprovalNeeded},
		"begun before":    {why: "it was replaced before somebody changed the choice", change: func(in *Input) { in.Grounds, in.Settled.Replaced = "two", []string{"a"} }},
		"kept its place before": {why: "it was not chosen before somebody changed the choice; first the owner is settled on that", change: func(in *Input) {
			in.Grounds, in.Settled.Unreplaced = "two", []string{"a"}
		}, want: ReplacementPending},
		"dropped":               {why: "it did not answer when somebody changed the choice", change: func(in *Input) { in.Settled.Dropped = []string{"a"} }, want: ApprovalNeeded},
		"fewer chosen":          {why: "an outage has left the placement with fewer, and nobody wants that", change: func(in *Input) { in.Settled.Clusters = 3 }, want: ReplacementPending},
		"the scheduler is late": {why: "it has not said yet on what grounds it chose", change: func(in *Input) { in.Grounds = "" }, want: ReplacementPending},
		"an older hub":          {why: "nothing is noted, and the owner is on as many clusters as were chosen", change: func(in *Input) { in.Settled, in.Live = nil, in.Live[:2] }, want: ReplacementPending},
		"an older hub, more":    {why: "nothing is noted, and somebody may want fewer", change: func(in *Input) { in.Settled = nil }, want: ApprovalNeeded},
		"an older hub holds":    {why: "nobody knows what the older hub asked for", change: func(in *Input) { in.Settled, in.GuardHolds = nil, true }, want: ApprovalNeeded},
		"a label":               {why: "somebody has excluded the cluster", change: func(in *Input) { in.Decisions["a"] = fleet.Decision{Cluster: "a", Step: "Predicates"} }, want: ApprovalNeeded},
		"another scheduler":     {why: "its reasons are its own", change: func(in *Input) { in.Decisions["a"] = fleet.Decision{Cluster: "a"} }, want: ApprovalNeeded},
		"fewer by a spread": {why: "all answer, and a constraint has no place for it: that is no outage any more", change: func(in *Input) {
			in.Settled.Clusters, in.Decisions["a"] = 3, fleet.Decision{Cluster: "a", Step: "Spread"}
		}, want: ApprovalNeeded},
		"a spread, another is silent": {why: "the constraint has a place for it when all answer, or the placement has none", change: func(in *Input) {
			in.Settled.Clusters, in.Decisions["a"] = 3, fleet.Decision{Cluster: "a", Step: "Spread"}
			in.Live, in.Decisions["d"] = append(in.Live, healthyWork("d")), fleet.Decision{Cluster: "d", Step: "Taints", Unreachable: true}
			in.Unreachable["d"] = true
		}, want: ReplacementPending},
		"a spread, not heard": {why: "the others may be silent, and the hub does not know it yet", change: func(in *Input) {
			in.Settled.Clusters, in.Decisions["a"], in.Unheard = 3, fleet.Decision{Cluster: "a", Step: "Spread"}, true
		}, want: ReplacementPending},
		"a spread, one for one": {why: "the placement has as many as before", change: func(in *Input) { in.Decisions["a"] = fleet.Decision{Cluster: "a", Step: "Spread"} }},
		"two placements":        {why: "one cluster fills a place of both, so that there are as many as before", change: func(in *Input) { in.Settled.Clusters, in.Filled = 3, 3 }},
		"a spread, replaced before": {why: "that a constraint has no place for it is no loss, with as many as before", change: func(in *Input) {
			in.Settled.Replaced, in.Decisions["a"] = []string{"a"}, fleet.Decision{Cluster: "a", Step: "Spread"}
		}},
		"a spread, replaced before, and fewer": {why: "now there are fewer", change: func(in *Input) {
			in.Settled.Clusters, in.Settled.Replaced, in.Decisions["a"] = 3, []string{"a"}, fleet.Decision{Cluster: "a", Step: "Spread"}
		}, want: ApprovalNeeded},
		"replaced before, and fewer": {why: "another one has gone meanwhile", change: func(in *Input) {
			in.Settled.Clusters, in.Settled.Replaced = 3, []string{"a"}
		}, want: ReplacementPending},
		"the scheduler is late, and an approval is waited for": {why: "for something else: what the owner was settled on is known", change: func(in *Input) {
			in.Grounds, in.GuardHolds = "", true
		}, want: ReplacementPending},
		"the scheduler of an older hub is late": {why: "nothing waits for an approval", change: func(in *Input) { in.Grounds, in.Settled = "", nil }, want: ReplacementPending},
		"the scheduler of an older hub is late, and it holds": {why: "nobody knows what for", change: func(in *Input) {
			in.Grounds, in.Settled, in.GuardHolds = "", nil, true
		}, want: ApprovalNeeded},
		"no replacement": {why: "nothing was chosen in its place", change: func(in *Input) { delete(in.Decisions, "c") }, want: ReplacementPending},
		"back":           {why: "the scheduler may choose it again", change: func(in *Input) { in.AvailableSince = map[string]time.Time{"a": in.Now.Add(-9 * time.Second)} }, want: ReplacementPending},
		"back for long":  {why: "it has not", change: func(in *Input) { in.AvailableSince = map[string]time.Time{"a": in.Now.Add(-10 * time.Second)} }},
		"the replacement is back": {why: "what it reported is of before it fell silent", change: func(in *Input) {
			in.AvailableSince = map[string]time.Time{"c": in.Now.Add(-29 * time.Second)}
		}, want: ReplacementPending},
		"the replacement is back for long": {why: "it has reported since", change: func(in *Input) {
			in.AvailableSince = map[string]time.Time{"c": in.Now.Add(-30 * time.Second)}
		}},
		"both are back": {why: "nor is a report of the replaced one one of now", change: func(in *Input) {
			in.AvailableSince = map[string]time.Time{"a": in.Now.Add(-20 * time.Second), "c": in.Now.Add(-20 * time.Second)}
		}, want: ReplacementPending},
		"itself not healthy": {why: "it serves nothing, and the replacements do", change: func(in *Input) { in.Live[0].Status.Health = fleet.HealthDegraded }},
		"it does not answer": {why: "what cannot be heard stays", change: func(in *Input) { in.Unreachable["a"] = true }, want: ClusterUnreachable},
		"rescheduled": {why: "the hub's own taint is the scheduler's cause", change: func(in *Input) {
			in.Decisions["a"] = fleet.Decision{Cluster: "a", Step: "Taints", Unreachable: true}
			in.WhenUnreachable = musterv1alpha1.UnreachableReschedule
		}},
		"rescheduled, slowly": {why: "and its removal waits for the replacement", change: func(in *Input) {
			in.Decisions["a"] = fleet.Decision{Cluster: "a", Step: "Taints", Unreachable: true}
			in.WhenUnreachable, in.Live[1].Status.Health = musterv1alpha1.UnreachableReschedule, fleet.HealthProgressing
		}, want: ReplacementPending},
	} {
		t.Run(name, func(t *testing.T) {
			changes, in := swapFleet()
			test.change(&in)
			step := Next(changes, in)
			reason := HeldReason("")
			for _, h := range step.Held {
				reason = h.Reason
			}
			if reason != test.want || (len(step.Now) == 1) != (test.want == "") {
				t.Fatalf("%s: held for %q, now %d; want %q", test.why, reason, len(step.Now), test.want)
			}
			if (step.Guard != nil) != (test.want == ApprovalNeeded) || step.Removal != nil {
				t.Errorf("%s: guard %+v, removal %+v", test.why, step.Guard, step.Removal)
			}
		})
	}
}

func TestSettled(t *testing.T) {
	silent := func(in *Input) {
		in.Decisions["a"] = fleet.Decision{Cluster: "a", Step: "Taints", Unreachable: true}
		in.Unreachable["a"] = true
	}
	without := func(in *Input, name string) {
		in.Live = slices.DeleteFunc(in.Live, func(lw fleet.LiveWork) bool { return lw.Cluster == name })
	}
	one := func(n int32) *musterv1alpha1.Settled { return &musterv1alpha1.Settled{Grounds: "one", Clusters: n} }
	two := func(n int32) *musterv1alpha1.Settled { return &musterv1alpha1.Settled{Grounds: "two", Clusters: n} }
	kept := func(s *musterv1alpha1.Settled, unreplaced ...string) *musterv1alpha1.Settled {
		s.Unreplaced = unreplaced
		return s
	}
	with := func(s *musterv1alpha1.Settled, replaced, dropped []string) *musterv1alpha1.Settled {
		s.Replaced, s.Dropped = replaced, dropped
		return s
	}
	for name, test := range map[string]struct {
		why    string
		change func(in *Input)
		want   *musterv1alpha1.Settled
	}{
		"an exchange":         {"it goes on if somebody changes the choice meanwhile", func(*Input) {}, with(one(2), []string{"a"}, nil)},
		"done":                {"nothing is left of it", func(in *Input) { without(in, "a"); in.Settled.Replaced = []string{"a"} }, one(2)},
		"fewer":               {"a cluster has gone for good", func(in *Input) { without(in, "a"); in.Settled.Clusters = 3 }, one(2)},
		"fewer, one silent":   {"the one that does not answer may be chosen again", func(in *Input) { silent(in); in.Settled.Clusters = 3 }, kept(one(3), "a")},
		"other grounds":       {"they take a cluster away, and the guard decides", func(in *Input) { in.Grounds = "two" }, one(2)},
		"other grounds, done": {"nothing is lost to them any more", func(in *Input) { in.Grounds = "two"; without(in, "a") }, two(2)},
		"fewer wanted, one silent": {"its loss counts when it is back, and the others can be exchanged meanwhile",
			func(in *Input) { silent(in); in.Grounds, in.Settled.Clusters = "two", 3 }, with(two(2), nil, []string{"a"})},
		"as many wanted, none free, one silent": {"the outage is why it is not chosen, and not the commit: it keeps its place",
			func(in *Input) { silent(in); in.Grounds, in.Settled.Clusters, in.Missing = "two", 3, 1 }, kept(two(3), "a")},
		"fewer wanted, two silent": {"one of them is too many for the commit, and the other keeps its place",
			func(in *Input) {
				silent(in)
				in.Live, in.Decisions["d"] = append(in.Live, healthyWork("d")), fleet.Decision{Cluster: "d", Step: "Taints", Unreachable: true}
				in.Grounds, in.Settled.Clusters, in.Missing = "two", 4, 1
			}, kept(with(two(3), nil, []string{"a"}), "d")},
		"fewer, and more again": {"the commit that asked for fewer is taken back",
			func(in *Input) {
				silent(in)
				in.Grounds, in.Settled.Dropped, in.Missing = "two", []string{"a"}, 1
			}, kept(two(3), "a")},
		"fewer, and another commit": {"it does not take it back",
			func(in *Input) {
				silent(in)
				in.Grounds, in.Settled.Dropped = "two", []string{"a"}
			}, with(two(2), nil, []string{"a"})},
		"excluded while silent": {"somebody has excluded it, and another one keeps its place",
			func(in *Input) {
				silent(in)
				in.Live, in.Decisions["d"] = append(in.Live, healthyWork("d")), fleet.Decision{Cluster: "d", Step: "Predicates"}
				in.Unreachable["d"] = true
				in.Grounds, in.Settled.Clusters, in.Missing = "two", 4, 1
			}, kept(with(two(3), nil, []string{"d"}), "a")},
		"more wanted, one silent": {"it keeps a place", func(in *Input) { silent(in); in.Grounds, in.Missing = "two", 1 }, kept(two(2), "a")},
		"the dropped one is first": {"it has the place of the one that is still silent, which is lost in its place", func(in *Input) {
			silent(in)
			in.Decisions["c"], in.Settled.Dropped = fleet.Decision{Cluster: "c", Chosen: true}, []string{"c"}
		}, with(one(2), nil, []string{"a"})},
		"more while one is silent": {"without it a spread constraint has a place for others, which is no reason to want so many", func(in *Input) {
			silent(in)
			in.Settled.Clusters = 1
		}, with(one(1), []string{"a"}, nil)},
		"more while one ranked too low is silent": {"when it is back the choice may be another one", func(in *Input) {
			in.Settled.Clusters, in.Unreachable["a"] = 1, true
		}, with(one(1), []string{"a"}, nil)},
		"more while the scheduler is late": {"it has not looked at one that is back", func(in *Input) {
			in.Settled.Clusters, in.Decisions["a"] = 1, fleet.Decision{Cluster: "a", Step: "Chosen", Unreachable: true}
		}, with(one(1), []string{"a"}, nil)},
		"more while one is just back": {"the scheduler may not have looked at it", func(in *Input) {
			in.Settled.Clusters, in.AvailableSince = 1, map[string]time.Time{"a": in.Now.Add(-9 * time.Second)}
		}, with(one(1), []string{"a"}, nil)},
		"more":                       {"an exchange goes on", func(in *Input) { in.Settled.Clusters = 1 }, with(one(2), []string{"a"}, nil)},
		"as many wanted, one silent": {"it has a replacement", func(in *Input) { silent(in); in.Grounds = "two" }, with(two(2), []string{"a"}, nil)},
		"fewer wanted, and approved": {"a person has agreed to the sum",
			func(in *Input) {
				silent(in)
				in.Grounds, in.Settled.Clusters, in.ApprovedPlan = "two", 3, in.PlanDigest
			}, with(two(2), []string{"a"}, nil)},
		"still dropped": {"until it has lost its works, or is chosen", func(in *Input) { silent(in); in.Settled.Dropped = []string{"a"} }, with(one(2), nil, []string{"a"})},
		"chosen again": {"it is no leftover any more", func(in *Input) {
			in.Decisions["a"] = fleet.Decision{Cluster: "a", Chosen: true, Step: "Chosen"}
			in.Settled.Dropped = []string{"a"}
		}, one(3)},
		"not complete": {"what the plan does not have proves nothing", func(in *Input) { in.Complete = false; without(in, "a"); in.Grounds = "two" }, one(2)},
		"not said":     {"the scheduler has not said on what grounds", func(in *Input) { in.Grounds = ""; without(in, "a") }, one(2)},
		"an older hub": {"the outage is an exchange, and nothing was noted", func(in *Input) { silent(in); in.Settled = nil }, with(one(2), []string{"a"}, nil)},
		"an older hub holds something": {"nobody knows what for, although the owner is on as many clusters as were chosen",
			func(in *Input) { in.Settled, in.GuardHolds = nil, true; without(in, "a") }, nil},
		"an older hub holds": {"nobody knows what for", func(in *Input) { in.Settled, in.GuardHolds = nil, true }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			changes, in := swapFleet()
			test.change(&in)
			if diff := cmp.Diff(test.want, Next(changes, in).Settled); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.why, diff)
			}
		})
	}
}
