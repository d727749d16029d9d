package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// applications compares what every application asks of every cluster.
func (c *comparer) applications() error {
	base, head := applicationsByKey(c.base), applicationsByKey(c.head)
	for _, key := range keysOfBoth(base, head, compare) {
		b, h := base[key], head[key]
		if head[c.head.Renames[key]] != nil {
			continue // it is told under its new name
		}
		if b == nil {
			b = before(c.head.Renames, key, base)
		}
		if h == nil && !c.gone(applicationKey(b)) {
			continue // it is named and cannot be used, or a file could not be read: the faults tell, and its works stay
		}
		d, err := c.application(b, h)
		if err != nil {
			return fmt.Errorf("compare application %s: %w", key, err)
		}
		if d.Edit != Changed || d.RenamedFrom != "" || len(d.Gained)+len(d.Lost)+len(d.Recovered)+len(d.Changes)+len(d.Fields) > 0 {
			c.out.Applications = append(c.out.Applications, d)
		}
		if err := c.hold(b, h); err != nil {
			return fmt.Errorf("what %s holds: %w", key, err)
		}
	}
	return nil
}

// before is what an application was called in the base, if the head renames it; of several names, the first.
func before(renames fleet.Renames, key string, base map[string]*Application) *Application {
	for _, old := range renames.FormerNames(key) {
		if base[old] != nil {
			return base[old]
		}
	}
	return nil
}

func applicationsByKey(p *Plan) map[string]*Application {
	byKey := make(map[string]*Application, len(p.Applications))
	for _, a := range p.Applications {
		byKey[a.Key()] = a
	}
	return byKey
}

func applicationKey(a *Application) fleet.ObjectKey {
	return fleet.ObjectKey{
		Group: musterv1alpha1.GroupVersion.Group, Kind: "Application",
		Namespace: a.Application.Namespace, Name: a.Application.Name,
	}
}

// application compares one; either side may be nil.
func (c *comparer) application(base, head *Application) (ApplicationDifference, error) {
	b, h := coverageOf(base), coverageOf(head)
	named := head
	d := ApplicationDifference{Edit: Changed, Before: b.count(), After: h.count()}
	switch {
	case base == nil:
		d.Edit = Added
	case head == nil:
		d.Edit, named = Removed, base
	case h.all:
		d.After = d.Before // it stays where it is
	}
	d.Application, d.File, d.Line = named.Key(), named.File, named.Line
	if base != nil && base.Key() != named.Key() {
		d.RenamedFrom = base.Key()
	}
	if head != nil && !fleet.HoldsSecrets(head.Sources) { // the hub's plan of those has another digest
		d.Digest = head.Digest
	}
	c.coverage(&d, base, head, b, h)
	if base == nil || head == nil {
		return d, nil
	}
	var err error
	if d.Fields, err = fieldsOf(policiesOf(base), policiesOf(head)); err != nil {
		return d, err
	}
	d.Changes, err = c.changes(base, head, b, h)
	return d, err
}

// policiesOf are the fields of an application that decide where it goes and how it leaves, and are not in its works.
func policiesOf(a *Application) any {
	spec := a.Application.Spec
	return map[string]any{
		"sources":    versionsOf(a.Sources),
		"placements": a.Application.PlacementNames(), "deletion": spec.Deletion, "deletionGuard": spec.DeletionGuard,
		"sync": map[string]any{"whenUnreachable": spec.Sync.WhenUnreachable},
	}
}

// versionsOf are, by where content comes from that is not in the repository, the versions that were found there.
func versionsOf(used []fleet.UsedSource) map[string]any {
	versions := map[string]any{}
	for _, u := range used {
		if u.Found == nil {
			continue
		}
		from := u.Reference.From()
		version := strings.TrimSpace(u.Found.Version + " " + fleet.ShortDigest(u.Found.Digest))
		if earlier, ok := versions[from].(string); ok && earlier != version {
			version = earlier + ", " + version
		}
		versions[from] = version
	}
	return versions
}

// coverage is where an application is planned, and where it could not be.
type coverage struct {
	planned map[string]*Cluster
	faulty  map[string]bool
	all     bool // nothing could be planned
}

func coverageOf(a *Application) coverage {
	v := coverage{planned: map[string]*Cluster{}, faulty: map[string]bool{}}
	if a == nil {
		return v
	}
	for i := range a.Clusters {
		v.planned[a.Clusters[i].Name] = &a.Clusters[i]
	}
	v.faulty, v.all = a.Faulty()
	delete(v.faulty, "")
	return v
}

func (v coverage) count() int {
	n := len(v.planned)
	for name := range v.faulty {
		if v.planned[name] == nil {
			n++
		}
	}
	return n
}

func (v coverage) stays(cluster string) bool { return v.all || v.faulty[cluster] }

// coverage fills in the clusters that an application gains, loses and recovers.
func (c *comparer) coverage(d *ApplicationDifference, base, head *Application, b, h coverage) {
	more, less := grouping{}, grouping{}
	for name := range h.planned {
		switch {
		case b.planned[name] != nil:
		case b.stays(name):
			d.Recovered = append(d.Recovered, name)
		default:
			more.add(name, c.why(1, head, name), c.why(0, base, name))
		}
	}
	for name := range b.planned {
		if h.planned[name] == nil && !h.stays(name) {
			less.add(name, c.why(1, head, name), "")
		}
	}
	for name := range b.faulty {
		if b.planned[name] == nil && h.planned[name] == nil && !h.stays(name) {
			less.add(name, c.why(1, head, name), "it could not be planned")
		}
	}
	slices.Sort(d.Recovered)
	d.Gained, d.Lost = more.groups(), less.groups()
}

// why an application is on a cluster or not, on one side.
func (c *comparer) why(side int, a *Application, cluster string) string {
	if a == nil && side == 1 {
		return "the application is removed"
	}
	if a == nil {
		return ""
	}
	names := a.Application.PlacementNames()
	if len(names) == 1 {
		if reason := c.explain[side].reason(a.Application.Namespace+"/"+names[0], cluster); reason != "" {
			return reason
		}
	}
	for _, d := range a.Decisions { // of several placements, or of one that only the hub has
		if d.Cluster == cluster {
			return d.Reason
		}
	}
	return "not among the clusters of placement " + a.Application.Namespace + "/" + strings.Join(names, ", ")
}

// changes are what the clusters get that have the application on both sides, grouped by what they get.
func (c *comparer) changes(base, head *Application, b, h coverage) ([]ChangeGroup, error) {
	seen := map[pair]*change{}
	groups := map[string]*ChangeGroup{}
	for _, to := range head.Clusters { // sorted by name
		from := b.planned[to.Name]
		if from == nil {
			continue
		}
		p := pairOf(*from, to, head.wantedBy[to.Name])
		if p.same() {
			continue
		}
		made, ok := seen[p]
		if !ok {
			var err error
			if made, err = c.change(base, *from, head, to); err != nil {
				return nil, err
			}
			seen[p] = made
		}
		if len(made.objects)+len(made.delivery) == 0 {
			continue // nothing but its name
		}
		g := groups[made.key]
		if g == nil {
			g = &ChangeGroup{Objects: slices.Clone(made.objects), Delivery: made.delivery, Overrides: to.Overrides}
			groups[made.key] = g
		}
		g.blur(made.objects)
		g.Clusters = append(g.Clusters, to.Name)
		g.Overrides = common(g.Overrides, to.Overrides)
	}
	list := make([]ChangeGroup, 0, len(groups))
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		g.Label = labelOf(c.head.World, g.Clusters, head.Clusters)
		list = append(list, *g)
	}
	slices.SortStableFunc(list, func(a, b ChangeGroup) int {
		if n := len(b.Clusters) - len(a.Clusters); n != 0 {
			return n
		}
		return compare(a.Clusters[0], b.Clusters[0])
	})
	return list, nil
}

// common is what both lists have, in the order of the first.
func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// labelOf is the first label that exactly the clusters of a group have among all clusters of the application.
func labelOf(w *fleet.World, group []string, all []Cluster) string {
	if len(group) == len(all) {
		return "" // all of them
	}
	first := cluster(w, group[0])
	if first == nil {
		return ""
	}
	keys := slices.SortedFunc(maps.Keys(first.Labels), func(a, b string) int {
		return cmp.Or(compare(a[:strings.Index(a, "/")+1], b[:strings.Index(b, "/")+1]), compare(a, b)) // people's own labels first
	})
	for _, key := range keys {
		value := first.Labels[key]
		if value != "" && selectsExactly(w, key, value, group, all) {
			return key + "=" + value
		}
	}
	return ""
}

func selectsExactly(w *fleet.World, key, value string, group []string, all []Cluster) bool {
	next := 0
	for _, c := range all {
		in := next < len(group) && group[next] == c.Name
		if in {
			next++
		}
		m := cluster(w, c.Name)
		if has := m != nil && m.Labels[key] == value; has != in {
			return false
		}
	}
	return true
}

// pair says what two clusters have in common when the change between base and head is the same.
type pair struct {
	base, head, driftBase, driftHead string
	values                           *kept  // whose layers are named
	handovers                        string // objects that other applications gain
}

func pairOf(b, h Cluster, wantedBy map[fleet.ObjectKey]fleet.Owner) pair {
	handovers := make([]string, 0, len(wantedBy))
	for o, gainer := range wantedBy {
		handovers = append(handovers, o.String()+" "+gainer.String())
	}
	slices.Sort(handovers)
	return pair{
		handovers: strings.Join(handovers, "\n"),
		base:      b.SetDigest, head: h.SetDigest,
		driftBase: string(b.Options.Drift), driftHead: string(h.Options.Drift),
		values: h.content,
	}
}

func (p pair) same() bool { return p.base == p.head && p.driftBase == p.driftHead }

// change is what one cluster gets, and whatever other gets the same.
type change struct {
	key      string
	objects  []ObjectChange
	delivery []work.FieldChange
}
