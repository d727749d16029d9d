package render

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
	"github.com/muster-io/muster/internal/render/memo"
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
	// Sources finds content that is in another repository or a registry. Nil finds none.
	Sources fleet.Sources
	// ClusterValues of the cluster, nil for none. HasValues tells whether ClusterValues for the application's namespace have any at a
	// path, for whatever cluster; nil is yes.
	ClusterValues *fleet.Values
	HasValues     func(path string) bool
	// Defaulted gives the line in muster.yaml of a field that its defaults set. Nil is none.
	Defaulted func(field string) (line int, ok bool)
	// LineOf gives the line in File of a field of the application, such as spec.helm.values.replicas. Nil means unknown.
	LineOf func(field string) int

	memo *memo.Memo // of the renderer
}

// Renderer renders applications and remembers what it rendered. It is safe for concurrent use; make one with New or NewWith.
type Renderer struct {
	engine  Engine
	memo    *memo.Memo
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

// New makes a Renderer that renders in this process and remembers at most about maxBytes of charts and manifests.
func New(maxBytes int64) *Renderer {
	shared := memo.New(maxBytes)
	return &Renderer{engine: engine.NewLocalWith(shared, engine.DefaultOutput), memo: shared}
}

// NewWith makes a Renderer that renders with an engine and remembers at most about maxBytes of manifests.
func NewWith(engine Engine, maxBytes int64) *Renderer {
	return &Renderer{engine: engine, memo: memo.New(maxBytes)}
}

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
	content, err := r.render(ctx, in, resolved)
	if err == nil {
		err = resolved.secretOutside(in, content)
	}
	if err != nil {
		return nil, in.fault(resolved.withoutSecrets(err))
	}
	return content, nil
}

func (r *Renderer) render(ctx context.Context, in Input, resolved *Resolved) (*fleet.Content, error) {
	in.memo = r.memo
	s, err := sourceOf(in, resolved)
	if err == nil && s.kind == engine.Kustomization {
		s, err = r.inflate(ctx, in, resolved, s)
	}
	if err != nil {
		return nil, err
	}
	job, err := jobOf(in, resolved, s)
	if err != nil {
		return nil, err
	}
	r.calls.Add(1)
	out := r.result(ctx, job, in, s)
	if out.err != nil {
		return nil, out.err
	}
	content, err := r.finish(in, resolved, out)
	if err != nil {
		return nil, err
	}
	return &fleet.Content{
		Manifests: content.Manifests, Digest: content.Digest,
		Values: out.rendered.Values, Skipped: out.rendered.Skipped, Defines: out.rendered.Defines,
	}, nil
}

// Engine runs jobs. It must be safe for concurrent use.
type Engine interface {
	// Render runs a job. The error is a fleet.Fault that names neither application nor cluster, or ctx's error.
	Render(ctx context.Context, job engine.Job, host engine.Host) (*engine.Rendered, error)
}

// result is what one run of an engine gave, and what that depended on.
type result struct {
	key      string // equal keys, equal results
	reading  reading
	apis     string // the digest of the cluster's APIs, where the run asked for them
	rendered *engine.Rendered
	err      error
}

// result gives the result of a job: a remembered one, if this tree and this cluster look as they looked to it, or that of a run.
// Only a run tells what it reads, and so which other runs are the same: those who ask for one job at the same time wait for one run.
func (r *Renderer) result(ctx context.Context, job engine.Job, in Input, s source) *result {
	id := job.Digest()
	shared := memo.Digest(id, s.hash)
	for range 3 {
		if out := r.recall(id, newView(in, s)); out != nil {
			return out
		}
		found := r.memo.Once(shared, func() any { return r.run(ctx, id, job, newView(in, s)) })
		out := found.(*result)
		v := newView(in, s)
		if out.isAs(v) && !cancelled(out.err) {
			return out
		}
		shared = memo.Digest(id, s.hash, in.apis().Digest, v.as(out.reading).digest()) // those who see the same share again
	}
	return r.run(ctx, id, job, newView(in, s))
}

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// isAs tells whether a result holds for what a view sees.
func (out *result) isAs(v *view) bool {
	return (out.apis == "" || out.apis == v.apis.Digest) && maps.Equal(out.reading, v.as(out.reading))
}

func (r *Renderer) run(ctx context.Context, id string, job engine.Job, v *view) *result {
	r.renders.Add(1)
	out := &result{}
	out.rendered, out.err = r.engine.Render(ctx, job, v)
	out.reading = v.saw
	if v.usesAPIs {
		out.apis = v.apis.Digest
	}
	out.key = memo.Digest(id, out.reading.digest(), out.apis)
	// A fault that only an author can resolve is as much a result as manifests; other errors are not remembered.
	if f, isFault := fleet.AsFault(out.err); out.err == nil || isFault && f.ActionRequiredBy == fleet.User {
		r.keep(id, out)
	}
	return out
}

// maxVersions is how many results of one job are remembered side by side: of base and head of a change, for several sets of APIs.
const maxVersions = 16

// recall finds a remembered result that holds for a view.
func (r *Renderer) recall(id string, v *view) *result {
	remembered, ok := r.memo.Get("results:" + id)
	if !ok {
		return nil
	}
	for _, out := range remembered.([]*result) {
		if out.isAs(v) {
			return out
		}
	}
	return nil
}

func (r *Renderer) keep(id string, out *result) {
	r.memo.Update("results:"+id, func(earlier any) (any, int64) {
		results, _ := earlier.([]*result)
		results = append([]*result{out}, slices.DeleteFunc(slices.Clone(results), func(o *result) bool { return o.key == out.key })...)
		results = results[:min(len(results), maxVersions)]
		var size int64
		for _, result := range results {
			size += result.size()
		}
		return results, size
	})
}

func (out *result) size() int64 {
	size := int64(memo.EntryOverhead + 160*len(out.reading))
	if out.rendered != nil {
		size += out.rendered.Size()
	}
	return size
}

// jobOf says what to render.
func jobOf(in Input, resolved *Resolved, s source) (engine.Job, error) {
	job := engine.Job{Kind: s.kind, Path: s.path, Packed: s.packed}
	var err error
	if job.Post, err = postOf(in, resolved); err != nil {
		return job, err
	}
	if s.kind == engine.PlainYAML {
		job.Files, err = filesOf(in, resolved)
	}
	if s.kind != engine.HelmChart {
		return job, err
	}
	job.Release, job.Namespace, job.Hooks = in.Application.Name, namespaceOf(resolved.Application), musterv1alpha1.HooksInWaves
	if helm := resolved.Application.Spec.Helm; helm != nil {
		job.Release = cmp.Or(helm.ReleaseName, job.Release)
		job.Hooks = cmp.Or(helm.Hooks, job.Hooks)
		if helm.Generated == musterv1alpha1.GeneratedOnCluster {
			job.Generated = in.Application.Namespace + "/" + job.Release
		}
	}
	job.Layers, err = layersOf(in, resolved, s)
	return job, err
}

func (in Input) apis() *fleet.APIs {
	if in.APIs == nil {
		return fleet.KubernetesAPIs()
	}
	return in.APIs
}

func namespaceOf(app *musterv1alpha1.Application) string {
	return cmp.Or(app.Spec.Destination.Namespace, app.Namespace)
}

// source is the content of an application: what it is, the tree that it is in and where, and the hash of that place.
type source struct {
	kind   engine.ContentKind
	tree   fleet.Tree
	path   string
	hash   string
	packed []string
}

// sourceOf finds the content and decides what it is: what the application says, else what the files are.
func sourceOf(in Input, resolved *Resolved) (source, error) {
	spec := resolved.Application.Spec
	if spec.Helm != nil && spec.Kustomize != nil && (spec.Kustomize.Path != "" || !spec.Kustomize.ChangesObjects()) {
		return source{}, in.faultOf(fleet.DefinitionInvalid, resolved.fieldOf("kustomize.path"), "helm and kustomize.path are set: the source is a chart or an overlay. An overlay that is applied to what the chart renders belongs into kustomize.components")
	}
	root, err := rootOf(in, resolved)
	if err != nil {
		return source{}, err
	}
	dir, field := root.dir, root.field
	if spec.Kustomize != nil && spec.Kustomize.Path != "" {
		field = resolved.fieldOf("kustomize.path")
		if dir, err = inTree(path.Join(dir, spec.Kustomize.Path)); err != nil {
			return source{}, in.faultOf(fleet.ContentMissing, field, err.Error())
		}
	}
	hash, err := root.tree.Hash(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return source{}, in.faultOf(fleet.ContentMissing, field, fmt.Sprintf("%s is not in %s: correct the path or add the content", dir, root.where))
	}
	if err != nil {
		return source{}, fleet.Unreadable(dir, err)
	}
	kind, problem := kindOf(spec, root.tree, dir)
	if problem != "" {
		return source{}, in.faultOf(fleet.ContentMissing, field, problem)
	}
	s := source{kind: kind, tree: root.tree, path: dir, hash: hash}
	if root.packed {
		s.packed = []string{dir}
	}
	if kind != engine.HelmChart || engine.IsArchive(dir) {
		return s, nil
	}
	whole, packed, err := dependencies{in, resolved, new(int)}.complete(s.tree, dir, nil)
	if err != nil || whole == nil {
		return s, err
	}
	s.tree, s.packed = whole, append(s.packed, packed...)
	s.hash, err = whole.Hash(dir)
	return s, err
}

// kindOf is what the application says that a folder is, else what its files are; a text says why it cannot be that. What spec.kustomize
// says of objects is for those of any renderer.
func kindOf(spec musterv1alpha1.ApplicationSpec, tree fleet.Tree, dir string) (kind engine.ContentKind, problem string) {
	kind = engine.Detect(tree, dir)
	if spec.Helm != nil {
		if kind != engine.HelmChart {
			problem = fmt.Sprintf("spec.helm is set and %s has no Chart.yaml", dir)
		}
		return kind, problem
	}
	switch isOverlay := engine.IsOverlay(tree, dir); {
	case spec.Kustomize == nil:
		return kind, ""
	case isOverlay:
		return engine.Kustomization, ""
	case spec.Kustomize.Path == "" && spec.Kustomize.ChangesObjects():
		return kind, ""
	}
	return kind, fmt.Sprintf("spec.kustomize is set and %s has no kustomization.yaml", dir)
}

// inTree cleans a path of the repository and refuses one that leaves it.
func inTree(name string) (string, error) {
	clean := path.Clean(strings.TrimPrefix(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") || !fs.ValidPath(clean) {
		return "", fmt.Errorf("%s leaves the repository", name)
	}
	return clean, nil
}

// faultOf is a fault of a field of the application.
func (in Input) faultOf(reason fleet.Reason, field, message string) fleet.Fault {
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
	if cancelled(err) {
		return fmt.Errorf("render %s: %w", nameOf(in.Application), err)
	}
	f, ok := fleet.AsFault(fleet.Reject(fleet.RenderFailed, err))
	if !ok {
		return err
	}
	f.Application = nameOf(in.Application)
	f.Cluster = in.Cluster.Name
	return f
}

func nameOf(app *musterv1alpha1.Application) string { return app.Namespace + "/" + app.Name }
