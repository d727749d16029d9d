package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// TestAddOnRows: what people are shown of add-ons: the cause before its effects.
func TestAddOnRows(t *testing.T) {
	on := func(cluster string, conditions ...metav1.Condition) addonv1alpha1.ManagedClusterAddOn {
		mca := addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: "mirror"}}
		mca.Status.Conditions = conditions
		return mca
	}
	says := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
	}
	other := on("a")
	other.Name = "proxy"
	leaving := on("d", says("HookManifestCompleted", "False", "HookManifestIsNotCompleted", "hook bye is not complete"))
	leaving.DeletionTimestamp = &metav1.Time{}
	*leaving.DeletionTimestamp = metav1.Now()
	installed := []addonv1alpha1.ManagedClusterAddOn{
		on("c", says("Available", "False", "WorkNotApplied", "work is not applied"), says("ManifestApplied", "False", "ManifestWorkApplyFailed", "does not render")),
		on("b"), on("a", says("Available", "True", "ProbeAvailable", ""), says("Progressing", "False", "Completed", "")), leaving, other,
	}
	want := []addOnCluster{
		{Cluster: "a", Available: "True", Progress: "Completed"}, {Cluster: "b", Available: "Unknown", Progress: "Waiting"},
		{Cluster: "c", Available: "False", Progress: "Waiting", Says: "does not render"},
		{Cluster: "d", Available: "Unknown", Progress: "Waiting", Says: "is being taken away: hook bye is not complete"},
	}
	if diff := cmp.Diff(want, addOnClusters("mirror", installed)); diff != "" {
		t.Errorf("clusters (-want +got)\n%s", diff)
	}
	cma := addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "mirror"}}
	cma.Spec.InstallStrategy.Type = addonv1alpha1.InstallPlacements
	cma.Status.InstallProgressions = []addonv1alpha1.InstallProgression{{
		PlacementRef: addonv1alpha1.PlacementRef{Namespace: "n", Name: "p"}, Conditions: []metav1.Condition{says("Progressing", "True", "Progressing", "1/4 progressing...")},
	}}
	rows := []addOnRow{{Name: "mirror", Strategy: "Placements", Clusters: 4, Available: 1, Rollout: []string{"n/p: 1/4 progressing..."}}}
	if diff := cmp.Diff(rows, addOnRows([]addonv1alpha1.ClusterManagementAddOn{cma}, installed)); diff != "" {
		t.Errorf("add-ons (-want +got)\n%s", diff)
	}
}
