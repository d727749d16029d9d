package addon

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// TestAnnotations: an add-on has its cluster's annotations as long as the cluster has them, and keeps what somebody else has set.
func TestAnnotations(t *testing.T) {
	const values, byHand = "addon.open-cluster-management.io/values", "addon.open-cluster-management.io/on-multicluster-hub"
	cma := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "mirror", UID: "u"}}
	cluster := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one", Annotations: map[string]string{values: "1", "else": "2"}}}
	mca := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{
		Namespace: "one", Name: "mirror", Annotations: withAnnotations(nil, cluster), OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cma, addonv1alpha1.GroupVersion.WithKind("ClusterManagementAddOn"))},
	}}
	if kept(mca, cma, cluster) != nil {
		t.Error("a new one is changed again")
	}
	mca.Annotations[byHand] = "true"
	if kept(mca, cma, cluster) != nil {
		t.Error("an annotation that was set by hand changes something")
	}
	cluster.Annotations = map[string]string{}
	after := kept(mca, cma, cluster)
	if after == nil {
		t.Fatal("the annotation that the cluster has no longer stays")
	}
	if diff := cmp.Diff(map[string]string{byHand: "true"}, after.Annotations); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestSelfManaged: an add-on whose own manager does all is left alone.
func TestSelfManaged(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{addonv1alpha1.AddToScheme, clusterv1.AddToScheme, clusterv1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	for lifecycle, want := range map[string]int{"": 1, addonv1alpha1.LifecycleAddonManager: 1, addonv1alpha1.LifecycleSelf: 0} {
		cma := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "mirror", Annotations: map[string]string{addonv1alpha1.LifecycleAnnotation: lifecycle}}}
		cma.Spec.InstallStrategy.Type = addonv1alpha1.InstallPlacements
		cma.Spec.InstallStrategy.Placements = []addonv1alpha1.PlacementStrategy{{PlacementRef: addonv1alpha1.PlacementRef{Namespace: "n", Name: "p"}}}
		decision := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p-1", Labels: map[string]string{clusterv1beta1.PlacementLabel: "p"}}}
		decision.Status.Decisions = []clusterv1beta1.ClusterDecision{{ClusterName: "one"}}
		c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(cma, decision, &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p"}},
			&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}}).
			WithIndex(&addonv1alpha1.ManagedClusterAddOn{}, byName, func(o client.Object) []string { return []string{o.GetName()} }).Build()
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(cma), cma); err != nil {
			t.Fatal(err)
		}
		if _, err := (&Installer{Client: c}).Reconcile(t.Context(), cma); err != nil {
			t.Fatal(err)
		}
		var made addonv1alpha1.ManagedClusterAddOnList
		if err := c.List(t.Context(), &made); err != nil || len(made.Items) != want {
			t.Errorf("lifecycle %q: it is on %d clusters, want %d: %v", lifecycle, len(made.Items), want, err)
		}
		if want == 1 && !metav1.IsControlledBy(&made.Items[0], cma) {
			t.Errorf("it is owned by %v", made.Items[0].OwnerReferences)
		}
	}
}
