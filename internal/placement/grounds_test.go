package placement

import (
	"testing"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestGrounds: two of a, b and c are chosen, by scores of 7, 5 and 1; d is not in the fleet, e has another label. What people change
// makes new grounds, and what the scheduler exchanges does not.
func TestGrounds(t *testing.T) {
	unreachable := taint(clusterv1.ManagedClusterTaintUnreachable, "", clusterv1.TaintEffectNoSelect)
	spec := func(change func(*clusterv1beta1.PlacementSpec)) func(*clusterv1beta1.Placement, *fleet.World) {
		return func(p *clusterv1beta1.Placement, _ *fleet.World) { change(&p.Spec) }
	}
	in := func(change func(*fleet.World)) func(*clusterv1beta1.Placement, *fleet.World) {
		return func(_ *clusterv1beta1.Placement, w *fleet.World) { change(w) }
	}
	for name, row := range map[string]struct {
		why    string
		change func(*clusterv1beta1.Placement, *fleet.World)
		chosen string
		same   bool
	}{
		"nothing":         {"", in(func(*fleet.World) {}), "a b", true},
		"a score":         {"scores are the scheduler's", in(func(w *fleet.World) { scored(w, "c", "cpu", 9, nil); w.Scores[2].Status.Scores[0].Value = 9 }), "a c", true},
		"an outage":       {"nobody has asked for it", in(func(w *fleet.World) { w.Clusters[0] = with(w.Clusters[0], unreachable) }), "b c", true},
		"a join":          {"it is not chosen yet", in(func(w *fleet.World) { w.Clusters = append(w.Clusters, with(cluster("d", "tier=edge"), unreachable)) }), "a b", true},
		"a label, no use": {"the choice is the same", in(func(w *fleet.World) { w.Clusters[3] = cluster("e", "tier=edge") }), "a b", true},
		"groups":          {"they do not move anything", spec(grouped("first tier=edge")), "a b", true},
		"a label, taken":  {"the cluster is excluded", in(func(w *fleet.World) { w.Clusters[0] = cluster("a") }), "b c", false},
		"a label, given": {"somebody has brought in a better one", in(func(w *fleet.World) {
			w.Clusters[3] = cluster("e", "tier=edge")
			scored(w, "e", "cpu", 9, nil)
		}), "a e", false},
		"a taint": {"somebody keeps the choice off it", in(func(w *fleet.World) {
			w.Clusters[1] = with(w.Clusters[1], taint("k", "", clusterv1.TaintEffectNoSelect))
		}), "a c", false},
		"a soft taint": {"it moves the rank", in(func(w *fleet.World) {
			w.Clusters[1] = with(w.Clusters[1], taint("k", "", clusterv1.TaintEffectPreferNoSelect))
		}), "a c", false},
		"prioritizers": {"other scores", spec(exact(usage("cpu", -1))), "b c", false},
		"a number":     {"another number", spec(wants(1)), "a", false},
		"spread":       {"another rule", spec(spreadOver("zone", 1, clusterv1beta1.ScheduleAnyway)), "a b", false},
		"tolerations":  {"another rule, even without effect", spec(tolerates(clusterv1beta1.Toleration{Key: "k", Operator: clusterv1beta1.TolerationOpExists})), "a b", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(cluster("a", "tier=edge"), cluster("b", "tier=edge"), cluster("c", "tier=edge"), cluster("e", "tier=core"))
			for i, c := range []string{"a", "b", "c"} {
				scored(w, c, "cpu", []int32{7, 5, 1}[i], nil)
			}
			p := placement(wants(2), requires("tier=edge"), exact(usage("cpu", 1)))
			first := Schedule(p, w)
			pages := Objects(p, &first, nil)
			before := ReadGrounds(p, pages)
			row.change(p, w)
			result := Schedule(p, w)
			after := ReadGrounds(p, Objects(p, &result, pages))
			if got := chosenText(result); got != row.chosen || before == "" || (before == after) != row.same {
				t.Errorf("%s: chosen %s, want %s; grounds %q, then %q", row.why, got, row.chosen, before, after)
			}
		})
	}
}

func TestReadGrounds(t *testing.T) {
	w := world(cluster("a"), cluster("b"))
	p := placement(wants(1))
	result := Schedule(p, w)
	pages := Objects(p, &result, nil)
	other := pages[0]
	other.Name, other.Annotations = "demo-decision-2", map[string]string{musterv1alpha1.GroundsAnnotation: "other/x"}
	if got := ReadGrounds(p, append(pages, other)); got != "" {
		t.Errorf("pages that do not agree say %q", got)
	}
	other.Annotations = nil
	if got := ReadGrounds(p, append(pages, other)); got != "" {
		t.Errorf("a page that says nothing, and another: %q", got)
	}
	result.grounds.clusters = "changed"
	if got := GroundsAfter(p, &result, append(pages, other)); got != result.grounds.spec+"-changed/changed" {
		t.Errorf("the grounds of pages that do not agree are not known, so that they are new: %q", got)
	}
}
