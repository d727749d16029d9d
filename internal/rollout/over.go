package rollout

import (
	"fmt"
	"time"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// Target is one of several placements that an owner goes to, with its strategy: a placementRef of a ManifestWorkReplicaSet, or a
// placement of an add-on.
type Target struct {
	Placement string
	Strategy  clusterv1alpha1.RolloutStrategy
	Groups    []Group
}

// Share is the part of an owner's rollout that goes over one placement.
type Share struct {
	Selection
	// Clusters are those of the placement that belong to this share, with their states.
	Clusters []Cluster
	// OtherPlacement are clusters that this placement chooses too, by the placement that they belong to.
	OtherPlacement map[string]string
}

// Over decides for each placement of an owner which of its clusters may change now. A cluster that more than one placement
// chooses has one work: it belongs to the first of them, and its strategy alone says when it changes.
func Over(targets []Target, now time.Time) ([]Share, error) {
	belongs := map[string]string{}
	shares := make([]Share, len(targets))
	for i, t := range targets {
		share := &shares[i]
		groups := make([]Group, len(t.Groups))
		for j, g := range t.Groups {
			groups[j] = Group{Name: g.Name, Index: g.Index}
			for _, c := range g.Clusters {
				if first, taken := belongs[c.Name]; taken {
					share.shareWith(c.Name, first)
					continue
				}
				belongs[c.Name] = t.Placement
				groups[j].Clusters = append(groups[j].Clusters, c)
				share.Clusters = append(share.Clusters, c)
			}
		}
		var err error
		if share.Selection, err = Select(musterv1alpha1.Rollout{RolloutStrategy: t.Strategy}, groups, now); err != nil {
			return nil, fmt.Errorf("rolloutStrategy of placement %s: %w", t.Placement, err)
		}
	}
	return shares, nil
}

func (s *Share) shareWith(cluster, placement string) {
	if s.OtherPlacement == nil {
		s.OtherPlacement = map[string]string{}
	}
	s.OtherPlacement[cluster] = placement
}

// StateOf reads the state of a cluster from what it reports of a work that is as it is wanted, by OCM's rules:
//
//	Applied  Progressing  Degraded  Available  state
//	absent                                     Progressing
//	False                                      Failed
//	True     True         True                 Failed
//	True     True         else                 Progressing
//	True     False                             Succeeded
//	True     absent                 True       Succeeded
//	True     absent                 else       Progressing
//
// A condition that is about an earlier generation counts as absent. OCM's hub waits for ever for a work that has no rule for
// Progressing; here it counts as done when its objects are there.
func StateOf(lw *fleet.LiveWork) (State, time.Time) {
	since := lw.Status.Since
	if lw.WrittenAt.After(since) {
		since = lw.WrittenAt
	}
	says := func(c fleet.Condition) bool { return c.IsCurrent() && c.IsTrue() }
	c := lw.Status.Conditions
	switch {
	case !c.Applied.IsCurrent():
		return Progressing, since
	case !c.Applied.IsTrue():
		return Failed, since
	case says(c.Progressing) && says(c.Degraded):
		return Failed, since
	case says(c.Progressing):
		return Progressing, since
	case c.Progressing.IsCurrent(), says(c.Available):
		return Succeeded, since
	}
	return Progressing, since
}
