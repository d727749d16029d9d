package rollout

import (
	"testing"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestNextByStrategy walks one change over a canary and two others.
func TestNextByStrategy(t *testing.T) {
	soak := clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: 5 * time.Minute}}
	strategy := progressive("1", soak, "canary")
	decisions := map[string]fleet.Decision{
		"a": {Cluster: "a", Chosen: true, GroupIndex: 1}, "b": {Cluster: "b", Chosen: true, GroupIndex: 1},
		"z": {Cluster: "z", Chosen: true, Group: "canary"},
	}
	began := rolloutNow
	// old has the work of before; fresh has the wanted one, written during the rollout.
	old := func(cluster string) fleet.LiveWork {
		return edit(live(cluster, 0, settings), func(lw *fleet.LiveWork) {
			lw.Status.Health, lw.WrittenAt = fleet.HealthHealthy, began.Add(-time.Hour)
		})
	}
	fresh := func(cluster string, health fleet.Health) fleet.LiveWork {
		return edit(old(cluster), func(lw *fleet.LiveWork) {
			lw.SpecDigest, lw.MetaDigest = "wanted", work.MetaDigest(wants(cluster, 0, settings))
			lw.WrittenAt, lw.Status.Health = began, health
		})
	}
	works := []*workv1.ManifestWork{wants("a", 0, settings), wants("b", 0, settings), wants("z", 0, settings)}
	for name, c := range map[string]struct {
		why     string
		started time.Time
		now     time.Time
		edit    func(in *Input)
		live    []fleet.LiveWork
		works   []*workv1.ManifestWork // what is wanted, if it is not all three
		want    string
		ends    bool
	}{
		"begins": {why: "with the canary", live: []fleet.LiveWork{old("a"), old("b"), old("z")}, now: began,
			want: "Update z/0, held Update a/0 RolloutPending, held Update b/0 RolloutPending"},
		"waits": {why: "until the canary is healthy", started: began, live: []fleet.LiveWork{old("a"), old("b"), fresh("z", fleet.HealthProgressing)}, now: began.Add(time.Hour),
			want: "held Update a/0 RolloutPending, held Update b/0 RolloutPending"},
		"soaks": {why: "and has been so for long enough", started: began, live: []fleet.LiveWork{old("a"), old("b"), fresh("z", fleet.HealthHealthy)}, now: began.Add(4 * time.Minute),
			want: "held Update a/0 RolloutPending, held Update b/0 RolloutPending"},
		"goes on": {why: "one at a time", started: began, live: []fleet.LiveWork{old("a"), old("b"), fresh("z", fleet.HealthHealthy)}, now: began.Add(5 * time.Minute),
			want: "Update a/0, held Update b/0 RolloutPending"},
		"stops": {why: "when the canary fails", started: began, live: []fleet.LiveWork{old("a"), old("b"), fresh("z", fleet.HealthDegraded)}, now: began.Add(time.Hour),
			want: "held Update a/0 RolloutStopped, held Update b/0 RolloutStopped"},
		"health of before": {why: "what the agent says of the generation before counts for nothing", started: began, now: began.Add(time.Hour),
			live: []fleet.LiveWork{old("a"), old("b"), edit(fresh("z", fleet.HealthHealthy), func(lw *fleet.LiveWork) { lw.Status.Observed = false })},
			want: "held Update a/0 RolloutPending, held Update b/0 RolloutPending"},
		"ill before": {why: "a cluster that this rollout does not change cannot stop it", started: began, now: began,
			live: []fleet.LiveWork{old("a"), old("b"), edit(fresh("z", fleet.HealthDegraded), func(lw *fleet.LiveWork) { lw.WrittenAt = began.Add(-time.Hour) })},
			want: "Update a/0, held Update b/0 RolloutPending"},
		"new clusters": {why: "come with their group", live: []fleet.LiveWork{fresh("b", fleet.HealthHealthy)}, now: began,
			want: "Create z/0, held Create a/0 RolloutPending"},
		"a cluster that leaves": {why: "is no part of the rollout", started: began, now: began.Add(time.Minute), edit: func(in *Input) { in.MaxClusterPercent = 100 },
			live: []fleet.LiveWork{old("a"), old("b"), old("y"), fresh("z", fleet.HealthProgressing)},
			want: "Delete y/0, held Update a/0 RolloutPending, held Update b/0 RolloutPending"},
		"faulty": {why: "a canary that could not be planned does not change, and blocks nobody", now: began, edit: func(in *Input) { in.Faulty = map[string]bool{"z": true} },
			live: []fleet.LiveWork{old("a"), old("b"), fresh("z", fleet.HealthDegraded)}, works: works[:2],
			want: "Update a/0, held Update b/0 RolloutPending, held Delete z/0 AbsenceUnproven"},
		"guarded": {why: "a canary whose change waits for an approval has not changed: nobody follows", now: began, edit: func(in *Input) { in.MaxClusterPercent = 0 },
			live: []fleet.LiveWork{old("a"), old("b"), edit(old("z"), func(lw *fleet.LiveWork) { lw.Objects = append(lw.Objects, protectedKey) })},
			want: "held Update a/0 RolloutPending, held Update b/0 RolloutPending, held Update z/0 ApprovalNeeded"},
		"dependency": {why: "a canary that waits for another application is not passed", now: began,
			edit: func(in *Input) {
				in.DependencyPending = map[string]string{"z": "depends on retail/db, which is not healthy here yet"}
			},
			live: []fleet.LiveWork{old("a"), old("b"), old("z")},
			want: "held Update a/0 RolloutPending, held Update b/0 RolloutPending, held Update z/0 DependencyPending"},
		"dependency of the next": {why: "the others of its group do not wait for it", started: began, now: began.Add(5 * time.Minute),
			edit: func(in *Input) { in.DependencyPending = map[string]string{"a": "depends on retail/db"} },
			live: []fleet.LiveWork{old("a"), old("b"), fresh("z", fleet.HealthHealthy)},
			want: "Update b/0, held Update a/0 DependencyPending"},
		"dependency and a loss": {why: "what is left behind waits for nobody", now: began,
			edit: func(in *Input) {
				in.DependencyPending, in.MaxClusterPercent = map[string]string{"y": "depends on retail/db"}, 100
			},
			live: []fleet.LiveWork{fresh("a", fleet.HealthHealthy), fresh("b", fleet.HealthHealthy), old("y"), fresh("z", fleet.HealthHealthy)}, want: "Delete y/0", ends: true},
		"held on its cluster": {why: "a canary that somebody holds proves nothing, and is no failure", started: began, now: began.Add(time.Hour),
			live: []fleet.LiveWork{old("a"), old("b"), edit(fresh("z", fleet.HealthDegraded), heldThere)},
			want: "held Update a/0 RolloutPending, held Update b/0 RolloutPending"},
		"held, not the canary": {why: "the others go on without it, and it has its change when the hold ends", started: began, now: began.Add(5 * time.Minute),
			live: []fleet.LiveWork{edit(old("a"), heldThere), old("b"), fresh("z", fleet.HealthHealthy)},
			want: "Update a/0, Update b/0"},
		"held after its change": {why: "it is skipped, and does not fail the rollout", started: began, now: began.Add(5 * time.Minute),
			live: []fleet.LiveWork{edit(fresh("a", fleet.HealthProgressing), heldThere), old("b"), fresh("z", fleet.HealthHealthy)},
			want: "Update b/0"},
		"on hold": {why: "nothing changes, and the rollout does not end: it waits", now: began, edit: func(in *Input) { in.Holds = onHold("", rolloutNow.Add(time.Hour)) },
			live: []fleet.LiveWork{old("a"), old("b"), old("z")},
			want: "held Update a/0 OnHold, held Update b/0 OnHold, held Update z/0 OnHold"},
		"on hold, and a loss": {why: "nothing at all changes", started: began, now: began.Add(time.Hour),
			edit: func(in *Input) { in.Holds, in.MaxClusterPercent = onHold("", time.Time{}), 100 },
			live: []fleet.LiveWork{fresh("a", fleet.HealthHealthy), fresh("b", fleet.HealthHealthy), old("y"), fresh("z", fleet.HealthHealthy)},
			want: "held Delete y/0 OnHold", ends: true},
		"the canary on hold": {why: "it proves nothing: nobody follows", now: began, edit: func(in *Input) { in.Holds = onHold("z", time.Time{}) },
			live: []fleet.LiveWork{old("a"), old("b"), old("z")},
			want: "held Update a/0 RolloutPending, held Update b/0 RolloutPending, held Update z/0 OnHold"},
		"one cluster on hold": {why: "the others go on without it", started: began, now: began.Add(5 * time.Minute), edit: func(in *Input) { in.Holds = onHold("a", time.Time{}) },
			live: []fleet.LiveWork{old("a"), old("b"), fresh("z", fleet.HealthHealthy)},
			want: "Update b/0, held Update a/0 OnHold"},
		"window closed": {why: "the canary waits for its window, and the others for the canary", now: began, edit: closedWindow("z"),
			live: []fleet.LiveWork{old("a"), old("b"), old("z")},
			want: "held Update a/0 RolloutPending, held Update b/0 RolloutPending, held Update z/0 WindowClosed"},
		"window closed for one": {why: "the others of its group go on", started: began, now: began.Add(5 * time.Minute), edit: closedWindow("a"),
			live: []fleet.LiveWork{old("a"), old("b"), fresh("z", fleet.HealthHealthy)},
			want: "Update b/0, held Update a/0 WindowClosed"},
		"window opens": {why: "at its time", started: began, now: began.Add(10 * time.Hour), edit: closedWindow("a"),
			live: []fleet.LiveWork{old("a"), fresh("b", fleet.HealthHealthy), fresh("z", fleet.HealthHealthy)},
			want: "Update a/0"},
		"window and a return": {why: "what has failed is taken back at any time", started: began, now: began.Add(time.Hour),
			edit: func(in *Input) { closedWindow("z")(in); in.Returning = true },
			live: []fleet.LiveWork{fresh("a", fleet.HealthHealthy), fresh("b", fleet.HealthHealthy), old("z")},
			want: "Update z/0"},
		"done": {why: "nothing is left", started: began, live: []fleet.LiveWork{fresh("a", fleet.HealthHealthy), fresh("b", fleet.HealthHealthy), fresh("z", fleet.HealthHealthy)},
			now: began.Add(time.Hour), want: "", ends: true},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Owner: web, Now: c.now, Live: c.live, Complete: true, MaxClusterPercent: 10, Strategy: &strategy, RolloutStarted: c.started, Decisions: decisions}
			if c.edit != nil {
				c.edit(&in)
			}
			if c.works == nil {
				c.works = works
			}
			step := next(in, c.works)
			if got := summary(step); got != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.why, got, c.want)
			}
			if c.ends != step.Rollout.Started.IsZero() {
				t.Errorf("%s: began %v, ends %v", c.why, step.Rollout.Started, c.ends)
			}
		})
	}
}

// closedWindow lets a cluster change from 22:00 on.
func closedWindow(cluster string) func(*Input) {
	return func(in *Input) {
		var err error
		if in.Windows, err = ParseWindows([]musterv1alpha1.RolloutWindow{window("nights", "", "0 22 * * *", "", 4*time.Hour)}); err != nil {
			panic(err)
		}
		in.WindowsOn = map[string]WindowSet{cluster: 1}
	}
}

// onHold pauses a cluster, or all.
func onHold(cluster string, until time.Time) Holds {
	h := musterv1alpha1.Hold{ObjectMeta: metav1.ObjectMeta{Namespace: web.Namespace, Name: "freeze"}, Spec: musterv1alpha1.HoldSpec{By: "ann", Reason: "freeze"}}
	if !until.IsZero() {
		h.Spec.Until = &metav1.Time{Time: until}
	}
	if cluster != "" {
		h.Spec.ClusterSelector = &musterv1alpha1.ClusterSelector{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"name": cluster}}}
	}
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: web.Namespace, Name: web.Name}}
	holds := HoldsOf([]musterv1alpha1.Hold{h}, app, "", rolloutNow)
	holds.Select([]clusterv1.ManagedCluster{{ObjectMeta: metav1.ObjectMeta{Name: cluster, Labels: map[string]string{"name": cluster}}}})
	return holds
}

// TestHoldEndsByItself: a step looks again when the hold expires.
func TestHoldEndsByItself(t *testing.T) {
	strategy := progressive("1", clusterv1alpha1.RolloutConfig{})
	in := Input{
		Owner: web, Now: rolloutNow, Live: []fleet.LiveWork{live("a", 0, settings)}, Complete: true, Strategy: &strategy, Decisions: map[string]fleet.Decision{"a": {Chosen: true}},
		Holds: onHold("", rolloutNow.Add(time.Hour)),
	}
	step := next(in, []*workv1.ManifestWork{wants("a", 0, settings)})
	if want := rolloutNow.Add(time.Hour); !step.NextLook.Equal(want) || !step.Idle(in).NextLook.Equal(want) {
		t.Errorf("looks again at %v, and when idle at %v, want %v", step.NextLook, step.Idle(in).NextLook, want)
	}
	if want := "the rollout is held by ann until 2026-11-29 13:00 UTC (Hold retail/freeze): freeze"; step.Rollout.Message() != want {
		t.Errorf("says %q, want %q", step.Rollout.Message(), want)
	}
}

// heldThere makes a work one that somebody holds on its cluster.
func heldThere(lw *fleet.LiveWork) {
	lw.Status.Observed, lw.Status.Waits = false, []fleet.Wait{{Reason: fleet.WaitHeldOnCluster, Message: "until tomorrow"}}
}

// TestHeldThere: b of the canary does not answer, which is all that maxOffline allows. A cluster on which somebody holds the owner is
// skipped, and is none of those that count.
func TestHeldThere(t *testing.T) {
	one, strategy := intstr.FromInt32(1), progressive("", clusterv1alpha1.RolloutConfig{})
	strategy.MaxOffline = &one
	strategy.Steps = []musterv1alpha1.RolloutStep{{Name: "canary", Groups: []string{"canary"}}, {Name: "prod", Groups: []string{"prod"}}}
	decisions := map[string]fleet.Decision{"z": {Cluster: "z", Chosen: true, Group: "prod", GroupIndex: 1}}
	for _, name := range []string{"a", "b", "c"} {
		decisions[name] = fleet.Decision{Cluster: name, Chosen: true, Group: "canary"}
	}
	old := func(lw *fleet.LiveWork) {
		lw.Status.Health, lw.WrittenAt = fleet.HealthHealthy, rolloutNow.Add(-time.Hour)
	}
	fresh := func(lw *fleet.LiveWork) {
		lw.Status.Health, lw.WrittenAt = fleet.HealthHealthy, rolloutNow
		lw.SpecDigest, lw.MetaDigest = "wanted", work.MetaDigest(wants(lw.Cluster, 0, settings))
	}
	degraded := func(lw *fleet.LiveWork) { lw.Status.Health = fleet.HealthDegraded }
	for name, c := range map[string]struct {
		why  string
		edit func(in *Input)
		a    []func(*fleet.LiveWork)
		want string
	}{
		"it has changed":  {why: "it neither fails nor counts", a: []func(*fleet.LiveWork){fresh, degraded, heldThere}, want: "Update b/0, Update z/0"},
		"it is to change": {why: "its change waits for it on the hub", a: []func(*fleet.LiveWork){old, heldThere}, want: "Update a/0, Update b/0, Update z/0"},
		"it is away": {why: "what it said of a hold before may be over: it counts", edit: func(in *Input) { in.Unreachable["a"] = true },
			a: []func(*fleet.LiveWork){fresh, heldThere}, want: "Update b/0, held Update z/0 RolloutPending"},
		"it depends": {why: "what it waits for may be held there too", edit: func(in *Input) { in.DependencyPending = map[string]string{"a": "depends on retail/db"} },
			a: []func(*fleet.LiveWork){old, heldThere}, want: "Update b/0, Update z/0, held Update a/0 DependencyPending"},
		"all is on hold": {why: "a hold of the hub holds it too", edit: func(in *Input) { in.Holds = onHold("", time.Time{}) },
			a: []func(*fleet.LiveWork){old, heldThere}, want: "held Update a/0 OnHold, held Update b/0 OnHold, held Update z/0 OnHold"},
		"nobody holds it": {why: "it has not failed, and the others wait for it", a: []func(*fleet.LiveWork){fresh, func(lw *fleet.LiveWork) { lw.Status.Observed = false }},
			want: "Update b/0, held Update z/0 RolloutPending"},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{
				Owner: web, Now: rolloutNow.Add(time.Minute), Complete: true, MaxClusterPercent: 10, Strategy: &strategy, RolloutStarted: rolloutNow, Decisions: decisions,
				Unreachable: map[string]bool{"b": true},
				Live: []fleet.LiveWork{
					edit(live("a", 0, settings), func(lw *fleet.LiveWork) {
						for _, change := range c.a {
							change(lw)
						}
					}),
					edit(live("b", 0, settings), old), edit(live("c", 0, settings), fresh), edit(live("z", 0, settings), old),
				},
			}
			if c.edit != nil {
				c.edit(&in)
			}
			step := next(in, []*workv1.ManifestWork{wants("a", 0, settings), wants("b", 0, settings), wants("c", 0, settings), wants("z", 0, settings)})
			if got := summary(step); got != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.why, got, c.want)
			}
		})
	}
}

// TestWindowOfStep: a window that steps name is for their clusters only.
func TestWindowOfStep(t *testing.T) {
	strategy := musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive}}
	label := func(value string) *musterv1alpha1.ClusterSelector {
		return &musterv1alpha1.ClusterSelector{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": value}}}
	}
	strategy.Steps = []musterv1alpha1.RolloutStep{{Name: "canary", ClusterSelector: label("canary")}, {Name: "prod", ClusterSelector: label("prod"), Window: "nights"}}
	strategy.Windows = []musterv1alpha1.RolloutWindow{{Name: "nights", Schedule: "0 22 * * *", Duration: metav1.Duration{Duration: time.Hour}}}
	windows, err := ParseWindows(strategy.Windows)
	if err != nil {
		t.Fatal(err)
	}
	in := Input{
		Owner: web, Now: rolloutNow, Live: []fleet.LiveWork{live("a", 0, settings), live("b", 0, settings)}, Complete: true, Strategy: &strategy, Windows: windows,
		WindowsOn: map[string]WindowSet{"": 1}, Labels: map[string]map[string]string{"a": {"tier": "canary"}, "b": {"tier": "prod"}},
		Decisions: map[string]fleet.Decision{"a": {Chosen: true}, "b": {Chosen: true}},
	}
	step := next(in, []*workv1.ManifestWork{wants("a", 0, settings), wants("b", 0, settings)})
	if len(step.Now) != 1 || step.Now[0].Cluster != "a" || len(step.Held) != 1 || step.Held[0].Reason != WindowClosed {
		t.Errorf("now %+v, held %+v", step.Now, step.Held)
	}
	strategy.Steps[1].Window = ""
	if step := next(in, []*workv1.ManifestWork{wants("a", 0, settings), wants("b", 0, settings)}); len(step.Now) != 0 {
		t.Errorf("a window that no step names is for all: %+v", step.Now)
	}
	strategy.Steps[1].Window = "days"
	if field, err := CheckWindows(&strategy); err == nil || field != "steps[1].window" {
		t.Errorf("field %q, %v", field, err)
	}
}

// TestStepLooksAgainWhenSoaked: nothing but time ends a soak.
func TestStepLooksAgainWhenSoaked(t *testing.T) {
	strategy := progressive("1", clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: 5 * time.Minute}})
	a := edit(live("a", 0, settings), func(lw *fleet.LiveWork) {
		lw.SpecDigest, lw.MetaDigest = "wanted", work.MetaDigest(wants("a", 0, settings))
		lw.WrittenAt, lw.Status.Health, lw.Status.Since = rolloutNow, fleet.HealthHealthy, rolloutNow.Add(time.Minute)
	})
	step := next(Input{
		Owner: web, Now: rolloutNow.Add(2 * time.Minute), Live: []fleet.LiveWork{a, live("b", 0, settings)}, Complete: true, Strategy: &strategy, RolloutStarted: rolloutNow,
		Decisions: map[string]fleet.Decision{"a": {Chosen: true}, "b": {Chosen: true}},
	}, []*workv1.ManifestWork{wants("a", 0, settings), wants("b", 0, settings)})
	if want := rolloutNow.Add(6 * time.Minute); !step.NextLook.Equal(want) {
		t.Errorf("looks again at %v, want %v", step.NextLook, want)
	}
}

var protectedKey = fleet.ObjectKey{Version: "v1", Kind: "PersistentVolumeClaim", Resource: "persistentvolumeclaims", Namespace: "shop", Name: "data"}
