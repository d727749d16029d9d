package overview

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// HeldObject is a FleetRepository or Application whose deletions wait.
type HeldObject struct {
	Kind   string               `json:"kind"`
	Name   string               `json:"name"` // namespace/name
	Held   *musterv1alpha1.Held `json:"held"`
	object client.Object
}

// Approve marks what holds the one plan that the prefix means.
func Approve(ctx context.Context, hub client.Client, prefix string) ([]HeldObject, error) {
	all, err := heldObjects(ctx, hub)
	if err != nil {
		return nil, err
	}
	meant, err := heldBy(all, prefix)
	if err != nil {
		return nil, err
	}
	for _, h := range meant {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			// Another plan that was made meanwhile is not approved.
			"resourceVersion": h.object.GetResourceVersion(),
			"annotations":     map[string]string{musterv1alpha1.ApprovedPlanAnnotation: h.Held.Plan},
		}})
		if err != nil {
			return nil, fmt.Errorf("encode the approval: %w", err)
		}
		if err := hub.Patch(ctx, h.object, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return nil, fmt.Errorf("approve %s %s: %w", h.Kind, h.Name, err)
		}
	}
	return meant, nil
}

func heldObjects(ctx context.Context, hub client.Client) ([]HeldObject, error) {
	var repositories musterv1alpha1.FleetRepositoryList
	var applications musterv1alpha1.ApplicationList
	for _, list := range []client.ObjectList{&repositories, &applications} {
		if err := hub.List(ctx, list); err != nil {
			return nil, fmt.Errorf("ask the hub: %w", err)
		}
	}
	var all []HeldObject
	for i := range repositories.Items {
		if r := &repositories.Items[i]; r.Status.Held != nil {
			all = append(all, HeldObject{"FleetRepository", r.Namespace + "/" + r.Name, r.Status.Held, r})
		}
	}
	for i := range applications.Items {
		if a := &applications.Items[i]; a.Status.Held != nil {
			all = append(all, HeldObject{"Application", a.Namespace + "/" + a.Name, a.Status.Held, a})
		}
	}
	return all, nil
}

// heldBy are the objects that hold the one plan whose digest begins so.
func heldBy(all []HeldObject, prefix string) ([]HeldObject, error) {
	if len(prefix) < 6 {
		return nil, fmt.Errorf("--plan %q is too short: give at least 6 characters of the digest", prefix)
	}
	var meant []HeldObject
	var plans, waiting []string
	for _, h := range all {
		waiting = append(waiting, fmt.Sprintf("%s (%s %s)", Short(h.Held.Plan), h.Kind, h.Name))
		if !strings.HasPrefix(h.Held.Plan, prefix) {
			continue
		}
		meant = append(meant, h)
		if !slices.Contains(plans, h.Held.Plan) {
			plans = append(plans, h.Held.Plan)
		}
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("nothing is held: there is no plan to approve")
	case len(plans) == 0:
		return nil, fmt.Errorf("no plan that starts with %q is held; held are %s", prefix, strings.Join(waiting, ", "))
	case len(plans) > 1:
		return nil, fmt.Errorf("%d plans that start with %q are held: give more of the digest; %s", len(plans), prefix, strings.Join(plans, ", "))
	}
	return meant, nil
}
