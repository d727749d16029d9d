package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// Planner builds plans. It keeps what it rendered, so that the next plan costs what changed. Safe for concurrent use.
type Planner struct {
	Renderer *render.Renderer
}

// Plan is what one snapshot asks for in one world.
type Plan struct {
	Repository string
	Revision   string
	// Digest over the names of the definitions, the decisions and the works of every application: equal digests, equal works, but for those
	// of applications with values of a Secret.
	Digest string
	// Definitions that the snapshot holds.
	Definitions *fleet.Definitions
	// Renames are the applications that the snapshot renames.
	Renames fleet.Renames
	// World as the snapshot changes it.
	World *fleet.World
	// Placements that the snapshot defines, sorted by namespace and name.
	Placements []Placement
	// Applications that the snapshot defines, sorted by namespace and name.
	Applications []*Application
	// Faults of loading and planning, sorted: the last good work of whatever they name stays.
	Faults []fleet.Fault
	// Warnings stop no delivery; the author should look at them. Sorted.
	Warnings []fleet.Fault
	// CRDs are, by cluster, the kinds that the plan's own custom resource definitions add.
	CRDs map[string][]musterv1alpha1.APIResource

	choices map[string]Choice       // of the placements, by namespace/name
	addOns  map[string]addOnContent // by name
	facts   *clusterFacts
}

// Placement is a placement and what it decides.
type Placement struct {
	Placement *clusterv1beta1.Placement
	File      string
	Line      int
	Result    placement.Result
}

// Application is one application, planned for the clusters that it belongs on.
type Application struct {
	Application *musterv1alpha1.Application
	File        string
	Line        int
	// Decided by its placements, about each cluster of the bound sets.
	Decided
	// Clusters that were planned, sorted by name: the chosen ones, and those that are kept while they cannot be reached.
	Clusters []Cluster
	// Faults of this application on a cluster or, with no cluster, on all.
	Faults []fleet.Fault
	// Warnings stop nothing.
	Warnings []fleet.Fault
	// Sources that it takes content from, out of its own repository, sorted.
	Sources []fleet.UsedSource
	// Digest over the works that are wanted.
	Digest string

	revision string
	canary   string // its steps, as works carry them
	// basis is what a later plan compares with; nil when nothing is taken over from this one.
	basis *basis
	// labels of the clusters that were planned.
	labels map[string]map[string]string
	// windows of the rollout, and by cluster those that are for it; "" for clusters that were not planned.
	windows   []rollout.OpenWindow
	windowsOn map[string]rollout.WindowSet
	// manifestLimit is that of the world.
	manifestLimit int
	live          map[string][]fleet.LiveWork
	// otherHolders are live works of other owners that hold what this application gives up.
	otherHolders []fleet.LiveWork
	// refused are the objects of contents that claims have refused, by cluster.
	refused map[string][]fleet.ObjectKey
	// wantedBy are, by cluster, objects of live works that this application gives up, and the owner that wants each.
	wantedBy map[string]map[fleet.ObjectKey]fleet.Owner
}

// Cluster is one application on one cluster.
type Cluster struct {
	Name string
	// Options with the cluster's overrides and expressions applied.
	Options work.Options
	// Overrides that apply, by name.
	Overrides []string
	// SetDigest of the works.
	SetDigest string
	// Kept is true for a cluster that its placement dropped only because it cannot be reached.
	Kept bool
	// Empty is true when the content for the cluster has no objects, apart from the namespace of createNamespace.
	Empty bool

	content *kept
	from    inputs
}

// Content is what the cluster gets.
func (c *Cluster) Content() (*fleet.Content, error) { return c.content.open() }

// Key is namespace/name.
func (a *Application) Key() string { return a.Application.Namespace + "/" + a.Application.Name }

// Owner of the works.
func (a *Application) Owner() fleet.Owner { return fleet.OwnerOf(a.Application) }

// Faulty are the clusters that could not be planned: their works stay as they are. The second result is true when no
// cluster could. A cluster on which the application only gives something up has a fault and is planned.
func (a *Application) Faulty() (clusters map[string]bool, all bool) {
	clusters = map[string]bool{}
	for _, f := range a.Faults {
		if f.Cluster == "" {
			all = true
		}
		if a.On(f.Cluster) == nil {
			clusters[f.Cluster] = true
		}
	}
	return clusters, all
}

// On is what is planned for a cluster, or nil.
func (a *Application) On(cluster string) *Cluster {
	i, ok := slices.BinarySearchFunc(a.Clusters, cluster, func(c Cluster, name string) int { return compare(c.Name, name) })
	if !ok {
		return nil
	}
	return &a.Clusters[i]
}

// Works of one planned cluster: final objects, nothing is added to them later.
func (a *Application) Works(c Cluster) (work.Set, error) {
	content, err := c.Content()
	if err != nil {
		return work.Set{}, err
	}
	return a.works(c, content)
}

func (a *Application) works(c Cluster, content *fleet.Content) (work.Set, error) {
	return work.Wanted(work.Input{
		Owner:    a.Owner(),
		Options:  c.Options,
		Cluster:  c.Name,
		Content:  content,
		Revision: a.revision,
		Live:     a.live[c.Name],
		Canary:   a.canary,

		ManifestLimit: a.manifestLimit,
	})
}

// Works of the plan, application by application and cluster by cluster: they are made one set at a time.
func (p *Plan) Works() iter.Seq2[*Application, work.Set] {
	return func(yield func(*Application, work.Set) bool) {
		for _, a := range p.Applications {
			for _, c := range a.Clusters {
				set, err := a.Works(c)
				if err != nil {
					continue // Build has made a fault of it and left the cluster out
				}
				if !yield(a, set) {
					return
				}
			}
		}
	}
}

// Sources that the applications take content from, out of the repository, sorted.
func (p *Plan) Sources() []fleet.UsedSource {
	var all []fleet.UsedSource
	for _, a := range p.Applications {
		all = append(all, a.Sources...)
	}
	return fleet.SortSources(all)
}

// Find gives the application with this namespace/name, or nil.
func (p *Plan) Find(key string) *Application {
	for _, a := range p.Applications {
		if a.Key() == key {
			return a
		}
	}
	return nil
}

// Build computes what one commit asks of the fleet in one world. Same input, same bytes. An error means that the snapshot
// could not be read; whatever else goes wrong is a fault in the plan.
func (p *Planner) Build(ctx context.Context, s fleet.Snapshot, w fleet.World) (*Plan, error) {
	defs, err := fleet.Load(ctx, s.Tree)
	if err != nil {
		return nil, fmt.Errorf("load %s at %s: %w", s.Repository, fleet.ShortRevision(s.Revision), err)
	}
	return p.Loaded(ctx, s, defs, w)
}

// Loaded is Build for a snapshot whose definitions have been loaded.
func (p *Planner) Loaded(ctx context.Context, s fleet.Snapshot, defs *fleet.Definitions, w fleet.World) (*Plan, error) {
	return p.build(ctx, s, defs, w, scope{})
}

// LoadedAfter is Loaded for who has an earlier plan, of whatever commit and world: what it has for a cluster is taken over where
// everything that was read to make it is as it was. The outcome is that of Loaded.
func (p *Planner) LoadedAfter(ctx context.Context, earlier *Plan, s fleet.Snapshot, defs *fleet.Definitions, w fleet.World) (*Plan, error) {
	return p.build(ctx, s, defs, w, scope{earlier: earlier})
}

// On is the part of Build that says what one application brings to one cluster. Other applications are planned, for that cluster,
// only when this one cannot be without them: they may bring it a kind, or hand it an object.
func (p *Planner) On(ctx context.Context, s fleet.Snapshot, w fleet.World, application, cluster string) (*Plan, error) {
	defs, err := fleet.Load(ctx, s.Tree)
	if err != nil {
		return nil, fmt.Errorf("load %s at %s: %w", s.Repository, fleet.ShortRevision(s.Revision), err)
	}
	out, err := p.build(ctx, s, defs, w, scope{application: application, cluster: cluster})
	if err != nil {
		return nil, err
	}
	if a := out.Find(application); a != nil && a.On(cluster) != nil && len(a.Faults) == 0 {
		return out, nil
	}
	return p.build(ctx, s, defs, w, scope{cluster: cluster})
}

// scope is what is planned: all, unless it names an application or a cluster.
type scope struct {
	application, cluster string
	earlier              *Plan // that is taken over from
}

func (s scope) includes(app *musterv1alpha1.Application) bool {
	return s.application == "" || s.application == app.Namespace+"/"+app.Name
}

func (p *Planner) build(ctx context.Context, s fleet.Snapshot, defs *fleet.Definitions, w fleet.World, of scope) (*Plan, error) {
	renames := defs.Renames(s.Repository, w.Applications)
	out := &Plan{
		Repository: s.Repository, Revision: s.Revision, Definitions: defs, Renames: renames, World: Overlay(w, s.Repository, defs, renames),
		Faults: slices.Clone(defs.Faults), CRDs: map[string][]musterv1alpha1.APIResource{},
	}
	results := out.schedule(of)
	if err := p.applications(ctx, s, out, results, of); err != nil {
		return nil, err
	}
	out.noteAddOns(s.Tree)
	out.settleClaims()
	out.noteHandovers()
	out.digest()
	out.remedies()
	fleet.SortFaults(out.Faults)
	fleet.SortFaults(out.Warnings)
	return out, nil
}

// schedule decides every placement that the snapshot defines, or those that the applications in a scope name.
func (p *Plan) schedule(of scope) map[string]placement.Result {
	results := map[string]placement.Result{}
	index := placement.NewIndex(p.World)
	named := map[string]bool{}
	for _, app := range p.Definitions.Applications() {
		if of.includes(app) {
			for _, name := range app.PlacementNames() {
				named[app.Namespace+"/"+name] = true
			}
		}
	}
	for i := range p.Definitions.All {
		d := &p.Definitions.All[i]
		o, ok := d.Object.(*clusterv1beta1.Placement)
		if !ok || of.application != "" && !named[o.Namespace+"/"+o.Name] {
			continue
		}
		result := index.Schedule(o)
		results[o.Namespace+"/"+o.Name] = result
		p.noteChoice(o, &result)
		p.Faults = append(p.Faults, placementFaults(d, o, &result, p.World)...)
		p.Placements = append(p.Placements, Placement{Placement: o, File: d.File, Line: d.Line, Result: result})
	}
	p.scheduleOthers(index, results, named)
	return results
}

// scheduleOthers decides the placements that no file of this repository defines and that an application of it names: they may
// still be on the hub.
func (p *Plan) scheduleOthers(index *placement.Index, results map[string]placement.Result, named map[string]bool) {
	for i := range p.World.Placements {
		o := &p.World.Placements[i]
		key := o.Namespace + "/" + o.Name
		if _, ok := results[key]; !ok && named[key] {
			result := index.Schedule(o)
			results[key] = result
			p.noteChoice(o, &result)
		}
	}
}

// noteChoice keeps what a placement decides, with the grounds that its pages will carry.
func (p *Plan) noteChoice(o *clusterv1beta1.Placement, result *placement.Result) {
	if p.choices == nil {
		p.choices = map[string]Choice{}
	}
	grounds := placement.LastGrounds(placement.GroundsAfter(o, result, p.World.Decisions))
	p.choices[o.Namespace+"/"+o.Name] = Choice{Placement: o, Decisions: result.Decisions, Grounds: grounds}
}

// placementFaults are what is wrong with a placement itself, at the lines of its fields.
func placementFaults(d *fleet.Definition, o *clusterv1beta1.Placement, result *placement.Result, w *fleet.World) []fleet.Fault {
	var faults []fleet.Fault
	wrong := func(field, message string) {
		faults = append(faults, fleet.Fault{
			Reason: fleet.PlacementInvalid, ActionRequiredBy: fleet.User, Object: d.Key.String(), File: d.File, Line: d.LineOf(field), Message: message,
		})
	}
	missing := slices.DeleteFunc(placement.MissingSets(o, w), func(set string) bool {
		return set == clusterv1beta2.DefaultClusterSet || set == "global" // the hub makes these
	})
	if len(missing) > 0 {
		wrong(fmt.Sprintf("spec.clusterSets[%d]", slices.Index(o.Spec.ClusterSets, missing[0])),
			fmt.Sprintf("cluster set %s does not exist: define it, or correct the name", strings.Join(missing, ", ")))
	}
	if field, problem := result.Problem(); problem != "" {
		wrong(field, problem)
	}
	return faults
}

// decided gives what the placements of an application decide together, or the fault of the first that is missing or wrong.
func (p *Plan) decided(d *fleet.Definition, job *Job, results map[string]placement.Result) (Decided, *fleet.Fault) {
	app := job.Application
	var choices []Choice
	for _, name := range app.PlacementNames() {
		result, ok := results[app.Namespace+"/"+name]
		if !ok {
			return Decided{}, missingPlacement(app, name, d)
		}
		defined := p.Definitions.Find(clusterv1beta1.GroupVersion.Group, "Placement", app.Namespace, name)
		if fault := invalidPlacement(app, name, d, &result, defined); fault != nil {
			return Decided{}, fault
		}
		choices = append(choices, p.choices[app.Namespace+"/"+name])
	}
	return unionOf(choices, job.live), nil
}

// applications plans every application, in rounds: an application that needs a kind which another one brings to the cluster
// is planned again once that kind is known.
func (p *Planner) applications(ctx context.Context, s fleet.Snapshot, out *Plan, results map[string]placement.Result, of scope) error {
	jobs := map[string]Job{}
	find := out.finder()
	earlier, works := earlierApplications(of.earlier), worksByOwner(out.World)
	out.facts = factsOf(out.World, of.earlier.clusterFacts())
	defer out.facts.forget()
	values := ValuesIn(out.World.ClusterValues, out.Definitions)
	out.Faults = append(out.Faults, valuesConflicts(values, out.World)...)
	for i := range out.Definitions.All {
		d := &out.Definitions.All[i]
		app, ok := d.Object.(*musterv1alpha1.Application)
		if !ok || !of.includes(app) {
			continue
		}
		job := Job{Application: app, File: d.File, Line: d.Line, LineOf: d.LineOf, Defaulted: d.Defaulted, Snapshot: s, World: out.World, Values: values, Cluster: of.cluster,
			definition: d, facts: out.facts, earlier: earlier[app.Namespace+"/"+app.Name]}
		job.live = liveByCluster(out.World, fleet.OwnerOf(app), works[fleet.OwnerOf(app)])
		job.Decided, job.Fault = out.decided(d, &job, results)
		if job.Fault == nil {
			job.Fault = out.Definitions.RenameFault(d)
		}
		if job.Fault == nil {
			job.Fault = DependencyFault(app, d.File, d.Line, d.LineOf, find)
		}
		jobs[app.Namespace+"/"+app.Name] = job
		planned, err := p.Application(ctx, job)
		if err != nil {
			return err
		}
		out.Applications = append(out.Applications, planned)
	}
	for range out.Applications { // each round settles at least one application, or is the last
		if !out.collectCRDs() {
			break
		}
		for i, a := range out.Applications {
			if !slices.ContainsFunc(a.Faults, func(f fleet.Fault) bool { return f.Reason == fleet.UnknownKind }) {
				continue
			}
			job := jobs[a.Key()]
			job.CRDs = out.CRDs
			if a.basis != nil && len(a.Clusters) > 0 {
				job.firstRound = a // what it could plan stays, whatever the earlier plan has
			}
			planned, err := p.Application(ctx, job)
			if err != nil {
				return err
			}
			out.Applications[i] = planned
		}
	}
	return nil
}

// worksByOwner are, by owner, where its live works are in the world's list.
func worksByOwner(w *fleet.World) map[fleet.Owner][]int {
	byOwner := map[fleet.Owner][]int{}
	for i := range w.Works {
		byOwner[w.Works[i].Owner] = append(byOwner[w.Works[i].Owner], i)
	}
	return byOwner
}

// invalidPlacement is a fault when the placement itself is wrong: that it then chooses no cluster means nothing.
// What is wrong stands in the placement's own fault; one that no file of the repository defines has none.
func invalidPlacement(app *musterv1alpha1.Application, name string, d *fleet.Definition, result *placement.Result, defined *fleet.Definition) *fleet.Fault {
	field, problem := result.Problem()
	if problem == "" {
		return nil
	}
	where := "on the hub: " + problem
	if defined != nil {
		where = position(defined.File, defined.LineOf(field))
	}
	return &fleet.Fault{
		Reason: fleet.PlacementInvalid, ActionRequiredBy: fleet.User, Application: app.Namespace + "/" + app.Name,
		File: d.File, Line: d.LineOf(app.PlacementField(name)),
		Message: fmt.Sprintf("placement %s/%s is misconfigured: %s", app.Namespace, name, where),
	}
}

func missingPlacement(app *musterv1alpha1.Application, name string, d *fleet.Definition) *fleet.Fault {
	return &fleet.Fault{
		Reason: fleet.PlacementMissing, ActionRequiredBy: fleet.User, Application: app.Namespace + "/" + app.Name,
		File: d.File, Line: d.LineOf(app.PlacementField(name)),
		Message: fmt.Sprintf("placement %q is not in namespace %s: define it, or correct the name", name, app.Namespace),
	}
}

// remedies names the file of the cluster where that is what to change: for a label, and without a hub for a claim, which is assumed there.
func (p *Plan) remedies() {
	files := map[string]string{}
	for i := range p.Definitions.All {
		if d := &p.Definitions.All[i]; d.Key.Kind == "ManagedCluster" {
			files[d.Key.Name] = d.File
		}
	}
	for i := range p.Faults {
		if f := &p.Faults[i]; errors.Is(f.Err, render.ErrLabelMissing) || p.World.FromRepository && errors.Is(f.Err, render.ErrClaimMissing) {
			f.Remedy = files[f.Cluster]
		}
	}
}

// digest covers what the plan would do, not where it was read; of an application with values of a Secret, only on which clusters it is. A
// cluster that its placement drops only while it does not answer stays in it: its works stay too, and an approval has to outlast that.
func (p *Plan) digest() {
	h := sha256.New()
	for _, a := range p.Applications {
		a.Seal()
		fmt.Fprintln(h, a.Key(), a.shownDigest())
		p.Faults = append(p.Faults, a.Faults...)
		p.Warnings = append(p.Warnings, a.Warnings...)
	}
	for _, pl := range p.Placements {
		fmt.Fprintln(h, pl.Placement.Namespace, pl.Placement.Name)
		for _, d := range pl.Result.Decisions {
			if d.Chosen || d.Unreachable {
				fmt.Fprintln(h, "-", d.Cluster)
			}
		}
	}
	for _, d := range p.Definitions.All {
		fmt.Fprintln(h, d.Key.Identity())
	}
	p.Digest = hex.EncodeToString(h.Sum(nil))
}

func position(file string, line int) string { return fleet.Fault{File: file, Line: line}.Position() }

// Cluster finds a cluster of the world.
func cluster(w *fleet.World, name string) *clusterv1.ManagedCluster {
	i, ok := slices.BinarySearchFunc(w.Clusters, name, func(c clusterv1.ManagedCluster, name string) int {
		return compare(c.Name, name)
	})
	if !ok {
		return nil
	}
	return &w.Clusters[i]
}
