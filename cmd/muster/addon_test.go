package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
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
		{Cluster: "a", Available: "True", Progress: "Completed"}, {Cluster: "b", Available: "Unknown", Progress: "Waiting", Says: "the hub, or the add-on's manager, has not said yet whether it is available"},
		{Cluster: "c", Available: "False", Progress: "Waiting", Says: "ManifestApplied is False (ManifestWorkApplyFailed): does not render"},
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
	rows := []overview.AddOn{{
		Name: "mirror", Strategy: "Placements", Clusters: 4, Available: 1, Rollout: []string{"n/p: 1/4 progressing..."},
		Waits: "b: the hub, or the add-on's manager, has not said yet whether it is available",
	}}
	if diff := cmp.Diff(rows, overview.AddOnsOf([]addonv1alpha1.ClusterManagementAddOn{cma}, installed)); diff != "" {
		t.Errorf("add-ons (-want +got)\n%s", diff)
	}
}

// TestStatusOfAddOns: the fleet is not in order while an add-on waits on a cluster.
func TestStatusOfAddOns(t *testing.T) {
	f := overview.Facts{Hub: overview.Hub{State: overview.HubRuns}, AddOns: []addonv1alpha1.ClusterManagementAddOn{{ObjectMeta: metav1.ObjectMeta{Name: "mirror"}}}}
	mca := addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "mirror"}}
	for status, well := range map[metav1.ConditionStatus]bool{"True": true, "False": false, "Unknown": false} {
		mca.Status.Conditions = []metav1.Condition{{Type: "Available", Status: status, Reason: "R", Message: "m"}}
		f.Installed = []addonv1alpha1.ManagedClusterAddOn{mca}
		o := overview.FleetOf(f, time.Unix(0, 0))
		if o.InOrder() != well || len(o.AddOns) != 1 || o.AddOns[0].Clusters != 1 || (o.AddOns[0].Available == 1) != well {
			t.Errorf("available %s: in order %v, %+v", status, o.InOrder(), o.AddOns)
		}
	}
}

// TestWhyAddOn: why names an add-on on a cluster, what it waits for, and what is known where the name is wrong.
func TestWhyAddOn(t *testing.T) {
	cma := addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "mirror"}}
	one := addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "mirror"}}
	one.Status.Conditions = []metav1.Condition{{Type: "Available", Status: "False", Reason: "ProbeUnavailable", Message: "Deployment server is not ready"}}
	k := &overview.Knowledge{
		World:  &fleet.World{Clusters: []clusterv1.ManagedCluster{managed("one", true), managed("two", true)}},
		Hub:    overview.Hub{State: overview.HubRuns},
		AddOns: []addonv1alpha1.ClusterManagementAddOn{cma}, Installed: []addonv1alpha1.ManagedClusterAddOn{one},
	}
	for _, row := range []struct {
		cluster string
		waits   []string
	}{
		{"one", []string{"one: Available is False (ProbeUnavailable): Deployment server is not ready"}},
		{"two", []string{"two: it is not on the cluster: muster addon enable mirror --clusters two"}},
		{"", []string{"one: Available is False (ProbeUnavailable): Deployment server is not ready"}},
	} {
		r, err := k.Named("mirror", row.cluster)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row.waits, r.Waits); diff != "" {
			t.Errorf("on %q (-want +got)\n%s", row.cluster, diff)
		}
	}
	if _, err := k.Named("mirrow", ""); err == nil || !strings.Contains(err.Error(), "mirror") {
		t.Errorf("a name that is near is answered with %v", err)
	}
}
