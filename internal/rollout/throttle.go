package rollout

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/muster-io/muster/internal/fleet"
)

// noteWritten notes when a cluster changed in the rollout that goes on.
func (d *decider) noteWritten(cluster string, works []*fleet.LiveWork) {
	if !d.begun(works) {
		return
	}
	for _, lw := range works {
		if lw.WrittenAt.After(d.written[cluster]) {
			d.written[cluster] = lw.WrittenAt
		}
	}
}

// throttle takes clusters out of a selection that would begin sooner than the rate limit allows. The wait between two clusters is 0.5 to
// 1.5 times the interval of the rate. The factor comes from the names of the cluster and the plan, so that every hub decides the same.
// Never more clusters than the limit begin within a minute. Clusters that do not answer do not count: they pull no images.
func (d *decider) throttle(s *Selection) {
	limit := d.in.Strategy.RateLimit
	if limit == nil || limit.ClustersPerMinute < 1 || d.in.Returning {
		return
	}
	last, recent := time.Time{}, []time.Time(nil)
	for _, at := range d.written {
		if at.After(last) {
			last = at
		}
		if d.in.Now.Sub(at) < time.Minute {
			recent = append(recent, at)
		}
	}
	slices.SortFunc(recent, time.Time.Compare)
	interval := time.Minute / time.Duration(limit.ClustersPerMinute)
	next := last
	for i, name := range s.Selected {
		if d.in.Unreachable[name] {
			continue
		}
		if !next.IsZero() {
			next = next.Add(interval/2 + time.Duration(jitter(name, d.in.PlanDigest)*float64(interval)))
		}
		if n := len(recent) - int(limit.ClustersPerMinute); n >= 0 && recent[n].Add(time.Minute).After(next) {
			next = recent[n].Add(time.Minute)
		}
		if next.After(d.in.Now) {
			s.lookAt(next)
			s.keepBack(i, d.in.Unreachable)
			return
		}
		if next.IsZero() {
			next = d.in.Now
		}
		recent = append(recent, d.in.Now)
	}
}

// keepBack takes the selected clusters from one on back, but for those that do not answer.
func (s *Selection) keepBack(from int, unreachable map[string]bool) {
	var kept []string
	for i, name := range s.Selected {
		if i < from || unreachable[name] {
			kept = append(kept, name)
		}
	}
	s.Waiting += len(s.Selected) - len(kept)
	s.Selected, s.Paced = kept, true
}

func (s *Selection) lookAt(t time.Time) {
	if s.NextLook.IsZero() || t.Before(s.NextLook) {
		s.NextLook = t
	}
}

// jitter is a number from 0 to 1 that depends on a cluster and a plan only.
func jitter(cluster, plan string) float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(cluster + "/" + plan)) // never fails
	return float64(h.Sum32()) / float64(1<<32)
}
