package manifestworkreplicaset_test

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
)

const (
	verified  = workv1alpha1.ManifestWorkReplicaSetConditionPlacementVerified
	rolledOut = workv1alpha1.ManifestWorkReplicaSetConditionPlacementRolledOut
	applied   = workv1alpha1.ManifestWorkReplicaSetConditionManifestworkApplied
)

// create makes the ManifestWorkReplicaSet web over placements.
func (t tenant) create(ctx context.Context, strategy clusterv1alpha1.RolloutStrategy, placements ...string) {
	set := &workv1alpha1.ManifestWorkReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: "web", Labels: map[string]string{"team": "shop"}}}
	set.Spec.ManifestWorkTemplate.Workload.Manifests = []workv1.Manifest{manifest("red")}
	for _, name := range placements {
		set.Spec.PlacementRefs = append(set.Spec.PlacementRefs, workv1alpha1.LocalPlacementReference{Name: name, RolloutStrategy: strategy})
	}
	ExpectWithOffset(1, api.Create(ctx, set)).To(Succeed())
}

func paint(color string) func(*workv1alpha1.ManifestWorkReplicaSet) {
	return func(set *workv1alpha1.ManifestWorkReplicaSet) {
		set.Spec.ManifestWorkTemplate.Workload.Manifests = []workv1.Manifest{manifest(color)}
	}
}

var done = []string{"Applied", "True", "Available", "True", "Progressing", "False", "Degraded", "False"}

var _ = Describe("a ManifestWorkReplicaSet", func() {
	all := clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All}

	It("makes a work for each chosen cluster, counts them, and follows the decisions", func(ctx context.Context) {
		t := newTenant()
		t.choose(ctx, "edge", []string{"a", "b"})
		t.create(ctx, all, "edge")
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("a", "b"))
		for _, w := range t.works(ctx, "web") {
			Expect(w.Labels).To(Equal(map[string]string{
				workv1alpha1.ManifestWorkReplicaSetLabelKey: t.name + ".web", workv1alpha1.PlacementNameLabelKey: "edge", "team": "shop",
			}))
			Expect(w.Name).To(HavePrefix("web"))
			Expect(w.OwnerReferences).To(BeEmpty())
		}
		Eventually(t.counts(ctx, "web")).Should(Equal("2/2/2/0/0/0/0"))
		Expect(t.says(ctx, "web", verified)()).To(Equal("True AsExpected"))
		Expect(t.says(ctx, "web", rolledOut)()).To(Equal("False Progressing"))
		Expect(t.says(ctx, "web", applied)()).To(Equal("False NotAsExpected"))

		t.report(ctx, "web", []string{"a"}, "Applied", "True", "Available", "True", "Progressing", "True")
		Eventually(t.says(ctx, "web", applied)).Should(Equal("False Processing"))
		t.report(ctx, "web", []string{"a", "b"}, done...)
		Eventually(t.says(ctx, "web", applied)).Should(Equal("True AsExpected"))
		Eventually(t.says(ctx, "web", rolledOut)).Should(Equal("True Complete"))
		Eventually(t.counts(ctx, "web")).Should(Equal("2/2/2/2/2/0/0"))
		Expect(t.get(ctx, "web").Status.PlacementsSummary).To(HaveLen(1))
		Expect(t.get(ctx, "web").Status.PlacementsSummary[0].AvailableDecisionGroups).To(Equal("1 (2 / 2 clusters applied)"))

		t.choose(ctx, "edge", []string{"b", "c"})
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("b", "c"))
	})

	It("rolls out without rules of its author", func(ctx context.Context) {
		t := newTenant()
		t.choose(ctx, "edge", []string{"a", "b", "c"})
		t.create(ctx, clusterv1alpha1.RolloutStrategy{
			Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{MaxConcurrency: intstr.FromInt32(1)},
		}, "edge")
		for i, name := range []string{"a", "b", "c"} {
			Eventually(t.on(ctx, "web", "red")).Should(HaveLen(i + 1))
			Consistently(t.on(ctx, "web", "red"), "200ms").Should(HaveLen(i+1), "the next cluster waits for this one")
			t.report(ctx, "web", []string{name}, "Applied", "True", "Available", "True")
		}
		Eventually(t.says(ctx, "web", rolledOut)).Should(Equal("True Complete"))
	})

	It("begins with mandatory groups, and stops when more clusters fail than may", func(ctx context.Context) {
		t := newTenant()
		t.choose(ctx, "edge", []string{"canary"}, []string{"a", "b"}, []string{"c"})
		t.create(ctx, clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.ProgressivePerGroup, ProgressivePerGroup: &clusterv1alpha1.RolloutProgressivePerGroup{
			MandatoryDecisionGroups: clusterv1alpha1.MandatoryDecisionGroups{MandatoryDecisionGroups: []clusterv1alpha1.MandatoryDecisionGroup{{GroupName: "g0"}}},
			RolloutConfig:           clusterv1alpha1.RolloutConfig{MaxFailures: intstr.FromInt32(1), ProgressDeadline: "1h"},
		}}, "edge")
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("canary"))
		t.report(ctx, "web", []string{"canary"}, done...)
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("canary", "a", "b"))
		t.report(ctx, "web", []string{"a"}, "Applied", "True", "Available", "True", "Progressing", "True", "Degraded", "True")
		t.report(ctx, "web", []string{"b"}, done...)
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("canary", "a", "b", "c"), "one failure is allowed in a group")
		t.report(ctx, "web", []string{"a", "c"}, done...)
		Eventually(t.says(ctx, "web", rolledOut)).Should(Equal("True Complete"))

		t.edit(ctx, "web", paint("blue"))
		Eventually(t.on(ctx, "web", "blue")).Should(ConsistOf("canary"))
		t.report(ctx, "web", []string{"canary"}, "Applied", "True", "Available", "True", "Progressing", "True", "Degraded", "True")
		Eventually(func() string { return message(t.get(ctx, "web"), rolledOut) }).Should(ContainSubstring("the rollout is stopped: canary-"))
		Expect(t.on(ctx, "web", "red")()).To(ConsistOf("a", "b", "c"))
		t.edit(ctx, "web", paint("green"))
		Eventually(t.on(ctx, "web", "green")).Should(ConsistOf("canary"), "a correction goes to the canary first")
		t.report(ctx, "web", []string{"canary"}, done...)
		Eventually(t.on(ctx, "web", "green")).Should(ConsistOf("canary", "a", "b"))
	})

	It("waits for minSuccessTime and goes on by itself", func(ctx context.Context) {
		t := newTenant()
		t.choose(ctx, "edge", []string{"a", "b"})
		t.create(ctx, clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{
			MaxConcurrency: intstr.FromInt32(1), RolloutConfig: clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: 3 * time.Second}},
		}}, "edge")
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("a"))
		reported := time.Now().Truncate(time.Second)
		t.report(ctx, "web", []string{"a"}, done...)
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("a", "b"))
		second := t.works(ctx, "web")["b"].CreationTimestamp
		Expect(second.Time).NotTo(BeTemporally("<", reported.Add(3*time.Second)))
	})

	It("gives a cluster that two placements choose to the first of them", func(ctx context.Context) {
		t := newTenant()
		t.choose(ctx, "edge", []string{"a", "b"})
		t.choose(ctx, "core", []string{"b", "c"})
		t.create(ctx, all, "edge", "core")
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("a", "b", "c"))
		label := func() string { return t.works(ctx, "web")["b"].Labels[workv1alpha1.PlacementNameLabelKey] }
		Expect(label()).To(Equal("edge"))
		Eventually(t.counts(ctx, "web")).Should(HavePrefix("3/3/3/"))
		Expect(message(t.get(ctx, "web"), verified)).To(ContainSubstring("is chosen by core too, and belongs to edge"))
		uid := t.works(ctx, "web")["b"].UID
		t.edit(ctx, "web", func(set *workv1alpha1.ManifestWorkReplicaSet) { set.Spec.PlacementRefs = set.Spec.PlacementRefs[1:] })
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("b", "c"))
		Eventually(label).Should(Equal("core"))
		Expect(t.works(ctx, "web")["b"].UID).To(Equal(uid), "the work stays")
	})

	It("takes over the works that OCM's hub made, and gives a work back that somebody edited or deleted", func(ctx context.Context) {
		t := newTenant()
		t.cluster(ctx, "a")
		theirs := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: t.of("a"), Name: "webx7k2p", Labels: map[string]string{
			workv1alpha1.ManifestWorkReplicaSetLabelKey: t.name + ".web", workv1alpha1.PlacementNameLabelKey: "edge", "team": "shop",
		}}}
		theirs.Spec.Workload.Manifests = []workv1.Manifest{manifest("red")}
		Expect(api.Create(ctx, theirs)).To(Succeed())
		t.choose(ctx, "edge", []string{"a", "b"})
		t.create(ctx, all, "edge")
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("a", "b"))
		Expect(t.works(ctx, "web")["a"].UID).To(Equal(theirs.UID))
		Expect(t.works(ctx, "web")["a"].Generation).To(Equal(int64(1)), "and nothing is written")

		Eventually(func() error {
			w := t.works(ctx, "web")["a"]
			w.Spec.Workload.Manifests = []workv1.Manifest{manifest("pink")}
			return api.Update(ctx, w)
		}).Should(Succeed())
		Eventually(func() int64 { return t.works(ctx, "web")["a"].Generation }).Should(Equal(int64(3)))
		Expect(t.on(ctx, "web", "red")()).To(ConsistOf("a", "b"))
		Expect(api.Delete(ctx, t.works(ctx, "web")["b"])).To(Succeed())
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("a", "b"))
	})

	It("keeps its works while its placement is away", func(ctx context.Context) {
		t := newTenant()
		t.choose(ctx, "edge", []string{"a"})
		t.create(ctx, all, "edge")
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("a"))
		Expect(api.Delete(ctx, &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: "edge"}})).To(Succeed())
		Eventually(t.says(ctx, "web", verified)).Should(Equal("False PlacementDecisionNotFound"))
		Expect(t.on(ctx, "web", "red")()).To(ConsistOf("a"))
	})

	It("does not steer the hub through the hub's own cluster", func(ctx context.Context) {
		t := newTenant()
		self := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: t.of("self"), Labels: map[string]string{"local-cluster": "true"}}}
		Expect(api.Create(ctx, self)).To(Succeed())
		t.choose(ctx, "edge", []string{"a", "self"})
		t.create(ctx, all, "edge")
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("a"))
		Eventually(func() string {
			if c := meta.FindStatusCondition(t.get(ctx, "web").Status.Conditions, applied); c != nil {
				return c.Message
			}
			return ""
		}).Should(ContainSubstring("cluster %s is the hub", self.Name))
		Expect(t.works(ctx, "web")).To(HaveLen(1))
		own := workv1.Manifest{RawExtension: runtime.RawExtension{Raw: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","namespace":%q}}`, t.name)}}
		t.edit(ctx, "web", func(set *workv1alpha1.ManifestWorkReplicaSet) {
			set.Spec.ManifestWorkTemplate.Workload.Manifests = []workv1.Manifest{own}
		})
		Eventually(func() int { return len(t.works(ctx, "web")) }).Should(Equal(2))
	})

	It("says what the API server refuses", func(ctx context.Context) {
		t := newTenant()
		t.choose(ctx, "edge", []string{"a"})
		t.create(ctx, all, "edge")
		page := &clusterv1beta1.PlacementDecision{}
		Expect(api.Get(ctx, client.ObjectKey{Namespace: t.name, Name: "edge-decision-1"}, page)).To(Succeed())
		page.Status.Decisions[0].ClusterName = "nowhere-" + t.name
		Expect(api.Status().Update(ctx, page)).To(Succeed())
		Eventually(func() string { return message(t.get(ctx, "web"), applied) }).Should(ContainSubstring("on nowhere-"))
		Expect(t.says(ctx, "web", applied)()).To(Equal("False NotAsExpected"))
	})

	DescribeTable("when it is deleted", func(ctx context.Context, policy workv1alpha1.CascadeDeletionPolicy, waits bool) {
		t := newTenant()
		t.choose(ctx, "edge", []string{"a", "b"})
		t.create(ctx, all, "edge")
		t.edit(ctx, "web", func(set *workv1alpha1.ManifestWorkReplicaSet) { set.Spec.CascadeDeletionPolicy = policy })
		Eventually(t.on(ctx, "web", "red")).Should(ConsistOf("a", "b"))
		Eventually(func() error { // an agent has the work
			w := t.works(ctx, "web")["a"]
			w.Finalizers = []string{workv1.ManifestWorkFinalizer}
			return api.Update(ctx, w)
		}).Should(Succeed())
		set := t.get(ctx, "web")
		Expect(set.Finalizers).To(ContainElement(workv1alpha1.ManifestWorkReplicaSetFinalizer))
		Expect(api.Delete(ctx, set)).To(Succeed())
		Eventually(func() int { return len(t.works(ctx, "web")) }).Should(Equal(1), "its works go")
		gone := func() bool { return apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(set), set)) }
		if waits {
			Consistently(gone, "500ms").Should(BeFalse(), "it stays until the last work is gone")
			Eventually(func() error {
				w := t.works(ctx, "web")["a"]
				w.Finalizers = nil
				return api.Update(ctx, w)
			}).Should(Succeed())
		}
		Eventually(gone).Should(BeTrue())
		if !waits {
			Expect(t.works(ctx, "web")).To(HaveLen(1), "the agent still has to remove the objects")
		}
	},
		Entry("in the background", workv1alpha1.Background, false),
		Entry("in the foreground", workv1alpha1.Foreground, true),
	)
})

func message(set *workv1alpha1.ManifestWorkReplicaSet, condition string) string {
	for _, c := range set.Status.Conditions {
		if c.Type == condition {
			return c.Message
		}
	}
	return ""
}

var _ = Describe("a work with a time to live", func() {
	work := func(ctx context.Context, t tenant, name string, ttl int64, labels map[string]string) *workv1.ManifestWork {
		w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: t.of("a"), Name: name, Labels: labels}}
		w.Spec.Workload.Manifests, w.Spec.DeleteOption = []workv1.Manifest{manifest("red")}, &workv1.DeleteOption{TTLSecondsAfterFinished: &ttl}
		Expect(api.Create(ctx, w)).To(Succeed())
		return w
	}
	complete := func(ctx context.Context, w *workv1.ManifestWork, status metav1.ConditionStatus, ago time.Duration) {
		w.Status.Conditions = []metav1.Condition{{Type: workv1.WorkComplete, Status: status, Reason: "Reported", LastTransitionTime: metav1.NewTime(time.Now().Add(-ago))}}
		Expect(api.Status().Update(ctx, w)).To(Succeed())
	}
	It("goes when it has been complete for that long, and not before", func(ctx context.Context) {
		t := newTenant()
		t.cluster(ctx, "a")
		now, later, never := work(ctx, t, "now", 0, nil), work(ctx, t, "later", 3600, nil), work(ctx, t, "never", 0, nil)
		owned := work(ctx, t, "owned", 0, map[string]string{workv1alpha1.ManifestWorkReplicaSetLabelKey: t.name + ".nosuch"})
		soon := work(ctx, t, "soon", 3, nil)
		complete(ctx, never, metav1.ConditionFalse, time.Hour)
		complete(ctx, owned, metav1.ConditionTrue, time.Hour)
		complete(ctx, later, metav1.ConditionTrue, time.Minute)
		complete(ctx, soon, metav1.ConditionTrue, 0)
		complete(ctx, now, metav1.ConditionTrue, 0)
		gone := func(w *workv1.ManifestWork) func() bool {
			return func() bool {
				return apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(w), &workv1.ManifestWork{}))
			}
		}
		Eventually(gone(now)).Should(BeTrue())
		Eventually(gone(soon)).Should(BeTrue(), "the time alone is enough")
		for _, w := range []*workv1.ManifestWork{later, never, owned} {
			Expect(gone(w)()).To(BeFalse(), w.Name)
		}
		complete(ctx, later, metav1.ConditionTrue, 2*time.Hour)
		Eventually(gone(later)).Should(BeTrue())
	})
})
