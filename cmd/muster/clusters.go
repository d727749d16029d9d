package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/work"
)

func acceptCommand(c *cli) *cobra.Command {
	var o cluster.AcceptOptions
	cmd := &cobra.Command{
		Use:   "accept CLUSTER...",
		Short: "Let clusters in: approve the requests of their agents and accept them",
		Long: "Approves the request of the cluster's agent and accepts the cluster. A cluster whose agent has not asked yet is accepted\n" +
			"all the same; one that has joined stays as it is; one that a person had denied has its rights again. Nobody is let in\n" +
			"where several agents ask, where somebody else asks than the identity that the fleet repository names, or where the\n" +
			"request was denied: the answer says what to do, and the exit code is 1.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			type accepted struct {
				Cluster string `json:"cluster"`
				cluster.Acceptance
			}
			all := []accepted{}
			var failed []error
			for _, name := range args {
				if err := mayBeAccepted(cmd.Context(), hub, name); err != nil {
					failed = append(failed, err)
					continue
				}
				done, err := cluster.Accept(cmd.Context(), hub, name, o)
				if err != nil {
					failed = append(failed, err)
					continue
				}
				all = append(all, accepted{name, done})
			}
			err = c.print(all, func(p *printer) {
				for _, a := range all {
					p.line(acceptedLine(a.Cluster, a.Acceptance))
				}
			})
			return errors.Join(append(failed, err)...)
		},
	}
	cmd.Flags().StringSliceVar(&o.Requesters, "requesters", nil, "the only users whose requests are approved (default: the cluster's join identity; without one, those that agents join with)")
	cmd.Flags().StringVar(&o.Agent, "agent", "", "the only agent that is let in, where several ask")
	return cmd
}

// mayBeAccepted: the hub knows the cluster. Another one whose name is near is not offered in its place: the wrong one would be
// let in, where in most cases the agent of the right one has not been started.
func mayBeAccepted(ctx context.Context, hub client.Client, name string) error {
	if problem := fleet.WrongClusterName(name); problem != "" {
		return fmt.Errorf("cluster name %q: %s", name, problem)
	}
	err := hub.Get(ctx, client.ObjectKey{Name: name}, &clusterv1.ManagedCluster{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no cluster %q yet: its agent has not asked. muster join %s says how to start it; accept it when it runs, "+
			"or name it in the fleet repository", name, name)
	}
	if err != nil {
		return fmt.Errorf("ask the hub: %w", err)
	}
	return nil
}

func acceptedLine(name string, a cluster.Acceptance) string {
	text := name + " was accepted before"
	if a.Changed {
		text = name + " accepted"
	}
	before := ""
	if a.Before != "" {
		before = " as agent " + a.Before
	}
	switch {
	case a.Agent != "":
		return fmt.Sprintf("%s; agent %s let in (%s)", text, a.Agent, strings.Join(a.Approved, ", "))
	case a.Joined && a.Changed:
		return fmt.Sprintf("%s again: it has joined%s, and has its rights back", text, before)
	case a.Joined:
		return fmt.Sprintf("%s has joined already%s; nothing waits", name, before)
	case a.Before != "":
		return fmt.Sprintf("%s; agent %s was let in and has not reported yet", text, a.Before)
	case a.Identity != "":
		return fmt.Sprintf("%s; its agent has not asked yet, and is let in by itself when it asks as %s", text, a.Identity)
	}
	return fmt.Sprintf("%s; its agent has not asked yet: muster accept %s again when it has", text, name)
}

func detachCommand(c *cli) *cobra.Command {
	var keep, clean bool
	cmd := &cobra.Command{
		Use:   "detach CLUSTER --keep-workloads|--clean",
		Short: "Remove a cluster from the hub, and leave or remove what Muster applied there",
		Long: "Removes a cluster from the hub, and leaves or removes what Muster applied there. It stays away, whether its agent runs or\n" +
			"not, until the agent is given a new bootstrap kubeconfig: muster join CLUSTER writes one, and muster up does for its own\n" +
			"clusters. Then it joins as any other.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keep == clean {
				return fmt.Errorf("say what becomes of the workloads: --keep-workloads or --clean")
			}
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			d := detachment{hub: hub, keep: keep}
			if err := d.run(cmd.Context(), args[0]); err != nil {
				return err
			}
			answer := map[string]any{"cluster": args[0], "keepWorkloads": keep, "works": d.works}
			return c.print(answer, func(p *printer) {
				what := "its workloads are removed first"
				if keep {
					what = "its workloads stay"
				}
				p.linef("detaching %s: %s (%s)", args[0], what, count(d.works, "work"))
			})
		},
	}
	cmd.Flags().BoolVar(&keep, "keep-workloads", false, "what Muster applied stays on the cluster")
	cmd.Flags().BoolVar(&clean, "clean", false, "what Muster applied is removed from the cluster first")
	return cmd
}

// detachment takes one cluster from the hub.
type detachment struct {
	hub   client.Client
	keep  bool
	works int
}

// run deletes the ManagedCluster; the hub takes away its works, and the agent what they applied. To keep that, every work is
// told to orphan its objects in the very state in which it is deleted.
func (d *detachment) run(ctx context.Context, name string) error {
	m, err := getCluster(ctx, d.hub, name)
	if err != nil {
		return err
	}
	if err := detachable(m, d.keep); err != nil {
		return err
	}
	if err := d.announce(ctx, m); err != nil {
		return fmt.Errorf("detach %s: %w", name, err)
	}
	var works workv1.ManifestWorkList
	if err := d.hub.List(ctx, &works, client.InNamespace(name)); err != nil {
		return fmt.Errorf("list the works of %s: %w", name, err)
	}
	d.works = len(works.Items)
	for i := range works.Items {
		if !d.keep {
			break
		}
		if err := d.orphan(ctx, &works.Items[i]); err != nil {
			return fmt.Errorf("keep the workloads of %s: %w", name, err)
		}
	}
	if err := d.hub.Delete(ctx, m, client.Preconditions{UID: &m.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("detach %s: %w", name, err)
	}
	if !d.keep || available(m) {
		return nil
	}
	return d.forget(ctx, name)
}

// announce tells the hub what becomes of the workloads: it plans nothing for the cluster any more, and its clean-up keeps to it.
func (d *detachment) announce(ctx context.Context, m *clusterv1.ManagedCluster) error {
	how := musterv1alpha1.DetachClean
	if d.keep {
		how = musterv1alpha1.DetachKeepWorkloads
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, musterv1alpha1.DetachAnnotation, how)
	return d.hub.Patch(ctx, m, client.RawPatch(types.MergePatchType, patch))
}

func available(m *clusterv1.ManagedCluster) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
}

// detachable refuses what would be undone by Git, or could never end.
func detachable(m *clusterv1.ManagedCluster, keep bool) error {
	_, released := m.Annotations[musterv1alpha1.ReleasedAnnotation]
	if repository := m.Annotations[musterv1alpha1.RepositoryAnnotation]; repository != "" && !released && m.DeletionTimestamp == nil {
		return fmt.Errorf("%s is defined in repository %s, which would bring it back: remove its file there first", m.Name, repository)
	}
	joined := meta.IsStatusConditionTrue(m.Status.Conditions, clusterv1.ManagedClusterConditionJoined)
	if !keep && joined && !available(m) {
		return fmt.Errorf("%s does not answer and cannot clean up: bring it back first, or use --keep-workloads", m.Name)
	}
	return nil
}

// orphan deletes a work so that its objects stay: the deletion counts only for the state that says so.
func (d *detachment) orphan(ctx context.Context, w *workv1.ManifestWork) error {
	for {
		patched := w.DeepCopy()
		err := d.hub.Patch(ctx, patched, client.RawPatch(types.MergePatchType, work.OrphanPatch))
		if err == nil {
			version := patched.ResourceVersion
			err = d.hub.Delete(ctx, patched, client.Preconditions{UID: &patched.UID, ResourceVersion: &version},
				client.PropagationPolicy(metav1.DeletePropagationBackground))
		}
		if apierrors.IsConflict(err) {
			continue // somebody wrote in between: the work may no longer say that its objects stay
		}
		return client.IgnoreNotFound(err)
	}
}

// forget drops the works of a cluster that will not answer: their finalizers wait for its agent.
func (d *detachment) forget(ctx context.Context, name string) error {
	var works workv1.ManifestWorkList
	if err := d.hub.List(ctx, &works, client.InNamespace(name)); err != nil {
		return fmt.Errorf("list the works of %s: %w", name, err)
	}
	for i := range works.Items {
		w := &works.Items[i]
		err := d.hub.Patch(ctx, w, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("forget work %s of %s: %w", w.Name, name, err)
		}
	}
	return nil
}
