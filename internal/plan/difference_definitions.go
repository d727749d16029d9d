package plan

import (
	"encoding/json"
	"fmt"
	"slices"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// definitions compares all kinds but placements and applications, which have sections of their own.
func (c *comparer) definitions() error {
	base, head := definitionsByKey(c.base), definitionsByKey(c.head)
	for _, key := range keysOfBoth(base, head, compareKeys) {
		b, h := base[key], head[key]
		d := DefinitionDifference{Object: key, Edit: Changed}
		switch {
		case b == nil:
			d.Edit, d.File, d.Line = Added, h.File, h.Line
		case h == nil && !c.gone(key):
			continue // it is named and cannot be used, or a file could not be read: the faults tell
		case h == nil:
			d.Edit, d.File, d.Line = Removed, b.File, b.Line
			c.release(key)
			c.holdAddOn(key)
		default:
			d.File, d.Line = h.File, h.Line
			var err error
			if d.Fields, err = fieldsOf(b.Source.Object, h.Source.Object); err != nil {
				return fmt.Errorf("compare %s: %w", key, err)
			}
			if d.Fields = append(d.Fields, c.contentChanged(key)...); len(d.Fields) == 0 {
				continue
			}
		}
		c.out.Definitions = append(c.out.Definitions, d)
	}
	return nil
}

// release notes what a commit never removes.
func (c *comparer) release(key fleet.ObjectKey) {
	hold := Hold{Definition: key.String(), Reason: Released}
	switch key.Kind {
	case "ManagedCluster":
		hold.Message = fmt.Sprintf("the cluster stays, and so does what runs on it: muster detach %s --keep-workloads|--clean", key.Name)
	case "Namespace":
		hold.Message = "the namespace stays on the hub; delete it there when nothing needs it"
	default:
		return
	}
	c.out.Held = append(c.out.Held, hold)
}

// addOnKind is the kind of add-ons as a repository defines them.
const addOnKind = "ClusterManagementAddOn"

// holdAddOn: an add-on that leaves the repository while clusters have it is kept until that is approved.
func (c *comparer) holdAddOn(key fleet.ObjectKey) {
	if key.Kind != addOnKind {
		return
	}
	var on []string
	for _, lw := range c.head.World.Works {
		if lw.Owner.IsAddon() && lw.Owner.Name == key.Name && !slices.Contains(on, lw.Cluster) {
			on = append(on, lw.Cluster)
		}
	}
	if len(on) == 0 {
		return
	}
	slices.Sort(on)
	c.out.Held = append(c.out.Held, Hold{
		Definition: key.String(), Reason: rollout.ApprovalNeeded, Clusters: on, Deletions: 1, Plan: c.head.Digest,
		Message: fmt.Sprintf("add-on %s leaves the repository and %d clusters have it: approve with muster approve --plan %s", key.Name, len(on), fleet.ShortRevision(c.head.Digest)),
	})
}

func definitionsByKey(p *Plan) map[fleet.ObjectKey]*fleet.Definition {
	byKey := map[fleet.ObjectKey]*fleet.Definition{}
	for i := range p.Definitions.All {
		d := &p.Definitions.All[i]
		if d.Key.Kind != "Placement" && d.Key.Kind != "Application" {
			byKey[d.Key.Identity()] = d
		}
	}
	return byKey
}

// placements compares what they say and what they select.
func (c *comparer) placements() error {
	base, head := placementsByKey(c.base), placementsByKey(c.head)
	for _, key := range keysOfBoth(base, head, compare) {
		b, h := base[key], head[key]
		d := PlacementDifference{Placement: key, Edit: Changed}
		var err error
		switch {
		case b == nil:
			d.Edit, d.File, d.Line, d.After = Added, h.File, h.Line, len(h.Result.Chosen)
		case h == nil && !c.gone(placementKey(b.Placement)):
			continue
		case h == nil:
			d.Edit, d.File, d.Line, d.Before = Removed, b.File, b.Line, len(b.Result.Chosen)
		default:
			d.File, d.Line, d.Before, d.After = h.File, h.Line, len(b.Result.Chosen), len(h.Result.Chosen)
			d.Fields, err = fieldsOf(b.Placement.Spec, h.Placement.Spec)
		}
		if err != nil {
			return fmt.Errorf("compare placement %s: %w", key, err)
		}
		d.Gained, d.Lost = c.placed(key, chosenBy(b), chosenBy(h))
		if h != nil {
			_, d.Problem = h.Result.Problem()
		}
		if d.Edit != Changed || len(d.Fields)+len(d.Gained)+len(d.Lost) > 0 {
			c.out.Placements = append(c.out.Placements, d)
		}
	}
	return nil
}

func placementsByKey(p *Plan) map[string]*Placement {
	byKey := map[string]*Placement{}
	for i := range p.Placements {
		pl := &p.Placements[i]
		byKey[pl.Placement.Namespace+"/"+pl.Placement.Name] = pl
	}
	return byKey
}

func placementKey(p *clusterv1beta1.Placement) fleet.ObjectKey {
	return fleet.ObjectKey{Group: clusterv1beta1.GroupVersion.Group, Kind: "Placement", Namespace: p.Namespace, Name: p.Name}
}

func chosenBy(p *Placement) []string {
	if p == nil {
		return nil
	}
	return p.Result.Chosen
}

// placed groups the clusters that a placement gains and loses by the reasons.
func (c *comparer) placed(key string, base, head []string) (gained, lost []ClusterGroup) {
	more, less := grouping{}, grouping{}
	for _, name := range head {
		if _, ok := slices.BinarySearch(base, name); !ok {
			more.add(name, c.explain[1].reason(key, name), c.explain[0].reason(key, name))
		}
	}
	for _, name := range base {
		if _, ok := slices.BinarySearch(head, name); !ok {
			less.add(name, c.explain[1].reason(key, name), "")
		}
	}
	return more.groups(), less.groups()
}

// explainer tells why a placement of a plan chose a cluster or not.
type explainer struct {
	plan       *Plan
	placements map[string]*Placement
	reasons    map[string]map[string]string // by placement and cluster
	index      *placement.Index             // made when a cluster is asked for that no decision names
}

func newExplainer(p *Plan) *explainer {
	return &explainer{plan: p, placements: placementsByKey(p), reasons: map[string]map[string]string{}}
}

func (e *explainer) reason(key, cluster string) string {
	p := e.placements[key]
	if p == nil {
		return ""
	}
	known, ok := e.reasons[key]
	if !ok {
		known = reasonsOf(p.Result.Decisions)
		e.reasons[key] = known
	}
	if reason, ok := known[cluster]; ok {
		return reason
	}
	if e.index == nil {
		e.index = placement.NewIndex(e.plan.World)
	}
	return e.index.Explain(p.Placement, &p.Result, cluster).Reason
}

func reasonsOf(decisions []fleet.Decision) map[string]string {
	reasons := make(map[string]string, len(decisions))
	for _, d := range decisions {
		reasons[d.Cluster] = d.Reason
	}
	return reasons
}

// fieldsOf are the fields in which two values differ as JSON.
func fieldsOf(base, head any) ([]work.FieldChange, error) {
	before, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	return work.Changed(before, after)
}

// keysOfBoth are the keys of two maps, each once, sorted.
func keysOfBoth[K comparable, V any](a, b map[K]V, order func(a, b K) int) []K {
	keys := make([]K, 0, len(a))
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, order)
	return keys
}
