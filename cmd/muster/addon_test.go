package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

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

// TestEnable: an add-on that comes with Muster is put on the hub when it is enabled, with the rights of the cluster's agent; one that is still on its
// way out is not enabled.
func TestEnable(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{addonv1alpha1.AddToScheme, rbacv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	leaving := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "two", Name: "cluster-proxy", Finalizers: []string{"a/b"}}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(leaving).Build()
	if err := c.Delete(t.Context(), leaving); err != nil {
		t.Fatal(err)
	}
	enable := func(name, cluster string) (string, error) {
		cma, err := getOrAddAddOn(t.Context(), c, name)
		if err != nil {
			return "", err
		}
		return enableAddOn(t.Context(), c, cma, cluster)
	}
	for _, row := range []struct{ addon, cluster, says string }{
		{"managed-serviceaccount", "one", "add-on managed-serviceaccount is being installed on cluster one"},
		{"managed-serviceaccount", "one", "cluster one has add-on managed-serviceaccount already"},
		{"cluster-proxy", "one", "add-on cluster-proxy is being installed on cluster one"},
		{"cluster-proxy", "two", "add-on cluster-proxy is still being taken from cluster two"},
		{"mirror", "one", `there is no add-on "mirror"`},
	} {
		says, err := enable(row.addon, row.cluster)
		if err != nil {
			says = err.Error()
		}
		if !strings.Contains(says, row.says) {
			t.Errorf("enable %s on %s says %q, want %q", row.addon, row.cluster, says, row.says)
		}
	}
	binding := &rbacv1.RoleBinding{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "one", Name: "muster:managed-serviceaccount"}, binding); err != nil {
		t.Fatal(err)
	}
	if len(binding.OwnerReferences) != 1 || binding.OwnerReferences[0].Name != "managed-serviceaccount" || binding.Subjects[0].Name != "system:open-cluster-management:one" {
		t.Errorf("the rights are %+v", binding)
	}
}
