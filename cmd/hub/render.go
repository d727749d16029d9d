package main

import (
	"context"
	"runtime"

	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/renderworker"
)

func (o *Options) renderFlags(f *pflag.FlagSet) {
	bounds := renderworker.DefaultBounds
	f.IntVar(&o.RenderWorkers, "render-workers", runtime.GOMAXPROCS(0), "processes that render at a time; with 0 the hub itself renders, and nothing bounds what a chart may take")
	f.DurationVar(&o.RenderTime, "render-time", bounds.Time, "how long rendering one application for one cluster may take")
	f.Int64Var(&o.RenderMemory, "render-memory", bounds.Memory>>20, "memory of a process that renders, in MiB; watched on Linux, elsewhere a soft limit of the process itself")
	f.Int64Var(&o.RenderOutput, "render-output", bounds.Output>>20, "size of what one application brings to one cluster, in MiB")
}

// renderer renders in worker processes, which end with the manager.
func (o *Options) renderer(mgr manager.Manager) (*render.Renderer, error) {
	if o.RenderWorkers == 0 {
		return render.New(o.RenderCache << 20), nil
	}
	pool, err := renderworker.New(o.RenderWorkers, renderworker.Bounds{
		Time: o.RenderTime, Memory: o.RenderMemory << 20, Output: o.RenderOutput << 20,
	})
	if err != nil {
		return nil, err
	}
	return render.NewWith(pool, o.RenderCache<<20), mgr.Add(poolRunnable{pool})
}

// poolRunnable ends the workers of a pool when the manager ends. A standby hub has none: they start when something is rendered.
type poolRunnable struct{ *renderworker.Pool }

// Start waits for the end.
func (p poolRunnable) Start(ctx context.Context) error {
	<-ctx.Done()
	p.Close()
	return nil
}

// NeedLeaderElection is false: it waits from the start.
func (poolRunnable) NeedLeaderElection() bool { return false }
