package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/memo"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Local is the Engine that renders in this process. What it renders is not bounded but in its output: a process that must not be
// taken along by a chart runs it in processes of its own.
type Local struct {
	memo      *memo.Memo
	maxOutput int64
}

// DefaultOutput is how many bytes one application may bring to one cluster: far above what a hub keeps for one.
const DefaultOutput = 32 << 20

// maxObjects is how many objects one application may bring to one cluster.
const maxObjects = 10_000

// NewLocal makes an engine that remembers at most about maxBytes of charts, and gives at most maxOutput bytes of manifests.
func NewLocal(maxBytes, maxOutput int64) *Local {
	return &Local{memo: memo.New(maxBytes), maxOutput: maxOutput}
}

// NewLocalWith makes an engine that shares a memory.
func NewLocalWith(shared *memo.Memo, maxOutput int64) *Local {
	return &Local{memo: shared, maxOutput: maxOutput}
}

// Render runs a job.
func (l *Local) Render(_ context.Context, job Job, host Host) (*Rendered, error) {
	out := &Rendered{}
	var err error
	switch job.Kind {
	case HelmChart:
		out, err = l.helm(job, host)
	case Kustomization:
		out.Objects, err = kustomize(&treeFiles{tree: host, overlay: job.Path}, job.Path)
	default:
		out.Objects, out.Skipped, err = readManifests(host, job.Path, job.Files)
	}
	if err == nil && job.Post != nil {
		out.Objects, err = job.Post.apply(host, out.Objects)
	}
	if err != nil {
		return nil, fleet.Reject(fleet.RenderFailed, err)
	}
	if size := out.Size(); size > l.maxOutput || len(out.Objects) > maxObjects {
		return nil, fleet.Fault{Reason: fleet.RenderTooExpensive, ActionRequiredBy: fleet.User, File: job.Path,
			Message: fmt.Sprintf("renders more than %d objects or %d MiB: make several applications of it", maxObjects, l.maxOutput>>20)}
	}
	slices.SortStableFunc(out.Objects, func(a, b Object) int { return dependencyRank(a.GVK) - dependencyRank(b.GVK) })
	for _, o := range out.Objects {
		out.Defines = append(out.Defines, o.defines...)
	}
	return out, nil
}

// Rendered are the objects of one run of an engine, before anything about the cluster's scopes and plurals is known.
type Rendered struct {
	Objects []Object
	// Defines are the kinds that CRDs among the objects bring.
	Defines []musterv1alpha1.APIResource
	// Skipped are the files of a folder of manifests that hold none.
	Skipped []string
	// Values tells, for Helm, which layer set each value last.
	Values map[string]string
}

// Size in memory, in bytes, roughly.
func (r *Rendered) Size() int64 {
	size := int64(128 * len(r.Values))
	for _, o := range r.Objects {
		size += int64(len(o.JSON)) + 256
	}
	return size
}

// Kinds of the objects, each once, sorted.
func (r *Rendered) Kinds() []schema.GroupVersionKind {
	seen := map[schema.GroupVersionKind]bool{}
	for _, o := range r.Objects {
		seen[o.GVK] = true
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
}
