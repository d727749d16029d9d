package fleetrepository

import (
	"context"
	"fmt"
	"slices"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/plan"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// undecided names the placement that the delivery waits for, "" when none: every placement of the commit has to be decided at its
// generation, with the decisions of the plan. When the decisions differ for longer than DecisionTimeout, as with an external
// scheduler, the live decisions win.
func (r *Repositories) undecided(ctx context.Context, repo *musterv1alpha1.FleetRepository, out *report) string {
	w, err := r.writer(repo)
	if err != nil {
		return err.Error()
	}
	for _, p := range out.plan.Placements {
		if reason := r.undecidedPlacement(ctx, w, p, out); reason != "" {
			return reason
		}
	}
	return ""
}

func (r *Repositories) undecidedPlacement(ctx context.Context, w *writes, p plan.Placement, out *report) string {
	name := p.Placement.Namespace + "/" + p.Placement.Name
	key := fleet.ObjectKey{
		Group: clusterv1beta1.GroupVersion.Group, Version: clusterv1beta1.GroupVersion.Version, Kind: "Placement",
		Resource: "placements", Namespace: p.Placement.Namespace, Name: p.Placement.Name,
	}
	applied, ok := w.done[key]
	if !ok {
		return "" // the API server rejected it, which is a fault of its own
	}
	var live clusterv1beta1.Placement
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(p.Placement), &live)
	if apierrors.IsNotFound(err) {
		return fmt.Sprintf("placement %s to reach the hub's cache", name)
	}
	if err != nil {
		return err.Error()
	}
	if live.Generation < applied.generation || !placement.Scheduled(&live) {
		return fmt.Sprintf("placement %s to be decided at its generation", name)
	}
	var decisions clusterv1beta1.PlacementDecisionList
	ofPlacement := client.MatchingLabels{clusterv1beta1.PlacementLabel: live.Name}
	if err := r.Client.List(ctx, &decisions, client.InNamespace(live.Namespace), ofPlacement, client.UnsafeDisableDeepCopy); err != nil {
		return err.Error()
	}
	clusters, complete := placement.Read(&live, decisions.Items)
	if !complete {
		return fmt.Sprintf("the decisions of placement %s to be complete", name)
	}
	if !slices.Equal(clusters, p.Result.Chosen) {
		if r.Now().Before(w.changed.Add(r.DecisionTimeout)) {
			return fmt.Sprintf("the decisions of placement %s to follow", name)
		}
		out.differs = append(out.differs, name)
	}
	return ""
}
