package cluster_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/registration"
)

// TestLife: a cluster is accepted, denied, accepted again and deleted; its rights follow.
func TestLife(t *testing.T) {
	h := started(t)
	h.create(managed("life"))
	eventually(t, func() string {
		c := h.cluster("life")
		if c.Labels[clusterv1beta2.ClusterSetLabel] != "default" || !hasTaint(c, clusterv1.ManagedClusterTaintUnreachable) {
			return "a cluster that was never seen is in the set default and unreachable"
		}
		return ""
	})
	if meta.FindStatusCondition(h.cluster("life").Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) != nil {
		t.Error("nobody accepted or denied it yet")
	}

	h.accept("life", true)
	h.expect("life", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue)
	var space corev1.Namespace
	mustGet(t, h, client.ObjectKey{Name: "life"}, &space)
	if space.Labels[clusterv1.ClusterNameLabelKey] != "life" {
		t.Error("the namespace has no label")
	}
	eventually(t, func() string {
		return missing(h, client.ObjectKey{Namespace: "life", Name: clusterv1.ManagedClusterLeaseName}, &coordinationv1.Lease{})
	})
	may := func() bool {
		return allowed(t, h, "life", clusterv1.RegisterGroupName, "managedclusters", "clientcertificates", "renew", "", "life") &&
			allowed(t, h, "life", workv1.GroupName, "manifestworks", "", "list", "life", "")
	}
	eventually(t, func() string { return unless(may(), "an accepted cluster may renew and see its works") })
	if allowed(t, h, "life", workv1.GroupName, "manifestworks", "", "list", "other", "") || allowed(t, h, "life", "", "secrets", "", "list", "life", "") {
		t.Error("it may not see other clusters' works, nor secrets")
	}

	mustDelete(t, h, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: registration.ClusterRoleName("life")}})
	eventually(t, func() string { return unless(may(), "rights that somebody deleted come back") })

	h.create(work("life", "w"))
	h.accept("life", false)
	h.expect("life", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionFalse)
	eventually(t, func() string {
		return unless(!allowed(t, h, "life", clusterv1.RegisterGroupName, "managedclusters", "clientcertificates", "renew", "", "life") &&
			!allowed(t, h, "life", workv1.GroupName, "manifestworks", "", "list", "life", "") &&
			!allowed(t, h, "life", "coordination.k8s.io", "leases", "", "update", "life", "") &&
			allowed(t, h, "life", clusterv1.GroupName, "managedclusters", "", "get", "", "life"),
			"a denied cluster may see itself and nothing else, though it has works")
	})
	h.accept("life", true)
	eventually(t, func() string { return unless(may(), "accepted again") })

	// The work is held by its agent's finalizer, as a cluster that does not answer holds it.
	w := &workv1.ManifestWork{}
	mustGet(t, h, client.ObjectKey{Namespace: "life", Name: "w"}, w)
	w.Finalizers = []string{workv1.ManifestWorkFinalizer}
	if err := h.Update(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	mustDelete(t, h, managed("life"))
	eventually(t, func() string {
		c := meta.FindStatusCondition(h.cluster("life").Status.Conditions, clusterv1.ManagedClusterConditionDeleting)
		return unless(c != nil && c.Reason == clusterv1.ReasonResourceRemaining, "the cluster waits for its works")
	})
	if !may() {
		t.Error("the agent keeps its rights while it cleans up")
	}
	mustGet(t, h, client.ObjectKeyFromObject(w), w)
	if w.DeletionTimestamp.IsZero() {
		t.Error("the work is not being deleted")
	}
	w.Finalizers = nil
	if err := h.Update(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		err := h.Get(t.Context(), client.ObjectKey{Name: "life"}, &clusterv1.ManagedCluster{})
		return unless(apierrors.IsNotFound(err), "the cluster is still there")
	})
	if missing(h, client.ObjectKey{Name: registration.ClusterRoleName("life")}, &rbacv1.ClusterRole{}) == "" {
		t.Error("the role of a deleted cluster goes before it")
	}
	eventually(t, func() string { return unless(!may(), "the rights of a deleted cluster go") })
	if text := missing(h, client.ObjectKey{Name: "life"}, &corev1.Namespace{}); text != "" {
		t.Errorf("the namespace stays, as in OCM: %s", text)
	}
}

// TestNamespaceComesBack: a cluster's namespace that somebody deleted ends when the agent has cleaned up, and is made anew.
func TestNamespaceComesBack(t *testing.T) {
	h := started(t)
	h.create(managed("comeback", acceptedCluster))
	h.expect("comeback", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue)
	w := work("comeback", "w")
	w.Finalizers = []string{workv1.ManifestWorkFinalizer}
	h.create(w)
	before := &corev1.Namespace{}
	mustGet(t, h, client.ObjectKey{Name: "comeback"}, before)
	binding := client.ObjectKey{Namespace: "comeback", Name: registration.WorkBindingName("comeback")}

	mustDelete(t, h, namespace("comeback"))
	h.expect("comeback", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionFalse)
	eventually(t, func() string {
		rights := &rbacv1.RoleBinding{}
		mustGet(t, h, binding, rights)
		mustGet(t, h, client.ObjectKeyFromObject(w), w)
		return unless(!rights.DeletionTimestamp.IsZero() && !w.DeletionTimestamp.IsZero(), "the namespace's objects are not being deleted")
	})
	time.Sleep(time.Second) // some looks, in which nothing is to happen
	mustGet(t, h, binding, &rbacv1.RoleBinding{})
	if !allowed(t, h, "comeback", workv1.GroupName, "manifestworks", "", "update", "comeback", "") {
		t.Error("the agent lost the rights that it cleans up with")
	}

	w.Finalizers = nil // as the agent does at last
	if err := h.Update(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		now := &corev1.Namespace{}
		if err := h.Get(t.Context(), client.ObjectKey{Name: "comeback"}, now); err != nil {
			return err.Error()
		}
		return unless(now.UID != before.UID, "the namespace does not end")
	})
	h.expect("comeback", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue)
	eventually(t, func() string {
		rights := &rbacv1.RoleBinding{}
		if text := missing(h, binding, rights); text != "" {
			return text
		}
		return missing(h, client.ObjectKey{Namespace: "comeback", Name: clusterv1.ManagedClusterLeaseName}, &coordinationv1.Lease{})
	})
}

// TestLease: a lease that stops makes the cluster Unknown and unreachable, and one that comes back undoes it, while a taint
// that Git declares stays through both.
func TestLease(t *testing.T) {
	h := started(t)
	h.create(managed("lease", acceptedCluster, func(c *clusterv1.ManagedCluster) {
		c.Spec.LeaseDurationSeconds = 1
		c.Spec.Taints = []clusterv1.Taint{{Key: "site", Value: "small", Effect: clusterv1.TaintEffectNoSelect}}
	}))
	h.expect("lease", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue)
	alive := func() string { // as the agent does, again and again
		renew(t, h, "lease", time.Now())
		c := h.cluster("lease")
		base := c.DeepCopy()
		meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{
			Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionTrue, Reason: clusterv1.ReasonManagedClusterAvailable,
		})
		if err := h.Status().Patch(t.Context(), c, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
			return err.Error()
		}
		return ""
	}
	silent := func() string { return "" }
	expectTaints := func(agent func() string, keys ...string) {
		t.Helper()
		eventually(t, func() string {
			if wrong := agent(); wrong != "" {
				return wrong
			}
			var have []string
			for _, taint := range h.cluster("lease").Spec.Taints {
				if taint.TimeAdded.IsZero() {
					return "taint " + taint.Key + " has no time"
				}
				have = append(have, taint.Key)
			}
			return unless(slices.Equal(have, keys), "the taints are not as wanted")
		})
	}
	eventually(t, func() string {
		return missing(h, client.ObjectKey{Namespace: "lease", Name: clusterv1.ManagedClusterLeaseName}, &coordinationv1.Lease{})
	})
	expectTaints(alive, "site")
	h.expect("lease", clusterv1.ManagedClusterConditionClockSynced, metav1.ConditionTrue)

	h.expect("lease", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionUnknown)
	expectTaints(silent, "site", clusterv1.ManagedClusterTaintUnreachable)

	expectTaints(alive, "site")

	h.patch("lease", map[string]any{"metadata": map[string]any{"annotations": map[string]any{"wake": "up"}}})
	renew(t, h, "lease", time.Now().Add(-time.Hour))
	h.expect("lease", clusterv1.ManagedClusterConditionClockSynced, metav1.ConditionFalse)
}

// TestSets: the hub's own sets exist and stay as they are, members are counted, bindings know whether their set exists.
func TestSets(t *testing.T) {
	h := started(t)
	empty := func(name string, want metav1.ConditionStatus) {
		t.Helper()
		eventually(t, func() string {
			set := &clusterv1beta2.ManagedClusterSet{}
			if err := h.Get(t.Context(), client.ObjectKey{Name: name}, set); err != nil {
				return err.Error()
			}
			c := meta.FindStatusCondition(set.Status.Conditions, clusterv1beta2.ManagedClusterSetConditionEmpty)
			return unless(c != nil && c.Status == want, "set "+name+" is not told empty: "+string(want))
		})
	}
	bound := func(want metav1.ConditionStatus) {
		t.Helper()
		eventually(t, func() string {
			b := &clusterv1beta2.ManagedClusterSetBinding{}
			mustGet(t, h, client.ObjectKey{Namespace: "team-sets", Name: "edge"}, b)
			c := meta.FindStatusCondition(b.Status.Conditions, clusterv1beta2.ClusterSetBindingBoundType)
			return unless(c != nil && c.Status == want, "the binding is not told bound: "+string(want))
		})
	}
	h.create(namespace("team-sets"), &clusterv1beta2.ManagedClusterSetBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-sets", Name: "edge"}, Spec: clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: "edge"},
	})
	bound(metav1.ConditionFalse)
	set := &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "edge"}}
	set.Spec.ManagedNamespaces = []clusterv1.ManagedNamespaceConfig{{Name: "shop"}}
	h.create(set)
	bound(metav1.ConditionTrue)
	empty("edge", metav1.ConditionTrue)

	h.create(managed("setted", func(c *clusterv1.ManagedCluster) {
		c.Labels = map[string]string{clusterv1beta2.ClusterSetLabel: "edge"}
	}))
	empty("edge", metav1.ConditionFalse)
	empty("global", metav1.ConditionFalse)
	eventually(t, func() string {
		spaces := h.cluster("setted").Status.ManagedNamespaces
		return unless(len(spaces) == 1 && spaces[0].Name == "shop" && spaces[0].ClusterSet == "edge", "the set's namespace is not asked for")
	})

	mustDelete(t, h, set)
	bound(metav1.ConditionFalse)
	mustDelete(t, h, &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	empty("default", metav1.ConditionTrue)
}

// TestAPISet: a set whose name is not its digest is deleted.
func TestAPISet(t *testing.T) {
	h := started(t)
	resources := []musterv1alpha1.APIResource{{Version: "v1", Kind: "Pod", Resource: "pods", Namespaced: true}}
	good := &musterv1alpha1.APISet{
		ObjectMeta:        metav1.ObjectMeta{Name: fleet.APISetDigest("v1.36.3", resources)},
		KubernetesVersion: "v1.36.3", Resources: resources,
	}
	forged := good.DeepCopy()
	forged.Name, forged.Resources[0].Kind = "forged", "Secret"
	h.create(good, forged)
	eventually(t, func() string {
		return unless(missing(h, client.ObjectKeyFromObject(forged), &musterv1alpha1.APISet{}) != "", "the forged set is still there")
	})
	if text := missing(h, client.ObjectKeyFromObject(good), &musterv1alpha1.APISet{}); text != "" {
		t.Error(text)
	}
}

func renew(t *testing.T, h *hub, name string, at time.Time) {
	t.Helper()
	eventually(t, func() string {
		lease := &coordinationv1.Lease{}
		mustGet(t, h, client.ObjectKey{Namespace: name, Name: clusterv1.ManagedClusterLeaseName}, lease)
		renewed := metav1.NewMicroTime(at)
		lease.Spec.RenewTime = &renewed
		if err := h.Update(t.Context(), lease); err != nil {
			return err.Error()
		}
		return ""
	})
}

func work(cluster, name string) *workv1.ManifestWork {
	return &workv1.ManifestWork{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: name},
		Spec: workv1.ManifestWorkSpec{Workload: workv1.ManifestsTemplate{Manifests: []workv1.Manifest{{RawExtension: runtime.RawExtension{
			Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `","namespace":"default"}}`),
		}}}}},
	}
}

func hasTaint(c *clusterv1.ManagedCluster, key string) bool {
	return slices.ContainsFunc(c.Spec.Taints, func(t clusterv1.Taint) bool { return t.Key == key })
}

// TestTimesThatAreNone: the API server takes times in a status that Kubernetes' clients cannot decode. A cluster that reports one
// keeps the hub from seeing neither the others nor itself.
func TestTimesThatAreNone(t *testing.T) {
	h := started(t)
	h.create(managed("times-a", acceptedCluster))
	h.expect("times-a", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue)
	h.create(work("times-a", "theirs"), &clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{Namespace: "times-a", Name: "usage"}})
	const at = "2026-01-01t00:00:00z"
	status := map[string]any{"conditions": []any{map[string]any{
		"type": "Their", "status": "True", "reason": "Says", "message": "", "lastTransitionTime": at,
	}}}
	h.patch("times-a", map[string]any{"status": status}, "status")
	h.report(work("times-a", "theirs"), status)
	status["validUntil"] = at
	h.report(&clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{Namespace: "times-a", Name: "usage"}}, status)
	for _, list := range []client.ObjectList{&clusterv1.ManagedClusterList{}, &workv1.ManifestWorkList{}, &clusterv1alpha1.AddOnPlacementScoreList{}} {
		if err := h.List(t.Context(), list); err != nil {
			t.Error(err)
		}
	}
	t.Run("Restart", func(t *testing.T) { // the first look meets the cluster
		h := startedOn(t, h.ControlPlane, cluster.Options{})
		h.create(managed("times-b", acceptedCluster))
		h.expect("times-b", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue)
		h.expect("times-a", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue)
	})
}

// report writes a status as it is, which no type of ours could say.
func (h *hub) report(o client.Object, status map[string]any) {
	h.t.Helper()
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.Status().Patch(h.t.Context(), o, client.RawPatch(types.MergePatchType, patch)); err != nil {
		h.t.Fatalf("report of %T: %v", o, err)
	}
}
