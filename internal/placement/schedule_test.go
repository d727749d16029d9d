package placement

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/fleet"
)

const (
	noSelect      = clusterv1.TaintEffectNoSelect
	noSelectIfNew = clusterv1.TaintEffectNoSelectIfNew
	preferNo      = clusterv1.TaintEffectPreferNoSelect
)

// TestSchedule is section 3.2 of OCM's semantics, a row a rule, and what Muster adds to it.
func TestSchedule(t *testing.T) {
	in := func(d time.Duration) *time.Time { at := noon.Add(d); return &at }
	seconds := func(n int64) *int64 { return &n }
	deleted := func(c *clusterv1.ManagedCluster) { c.DeletionTimestamp = &metav1.Time{Time: noon} }
	global := set("global")
	global.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{}}
	nothing := set("nothing")
	nothing.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{SelectorType: clusterv1beta2.LabelSelector}

	rows := map[string]struct {
		why     string
		p       *clusterv1beta1.Placement
		w       *fleet.World
		chosen  string
		reasons []string // nil: not compared
		requeue time.Duration
		warning string
	}{
		"all": {
			why: "without a number every cluster of the bound sets is chosen",
			p:   placement(), w: world(cluster("b"), cluster("a")),
			chosen:  "a b",
			reasons: []string{"a Chosen: in set prod", "b Chosen: in set prod"},
		},
		"other set": {
			why: "a cluster of a set that is not bound is not there at all",
			p:   placement(), w: world(cluster("a"), cluster("b", clusterv1beta2.ClusterSetLabel+"=dev")),
			chosen: "a", reasons: []string{"a Chosen: in set prod"},
		},
		"left the set": {
			why: "a cluster that was chosen and left the bound sets is explained",
			p:   placement(), w: decided(world(cluster("a"), cluster("b", clusterv1beta2.ClusterSetLabel+"=dev")), "edge", "a", "b", "c"),
			chosen:  "a",
			reasons: []string{"a Chosen: in set prod", "b Sets: not in any bound set: the namespace has prod", "c Sets: the cluster does not exist"},
		},
		"spec.clusterSets": {
			why: "the bound sets are intersected with spec.clusterSets",
			p:   placement(func(s *clusterv1beta1.PlacementSpec) { s.ClusterSets = []string{"dev"} }),
			w: func() *fleet.World {
				w := world(cluster("a"), cluster("b", clusterv1beta2.ClusterSetLabel+"=dev"))
				w.ClusterSets = append(w.ClusterSets, set("dev"))
				w.Bindings = append(w.Bindings, binding("team", "dev"))
				return w
			}(),
			chosen: "b",
		},
		"label selector set": {
			why: "a set of type LabelSelector overlaps with others; a cluster in two sets counts once",
			p:   placement(),
			w: func() *fleet.World {
				w := world(cluster("a"), cluster("b", clusterv1beta2.ClusterSetLabel+"=dev"))
				w.ClusterSets = append(w.ClusterSets, global)
				w.Bindings = append(w.Bindings, binding("team", "global"))
				return w
			}(),
			chosen: "a b",
		},
		"set without selector": {
			why: "a LabelSelector set without a labelSelector selects nothing, as a nil selector does in Kubernetes",
			p:   placement(),
			w: func() *fleet.World {
				w := world(cluster("a"))
				w.ClusterSets = []clusterv1beta2.ManagedClusterSet{nothing}
				w.Bindings = []clusterv1beta2.ManagedClusterSetBinding{binding("team", "nothing")}
				return w
			}(),
			chosen: "",
		},
		"other namespace's binding": {
			why: "only bindings of the placement's own namespace count",
			p:   placement(),
			w: func() *fleet.World {
				w := world(cluster("a"))
				w.Bindings = []clusterv1beta2.ManagedClusterSetBinding{binding("other", "prod")}
				return w
			}(),
			chosen: "",
		},
		"deleting": {
			why: "deleting clusters are removed from decisions at once",
			p:   placement(), w: decided(world(cluster("a"), with(cluster("b"), deleted)), "edge", "a", "b"),
			chosen: "a", reasons: []string{"a Chosen: in set prod", "b Sets: the cluster is being deleted"},
		},
		"label": {
			why: "a predicate's label that is different or missing is named with what is there",
			p:   placement(requires("tier=edge")), w: world(cluster("a", "tier=edge"), cluster("b", "tier=core"), cluster("c")),
			chosen:  "a",
			reasons: []string{"a Chosen: matches label tier=edge", "b Predicates: label tier=edge: has tier=core", "c Predicates: label tier=edge: missing"},
		},
		"every unmet term": {
			why: "all unmet terms are said, so that one change is enough",
			p:   placement(requires("tier=edge", "env=prod", "x=y")), w: world(cluster("a", "tier=core", "x=y")),
			chosen: "", reasons: []string{"a Predicates: label env=prod: missing; label tier=edge: has tier=core"},
		},
		"or": {
			why: "predicates are ORed",
			p:   placement(requires("tier=edge"), requires("tier=core")), w: world(cluster("a", "tier=edge"), cluster("b", "tier=core"), cluster("c")),
			chosen:  "a b",
			reasons: []string{"a Chosen: matches label tier=edge", "b Chosen: matches label tier=core", "c Predicates: label tier=edge: missing, or label tier=core: missing"},
		},
		"expression in": {
			why: "In wants one of the values", chosen: "a",
			p: placement(requiresLabel("tier", metav1.LabelSelectorOpIn, "edge", "far")), w: world(cluster("a", "tier=far"), cluster("b", "tier=core"), cluster("c")),
			reasons: []string{"a Chosen: matches label tier in (edge, far)", "b Predicates: label tier in (edge, far): has tier=core", "c Predicates: label tier in (edge, far): missing"},
		},
		"expression not in": {
			why: "NotIn is met by a missing label too", chosen: "b c",
			p: placement(requiresLabel("tier", metav1.LabelSelectorOpNotIn, "edge")), w: world(cluster("a", "tier=edge"), cluster("b", "tier=core"), cluster("c")),
		},
		"expression exists": {
			why: "Exists wants the key", chosen: "a",
			p: placement(requiresLabel("tier", metav1.LabelSelectorOpExists)), w: world(cluster("a", "tier="), cluster("b")),
			reasons: []string{"a Chosen: matches label tier", "b Predicates: label tier: missing"},
		},
		"expression absent": {
			why: "DoesNotExist wants the key away", chosen: "b",
			p: placement(requiresLabel("tier", metav1.LabelSelectorOpDoesNotExist)), w: world(cluster("a", "tier=x"), cluster("b")),
			reasons: []string{"a Predicates: label tier absent: has tier=x", "b Chosen: matches label tier absent"},
		},
		"claim": {
			why: "claims of the status are selected like labels", chosen: "a",
			p:       placement(requiresClaim("platform", metav1.LabelSelectorOpIn, "aws")),
			w:       world(with(cluster("a"), claim("platform", "aws")), with(cluster("b"), claim("platform", "gcp")), cluster("c")),
			reasons: []string{"a Chosen: matches claim platform=aws", "b Predicates: claim platform=aws: has platform=gcp", "c Predicates: claim platform=aws: missing"},
		},
		"cel": {
			why: "an expression that is not true, or fails, does not match, and its text is said", chosen: "a",
			p: placement(requiresCEL(`managedCluster.metadata.labels["tier"] == "edge"`)), w: world(cluster("a", "tier=edge"), cluster("b", "tier=core"), cluster("c")),
			reasons: []string{
				`a Chosen: matches cel managedCluster.metadata.labels["tier"] == "edge"`,
				`b Predicates: cel managedCluster.metadata.labels["tier"] == "edge": is false`,
				`c Predicates: cel managedCluster.metadata.labels["tier"] == "edge": fails: no such key: tier`,
			},
		},
		"NoSelect": {
			why: "an untolerated NoSelect taint excludes, also a cluster that was chosen",
			p:   placement(), w: decided(world(cluster("a"), with(cluster("b"), taint("gpu", "yes", noSelect))), "edge", "a", "b"),
			chosen: "a", reasons: []string{"a Chosen: in set prod", "b Taints: taint gpu=yes:NoSelect is not tolerated"},
		},
		"tolerated": {
			why:    "Equal compares the value, an empty operator is Equal, an empty effect is every effect",
			p:      placement(tolerates(clusterv1beta1.Toleration{Key: "gpu", Value: "yes"})),
			w:      world(with(cluster("a"), taint("gpu", "yes", noSelect)), with(cluster("b"), taint("gpu", "no", noSelect))),
			chosen: "a",
		},
		"tolerates everything": {
			why: "an empty key with Exists tolerates every taint",
			p:   placement(tolerates(clusterv1beta1.Toleration{Operator: clusterv1beta1.TolerationOpExists})),
			w:   world(with(cluster("a"), taint("gpu", "yes", noSelect), taint("x", "", noSelectIfNew))), chosen: "a",
		},
		"toleration of another effect": {
			why: "a toleration with an effect tolerates only that one",
			p:   placement(tolerates(clusterv1beta1.Toleration{Key: "gpu", Operator: clusterv1beta1.TolerationOpExists, Effect: noSelectIfNew})),
			w:   world(with(cluster("a"), taint("gpu", "yes", noSelect))), chosen: "",
		},
		"NoSelectIfNew": {
			why: "NoSelectIfNew excludes unless already in the decisions",
			p:   placement(), w: decided(world(with(cluster("a"), taint("k", "", noSelectIfNew)), with(cluster("b"), taint("k", "", noSelectIfNew))), "edge", "b"),
			chosen: "b", reasons: []string{"a Taints: taint k:NoSelectIfNew is not tolerated, and the cluster was not chosen before", "b Chosen: in set prod"},
		},
		"toleration seconds": {
			why: "tolerationSeconds counts from timeAdded, a minute ago here, and the placement is looked at again when it ends",
			p:   placement(tolerates(clusterv1beta1.Toleration{Key: "k", Operator: clusterv1beta1.TolerationOpExists, TolerationSeconds: seconds(100)})),
			w:   world(with(cluster("a"), taint("k", "", noSelect))), chosen: "a", requeue: 40 * time.Second,
		},
		"toleration expired": {
			why: "at its end a toleration tolerates no more",
			p:   placement(tolerates(clusterv1beta1.Toleration{Key: "k", Operator: clusterv1beta1.TolerationOpExists, TolerationSeconds: seconds(60)})),
			w:   world(with(cluster("a"), taint("k", "", noSelect))), chosen: "",
			reasons: []string{"a Taints: taint k:NoSelect is no longer tolerated: 60s have passed"},
		},
		"unreachable": {
			why: "a cluster that only its unreachable taint keeps out is marked, so that its works can be kept",
			p:   placement(), w: world(with(cluster("a"), taint(clusterv1.ManagedClusterTaintUnreachable, "", noSelect)),
				with(cluster("b"), taint(clusterv1.ManagedClusterTaintUnreachable, "", noSelect), taint("gpu", "", noSelect))),
			chosen: "",
			reasons: []string{
				"a Taints: taint cluster.open-cluster-management.io/unreachable:NoSelect is not tolerated (unreachable)",
				"b Taints: taint cluster.open-cluster-management.io/unreachable:NoSelect is not tolerated; taint gpu:NoSelect is not tolerated",
			},
		},
		"number": {
			why: "equal scores are ordered by name and cut at the number",
			p:   placement(wants(2)), w: world(cluster("c"), cluster("b"), cluster("a")), chosen: "a b",
			reasons: []string{
				"a Chosen: in set prod; ranked 1st, 2 wanted, score 100 (Balance 100, Steady 0)",
				"b Chosen: in set prod; ranked 2nd, 2 wanted, score 100 (Balance 100, Steady 0)",
				"c Scores: ranked 3rd, 2 wanted, score 100 (Balance 100, Steady 0)",
			},
		},
		"steady": {
			why: "Steady gives 100 to a chosen cluster and keeps it before the others", chosen: "c",
			p: placement(wants(1)), w: decided(world(cluster("a"), cluster("b"), cluster("c")), "edge", "c"),
		},
		"balance": {
			why: "Balance is 2·int(100·(0.5 − n/max)) over the decisions of other placements, 100 without any", chosen: "c",
			p: placement(wants(1)),
			w: decided(decided(decided(world(cluster("a"), cluster("b"), cluster("c")), "x", "a", "b"), "y", "a"), "z", "a"),
			reasons: []string{
				"a Scores: ranked 3rd, 1 wanted, score -100 (Balance -100, Steady 0)",
				"b Scores: ranked 2nd, 1 wanted, score 32 (Balance 32, Steady 0)",
				"c Chosen: in set prod; ranked 1st, 1 wanted, score 100 (Balance 100, Steady 0)",
			},
		},
		"additive": {
			why: "Additive changes the weight of a default and adds the others", chosen: "b",
			p: placement(wants(1), additive(builtIn("Balance", 0), builtIn("ResourceAllocatableCPU", 2))),
			w: world(with(cluster("a"), capacity("4")), with(cluster("b"), capacity("16")), with(cluster("c"), capacity("8")), cluster("d")),
			reasons: []string{
				"a Scores: ranked 4th, 1 wanted, score -200 (Steady 0, ResourceAllocatableCPU 2×-100)",
				"b Chosen: in set prod; ranked 1st, 1 wanted, score 200 (Steady 0, ResourceAllocatableCPU 2×100)",
				"c Scores: ranked 3rd, 1 wanted, score -66 (Steady 0, ResourceAllocatableCPU 2×-33)",
				"d Scores: ranked 2nd, 1 wanted, score 0 (Steady 0, ResourceAllocatableCPU 2×0)",
			},
		},
		"exact": {
			why: "Exact takes only what is configured; equal resources score 100", chosen: "a",
			p: placement(wants(1), exact(builtIn("ResourceAllocatableCPU", 1))),
			w: decided(world(with(cluster("a"), capacity("4")), with(cluster("b"), capacity("4"))), "edge", "b"),
			reasons: []string{
				"a Chosen: in set prod; ranked 1st, 1 wanted, score 100 (ResourceAllocatableCPU 100)",
				"b Scores: ranked 2nd, 1 wanted, score 100 (ResourceAllocatableCPU 100)",
			},
		},
		"addon": {
			why: "an AddOn score counts until validUntil, and the placement is looked at again then; a missing one is 0", chosen: "b",
			p: placement(wants(1), exact(usage("cpu", 3))),
			w: scored(scored(world(cluster("a"), cluster("b")), "b", "cpu", 20, in(time.Minute)), "a", "memory", 90, nil),
			reasons: []string{
				"a Scores: ranked 2nd, 1 wanted, score 0 (AddOn/usage/cpu 3×0)",
				"b Chosen: in set prod; ranked 1st, 1 wanted, score 60 (AddOn/usage/cpu 3×20)",
			},
			requeue: time.Minute,
		},
		"addon expired": {
			why: "an expired score is 0, with a warning", chosen: "a",
			p: placement(wants(1), exact(usage("cpu", 1))), w: scored(world(cluster("a"), cluster("b")), "b", "cpu", 20, in(-time.Second)),
			warning: "AddOnPlacementScores b/usage expired",
		},
		"addon off": {
			why: "a weight of 0 turns a coordinate off before anybody looks at what it names", chosen: "a",
			p: placement(exact(clusterv1beta1.PrioritizerConfig{ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{Type: clusterv1beta1.ScoreCoordinateTypeAddOn}})),
			w: world(cluster("a")),
		},
		"tolerated for ever": {
			why: "people write the largest number for ever; as nanoseconds it would be negative", chosen: "a",
			p: placement(tolerates(clusterv1beta1.Toleration{Key: "k", Operator: clusterv1beta1.TolerationOpExists, TolerationSeconds: seconds(math.MaxInt64)})),
			w: world(with(cluster("a"), taint("k", "", noSelect))), requeue: time.Duration(math.MaxInt64/int64(time.Second))*time.Second - time.Minute,
		},
		"set that cannot be read": {
			why: "nobody knows who is in it: what was chosen stays, what is gone does not", chosen: "a",
			p: placement(),
			w: func() *fleet.World {
				w := decided(world(cluster("a"), cluster("b"), cluster("c")), "edge", "a", "gone")
				w.ClusterSets = []clusterv1beta2.ManagedClusterSet{unreadable("prod")}
				return w
			}(),
		},
		"set that cannot be read beside another": {
			why: "the clusters of the other set can be chosen, and what was chosen still stays", chosen: "a d",
			p: placement(),
			w: func() *fleet.World {
				w := decided(world(cluster("a"), cluster("b"), cluster("d", clusterv1beta2.ClusterSetLabel+"=dev")), "edge", "a")
				w.ClusterSets = []clusterv1beta2.ManagedClusterSet{unreadable("prod"), set("dev")}
				w.Bindings = append(w.Bindings, binding("team", "dev"))
				return w
			}(),
			reasons: []string{"a Chosen: was chosen before", "d Chosen: in set dev"},
		},
		"negative weight": {
			why: "a negative weight prefers low scores", chosen: "a",
			p: placement(wants(1), exact(usage("cpu", -1))), w: scored(world(cluster("a"), cluster("b")), "b", "cpu", 20, nil),
		},
		"PreferNoSelect": {
			why: "a cluster with an untolerated PreferNoSelect taint comes after all others, whatever their scores", chosen: "b",
			p: placement(wants(1)), w: decided(world(with(cluster("a"), taint("old", "", preferNo)), cluster("b")), "x", "b"),
			reasons: []string{
				"a Scores: ranked 2nd, 1 wanted, score -400 (Balance 100, Steady 0, PreferNoSelect 5×-100)",
				"b Chosen: in set prod; ranked 1st, 1 wanted, score -100 (Balance -100, Steady 0, PreferNoSelect 5×0)",
			},
		},
		"PreferNoSelect chosen": {
			why: "a chosen cluster keeps its place: the taint is about new choices while Steady is on", chosen: "a",
			p: placement(wants(1)), w: decided(world(with(cluster("a"), taint("old", "", preferNo)), cluster("b")), "edge", "a"),
		},
		"PreferNoSelect serves": {
			why: "where no other serves, the cluster is chosen", chosen: "a",
			p: placement(wants(1)), w: world(with(cluster("a"), taint("old", "", preferNo))),
		},
		"spread hard": {
			why: "DoNotSchedule leaves out what would exceed the skew, and what has no topology", chosen: "a b d",
			p: placement(spreadOver("zone", 1, clusterv1beta1.DoNotSchedule)),
			w: world(cluster("a", "zone=1"), cluster("b", "zone=1"), cluster("c", "zone=1"), cluster("d", "zone=2"), cluster("e")),
			reasons: []string{
				"a Chosen: in set prod", "b Chosen: in set prod",
				"c Spread: label zone=1 has 2 chosen and zone=2 has 1: one more would exceed the maximum skew of 1",
				"d Chosen: in set prod", "e Spread: label zone: missing, and the choice is spread over it",
			},
		},
		"spread soft": {
			why: "ScheduleAnyway prefers the topology that helps, before the score", chosen: "a c",
			p: placement(wants(2), spreadOver("zone", 1, clusterv1beta1.ScheduleAnyway)),
			w: decided(world(cluster("a", "zone=1"), cluster("b", "zone=1"), cluster("c", "zone=2")), "x", "c"),
		},
		"spread soft full": {
			why: "ScheduleAnyway leaves nobody out when all are wanted", chosen: "a b c d",
			p: placement(spreadOver("zone", 1, clusterv1beta1.ScheduleAnyway)),
			w: world(cluster("a", "zone=1"), cluster("b", "zone=1"), cluster("c", "zone=1"), cluster("d")),
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := Schedule(row.p, row.w)
			if got := chosenText(r); got != row.chosen {
				t.Errorf("%s:\nchosen %q, want %q\n%v", row.why, got, row.chosen, reasonsText(r))
			}
			if row.reasons != nil {
				if diff := cmp.Diff(row.reasons, reasonsText(r)); diff != "" {
					t.Errorf("%s:\nreasons (-want +got):\n%s", row.why, diff)
				}
			}
			var wantAt time.Time
			if row.requeue != 0 {
				wantAt = noon.Add(row.requeue)
			}
			if !r.RequeueAt.Equal(wantAt) {
				t.Errorf("%s: requeue at %v, want %v", row.why, r.RequeueAt, wantAt)
			}
			warning := ""
			if len(r.Warnings) > 0 {
				warning = r.Warnings[0].Message
			}
			if warning != row.warning {
				t.Errorf("%s: warning %q, want %q", row.why, warning, row.warning)
			}
		})
	}
}

// noon1 is just before noon; costly loops over ten numbers six times.
var (
	noon1  = noon.Add(-time.Second)
	costly = strings.ReplaceAll("N.all(a, N.all(b, N.all(c, N.all(d, N.all(e, N.all(f, a+b+c+d+e+f > 0))))))", "N", "[1,2,3,4,5,6,7,8,9,10]")
)

// TestConditions has a row for each of OCM's reasons and for each thing that can be wrong with a placement.
func TestConditions(t *testing.T) {
	rows := map[string]struct {
		why           string
		p             *clusterv1beta1.Placement
		w             *fleet.World
		satisfied     string // status reason message
		misconfigured string // message, "" when nothing is wrong
	}{
		"scheduled": {
			why: "all that were asked for are there; the message counts what each step took away",
			p:   placement(requires("tier=edge"), wants(1)),
			w: world(cluster("a", "tier=edge"), cluster("b", "tier=edge"), cluster("c"),
				with(cluster("d", "tier=edge"), taint("x", "", noSelect))),
			satisfied: "True AllDecisionsScheduled All cluster decisions scheduled: 4 in bound sets, 1 not matching tier=edge, 1 tainted, 1 ranked lower, 1 selected",
		},
		"too few": {
			why: "a number that cannot be met says how many are missing",
			p:   placement(wants(3)), w: world(cluster("a")),
			satisfied: "False NotAllDecisionsScheduled 2 cluster decisions unscheduled: 1 in bound sets, 1 selected",
		},
		"none match": {
			why: "predicates that nobody matches", p: placement(requires("tier=edge"), requires("tier=far")), w: world(cluster("a")),
			satisfied: "False NoManagedClusterMatched No ManagedCluster matches any of the cluster predicate: 1 in bound sets, 1 not matching any predicate, 0 selected",
		},
		"no binding": {
			why: "a namespace without bindings", p: placement(),
			w:         &fleet.World{Time: noon, Clusters: []clusterv1.ManagedCluster{cluster("a")}, ClusterSets: []clusterv1beta2.ManagedClusterSet{set("prod")}},
			satisfied: "False NoManagedClusterSetBindings No valid ManagedClusterSetBindings found in placement namespace",
		},
		"bound set vanished": {
			why: "a binding of a set that does not exist counts for nothing, and is named", p: placement(),
			w:         &fleet.World{Time: noon, Bindings: []clusterv1beta2.ManagedClusterSetBinding{binding("team", "gone")}},
			satisfied: "False NoManagedClusterSetBindings No valid ManagedClusterSetBindings found in placement namespace; the bound ManagedClusterSet gone does not exist",
		},
		"unknown set": {
			why: "a placement that names an unknown set", p: placement(func(s *clusterv1beta1.PlacementSpec) { s.ClusterSets = []string{"prdo"} }), w: world(cluster("a")),
			satisfied: "False NoIntersection None of ManagedClusterSets [prdo] is bound to placement namespace; ManagedClusterSet prdo does not exist",
		},
		"one unknown set of two": {
			why: "the known set still serves; the unknown one is said",
			p:   placement(func(s *clusterv1beta1.PlacementSpec) { s.ClusterSets = []string{"prod", "prdo"} }), w: world(cluster("a")),
			satisfied: "True AllDecisionsScheduled All cluster decisions scheduled: 1 in bound sets, 1 selected; ManagedClusterSet prdo does not exist",
		},
		"unbound set": {
			why: "a set that exists and is not bound to the namespace", p: placement(func(s *clusterv1beta1.PlacementSpec) { s.ClusterSets = []string{"dev"} }),
			w: func() *fleet.World {
				w := world(cluster("a"))
				w.ClusterSets = append(w.ClusterSets, set("dev"))
				return w
			}(),
			satisfied: "False NoIntersection None of ManagedClusterSets [dev] is bound to placement namespace; ManagedClusterSet dev is not bound to the namespace",
		},
		"empty sets": {
			why: "sets without clusters", p: placement(), w: world(),
			satisfied: "False AllManagedClusterSetsEmpty All ManagedClusterSets [prod] have no member ManagedCluster",
		},
		"expired scores": {
			why: "a score that is no longer valid is said", p: placement(wants(1), exact(usage("cpu", 1))),
			w:         scored(world(cluster("a"), cluster("b")), "b", "cpu", 20, &noon1),
			satisfied: "True AllDecisionsScheduled All cluster decisions scheduled: 2 in bound sets, 1 ranked lower, 1 selected; AddOnPlacementScores b/usage expired",
		},
		"costly CEL": {
			why: "an expression that loops too long matches nothing, and it is said why", p: placement(requiresCEL(costly)), w: world(cluster("a")),
			satisfied: "False NoManagedClusterMatched No ManagedCluster matches any of the cluster predicate: 1 in bound sets, 1 not matching the predicate, 0 selected; " +
				"cel " + costly + " costs too much for 1 clusters",
		},
		"overlapping groups": {
			why: "clusters that two groups want are in the first", p: placement(grouped("first tier=edge", "second zone=1", "third zone=2")),
			w: world(cluster("a", "tier=edge", "zone=1"), cluster("b", "tier=edge", "zone=1"), cluster("c", "zone=2")),
			satisfied: "True AllDecisionsScheduled All cluster decisions scheduled: 3 in bound sets, 3 selected; " +
				"decision groups first and second both match 2 clusters: the first has them",
		},
		"groups of one name": {
			why: "nobody can tell them apart by name", p: placement(grouped("same tier=edge", "same zone=1")), w: world(cluster("a", "tier=edge")),
			satisfied: "True AllDecisionsScheduled All cluster decisions scheduled: 1 in bound sets, 1 selected; there are two decision groups same",
		},
		"set that cannot be read": {
			why: "the decisions stay, and which set it is is said", p: placement(),
			w: func() *fleet.World {
				w := decided(world(cluster("a"), cluster("b")), "edge", "a")
				w.ClusterSets = []clusterv1beta2.ManagedClusterSet{unreadable("prod")}
				return w
			}(),
			satisfied: `False NotAllDecisionsScheduled What is chosen stays: 1 in bound sets, 1 selected; selector of set prod: "Near" is not a valid label selector operator`,
		},
		"bad label selector": {
			why: "an operator that does not exist", p: placement(requiresLabel("tier", "Near", "x")), w: world(cluster("a")),
			satisfied:     "False NoManagedClusterMatched No ManagedCluster matches any of the cluster predicate: 1 in bound sets, 0 selected",
			misconfigured: `Predicate:label selector: "Near" is not a valid label selector operator`,
		},
		"bad toleration": {
			why: "an empty key needs Exists", p: placement(tolerates(clusterv1beta1.Toleration{Value: "x"})), w: world(cluster("a")),
			satisfied:     "False NoManagedClusterMatched No ManagedCluster matches any of the cluster predicate: 1 in bound sets, 0 selected",
			misconfigured: "TaintToleration:If the key is empty, operator must be Exists.",
		},
		"bad toleration value": {
			why: "Exists with a value", p: placement(tolerates(clusterv1beta1.Toleration{Key: "k", Operator: clusterv1beta1.TolerationOpExists, Value: "x"})), w: world(cluster("a")),
			satisfied:     "False NoManagedClusterMatched No ManagedCluster matches any of the cluster predicate: 1 in bound sets, 0 selected",
			misconfigured: "TaintToleration:If the operator is Exists, the value should be empty.",
		},
		"bad prioritizer": {
			why: "a built-in that does not exist", p: placement(exact(builtIn("Speed", 1))), w: world(cluster("a")),
			satisfied:     "False NoManagedClusterMatched No ManagedCluster matches any of the cluster predicate: 1 in bound sets, 0 selected",
			misconfigured: ":incorrect builtin prioritizer: Speed",
		},
		"bad weight": {
			why: "a weight out of bounds, from a file that no API server saw", p: placement(exact(builtIn("Steady", 11))), w: world(cluster("a")),
			satisfied:     "False NoManagedClusterMatched No ManagedCluster matches any of the cluster predicate: 1 in bound sets, 0 selected",
			misconfigured: ":weight 11 is not between -10 and 10",
		},
		"bad group size": {
			why: "a group size that is no number", p: placement(func(s *clusterv1beta1.PlacementSpec) {
				s.DecisionStrategy.GroupStrategy.ClustersPerDecisionGroup = intstr.FromString("many")
			}), w: world(cluster("a")),
			satisfied:     "False NoManagedClusterMatched No ManagedCluster matches any of the cluster predicate: 1 in bound sets, 0 selected",
			misconfigured: ":many invalid type: string is not a percentage",
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := Schedule(row.p, row.w)
			c := condition(t, r, clusterv1beta1.PlacementConditionSatisfied)
			if got := string(c.Status) + " " + c.Reason + " " + c.Message; got != row.satisfied {
				t.Errorf("%s:\n got %s\nwant %s", row.why, got, row.satisfied)
			}
			if c.ObservedGeneration != 3 {
				t.Errorf("observed generation %d: a reader cannot see that generation 3 was scheduled", c.ObservedGeneration)
			}
			m := condition(t, r, clusterv1beta1.PlacementConditionMisconfigured)
			want := "False Succeedconfigured Placement configurations check pass"
			if row.misconfigured != "" {
				want = "True Misconfigured " + row.misconfigured
				if len(r.Chosen) > 0 {
					t.Errorf("a misconfigured placement chose %v", r.Chosen)
				}
			}
			if got := string(m.Status) + " " + m.Reason + " " + m.Message; got != want {
				t.Errorf("%s:\n got %s\nwant %s", row.why, got, want)
			}
			if r.Misconfigured() != row.misconfigured {
				t.Errorf("Misconfigured() = %q, want %q", r.Misconfigured(), row.misconfigured)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	named := func(name string, labels map[string]string) clusterv1beta1.DecisionGroup {
		return clusterv1beta1.DecisionGroup{GroupName: name, ClusterSelector: clusterv1beta1.GroupClusterSelector{
			LabelSelector: metav1.LabelSelector{MatchLabels: labels},
		}}
	}
	strategy := func(per intstr.IntOrString, groups ...clusterv1beta1.DecisionGroup) func(*clusterv1beta1.PlacementSpec) {
		return func(s *clusterv1beta1.PlacementSpec) {
			s.DecisionStrategy.GroupStrategy = clusterv1beta1.GroupStrategy{ClustersPerDecisionGroup: per, DecisionGroups: groups}
		}
	}
	five := world(cluster("e", "canary=yes"), cluster("d"), cluster("c", "canary=yes"), cluster("b"), cluster("a"))
	rows := map[string]struct {
		why  string
		p    *clusterv1beta1.Placement
		w    *fleet.World
		want []Group
	}{
		"none": {"an empty strategy is one group", placement(), five, []Group{{Index: 0, Clusters: []string{"a", "b", "c", "d", "e"}}}},
		"size": {"the rest is cut by size", placement(strategy(intstr.FromInt32(2))), five,
			[]Group{{Index: 0, Clusters: []string{"a", "b"}}, {Index: 1, Clusters: []string{"c", "d"}}, {Index: 2, Clusters: []string{"e"}}}},
		"percent": {"a percentage is of the chosen clusters, rounded up", placement(strategy(intstr.FromString("50%"))), five,
			[]Group{{Index: 0, Clusters: []string{"a", "b", "c"}}, {Index: 1, Clusters: []string{"d", "e"}}}},
		"too large": {"a size over the number of clusters is all in one", placement(strategy(intstr.FromInt32(9))), five,
			[]Group{{Index: 0, Clusters: []string{"a", "b", "c", "d", "e"}}}},
		"named": {"named groups come first and have the rest after them", placement(strategy(intstr.FromString("100%"), named("canary", map[string]string{"canary": "yes"}))), five,
			[]Group{{Name: "canary", Index: 0, Clusters: []string{"c", "e"}}, {Index: 1, Clusters: []string{"a", "b", "d"}}}},
		"named by size": {"a named group larger than the size becomes several of one name", placement(strategy(intstr.FromInt32(1), named("canary", map[string]string{"canary": "yes"}))), world(cluster("a", "canary=yes"), cluster("b", "canary=yes")),
			[]Group{{Name: "canary", Index: 0, Clusters: []string{"a"}}, {Name: "canary", Index: 1, Clusters: []string{"b"}}}},
		"first group wins": {"a cluster that two groups want is in the first", placement(strategy(intstr.FromString("100%"), named("one", nil), named("two", nil))), world(cluster("a")),
			[]Group{{Name: "one", Index: 0, Clusters: []string{"a"}}}},
		"empty": {"nothing chosen is one empty group, so that there is one decision object", placement(strategy(intstr.FromInt32(2))), world(),
			[]Group{{}}},
		"by score": {"sortBy Score orders by score, highest first", placement(func(s *clusterv1beta1.PlacementSpec) { s.SortBy = clusterv1beta1.SortByScore }), decided(world(cluster("a"), cluster("b"), cluster("c")), "x", "a"),
			[]Group{{Index: 0, Clusters: []string{"b", "c", "a"}}}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := Schedule(row.p, row.w)
			if diff := cmp.Diff(row.want, r.Groups); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
		})
	}
}
