package rollout

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// swap is what the scheduler has exchanged: clusters that the owner is still on, and the ones that were chosen in their place.
//
//	the cluster is not chosen, since       it is
//	it has only the hub's own taint        replaced
//	others rank before it                  replaced, if the grounds of the choice are those that the owner was settled on, or it was
//	                                       not chosen any more before they changed; else lost: somebody has changed the choice
//	anything else                          lost: a definition, a label, a claim, a taint or another scheduler excludes it
//
// A cluster that did not answer when somebody changed the choice is lost too, if that asks for fewer clusters, see settled. And so are
// clusters that a spread constraint has no place for, when the placement has fewer than it had and all clusters answer.
//
// A replaced cluster is never lost. It is removed when the owner is healthy on as many clusters as the placement wants without
// it, at the pace of the rollout strategy. What holds data there stays on the cluster, see leave.
type swap struct {
	// replaced clusters, sorted.
	replaced []string
	// removable are those that may be removed now.
	removable map[string]bool
	// healthy clusters of the chosen ones. Those that the rollout still watches are not among them.
	healthy, chosen int
	// pace is how many clusters the owner may be leaving at a time.
	pace int
	// fewer is true when the placement has fewer clusters than the owner was settled on, without anybody having asked for it.
	fewer bool
	// back are chosen clusters that have just come back, sorted, and backUntil is when the first of them counts by what it reports.
	back      []string
	backUntil time.Time
}

// swapped is the swap of this step. Only changes that lose something need it.
func (d *decider) swapped() *swap {
	if d.exchange != nil {
		return d.exchange
	}
	s := &swap{removable: map[string]bool{}}
	d.exchange = s
	live := d.liveByCluster()
	pending := d.pending()
	pace, watched := d.pace(pending)
	s.pace = pace
	serving, leaving := map[string]bool{}, 0 // replaced clusters on which the owner is healthy; how many it is leaving
	for name, decision := range d.in.Decisions {
		back := d.backUntil(name)
		healthy := !d.in.Faulty[name] && !d.in.Unreachable[name] && back.IsZero() && d.isHealthy(name, live[name])
		switch {
		case decision.Chosen:
			s.chosen++
			s.noteBack(name, back)
			if healthy && !pending[name] && !watched[name] {
				s.healthy++
			}
		case d.exchanged(name) && d.leaves(name, live[name]):
			s.replaced = append(s.replaced, name)
			serving[name] = healthy
		}
	}
	for name, works := range live { // one that does not answer blocks nobody
		if !d.in.Unreachable[name] && !slices.ContainsFunc(works, func(lw *fleet.LiveWork) bool { return !lw.Deleting }) {
			leaving++
		}
	}
	slices.Sort(s.replaced)
	slices.Sort(s.back)
	s.fewer = d.fewer()
	if d.in.Grounds != "" && !s.fewer {
		s.allow(serving, s.pace-leaving)
	}
	return s
}

// noteBack notes a chosen cluster that has come back; the zero time is one that has not.
func (s *swap) noteBack(name string, until time.Time) {
	if until.IsZero() {
		return
	}
	s.back = append(s.back, name)
	if s.backUntil.IsZero() || until.Before(s.backUntil) {
		s.backUntil = until
	}
}

// allow chooses which of the replaced clusters may be removed; serving are those of them on which the owner is healthy.
func (s *swap) allow(serving map[string]bool, places int) {
	spare := s.healthy - s.chosen
	for _, serves := range serving {
		if serves {
			spare++
		}
	}
	for _, name := range s.replaced {
		switch {
		case places <= 0:
			return
		case !serving[name] && s.healthy < s.chosen, serving[name] && spare <= 0:
			continue
		case serving[name]:
			spare--
		}
		s.removable[name] = true
		places--
	}
}

// pace is how many clusters the rollout strategy lets change at a time, and the clusters that it still watches. It is none while the
// rollout is stopped, or returns.
func (d *decider) pace(pending map[string]bool) (pace int, watched map[string]bool) {
	if d.in.Strategy == nil {
		return math.MaxInt, nil
	}
	groups, err := d.groups(pending)
	if err != nil {
		return 0, nil
	}
	selection, err := Select(*d.in.Strategy, groups, d.in.Now)
	if err != nil || selection.Stopped || d.in.Returning {
		return 0, nil
	}
	watched = map[string]bool{}
	for _, name := range selection.InFlight {
		watched[name] = true
	}
	pace = math.MaxInt
	switch d.in.Strategy.Type {
	case clusterv1alpha1.Progressive:
		all := len(clustersOf(groups))
		if p := d.in.Strategy.Progressive; p != nil && all > 0 {
			pace, err = share("maxConcurrency", p.MaxConcurrency, all, all)
		}
	case clusterv1alpha1.ProgressivePerGroup:
		for _, g := range groups {
			pace = min(pace, len(g.Clusters))
		}
	}
	if err != nil {
		return 0, nil
	}
	return pace, watched
}

// sameGrounds is true when nobody has changed the choice since the owner was settled on it.
func (d *decider) sameGrounds() bool {
	settled, known := d.settledOn()
	return known && d.in.Grounds != "" && settled.Grounds == d.in.Grounds
}

// settledOn is what the owner was settled on last. Where that was never noted, as by an older hub, it is the present choice, if the
// owner is on no more clusters than were chosen and nothing waits for an approval: else nobody knows what somebody has asked for.
func (d *decider) settledOn() (settled musterv1alpha1.Settled, known bool) {
	if d.was == nil {
		d.was = &settledBefore{}
		d.was.Settled, d.was.known = d.readSettled()
	}
	return d.was.Settled, d.was.known
}

// settledBefore is what settledOn has found.
type settledBefore struct {
	musterv1alpha1.Settled
	known bool
}

func (d *decider) readSettled() (settled musterv1alpha1.Settled, known bool) {
	if d.in.Settled != nil {
		return *d.in.Settled, true
	}
	on, chosen := 0, 0
	for name := range d.liveByCluster() {
		if !d.in.Decisions[name].Unreachable {
			on++
		}
	}
	for _, decision := range d.in.Decisions {
		if decision.Chosen {
			chosen++
		}
	}
	if d.in.Grounds == "" || d.in.GuardHolds || on > chosen {
		return musterv1alpha1.Settled{}, false
	}
	return musterv1alpha1.Settled{Grounds: d.in.Grounds, Clusters: int32(on)}, true
}

// filled is how many places the placements have filled.
func (d *decider) filled() int32 {
	chosen, _ := d.chosenAndLeft()
	return max(chosen, int32(d.in.Filled))
}

// fewer is true when the placement has fewer clusters than the owner was settled on, and nobody has changed the choice. If somebody
// has, the owner is to be settled on that first.
func (d *decider) fewer() bool {
	settled, _ := d.settledOn()
	if !d.sameGrounds() {
		return len(settled.Unreplaced) > 0
	}
	return d.filled() < settled.Clusters
}

// away is true for a cluster that does not answer, or that the scheduler may not have looked at since it does again.
func (d *decider) away(name string) bool {
	since := d.in.AvailableSince[name]
	return d.in.Unreachable[name] || d.in.Decisions[name].Unreachable || !since.IsZero() && d.in.Now.Before(since.Add(backGrace))
}

// shrunk is true when the placement has fewer clusters than the owner was settled on, and all that it has left answer.
func (d *decider) shrunk() bool {
	_, leftover := d.chosenAndLeft()
	if d.count.shrunk == nil {
		d.count.shrunk = new(d.sameGrounds() && d.fewer() && !d.in.Unheard && !slices.ContainsFunc(leftover, d.away))
	}
	return *d.count.shrunk
}

// exchanged is true for a cluster that the scheduler has taken off the choice, for reasons of its own.
func (d *decider) exchanged(name string) bool {
	settled, known := d.settledOn()
	decision := d.in.Decisions[name]
	switch {
	case slices.Contains(settled.Dropped, name):
		return false
	case decision.Unreachable, decision.Outranked() && (slices.Contains(settled.Replaced, name) || slices.Contains(settled.Unreplaced, name)):
		return !(decision.Step == "Spread" && d.shrunk())
	case d.in.Grounds == "" && (known || !d.in.GuardHolds): // the scheduler is about to say
		return decision.Outranked()
	}
	return decision.Outranked() && d.sameGrounds() && !(decision.Step == "Spread" && d.shrunk())
}

func (d *decider) liveByCluster() map[string][]*fleet.LiveWork {
	if d.live == nil {
		d.live = map[string][]*fleet.LiveWork{}
		for i := range d.in.Live {
			d.live[d.in.Live[i].Cluster] = append(d.live[d.in.Live[i].Cluster], &d.in.Live[i])
		}
	}
	return d.live
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

// isHealthy is true when a cluster has works, or is to have none, and reports that all of them are applied and healthy.
func (d *decider) isHealthy(cluster string, works []*fleet.LiveWork) bool {
	return (len(works) > 0 || d.in.Emptied[cluster]) && !slices.ContainsFunc(works, func(lw *fleet.LiveWork) bool {
		return lw.Deleting || !lw.Status.Observed || !lw.Status.Applied || lw.Status.Health != fleet.HealthHealthy
	})
}

// isReplaced is true for a cluster that a swap removes.
func (d *decider) isReplaced(cluster string) bool {
	_, found := slices.BinarySearch(d.swapped().replaced, cluster)
	return found
}

// backGrace is how long a cluster that has come back keeps its works: the scheduler may choose it again.
const backGrace = 10 * time.Second

// reportGrace is how long a cluster that has come back does not count as healthy. An agent renews its lease before it looks at its
// objects, so that its last report is older than its silence.
const reportGrace = 30 * time.Second

// backUntil is until when a cluster has just come back; the zero time when it has not.
func (d *decider) backUntil(name string) time.Time {
	since := d.in.AvailableSince[name]
	if until := since.Add(reportGrace); !since.IsZero() && d.in.Now.Before(until) {
		return until
	}
	return time.Time{}
}

// unheardLook is when to look again whether the hub hears its clusters.
const unheardLook = 5 * time.Second

// replacementHealthy holds the removal from a cluster that the scheduler has replaced until its replacement is healthy.
func (d *decider) replacementHealthy(c *change) objection {
	if c.Action != work.Delete || d.wantedOn[c.Cluster] || !d.isReplaced(c.Cluster) {
		return objection{}
	}
	if since := d.in.AvailableSince[c.Cluster]; !since.IsZero() && d.in.Now.Before(since.Add(backGrace)) {
		return objection{Reason: ReplacementPending, Until: since.Add(backGrace),
			Message: c.Cluster + " is swapped: the placement chose another cluster in its place. It has just come back, and its works stay until the scheduler has looked at it"}
	}
	if d.in.Unheard {
		return objection{Reason: ReplacementPending, Until: d.in.Now.Add(unheardLook),
			Message: c.Cluster + " is swapped: the placement chose another cluster in its place. Its works stay until the hub has heard the clusters again"}
	}
	s := d.swapped()
	if s.removable[c.Cluster] {
		return objection{}
	}
	message := fmt.Sprintf("the placement chose another cluster in its place. Its works stay until the replacement is healthy: %d of %d chosen clusters are",
		s.healthy, s.chosen)
	settled, _ := d.settledOn()
	switch {
	case d.in.Grounds == "":
		message = "the placement chose others. Its works stay until the scheduler has said why"
	case s.fewer:
		message = fmt.Sprintf("the placement chose others. Its works stay until there is one in its place: the placement has %d clusters, and had %d", s.chosen, settled.Clusters)
	case len(s.back) > 0 && s.pace > 0:
		message = "the placement chose another cluster in its place. Its works stay until there are new reports of clusters that have just come back: " + strings.Join(s.back, ", ")
	case s.pace == 0:
		message = "the placement chose another cluster in its place. Its works stay until the rollout goes on"
	case s.healthy == s.chosen:
		message = fmt.Sprintf("the placement chose another cluster in its place, which is healthy. Its works are removed at the pace of the rollout, %d clusters at a time", s.pace)
	}
	until := s.backUntil
	if d.in.Grounds != "" && !d.sameGrounds() {
		until = d.in.Now.Add(unheardLook) // the owner is settled on the new choice by then
	}
	return objection{Reason: ReplacementPending, Message: c.Cluster + " is swapped: " + message, Until: until}
}

// leave is what a change leaves on a cluster that the scheduler has replaced: objects that hold data. Nobody has asked for their
// end, and the cluster may be chosen again.
func (d *decider) leave(c *change) []fleet.ObjectKey {
	if c.Action != work.Delete || d.in.Deletion == musterv1alpha1.DeletionOrphan || d.wantedOn[c.Cluster] || !d.isReplaced(c.Cluster) {
		return nil
	}
	return d.protected(c)
}

// left are the objects that the owner has left on clusters, those of this step included. On a cluster that is chosen again, the owner
// has them again.
func (d *decider) left(now []change) []musterv1alpha1.LeftObjects {
	var left []musterv1alpha1.LeftObjects
	onCluster := map[string]bool{}
	for _, lw := range d.in.Live {
		onCluster[lw.Cluster] = onCluster[lw.Cluster] || !lw.Deleting
	}
	for _, l := range d.in.Left {
		if !d.in.Decisions[l.Cluster].Chosen || !onCluster[l.Cluster] {
			left = append(left, l)
		}
	}
	for i := range now {
		if objects := d.leftBy(&now[i]); len(objects) > 0 {
			left = addLeft(left, now[i].Cluster, objects, metav1.NewTime(d.in.Now))
		}
	}
	return left[max(0, len(left)-maxLeft):]
}

// leftBy are the objects that hold data and that a change leaves on a cluster which the scheduler has replaced. A namespace that the
// work leaves anyhow is that of createNamespace, which others may use.
func (d *decider) leftBy(c *change) []fleet.ObjectKey {
	switch {
	case c.Action == work.Orphan:
		return c.Leave
	case c.Action != work.Delete || c.Live.Orphan || !d.isReplaced(c.Cluster):
		return nil
	}
	var objects []fleet.ObjectKey
	for _, key := range c.dropped {
		if isProtected(key) && key.Kind != "Namespace" && isKept(c.Live, key) {
			objects = append(objects, key)
		}
	}
	return objects
}

// maxLeft is of how many clusters a status says what was left there, and maxLeftObjects how many objects it names of each.
const (
	maxLeft        = 100
	maxLeftObjects = 20
)

func addLeft(left []musterv1alpha1.LeftObjects, cluster string, objects []fleet.ObjectKey, at metav1.Time) []musterv1alpha1.LeftObjects {
	i := slices.IndexFunc(left, func(l musterv1alpha1.LeftObjects) bool { return l.Cluster == cluster })
	if i < 0 {
		i, left = len(left), append(left, musterv1alpha1.LeftObjects{Cluster: cluster, At: at})
	}
	names := slices.Clone(left[i].Objects)
	for _, key := range objects {
		if !slices.Contains(names, key.String()) {
			names = append(names, key.String())
		}
	}
	slices.Sort(names)
	left[i].Objects = names[:min(len(names), maxLeftObjects)]
	return left
}

// LeftOn says which objects stay on a cluster, "" when none does.
func LeftOn(left []musterv1alpha1.LeftObjects, cluster string) string {
	for _, l := range left {
		if l.Cluster == cluster {
			return strings.Join(l.Objects, ", ")
		}
	}
	return ""
}

// counted is what chosenAndLeft and shrunk have found.
type counted struct {
	chosen   int32
	leftover []string
	shrunk   *bool
}

// chosenAndLeft are the number of clusters that the placement has chosen, and those that still have works without being chosen, sorted.
func (d *decider) chosenAndLeft() (chosen int32, leftover []string) {
	if d.count == nil {
		d.count = &counted{}
		d.count.chosen, d.count.leftover = d.countChosen()
	}
	return d.count.chosen, d.count.leftover
}

func (d *decider) countChosen() (chosen int32, leftover []string) {
	for _, decision := range d.in.Decisions {
		if decision.Chosen {
			chosen++
		}
	}
	for name := range d.liveByCluster() {
		if !d.in.Decisions[name].Chosen {
			leftover = append(leftover, name)
		}
	}
	slices.Sort(leftover)
	return chosen, leftover
}

// settled is what the owner is settled on after a step: how many clusters the placement has had, and which of them are being exchanged.
// That stays while the grounds stay. New grounds count as soon as nothing more is lost because of them.
func (d *decider) settled() *musterv1alpha1.Settled {
	was, known := d.settledOn()
	switch {
	case !d.in.Complete || d.in.Grounds == "" || !known && d.in.GuardHolds && !d.in.isApproved():
		return d.in.Settled
	case was.Grounds == d.in.Grounds:
		return d.settledAsBefore(was)
	}
	return d.settledAnew(was)
}

// settledAsBefore: nobody has changed the choice. While a cluster does not answer, a spread constraint may have places for others: that
// there are more clusters than before then does not mean that so many are wanted.
func (d *decider) settledAsBefore(was musterv1alpha1.Settled) *musterv1alpha1.Settled {
	_, leftover := d.chosenAndLeft()
	is := musterv1alpha1.Settled{Grounds: d.in.Grounds, Clusters: d.filled()}
	switch {
	case slices.ContainsFunc(leftover, d.away):
		is.Clusters = was.Clusters
	case len(leftover) > 0:
		is.Clusters = max(was.Clusters, is.Clusters)
	}
	back := 0 // dropped, and chosen before others that do not answer: one of these is lost in its place
	for _, name := range was.Dropped {
		if d.in.Decisions[name].Chosen {
			back++
		}
	}
	for _, name := range leftover {
		switch exchanged := d.exchanged(name); {
		case slices.Contains(was.Dropped, name):
			is.Dropped = append(is.Dropped, name)
		case slices.Contains(was.Replaced, name) && exchanged:
			is.Replaced = append(is.Replaced, name)
		case back > 0 && d.in.Decisions[name].Unreachable:
			is.Dropped = append(is.Dropped, name)
			back--
		case exchanged && d.filled() >= was.Clusters:
			is.Replaced = append(is.Replaced, name)
		case exchanged:
			is.Unreplaced = append(is.Unreplaced, name)
		}
	}
	return &is
}

// settledAnew: somebody has changed the choice. Clusters that do not answer cannot lose anything now, and are noted. If the choice has
// fewer places than the owner had clusters, that many of them are dropped. The others keep a place that no cluster fills, or are replaced
// where there is none.
func (d *decider) settledAnew(was musterv1alpha1.Settled) *musterv1alpha1.Settled {
	_, leftover := d.chosenAndLeft()
	is := musterv1alpha1.Settled{Grounds: d.in.Grounds, Clusters: d.filled()}
	var silent []string // they do not answer or did not, and nothing else is against them
	for _, name := range leftover {
		replaced := d.in.isApproved() || slices.Contains(was.Replaced, name)
		switch unreachable := d.in.Decisions[name].Unreachable; {
		case (unreachable || d.exchanged(name)) && replaced:
			is.Replaced = append(is.Replaced, name)
		case unreachable, d.exchanged(name):
			silent = append(silent, name)
		case !d.in.Unreachable[name]:
			return d.in.Settled // it is still being lost
		default:
			is.Dropped = append(is.Dropped, name)
		}
	}
	on := min(int(was.Clusters)+len(was.Dropped), int(is.Clusters)+len(silent)+len(is.Dropped))
	dropped := on - len(is.Dropped) - int(is.Clusters) - d.in.Missing
	missing := d.in.Missing
	slices.SortStableFunc(silent, func(a, b string) int { // those that were dropped before come first
		return compareBool(slices.Contains(was.Dropped, b), slices.Contains(was.Dropped, a))
	})
	for _, name := range silent {
		switch {
		case dropped > 0:
			is.Dropped = append(is.Dropped, name)
			dropped--
		case missing > 0:
			is.Unreplaced = append(is.Unreplaced, name)
			missing--
		default:
			is.Replaced = append(is.Replaced, name)
		}
	}
	is.Clusters = max(is.Clusters, min(was.Clusters+int32(len(was.Dropped)), is.Clusters+int32(d.in.Missing)))
	slices.Sort(is.Dropped)
	slices.Sort(is.Replaced)
	slices.Sort(is.Unreplaced)
	return &is
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
