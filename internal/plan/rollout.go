package plan

import (
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/rollout"
	"k8s.io/apimachinery/pkg/api/meta"
)

// defaultMaxClusterPercent is the guard of an application whose defaults no API server has filled in.
const defaultMaxClusterPercent = 10

// RolloutInput is what decides which changes of an application may be made now, for the hub that makes them and for a review
// that says what the hub would do. The world knows the application as the hub has it: what was approved, and what it has lost.
func (a *Application) RolloutInput(w *fleet.World) rollout.Input {
	faulty, all := a.Faulty()
	spec := a.Application.Spec
	in := rollout.Input{
		Application: a.Key(), Live: a.Live(), Elsewhere: a.elsewhere, Awaited: a.awaited, Complete: !all, Faulty: faulty,
		Decisions: map[string]fleet.Decision{}, Unreachable: map[string]bool{},
		WhenUnreachable: spec.Sync.WhenUnreachable, Deletion: spec.Deletion.Cluster,
		PlanDigest: a.Digest, MaxClusterPercent: defaultMaxClusterPercent,
	}
	if p := spec.DeletionGuard.MaxClusterPercent; p != nil {
		in.MaxClusterPercent = int(*p)
	}
	if live := a.onHub(w); live != nil {
		in.ApprovedPlan = live.Annotations[musterv1alpha1.ApprovedPlanAnnotation]
		in.RecentRemovals = rollout.Lately(&live.Status, w.Time)
	}
	for _, d := range a.Decisions {
		in.Decisions[d.Cluster] = d
	}
	for i := range w.Clusters {
		if c := &w.Clusters[i]; !w.FromRepository && Unreachable(c) { // a repository does not know who answers
			in.Unreachable[c.Name] = true
		}
	}
	return in
}

// onHub is the application as the world has it, or nil.
func (a *Application) onHub(w *fleet.World) *musterv1alpha1.Application {
	for i := range w.Applications {
		if o := &w.Applications[i]; o.Namespace == a.Application.Namespace && o.Name == a.Application.Name {
			return o
		}
	}
	return nil
}

// Unreachable says that the cluster does not answer: it never joined, or has fallen silent.
func Unreachable(c *clusterv1.ManagedCluster) bool {
	return !meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
}
