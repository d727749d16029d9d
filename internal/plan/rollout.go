package plan

import (
	"fmt"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/rollout"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RolloutInput is the part of the input of a step that a plan knows, for the hub that makes the step and for a review that says
// what the hub would do. The time, the approval and the removals on record come with each step.
func (a *Application) RolloutInput(unreachable map[string]bool) rollout.Input {
	faulty, all := a.Faulty()
	spec := a.Application.Spec
	in := rollout.Input{
		Owner: a.Owner(), Live: a.Live(), OtherHolders: a.otherHolders, WantedBy: a.wantedBy,
		Complete: !all, Faulty: faulty, Emptied: map[string]bool{}, Decisions: map[string]fleet.Decision{}, Grounds: a.Grounds,
		Filled: a.Filled, Missing: a.Missing, Unreachable: unreachable,
		WhenUnreachable: spec.Sync.WhenUnreachable, Deletion: spec.Deletion.Cluster,
		Strategy: spec.Rollout, Windows: a.windows, WindowsOn: a.windowsOn, PlanDigest: a.Digest, MaxClusterPercent: int(musterv1alpha1.DefaultMaxClusterPercent),
	}
	if p := spec.DeletionGuard.MaxClusterPercent; p != nil {
		in.MaxClusterPercent = int(*p)
	}
	if spec.Rollout != nil && len(spec.Rollout.Steps) > 0 {
		in.Labels = a.labels
	}
	for _, c := range a.Clusters {
		if c.Empty {
			in.Emptied[c.Name] = true
		}
	}
	for _, d := range a.Decisions {
		in.Decisions[d.Cluster] = d
	}
	return in
}

// noteRollout checks what a rollout measures, and notes which of its windows are for which of the clusters.
func (a *Application) noteRollout(job Job, targets []target) *fleet.Fault {
	r := a.Application.Spec.Rollout
	if r == nil || len(r.Windows)+len(r.Steps) == 0 && r.Canary == nil {
		return nil
	}
	invalid := func(field, message string) *fleet.Fault {
		f := &fleet.Fault{
			Reason: fleet.DefinitionInvalid, ActionRequiredBy: fleet.User, Application: a.Key(), File: a.File, Line: a.Line, Message: "spec.rollout." + message,
		}
		if job.LineOf != nil {
			f.Line = job.LineOf(field)
		}
		return f
	}
	if field, err := rollout.CheckAnalyses(r); err != nil {
		return invalid("spec.rollout."+field, err.Error())
	}
	if field, err := rollout.CheckWindows(r); err != nil {
		return invalid("spec.rollout."+field, err.Error())
	}
	var err error
	if a.windows, err = rollout.ParseWindows(r.Windows); err != nil {
		return invalid("spec.rollout.windows", err.Error())
	}
	a.windowsOn = map[string]rollout.WindowSet{}
	for i, w := range r.Windows {
		if w.ClusterSelector == nil && w.ClusterValue == nil {
			a.windowsOn[""] |= 1 << i
		}
		matches := func(*clusterv1.ManagedCluster) bool { return true }
		if w.ClusterSelector != nil {
			if matches, err = fleet.Matcher(*w.ClusterSelector); err != nil {
				field := fmt.Sprintf("windows[%d].clusterSelector", i)
				return invalid("spec.rollout."+field, field+": "+err.Error())
			}
		}
		for _, t := range targets {
			is := matches(t.cluster)
			if v := w.ClusterValue; is && v != nil {
				value, ok := job.Values.Of(a.Application.Namespace, t.cluster).At(v.Key)
				is = ok && fmt.Sprint(value) == v.Value
			}
			set := a.windowsOn[t.cluster.Name]
			if is {
				set |= 1 << i
			}
			a.windowsOn[t.cluster.Name] = set
		}
	}
	return nil
}

// ReviewInput is the input of the step that the hub would make in a world.
func (a *Application) ReviewInput(w *fleet.World) rollout.Input {
	in := a.RolloutInput(UnreachableIn(w))
	in.Now, in.AvailableSince = w.Time, AvailableSince(w)
	if onHub := a.onHub(w); onHub != nil {
		in.ApprovedPlan = onHub.Annotations[musterv1alpha1.ApprovedPlanAnnotation]
		in.Settled, in.Left = onHub.Status.Settled, onHub.Status.Left
		in.Removals, in.GuardHolds = onHub.Status.RecentRemovals, onHub.Status.Held != nil
		if r := onHub.Status.Rollout; r != nil {
			in.RolloutStarted = r.StartedAt.Time
		}
	}
	return in
}

// onHub is the application as the world has it, or nil.
func (a *Application) onHub(w *fleet.World) *musterv1alpha1.Application {
	for i := range w.Applications {
		if o := &w.Applications[i]; fleet.OwnerOf(o) == a.Owner() {
			return o
		}
	}
	return nil
}

// AvailableSince is since when the clusters of a world that answer do.
func AvailableSince(w *fleet.World) map[string]time.Time {
	since := map[string]time.Time{}
	for i := range w.Clusters {
		c := meta.FindStatusCondition(w.Clusters[i].Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
		if c != nil && c.Status == metav1.ConditionTrue {
			since[w.Clusters[i].Name] = c.LastTransitionTime.Time
		}
	}
	return since
}

// UnreachableIn are the clusters of a world that do not answer. A repository does not know of any.
func UnreachableIn(w *fleet.World) map[string]bool {
	unreachable := map[string]bool{}
	for i := range w.Clusters {
		if c := &w.Clusters[i]; !w.FromRepository && Unreachable(c) {
			unreachable[c.Name] = true
		}
	}
	return unreachable
}

// Unreachable is true for a cluster that does not answer: it never joined, or its lease has expired.
func Unreachable(c *clusterv1.ManagedCluster) bool {
	return !meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
}
