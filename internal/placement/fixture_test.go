package placement

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/fleet"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// cluster is a cluster in set prod with labels "key=value".
func cluster(name string, labels ...string) clusterv1.ManagedCluster {
	c := clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{clusterv1beta2.ClusterSetLabel: "prod"}}}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, "=")
		c.Labels[key] = value
	}
	return c
}

func with(c clusterv1.ManagedCluster, change ...func(*clusterv1.ManagedCluster)) clusterv1.ManagedCluster {
	for _, f := range change {
		f(&c)
	}
	return c
}

func claim(name, value string) func(*clusterv1.ManagedCluster) {
	return func(c *clusterv1.ManagedCluster) {
		c.Status.ClusterClaims = append(c.Status.ClusterClaims, clusterv1.ManagedClusterClaim{Name: name, Value: value})
	}
}

func taint(key, value string, effect clusterv1.TaintEffect) func(*clusterv1.ManagedCluster) {
	return func(c *clusterv1.ManagedCluster) {
		c.Spec.Taints = append(c.Spec.Taints, clusterv1.Taint{Key: key, Value: value, Effect: effect, TimeAdded: clusterv1.NewTaintTime(noon.Add(-time.Minute))})
	}
}

func capacity(cpu string) func(*clusterv1.ManagedCluster) {
	return func(c *clusterv1.ManagedCluster) {
		c.Status.Allocatable = clusterv1.ResourceList{clusterv1.ResourceCPU: resource.MustParse(cpu)}
		c.Status.Capacity = clusterv1.ResourceList{clusterv1.ResourceCPU: resource.MustParse(cpu)}
	}
}

// world has the exclusive set prod, bound to namespace team, and the given clusters.
func world(clusters ...clusterv1.ManagedCluster) *fleet.World {
	return &fleet.World{
		Time:        noon,
		Clusters:    clusters,
		ClusterSets: []clusterv1beta2.ManagedClusterSet{set("prod")},
		Bindings:    []clusterv1beta2.ManagedClusterSetBinding{binding("team", "prod")},
	}
}

func set(name string) clusterv1beta2.ManagedClusterSet {
	return clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// unreadable is a set whose selector has an operator that does not exist.
func unreadable(name string) clusterv1beta2.ManagedClusterSet {
	s := set(name)
	s.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Near", Values: []string{"edge"}}},
	}}
	return s
}

// grouped has decision groups "name key=value".
func grouped(groups ...string) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		for _, g := range groups {
			name, label, _ := strings.Cut(g, " ")
			key, value, _ := strings.Cut(label, "=")
			s.DecisionStrategy.GroupStrategy.DecisionGroups = append(s.DecisionStrategy.GroupStrategy.DecisionGroups, clusterv1beta1.DecisionGroup{
				GroupName:       name,
				ClusterSelector: clusterv1beta1.GroupClusterSelector{LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{key: value}}},
			})
		}
	}
}

func binding(namespace, set string) clusterv1beta2.ManagedClusterSetBinding {
	return clusterv1beta2.ManagedClusterSetBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: set},
		Spec:       clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: set},
	}
}

// decided adds a page of decisions of another placement, or of p when it is named "edge".
func decided(w *fleet.World, placement string, clusters ...string) *fleet.World {
	d := clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
		Namespace: "team", Name: placement + "-decision-1", Labels: map[string]string{clusterv1beta1.PlacementLabel: placement},
	}}
	for _, c := range clusters {
		d.Status.Decisions = append(d.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: c})
	}
	w.Decisions = append(w.Decisions, d)
	return w
}

func scored(w *fleet.World, cluster, name string, value int32, until *time.Time) *fleet.World {
	s := clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: "usage"}}
	s.Status.Scores = []clusterv1alpha1.AddOnPlacementScoreItem{{Name: name, Value: value}}
	if until != nil {
		s.Status.ValidUntil = &metav1.Time{Time: *until}
	}
	w.Scores = append(w.Scores, s)
	return w
}

// placement is team/edge at generation 3.
func placement(change ...func(*clusterv1beta1.PlacementSpec)) *clusterv1beta1.Placement {
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "edge", Generation: 3, UID: "u-1"}}
	for _, f := range change {
		f(&p.Spec)
	}
	return p
}

func wants(n int32) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) { s.NumberOfClusters = &n }
}

func takesSets(names ...string) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) { s.ClusterSets = names }
}

// requires adds a predicate over labels "key=value".
func requires(labels ...string) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		var p clusterv1beta1.ClusterPredicate
		p.RequiredClusterSelector.LabelSelector.MatchLabels = map[string]string{}
		for _, l := range labels {
			key, value, _ := strings.Cut(l, "=")
			p.RequiredClusterSelector.LabelSelector.MatchLabels[key] = value
		}
		s.Predicates = append(s.Predicates, p)
	}
}

func requiresLabel(key string, op metav1.LabelSelectorOperator, values ...string) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		var p clusterv1beta1.ClusterPredicate
		p.RequiredClusterSelector.LabelSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: key, Operator: op, Values: values}}
		s.Predicates = append(s.Predicates, p)
	}
}

func requiresClaim(key string, op metav1.LabelSelectorOperator, values ...string) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		var p clusterv1beta1.ClusterPredicate
		p.RequiredClusterSelector.ClaimSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: key, Operator: op, Values: values}}
		s.Predicates = append(s.Predicates, p)
	}
}

func requiresCEL(expressions ...string) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		var p clusterv1beta1.ClusterPredicate
		p.RequiredClusterSelector.CelSelector.CelExpressions = expressions
		s.Predicates = append(s.Predicates, p)
	}
}

func tolerates(t ...clusterv1beta1.Toleration) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) { s.Tolerations = append(s.Tolerations, t...) }
}

func exact(configurations ...clusterv1beta1.PrioritizerConfig) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		s.PrioritizerPolicy = clusterv1beta1.PrioritizerPolicy{Mode: clusterv1beta1.PrioritizerPolicyModeExact, Configurations: configurations}
	}
}

func additive(configurations ...clusterv1beta1.PrioritizerConfig) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		s.PrioritizerPolicy = clusterv1beta1.PrioritizerPolicy{Mode: clusterv1beta1.PrioritizerPolicyModeAdditive, Configurations: configurations}
	}
}

func builtIn(name string, weight int32) clusterv1beta1.PrioritizerConfig {
	return clusterv1beta1.PrioritizerConfig{Weight: weight, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{
		Type: clusterv1beta1.ScoreCoordinateTypeBuiltIn, BuiltIn: name,
	}}
}

func usage(score string, weight int32) clusterv1beta1.PrioritizerConfig {
	return clusterv1beta1.PrioritizerConfig{Weight: weight, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{
		Type: clusterv1beta1.ScoreCoordinateTypeAddOn, AddOn: &clusterv1beta1.AddOnScore{ResourceName: "usage", ScoreName: score},
	}}
}

func spreadOver(key string, skew int32, action clusterv1beta1.UnsatisfiableMaxSkewAction) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		s.SpreadPolicy.SpreadConstraints = append(s.SpreadPolicy.SpreadConstraints, clusterv1beta1.SpreadConstraintsTerm{
			TopologyKey: key, TopologyKeyType: clusterv1beta1.TopologyKeyTypeLabel, MaxSkew: skew, WhenUnsatisfiable: action,
		})
	}
}

// chosenText and reasonsText are a result as tests compare it.
func chosenText(r Result) string { return strings.Join(r.Chosen, " ") }

func reasonsText(r Result) []string {
	var list []string
	for _, d := range r.Decisions {
		text := fmt.Sprintf("%s %s: %s", d.Cluster, d.Step, d.Reason)
		if d.Unreachable {
			text += " (unreachable)"
		}
		list = append(list, text)
	}
	return list
}

func condition(t *testing.T, r Result, kind string) metav1.Condition {
	t.Helper()
	for _, c := range r.Conditions {
		if c.Type == kind {
			return c
		}
	}
	t.Fatalf("no condition %s", kind)
	return metav1.Condition{}
}
