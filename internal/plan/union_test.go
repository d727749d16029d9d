package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
)

// choice of a placement that wants a number of clusters, 0 for all that match.
func choice(name string, number int32, decisions ...fleet.Decision) plan.Choice {
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	if number > 0 {
		p.Spec.NumberOfClusters = &number
	}
	return plan.Choice{Placement: p, Decisions: decisions, Grounds: name}
}

func unionOf(on []string, choices ...plan.Choice) plan.Decided {
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	w := &fleet.World{}
	for _, name := range on {
		w.Works = append(w.Works, fleet.LiveWork{Cluster: name, Name: "web", Owner: fleet.OwnerOf(app)})
	}
	return plan.Union(choices, w, app)
}

var (
	in     = func(name string) fleet.Decision { return fleet.Decision{Cluster: name, Chosen: true, Step: "Chosen"} }
	ranked = func(name string) fleet.Decision { return fleet.Decision{Cluster: name, Step: "Scores"} }
	silent = func(name string) fleet.Decision {
		return fleet.Decision{Cluster: name, Step: "Taints", Unreachable: true}
	}
	other = func(name string) fleet.Decision { return fleet.Decision{Cluster: name, Step: "Predicates"} }
)

func TestUnion(t *testing.T) {
	got := unionOf(nil,
		choice("one", 0, fleet.Decision{Cluster: "a", Chosen: true, GroupIndex: 1}, fleet.Decision{Cluster: "b", Reason: "no"}, fleet.Decision{Cluster: "c", Reason: "no"}, other("d")),
		choice("two", 0, fleet.Decision{Cluster: "a", Chosen: true, Group: "x"}, fleet.Decision{Cluster: "b", Chosen: true, Group: "x"}, fleet.Decision{Cluster: "c", Unreachable: true}, ranked("d")),
	).Decisions
	want := []fleet.Decision{{Cluster: "a", Chosen: true, GroupIndex: 1}, {Cluster: "b", Chosen: true, Group: "x", GroupIndex: 2}, {Cluster: "c", Unreachable: true}, ranked("d")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUnionOfGrounds: an application is on a and b by a placement of two clusters, and on c by one that chooses all that match; d is
// known to both. The placements' own grounds do not change.
func TestUnionOfGrounds(t *testing.T) {
	on := []string{"a", "b", "c"}
	before := unionOf(on, choice("two", 2, in("a"), in("b"), ranked("c"), ranked("d")), choice("all", 0, other("a"), other("b"), in("c"), other("d")))
	for name, test := range map[string]struct {
		why  string
		on   []string
		got  []plan.Choice
		same bool
	}{
		"an exchange": {"the scheduler has made it", on,
			[]plan.Choice{choice("two", 2, in("a"), ranked("b"), ranked("c"), in("d")), choice("all", 0, other("a"), other("b"), in("c"), other("d"))}, true},
		"the other order": {"it decides about groups only", on,
			[]plan.Choice{choice("all", 0, other("a"), other("b"), in("c"), other("d")), choice("two", 2, in("a"), in("b"), ranked("c"), ranked("d"))}, true},
		"a label": {"somebody has excluded c, and the other placement has only ranked it", on,
			[]plan.Choice{choice("two", 2, in("a"), in("b"), ranked("c"), ranked("d")), choice("all", 0, other("a"), other("b"), other("c"), other("d"))}, false},
		"silent": {"an outage", on,
			[]plan.Choice{choice("two", 2, in("a"), in("b"), silent("c"), ranked("d")), choice("all", 0, other("a"), other("b"), silent("c"), other("d"))}, true},
		"silent, and a label": {"somebody has excluded c meanwhile", on,
			[]plan.Choice{choice("two", 2, in("a"), in("b"), silent("c"), ranked("d")), choice("all", 0, other("a"), other("b"), other("c"), other("d"))}, false},
		"one that never joined": {"it has nothing to lose", on,
			[]plan.Choice{choice("two", 2, in("a"), in("b"), ranked("c"), ranked("d")), choice("all", 0, other("a"), other("b"), in("c"), silent("d"))}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := unionOf(test.on, test.got...).Grounds; (got == before.Grounds) != test.same || got == "" {
				t.Errorf("%s: the grounds are %q, were %q", test.why, got, before.Grounds)
			}
		})
	}
	external := choice("all", 1, in("c"))
	external.Placement.Annotations = map[string]string{clusterv1beta1.PlacementDisableAnnotation: "true"}
	moved := choice("all", 1, in("d"))
	moved.Placement.Annotations = external.Placement.Annotations
	two := choice("two", 2, in("a"), in("b"), ranked("c"), ranked("d"))
	if unionOf(on, two, external).Grounds == unionOf(on, two, moved).Grounds {
		t.Error("what another scheduler moves counts as ours")
	}
	if got := unionOf(on, two).Grounds; got != "two" {
		t.Errorf("one placement has its own grounds, and not %q", got)
	}
	unknown := choice("all", 0, in("c"))
	unknown.Grounds = ""
	if got := unionOf(on, two, unknown).Grounds; got != "" {
		t.Errorf("the grounds of one are not known, and together they are %q", got)
	}
}

func TestPlaces(t *testing.T) {
	for name, test := range map[string]struct {
		why             string
		choices         []plan.Choice
		filled, missing int
	}{
		"all that match":      {"c keeps its place, and d was never there", []plan.Choice{choice("all", 0, in("a"), silent("c"), silent("d"), other("b"))}, 1, 1},
		"a number":            {"three are wanted", []plan.Choice{choice("three", 3, in("a"), silent("c"))}, 1, 2},
		"a number that is":    {"c is replaced", []plan.Choice{choice("one", 1, in("a"), silent("c"))}, 1, 0},
		"more than is wanted": {"another scheduler does as it likes", []plan.Choice{choice("one", 1, in("a"), in("b"))}, 2, 0},
		"two":                 {"a fills a place of each", []plan.Choice{choice("one", 1, in("a")), choice("all", 0, in("a"), in("b"), silent("c"))}, 3, 1},
	} {
		got := unionOf([]string{"a", "b", "c"}, test.choices...)
		if got.Filled != test.filled || got.Missing != test.missing {
			t.Errorf("%s: %s: %d places are filled and %d are not, want %d and %d", name, test.why, got.Filled, got.Missing, test.filled, test.missing)
		}
	}
}
