package ui

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/placement"
)

// placementRow is a placement in a list.
type placementRow struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Selected  int32  `json:"selected"`
	Satisfied string `json:"satisfied"`
	Message   string `json:"message,omitempty"`
}

// Link is the address of the placement's page.
func (p placementRow) Link() string { return linkTo("placements", p.Namespace, p.Name) }

func (s *Server) placementList(ctx context.Context, p *Person, r *http.Request) (any, error) {
	var all clusterv1beta1.PlacementList
	if err := s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	rows := []placementRow{}
	for i := range all.Items {
		x := &all.Items[i]
		row := placementRow{Namespace: x.Namespace, Name: x.Name, Selected: x.Status.NumberOfSelectedClusters, Satisfied: "Unknown"}
		for _, c := range x.Status.Conditions {
			if c.Type == clusterv1beta1.PlacementConditionSatisfied {
				row.Satisfied, row.Message = string(c.Status), c.Message
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b placementRow) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	query := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("q")))
	return part(r, rows, func(x *placementRow) bool { return contains(x.Namespace+"/"+x.Name, query) }), nil
}

// placementView is the page of a placement: its pipeline, each cluster's way through it, and what an edit would change.
type placementView struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Reasons   *overview.Reasons `json:"reasons"`
	Steps     []pipelineStep    `json:"steps"`
	// Map has the clusters by the step that removed them, for the page; Folded says that there are too many.
	Map      []fateGroup   `json:"-"`
	Folded   bool          `json:"-"`
	Clusters list[fateRow] `json:"clusters"`
	Spec     string        `json:"spec"`
	WhatIf   *whatIf       `json:"whatIf,omitempty"`
}

// Width of the picture, in its own units: a step more than usual makes all of them smaller.
func (v placementView) Width() int { return max(1080, len(v.Steps)*180) }

// fateRow is a cluster's way through a placement.
type fateRow struct {
	placement.Explained
}

// fateGroup are the clusters that one step removed, or those that are chosen.
type fateGroup struct {
	Name     string
	Clusters []fateDot
}

// fateDot is a cluster on the map, with what became of it.
type fateDot struct{ Name, Tone, Fate string }

// fateRoom is how many clusters the map shows one by one: each has its reason, and a page stays below 300 KB.
const fateRoom = 800

// pipelineStep is one step of a placement: how many clusters came to it, and how many it removed.
type pipelineStep struct {
	Name    string `json:"name"`
	In      int    `json:"in"`
	Removed int    `json:"removed"`
	Out     int    `json:"out"`
	// X, Width and Height are where the page draws it, in the picture's own units.
	X, Width, Height int `json:"-"`
}

// whatIf is the outcome of an edit that is tried on the page; nothing is saved.
type whatIf struct {
	Spec    string   `json:"spec"`
	Problem string   `json:"problem,omitempty"`
	Gained  []change `json:"gained,omitempty"`
	Lost    []change `json:"lost,omitempty"`
	Stay    int      `json:"stay"`
}

type change struct {
	Cluster string `json:"cluster"`
	Reason  string `json:"reason"`
}

func (s *Server) placement(ctx context.Context, _ *Person, r *http.Request) (any, error) {
	namespace, name := r.PathValue("namespace"), r.PathValue("name")
	world := &fleet.World{Time: s.Now()}
	if err := s.placements(ctx, world, namespace); err != nil {
		return nil, err
	}
	k := overview.Knowledge{World: world, Hub: overview.Hub{State: overview.HubRuns}}
	reasons, err := k.Placement(namespace+"/"+name, "")
	if err != nil {
		return nil, notFound("%s", err)
	}
	i := slices.IndexFunc(world.Placements, func(p clusterv1beta1.Placement) bool { return p.Namespace == namespace && p.Name == name })
	spec, err := yaml.Marshal(world.Placements[i].Spec)
	if err != nil {
		return nil, err
	}
	v := placementView{Namespace: namespace, Name: name, Reasons: reasons, Spec: string(spec)}
	v.Steps = pipeline(reasons.Decisions)
	if v.Folded = len(reasons.Decisions) > fateRoom; !v.Folded {
		v.Map = fates(reasons.Decisions)
	}
	order := make([]int, len(reasons.Decisions)) // the rows are large: they are put into order by number
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { // the chosen first, then those that came furthest
		a, b := &reasons.Decisions[i], &reasons.Decisions[j]
		return cmp.Or(cmp.Compare(chosenRank(a), chosenRank(b)), cmp.Compare(cmp.Or(a.Rank, 1<<30), cmp.Or(b.Rank, 1<<30)), cmp.Compare(a.Cluster, b.Cluster))
	})
	rows := make([]fateRow, 0, len(order))
	for _, i := range order {
		rows = append(rows, fateRow{reasons.Decisions[i]})
	}
	query := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("q")))
	v.Clusters = part(r, rows, func(x *fateRow) bool { return contains(x.Cluster, query) || contains(x.Reason, query) })
	if edited := r.URL.Query().Get("spec"); edited != "" {
		v.WhatIf = tried(world, i, edited, reasons.Decisions)
	}
	reasons.Decisions = nil // they are in Clusters, a page at a time
	return v, nil
}

func chosenRank(x *placement.Explained) int {
	if x.Chosen {
		return 0
	}
	return 1
}

// tried schedules an edited placement in the same world and compares.
func tried(world *fleet.World, i int, text string, now []placement.Explained) *whatIf {
	w := &whatIf{Spec: text}
	edited := world.Placements[i]
	edited.Spec = clusterv1beta1.PlacementSpec{}
	if err := yaml.UnmarshalStrict([]byte(text), &edited.Spec); err != nil {
		w.Problem = "the specification does not parse: " + strings.TrimPrefix(err.Error(), "error unmarshaling JSON: ")
		return w
	}
	edited.Generation++
	why := placement.NewIndex(world).Why(&edited)
	if why.Problem != "" {
		w.Problem = why.Problem
		return w
	}
	before := map[string]bool{}
	for _, d := range now {
		before[d.Cluster] = d.Chosen
	}
	after := map[string]bool{}
	for _, d := range why.Clusters {
		after[d.Cluster] = d.Chosen
		switch {
		case d.Chosen && !before[d.Cluster]:
			w.Gained = append(w.Gained, change{d.Cluster, d.Reason})
		case d.Chosen:
			w.Stay++
		case before[d.Cluster]:
			w.Lost = append(w.Lost, change{d.Cluster, d.Reason})
		}
	}
	for cluster, chosen := range before { // one that is not even looked at any more, as when its set is not named
		if _, known := after[cluster]; chosen && !known {
			w.Lost = append(w.Lost, change{cluster, "is in no cluster set that the placement selects"})
		}
	}
	slices.SortFunc(w.Lost, func(a, b change) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return w
}

// pipeline counts what each step of a placement removes, in the order of the steps.
func pipeline(decisions []placement.Explained) []pipelineStep {
	removed := map[string]int{}
	chosen := 0
	for i := range decisions {
		if decisions[i].Chosen {
			chosen++
			continue
		}
		removed[endOf(&decisions[i])]++
	}
	steps := []pipelineStep{}
	left := len(decisions)
	for _, name := range pipelineSteps {
		n := removed[name]
		if n == 0 && name != pipelineSteps[0] {
			continue
		}
		steps = append(steps, pipelineStep{Name: name, In: left, Removed: n, Out: left - n})
		left -= n
	}
	steps = append(steps, pipelineStep{Name: "chosen", In: chosen, Out: chosen})
	most := max(1, len(decisions))
	for i := range steps {
		steps[i].X = i * 180
		steps[i].Width = 140
		steps[i].Height = max(2, steps[i].In*100/most)
	}
	return steps
}

// fates puts clusters where the pipeline left them: each below the step that removed it, or among the chosen.
func fates(decisions []placement.Explained) []fateGroup {
	at := map[string][]fateDot{}
	for i := range decisions {
		d := &decisions[i]
		tone := "idle"
		if d.Chosen {
			tone = "good"
		}
		end := endOf(d)
		at[end] = append(at[end], fateDot{d.Cluster, tone, fmt.Sprintf("%s, %s: %s", d.Cluster, end, d.Reason)})
	}
	var groups []fateGroup
	for _, name := range append(slices.Clone(pipelineSteps), placement.StepChosen) {
		if len(at[name]) > 0 {
			groups = append(groups, fateGroup{name, at[name]})
		}
	}
	return groups
}

// endOf is where the pipeline ends for a cluster: the step that removes it, or that it is chosen. The decisions on the hub count, so that
// one may be missing there that no step removes.
func endOf(d *placement.Explained) string {
	switch {
	case d.Chosen:
		return placement.StepChosen
	case slices.Contains(pipelineSteps, d.Step):
		return d.Step
	}
	return stepDecisions
}

// stepDecisions are the decisions on the hub, which another scheduler may have written.
const stepDecisions = "Decisions"

// pipelineSteps are the steps that remove clusters, in their order.
var pipelineSteps = []string{placement.StepSets, placement.StepPredicates, placement.StepTaints, placement.StepScores, placement.StepSpread, stepDecisions}
