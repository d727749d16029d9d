package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// stepped is a strategy with a canary that soaks, and prod, which is approved by hand, two at a time.
func stepped(change ...func(*musterv1alpha1.Rollout)) musterv1alpha1.Rollout {
	two := intstr.FromInt32(2)
	r := progressive("1", clusterv1alpha1.RolloutConfig{ProgressDeadline: "30m"})
	r.Steps = []musterv1alpha1.RolloutStep{
		{Name: "canary", MinSuccessTime: &metav1.Duration{Duration: time.Hour}},
		{Name: "prod", MaxConcurrency: &two, Approval: musterv1alpha1.ApprovalManual, ProgressDeadline: "5m"},
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func TestSelectBySteps(t *testing.T) {
	approved := func(g Group) Group { g.Approved = true; return g }
	skipped := func(g Group) Group { g.Skipped = true; return g }
	offline := func(value string) func(*musterv1alpha1.Rollout) {
		return func(r *musterv1alpha1.Rollout) { v := intstr.Parse(value); r.MaxOffline = &v }
	}
	for name, c := range map[string]struct {
		why      string
		strategy musterv1alpha1.Rollout
		groups   []Group
		want     string
	}{
		"begins": {"with the first step, by the rest of progressive", stepped(), []Group{in(t, "canary", 0, "y ToApply, z ToApply"), in(t, "prod", 1, "a ToApply"), in(t, "", 2, "x ToApply")},
			"select y; in flight ; 3 wait; at canary"},
		"soaks": {"for as long as the step says", stepped(), []Group{in(t, "canary", 0, "z Succeeded 59m"), in(t, "prod", 1, "a ToApply")},
			"select ; in flight z; 1 wait; at canary"},
		"gate": {"the next step waits for a person", stepped(), []Group{in(t, "canary", 0, "z Succeeded 60m"), in(t, "prod", 1, "a ToApply, b ToApply")},
			"select ; in flight ; 2 wait; at prod; unapproved"},
		"approved early": {"an approval does not let a step begin before the one ahead of it is proved", stepped(),
			[]Group{in(t, "canary", 0, "z Progressing 1m"), approved(in(t, "prod", 1, "a ToApply"))}, "select ; in flight z; 1 wait; at canary"},
		"approved": {"as many at a time as the step says", stepped(), []Group{in(t, "canary", 0, "z Succeeded 60m"), approved(in(t, "prod", 1, "a ToApply, b ToApply, c ToApply"))},
			"select a b; in flight ; 1 wait; at prod"},
		"offline gate": {"a cluster that does not answer is approved too", stepped(), []Group{in(t, "canary", 0, "z Succeeded 60m"), in(t, "prod", 1, "a ToApply offline")},
			"select ; in flight ; 1 wait; at prod; unapproved"},
		"deadline of the step": {"", stepped(), []Group{in(t, "canary", 0, "z Succeeded 60m"), approved(in(t, "prod", 1, "a Progressing 6m, b ToApply"))},
			"select ; in flight ; timed out a; 1 wait; at prod; stopped"},
		"rest": {"clusters of no step come last, by progressive", stepped(), []Group{in(t, "canary", 0, "z Succeeded 60m"), approved(in(t, "prod", 1, "a Succeeded 1m")), in(t, "", 2, "x ToApply, y ToApply")},
			"select x; in flight ; 1 wait"},
		"skipped": {"the next steps do not wait for it", stepped(), []Group{skipped(in(t, "canary", 0, "z Failed 1m")), approved(in(t, "prod", 1, "a ToApply"))},
			"select a; in flight z; at prod"},
		"held": {"a cluster that waits for something else is skipped", stepped(), []Group{in(t, "canary", 0, "y ToApply held, z Succeeded 60m"), approved(in(t, "prod", 1, "a ToApply"))},
			"select a; in flight ; at prod"},
		"all held": {"and proves nothing", stepped(), []Group{in(t, "canary", 0, "y Succeeded 9h held"), approved(in(t, "prod", 1, "a ToApply"))},
			"select ; in flight ; 1 wait; at canary; unproven"},
		"offline budget": {"more clusters that do not answer than maxOffline hold the next step", stepped(offline("1")),
			[]Group{in(t, "canary", 0, "w ToApply offline, y Succeeded 1m offline, z Succeeded 60m"), approved(in(t, "prod", 1, "a ToApply"))}, "select w; in flight ; 1 wait; at canary; unproven"},
		"within the budget": {"as many as maxOffline hold nothing", stepped(offline("67%")),
			[]Group{in(t, "canary", 0, "w ToApply offline, y Succeeded 1m offline, z Succeeded 60m"), approved(in(t, "prod", 1, "a ToApply"))}, "select a w; in flight ; at prod"},
		"on hold there": {"who holds a cluster on its own side is skipped, and takes nothing of the budget", stepped(offline("1")),
			[]Group{in(t, "canary", 0, "v ToApply onhold, w ToApply offline, x Progressing 9h onhold, y Failed 1m onhold, z Succeeded 60m"), approved(in(t, "prod", 1, "a ToApply"))},
			"select a v w; in flight ; at prod"},
		"no budget": {"not even when nobody may be away", stepped(offline("0")),
			[]Group{in(t, "canary", 0, "v ToApply onhold, z Succeeded 60m"), approved(in(t, "prod", 1, "a ToApply"))}, "select a v; in flight ; at prod"},
		"all on hold there": {"but nobody proves it", stepped(offline("1")),
			[]Group{in(t, "canary", 0, "y Succeeded 9h onhold, z ToApply onhold"), approved(in(t, "prod", 1, "a ToApply"))}, "select z; in flight ; 1 wait; at canary; unproven"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Select(c.strategy, c.groups, rolloutNow)
			if err != nil {
				t.Fatal(err)
			}
			if selectionText(got) != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.why, selectionText(got), c.want)
			}
		})
	}
	back, err := SelectReturn(stepped(), []Group{in(t, "canary", 0, "z ToApply"), in(t, "prod", 1, "a ToApply, b ToApply, c ToApply")}, rolloutNow)
	if want := "select b c; in flight ; 2 wait; at prod"; err != nil || selectionText(back) != want {
		t.Errorf("a return asks for no approval: got %s, %v, want %s", selectionText(back), err, want)
	}
}

// TestStepOf: a cluster belongs to the first step that selects it.
func TestStepOf(t *testing.T) {
	byTier := func(tier string) *musterv1alpha1.ClusterSelector {
		return &musterv1alpha1.ClusterSelector{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": tier}}}
	}
	strategy := musterv1alpha1.Rollout{Steps: []musterv1alpha1.RolloutStep{
		{Name: "first", ClusterSelector: byTier("canary")}, {Name: "second", Groups: []string{"early", "soon"}, ClusterSelector: byTier("lab")},
	}}
	s, err := deciderOf(nil, Input{Strategy: &strategy}).steps()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ tier, group, want string }{
		{"canary", "early", "0 first"}, {"lab", "", "1 second"}, {"prod", "soon", "1 second"}, {"prod", "late", "2 "}, {"prod", "", "2 "},
	} {
		index, name := s.of("a", map[string]string{"tier": c.tier}, c.group)
		if got := fmt.Sprintf("%d %s", index, name); got != c.want {
			t.Errorf("tier %s in group %q is of step %q, want %q", c.tier, c.group, got, c.want)
		}
	}
	strategy.Steps[0].ClusterSelector.LabelSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}
	if _, err := deciderOf(nil, Input{Strategy: &strategy}).steps(); err == nil || !strings.Contains(err.Error(), "steps[0].clusterSelector") {
		t.Errorf("a selector that is not valid: %v", err)
	}
}

// TestThrottleHoldsTheRate: whatever the times at which it is asked, never more clusters begin within a minute than the rate allows, all
// begin in the end, and who asks twice gets the same.
func TestThrottleHoldsTheRate(t *testing.T) {
	const rate, clusters = 6, 40
	strategy := musterv1alpha1.Rollout{RateLimit: &musterv1alpha1.RateLimit{ClustersPerMinute: rate}}
	now, begun := rolloutNow, map[string]time.Time{}
	var order []time.Time
	for range 10_000 {
		if len(begun) == clusters {
			break
		}
		ask := func() Selection {
			d := deciderOf(nil, Input{Strategy: &strategy, Now: now, PlanDigest: "plan"})
			d.written = begun
			var s Selection
			for i := range clusters {
				if name := fmt.Sprintf("c%02d", i); begun[name].IsZero() {
					s.Selected = append(s.Selected, name)
				}
			}
			d.throttle(&s)
			return s
		}
		s, again := ask(), ask()
		if fmt.Sprint(s) != fmt.Sprint(again) {
			t.Fatalf("the same question has two answers: %+v and %+v", s, again)
		}
		for _, name := range s.Selected {
			begun[name] = now
			order = append(order, now)
		}
		if len(s.Selected) == 0 && !s.NextLook.After(now) {
			t.Fatalf("nothing begins at %v, and it is looked at again at %v", now, s.NextLook)
		}
		now = now.Add(time.Second)
	}
	if len(begun) != clusters {
		t.Fatalf("%d of %d clusters began", len(begun), clusters)
	}
	for i := rate; i < len(order); i++ {
		if order[i].Sub(order[i-rate]) < time.Minute {
			t.Errorf("%d clusters began within %v", rate+1, order[i].Sub(order[i-rate]))
		}
	}
	if took := order[clusters-1].Sub(order[0]); took > 15*time.Minute {
		t.Errorf("%d clusters at %d a minute took %v", clusters, rate, took)
	}
}
