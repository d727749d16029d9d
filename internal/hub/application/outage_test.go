package application

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// outage is an application on clusters that come and go, with the scheduler, the decisions and the steps of the hub; only what API
// servers and agents do is played. The hub goes and comes too. Nobody takes a cluster away, so that three sentences hold:
//
//	nothing waits for a person, and no data goes
//	a cluster loses the application only while the placements have as many clusters as before, each of which is there and says itself
//	that it is healthy
//	when all clusters are back the application is on the chosen ones and on no other
type outage struct {
	t      *testing.T
	random *rand.Rand
	app    *musterv1alpha1.Application
	world  *fleet.World
	now    time.Time

	away   map[string]time.Time // since when
	health map[string]fleet.Health
	works  map[string]*fleet.LiveWork
	// hub is since when it is there; zero while it is away.
	hub     time.Time
	settled *musterv1alpha1.Settled
	left    []musterv1alpha1.LeftObjects
	started time.Time
	decided plan.Decided // by the last step
	filled  int          // places, when all clusters were there
	removed int
}

const (
	outageClusters = 7
	outageRound    = 4 * time.Second
	outageGrace    = 3 * outageRound // after which the hub calls a cluster silent, once it listens
	outageDelay    = 3 * outageRound // in which it has called silent all that are, and the scheduler has noticed
)

var (
	outageConfig = fleet.ObjectKey{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "shop", Name: "settings"}
	outageClaim  = fleet.ObjectKey{Version: "v1", Kind: "PersistentVolumeClaim", Resource: "persistentvolumeclaims", Namespace: "shop", Name: "data"}
)

// outageFleet has clusters in zones a (four of them), b (one) and c (two), of which the odd ones are on the edge.
func outageFleet() *fleet.World {
	w := &fleet.World{ClusterSets: []clusterv1beta2.ManagedClusterSet{{ObjectMeta: metav1.ObjectMeta{Name: "all"}}}}
	w.ClusterSets[0].Spec.ClusterSelector.SelectorType = clusterv1beta2.ExclusiveClusterSetLabel
	for _, namespace := range []string{"retail", "other"} {
		w.Bindings = append(w.Bindings, clusterv1beta2.ManagedClusterSetBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "all"}, Spec: clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: "all"},
		})
	}
	for i := range outageClusters {
		c := clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c%d", i), Labels: map[string]string{
			clusterv1beta2.ClusterSetLabel: "all", "zone": string("aaaabcc"[i]), "tier": []string{"core", "edge"}[i%2],
		}}}
		c.Spec.HubAcceptsClient = true
		w.Clusters = append(w.Clusters, c)
	}
	return w
}

func (o *outage) place(name string, change func(*clusterv1beta1.PlacementSpec)) {
	namespace, name, _ := strings.Cut(name, "/")
	p := clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "u", Generation: 1}}
	change(&p.Spec)
	o.world.Placements = append(o.world.Placements, p)
	if namespace == "retail" {
		o.app.Spec.PlacementRefs = append(o.app.Spec.PlacementRefs, musterv1alpha1.LocalReference{Name: name})
	}
}

func number(n int32) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) { s.NumberOfClusters = &n }
}

func spread(n *int32, keys ...string) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		s.NumberOfClusters = n
		for _, key := range keys {
			s.SpreadPolicy.SpreadConstraints = append(s.SpreadPolicy.SpreadConstraints, clusterv1beta1.SpreadConstraintsTerm{
				TopologyKey: key, TopologyKeyType: clusterv1beta1.TopologyKeyTypeLabel, MaxSkew: 1, WhenUnsatisfiable: clusterv1beta1.DoNotSchedule,
			})
		}
	}
}

func tolerates(n int32, seconds *int64) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		s.NumberOfClusters = &n
		s.Tolerations = []clusterv1beta1.Toleration{{Key: clusterv1.ManagedClusterTaintUnreachable, Operator: clusterv1beta1.TolerationOpExists, TolerationSeconds: seconds}}
	}
}

func tier(name string) func(*clusterv1beta1.PlacementSpec) {
	return func(s *clusterv1beta1.PlacementSpec) {
		s.Predicates = []clusterv1beta1.ClusterPredicate{{RequiredClusterSelector: clusterv1beta1.ClusterSelector{
			LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{"tier": name}},
		}}}
	}
}

// outages are the fleets that are tried.
var outages = map[string]func(*outage){
	"two":              func(o *outage) { o.place("retail/a", number(2)) },
	"three":            func(o *outage) { o.place("retail/a", number(3)) },
	"all that match":   func(o *outage) { o.place("retail/a", tier("edge")) },
	"more than exist":  func(o *outage) { o.place("retail/a", number(9)) },
	"spread":           func(o *outage) { o.place("retail/a", spread(nil, "zone")) },
	"spread, five":     func(o *outage) { o.place("retail/a", spread(new(int32(5)), "zone")) },
	"spread, four":     func(o *outage) { o.place("retail/a", spread(new(int32(4)), "zone")) },
	"tolerant":         func(o *outage) { o.place("retail/a", tolerates(3, nil)) },
	"tolerant a while": func(o *outage) { o.place("retail/a", tolerates(3, new(int64(20)))) },
	"together":         func(o *outage) { o.place("retail/a", number(2)); o.place("retail/b", tier("edge")) },
	"together, b first": func(o *outage) {
		o.place("retail/b", tier("edge"))
		o.place("retail/a", number(2))
	},
	"two numbers": func(o *outage) { o.place("retail/a", number(2)); o.place("retail/b", number(2)) },
	"another team": func(o *outage) {
		o.place("retail/a", number(2))
		o.place("other/x", number(3))
	},
}

func newOutage(t *testing.T, seed uint64, setup func(*outage)) *outage {
	o := &outage{
		t: t, random: rand.New(rand.NewPCG(seed, 3)), world: outageFleet(), now: time.Unix(1e9, 0).UTC(),
		app:  &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web"}},
		away: map[string]time.Time{}, health: map[string]fleet.Health{}, works: map[string]*fleet.LiveWork{},
	}
	if seed%2 == 1 {
		o.app.Spec.Rollout = &musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{
			Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{MaxConcurrency: intstr.FromInt32(1)},
		}}
	}
	if seed%4 > 1 {
		o.app.Spec.Sync.WhenUnreachable = musterv1alpha1.UnreachableReschedule
	}
	setup(o)
	o.hub = o.now
	for range 60 {
		o.round()
	}
	if o.settled == nil || int(o.settled.Clusters) != o.decided.Filled {
		t.Fatalf("seed %d: settled on %+v, %d places are filled", seed, o.settled, o.decided.Filled)
	}
	o.filled = o.decided.Filled
	return o
}

// round lets each of them do something, in an order that is not always the same.
func (o *outage) round() {
	o.now = o.now.Add(outageRound)
	for _, i := range o.random.Perm(4) {
		switch i {
		case 0:
			o.notice(false)
		case 1:
			for i := range o.world.Placements {
				if o.random.IntN(3) > 0 {
					o.schedule(&o.world.Placements[i])
				}
			}
		case 2:
			o.step()
		case 3:
			o.agents()
		}
	}
}

// isAway is true for a cluster that has been away for longer than given, and longer than the hub could hear it.
func (o *outage) isAway(name string, longer time.Duration) bool {
	since, away := o.away[name]
	if away && since.Before(o.hub) {
		since = o.hub
	}
	return away && !o.now.Before(since.Add(longer))
}

// notice does what the controllers of clusters do, at once or some of it later.
func (o *outage) notice(all bool) {
	for i := range o.world.Clusters {
		c := &o.world.Clusters[i]
		_, away := o.away[c.Name]
		condition := metav1.Condition{Type: clusterv1.ManagedClusterConditionAvailable, Reason: "Test", LastTransitionTime: metav1.NewTime(o.now)}
		switch {
		case !away: // the agent says so, whether the hub is there or not
			condition.Status = metav1.ConditionTrue
		case !o.hub.IsZero() && o.isAway(c.Name, outageGrace) && (all || o.random.IntN(2) == 0 || o.isAway(c.Name, outageGrace+outageRound)):
			condition.Status = metav1.ConditionUnknown
		}
		if condition.Status != "" {
			meta.SetStatusCondition(&c.Status.Conditions, condition)
		}
		if !o.hub.IsZero() && (all || o.random.IntN(2) == 0) {
			c.Spec.Taints = registration.WantTaints(c, registration.NoDoubt, o.now)
		}
	}
}

func (o *outage) schedule(p *clusterv1beta1.Placement) {
	if o.hub.IsZero() {
		return
	}
	o.world.Time = o.now
	var existing []clusterv1beta1.PlacementDecision
	for _, d := range o.world.Decisions {
		if d.Namespace == p.Namespace && d.Labels[clusterv1beta1.PlacementLabel] == p.Name {
			existing = append(existing, d)
		}
	}
	result := placement.NewIndex(o.world).ScheduleAt(p, o.now, nil)
	outcome := placement.Next(p, &result, existing)
	for _, w := range outcome.Writes {
		o.world.Decisions = slices.DeleteFunc(o.world.Decisions, func(d clusterv1beta1.PlacementDecision) bool {
			return d.Namespace == w.Page.Namespace && d.Name == w.Page.Name
		})
		if w.Verb != placement.Delete {
			o.world.Decisions = append(o.world.Decisions, w.Page)
		}
	}
	p.Status = outcome.Status
}

// agents of clusters that are there apply, become healthy after a while, are not now and then, and clean up.
func (o *outage) agents() {
	for i := range o.world.Clusters {
		name := o.world.Clusters[i].Name
		lw := o.works[name]
		if _, away := o.away[name]; lw == nil || away {
			continue
		}
		switch {
		case lw.Deleting:
			delete(o.works, name)
			delete(o.health, name)
			continue
		case !lw.Status.Applied, o.random.IntN(20) == 0:
			o.health[name] = fleet.HealthProgressing
		case o.random.IntN(3) == 0:
			o.health[name] = fleet.HealthHealthy
		}
		lw.Status = fleet.WorkStatus{Observed: true, Applied: true, Health: o.health[name], AppliedObjects: []bool{true, true}}
	}
}

// step is a step of the application's controller.
func (o *outage) step() {
	if o.hub.IsZero() {
		return
	}
	o.world.Works = nil
	for _, name := range slices.Sorted(maps.Keys(o.works)) {
		o.world.Works = append(o.world.Works, *o.works[name])
	}
	job := &plan.Job{Application: o.app, World: o.world}
	if decide(job, o.world, &fleet.Definition{}); job.Fault != nil {
		return
	}
	o.decided = job.Decided
	in := rollout.Input{
		Owner: fleet.OwnerOf(o.app), Now: o.now, Live: o.world.Works, Complete: true, Decisions: map[string]fleet.Decision{},
		Grounds: job.Grounds, Filled: job.Filled, Missing: job.Missing, Settled: o.settled, Left: o.left,
		Unreachable: plan.UnreachableIn(o.world), AvailableSince: plan.AvailableSince(o.world), WhenUnreachable: o.app.Spec.Sync.WhenUnreachable,
		Unheard:  o.now.Before(o.hub.Add(outageGrace + outageDelay)),
		Strategy: o.app.Spec.Rollout, RolloutStarted: o.started, PlanDigest: "0123456789", MaxClusterPercent: 10,
	}
	wanted := map[string]bool{}
	for _, d := range job.Decisions {
		in.Decisions[d.Cluster] = d
		kept := d.Unreachable && o.works[d.Cluster] != nil && in.WhenUnreachable != musterv1alpha1.UnreachableReschedule
		wanted[d.Cluster] = d.Chosen || kept
	}
	var changes work.Changes
	for i := range o.world.Clusters {
		name := o.world.Clusters[i].Name
		lw := o.works[name]
		switch {
		case wanted[name] && (lw == nil || lw.Deleting):
			changes = append(changes, work.Change{Action: work.Create, Cluster: name, Name: "w", Wanted: outageWork(name), Live: lw})
		case wanted[name]:
			changes = append(changes, work.Change{Action: work.Keep, Cluster: name, Name: "w", Wanted: outageWork(name), Live: lw})
		case lw != nil && !lw.Deleting:
			changes = append(changes, work.Change{Action: work.Delete, Cluster: name, Name: "w", Live: lw})
		}
	}
	o.apply(rollout.Next(changes, in))
}

func outageWork(cluster string) *workv1.ManifestWork {
	return &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: "w", Annotations: map[string]string{
		musterv1alpha1.ObjectsAnnotation: work.FormatObjects([]fleet.ObjectKey{outageConfig, outageClaim}),
	}}}
}

func (o *outage) apply(step rollout.Step) {
	o.settled, o.left = step.Settled, step.Left
	if step.Rollout != nil {
		o.started = step.Rollout.Started
	}
	if step.Guard != nil || step.Removal != nil {
		o.t.Fatalf("waits for a person: %+v, recorded %+v\n%s", step.Guard, step.Removal, o)
	}
	for _, c := range step.Now {
		switch c.Action {
		case work.Create:
			o.works[c.Cluster] = &fleet.LiveWork{
				Cluster: c.Cluster, Name: "w", Owner: fleet.OwnerOf(o.app), UID: "u", Generation: 1,
				Objects: []fleet.ObjectKey{outageConfig, outageClaim}, WrittenAt: o.now,
			}
		case work.Orphan:
			o.works[c.Cluster].Kept = append(o.works[c.Cluster].Kept, c.Leave...)
		case work.Delete:
			o.loses(c.Cluster)
		}
	}
}

// loses checks the second sentence. That a cluster is away which has gone a moment ago, nobody can know.
func (o *outage) loses(name string) {
	if !slices.Contains(o.works[name].Kept, outageClaim) || rollout.LeftOn(o.left, name) != outageClaim.String() {
		o.t.Fatalf("the data on %s goes, noted is %+v", name, o.left)
	}
	o.works[name].Deleting = true
	o.removed++
	leaving, unheard := 0, plan.UnreachableIn(o.world)
	for cluster, lw := range o.works {
		if lw.Deleting && !unheard[cluster] {
			leaving++
		}
	}
	if o.app.Spec.Rollout != nil && leaving > 1 {
		o.t.Fatalf("%d clusters are on their way out, and the strategy lets one change at a time\n%s", leaving, o)
	}
	if o.decided.Filled < o.filled {
		o.t.Fatalf("%s is removed, and the placements have %d clusters, had %d\n%s", name, o.decided.Filled, o.filled, o)
	}
	chosen, healthy := 0, 0
	for _, d := range o.decided.Decisions {
		if d.Chosen {
			chosen++
		}
	}
	for cluster, lw := range o.works {
		if !lw.Deleting && o.health[cluster] == fleet.HealthHealthy && !o.isAway(cluster, outageGrace+outageDelay) {
			healthy++
		}
	}
	if healthy < chosen {
		o.t.Fatalf("%s is removed, and the application is healthy on %d clusters of %d\n%s", name, healthy, chosen, o)
	}
}

func (o *outage) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d places filled, %d missing, on grounds %q, settled on %+v, the hub is there since %s, it is %s\n", o.decided.Filled, o.decided.Missing, o.decided.Grounds, o.settled, o.hub, o.now)
	for i := range o.world.Clusters {
		name := o.world.Clusters[i].Name
		fmt.Fprintf(&b, "%s: taints %v", name, o.world.Clusters[i].Spec.Taints)
		if since, away := o.away[name]; away {
			fmt.Fprintf(&b, ", away since %s", since)
		}
		for _, d := range o.decided.Decisions {
			if d.Cluster == name {
				fmt.Fprintf(&b, ", %+v", d)
			}
		}
		if lw := o.works[name]; lw != nil {
			fmt.Fprintf(&b, ", on it: %s, deleting %t", o.health[name], lw.Deleting)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// happens is one thing that goes wrong, or is mended.
func (o *outage) happens() {
	some := o.world.Clusters[o.random.IntN(outageClusters)].Name
	leaves := func(name string) {
		if _, away := o.away[name]; !away {
			o.away[name] = o.now
		}
	}
	switch o.random.IntN(9) {
	case 0, 1: // one, and flapping
		if _, away := o.away[some]; away {
			delete(o.away, some)
		} else {
			leaves(some)
		}
	case 2: // all, one after the other
		for i := range o.world.Clusters {
			leaves(o.world.Clusters[i].Name)
			if o.random.IntN(2) == 0 {
				o.round()
			}
		}
	case 3, 4: // and back
		delete(o.away, some)
	case 5: // the hub
		if o.hub.IsZero() {
			o.hub = o.now
		} else if o.random.IntN(2) == 0 {
			o.looks()
			o.hub = time.Time{}
		}
	case 6:
		o.commit()
	}
}

// looks lets the scheduler and the application's controller look at what is.
func (o *outage) looks() {
	for i := range o.world.Placements {
		o.schedule(&o.world.Placements[i])
	}
	o.step()
}

// commit changes a placement in the midst of an outage, and moves nothing: the scheduler and the application's controller have
// looked at what was before.
func (o *outage) commit() {
	if o.hub.IsZero() {
		return
	}
	o.looks()
	p := &o.world.Placements[0]
	p.Spec.Tolerations = append(p.Spec.Tolerations, clusterv1beta1.Toleration{Key: fmt.Sprintf("k%d", p.Generation), Operator: clusterv1beta1.TolerationOpExists})
	p.Generation++
	o.schedule(p)
	o.step()
}

func (o *outage) chosen() []string {
	var names []string
	for _, d := range o.decided.Decisions {
		if d.Chosen {
			names = append(names, d.Cluster)
		}
	}
	slices.Sort(names)
	return names
}

func TestOutagesMoveNothingForGood(t *testing.T) {
	for name, setup := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			removed, exchanges := 0, !slices.Contains([]string{"all that match", "more than exist", "tolerant"}, name)
			for seed := range uint64(16) {
				o := newOutage(t, seed, setup)
				for range 60 {
					o.happens()
					o.round()
				}
				clear(o.away)
				if o.hub.IsZero() {
					o.hub = o.now
				}
				for range 80 {
					o.round()
				}
				if on := slices.Sorted(maps.Keys(o.works)); !slices.Equal(on, o.chosen()) || o.decided.Filled != o.filled || int(o.settled.Clusters) != o.filled || len(o.settled.Replaced)+len(o.settled.Dropped) > 0 {
					t.Fatalf("seed %d: the application is on %v, chosen are %v, %d places were filled\n%s", seed, on, o.chosen(), o.filled, o)
				}
				removed += o.removed
			}
			if t.Logf("%d removals after a swap", removed); (removed > 0) != exchanges {
				t.Errorf("%d removals, and that the scheduler exchanges clusters is %t", removed, exchanges)
			}
		})
	}
}
