package placement

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
)

// labelled wants all of the labels.
func labelled(labels map[string]string) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		s.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
		s.Predicates[0].RequiredClusterSelector.LabelSelector.MatchLabels = labels
	}
}

// byUsage ranks by the score usage/cpu alone and takes one cluster.
func byUsage(s *clusterv1beta1.PlacementSpec) {
	one := int32(1)
	s.NumberOfClusters = &one
	s.PrioritizerPolicy = clusterv1beta1.PrioritizerPolicy{Mode: clusterv1beta1.PrioritizerPolicyModeExact, Configurations: []clusterv1beta1.PrioritizerConfig{
		{Weight: 1, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{Type: clusterv1beta1.ScoreCoordinateTypeAddOn, AddOn: &clusterv1beta1.AddOnScore{ResourceName: "usage", ScoreName: "cpu"}}},
	}}
}

var _ = Describe("A placement with bad input", func() {
	It("says what is wrong in a condition", func(ctx SpecContext) {
		t := newTenant(ctx)
		t.cluster(ctx, "a", map[string]string{"tier": "edge", "zone": "1"})
		cel := func(text string) func(*clusterv1beta1.PlacementSpec) {
			return func(s *clusterv1beta1.PlacementSpec) {
				s.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
				s.Predicates[0].RequiredClusterSelector.CelSelector.CelExpressions = []string{text}
			}
		}
		groups := func(labels ...string) func(*clusterv1beta1.PlacementSpec) {
			return func(s *clusterv1beta1.PlacementSpec) {
				for i, l := range labels {
					key, value, _ := strings.Cut(l, "=")
					s.DecisionStrategy.GroupStrategy.DecisionGroups = append(s.DecisionStrategy.GroupStrategy.DecisionGroups, clusterv1beta1.DecisionGroup{
						GroupName: fmt.Sprint("group", i), ClusterSelector: clusterv1beta1.GroupClusterSelector{LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{key: value}}},
					})
				}
			}
		}
		loops := strings.ReplaceAll("N.all(a, N.all(b, N.all(c, N.all(d, N.all(e, N.all(f, a+b+c+d+e+f > 0))))))", "N", "[1,2,3,4,5,6,7,8,9,10]")
		rows := []struct {
			name                  string
			change                func(*clusterv1beta1.PlacementSpec)
			kind, reason, message string
		}{
			{"nobody", labelled(map[string]string{"tier": "moon"}), "PlacementSatisfied", "NoManagedClusterMatched", "1 in bound sets, 1 not matching tier=moon, 0 selected"},
			{"unknown-set", func(s *clusterv1beta1.PlacementSpec) { s.ClusterSets = []string{"nowhere"} }, "PlacementSatisfied", "NoIntersection", "ManagedClusterSet nowhere does not exist"},
			{"operator", func(s *clusterv1beta1.PlacementSpec) {
				s.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
				s.Predicates[0].RequiredClusterSelector.LabelSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Near", Values: []string{"edge"}}}
			}, "PlacementMisconfigured", "Misconfigured", `Predicate:label selector: "Near" is not a valid label selector operator`},
			{"costs", cel(loops), "PlacementSatisfied", "NoManagedClusterMatched", "costs too much for 1 clusters"},
			{"no-cel", cel("managedCluster.metadata.name ="), "PlacementMisconfigured", "Misconfigured", "Predicate:compilation failed: "},
			{"groups", groups("tier=edge", "zone=1"), "PlacementSatisfied", "AllDecisionsScheduled", "decision groups group0 and group1 both match 1 clusters: the first has them"},
			{"negative", func(s *clusterv1beta1.PlacementSpec) { n := int32(-1); s.NumberOfClusters = &n }, "PlacementMisconfigured", "Misconfigured", "numberOfClusters -1 is negative"},
			{"too-many", func(s *clusterv1beta1.PlacementSpec) { n := int32(math.MaxInt32); s.NumberOfClusters = &n }, "PlacementSatisfied", "NotAllDecisionsScheduled", "2147483646 cluster decisions unscheduled"},
			{"toleration", func(s *clusterv1beta1.PlacementSpec) { s.Tolerations = []clusterv1beta1.Toleration{{Value: "x"}} }, "PlacementMisconfigured", "Misconfigured", "TaintToleration:If the key is empty, operator must be Exists."},
			{"prioritizer", func(s *clusterv1beta1.PlacementSpec) {
				s.PrioritizerPolicy.Configurations = []clusterv1beta1.PrioritizerConfig{{Weight: 1, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{Type: "BuiltIn", BuiltIn: "Luck"}}}
			}, "PlacementMisconfigured", "Misconfigured", ":incorrect builtin prioritizer: Luck"},
		}
		for _, row := range rows {
			p := t.placement(ctx, row.name, row.change)
			Eventually(func() []string {
				var said []string
				for _, c := range live(ctx, p).Status.Conditions {
					said = append(said, c.Type+" "+c.Reason+" "+c.Message)
				}
				return said
			}).Should(ContainElement(And(HavePrefix(row.kind+" "+row.reason+" "), ContainSubstring(row.message))), row.name)
			Expect(pagesOf(ctx, p)).To(HaveLen(1), "there is always a page")
		}
	})

	It("is turned away by the API server where the kinds themselves say it", func(ctx SpecContext) {
		t := newTenant(ctx)
		for spec, field := range map[string]string{
			`{"prioritizerPolicy": {"configurations": [{"weight": 11, "scoreCoordinate": {"builtIn": "Steady"}}]}}`:    "weight",
			`{"prioritizerPolicy": {"configurations": [{"weight": -11, "scoreCoordinate": {"builtIn": "Steady"}}]}}`:   "weight",
			`{"prioritizerPolicy": {"configurations": [{"weight": "NaN", "scoreCoordinate": {"builtIn": "Steady"}}]}}`: "weight",
			`{"decisionStrategy": {"groupStrategy": {"clustersPerDecisionGroup": "NaN%"}}}`:                            "clustersPerDecisionGroup",
			`{"decisionStrategy": {"groupStrategy": {"clustersPerDecisionGroup": "101%"}}}`:                            "clustersPerDecisionGroup",
			`{"sortBy": "Luck"}`:        "sortBy",
			`{"scoreRateLimit": "NaN"}`: "scoreRateLimit",
			`{"spreadPolicy": {"spreadConstraints": [{"topologyKey": "zone", "topologyKeyType": "Label", "maxSkew": 0}]}}`:                       "maxSkew",
			`{"spreadPolicy": {"spreadConstraints": [{"topologyKey": "zone", "topologyKeyType": "Label", "whenUnsatisfiable": "DoNotSelect"}]}}`: "whenUnsatisfiable",
		} {
			p := &unstructured.Unstructured{Object: map[string]any{"apiVersion": clusterv1beta1.GroupVersion.String(), "kind": "Placement"}}
			p.SetNamespace(t.name)
			p.SetName("refused")
			var content map[string]any
			Expect(json.Unmarshal([]byte(spec), &content)).To(Succeed())
			p.Object["spec"] = content
			err := hub.Create(ctx, p)
			Expect(err).To(MatchError(apierrors.IsInvalid, "invalid"), spec)
			Expect(err).To(MatchError(ContainSubstring(field)), spec)
		}
		a := t.cluster(ctx, "a", nil)
		t.score(ctx, a, 1)
		for _, value := range []any{"NaN", int64(101), 1.5} {
			s := &unstructured.Unstructured{Object: map[string]any{"apiVersion": clusterv1alpha1.GroupVersion.String(), "kind": "AddOnPlacementScore"}}
			Expect(hub.Get(ctx, client.ObjectKey{Namespace: a, Name: "usage"}, s)).To(Succeed())
			Expect(unstructured.SetNestedSlice(s.Object, []any{map[string]any{"name": "cpu", "value": value}}, "status", "scores")).To(Succeed())
			Expect(hub.Status().Update(ctx, s)).To(MatchError(apierrors.IsInvalid, "invalid"), "%v", value)
		}
	})

	It("takes thousands of labels", func(ctx SpecContext) {
		t := newTenant(ctx)
		labels := map[string]string{}
		for i := range 2000 {
			labels[fmt.Sprintf("label-%04d", i)] = strings.Repeat("v", 50)
		}
		var names []string
		for i := range 12 {
			names = append(names, t.cluster(ctx, fmt.Sprintf("c%02d", i), labels))
		}
		t.cluster(ctx, "none", nil)
		p := t.placement(ctx, "edge", labelled(labels))
		expectChosen(ctx, p, names...)
		Expect(len(pagesOf(ctx, p)[0].Status.Decisions[0].Reason)).To(BeNumerically("<", 300), "a reason is a few words")
		expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionTrue, "AllDecisionsScheduled", "13 in bound sets, 1 not matching the predicate, 12 selected")
	})

	It("says that scores have expired, by the condition and a warning", func(ctx SpecContext) {
		t := newTenant(ctx)
		a, b := t.cluster(ctx, "a", nil), t.cluster(ctx, "b", nil)
		s := t.score(ctx, b, 90)
		p := t.placement(ctx, "edge", byUsage)
		expectChosen(ctx, p, b)
		s.Status.ValidUntil = &metav1.Time{Time: time.Now().Add(2 * time.Second)}
		Expect(hub.Status().Update(ctx, s)).To(Succeed())
		expectChosen(ctx, p, a) // however much of that is over when the hub hears of it
		expired := "AddOnPlacementScores " + b + "/usage expired"
		expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionTrue, "AllDecisionsScheduled", expired)
		expectEvent(ctx, p, "Warning", "DecisionUpdate", expired+" in plugin AddOn/usage/cpu")
	})

	It("outlives a cluster that reports amounts which are none", func(ctx SpecContext) {
		t := newTenant(ctx)
		liar, honest := t.cluster(ctx, "a", nil), t.cluster(ctx, "b", nil)
		report := func(cluster, cpu string) {
			GinkgoHelper()
			c := &unstructured.Unstructured{Object: map[string]any{"apiVersion": clusterv1.GroupVersion.String(), "kind": "ManagedCluster"}}
			Expect(hub.Get(ctx, client.ObjectKey{Name: cluster}, c)).To(Succeed())
			c.Object["status"] = map[string]any{"allocatable": map[string]any{"cpu": cpu}, "capacity": map[string]any{"cpu": cpu}, "conditions": []any{}}
			Expect(hub.Status().Update(ctx, c)).To(Succeed())
		}
		report(liar, "1e1.5")
		p := t.placement(ctx, "edge", func(s *clusterv1beta1.PlacementSpec) {
			one := int32(1)
			s.NumberOfClusters = &one
			s.PrioritizerPolicy = clusterv1beta1.PrioritizerPolicy{Mode: clusterv1beta1.PrioritizerPolicyModeExact, Configurations: []clusterv1beta1.PrioritizerConfig{
				{Weight: 1, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{Type: clusterv1beta1.ScoreCoordinateTypeBuiltIn, BuiltIn: clusterv1beta1.PrioritizerResourceAllocatableCPU}},
			}}
		})
		expectChosen(ctx, p, liar)
		report(honest, "4")
		expectChosen(ctx, p, honest)
		report(liar, "1234567890123456789e2147483647")
		third := t.cluster(ctx, "c", nil)
		report(third, "16")
		expectChosen(ctx, p, third)
	})

	It("follows a cluster that is renamed", func(ctx SpecContext) {
		t := newTenant(ctx)
		old, stays := t.cluster(ctx, "old", map[string]string{"tier": "edge"}), t.cluster(ctx, "stays", map[string]string{"tier": "edge"})
		all := t.placement(ctx, "all", labelled(map[string]string{"tier": "edge"}))
		one := t.placement(ctx, "one", func(s *clusterv1beta1.PlacementSpec) { n := int32(2); s.NumberOfClusters = &n })
		expectChosen(ctx, all, old, stays)
		expectChosen(ctx, one, old, stays)
		renamed := t.cluster(ctx, "new", map[string]string{"tier": "edge"})
		expectChosen(ctx, all, renamed, old, stays)
		expectChosen(ctx, one, old, stays)
		Expect(hub.Delete(ctx, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: old}})).To(Succeed())
		for _, p := range []*clusterv1beta1.Placement{all, one} {
			expectChosen(ctx, p, renamed, stays)
			expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionTrue, "AllDecisionsScheduled", "2 in bound sets, 2 selected")
			expectCondition(ctx, p, "PlacementMisconfigured", metav1.ConditionFalse, "Succeedconfigured", "")
		}
	})

	It("comes to rest when its binding is deleted and made again in the middle of scheduling", func(ctx SpecContext) {
		t := newTenant(ctx)
		names := t.clusters(ctx, 250)
		binding := &clusterv1beta2.ManagedClusterSetBinding{ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: t.name}}
		p := t.placement(ctx, "all", nil)
		Eventually(func() int { return len(pagesOf(ctx, p)) }).ShouldNot(BeZero()) // the first of three pages, or more
		Expect(hub.Delete(ctx, binding)).To(Succeed())
		expectChosen(ctx, p)
		expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionFalse, "NoManagedClusterSetBindings", "No valid ManagedClusterSetBindings")
		Eventually(func() int { return len(pagesOf(ctx, p)) }).Should(Equal(1))
		for range 3 {
			t.bind(ctx, t.name)
			Expect(hub.Delete(ctx, binding.DeepCopy())).To(Succeed())
		}
		t.bind(ctx, t.name)
		expectChosen(ctx, p, names...)
	})

	It("keeps its decisions when a set's selector becomes unreadable", func(ctx SpecContext) {
		t := newTenant(ctx)
		a := t.cluster(ctx, "a", nil)
		p := t.placement(ctx, "edge", nil)
		expectChosen(ctx, p, a)
		set := &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: t.name + "-other"}}
		set.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{
			MatchLabels: map[string]string{"tenant": t.name},
		}}
		Expect(hub.Create(ctx, set)).To(Succeed())
		t.bind(ctx, set.Name)
		b := t.cluster(ctx, "b", map[string]string{clusterv1beta2.ClusterSetLabel: "none", "tenant": t.name})
		expectChosen(ctx, p, a, b)
		edit(ctx, set, set.Name, func(s *clusterv1beta2.ManagedClusterSet) {
			s.Spec.ClusterSelector.LabelSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Near", Values: []string{"edge"}}}
		})
		expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionFalse, "NotAllDecisionsScheduled", "selector of set "+set.Name)
		expectChosen(ctx, p, a, b)
		edit(ctx, set, set.Name, func(s *clusterv1beta2.ManagedClusterSet) { s.Spec.ClusterSelector.LabelSelector.MatchExpressions = nil })
		expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionTrue, "AllDecisionsScheduled", "2 in bound sets, 2 selected")
	})

	It("takes a page back whose label somebody removed, and one that stood in its place before", func(ctx SpecContext) {
		t := newTenant(ctx)
		a := t.cluster(ctx, "a", nil)
		squatter := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: "edge-decision-1", Labels: map[string]string{"keep": "me"}}}
		Expect(hub.Create(ctx, squatter)).To(Succeed())
		p := t.placement(ctx, "edge", nil)
		expectChosen(ctx, p, a)
		page := pagesOf(ctx, p)[0]
		Expect(page.UID).To(Equal(squatter.UID))
		Expect(page.Labels).To(HaveKeyWithValue("keep", "me"))
		Expect(metav1.IsControlledBy(&page, p)).To(BeTrue())
		edit(ctx, &page, page.Name, func(d *clusterv1beta1.PlacementDecision) { d.Labels = nil })
		expectChosen(ctx, p, a)
		Expect(pagesOf(ctx, p)[0].UID).To(Equal(squatter.UID))
	})

	It("owns its pages again after it was deleted and made again under its name", func(ctx SpecContext) {
		t := newTenant(ctx)
		a := t.cluster(ctx, "a", nil)
		p := t.placement(ctx, "edge", nil)
		expectChosen(ctx, p, a)
		Expect(hub.Delete(ctx, p)).To(Succeed())
		p = t.placement(ctx, "edge", nil)
		expectChosen(ctx, p, a)
		Eventually(func() []metav1.OwnerReference { return pagesOf(ctx, p)[0].OwnerReferences }).Should(Equal([]metav1.OwnerReference{
			*metav1.NewControllerRef(p, clusterv1beta1.GroupVersion.WithKind("Placement")),
		}))
	})
})

// expectEvent waits for an event of a placement whose note contains a text.
func expectEvent(ctx context.Context, p *clusterv1beta1.Placement, kind, reason, note string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		var list eventsv1.EventList
		g.Expect(hub.List(ctx, &list, client.InNamespace(p.Namespace))).To(Succeed())
		g.Expect(slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool {
			return e.Regarding.Name == p.Name && e.Type == kind && e.Reason == reason && strings.Contains(e.Note, note)
		})).To(BeTrue(), "%s %s %q", kind, reason, note)
	}).Should(Succeed())
}
