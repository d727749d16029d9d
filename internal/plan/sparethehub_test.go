package plan

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestSpareTheHub: a tenant does not steer the hub through the hub's own cluster.
func TestSpareTheHub(t *testing.T) {
	hub := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "hub"}}
	labelled := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "self", Labels: map[string]string{"local-cluster": "true"}}}
	other := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "edge"}}
	own := fleet.ObjectKey{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "retail", Name: "c"}
	foreign := own
	foreign.Namespace = "platform"
	wide := fleet.ObjectKey{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole", Resource: "clusterroles", Name: "admin"}
	work := fleet.ObjectKey{Group: "work.open-cluster-management.io", Version: "v1", Kind: "ManifestWork", Resource: "manifestworks", Namespace: "retail", Name: "w"}
	repository := fleet.ObjectKey{Group: "muster.dev", Version: "v1alpha1", Kind: "FleetRepository", Resource: "fleetrepositories", Namespace: "retail", Name: "r"}
	for name, row := range map[string]struct {
		cluster   *clusterv1.ManagedCluster
		namespace string
		object    fleet.ObjectKey
		refused   bool
		why       string
	}{
		"own namespace":     {hub, "retail", own, false, "there a tenant may deliver"},
		"another namespace": {hub, "retail", foreign, true, "it is another tenant's"},
		"cluster-wide":      {hub, "retail", wide, true, "it would be everybody's"},
		"kind of OCM":       {hub, "retail", work, true, "in the own namespace too: it would be a work of a cluster named so"},
		"kind of Muster":    {hub, "retail", repository, true, "it would be applied as the agent, and not as the tenant"},
		"by its label":      {labelled, "retail", wide, true, "as OCM marks the hub's own cluster"},
		"the root":          {hub, RootNamespace, repository, false, "whose repository may everything"},
		"another cluster":   {other, "retail", wide, false, "what a tenant may there, its service account says"},
	} {
		content := &fleet.Content{Manifests: []fleet.Manifest{{Key: own}, {Key: row.object, File: "f.yaml"}}}
		if row.namespace == RootNamespace {
			content.Manifests = content.Manifests[1:]
		}
		err := spareTheHub(&fleet.World{HubCluster: "hub"}, row.cluster, row.namespace, content)
		if f, ok := fleet.AsFault(err); ok != row.refused || (ok && (f.Reason != fleet.HubProtected || f.File != "f.yaml" || f.Object != row.object.String())) {
			t.Errorf("%s: %v: %s", name, err, row.why)
		}
	}
}
