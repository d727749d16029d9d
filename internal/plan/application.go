package plan

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/work"
	"golang.org/x/sync/errgroup"
)

// Job is one application to plan.
type Job struct {
	Application *musterv1alpha1.Application
	// File and Line of its definition in the snapshot; LineOf finds the line of a field.
	File   string
	Line   int
	LineOf func(path string) int
	// Defaulted finds the line in muster.yaml of a field that its defaults set; nil is none.
	Defaulted func(path string) (int, bool)
	// Snapshot that holds the content.
	Snapshot fleet.Snapshot
	// Decided is about every cluster of the bound sets.
	Decided
	// Fault says why there are no decisions; nothing is planned then, and nothing removed.
	Fault *fleet.Fault
	// World the application is planned in; its clusters sorted by name.
	World *fleet.World
	// Cluster is the only one to plan, empty for all that the decisions choose.
	Cluster string
	// Returning is true when the clusters go back to what was good: that takes no steps of a canary.
	Returning bool
	// CRDs are, by cluster, the kinds that other applications of the same plan bring.
	CRDs map[string][]musterv1alpha1.APIResource
	// Values that ClusterValues give clusters; nil for none.
	Values *fleet.ValuesIndex
	// APIs finds what a cluster serves; nil asks the world each time.
	APIs func(*clusterv1.ManagedCluster) *fleet.APIs

	definition *fleet.Definition
	facts      *clusterFacts
	earlier    *Application // of an earlier plan
	firstRound *Application // of this plan, made before it knew which kinds others bring
	passing    bool         // no later plan takes anything over
	live       map[string][]fleet.LiveWork
}

func (j *Job) apis(c *clusterv1.ManagedCluster) *fleet.APIs {
	switch {
	case j.APIs != nil:
		return j.APIs(c)
	case j.facts != nil:
		return j.facts.look(c).apis
	}
	return j.World.APIsOf(c)
}

// Application computes the works of one application over its decided clusters; Build is a loop over it, and the hub's
// controller calls it for one. An error means that the context has ended.
func (p *Planner) Application(ctx context.Context, job Job) (*Application, error) {
	app := job.Application
	if job.live == nil {
		owner := fleet.OwnerOf(app)
		job.live = liveByCluster(job.World, owner, worksByOwner(job.World)[owner])
	}
	out := &Application{
		Application: app, File: job.File, Line: job.Line, Decided: job.Decided,
		revision: job.Snapshot.Revision, manifestLimit: job.World.ManifestLimit, live: job.live,
	}
	if app.Spec.Rollout != nil && !job.Returning {
		out.canary = work.CanarySteps(app.Spec.Rollout.Canary)
	}
	contents := newStore()
	defer contents.done()
	if job.Fault != nil {
		out.Faults = []fleet.Fault{*job.Fault}
		return out, nil
	}
	targets := slices.DeleteFunc(out.targets(job.World), func(t target) bool { return job.Cluster != "" && job.Cluster != t.cluster.Name })
	out.labels = make(map[string]map[string]string, len(targets))
	for _, t := range targets {
		out.labels[t.cluster.Name] = t.cluster.Labels
	}
	if err := out.noteRollout(job, targets); err != nil {
		out.Faults = []fleet.Fault{*err}
		return out, nil
	}
	out.basis = job.basis()
	each, err := p.each(ctx, &job, out, targets, contents)
	if err != nil {
		return nil, err
	}
	for i := range each {
		if each[i].planned != nil {
			out.Clusters = append(out.Clusters, *each[i].planned)
		}
		if each[i].fault != nil {
			out.Faults = append(out.Faults, *each[i].fault)
		}
		out.Sources = append(out.Sources, each[i].sources...)
	}
	out.Sources = fleet.SortSources(out.Sources)
	if out.basis != nil {
		out.basis.planned = out.Clusters
		out.basis.read.forget()
	}
	out.Warnings = slices.Concat(out.emptyContent(), out.skippedFiles(), out.unmatchedRules(job))
	return out, nil
}

// outcome is what came of an application on one cluster: it is planned, or has a fault.
type outcome struct {
	planned *Cluster
	fault   *fleet.Fault
	sources []fleet.UsedSource
}

// each plans an application for every target, or takes over what an earlier plan has. The error is that of the context.
func (p *Planner) each(ctx context.Context, job *Job, out *Application, targets []target, contents *store) ([]outcome, error) {
	earlier := job.reusable(out.basis)
	if job.passing {
		out.basis = nil
	}
	each := make([]outcome, len(targets))
	var costly costly
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, target := range targets {
		if c := takeOver(earlier, job, target, out.live[target.cluster.Name]); c != nil {
			each[i] = outcome{planned: c, sources: c.from.others.orNone().sources}
			continue
		}
		group.Go(func() error {
			if costly.enoughBefore(i) {
				return nil
			}
			c, err := p.cluster(ctx, *job, out, target, contents, &each[i].sources)
			if err == nil {
				each[i].planned = c
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			each[i].fault = clusterFault(err, *job, target.cluster.Name)
			costly.note(i, each[i].fault)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("plan %s: %w", out.Key(), err)
	}
	for i, target := range targets {
		if costly.enoughBefore(i) { // also where it was tried: what comes out must not depend on who was faster
			each[i].planned, each[i].fault = nil, costly.untried(target.cluster.Name)
		}
	}
	return each, nil
}

// maxCostly is for how many clusters an application may go to the bounds of a render. Each takes seconds, and the others would
// most likely do so too: they keep what they have, and the rest of the fleet is not kept waiting.
const maxCostly = 3

// costly are the clusters, by their place in the order of names, for which an application has gone to the bounds of a render.
type costly struct {
	mu     sync.Mutex
	faults map[int]fleet.Fault // by place
}

func (c *costly) note(place int, fault *fleet.Fault) {
	if fault.Reason != fleet.RenderTooExpensive {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults == nil {
		c.faults = map[int]fleet.Fault{}
	}
	c.faults[place] = *fault
}

// enoughBefore says whether enough of the clusters before one were costly. Those are begun earlier, so that the answer is the
// same in the end however many are planned at once.
func (c *costly) enoughBefore(place int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := 0
	for p := range c.faults {
		if p < place {
			before++
		}
	}
	return before >= maxCostly
}

func (c *costly) untried(cluster string) *fleet.Fault {
	f := c.faults[slices.Min(slices.Collect(maps.Keys(c.faults)))]
	f.Cluster = cluster
	f.Message = fmt.Sprintf("not tried, after %d other clusters for which it takes too much: correct the chart first", maxCostly)
	return &f
}

// unmatchedRules are warnings about rules of spec.sync.ignore that match no object: a slip in one is noticed only when
// somebody's change is reverted. While a cluster could not be planned, nothing is known.
func (a *Application) unmatchedRules(job Job) []fleet.Fault {
	if len(a.Faults) > 0 || len(a.Clusters) == 0 {
		return nil
	}
	var warnings []fleet.Fault
	if !slices.ContainsFunc(a.Clusters, func(c Cluster) bool { return !c.Empty }) {
		return nil // emptyContent says why
	}
	for i, rule := range a.Application.Spec.Sync.Ignore {
		matches := func(c Cluster) bool {
			return slices.ContainsFunc(c.content.heads, func(m fleet.Manifest) bool { return work.Ignores(rule, m.Key) })
		}
		if slices.ContainsFunc(a.Clusters, matches) {
			continue
		}
		w := fleet.Fault{
			Reason: fleet.IgnoreUnmatched, ActionRequiredBy: fleet.User, Application: a.Key(), File: job.File, Line: job.Line,
			Message: fmt.Sprintf("spec.sync.ignore[%d] means no object: %s is not rendered for any cluster; correct kind, group or name, or take the rule out", i, ruleText(rule)),
		}
		if job.LineOf != nil {
			w.Line = job.LineOf(fmt.Sprintf("spec.sync.ignore[%d]", i))
		}
		warnings = append(warnings, w)
	}
	return warnings
}

// emptyContent is a warning about clusters for which the content has no objects. Where the application runs already, the
// deletion guard holds it.
func (a *Application) emptyContent() []fleet.Fault {
	var empty []string
	for _, c := range a.Clusters {
		if c.Empty {
			empty = append(empty, c.Name)
		}
	}
	if len(empty) == 0 {
		return nil
	}
	return []fleet.Fault{{
		Reason: fleet.ContentEmpty, ActionRequiredBy: fleet.User, Application: a.Key(), File: a.File, Line: a.Line,
		Message: fmt.Sprintf("the content has no objects for %d of %d clusters, the first is %s: objects that it had there wait for an approval before they are deleted; correct the content, or the values that switch it off",
			len(empty), len(a.Clusters), empty[0]),
	}}
}

// skippedFiles is a warning for each file beside manifests that holds none.
func (a *Application) skippedFiles() []fleet.Fault {
	files := map[string]bool{}
	for _, c := range a.Clusters {
		for _, file := range c.content.skipped {
			files[file] = true
		}
	}
	var warnings []fleet.Fault
	for _, file := range slices.Sorted(maps.Keys(files)) {
		warnings = append(warnings, fleet.Fault{
			Reason: fleet.FileSkipped, ActionRequiredBy: fleet.User, Application: a.Key(), File: file,
			Message: "the file holds no manifest, and is skipped: give its documents apiVersion and kind, or move it out of the folder",
		})
	}
	return warnings
}

func ruleText(rule musterv1alpha1.IgnoreRule) string {
	text := rule.Kind
	if rule.Group != "" {
		text += " of " + rule.Group
	}
	if rule.Name != "" {
		text += " " + rule.Name
	}
	return text
}

type target struct {
	cluster *clusterv1.ManagedCluster
	kept    bool
}

// targets are the clusters to plan, sorted: unreachable is not deselected, so a cluster that has works and is dropped only
// because it cannot be reached stays, unless the application wants to be rescheduled.
func (a *Application) targets(w *fleet.World) []target {
	var list []target
	for _, d := range a.Decisions {
		keep := !d.Chosen && d.Unreachable && len(a.live[d.Cluster]) > 0 &&
			a.Application.Spec.Sync.WhenUnreachable != musterv1alpha1.UnreachableReschedule
		if !d.Chosen && !keep {
			continue
		}
		if c := cluster(w, d.Cluster); c != nil && !leaving(c) {
			list = append(list, target{cluster: c, kept: keep})
		}
	}
	slices.SortFunc(list, func(a, b target) int { return compare(a.cluster.Name, b.cluster.Name) })
	return list
}

// LeavingIn are the clusters of a world that are being detached or deleted.
func LeavingIn(w *fleet.World) map[string]bool {
	names := map[string]bool{}
	for i := range w.Clusters {
		if c := &w.Clusters[i]; leaving(c) {
			names[c.Name] = true
		}
	}
	return names
}

// leaving is true for a cluster that is being detached or deleted: no plan decides what becomes of its works.
func leaving(c *clusterv1.ManagedCluster) bool {
	return !c.DeletionTimestamp.IsZero() || c.Annotations[musterv1alpha1.DetachAnnotation] != ""
}

// cluster plans the application for one cluster.
func (p *Planner) cluster(ctx context.Context, job Job, a *Application, t target, contents *store, from *[]fleet.UsedSource) (*Cluster, error) {
	in := render.Input{
		Application:   job.Application,
		File:          job.File,
		Tree:          job.Snapshot.Tree,
		Cluster:       t.cluster,
		APIs:          job.apis(t.cluster),
		Extra:         job.CRDs[t.cluster.Name],
		Sources:       job.World.Sources,
		Defaulted:     job.Defaulted,
		LineOf:        job.LineOf,
		ClusterValues: job.Values.Of(job.Application.Namespace, t.cluster),
		HasValues:     job.hasValues,
	}
	if b := a.basis; b != nil {
		in.Tree, in.HasValues = b.read, func(path string) bool { return b.values.ask(path, job.hasValues) }
	}
	resolved, err := render.Resolve(in)
	if err != nil {
		return nil, err
	}
	defer func() { *from = resolved.Sources }()
	runs := &resolved.Application.Spec.ServiceAccountName
	*runs = cmp.Or(*runs, job.World.Accounts[job.Application.Namespace])
	content, err := p.Renderer.RenderResolved(ctx, in, resolved)
	if err != nil {
		return nil, err
	}
	if err := spareTheHub(job.World, t.cluster, job.Application.Namespace, content); err != nil {
		return nil, err
	}
	c := &Cluster{Name: t.cluster.Name, Options: optionsOf(resolved.Application), Overrides: resolved.Overrides, Kept: t.kept}
	c.Empty = !slices.ContainsFunc(content.Manifests, func(m fleet.Manifest) bool { return !c.shares(m.Key) })
	set, err := a.works(*c, content)
	if err != nil {
		return nil, err
	}
	if c.content, err = contents.keep(content); err != nil {
		return nil, err
	}
	c.SetDigest = set.Digest
	if a.basis != nil {
		c.from = job.inputsOn(t.cluster)
		if kinds := job.CRDs[t.cluster.Name]; len(kinds)+len(resolved.Sources) > 0 {
			c.from.others = &others{kinds, resolved.Sources}
		}
	}
	return c, nil
}

// optionsOf are what an application, with a cluster's overrides applied, says about how its objects are applied.
func optionsOf(app *musterv1alpha1.Application) work.Options {
	return work.Options{
		Namespace: cmp.Or(app.Spec.Destination.Namespace, app.Namespace), CreateNamespace: app.Spec.Destination.CreateNamespace,
		ServiceAccount: app.Spec.ServiceAccountName, Ignore: app.Spec.Sync.Ignore, Drift: app.Spec.Sync.Drift,
		OnImmutable: app.Spec.Sync.OnImmutable,
	}
}

// RootNamespace is the namespace of the root repository, whose applications may carry Muster's and OCM's own kinds to the hub.
const RootNamespace = "muster-system"

// spareTheHub keeps a tenant from steering the hub through the hub's own cluster: there it delivers namespaced objects into its
// own namespace, and none of OCM's or Muster's kinds. The hub's cluster is the one that the hub was told, or that carries
// OCM's label local-cluster.
func spareTheHub(w *fleet.World, c *clusterv1.ManagedCluster, namespace string, content *fleet.Content) error {
	isHub := (w.HubCluster != "" && c.Name == w.HubCluster) || c.Labels[LocalClusterLabel] == "true"
	if !isHub {
		return nil
	}
	for _, m := range content.Manifests {
		if SteersHub(m.Key, namespace) {
			return fleet.Fault{
				Reason: fleet.HubProtected, ActionRequiredBy: fleet.User, Object: m.Key.String(), File: m.File,
				Message: HubProtected(c.Name, namespace),
			}
		}
	}
	return nil
}

// LocalClusterLabel is OCM's label, "true" on the cluster that is the hub itself.
const LocalClusterLabel = "local-cluster"

// SteersHub says that an object on the hub's own cluster is none that the tenant of a namespace delivers there.
func SteersHub(key fleet.ObjectKey, namespace string) bool {
	steers := key.Group == "muster.dev" || strings.HasSuffix(key.Group, ".open-cluster-management.io")
	return namespace != RootNamespace && (steers || key.Namespace != namespace)
}

// HubProtected says what a tenant delivers to the hub's own cluster.
func HubProtected(cluster, namespace string) string {
	return fmt.Sprintf("cluster %s is the hub: there a tenant delivers into its own namespace %s only, and no kinds of OCM or Muster", cluster, namespace)
}

func clusterFault(err error, job Job, cluster string) *fleet.Fault {
	f, ok := fleet.AsFault(err)
	if !ok {
		f = fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, Message: err.Error(), Err: err}
	}
	f.Application = job.Application.Namespace + "/" + job.Application.Name
	f.Cluster = cluster
	if f.File == "" {
		f.File, f.Line = job.File, cmp.Or(f.Line, job.Line)
	}
	return &f
}

// liveByCluster are an owner's works on each cluster, its own before those of its former name. At is where they are in the world's list.
func liveByCluster(w *fleet.World, owner fleet.Owner, at []int) map[string][]fleet.LiveWork {
	live := make(map[string][]fleet.LiveWork, len(at))
	for _, i := range at {
		lw := w.Works[i]
		live[lw.Cluster] = append(live[lw.Cluster], lw)
	}
	for name := range live {
		if c := cluster(w, name); c != nil && leaving(c) {
			delete(live, name)
		}
	}
	digest := owner.Digest()
	for _, works := range live {
		slices.SortStableFunc(works, func(a, b fleet.LiveWork) int { return cmp.Compare(takenOver(a, digest), takenOver(b, digest)) })
	}
	return live
}

// takenOver is 1 for a work that has the label of another owner.
func takenOver(lw fleet.LiveWork, digest string) int {
	if lw.OwnerDigest == digest {
		return 0
	}
	return 1
}

// Live are the application's live works, sorted as the world has them by cluster.
func (a *Application) Live() []fleet.LiveWork {
	var works []fleet.LiveWork
	for _, cluster := range slices.Sorted(maps.Keys(a.live)) {
		works = append(works, a.live[cluster]...)
	}
	return works
}

// Release frees what only Changes needs: the live works, and what clusters get.
func (a *Application) Release() {
	a.live, a.basis = nil, nil
	for i := range a.Clusters {
		a.Clusters[i].content = nil
	}
}

// Changes from the live works to the planned ones; the works of a cluster that could not be planned are left out and stay.
func (a *Application) Changes() (work.Changes, error) {
	var changes work.Changes
	for _, c := range a.Clusters {
		set, err := a.Works(c)
		if err != nil {
			return nil, fmt.Errorf("works of %s on %s: %w", a.Key(), c.Name, err)
		}
		changes = append(changes, work.Diff(a.live[c.Name], set.Works)...)
	}
	for _, cluster := range a.Losing() {
		changes = append(changes, work.Diff(a.live[cluster], nil)...)
	}
	return changes, nil
}

// Losing are the clusters that have works of the application and are neither planned nor faulty, sorted.
func (a *Application) Losing() []string {
	faulty, all := a.Faulty()
	if all {
		return nil
	}
	planned := map[string]bool{}
	for _, c := range a.Clusters {
		planned[c.Name] = true
	}
	var losing []string
	for cluster := range a.live {
		if !planned[cluster] && !faulty[cluster] {
			losing = append(losing, cluster)
		}
	}
	slices.Sort(losing)
	return losing
}

// Seal computes the digest over the works that are wanted; it is called when the claims are settled. What is lost follows
// from it and from what is live, and must not be in it: an approval has to hold until the last deletion is done.
func (a *Application) Seal() {
	h := sha256.New()
	fmt.Fprintln(h, a.Key())
	for _, c := range a.Clusters {
		fmt.Fprintln(h, c.Name, c.SetDigest)
	}
	a.Digest = hex.EncodeToString(h.Sum(nil))
}

// shownDigest is the digest as far as a review knows it, which does not read the Secrets of the hub: an approval of a repository's plan is
// for a digest that hub and review agree on, and outlasts a new password.
func (a *Application) shownDigest() string {
	if !fleet.HoldsSecrets(a.Sources) {
		return a.Digest
	}
	h := sha256.New()
	for _, c := range a.Clusters {
		fmt.Fprintln(h, c.Name)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func compare(a, b string) int { return cmp.Compare(a, b) }
