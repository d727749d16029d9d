package registration

import "testing"

func TestClusterOf(t *testing.T) {
	tests := map[string]struct {
		user    string
		groups  []string
		cluster string
	}{
		"an agent":                   {"system:open-cluster-management:one:a1", []string{"system:open-cluster-management:one", "system:authenticated"}, "one"},
		"an agent of another group":  {"system:open-cluster-management:one:a1", []string{"system:open-cluster-management:two"}, ""},
		"a person with such a group": {"jane", []string{"system:open-cluster-management:one"}, ""},
		"no agent":                   {"system:open-cluster-management:one", []string{"system:open-cluster-management:one"}, ""},
		"the agent of an add-on": {
			"system:open-cluster-management:cluster:one:addon:a:agent:b", []string{"system:open-cluster-management:cluster", "system:open-cluster-management:one"}, "",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if cluster, err := ClusterOf(tc.user, tc.groups); cluster != tc.cluster || (err == nil) != (tc.cluster != "") {
				t.Errorf("%q, %v, want %q", cluster, err, tc.cluster)
			}
		})
	}
}
