package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/overview"
)

func approveCommand(c *cli) *cobra.Command {
	var digest, step string
	var silence bool
	cmd := &cobra.Command{
		Use:   "approve --plan DIGEST | NAMESPACE/NAME --step STEP | --silence",
		Short: "Let held deletions or a step of a rollout go ahead, or say that silent clusters are really away",
		Long: "DIGEST is the beginning of the plan's digest, as muster status and the HELD lines of muster diff show it. Only that\n" +
			"plan is approved: when the repository changes what is deleted, it is held again.\n" +
			"With --step, the step of the rollout that goes on may begin, or, with canary/2, the second step of its canaries within clusters may\n" +
			"end; that takes the right approve of the application, and is on record.\n" +
			"With --silence, clusters that fell silent all at once, which the hub takes for a fault on its own side, are tainted, and what\n" +
			"runs on them is moved where its application asks for that. It is for the present outage only.",
		Example: "  muster approve --plan 7c1e04\n  muster approve retail/storefront --step prod\n  muster approve --silence",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (step != "") != (len(args) == 1) {
				return errors.New("a step is one of an application: muster approve NAMESPACE/NAME --step STEP")
			}
			server, _, err := c.hub()
			if err != nil {
				return err
			}
			if step != "" {
				return c.say(cmd.Context(), server, args[0], func(app *musterv1alpha1.Application) (overview.Hand, error) { return overview.ApproveStep(app, step) })
			}
			if silence {
				return c.approveSilence(cmd.Context(), server)
			}
			done, err := overview.Approve(cmd.Context(), server, digest)
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
	cmd.Flags().StringVar(&step, "step", "", "step of the application's rollout that may begin, or canary/NUMBER: step of its canaries that may end")
	cmd.Flags().BoolVar(&silence, "silence", false, "say that the clusters that are silent at once are really away")
	cmd.MarkFlagsOneRequired("plan", "step", "silence")
	cmd.MarkFlagsMutuallyExclusive("plan", "step", "silence")
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
