package registration_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/registration"
)

func clusterSet(name string, selector *metav1.LabelSelector, namespaces ...string) clusterv1beta2.ManagedClusterSet {
	set := clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
	set.Spec.ClusterSelector.SelectorType = clusterv1beta2.ExclusiveClusterSetLabel
	if selector != nil {
		set.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{SelectorType: clusterv1beta2.LabelSelector, LabelSelector: selector}
	}
	for _, n := range namespaces {
		set.Spec.ManagedNamespaces = append(set.Spec.ManagedNamespaces, clusterv1.ManagedNamespaceConfig{Name: n})
	}
	return set
}

func TestSetSelector(t *testing.T) {
	member := labels.Set{clusterv1beta2.ClusterSetLabel: "prod", "env": "prod"}
	for name, test := range map[string]struct {
		why  string
		set  clusterv1beta2.ManagedClusterSet
		want bool
		err  bool
	}{
		"exclusive":            {why: "by the label", set: clusterSet("prod", nil), want: true},
		"another exclusive":    {why: "sets do not overlap", set: clusterSet("dev", nil)},
		"selector":             {why: "by any label", set: clusterSet("x", &metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}}), want: true},
		"everything":           {why: "the set global", set: clusterSet("global", &metav1.LabelSelector{}), want: true},
		"selector left out":    {why: "nothing, rather than everything", set: clusterv1beta2.ManagedClusterSet{Spec: clusterv1beta2.ManagedClusterSetSpec{ClusterSelector: clusterv1beta2.ManagedClusterSelector{SelectorType: clusterv1beta2.LabelSelector}}}},
		"selector that is bad": {why: "an error, rather than everything", err: true, set: clusterSet("x", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}})},
	} {
		t.Run(name, func(t *testing.T) {
			selector, err := registration.SetSelector(&test.set)
			if (err != nil) != test.err {
				t.Fatalf("%s: %v", test.why, err)
			}
			if err == nil && selector.Matches(member) != test.want {
				t.Errorf("%s: matches %v, want %v", test.why, !test.want, test.want)
			}
		})
	}
}

func TestSetConditions(t *testing.T) {
	set := clusterSet("prod", nil)
	empty, full := registration.SetCondition(&set, 0), registration.SetCondition(&set, 2)
	if empty.Status != metav1.ConditionTrue || empty.Reason != "NoClusterMatched" || empty.Message != "No ManagedCluster selected" {
		t.Errorf("empty: %+v", empty)
	}
	if full.Status != metav1.ConditionFalse || full.Reason != "ClustersSelected" || full.Message != "2 ManagedClusters selected" {
		t.Errorf("full: %+v", full)
	}
	binding := &clusterv1beta2.ManagedClusterSetBinding{Spec: clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: "prod"}}
	if c := registration.BoundCondition(binding, true); c.Status != metav1.ConditionTrue || c.Reason != "ClusterSetBound" {
		t.Errorf("bound: %+v", c)
	}
	if c := registration.BoundCondition(binding, false); c.Status != metav1.ConditionFalse || c.Reason != "ClusterSetNotFound" {
		t.Errorf("not bound: %+v", c)
	}
}

func TestManagedNamespaces(t *testing.T) {
	reported := []metav1.Condition{{Type: clusterv1.ManagedNamespaceConditionAvailable, Status: metav1.ConditionTrue}}
	entry := func(set, name string, conditions []metav1.Condition) clusterv1.ClusterSetManagedNamespaceConfig {
		return clusterv1.ClusterSetManagedNamespaceConfig{ClusterSet: set, ManagedNamespaceConfig: clusterv1.ManagedNamespaceConfig{Name: name}, Conditions: conditions}
	}
	cluster := &clusterv1.ManagedCluster{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{clusterv1beta2.ClusterSetLabel: "prod"}},
		Status: clusterv1.ManagedClusterStatus{ManagedNamespaces: []clusterv1.ClusterSetManagedNamespaceConfig{
			entry("prod", "b", reported), entry("gone", "z", reported),
		}},
	}
	sets := []clusterv1beta2.ManagedClusterSet{
		clusterSet("prod", nil, "b", "a"), clusterSet("dev", nil, "c"), clusterSet("all", &metav1.LabelSelector{}, "d"),
	}
	want := []clusterv1.ClusterSetManagedNamespaceConfig{entry("all", "d", nil), entry("prod", "a", nil), entry("prod", "b", reported)}
	if diff := cmp.Diff(want, registration.ManagedNamespaces(cluster, sets)); diff != "" {
		t.Errorf("sorted by set and name, with what was reported (-want +got):\n%s", diff)
	}
}

func TestRights(t *testing.T) {
	allows := func(accepted bool, verb, resource string) bool {
		for _, rule := range registration.WantClusterRole("edge-1", accepted).Rules {
			for _, r := range rule.Resources {
				for _, v := range rule.Verbs {
					if r == resource && v == verb {
						return true
					}
				}
			}
		}
		return false
	}
	for name, test := range map[string]struct {
		why              string
		verb, resource   string
		accepted, denied bool
	}{
		"see itself":     {why: "a denied cluster learns of it", verb: "get", resource: "managedclusters", accepted: true, denied: true},
		"renew":          {why: "a denied one runs out", verb: "renew", resource: "managedclusters/clientcertificates", accepted: true},
		"report":         {why: "only accepted ones", verb: "patch", resource: "managedclusters/status", accepted: true},
		"ask":            {why: "only accepted ones", verb: "create", resource: "certificatesigningrequests", accepted: true},
		"share its APIs": {why: "only accepted ones", verb: "create", resource: "apisets", accepted: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := allows(true, test.verb, test.resource); got != test.accepted {
				t.Errorf("%s: accepted %v", test.why, got)
			}
			if got := allows(false, test.verb, test.resource); got != test.denied {
				t.Errorf("%s: denied %v", test.why, got)
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	was := &clusterv1.ManagedCluster{Status: clusterv1.ManagedClusterStatus{Conditions: []metav1.Condition{
		{Type: clusterv1.ManagedClusterConditionHubAccepted, Status: metav1.ConditionTrue},
	}}}
	if c := registration.Accepted(&clusterv1.ManagedCluster{}, nil); c != nil {
		t.Errorf("nobody ever accepted it: %+v", c)
	}
	if c := registration.Accepted(was, nil); c == nil || c.Status != metav1.ConditionFalse || c.Reason != "HubClusterAdminDenied" {
		t.Errorf("denied: %+v", c)
	}
	was.Spec.HubAcceptsClient = true
	if c := registration.Accepted(was, nil); c == nil || c.Status != metav1.ConditionTrue || c.Reason != "HubClusterAdminAccepted" {
		t.Errorf("accepted: %+v", c)
	}
}
