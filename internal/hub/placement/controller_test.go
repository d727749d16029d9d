package placement

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/placement"
)

// pagesOf are a placement's pages at one moment.
func pagesOf(ctx context.Context, p *clusterv1beta1.Placement) []clusterv1beta1.PlacementDecision {
	var list clusterv1beta1.PlacementDecisionList
	ExpectWithOffset(1, hub.List(ctx, &list, client.InNamespace(p.Namespace), client.MatchingLabels{clusterv1beta1.PlacementLabel: p.Name})).To(Succeed())
	return list.Items
}

// read is what a reader of the placement believes now.
func read(ctx context.Context, p *clusterv1beta1.Placement) (clusters []string, complete bool) {
	live := live(ctx, p)
	if !placement.Scheduled(live) {
		return nil, false
	}
	return placement.Read(live, pagesOf(ctx, p))
}

func live(ctx context.Context, p *clusterv1beta1.Placement) *clusterv1beta1.Placement {
	var now clusterv1beta1.Placement
	ExpectWithOffset(1, hub.Get(ctx, client.ObjectKeyFromObject(p), &now)).To(Succeed())
	return &now
}

func expectChosen(ctx context.Context, p *clusterv1beta1.Placement, clusters ...string) {
	GinkgoHelper()
	if clusters == nil {
		clusters = []string{}
	}
	slices.Sort(clusters)
	Eventually(func(g Gomega) {
		got, complete := read(ctx, p)
		g.Expect(complete).To(BeTrue(), "the pages are a complete set")
		g.Expect(slices.Equal(got, clusters)).To(BeTrue(), "chosen %v, want %v", got, clusters)
	}).Should(Succeed())
}

func expectCondition(ctx context.Context, p *clusterv1beta1.Placement, kind string, status metav1.ConditionStatus, reason, message string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		c := meta.FindStatusCondition(live(ctx, p).Status.Conditions, kind)
		g.Expect(c).NotTo(BeNil())
		g.Expect(c.Status).To(Equal(status))
		g.Expect(c.Reason).To(Equal(reason))
		g.Expect(c.Message).To(ContainSubstring(message))
	}).Should(Succeed())
}

var _ = Describe("A placement", func() {
	It("follows clusters, labels, taints, sets and bindings", func(ctx SpecContext) {
		t := newTenant(ctx)
		a := t.cluster(ctx, "a", map[string]string{"tier": "edge"})
		b := t.cluster(ctx, "b", map[string]string{"tier": "edge"})
		p := t.placement(ctx, "edge", func(s *clusterv1beta1.PlacementSpec) {
			s.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
			s.Predicates[0].RequiredClusterSelector.LabelSelector.MatchLabels = map[string]string{"tier": "edge"}
		})
		expectChosen(ctx, p, a, b)
		expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionTrue, "AllDecisionsScheduled", "2 in bound sets, 2 selected")

		By("a cluster that comes")
		c := t.cluster(ctx, "c", map[string]string{"tier": "edge"})
		expectChosen(ctx, p, a, b, c)
		By("a label that changes")
		edit(ctx, &clusterv1.ManagedCluster{}, c, func(c *clusterv1.ManagedCluster) { c.Labels["tier"] = "core" })
		expectChosen(ctx, p, a, b)
		By("a taint that is added")
		edit(ctx, &clusterv1.ManagedCluster{}, b, func(c *clusterv1.ManagedCluster) {
			c.Spec.Taints = []clusterv1.Taint{{Key: clusterv1.ManagedClusterTaintUnreachable, Effect: clusterv1.TaintEffectNoSelect, TimeAdded: clusterv1.NewTaintTime(time.Now())}}
		})
		expectChosen(ctx, p, a)
		By("a binding that goes")
		Expect(hub.Delete(ctx, &clusterv1beta2.ManagedClusterSetBinding{ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: t.name}})).To(Succeed())
		expectChosen(ctx, p)
		expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionFalse, "NoManagedClusterSetBindings", "No valid ManagedClusterSetBindings")
		By("and comes back")
		t.bind(ctx, t.name)
		expectChosen(ctx, p, a)
		By("a set that goes")
		Expect(hub.Delete(ctx, &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: t.name}})).To(Succeed())
		expectChosen(ctx, p)
		expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionFalse, "NoManagedClusterSetBindings", "ManagedClusterSet "+t.name+" does not exist")
	})

	It("says which set it names that does not exist", func(ctx SpecContext) {
		t := newTenant(ctx)
		t.cluster(ctx, "a", nil)
		p := t.placement(ctx, "edge", func(s *clusterv1beta1.PlacementSpec) { s.ClusterSets = []string{"typo"} })
		expectChosen(ctx, p)
		expectCondition(ctx, p, "PlacementSatisfied", metav1.ConditionFalse, "NoIntersection", "ManagedClusterSet typo does not exist")
	})

	It("says what is wrong with its CEL", func(ctx SpecContext) {
		t := newTenant(ctx)
		p := t.placement(ctx, "edge", func(s *clusterv1beta1.PlacementSpec) {
			s.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
			s.Predicates[0].RequiredClusterSelector.CelSelector.CelExpressions = []string{"managedCluster.metadata."}
		})
		expectCondition(ctx, p, "PlacementMisconfigured", metav1.ConditionTrue, "Misconfigured", "managedCluster.metadata.")
	})

	It("always has a page, owned and labelled, and makes it again", func(ctx SpecContext) {
		t := newTenant(ctx)
		p := t.placement(ctx, "none", nil)
		expectChosen(ctx, p)
		page := pagesOf(ctx, p)[0]
		Expect(page.Name).To(Equal("none-decision-1"))
		Expect(page.Status.Decisions).To(BeEmpty())
		yes := true
		Expect(page.OwnerReferences).To(Equal([]metav1.OwnerReference{{
			APIVersion: "cluster.open-cluster-management.io/v1beta1", Kind: "Placement", Name: "none", UID: p.UID, Controller: &yes, BlockOwnerDeletion: &yes,
		}}))
		Expect(page.Labels).To(And(HaveKeyWithValue(clusterv1beta1.DecisionGroupIndexLabel, "0"), HaveKeyWithValue(clusterv1beta1.DecisionGroupNameLabel, "")))

		a := t.cluster(ctx, "a", nil)
		expectChosen(ctx, p, a)
		By("a page that somebody deletes")
		Expect(hub.Delete(ctx, &pagesOf(ctx, p)[0])).To(Succeed())
		expectChosen(ctx, p, a)
		By("a page that somebody edits")
		Eventually(func() error {
			page := pagesOf(ctx, p)[0]
			page.Status.Decisions[0].ClusterName = "intruder"
			return hub.Status().Update(ctx, &page)
		}).Should(Succeed())
		expectChosen(ctx, p, a)
	})

	It("never loses a cluster while pages shift", func(ctx SpecContext) {
		t := newTenant(ctx)
		names := t.clusters(ctx, 250)
		p := t.placement(ctx, "all", nil)
		expectChosen(ctx, p, names...)
		Expect(pagesOf(ctx, p)).To(HaveLen(3))

		watching, stop := context.WithCancel(ctx)
		lost := make(chan string, 1)
		go func() {
			defer GinkgoRecover()
			defer close(lost)
			for watching.Err() == nil {
				if text := missing(pagesOf(ctx, p), names[1:]); text != "" {
					lost <- text
					return
				}
			}
		}()
		// One that goes moves every page forward, three that come move them back.
		Expect(hub.Delete(ctx, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: names[0]}})).To(Succeed())
		expectChosen(ctx, p, names[1:]...)
		var more []string
		for i := range 3 {
			more = append(more, t.cluster(ctx, fmt.Sprintf("a%d", i), nil))
		}
		expectChosen(ctx, p, append(more, names[1:]...)...)
		stop()
		Expect(<-lost).To(BeEmpty(), "kept clusters vanished from the pages")
	})

	It("leaves a placement to another scheduler that asks for it", func(ctx SpecContext) {
		t := newTenant(ctx)
		t.cluster(ctx, "a", nil)
		p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{
			Namespace: t.name, Name: "theirs", Annotations: map[string]string{clusterv1beta1.PlacementDisableAnnotation: "true"},
		}}
		Expect(hub.Create(ctx, p)).To(Succeed())
		ours := t.placement(ctx, "ours", nil)
		Eventually(func() bool { _, complete := read(ctx, ours); return complete }).Should(BeTrue())
		Expect(pagesOf(ctx, p)).To(BeEmpty())
		Expect(live(ctx, p).Status.Conditions).To(BeEmpty())

		By("and takes it back")
		edit(ctx, p, p.Name, func(p *clusterv1beta1.Placement) { p.Annotations = nil })
		Eventually(func() bool { _, complete := read(ctx, p); return complete }).Should(BeTrue())
	})

	It("drops a cluster when its toleration ends", func(ctx SpecContext) {
		t := newTenant(ctx)
		a := t.cluster(ctx, "a", nil)
		seconds := int64(3)
		p := t.placement(ctx, "edge", func(s *clusterv1beta1.PlacementSpec) {
			s.Tolerations = []clusterv1beta1.Toleration{{Key: "k", Operator: clusterv1beta1.TolerationOpExists, TolerationSeconds: &seconds}}
		})
		expectChosen(ctx, p, a)
		edit(ctx, &clusterv1.ManagedCluster{}, a, func(c *clusterv1.ManagedCluster) {
			c.Spec.Taints = []clusterv1.Taint{{Key: "k", Effect: clusterv1.TaintEffectNoSelect, TimeAdded: clusterv1.NewTaintTime(time.Now())}}
		})
		expectChosen(ctx, p) // nothing but time changes
	})

	It("follows scores, and keeps its choice by Steady", func(ctx SpecContext) {
		t := newTenant(ctx)
		a, b := t.cluster(ctx, "a", nil), t.cluster(ctx, "b", nil)
		one := int32(1)
		score := func(weight int32, steady int32) func(*clusterv1beta1.PlacementSpec) {
			return func(s *clusterv1beta1.PlacementSpec) {
				s.NumberOfClusters = &one
				s.PrioritizerPolicy = clusterv1beta1.PrioritizerPolicy{Mode: clusterv1beta1.PrioritizerPolicyModeExact, Configurations: []clusterv1beta1.PrioritizerConfig{
					{Weight: weight, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{Type: clusterv1beta1.ScoreCoordinateTypeAddOn, AddOn: &clusterv1beta1.AddOnScore{ResourceName: "usage", ScoreName: "cpu"}}},
					{Weight: steady, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{Type: clusterv1beta1.ScoreCoordinateTypeBuiltIn, BuiltIn: clusterv1beta1.PrioritizerSteady}},
				}}
			}
		}
		follows, stays := t.placement(ctx, "follows", score(1, 0)), t.placement(ctx, "stays", score(1, 2))
		expectChosen(ctx, follows, a)
		expectChosen(ctx, stays, a)
		t.score(ctx, b, 90)
		expectChosen(ctx, follows, b)
		expectChosen(ctx, stays, a)
	})

	It("shows scores to those who ask, and follows them no faster than they ask", func(ctx SpecContext) {
		t := newTenant(ctx)
		a, b := t.cluster(ctx, "a", nil), t.cluster(ctx, "b", nil)
		byScore := func(limit string) func(*clusterv1beta1.PlacementSpec) {
			return func(s *clusterv1beta1.PlacementSpec) {
				s.SortBy, s.ScoreRateLimit = clusterv1beta1.SortByScore, limit
				s.PrioritizerPolicy = clusterv1beta1.PrioritizerPolicy{Mode: clusterv1beta1.PrioritizerPolicyModeExact, Configurations: []clusterv1beta1.PrioritizerConfig{
					{Weight: 1, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{Type: clusterv1beta1.ScoreCoordinateTypeAddOn, AddOn: &clusterv1beta1.AddOnScore{ResourceName: "usage", ScoreName: "cpu"}}},
				}}
			}
		}
		scoresOf := func(p *clusterv1beta1.Placement) string {
			text := ""
			for _, page := range pagesOf(ctx, p) {
				for _, d := range page.Status.Decisions {
					text += strings.TrimSuffix(d.ClusterName, "-"+t.name)
					if d.Score != nil {
						text += fmt.Sprintf(" %d ", *d.Score)
					}
				}
			}
			return text
		}
		// The scheduler has seen a score when a placement without a limit follows it.
		unlimited := t.placement(ctx, "unlimited", byScore("0s"))
		seen := func(scores string) { Eventually(scoresOf).WithArguments(unlimited).Should(Equal(scores)) }
		t.score(ctx, a, 10)
		seen("a 10 b 0 ")
		p := t.placement(ctx, "edge", byScore("1h"))
		expectChosen(ctx, p, a, b)
		scores := func() string { return scoresOf(p) }
		Expect(scores()).To(Equal("a 10 b 0 "), "the best comes first")
		updated := live(ctx, p).Status.LastScoreUpdateTime
		Expect(updated).NotTo(BeNil())

		By("a score that changes within the hour waits, a cluster that comes does not and brings it along")
		t.score(ctx, b, 90)
		seen("b 90 a 10 ")
		c := t.cluster(ctx, "c", nil)
		expectChosen(ctx, p, a, b, c)
		Eventually(scores).Should(Equal("b 90 a 10 c 0 "))
		Expect(live(ctx, p).Status.LastScoreUpdateTime).To(Equal(updated), "that was no update of scores alone")

		By("without the limit it is followed at once")
		edit(ctx, p, p.Name, func(p *clusterv1beta1.Placement) { p.Spec.ScoreRateLimit = "0s" })
		t.score(ctx, c, 95)
		Eventually(scores).Should(Equal("c 95 b 90 a 10 "))
	})

	It("says so when its name is too long for its decisions", func(ctx SpecContext) {
		t := newTenant(ctx)
		t.cluster(ctx, "a", nil)
		p := t.placement(ctx, strings.Repeat("long", 16), nil)
		expectCondition(ctx, p, "PlacementMisconfigured", metav1.ConditionTrue, "Misconfigured", "the name has 64 characters")
	})

	It("is measured", func(ctx SpecContext) {
		t := newTenant(ctx)
		p := t.placement(ctx, "edge", func(s *clusterv1beta1.PlacementSpec) {
			s.PrioritizerPolicy.Configurations = []clusterv1beta1.PrioritizerConfig{
				{Weight: 1, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{Type: clusterv1beta1.ScoreCoordinateTypeAddOn, AddOn: &clusterv1beta1.AddOnScore{ResourceName: "usage", ScoreName: "cpu"}}},
			}
		})
		expectChosen(ctx, p, t.cluster(ctx, "a", nil))
		measured := func() map[string]bool {
			families, err := metrics.Registry.Gather()
			Expect(err).NotTo(HaveOccurred())
			measured := map[string]bool{}
			for _, family := range families {
				for _, m := range family.Metric {
					labels := ""
					for _, l := range m.Label {
						labels += "," + l.GetName() + "=" + l.GetValue()
					}
					if m.Histogram.GetSampleCount() > 0 {
						measured[family.GetName()+labels] = true
					}
				}
			}
			return measured
		}
		for _, name := range []string{
			"scheduling_scheduling_duration_seconds,name=placement_scheduling",
			"scheduling_bind_duration_seconds,name=placement_scheduling",
			"scheduling_plugin_duration_seconds,name=placement_scheduling,plugin_name=Predicate,plugin_type=filter",
			"scheduling_plugin_duration_seconds,name=placement_scheduling,plugin_name=TaintToleration,plugin_type=filter",
			"scheduling_plugin_duration_seconds,name=placement_scheduling,plugin_name=Balance,plugin_type=prioritizer",
			"scheduling_plugin_duration_seconds,name=placement_scheduling,plugin_name=AddOn,plugin_type=prioritizer",
		} {
			Eventually(measured).Should(HaveKey(name)) // what was written is measured a moment later
		}
	})

	It("tells of its decisions by events", func(ctx SpecContext) {
		t := newTenant(ctx)
		p := t.placement(ctx, "edge", nil)
		expectChosen(ctx, p)
		expectChosen(ctx, p, t.cluster(ctx, "a", nil))
		expectEvent(ctx, p, "Normal", "DecisionCreate", "Decision edge-decision-1 is created with placement edge in namespace "+t.name)
		expectEvent(ctx, p, "Normal", "DecisionUpdate", "Decision edge-decision-1 is updated with placement edge in namespace "+t.name)
		expectEvent(ctx, p, "Normal", "ScoreUpdate", "a-"+t.name+":100 ")

		By("a placement that finds clusters, and loses a page")
		many := t.placement(ctx, "many", func(s *clusterv1beta1.PlacementSpec) {
			s.DecisionStrategy.GroupStrategy.ClustersPerDecisionGroup = intstr.FromInt32(1)
		})
		expectEvent(ctx, many, "Normal", "ScoreUpdate", "a-"+t.name)
		b := t.cluster(ctx, "b", nil)
		Eventually(func() int { return len(pagesOf(ctx, many)) }).Should(Equal(2))
		Expect(hub.Delete(ctx, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: b}})).To(Succeed())
		expectEvent(ctx, many, "Normal", "DecisionDelete", "Decision many-decision-2 is deleted with placement many in namespace "+t.name)
	})
})

// score writes the score usage/cpu of a cluster, with the namespace that it lives in.
func (t tenant) score(ctx context.Context, cluster string, value int32) *clusterv1alpha1.AddOnPlacementScore {
	GinkgoHelper()
	Expect(client.IgnoreAlreadyExists(hub.Create(ctx, namespace(cluster)))).To(Succeed())
	s := &clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: "usage"}}
	Expect(hub.Create(ctx, s)).To(Succeed())
	s.Status = clusterv1alpha1.AddOnPlacementScoreStatus{
		Scores: []clusterv1alpha1.AddOnPlacementScoreItem{{Name: "cpu", Value: value}}, ValidUntil: &metav1.Time{Time: time.Now().Add(time.Hour)},
	}
	Expect(hub.Status().Update(ctx, s)).To(Succeed())
	return s
}

// missing names the first of the clusters that no page holds.
func missing(pages []clusterv1beta1.PlacementDecision, names []string) string {
	held := map[string]bool{}
	var state []string
	for _, page := range pages {
		for _, d := range page.Status.Decisions {
			held[d.ClusterName] = true
		}
		state = append(state, fmt.Sprintf("%s: %d", page.Name, len(page.Status.Decisions)))
	}
	for _, n := range names {
		if !held[n] {
			return n + " is in none of " + strings.Join(state, ", ")
		}
	}
	return ""
}
