package placement

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

func TestInCluster(t *testing.T) {
	gone := func(c *clusterv1.ManagedCluster) { c.DeletionTimestamp = &metav1.Time{Time: noon} }
	tainted := taint("k", "", clusterv1.TaintEffectNoSelect)
	byGroup := placement(func(s *clusterv1beta1.PlacementSpec) {
		s.DecisionStrategy.GroupStrategy.DecisionGroups = []clusterv1beta1.DecisionGroup{{GroupName: "g",
			ClusterSelector: clusterv1beta1.GroupClusterSelector{LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{"ring": "1"}}}}}
	})
	rows := map[string]struct {
		why           string
		p             *clusterv1beta1.Placement
		before, after clusterv1.ManagedCluster
		want          bool
	}{
		"label of a predicate":  {"it comes in", placement(requires("tier=edge")), cluster("a", "tier=core"), cluster("a", "tier=edge"), true},
		"label lost":            {"it drops out", placement(requires("tier=edge")), cluster("a", "tier=edge"), cluster("a"), true},
		"label between others":  {"it is out before and after", placement(requires("tier=edge")), cluster("a", "tier=core"), cluster("a", "tier=mid"), false},
		"other label":           {"nobody looks at it", placement(requires("tier=edge")), cluster("a", "tier=edge"), cluster("a", "tier=edge", "x=y"), false},
		"one of two predicates": {"it changes the reason and the groups may follow", placement(requires("tier=edge"), requires("tier=core")), cluster("a", "tier=core"), cluster("a", "tier=edge"), true},
		"label of a group":      {"it may change its group", byGroup, cluster("a"), cluster("a", "ring=1"), true},
		"label of the spread":   {"it changes its topology", placement(spreadOver("zone", 1, clusterv1beta1.ScheduleAnyway)), cluster("a", "zone=1"), cluster("a", "zone=2"), true},
		"claim":                 {"a claim of a predicate", placement(requiresClaim("id", metav1.LabelSelectorOpExists)), cluster("a"), with(cluster("a"), claim("id", "1")), true},
		"other claim":           {"a claim of no predicate", placement(requiresClaim("id", metav1.LabelSelectorOpExists)), with(cluster("a"), claim("id", "1")), with(cluster("a"), claim("id", "1"), claim("x", "1")), false},
		"taint":                 {"it may drop out", placement(), cluster("a"), with(cluster("a"), tainted), true},
		"taint of an excluded":  {"it is out anyway", placement(requires("tier=edge")), cluster("a"), with(cluster("a"), tainted), false},
		"deleted":               {"its set has one cluster less, which the condition tells", placement(requires("tier=edge")), cluster("a"), with(cluster("a"), gone), true},
		"capacity":              {"a prioritizer looks at it", placement(additive(builtIn("ResourceAllocatableCPU", 1))), with(cluster("a"), capacity("1")), with(cluster("a"), capacity("2")), true},
		"capacity, unused":      {"no prioritizer looks at it", placement(), with(cluster("a"), capacity("1")), with(cluster("a"), capacity("2")), false},
		"weight 0":              {"the prioritizer is off", placement(additive(builtIn("ResourceAllocatableCPU", 0))), with(cluster("a"), capacity("1")), with(cluster("a"), capacity("2")), false},
		"anything under CEL":    {"an expression can look at everything", placement(requiresCEL("true")), cluster("a"), cluster("a", "x=y"), true},
		"selector that is none": {"a placement that is wrong goes by what it names", placement(requiresLabel("tier", "Nonsense")), cluster("a", "tier=core"), cluster("a", "tier=mid"), true},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			if got := InterestOf(row.p).InCluster(&row.before, &row.after); got != row.want {
				t.Errorf("%s: %t, want %t", row.why, got, row.want)
			}
			if got := InterestOf(row.p).InCluster(&row.before, &row.before); got {
				t.Error("no difference concerns nobody")
			}
		})
	}
}
