package overview

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/registration"
)

// Facts are what the overview is made of.
type Facts struct {
	Hub          Hub
	Clusters     []clusterv1.ManagedCluster
	Applications []musterv1alpha1.Application
	Repositories []musterv1alpha1.FleetRepository
	Placements   []clusterv1beta1.Placement
	AddOns       []addonv1alpha1.ClusterManagementAddOn
	Installed    []addonv1alpha1.ManagedClusterAddOn
	Drift        []Drift // of applications that only report it
}

// Gather reads them from a hub.
func Gather(ctx context.Context, hub client.Client, now time.Time) (Facts, error) {
	var (
		clusters     clusterv1.ManagedClusterList
		applications musterv1alpha1.ApplicationList
		repositories musterv1alpha1.FleetRepositoryList
		placements   clusterv1beta1.PlacementList
	)
	for _, list := range []client.ObjectList{&clusters, &applications, &repositories, &placements} {
		if err := hub.List(ctx, list); err != nil {
			return Facts{}, fmt.Errorf("ask the hub: %w", err)
		}
	}
	f := Facts{Clusters: clusters.Items, Applications: applications.Items, Repositories: repositories.Items, Placements: placements.Items}
	var err error
	if f.AddOns, f.Installed, err = addOns(ctx, hub); err != nil {
		return Facts{}, err
	}
	f.Hub = LookAtHub(ctx, hub, now)
	for i := range f.Applications {
		a := &f.Applications[i]
		if a.Spec.Sync.Drift != musterv1alpha1.DriftReport || a.Status.Summary.Drifted == 0 {
			continue
		}
		rows, err := DriftOf(ctx, hub, a)
		if err != nil {
			return f, err
		}
		f.Drift = append(f.Drift, rows...)
	}
	return f, nil
}

// addOns lists the add-ons of a hub. One that an older Muster installed does not have them, and not everybody may see them.
func addOns(ctx context.Context, hub client.Client) ([]addonv1alpha1.ClusterManagementAddOn, []addonv1alpha1.ManagedClusterAddOn, error) {
	var all addonv1alpha1.ClusterManagementAddOnList
	var installed addonv1alpha1.ManagedClusterAddOnList
	for _, list := range []client.ObjectList{&all, &installed} {
		if err := hub.List(ctx, list); err != nil && !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return nil, nil, fmt.Errorf("ask the hub: %w", err)
		}
	}
	return all.Items, installed.Items, nil
}

// KnowledgeOf is what why asks of a hub whose world has been observed.
func KnowledgeOf(ctx context.Context, hub client.Client, w *fleet.World, now time.Time) (*Knowledge, error) {
	var repositories musterv1alpha1.FleetRepositoryList
	if err := hub.List(ctx, &repositories); err != nil {
		return nil, fmt.Errorf("ask the hub: %w", err)
	}
	k := &Knowledge{World: w, Hub: LookAtHub(ctx, hub, now), Repositories: repositories.Items}
	var err error
	k.AddOns, k.Installed, err = addOns(ctx, hub)
	return k, err
}

// Of are the facts about one application: what needs a person because of it.
func (f Facts) Of(a *musterv1alpha1.Application) Facts {
	key := a.Namespace + "/" + a.Name
	only := Facts{Hub: f.Hub, Applications: []musterv1alpha1.Application{*a}}
	for _, d := range f.Drift {
		if d.Application == key {
			only.Drift = append(only.Drift, d)
		}
	}
	for i := range f.Repositories {
		r := f.Repositories[i].DeepCopy()
		if r.Namespace+"/"+r.Name != a.Annotations[musterv1alpha1.RepositoryAnnotation] {
			continue
		}
		r.Status.Faults = slices.DeleteFunc(r.Status.Faults, func(x musterv1alpha1.Fault) bool { return x.Application != key && x.Application != "" })
		only.Repositories = append(only.Repositories, *r)
	}
	return only
}

// WhoAsks tells of a request to join under a cluster's name that waits for a person, as of a second agent, or "".
func WhoAsks(m *clusterv1.ManagedCluster) string {
	c := meta.FindStatusCondition(m.Status.Conditions, registration.ConditionJoinRequest)
	if c == nil || c.Status != metav1.ConditionFalse {
		return ""
	}
	return c.Message
}

// DoneWell is the rank of a work that is applied, healthy and not drifted.
const DoneWell = 3

// WorkRank orders works, the worst first.
func WorkRank(w fleet.LiveWork) int {
	switch {
	case w.Deleting, len(w.Status.Problems) > 0:
		return 0
	case !w.Status.Observed, !w.Status.Applied:
		return 1
	case w.Status.Health != fleet.HealthHealthy:
		return 2
	}
	return DoneWell
}

// The states of a cluster.
const (
	ClusterAvailable = "available"
	ClusterOffline   = "offline"
	ClusterJoining   = "joining"  // accepted, and has not been there yet
	ClusterWaiting   = "waiting"  // for somebody to accept it
	ClusterDenied    = "denied"   // was accepted once
	ClusterReleased  = "released" // left Git and waits for muster detach
	ClusterLeaving   = "leaving"  // is being detached
)

// ClusterStates are all there are, the best first.
var ClusterStates = []string{ClusterAvailable, ClusterOffline, ClusterJoining, ClusterWaiting, ClusterDenied, ClusterReleased, ClusterLeaving}

// ClusterState says how a cluster is, and what the hub says about it.
func ClusterState(m *clusterv1.ManagedCluster) (state, message string) {
	available := meta.FindStatusCondition(m.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
	accepted := meta.FindStatusCondition(m.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted)
	if available != nil {
		message = available.Message
	}
	released, isReleased := m.Annotations[musterv1alpha1.ReleasedAnnotation]
	switch {
	case m.DeletionTimestamp != nil:
		if c := meta.FindStatusCondition(m.Status.Conditions, clusterv1.ManagedClusterConditionDeleting); c != nil {
			message = c.Message
		}
		return ClusterLeaving, message
	case isReleased:
		return ClusterReleased, released
	case !m.Spec.HubAcceptsClient && accepted != nil:
		return ClusterDenied, accepted.Message
	case !m.Spec.HubAcceptsClient:
		return ClusterWaiting, ""
	case !meta.IsStatusConditionTrue(m.Status.Conditions, clusterv1.ManagedClusterConditionJoined):
		return ClusterJoining, message
	case available != nil && available.Status == "True":
		return ClusterAvailable, ""
	}
	return ClusterOffline, message
}
