package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// exchangeOf is an owner whose placement has chosen c1, c2 and c3 in the place of a, b and c, on which it still is.
func exchangeOf() (work.Changes, Input) {
	in := Input{
		Owner: web, Now: time.Unix(1e6, 0), Complete: true, PlanDigest: "0123456789", MaxClusterPercent: 10,
		Grounds: "one", Settled: &musterv1alpha1.Settled{Grounds: "one", Clusters: 3}, Decisions: map[string]fleet.Decision{}, Unreachable: map[string]bool{},
	}
	for _, name := range []string{"a", "b", "c", "c1", "c2", "c3"} {
		in.Live = append(in.Live, healthyWork(name))
		in.Decisions[name] = fleet.Decision{Cluster: name, Step: "Scores"}
	}
	var changes work.Changes
	for i := range in.Live {
		lw := &in.Live[i]
		c := work.Change{Action: work.Delete, Cluster: lw.Cluster, Name: lw.Name, Live: lw}
		if lw.Cluster > "c" {
			group := map[string]int{"c1": 0, "c2": 1, "c3": 1}[lw.Cluster]
			in.Decisions[lw.Cluster] = fleet.Decision{Cluster: lw.Cluster, Chosen: true, Step: "Chosen", GroupIndex: group}
			c.Action, c.Wanted = work.Keep, wants(lw.Cluster, 0, settings)
		}
		changes = append(changes, c)
	}
	return changes, in
}

// TestPaceOfSwaps: which of a, b and c may be removed.
func TestPaceOfSwaps(t *testing.T) {
	ill := func(names ...string) func(*Input) {
		return func(in *Input) {
			for i := range in.Live {
				if slices.Contains(names, in.Live[i].Cluster) {
					in.Live[i].Status.Health = fleet.HealthDegraded
				}
			}
		}
	}
	leaving := func(unreachable bool, works ...bool) func(*Input) { // d is on its way out: which of its works are being deleted
		return func(in *Input) {
			for i, deleting := range works {
				lw := live("d", i, settings)
				lw.Deleting = deleting
				in.Live = append(in.Live, lw)
			}
			in.Unreachable["d"] = unreachable
		}
	}
	progressive := func(p *clusterv1alpha1.RolloutProgressive) func(*Input) {
		return func(in *Input) {
			in.Strategy = &musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: p}}
		}
	}
	atATime := func(n intstr.IntOrString) func(*Input) {
		return progressive(&clusterv1alpha1.RolloutProgressive{MaxConcurrency: n})
	}
	soaks := func(in *Input) { // c3 has changed in the rollout that goes on
		progressive(&clusterv1alpha1.RolloutProgressive{RolloutConfig: clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: time.Hour}}})(in)
		in.RolloutStarted, in.Live[5].WrittenAt = in.Now.Add(-time.Minute), in.Now.Add(-time.Minute)
	}
	for name, test := range map[string]struct {
		why    string
		change []func(*Input)
		want   string
	}{
		"all are healthy":         {"no strategy sets a pace", nil, "a b c"},
		"one chosen is ill":       {"one that serves stays in its place", []func(*Input){ill("c1")}, "a b"},
		"two are":                 {"two stay", []func(*Input){ill("c1", "c2")}, "a"},
		"all are":                 {"nothing serves in their place", []func(*Input){ill("c1", "c2", "c3")}, ""},
		"a replaced one is ill":   {"it serves nobody, but every replacement is to be there first", []func(*Input){ill("c1", "a")}, "b"},
		"an ill one, all healthy": {"nobody waits for it", []func(*Input){ill("a")}, "a b c"},
		"too few serve":           {"of two chosen ones that are ill, only one has another that serves", []func(*Input){ill("c1", "c2", "a", "b")}, ""},
		"none serves":             {"an ill replacement holds them all", []func(*Input){ill("c1", "a", "b", "c")}, ""},
		"the hub is deaf":         {"what is healthy may be of before", []func(*Input){func(in *Input) { in.Unheard = true }}, ""},
		"a faulty one":            {"it could not be planned, so that it does not count", []func(*Input){func(in *Input) { in.Faulty = map[string]bool{"c1": true} }}, "a b"},

		"a replacement is being deleted": {"what it reports is of before", []func(*Input){func(in *Input) { in.Live[5].Deleting = true }}, "a b"},
		"a replacement has not answered": {"what it reports is of another generation", []func(*Input){func(in *Input) { in.Live[5].Status.Observed = false }}, "a b"},
		"one that never had it":          {"it leaves nothing", []func(*Input){func(in *Input) { in.Decisions["e"] = fleet.Decision{Cluster: "e", Step: "Scores"} }}, "a b c"},

		"one at a time":                    {"the strategy lets one change", []func(*Input){atATime(intstr.FromInt32(1))}, "a"},
		"two at a time":                    {"", []func(*Input){atATime(intstr.FromInt32(2))}, "a b"},
		"half of three":                    {"it is rounded up", []func(*Input){atATime(intstr.FromString("50%"))}, "a b"},
		"no number":                        {"all that were chosen", []func(*Input){progressive(nil)}, "a b c"},
		"no sense":                         {"nothing is known of the pace", []func(*Input){atATime(intstr.FromString("half"))}, ""},
		"one at a time, the first stays":   {"its place goes to another one", []func(*Input){atATime(intstr.FromInt32(1)), ill("c1", "a")}, "b"},
		"one is on its way":                {"it has a place", []func(*Input){atATime(intstr.FromInt32(2)), leaving(false, true, true)}, "a"},
		"one that does not answer is":      {"it blocks nobody", []func(*Input){atATime(intstr.FromInt32(2)), leaving(true, true)}, "a b"},
		"one loses a part":                 {"it stays", []func(*Input){atATime(intstr.FromInt32(2)), leaving(false, true, false)}, "a b"},
		"one at a time, one is on its way": {"the next waits", []func(*Input){atATime(intstr.FromInt32(1)), leaving(false, true)}, ""},
		"by group": {"as many as the smallest group has", []func(*Input){func(in *Input) {
			in.Strategy = &musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.ProgressivePerGroup}}
		}}, "a"},
		"all": {"the strategy has no pace", []func(*Input){func(in *Input) {
			in.Strategy = &musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All}}
		}}, "a b c"},
		"a replacement soaks":               {"it is healthy, and not for long enough", []func(*Input){soaks}, "a b"},
		"the rollout has failed":            {"a person looks at it", []func(*Input){soaks, ill("c3")}, ""},
		"the rollout returns":               {"first the clusters are taken back", []func(*Input){atATime(intstr.FromInt32(3)), func(in *Input) { in.Returning = true }}, ""},
		"a step whose selector cannot be":   {"", []func(*Input){func(in *Input) { in.Strategy = badSteps() }}, ""},
		"a replacement that is not there":   {"it is to come", []func(*Input){func(in *Input) { in.Live = in.Live[:5] }}, "a b"},
		"a replacement that has no content": {"nothing is to come", []func(*Input){func(in *Input) { in.Live, in.Emptied = in.Live[:5], map[string]bool{"c3": true} }}, "a b c"},
	} {
		t.Run(name, func(t *testing.T) {
			changes, in := exchangeOf()
			for _, change := range test.change {
				change(&in)
			}
			var removed []string
			for _, c := range Next(changes, in).Now {
				removed = append(removed, c.Cluster)
			}
			if got := strings.Join(removed, " "); got != test.want {
				t.Errorf("%s: %q are removed, want %q", test.why, got, test.want)
			}
		})
	}
}

// badSteps are steps with a selector that cannot be read.
func badSteps() *musterv1alpha1.Rollout {
	return &musterv1alpha1.Rollout{
		RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.ProgressivePerGroup},
		Steps: []musterv1alpha1.RolloutStep{{Name: "one", ClusterSelector: &musterv1alpha1.ClusterSelector{LabelSelector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}},
		}}}},
	}
}
