package application

import (
	"context"
	"fmt"
	"slices"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/rollout"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// holds are those that people have put on an application, with the clusters that they choose.
func (r *Applications) holds(ctx context.Context, app *musterv1alpha1.Application) (rollout.Holds, error) {
	var list musterv1alpha1.HoldList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return rollout.Holds{}, fmt.Errorf("list holds: %w", err)
	}
	holds := rollout.HoldsOf(list.Items, app, repositoryOf(app), r.Now())
	if !holds.SelectClusters() {
		return holds, nil
	}
	var clusters clusterv1.ManagedClusterList
	if err := r.Client.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
		return rollout.Holds{}, fmt.Errorf("list the clusters that are held: %w", err)
	}
	holds.Select(clusters.Items)
	return holds, nil
}

func repositoryOf(app *musterv1alpha1.Application) string {
	key, ok := hub.RepositoryOf(app)
	if !ok {
		return ""
	}
	return key.String()
}

// samePin is true for a pin that asks for the same as before.
func samePin(before, now *musterv1alpha1.Hold) bool {
	if before == nil || now == nil {
		return before == now
	}
	return *before.Spec.Pin == *now.Spec.Pin
}

// planPinned plans an application at the revision that it is pinned to, and notes whether the delivered commit asks for something else.
func (r *Applications) planPinned(ctx context.Context, app *musterv1alpha1.Application, pin *musterv1alpha1.Hold, delivered *report) (*report, error) {
	planAt := r.planAt
	if pin.Spec.Pin.Return {
		planAt = r.planReturn
	}
	out, err := planAt(ctx, app, pin.Spec.Pin.Revision)
	if err != nil {
		return out, fmt.Errorf("plan what is %s: %w", rollout.HoldText(rollout.OnHoldOf(pin)), err)
	}
	if out.planned != nil {
		out.pinOutdated = out.planned.Digest != delivered.planned.Digest
	}
	return out, nil
}

// maxHolds is the CRD's bound on the holds of a status.
const maxHolds = 10

// onHoldOf are the holds of an application, with how many clusters have a change that waits for the end of each.
func onHoldOf(out *report) []musterv1alpha1.OnHold {
	holds := &out.input.Holds
	waiting := map[*musterv1alpha1.Hold]map[string]bool{}
	for _, h := range out.step.Held {
		on := holds.On(h.Change.Cluster)
		if h.Reason != rollout.OnHold || on == nil {
			continue
		}
		if waiting[on] == nil {
			waiting[on] = map[string]bool{}
		}
		waiting[on][h.Change.Cluster] = true
	}
	var list []musterv1alpha1.OnHold
	for _, h := range holds.All[:min(len(holds.All), maxHolds)] {
		on := rollout.OnHoldOf(h)
		if on.Clusters = int32(len(waiting[h])); out.pinOutdated && out.pin != nil && out.pin.UID == h.UID {
			on.Clusters = int32(len(out.planned.Clusters))
		}
		list = append(list, on)
	}
	return list
}

// onHoldCondition is not true while a change waits for the end of a hold.
func onHoldCondition(holds []musterv1alpha1.OnHold) metav1.Condition {
	i := slices.IndexFunc(holds, func(h musterv1alpha1.OnHold) bool { return h.Clusters > 0 })
	if i < 0 {
		return metav1.Condition{Status: metav1.ConditionTrue}
	}
	h := holds[i]
	wait := fmt.Sprintf("%d clusters wait", h.Clusters)
	if h.Clusters == 1 {
		wait = "1 cluster waits"
	}
	return metav1.Condition{
		Status: metav1.ConditionFalse, Reason: ReasonOnHold, Message: rollout.HoldText(h) + "; " + wait + " for its end: muster resume",
	}
}

// ofHold wakes the applications that a Hold is for. Of a change, both versions come here.
func (r *Applications) ofHold() handler.EventHandler {
	return r.states.plans(func(ctx context.Context, o client.Object) []reconcile.Request {
		h, ok := o.(*musterv1alpha1.Hold)
		if !ok {
			return nil
		}
		return r.matching(ctx, func(a *musterv1alpha1.Application) bool { return rollout.HoldsApplication(h, a, repositoryOf(a)) })
	})
}
