package placement

import (
	"strings"
	"testing"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
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

// TestCELOverAFleet has an expression that each cluster could afford and that the whole fleet cannot.
func TestCELOverAFleet(t *testing.T) {
	ten := "[1,2,3,4,5,6,7,8,9,10]"
	costly := ten + ".all(a, " + ten + ".all(b, " + ten + ".all(c, " + ten + ".all(d, a+b+c+d > 0))))"
	r := Schedule(placement(requiresCEL(costly)), world(numbered(2000)...))
	if want := "Predicate:costs too much over all clusters: " + costly; r.Misconfigured() != want {
		t.Errorf("misconfigured %q, want %q", r.Misconfigured(), want)
	}
	if r := Schedule(placement(requiresCEL(costly)), world(numbered(3)...)); len(r.Chosen) != 3 {
		t.Errorf("three clusters can afford it: %v", reasonsText(r))
	}
}

func TestCELMisconfigured(t *testing.T) {
	for name, expression := range map[string]string{
		"syntax":            `managedCluster.metadata.`,
		"unknown variable":  `cluster.name == "a"`,
		"unknown function":  `managedCluster.metadata.name.shout()`,
		"wrong static type": `1 + "a" == "1a"`,
	} {
		t.Run(name, func(t *testing.T) {
			r := Schedule(placement(requiresCEL(expression)), world(cluster("a")))
			if !strings.HasPrefix(r.Misconfigured(), "Predicate:compilation failed: ") || !strings.Contains(r.Misconfigured(), expression) {
				t.Errorf("misconfigured %q does not name the expression", r.Misconfigured())
			}
			c := condition(t, r, clusterv1beta1.PlacementConditionMisconfigured)
			if c.Reason != "Misconfigured" {
				t.Errorf("condition %+v", c)
			}
		})
	}
}
