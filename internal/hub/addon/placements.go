package addon

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/placement"
)

// chosen is what one placement of an add-on chooses.
type chosen struct {
	strategy addonv1alpha1.PlacementStrategy
	groups   []placement.Group
	// complete is false while the decisions are no complete set, or there are none: nothing is concluded from what is not in them.
	complete bool
}

// choose reads the placements of an add-on, in their order.
func choose(ctx context.Context, c client.Reader, cma *addonv1alpha1.ClusterManagementAddOn) ([]chosen, error) {
	if cma.Spec.InstallStrategy.Type != addonv1alpha1.InstallPlacements {
		return nil, nil
	}
	out := make([]chosen, len(cma.Spec.InstallStrategy.Placements))
	for i, s := range cma.Spec.InstallStrategy.Placements {
		out[i].strategy = s
		p := &clusterv1beta1.Placement{}
		err := c.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Name}, p)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read placement %s/%s: %w", s.Namespace, s.Name, err)
		}
		if err != nil {
			continue
		}
		var decisions clusterv1beta1.PlacementDecisionList
		if err := c.List(ctx, &decisions, client.InNamespace(s.Namespace), client.MatchingLabels{clusterv1beta1.PlacementLabel: s.Name}, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list the decisions of placement %s/%s: %w", s.Namespace, s.Name, err)
		}
		out[i].groups, out[i].complete = placement.ReadSet(p, decisions.Items)
	}
	return out, nil
}

// belongs says to which placement each cluster belongs, by index: a later one overrides an earlier one.
func belongs(placements []chosen) map[string]int {
	out := map[string]int{}
	for i, p := range placements {
		for _, g := range p.groups {
			for _, cluster := range g.Clusters {
				out[cluster] = i
			}
		}
	}
	return out
}
