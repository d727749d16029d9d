package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/fleet"
)

func TestCEL(t *testing.T) {
	aws := with(cluster("a", "tier=edge"), claim("platform", "aws"), claim("info", `{"gpus": 4, "zones": ["1", "2"]}`), capacity("16"),
		taint("gpu", "yes", clusterv1.TaintEffectPreferNoSelect))
	aws.Status.Version.Kubernetes = "v1.31.2"
	w := scored(world(aws), "a", "cpu", 40, nil)
	rows := map[string]struct {
		why        string
		expression string
		reason     string // "" when it matches
	}{
		"label":        {"fields are reached by their JSON names", `managedCluster.metadata.labels.tier == "edge"`, ""},
		"claims":       {"lists have macros", `managedCluster.status.clusterClaims.exists(c, c.name == "platform" && c.value == "aws")`, ""},
		"scores":       {"scores() lists name and value of an AddOnPlacementScore", `managedCluster.scores("usage").filter(s, s.name == "cpu").all(e, e.value > 30)`, ""},
		"scores value": {"a score's value is an int", `managedCluster.scores("usage")[0].value + 2 == 42`, ""},
		"no scores":    {"without the object scores() fails and the cluster does not match", `managedCluster.scores("other").size() == 0`, "fails: scores: AddOnPlacementScore a/other not found"},
		"parseJSON":    {"parseJSON reads a claim's value", `managedCluster.status.clusterClaims.filter(c, c.name == "info")[0].value.parseJSON().gpus >= 4`, ""},
		"bad JSON":     {"what is not JSON fails", `managedCluster.metadata.name.parseJSON() == 1`, "fails: parseJSON: invalid character"},
		"semver":       {"Kubernetes' semver library", `semver(managedCluster.status.version.kubernetes, true).isGreaterThan(semver("1.30.0"))`, ""},
		"quantity":     {"Kubernetes' quantity library", `quantity(managedCluster.status.allocatable.cpu).isGreaterThan(quantity("8"))`, ""},
		"no quantity":  {"what only Kubernetes takes for one, with all the memory there is, is none", `!isQuantity("1234567890123456789e2147483647") && isQuantity("1e3")`, ""},
		"huge":         {"and fails", `quantity("1234567890123456789e2147483647").isInteger()`, "fails: quantities must match"},
		"regex":        {"Kubernetes' regex library", `managedCluster.metadata.name.find("^[a-z]$") == "a"`, ""},
		"ip":           {"Kubernetes' IP library", `cidr("10.0.0.0/8").containsIP(ip("10.1.2.3"))`, ""},
		"strings":      {"the strings extension", `"A".lowerAscii() == managedCluster.metadata.name`, ""},
		"optional":     {"optionals make missing keys harmless", `managedCluster.metadata.labels[?"none"].orValue("x") == "x"`, ""},
		"taints":       {"taints are typed by JSON", `managedCluster.spec.taints[0].effect == "PreferNoSelect"`, ""},
		"false":        {"false is said", `managedCluster.metadata.name == "b"`, "is false"},
		"not bool":     {"what is no bool never matches", `managedCluster.metadata.name`, "is string, not bool"},
		"cost":         {"an expression that costs too much is cut off", costly, "costs too much"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := Schedule(placement(requiresCEL(row.expression)), w)
			if r.Misconfigured() != "" {
				t.Fatalf("%s: misconfigured: %s", row.why, r.Misconfigured())
			}
			if row.reason == "" {
				if len(r.Chosen) != 1 {
					t.Errorf("%s: %v", row.why, reasonsText(r))
				}
				return
			}
			if len(r.Chosen) != 0 || !strings.Contains(r.Decisions[0].Reason, "cel "+row.expression+": "+row.reason) {
				t.Errorf("%s: %v", row.why, reasonsText(r))
			}
		})
	}
}

// frugal is a world in which the expressions of a placement may cost a tenth of what they may.
func frugal(w *fleet.World) *Index {
	x := NewIndex(w)
	x.budget /= 10
	return x
}

// costlyOverAFleet is an expression that each cluster can afford and that 40 cannot in a frugal world.
var costlyOverAFleet = func() string {
	ten := "[1,2,3,4,5,6,7,8,9,10]"
	return ten + ".all(a, " + ten + ".all(b, " + ten + ".all(c, " + ten + ".all(d, a+b+c+d > 0))))"
}()

// TestCELOverAFleet has more clusters than the expression may look at: newcomers wait, and who is chosen stays.
func TestCELOverAFleet(t *testing.T) {
	p := placement(requiresCEL(costlyOverAFleet))
	if r := frugal(world(numbered(3)...)).Schedule(p); len(r.Chosen) != 3 || condition(t, r, clusterv1beta1.PlacementConditionSatisfied).Status != metav1.ConditionTrue {
		t.Fatalf("three clusters can afford it: %v", reasonsText(r))
	}
	clusters := numbered(40)
	last, first := clusters[len(clusters)-1].Name, clusters[0].Name
	w := decided(world(clusters...), "edge", last)
	r := frugal(w).Schedule(p)
	if r.Misconfigured() != "" {
		t.Fatalf("it is no fault of the placement that clusters joined: %s", r.Misconfigured())
	}
	if !slices.IsSorted(r.Chosen) || !slices.IsSorted(r.Candidates) {
		t.Errorf("chosen %v, candidates %v: not by name", r.Chosen, r.Candidates)
	}
	if !slices.Contains(r.Chosen, first) || !slices.Contains(r.Chosen, last) || len(r.Chosen) == len(clusters) {
		t.Errorf("%d chosen: those that were looked at match, the one that was chosen already first among them", len(r.Chosen))
	}
	wait := r.Decisions[len(r.Decisions)-2]
	if wait.Chosen || wait.Step != StepPredicates || wait.Reason != "cel "+costlyOverAFleet+" costs too much over all clusters: this one was not looked at" {
		t.Errorf("who waits is told %+v", wait)
	}
	c := condition(t, r, clusterv1beta1.PlacementConditionSatisfied)
	left := len(clusters) - len(r.Chosen)
	counts := fmt.Sprintf("What is chosen stays: 40 in bound sets, %d not looked at, %d selected; ", left, len(r.Chosen))
	complaint := fmt.Sprintf("cel %s costs too much over all clusters, and %d were not looked at: write it so that it costs less, or name fewer sets in spec.clusterSets", costlyOverAFleet, left)
	if c.Status != metav1.ConditionFalse || c.Reason != clusterv1beta1.ReasonNotAllDecisionsScheduled || c.Message != counts+complaint {
		t.Errorf("condition %+v, want %s", c, counts+complaint)
	}
	if change := frugal(w).Why(p, wait.Cluster).Clusters[0].Change; change != "cel "+costlyOverAFleet+" costs too much over all clusters: "+costLess {
		t.Errorf("change %q", change)
	}

	slices.Reverse(w.Clusters)
	if turned := frugal(w).Schedule(p); !cmp.Equal(turned.Decisions, r.Decisions) {
		t.Error("the order of the clusters decides who is looked at")
	}
}

// TestCELOverAFleetKeeps has more chosen clusters than the expression may look at, and the first of them no longer matches.
func TestCELOverAFleetKeeps(t *testing.T) {
	clusters := numbered(40)
	var names []string
	for i := range clusters {
		names = append(names, clusters[i].Name)
	}
	p := placement(requiresCEL(`managedCluster.metadata.name != "` + names[0] + `" && ` + costlyOverAFleet))
	r := frugal(decided(world(append(clusters, cluster("a-new-one"))...), "edge", names...)).Schedule(p)
	if !slices.Equal(r.Chosen, names[1:]) {
		t.Fatalf("%d chosen, want all that were but %s", len(r.Chosen), names[0])
	}
	if d := r.decisionOf(names[len(names)-1]); d.Reason != "was chosen before" {
		t.Errorf("who was not looked at stays as %q", d.Reason)
	}
}

func TestCELMisconfigured(t *testing.T) {
	for name, expression := range map[string]string{
		"syntax":            `managedCluster.metadata.`,
		"unknown variable":  `cluster.name == "a"`,
		"unknown function":  `managedCluster.metadata.name.shout()`,
		"wrong static type": `1 + "a" == "1a"`,
		"string":            `'abc'`,
		"list":              `managedCluster.scores("usage")`,
	} {
		t.Run(name, func(t *testing.T) {
			r := Schedule(placement(requiresCEL(expression)), world(cluster("a")))
			if !strings.HasPrefix(r.Misconfigured(), "Predicate:compilation failed: ") || !strings.Contains(r.Misconfigured(), expression) {
				t.Errorf("misconfigured %q does not name the expression", r.Misconfigured())
			}
			if _, problem := r.Problem(); problem == "" || strings.Contains(problem, "\n") || strings.Contains(problem, expression) {
				t.Errorf("problem %q is not on one line without the expression", problem)
			}
			c := condition(t, r, clusterv1beta1.PlacementConditionMisconfigured)
			if c.Reason != "Misconfigured" {
				t.Errorf("condition %+v", c)
			}
		})
	}
}
