package rollout

import (
	"fmt"
	"slices"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// swap is what the scheduler has exchanged: clusters that the owner is still on, and the ones that were chosen in their place.
//
// A cluster is replaced when the scheduler prefers others, and the placement has as many clusters as the owner was settled on. Where
// it has fewer, somebody wants fewer: that is a loss. So is a cluster that a definition, a label, a claim or another scheduler
// excludes. A cluster against which there is only the hub's own taint, since it did not answer, is never lost.
type swap struct {
	// replaced clusters, sorted. They are not lost.
	replaced []string
	// removable are those that may be removed now, so that the owner stays healthy on as many clusters as the placement wants.
	removable map[string]bool
	// healthy clusters of the chosen ones.
	healthy, chosen int
}

// swapped is the swap of this step. Only changes that lose something need it.
func (d *decider) swapped() *swap {
	if d.exchange != nil {
		return d.exchange
	}
	s := &swap{removable: map[string]bool{}}
	d.exchange = s
	live := map[string][]*fleet.LiveWork{}
	for i := range d.in.Live {
		live[d.in.Live[i].Cluster] = append(live[d.in.Live[i].Cluster], &d.in.Live[i])
	}
	pending := d.pending()
	serving := map[string]bool{} // replaced clusters on which the owner is healthy
	for name, decision := range d.in.Decisions {
		healthy := !d.in.Faulty[name] && !d.in.Unreachable[name] && d.isHealthy(live[name])
		switch {
		case decision.Chosen:
			s.chosen++
			if healthy && !pending[name] {
				s.healthy++
			}
		case (decision.Outranked() || decision.Unreachable) && d.leaves(name, live[name]):
			s.replaced = append(s.replaced, name)
			if healthy {
				serving[name] = true
			}
		}
	}
	if d.in.Settled == 0 || s.chosen < d.in.Settled {
		s.replaced = slices.DeleteFunc(s.replaced, func(name string) bool { return d.in.Decisions[name].Outranked() })
	}
	slices.Sort(s.replaced)
	if s.chosen < d.in.Settled {
		return s // nothing was chosen in the place of those that did not answer
	}
	s.allow(serving)
	return s
}

// allow chooses which of the replaced clusters may be removed; serving are those of them on which the owner is healthy.
func (s *swap) allow(serving map[string]bool) {
	spare := s.healthy + len(serving) - s.chosen
	for _, name := range s.replaced {
		switch {
		case !serving[name]:
			s.removable[name] = s.healthy == s.chosen
		case spare > 0:
			s.removable[name] = true
			spare--
		}
	}
}

// pending are the clusters whose works are about to change.
func (d *decider) pending() map[string]bool {
	pending := map[string]bool{}
	for i := range d.changes {
		pending[d.changes[i].Cluster] = pending[d.changes[i].Cluster] || d.changes[i].Action != work.Keep
	}
	return pending
}

// leaves is true when the plan has no works for a cluster that has some.
func (d *decider) leaves(cluster string, live []*fleet.LiveWork) bool {
	wanted, changes := d.wantedOn[cluster]
	return len(live) > 0 && !wanted && (changes || live[0].Deleting)
}

// isHealthy is true when a cluster reports that all works are applied and healthy.
func (d *decider) isHealthy(works []*fleet.LiveWork) bool {
	return !slices.ContainsFunc(works, func(lw *fleet.LiveWork) bool {
		return lw.Deleting || !lw.Status.Observed || !lw.Status.Applied || lw.Status.Health != fleet.HealthHealthy
	})
}

// isReplaced is true for a cluster that a swap removes.
func (d *decider) isReplaced(cluster string) bool {
	_, found := slices.BinarySearch(d.swapped().replaced, cluster)
	return found
}

// replacementHealthy holds the removal from a cluster that the scheduler has replaced until its replacement is healthy.
func (d *decider) replacementHealthy(c *change) objection {
	if c.Action != work.Delete || d.wantedOn[c.Cluster] || !d.isReplaced(c.Cluster) || d.swapped().removable[c.Cluster] {
		return objection{}
	}
	s := d.swapped()
	return objection{Reason: ReplacementPending, Message: fmt.Sprintf(
		"%s is swapped: the placement chose another cluster in its place. Its works stay until the replacement is healthy: %d of %d chosen clusters are",
		c.Cluster, s.healthy, s.chosen)}
}

// settled is how many clusters the owner is settled on after a step: no fewer than it was as long as something is left to do, or a
// cluster keeps its works because it does not answer.
func (d *decider) settled(s *Step) int {
	chosen, delivered, kept := 0, 0, false
	has := map[string]bool{}
	for i := range d.in.Live {
		has[d.in.Live[i].Cluster] = true
	}
	for name, decision := range d.in.Decisions {
		if decision.Chosen {
			chosen++
		}
		if decision.Chosen && has[name] {
			delivered++
		}
		kept = kept || !decision.Chosen && has[name]
	}
	if !kept && d.in.Complete && len(s.Now)+len(s.Held) == 0 {
		return chosen
	}
	return max(d.in.Settled, delivered)
}
