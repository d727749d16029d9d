package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// Input is one application on one cluster.
type Input struct {
	// Application as it was defined, before overrides.
	Application *musterv1alpha1.Application
	// File of the application in the tree. Values files are relative to its folder.
	File string
	// Tree of one commit, rooted at the fleet.
	Tree fleet.Tree
	// Cluster whose labels, claims and name overrides and expressions ask for.
	Cluster *clusterv1.ManagedCluster
	// APIs that the cluster serves. Nil means the kinds of Kubernetes itself.
	APIs *fleet.APIs
	// Extra kinds: those of the CRDs that other applications of the same plan put on this cluster.
	Extra []musterv1alpha1.APIResource
	// LineOf gives the line in File of a field of the application, such as spec.helm.values.replicas. Nil means unknown.
	LineOf func(field string) int
}

// Renderer renders applications and remembers what it rendered. It is safe for concurrent use; make one with New.
type Renderer struct {
	memo    *memo
	renders atomic.Int64
	calls   atomic.Int64
}

// Stats count the work of a Renderer.
type Stats struct {
	// Renders is how often an engine really ran: once per distinct input.
	Renders int64
	// Hits is how often a call to Render was answered from memory.
	Hits int64
}

// New makes a Renderer that remembers at most about maxBytes of charts and manifests.
func New(maxBytes int64) *Renderer { return &Renderer{memo: newMemo(maxBytes)} }

// Stats so far.
func (r *Renderer) Stats() Stats {
	renders := r.renders.Load()
	return Stats{Renders: renders, Hits: r.calls.Load() - renders}
}

// Render gives the manifests of one application on one cluster. The error is a fleet.Fault that names application, cluster,
// file and line, or ctx's error. The content is shared between callers: it must not be changed.
func (r *Renderer) Render(ctx context.Context, in Input) (*fleet.Content, error) {
	resolved, err := Resolve(in)
	if err != nil {
		return nil, in.fault(err)
	}
	return r.RenderResolved(ctx, in, resolved)
}

// RenderResolved is Render for a caller that has resolved the input.
func (r *Renderer) RenderResolved(ctx context.Context, in Input, resolved *Resolved) (*fleet.Content, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("render %s: %w", nameOf(in.Application), err)
	}
	content, err := r.render(in, resolved)
	if err != nil {
		return nil, in.fault(err)
	}
	return content, nil
}

func (r *Renderer) render(in Input, resolved *Resolved) (*fleet.Content, error) {
	s, err := sourceOf(in, resolved)
	if err != nil {
		return nil, err
	}
	job, err := r.jobFor(in, resolved, s)
	if err != nil {
		return nil, err
	}
	r.calls.Add(1)
	out, err := remember(r.memo, "rendered", job.key, func() (*rendered, int64, error) {
		r.renders.Add(1)
		objects, err := job.run()
		if err != nil {
			return nil, 0, err
		}
		if len(objects) > maxObjects {
			return nil, 0, tooMuch(s.path)
		}
		return newRendered(objects), sizeOf(objects), nil
	})
	if err != nil {
		return nil, err
	}
	content, err := r.finish(in, resolved, job.key, out)
	if err != nil || job.values == nil {
		return content, err
	}
	return &fleet.Content{Manifests: content.Manifests, Digest: content.Digest, Values: job.values}, nil
}

// What one application may bring to one cluster, far above what a hub keeps for one.
const (
	maxRendered = 32 << 20
	maxObjects  = 10_000
)

func tooMuch(file string) fleet.Fault {
	return fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file,
		Message: fmt.Sprintf("renders more than %d objects or %s: make several applications of it", maxObjects, size(maxRendered))}
}

// job is one run of an engine, not yet begun. Jobs with equal keys give equal objects.
type job struct {
	key    string
	run    func() ([]object, error)
	values map[string]string
}

func (r *Renderer) jobFor(in Input, resolved *Resolved, s source) (job, error) {
	switch s.kind {
	case helmChart:
		return r.helmJob(in, resolved, s)
	case kustomization:
		return r.kustomizeJob(in, s), nil
	default:
		return job{
			key: digestOf("yaml", s.path, s.hash),
			run: func() ([]object, error) { return readManifests(in.Tree, s.path) },
		}, nil
	}
}

// contentKind is what a source holds.
type contentKind int

const (
	plainYAML contentKind = iota
	helmChart
	kustomization
)

// source is the content of an application: what it is, where it is, and the hash of that place.
type source struct {
	kind contentKind
	path string
	hash string
}

// kustomizationFiles are the names that Kustomize recognises, in its order.
var kustomizationFiles = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// sourceOf finds the content and decides what it is: what the application says, else what the files are.
func sourceOf(in Input, resolved *Resolved) (source, error) {
	spec := resolved.Application.Spec
	if spec.Helm != nil && spec.Kustomize != nil {
		return source{}, in.at(fleet.DefinitionInvalid, "spec.kustomize", "both helm and kustomize are set: keep the one that the source is")
	}
	field := resolved.fieldOf("source.path")
	dir, err := inTree(spec.Source.Path)
	if err != nil {
		return source{}, in.at(fleet.ContentMissing, field, err.Error())
	}
	if spec.Kustomize != nil && spec.Kustomize.Path != "" {
		field = resolved.fieldOf("kustomize.path")
		if dir, err = inTree(path.Join(dir, spec.Kustomize.Path)); err != nil {
			return source{}, in.at(fleet.ContentMissing, field, err.Error())
		}
	}
	hash, err := in.Tree.Hash(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return source{}, in.at(fleet.ContentMissing, field, fmt.Sprintf("%s is not in the repository: correct the path or add the content", dir))
	}
	if err != nil {
		return source{}, unreadable(dir, err)
	}
	kind := detect(in.Tree, dir)
	switch {
	case spec.Helm != nil && kind != helmChart:
		return source{}, in.at(fleet.ContentMissing, field, fmt.Sprintf("spec.helm is set and %s has no Chart.yaml", dir))
	case spec.Kustomize != nil && !hasAny(in.Tree, dir, kustomizationFiles...):
		return source{}, in.at(fleet.ContentMissing, field, fmt.Sprintf("spec.kustomize is set and %s has no kustomization.yaml", dir))
	case spec.Kustomize != nil:
		kind = kustomization
	}
	return source{kind: kind, path: dir, hash: hash}, nil
}

func detect(tree fleet.Tree, dir string) contentKind {
	switch {
	case strings.HasSuffix(dir, ".tgz"), hasAny(tree, dir, "Chart.yaml"):
		return helmChart
	case hasAny(tree, dir, kustomizationFiles...):
		return kustomization
	}
	return plainYAML
}

func hasAny(tree fleet.Tree, dir string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		info, err := fs.Stat(tree, path.Join(dir, name))
		return err == nil && !info.IsDir()
	})
}

// inTree cleans a path of the repository and refuses one that leaves it.
func inTree(name string) (string, error) {
	clean := path.Clean(strings.TrimPrefix(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") || !fs.ValidPath(clean) {
		return "", fmt.Errorf("%s leaves the repository", name)
	}
	return clean, nil
}

// at is a fault of a field of the application.
func (in Input) at(reason fleet.Reason, field, message string) fleet.Fault {
	return fleet.Fault{Reason: reason, ActionRequiredBy: fleet.User, File: in.File, Line: in.lineOf(field), Message: message}
}

func (in Input) lineOf(field string) int {
	if in.LineOf == nil {
		return 0
	}
	return in.LineOf(field)
}

// fault completes an error with whom it concerns.
func (in Input) fault(err error) error {
	f, ok := fleet.AsFault(fleet.Reject(fleet.RenderFailed, err))
	if !ok {
		return err
	}
	f.Application = nameOf(in.Application)
	f.Cluster = in.Cluster.Name
	return f
}

func nameOf(app *musterv1alpha1.Application) string { return app.Namespace + "/" + app.Name }

// unreadable is the fault of content that is there and cannot be read: a link that leads nowhere, or a storage that fails.
func unreadable(file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fleet.Fault{Reason: fleet.ContentRefused, ActionRequiredBy: fleet.User, File: file, Message: "cannot be read: a link that leads nowhere in the repository", Err: err}
	}
	if f, ok := fleet.AsFault(err); ok {
		return f
	}
	return fleet.Fault{Reason: fleet.SourceUnavailable, ActionRequiredBy: fleet.Controller, File: file, Message: "cannot be read: " + err.Error(), Err: err}
}

func size(bytes int64) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}
