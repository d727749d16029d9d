package placement

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// FuzzSelector holds our selector against Kubernetes' own: the same answer, and a reason if and only if it is no.
func FuzzSelector(f *testing.F) {
	f.Add("tier", "In", "edge", "core", "tier", "edge")
	f.Add("tier", "NotIn", "edge", "", "env", "prod")
	f.Add("a/b", "Exists", "", "", "a/b", "")
	f.Add("", "DoesNotExist", "", "", "x", "y")
	f.Fuzz(func(t *testing.T, key, op, value1, value2, label, value string) {
		e := metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOperator(op)}
		if value1 != "" {
			e.Values = append(e.Values, value1)
		}
		if value2 != "" {
			e.Values = append(e.Values, value2)
		}
		sel := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{e}, MatchLabels: map[string]string{"always": "there"}}
		has := map[string]string{label: value, "always": "there"}
		ours, err := NewSelector(sel)
		ok, reason := ours.Match(has)
		theirs, theirErr := metav1.LabelSelectorAsSelector(sel)
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("error %v, Kubernetes says %v", err, theirErr)
		}
		if err != nil {
			return
		}
		if ok != theirs.Matches(labels.Set(has)) {
			t.Fatalf("matches %t, Kubernetes says otherwise: %s in %v", ok, theirs, has)
		}
		if ok != (reason == "") {
			t.Fatalf("matches %t with reason %q", ok, reason)
		}
	})
}

// FuzzPlacement feeds any spec that is JSON, as a file may have it that no API server saw: nothing of it brings the scheduler
// down, and what comes out holds together.
func FuzzPlacement(f *testing.F) {
	f.Add(`{"numberOfClusters": 2, "clusterSets": ["prod"]}`)
	f.Add(`{"predicates": [{"requiredClusterSelector": {"labelSelector": {"matchLabels": {"tier": "edge"}}, "celSelector": {"celExpressions": ["true"]}}}]}`)
	f.Add(`{"predicates": [{"requiredClusterSelector": {"claimSelector": {"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["y"]}]}}}]}`)
	f.Add(`{"tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 9223372036854775807}], "sortBy": "Score", "scoreRateLimit": "5s"}`)
	f.Add(`{"spreadPolicy": {"spreadConstraints": [{"topologyKey": "tier", "topologyKeyType": "Label", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]}}`)
	f.Add(`{"decisionStrategy": {"groupStrategy": {"clustersPerDecisionGroup": "NaN%", "decisionGroups": [{"groupName": "one"}, {"groupName": "one"}]}}}`)
	f.Add(`{"prioritizerPolicy": {"mode": "Exact", "configurations": [{"weight": -10, "scoreCoordinate": {"type": "AddOn", "addOn": {"resourceName": "usage", "scoreName": "cpu"}}}]}}`)
	w := decided(scored(world(with(cluster("a", "tier=edge"), taint("k", "", noSelectIfNew)), with(cluster("b", "tier=core"), claim("x", "y"), capacity("3")),
		cluster("c", "tier=edge"), with(cluster("d"), taint("k", "", preferNo))), "a", "cpu", 4, &noon1), "edge", "a", "b")
	x := NewIndex(w)
	f.Fuzz(func(t *testing.T, text string) {
		p := placement()
		if json.Unmarshal([]byte(text), &p.Spec) != nil {
			return
		}
		r := x.Schedule(p)
		outcome := Next(p, &r, w.Decisions)
		total := 0
		for _, g := range r.Groups {
			total += len(g.Clusters)
		}
		if total != len(r.Chosen) || int(outcome.Status.NumberOfSelectedClusters) != total || len(Objects(p, &r, nil)) == 0 {
			t.Fatalf("chosen %v, groups %v, status %+v", r.Chosen, r.Groups, outcome.Status)
		}
		for _, e := range x.Why(p).Clusters {
			if e.Reason == "" || e.Chosen == (e.Change != "") {
				t.Fatalf("explained as %+v", e)
			}
		}
	})
}

// FuzzCEL feeds any text as an expression: it is misconfigured or it gives an answer, and it always comes back.
func FuzzCEL(f *testing.F) {
	f.Add(`managedCluster.metadata.name == "a"`)
	f.Add(`managedCluster.scores("usage")[0].value > 3`)
	f.Add(`"{}".parseJSON().a.b`)
	f.Add(`[1,2].map(a, [a].map(b, b))`)
	f.Add(`managedCluster.metadata.labels.all(k, k.matches("(a+)+$"))`)
	w := scored(world(with(cluster("a", "tier=edge"), claim("x", "y"))), "a", "cpu", 4, nil)
	x := NewIndex(w)
	f.Fuzz(func(t *testing.T, text string) {
		r := x.Schedule(placement(requiresCEL(text)))
		if r.Misconfigured() != "" && len(r.Chosen) > 0 {
			t.Fatalf("misconfigured and chosen: %q", text)
		}
		if len(r.Decisions) != 1 || r.Decisions[0].Reason == "" {
			t.Fatalf("no reason for %q: %+v", text, r.Decisions)
		}
	})
}
