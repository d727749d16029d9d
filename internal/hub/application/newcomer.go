package application

import (
	"context"
	"fmt"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub/works"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// newcomers are the clusters on which the application is not yet, and whose first works wait for their turn in the rollout, sorted.
func (o *report) newcomers() []string {
	has := map[string]bool{}
	var waiting []string
	for _, h := range o.step.Held {
		c := h.Change
		switch {
		case h.Reason != rollout.RolloutPending && h.Reason != rollout.RolloutStopped, c.Action != work.Create, c.Live != nil:
			has[c.Cluster] = true
		case !slices.Contains(waiting, c.Cluster):
			waiting = append(waiting, c.Cluster)
		}
	}
	return slices.DeleteFunc(waiting, func(cluster string) bool { return has[cluster] || o.welcomed[cluster] })
}

// welcome gives clusters that come in the middle of a rollout the last good revision at once; the new one reaches them with their step.
// Before anything was good they wait. It returns what was written.
func (r *Applications) welcome(ctx context.Context, app *musterv1alpha1.Application, out *report) (work.Changes, error) {
	good := app.Status.LastGoodRevision
	if good == "" || good == out.revision || out.returning || out.pin != nil {
		return nil, nil
	}
	waiting := slices.DeleteFunc(out.newcomers(), func(cluster string) bool { return len(r.worksOn(out, cluster)) > 0 })
	if len(waiting) == 0 {
		return nil, nil
	}
	if out.welcomed == nil {
		out.welcomed = map[string]bool{}
	}
	for _, cluster := range waiting {
		out.welcomed[cluster] = true
	}
	back, err := r.planAt(ctx, app, good)
	if err != nil || back.planned == nil {
		return nil, ctx.Err() // it is not here any more: they wait for their step
	}
	var changes work.Changes
	for _, cluster := range waiting {
		c := back.planned.On(cluster)
		if c == nil {
			continue
		}
		set, err := back.planned.Works(*c)
		if err != nil {
			return nil, fmt.Errorf("works of %s on %s: %w", good, cluster, err)
		}
		changes = append(changes, work.Diff(nil, set.Works)...)
	}
	writer := works.Writer{Client: r.Client, Reader: r.Reader, Concurrency: r.Writers}
	if _, err = writer.Write(ctx, changes, func(context.Context) (bool, error) { return false, nil }); err != nil {
		for _, cluster := range waiting {
			delete(out.welcomed, cluster) // what was written is live, and not written again
		}
	}
	return changes, err
}
