package engine

import "testing"

// TestLockProblem: the first digest is that of Helm's own test of its resolver, the second was computed from the JSON by hand.
func TestLockProblem(t *testing.T) {
	const helms = "digest: sha256:fb239e836325c5fa14b29d1540a13b7d3ba13151b67fe719f820e0ef6d66aaaf\n"
	const ranged = "digest: sha256:4434ddff9d7fc9c023ffd8b9fb77428597454fadb11899464728dc53ab5cb1e9\n"
	dependency := func(version, more string) string {
		return "dependencies:\n- {name: alpine, version: '" + version + "', repository: 'http://localhost:8879/charts'" + more + "}\n"
	}
	for name, c := range map[string]struct{ manifest, lock, want string }{
		"Helm's":            {dependency("0.1.0", ""), dependency("0.1.0", "") + helms, ""},
		"changed since":     {dependency("0.1.0", ", condition: alpine.enabled"), dependency("0.1.0", "") + helms, "is not in step with Chart.yaml, as its digest says"},
		"a range":           {dependency(">=0.1.0 <1", ", tags: [a, b], alias: base, import-values: [data, {child: a, parent: b}]"), dependency("0.2.0", "") + ranged, ""},
		"another version":   {dependency(">=0.1.0 <1", ", tags: [a, b], alias: base, import-values: [data, {child: a, parent: b}]"), dependency("0.2.1", "") + ranged, "is not in step with Chart.yaml, as its digest says"},
		"outside the range": {dependency("^1", ""), dependency("0.2.0", "") + helms, "has alpine 0.2.0, and Chart.yaml wants ^1"},
		"by hand":           {dependency("^0.1", ""), dependency("0.1.7", ""), ""},
		"no YAML":           {"dependencies: [", dependency("0.1.7", ""), ""},
	} {
		if got := LockProblem([]byte(c.manifest), []byte(c.lock)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
