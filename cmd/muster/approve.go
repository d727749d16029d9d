package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
)

// heldObject is a FleetRepository or Application whose deletions wait.
type heldObject struct {
	Kind   string               `json:"kind"`
	Name   string               `json:"name"` // namespace/name
	Held   *musterv1alpha1.Held `json:"held"`
	object client.Object
}

func approveCommand(c *cli) *cobra.Command {
	var digest string
	var silence bool
	cmd := &cobra.Command{
		Use:   "approve --plan DIGEST | --silence",
		Short: "Let held deletions go ahead, or say that silent clusters are really away",
		Long: "DIGEST is the beginning of the plan's digest, as muster status and the HELD lines of muster diff show it. Only that\n" +
			"plan is approved: when the repository changes what is deleted, it is held again.\n" +
			"With --silence, clusters that fell silent all at once, which the hub takes for a fault on its own side, are tainted, and what\n" +
			"runs on them is moved where its application asks for that. It is for the present outage only.",
		Example: "  muster approve --plan 7c1e04\n  muster approve --silence",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, _, err := c.hub()
			if err != nil {
				return err
			}
			if silence {
				return c.approveSilence(cmd.Context(), server)
			}
			done, err := approve(cmd.Context(), server, digest)
			if err != nil {
				return err
			}
			return c.print(done, func(p *printer) {
				for _, h := range done {
					p.linef("approved plan %s of %s %s: %s", short(h.Held.Plan), h.Kind, h.Name, count(int(h.Held.Deletions), "deletion"))
				}
			})
		},
	}
	cmd.Flags().StringVar(&digest, "plan", "", "digest of the plan, or its first characters (at least 6)")
	cmd.Flags().BoolVar(&silence, "silence", false, "say that the clusters that are silent at once are really away")
	cmd.MarkFlagsOneRequired("plan", "silence")
	cmd.MarkFlagsMutuallyExclusive("plan", "silence")
	return cmd
}

// approveSilence says that the present mass silence is real.
func (c *cli) approveSilence(ctx context.Context, reader client.Client) error {
	pulse, err := hub.ReadPulse(ctx, reader, c.now())
	if err != nil {
		return err
	}
	silence := pulse.Hearing.Silence
	if silence == nil {
		return errors.New("the hub says nothing of many clusters that are silent at once: there is no silence to approve")
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		musterv1alpha1.ApprovedSilenceAnnotation: silence.Approval(),
	}}})
	if err != nil {
		return fmt.Errorf("encode the approval: %w", err)
	}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: hub.HeartbeatKey.Namespace, Name: hub.HeartbeatKey.Name}}
	if err := reader.Patch(ctx, lease, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("approve the silence on Lease %s: %w", hub.HeartbeatKey, err)
	}
	return c.print(silence, func(p *printer) {
		p.linef("approved: %s are really away; the hub taints them", count(silence.Clusters, "cluster"))
	})
}

// approve marks what holds the one plan that the prefix means.
func approve(ctx context.Context, hub client.Client, prefix string) ([]heldObject, error) {
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

func heldObjects(ctx context.Context, hub client.Client) ([]heldObject, error) {
	var repositories musterv1alpha1.FleetRepositoryList
	var applications musterv1alpha1.ApplicationList
	for _, list := range []client.ObjectList{&repositories, &applications} {
		if err := hub.List(ctx, list); err != nil {
			return nil, fmt.Errorf("ask the hub: %w", err)
		}
	}
	var all []heldObject
	for i := range repositories.Items {
		if r := &repositories.Items[i]; r.Status.Held != nil {
			all = append(all, heldObject{"FleetRepository", r.Namespace + "/" + r.Name, r.Status.Held, r})
		}
	}
	for i := range applications.Items {
		if a := &applications.Items[i]; a.Status.Held != nil {
			all = append(all, heldObject{"Application", a.Namespace + "/" + a.Name, a.Status.Held, a})
		}
	}
	return all, nil
}

// heldBy are the objects that hold the one plan whose digest begins so.
func heldBy(all []heldObject, prefix string) ([]heldObject, error) {
	if len(prefix) < 6 {
		return nil, fmt.Errorf("--plan %q is too short: give at least 6 characters of the digest", prefix)
	}
	var meant []heldObject
	var plans, waiting []string
	for _, h := range all {
		waiting = append(waiting, fmt.Sprintf("%s (%s %s)", short(h.Held.Plan), h.Kind, h.Name))
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
