package ui

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
)

// applicationRow is an application in a list.
type applicationRow struct {
	Namespace string                        `json:"namespace"`
	Name      string                        `json:"name"`
	State     string                        `json:"state"`
	Ready     bool                          `json:"ready"`
	Revision  string                        `json:"revision,omitempty"`
	Summary   musterv1alpha1.Summary        `json:"summary"`
	Held      *musterv1alpha1.Held          `json:"held,omitempty"`
	OnHold    []musterv1alpha1.OnHold       `json:"onHold,omitempty"`
	Rollout   *musterv1alpha1.RolloutStatus `json:"rollout,omitempty"`
	// Placements that choose its clusters.
	Placements []string `json:"placements,omitempty"`
}

func applicationRowOf(a *musterv1alpha1.Application) applicationRow {
	return applicationRow{
		Namespace: a.Namespace, Name: a.Name, State: overview.ApplicationState(a), Ready: overview.ApplicationReady(a),
		Revision: a.Status.Revision, Summary: a.Status.Summary, Held: a.Status.Held, OnHold: a.Status.OnHold, Rollout: a.Status.Rollout, Placements: a.PlacementNames(),
	}
}

// Link is the address of the application's page.
func (a applicationRow) Link() string { return linkTo("applications", a.Namespace, a.Name) }

// The states that the list of applications is filtered by.
const (
	stateReady   = "ready"
	stateUnready = "not ready"
	stateHeld    = "held"
	stateDrifted = "drifted"
	stateRolling = "rolling out"
)

func (a *applicationRow) is(state string) bool {
	switch state {
	case stateReady:
		return a.Ready
	case stateUnready:
		return !a.Ready
	case stateHeld:
		return a.Held != nil || len(a.OnHold) > 0
	case stateDrifted:
		return a.Summary.Drifted > 0
	case stateRolling:
		return a.Rollout != nil
	}
	return true
}

type applicationsView struct {
	list[applicationRow]
	States []stateCount `json:"states"`
}

func (s *Server) applications(ctx context.Context, p *Person, r *http.Request) (any, error) {
	rows, err := s.applicationRows(ctx, p)
	if err != nil {
		return nil, err
	}
	v := applicationsView{}
	for _, state := range []string{stateReady, stateUnready, stateHeld, stateDrifted, stateRolling} {
		n := 0
		for i := range rows {
			if rows[i].is(state) {
				n++
			}
		}
		if n > 0 {
			v.States = append(v.States, stateCount{state, n})
		}
	}
	query := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("q")))
	state := r.URL.Query().Get("state")
	v.list = part(r, rows, func(a *applicationRow) bool {
		return a.is(state) && (contains(a.Namespace+"/"+a.Name, query) || contains(a.State, query) || contains(a.Revision, query))
	})
	return v, nil
}

func (s *Server) applicationRows(ctx context.Context, p *Person) ([]applicationRow, error) {
	var all musterv1alpha1.ApplicationList
	if err := s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	rows := []applicationRow{}
	for _, a := range only(ctx, p, "applications", all.Items) {
		rows = append(rows, applicationRowOf(&a))
	}
	slices.SortFunc(rows, func(a, b applicationRow) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return rows, nil
}

// rollouts are the applications whose change is on its way over their clusters.
func (s *Server) rollouts(ctx context.Context, p *Person, r *http.Request) (any, error) {
	rows, err := s.applicationRows(ctx, p)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(a applicationRow) bool { return a.Rollout == nil })
	return part(r, rows, func(*applicationRow) bool { return true }), nil
}

// applicationView is the page of one application.
type applicationView struct {
	applicationRow
	Path       string                         `json:"path,omitempty"`
	Repository string                         `json:"repository,omitempty"`
	LastGood   string                         `json:"lastGoodRevision,omitempty"`
	Plan       string                         `json:"plan,omitempty"`
	Conditions []metav1.Condition             `json:"conditions,omitempty"`
	Rows       []musterv1alpha1.ClusterStatus `json:"rows,omitempty"` // the worst
	Needs      []overview.Need                `json:"needsYou,omitempty"`
	Clusters   []targetGroup                  `json:"clusters"`
	Folded     bool                           `json:"folded,omitempty"`
	Removals   []musterv1alpha1.Removal       `json:"recentRemovals,omitempty"`
	Events     []eventRow                     `json:"events,omitempty"`
	Strategy   string                         `json:"strategy,omitempty"`
	// Sources are what the content was fetched from, RolledBack a change that failed and is refused, History what was good.
	Sources    []musterv1alpha1.SourceStatus `json:"sources,omitempty"`
	RolledBack *musterv1alpha1.RolledBack    `json:"rolledBack,omitempty"`
	History    []musterv1alpha1.GoodRevision `json:"history,omitempty"`
}

// Revisions are the commits that can be compared: the present one, and those that were good, each once.
func (v applicationView) Revisions() []string {
	var all []string
	add := func(revision string) {
		if revision != "" && !slices.Contains(all, revision) {
			all = append(all, revision)
		}
	}
	add(v.Revision)
	for _, good := range v.History {
		add(good.Revision)
	}
	if v.RolledBack != nil {
		add(v.RolledBack.Refused)
	}
	return all
}

// targetGroup are the clusters of an application in one decision group.
type targetGroup struct {
	Name    string       `json:"name"`
	States  []stateCount `json:"states"`
	Targets []target     `json:"targets,omitempty"`
	Total   int          `json:"total"`
}

// target is an application on a cluster.
type target struct {
	Cluster  string `json:"cluster"`
	State    string `json:"state"`
	Revision string `json:"revision,omitempty"`
}

// The states of an application on a cluster, the best first.
const (
	targetHealthy   = "healthy"
	targetApplied   = "applied"
	targetPending   = "pending"
	targetProblem   = "problem"
	targetOffline   = "offline"
	targetHeld      = "held"
	targetUnplanned = "faulty"
)

var targetStates = []string{targetHealthy, targetApplied, targetPending, targetOffline, targetHeld, targetProblem, targetUnplanned}

// application finds one in the cache, and shows it.
func (s *Server) application(ctx context.Context, p *Person, r *http.Request) (any, error) {
	app, err := s.findApplication(ctx, r)
	if err != nil {
		return nil, err
	}
	v := applicationView{
		applicationRow: applicationRowOf(app), Path: app.Spec.Source.Path, Repository: app.Annotations[musterv1alpha1.RepositoryAnnotation],
		LastGood: app.Status.LastGoodRevision, Plan: app.Status.Plan, Conditions: app.Status.Conditions, Rows: app.Status.Clusters,
		Removals: app.Status.RecentRemovals, Sources: app.Status.Sources, RolledBack: app.Status.RolledBack,
	}
	var history musterv1alpha1.RolloutHistory
	if err := p.Client.Get(ctx, client.ObjectKeyFromObject(app), &history); err == nil { // who may not read it sees none
		v.History = history.Revisions
	}
	if app.Spec.Rollout != nil {
		v.Strategy = string(app.Spec.Rollout.Type)
	}
	if v.Strategy == "" {
		v.Strategy = string(clusterv1alpha1.All)
	}
	v.Needs = overview.NeedsOf(overview.Facts{Hub: overview.Hub{State: overview.HubRuns}, Applications: []musterv1alpha1.Application{*app}}, s.Now())
	if v.Clusters, err = s.targets(ctx, app); err != nil {
		return nil, err
	}
	total := 0
	for _, g := range v.Clusters {
		total += g.Total
	}
	if v.Folded = total > mapRoom; v.Folded {
		for i := range v.Clusters {
			v.Clusters[i].Targets = nil
		}
	}
	v.Events, err = s.eventsOf(ctx, app.Namespace, "Application", app.Name)
	return v, err
}

func (s *Server) findApplication(ctx context.Context, r *http.Request) (*musterv1alpha1.Application, error) {
	key := client.ObjectKey{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	var app musterv1alpha1.Application
	if err := s.Reader.Get(ctx, key, &app); client.IgnoreNotFound(err) != nil {
		return nil, err
	} else if err == nil {
		return &app, nil
	}
	var all musterv1alpha1.ApplicationList
	if err := s.Reader.List(ctx, &all, client.InNamespace(key.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var known []string
	for i := range all.Items {
		known = append(known, key.Namespace+"/"+all.Items[i].Name)
	}
	return nil, apiError{http.StatusNotFound, overview.Unknown("application", key.String(), known).Error()}
}

// targets are the clusters of an application: those that its placement chose, by decision group, and those that have works of
// it all the same.
func (s *Server) targets(ctx context.Context, app *musterv1alpha1.Application) ([]targetGroup, error) {
	var decisions clusterv1beta1.PlacementDecisionList
	for _, name := range app.PlacementNames() {
		var of clusterv1beta1.PlacementDecisionList
		err := s.Reader.List(ctx, &of, client.InNamespace(app.Namespace),
			client.MatchingLabels{clusterv1beta1.PlacementLabel: name}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, err
		}
		decisions.Items = append(decisions.Items, of.Items...)
	}
	var clusters clusterv1.ManagedClusterList
	if err := s.Reader.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	states := map[string]string{}
	for i := range clusters.Items {
		states[clusters.Items[i].Name], _ = overview.ClusterState(&clusters.Items[i])
	}
	works := map[string][]fleet.LiveWork{}
	for _, w := range s.Works.Of(fleet.OwnerOf(app)) {
		works[w.Cluster] = append(works[w.Cluster], w)
	}
	rows := map[string]musterv1alpha1.ClusterStatus{}
	for _, row := range app.Status.Clusters {
		rows[row.Cluster] = row
	}
	groups := map[string][]target{}
	seen := map[string]bool{}
	for i := range decisions.Items {
		d := &decisions.Items[i]
		name := d.Labels[clusterv1beta1.DecisionGroupNameLabel]
		if name == "" {
			name = "group " + cmp.Or(d.Labels[clusterv1beta1.DecisionGroupIndexLabel], "0")
		}
		for _, decision := range d.Status.Decisions {
			cluster := decision.ClusterName
			if seen[cluster] { // by two placements
				continue
			}
			seen[cluster] = true
			groups[name] = append(groups[name], targetOf(cluster, states[cluster], works[cluster], rows[cluster]))
		}
	}
	for cluster := range works {
		if !seen[cluster] {
			groups["no longer chosen"] = append(groups["no longer chosen"], targetOf(cluster, states[cluster], works[cluster], rows[cluster]))
		}
	}
	return grouping(groups), nil
}

// grouping sorts groups and their clusters, and counts their states.
func grouping(groups map[string][]target) []targetGroup {
	list := []targetGroup{}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := targetGroup{Name: name, Targets: groups[name], Total: len(groups[name])}
		slices.SortFunc(g.Targets, func(a, b target) int { return cmp.Compare(a.Cluster, b.Cluster) })
		counts := map[string]int{}
		for _, t := range g.Targets {
			counts[t.State]++
		}
		for _, state := range targetStates {
			if n := counts[state]; n > 0 {
				g.States = append(g.States, stateCount{state, n})
			}
		}
		list = append(list, g)
	}
	return list
}

// targetOf says how an application is on a cluster. The row is what the hub says of it, where it is among the worst.
func targetOf(cluster, clusterState string, works []fleet.LiveWork, row musterv1alpha1.ClusterStatus) target {
	t := target{Cluster: cluster, State: targetPending}
	applied, healthy, problems := len(works) > 0, len(works) > 0, false
	for _, w := range works {
		t.Revision = w.Revision
		applied = applied && w.Status.Observed && w.Status.Applied
		healthy = healthy && w.Status.Health == fleet.HealthHealthy
		problems = problems || len(w.Status.Problems) > 0
	}
	switch {
	case row.State == "Faulty":
		t.State = targetUnplanned
	case clusterState != overview.ClusterAvailable:
		t.State = targetOffline
	case row.State == "Held":
		t.State = targetHeld
	case problems:
		t.State = targetProblem
	case applied && healthy:
		t.State = targetHealthy
	case applied:
		t.State = targetApplied
	}
	return t
}

// targetView is the page of an application on a cluster: why it is there or not, its objects, what they are like and what they
// were made of.
type targetView struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Cluster   string            `json:"cluster"`
	Reasons   *overview.Reasons `json:"reasons"`
	Objects   []objectRow       `json:"objects"`
	// Layers say which layer set each value of the chart. The values themselves may be secret.
	Layers map[string]string `json:"layers,omitempty"`
}

// objectRow is an object of a work: what is applied and what the cluster says of it.
type objectRow struct {
	Work       string             `json:"work"`
	Object     string             `json:"object"`
	Applied    string             `json:"applied"`
	Available  string             `json:"available"`
	Health     string             `json:"health,omitempty"`
	Message    string             `json:"message,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	Manifest   string             `json:"manifest"`
	// Key names it for who asks the cluster.
	Key musterv1alpha1.InspectionObject `json:"-"`
	// Drift are the fields in which the live object is not, or was not, what the manifest says.
	Drift []overview.Drift `json:"drift,omitempty"`
}

// Differs says that the live object is not what the manifest says.
func (o objectRow) Differs() bool {
	return slices.ContainsFunc(o.Drift, func(d overview.Drift) bool { return !d.Healed })
}

// manifestBytes is how much of a manifest the page shows.
const manifestBytes = 64 << 10

func (s *Server) target(ctx context.Context, p *Person, r *http.Request) (any, error) {
	app, err := s.findApplication(ctx, r)
	if err != nil {
		return nil, err
	}
	cluster := r.PathValue("cluster")
	world, err := s.world(ctx, app)
	if err != nil {
		return nil, err
	}
	world.Works = slices.DeleteFunc(s.Works.Of(fleet.OwnerOf(app)), func(w fleet.LiveWork) bool { return w.Cluster != cluster })
	var repositories musterv1alpha1.FleetRepositoryList
	if err := s.Reader.List(ctx, &repositories, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	k := overview.Knowledge{World: world, Hub: overview.LookAtHub(ctx, s.Reader, s.Now()), Repositories: repositories.Items}
	v := targetView{Namespace: app.Namespace, Name: app.Name, Cluster: cluster, Objects: []objectRow{}}
	if v.Reasons, err = k.Application(app, cluster); err != nil {
		return nil, notFound("%s", err)
	}
	if namespace, name, ok := strings.Cut(app.Annotations[musterv1alpha1.RepositoryAnnotation], "/"); ok && s.Plans != nil {
		v.Layers = s.Plans.Layers(client.ObjectKey{Namespace: namespace, Name: name}, app.Namespace+"/"+app.Name, cluster)
	}
	for _, live := range world.Works {
		var work workv1.ManifestWork
		if err := p.Client.Get(ctx, client.ObjectKey{Namespace: cluster, Name: live.Name}, &work); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read work %s/%s: %w", cluster, live.Name, err)
		} else if err != nil {
			continue
		}
		rows, err := s.objects(&work)
		if err != nil {
			return nil, err
		}
		v.Objects = append(v.Objects, rows...)
	}
	return v, nil
}

// objects are those of a work, each with what the cluster reports. The values of Secrets are never shown.
func (s *Server) objects(work *workv1.ManifestWork) (rows []objectRow, err error) {
	reported := map[int32]workv1.ManifestCondition{}
	for _, m := range work.Status.ResourceStatus.Manifests {
		reported[m.ResourceMeta.Ordinal] = m
	}
	for i := range work.Spec.Workload.Manifests {
		object, err := s.redacted(work.Spec.Workload.Manifests[i].Raw)
		if err != nil {
			return nil, fmt.Errorf("read manifest %d of work %s/%s: %w", i, work.Namespace, work.Name, err)
		}
		text, err := yaml.Marshal(object)
		if err != nil {
			return nil, fmt.Errorf("show manifest %d of work %s/%s: %w", i, work.Namespace, work.Name, err)
		}
		row := objectRow{Work: work.Name, Object: nameOf(object), Key: keyOf(object), Applied: "Unknown", Available: "Unknown", Manifest: shortened(string(text))}
		m := reported[int32(i)]
		row.Conditions, row.Drift = m.Conditions, overview.DriftIn(work, m)
		for _, c := range m.Conditions {
			switch c.Type {
			case workv1.ManifestApplied:
				row.Applied = string(c.Status)
			case workv1.ManifestAvailable:
				row.Available = string(c.Status)
			}
			if c.Status != metav1.ConditionTrue && row.Message == "" {
				row.Message = c.Message
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// ObjectLink is the address of the page of an object as it is on the cluster.
func (v targetView) ObjectLink(o musterv1alpha1.InspectionObject) string {
	return objectLink(v.Namespace, v.Name, v.Cluster, o.Group, o.Kind, o.Namespace, o.Name)
}

// Drift are the records of all objects.
func (v targetView) Drift() []overview.Drift {
	var all []overview.Drift
	for i := range v.Objects {
		all = append(all, v.Objects[i].Drift...)
	}
	return all
}

func shortened(text string) string {
	if len(text) <= manifestBytes {
		return text
	}
	return strings.ToValidUTF8(text[:manifestBytes], "") + "\n… the rest is left out"
}

// world is what explains an application's placement, without works.
func (s *Server) world(ctx context.Context, app *musterv1alpha1.Application) (*fleet.World, error) {
	w := &fleet.World{Time: s.Now(), Applications: []musterv1alpha1.Application{*app}}
	return w, s.placements(ctx, w, app.Namespace)
}

// placements reads what placements of a namespace are scheduled by. The lists are copies, their objects are shared.
func (s *Server) placements(ctx context.Context, w *fleet.World, namespace string) error {
	var (
		clusters   clusterv1.ManagedClusterList
		sets       clusterv1beta2.ManagedClusterSetList
		bindings   clusterv1beta2.ManagedClusterSetBindingList
		placements clusterv1beta1.PlacementList
		decisions  clusterv1beta1.PlacementDecisionList
		scores     clusterv1alpha1.AddOnPlacementScoreList
	)
	local := client.InNamespace(namespace)
	for _, read := range []struct {
		list    client.ObjectList
		options []client.ListOption
	}{
		{&clusters, nil},
		{&sets, nil},
		{&bindings, []client.ListOption{local}},
		{&placements, []client.ListOption{local}},
		{&decisions, []client.ListOption{local}},
		{&scores, nil},
	} {
		if err := s.Reader.List(ctx, read.list, append(read.options, client.UnsafeDisableDeepCopy)...); err != nil {
			return err
		}
	}
	w.Clusters, w.ClusterSets, w.Bindings = clusters.Items, sets.Items, bindings.Items
	w.Placements, w.Decisions, w.Scores = placements.Items, decisions.Items, scores.Items
	return nil
}
