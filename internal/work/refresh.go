package work

import (
	"slices"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// Refresh compares the works of one cluster again with what its changes want, once the works have changed. It is false when
// something else has become of a work than what its change was to do: then what the changes want may be outdated too.
func (c Changes) Refresh(live []fleet.LiveWork) (Changes, bool) {
	before := make(map[string]*Change, len(c))
	wanted := c[:0:0]
	for i := range c {
		before[c[i].Name] = &c[i]
		if c[i].Wanted != nil {
			wanted = append(wanted, c[i])
		}
	}
	now := Diff(live, wanted.works())
	for i := range now {
		if was := before[now[i].Name]; now[i].Action != Keep && (was == nil || !was.leadsTo(&now[i])) {
			return nil, false
		}
	}
	return now, true
}

func (c Changes) works() []*workv1.ManifestWork {
	works := make([]*workv1.ManifestWork, len(c))
	for i := range c {
		works[i] = c[i].Wanted
	}
	return works
}

// leadsTo is true when nothing has become of the work of a change, or a step of the change.
func (c *Change) leadsTo(now *Change) bool {
	switch {
	case now.Live == nil:
		return c.Live == nil || c.Live.Deleting
	case c.Live == nil || c.Live.UID != now.Live.UID:
		return false
	case c.Action == Delete && (now.Live.Deleting || now.Live.Orphan || len(now.Live.Kept) > len(c.Live.Kept)):
		return true
	}
	return sameSpec(c.Live, now.Live)
}

// sameSpec is true when two states of a work differ in nothing but what its cluster reports.
func sameSpec(a, b *fleet.LiveWork) bool {
	return a.UID == b.UID && a.Generation == b.Generation && a.Deleting == b.Deleting && a.Owner == b.Owner &&
		a.OwnerDigest == b.OwnerDigest && a.SpecDigest == b.SpecDigest && a.MetaDigest == b.MetaDigest
}

// Pending is true when a change is left to make on the cluster, or a deletion to end.
func (c Changes) Pending() bool {
	return slices.ContainsFunc(c, func(c Change) bool { return c.Action != Keep || c.Wanted == nil })
}
