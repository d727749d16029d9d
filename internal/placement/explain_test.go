package placement

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/fleet"
)

func TestChange(t *testing.T) {
	const edge, gpu = "tier=edge", "gpu"
	const toProd = "to be in set prod, label cluster.open-cluster-management.io/clusterset=prod is needed"
	seconds, negative := int64(30), int64(-30)
	deleted := with(cluster("a"), func(c *clusterv1.ManagedCluster) { c.DeletionTimestamp = &metav1.Time{Time: noon} })
	inDev := with(cluster("a"), func(c *clusterv1.ManagedCluster) { c.Labels[clusterv1beta2.ClusterSetLabel] = "dev" })
	withDev := func(w *fleet.World) *fleet.World {
		w.ClusterSets = append(w.ClusterSets, set("dev"))
		return w
	}
	unlabelled := with(cluster("a"), func(c *clusterv1.ManagedCluster) { delete(c.Labels, clusterv1beta2.ClusterSetLabel) })
	withGlobal := func(w *fleet.World) *fleet.World {
		all := set("all")
		all.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{}}
		w.ClusterSets = append(w.ClusterSets, all)
		return w
	}
	rows := map[string]struct {
		why  string
		p    *clusterv1beta1.Placement
		w    *fleet.World
		want string // about cluster a
	}{
		"chosen": {"what is chosen needs nothing", placement(), world(cluster("a")), ""},
		"label": {"the unmet term, with what is there", placement(requires(edge)), world(cluster("a", "tier=core")),
			"label tier=edge is needed (has tier=core)"},
		"several terms": {"all of them are needed", placement(requires(edge, "zone=1")), world(cluster("a")),
			"label tier=edge is needed (has none) and label zone=1 is needed (has none)"},
		"several predicates": {"one of them is enough", placement(requires(edge), requiresClaim("id", metav1.LabelSelectorOpExists)), world(cluster("a")),
			"label tier=edge is needed (has none), or claim id is needed (has none)"},
		"not in": {"a label that must not be there", placement(requiresLabel("tier", metav1.LabelSelectorOpNotIn, "edge")), world(cluster("a", edge)),
			"label tier has to go or to change (has tier=edge)"},
		"absent": {"a label that must not be there at all", placement(requiresLabel("tier", metav1.LabelSelectorOpDoesNotExist)), world(cluster("a", edge)),
			"label tier has to go (has tier=edge)"},
		"cel": {"the expression with what it gives", placement(requiresCEL(`managedCluster.metadata.name == "b"`)), world(cluster("a")),
			`cel managedCluster.metadata.name == "b" has to be true (is false)`},
		"taint": {"either side can give way", placement(), world(with(cluster("a"), taint(gpu, "yes", clusterv1.TaintEffectNoSelect))),
			"tolerate taint gpu=yes:NoSelect, or remove it"},
		"expired": {"a toleration that is too short",
			placement(tolerates(clusterv1beta1.Toleration{Key: gpu, Operator: clusterv1beta1.TolerationOpExists, TolerationSeconds: &seconds})),
			world(with(cluster("a"), taint(gpu, "", clusterv1.TaintEffectNoSelect))),
			"tolerate taint gpu:NoSelect for longer than 30s, or remove it"},
		"unreachable": {"the hub sets this taint: removing it by hand is no use", placement(),
			world(with(cluster("a"), taint(clusterv1.ManagedClusterTaintUnreachable, "", clusterv1.TaintEffectNoSelect))),
			"tolerate taint cluster.open-cluster-management.io/unreachable:NoSelect, or the cluster has to be available again"},
		"label, taint and number": {"all that stands against it, not only what was found first", placement(requires(edge), wants(1)),
			world(with(cluster("a"), taint(gpu, "", clusterv1.TaintEffectNoSelect)), cluster("b", edge)),
			"label tier=edge is needed (has none); and tolerate taint gpu:NoSelect, or remove it; then it competes for one of 1 places"},
		"rank": {"a place more, or a score: of equal ones the first name wins", placement(wants(1), exact(builtIn("ResourceAllocatableCPU", 1))),
			world(with(cluster("a"), capacity("1")), with(cluster("b"), capacity("3"))),
			"raise numberOfClusters to 2, or it needs a score of 100 (has -100)"},
		"rank after an equal": {"the later name needs more", placement(wants(1), exact(usage("cpu", 1))),
			scored(world(cluster("0"), cluster("a")), "0", "cpu", 7, nil), "raise numberOfClusters to 2, or it needs a score of 8 (has 0)"},
		"none wanted": {"no score helps where there are no places", placement(wants(0)), world(cluster("a")), "raise numberOfClusters to 1"},
		"avoided": {"what lowers it is named", placement(wants(1)),
			world(with(cluster("a"), taint(gpu, "", clusterv1.TaintEffectPreferNoSelect)), cluster("b")),
			"raise numberOfClusters to 2, or it needs a score of 100 (has -400), or to rank higher, tolerate taint gpu:PreferNoSelect or remove it"},
		"spread": {"a hard constraint keeps it out", placement(spreadOver("zone", 1, clusterv1beta1.DoNotSchedule)),
			world(cluster("0", "zone=1"), cluster("1", "zone=1"), cluster("2", "zone=2"), cluster("a", "zone=1")),
			"set whenUnsatisfiable of zone to ScheduleAnyway"},
		"deleted":        {"no way back", placement(), world(deleted), "nothing can: the cluster is being deleted"},
		"does not exist": {"nobody of that name", placement(), world(cluster("b")), "a cluster of this name has to join"},
		"unbound set": {"its set can be bound, or it can change its set", placement(), withDev(world(inDev)),
			toProd + " (has cluster.open-cluster-management.io/clusterset=dev), or bind its set dev to namespace team"},
		"set of all": {"who binds the set of all clusters takes them all: that is the last resort", placement(), withGlobal(withDev(world(inDev))),
			toProd + " (has cluster.open-cluster-management.io/clusterset=dev), or bind its set dev to namespace team"},
		"only in the set of all": {"and the label is better", placement(), withGlobal(world(unlabelled)),
			toProd + " (has none), or bind its set all to namespace team"},
		"unreadable set": {"of the eligible sets, one that a label leads into", placement(), func() *fleet.World {
			w := world(unlabelled)
			w.ClusterSets = append(w.ClusterSets, unreadable("bad"))
			w.Bindings = append(w.Bindings, binding("team", "bad"))
			return w
		}(), toProd + " (has none)"},
		"named set does not exist": {"it has to, before anything can be in it", placement(takesSets("dev")), world(unlabelled),
			"set dev has to exist, to be bound to namespace team and to hold the cluster"},
		"named set has vanished": {"its binding is there already", placement(takesSets("dev")), func() *fleet.World {
			w := world(cluster("a"))
			w.Bindings = append(w.Bindings, binding("team", "dev"))
			return w
		}(), "the bound set dev has to exist and to hold the cluster, or add its set prod to spec.clusterSets"},
		"named set is not bound": {"it has to be, and the cluster needs its label", placement(takesSets("dev")), withDev(world(unlabelled)),
			"bind set dev to namespace team, and to be in it, label cluster.open-cluster-management.io/clusterset=dev is needed (has none)"},
		"in the named set": {"it only has to be bound", placement(takesSets("dev", "test")), withDev(withGlobal(world(inDev))), "bind its set dev to namespace team"},
		"set not named": {"the placement takes another set only", placement(takesSets("dev")),
			func() *fleet.World {
				w := withDev(world(cluster("a")))
				w.Bindings = append(w.Bindings, binding("team", "dev"))
				return w
			}(),
			"to be in set dev, label cluster.open-cluster-management.io/clusterset=dev is needed (has cluster.open-cluster-management.io/clusterset=prod), or add its set prod to spec.clusterSets"},
		"no sets": {"there is nothing to be in", placement(), &fleet.World{Time: noon, Clusters: []clusterv1.ManagedCluster{cluster("a")}},
			"bind a set to namespace team and put the cluster into it"},
		"filtered, and spread": {"to pass the filters is not enough", placement(requires(edge), spreadOver("zone", 1, clusterv1beta1.DoNotSchedule)),
			world(cluster("a", "zone=1"), cluster("b", edge, "zone=1")),
			"label tier=edge is needed (has none); then the spread over zone decides"},
		"filtered, without a topology": {"the spread takes only those that have one", placement(requires(edge), wants(2),
			spreadOver("zone", 1, clusterv1beta1.DoNotSchedule), spreadOver("rack", 1, clusterv1beta1.ScheduleAnyway)), world(cluster("a"), cluster("b", edge, "zone=1")),
			"label tier=edge is needed (has none); and label zone is needed, which the choice is spread over; then it competes for one of 2 places; then the spread over zone decides"},
		"filtered, spread softly": {"which keeps nobody out", placement(requires(edge), spreadOver("zone", 1, clusterv1beta1.ScheduleAnyway)), world(cluster("a")),
			"label tier=edge is needed (has none)"},
		"filtered, and none wanted": {"nobody gets one of no places", placement(requires(edge), wants(0)), world(cluster("a")),
			"label tier=edge is needed (has none); and raise numberOfClusters from 0"},
		"no score": {"where nothing gives scores, none helps", placement(wants(1), exact()), world(cluster("0"), cluster("a")), "raise numberOfClusters to 2"},
		"negative toleration": {"counts as none",
			placement(tolerates(clusterv1beta1.Toleration{Key: gpu, Operator: clusterv1beta1.TolerationOpExists, TolerationSeconds: &negative})),
			world(with(cluster("a"), taint(gpu, "", clusterv1.TaintEffectNoSelect))),
			"tolerate taint gpu:NoSelect for longer than 0s, or remove it"},
		"expression that does not compile": {"on one line", placement(requiresCEL("a +\n")), world(cluster("a")),
			"correct the placement: spec.predicates[0].requiredClusterSelector.celSelector.celExpressions[0]: the CEL expression does not compile: column 1: Syntax error: mismatched input '<EOF>'"},
		"misconfigured": {"the placement comes first", placement(wants(-1)), world(cluster("a")), "correct the placement: spec.numberOfClusters: numberOfClusters -1 is negative"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			got := NewIndex(row.w).Why(row.p, "a").Clusters
			if len(got) != 1 || got[0].Change != row.want {
				t.Errorf("%s:\n got %+v\nwant %q", row.why, got, row.want)
			}
		})
	}
}

func TestWhy(t *testing.T) {
	w := world(with(cluster("a", "zone=1"), capacity("1")), with(cluster("b", "zone=2"), capacity("3")), with(cluster("c"), capacity("2")),
		with(cluster("d"), taint("k", "", clusterv1.TaintEffectNoSelect)))
	p := placement(wants(2), exact(builtIn("ResourceAllocatableCPU", 2), builtIn("Steady", 1)), spreadOver("zone", 1, clusterv1beta1.ScheduleAnyway))
	got := NewIndex(w).Why(p)
	total := func(n int64) *int64 { return &n }
	scores := func(cpu int64) []Score { return []Score{{"ResourceAllocatableCPU", 2, cpu}, {"Steady", 1, 0}} }
	want := Explanation{
		Summary: "4 in bound sets, 1 tainted, 1 ranked lower, 2 selected",
		Clusters: []Explained{
			{Decision: fleet.Decision{Cluster: "a", Chosen: true, Step: StepChosen, Reason: "in set prod; ranked 3rd, 2 wanted, score -200 (ResourceAllocatableCPU 2×-100, Steady 0)"},
				Rank: 3, Total: total(-200), Scores: scores(-100), Topology: []string{"zone=1"}, Group: "0"},
			{Decision: fleet.Decision{Cluster: "b", Chosen: true, Step: StepChosen, Reason: "in set prod; ranked 1st, 2 wanted, score 200 (ResourceAllocatableCPU 2×100, Steady 0)"},
				Rank: 1, Total: total(200), Scores: scores(100), Topology: []string{"zone=2"}, Group: "0"},
			{Decision: fleet.Decision{Cluster: "c", Step: StepScores, Reason: "ranked 2nd, 2 wanted, score 0 (ResourceAllocatableCPU 2×0, Steady 0)"},
				Change: "raise numberOfClusters to 3", Rank: 2, Total: total(0), Scores: scores(0), Topology: []string{"zone"}},
			{Decision: fleet.Decision{Cluster: "d", Step: StepTaints, Reason: "taint k:NoSelect is not tolerated"},
				Change: "tolerate taint k:NoSelect, or remove it; then it competes for one of 2 places"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the pipeline as a table (-want +got):\n%s", diff)
	}
}

// TestWhyNothing: where nothing can be chosen, it is said why, without a row about any cluster.
func TestWhyNothing(t *testing.T) {
	bare := &fleet.World{Time: noon, Clusters: []clusterv1.ManagedCluster{cluster("a")}}
	vanished := world()
	vanished.Bindings = append(vanished.Bindings, binding("team", "gone"))
	withDev := world(cluster("a"))
	withDev.ClusterSets = append(withDev.ClusterSets, set("dev"))
	rows := map[string]struct {
		why        string
		p          *clusterv1beta1.Placement
		w          *fleet.World
		condition  string
		complaints []string
	}{
		"nothing bound": {"the namespace has no set", placement(), bare, "No valid ManagedClusterSetBindings found in placement namespace", nil},
		"nothing bound, and sets named": {"both", placement(takesSets("prod")), bare, "No valid ManagedClusterSetBindings found in placement namespace",
			[]string{"ManagedClusterSet prod does not exist"}},
		"unknown and unbound": {"each is named", placement(takesSets("nosuch", "dev")), withDev,
			"None of ManagedClusterSets [nosuch,dev] is bound to placement namespace",
			[]string{"ManagedClusterSet nosuch does not exist", "ManagedClusterSet dev is not bound to the namespace"}},
		"vanished": {"a binding to nothing", placement(), vanished, "All ManagedClusterSets [prod] have no member ManagedCluster",
			[]string{"the bound ManagedClusterSet gone does not exist"}},
		"satisfied":     {"nothing to add", placement(), world(cluster("a")), "", nil},
		"misconfigured": {"the problem is said instead", placement(wants(-1)), world(cluster("a")), "", nil},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			got := NewIndex(row.w).Why(row.p)
			if got.Condition != row.condition || !slices.Equal(got.Complaints, row.complaints) {
				t.Errorf("%s: condition %q, complaints %q", row.why, got.Condition, got.Complaints)
			}
		})
	}
}

var raise = regexp.MustCompile(`raise numberOfClusters to (\d+)`)

// TestAdviceHelps follows what is said about every cluster that was ranked and not chosen: then it is chosen, and with one
// place less it is not.
func TestAdviceHelps(t *testing.T) {
	followed := 0
	for _, seed := range samples {
		p, w := sample(seed)
		x := NewIndex(w)
		for _, e := range x.Why(p).Clusters {
			if e.Step != StepScores && e.Step != StepSpread {
				continue
			}
			followed++
			advised := p.DeepCopy()
			if strings.Contains(e.Change, "whenUnsatisfiable") {
				for i := range advised.Spec.SpreadPolicy.SpreadConstraints {
					advised.Spec.SpreadPolicy.SpreadConstraints[i].WhenUnsatisfiable = clusterv1beta1.ScheduleAnyway
				}
			}
			number := raise.FindStringSubmatch(e.Change)
			if number != nil {
				n, _ := strconv.Atoi(number[1])
				wants(int32(n))(&advised.Spec)
			}
			if r := x.Schedule(advised); !slices.Contains(r.Chosen, e.Cluster) {
				t.Fatalf("seed %d: %s is not chosen although: %s", seed, e.Cluster, e.Change)
			}
			if number != nil {
				*advised.Spec.NumberOfClusters--
				if r := x.Schedule(advised); slices.Contains(r.Chosen, e.Cluster) {
					t.Fatalf("seed %d: %s would be chosen with fewer than: %s", seed, e.Cluster, e.Change)
				}
			}
		}
	}
	if followed < 100 {
		t.Fatalf("only %d pieces of advice in all samples", followed)
	}
}

// TestAdvicePassesFilters does what is asked of every cluster that a predicate or a taint keeps out: it passes both.
func TestAdvicePassesFilters(t *testing.T) {
	label := regexp.MustCompile(`label (\w+)=(\w+) is needed`)
	followed := 0
	for _, seed := range samples {
		p, w := sample(seed)
		for _, e := range NewIndex(w).Why(p).Clusters {
			if e.Step != StepPredicates && e.Step != StepTaints {
				continue
			}
			followed++
			next := *w
			next.Clusters = slices.Clone(w.Clusters)
			at := slices.IndexFunc(next.Clusters, func(c clusterv1.ManagedCluster) bool { return c.Name == e.Cluster })
			c := next.Clusters[at].DeepCopy()
			for _, m := range label.FindAllStringSubmatch(e.Change, -1) {
				c.Labels[m[1]] = m[2]
			}
			c.Spec.Taints = slices.DeleteFunc(c.Spec.Taints, func(taint clusterv1.Taint) bool {
				return strings.Contains(e.Change, fmt.Sprintf("tolerate taint %s:%s, or remove it", taint.Key, taint.Effect))
			})
			next.Clusters[at] = *c
			if now := NewIndex(&next).Why(p, e.Cluster).Clusters[0]; now.Step == StepPredicates || now.Step == StepTaints {
				t.Fatalf("seed %d: %s is out by %s although: %s", seed, e.Cluster, now.Reason, e.Change)
			}
		}
	}
	if followed < 100 {
		t.Fatalf("only %d pieces of advice in all samples", followed)
	}
}
