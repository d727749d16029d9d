package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	settings = fleet.ObjectKey{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "shop", Name: "settings"}
	themes   = fleet.ObjectKey{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "shop", Name: "themes"}
	claim    = fleet.ObjectKey{Version: "v1", Kind: "PersistentVolumeClaim", Resource: "persistentvolumeclaims", Namespace: "shop", Name: "data"}
)

func name(part int) string { return work.Name("retail", "web", part) }

// live is a work that is applied at its generation.
func live(cluster string, part int, keys ...fleet.ObjectKey) fleet.LiveWork {
	lw := fleet.LiveWork{
		Cluster: cluster, Name: name(part), Application: "retail/web", Owner: work.Owner("Application", "retail", "web"),
		Part: part, UID: "u", Generation: 5, SpecDigest: "live", Objects: keys,
		Status: fleet.WorkStatus{Observed: true, Applied: true},
	}
	for range keys {
		lw.Status.AppliedObjects = append(lw.Status.AppliedObjects, true)
	}
	return lw
}

func wants(cluster string, part int, keys ...fleet.ObjectKey) *workv1.ManifestWork {
	return &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: cluster, Name: name(part),
		Labels:      map[string]string{musterv1alpha1.OwnerLabel: work.Owner("Application", "retail", "web")},
		Annotations: map[string]string{musterv1alpha1.ObjectsAnnotation: work.FormatObjects(keys), musterv1alpha1.ContentDigestAnnotation: "wanted"},
	}}
}

// clusters are n of them, each with one work.
func clusters(n int) []fleet.LiveWork {
	var list []fleet.LiveWork
	for i := range n {
		list = append(list, live(fmt.Sprintf("edge-%03d", i), 0, settings))
	}
	return list
}

// keep wants the works of all clusters but the first so many.
func keep(list []fleet.LiveWork, lost int) []*workv1.ManifestWork {
	var works []*workv1.ManifestWork
	for _, lw := range list[lost:] {
		works = append(works, wants(lw.Cluster, lw.Part, lw.Objects...))
	}
	return works
}

func next(in Input, works []*workv1.ManifestWork) Step {
	return Next(work.Diff(in.Live, works), in)
}

func edit(lw fleet.LiveWork, change func(*fleet.LiveWork)) fleet.LiveWork {
	change(&lw)
	return lw
}

func summary(s Step) string {
	var parts []string
	for _, c := range s.Now {
		parts = append(parts, fmt.Sprintf("%s %s/%s", c.Action, c.Cluster, c.Name[len(c.Name)-1:]))
	}
	for _, h := range s.Held {
		parts = append(parts, fmt.Sprintf("held %s %s/%s %s", h.Change.Action, h.Change.Cluster, h.Change.Name[len(h.Change.Name)-1:], h.Reason))
	}
	return strings.Join(parts, ", ")
}

func TestNext(t *testing.T) {
	one := []fleet.LiveWork{live("a", 0, settings)}
	free := func(change func(*Input)) Input { // nothing but what a row says holds anything
		in := Input{Application: "retail/web", Live: one, Complete: true, MaxClusterPercent: 100, PlanDigest: "p"}
		change(&in)
		return in
	}
	gaining := live("a", 1, themes, settings)
	for name, row := range map[string]struct {
		why   string
		in    Input
		works []*workv1.ManifestWork
		want  string
	}{
		"delete": {"a complete plan no longer holds it", free(func(*Input) {}), nil, "Delete a/0"},
		"absence unproven": {"an incomplete plan proves no absence", free(func(in *Input) { in.Complete = false }),
			[]*workv1.ManifestWork{wants("b", 0, settings)}, "Create b/0, held Delete a/0 AbsenceUnproven"},
		"faulty cluster": {"a fault keeps the last good work", free(func(in *Input) { in.Faulty = map[string]bool{"a": true} }), nil,
			"held Delete a/0 AbsenceUnproven"},
		"faulty cluster drops": {"nor does it lose objects", free(func(in *Input) {
			in.Faulty, in.Live = map[string]bool{"a": true}, []fleet.LiveWork{live("a", 0, settings, themes)}
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "held Update a/0 AbsenceUnproven"},
		"cannot hear it": {"a deletion is not begun there", free(func(in *Input) {
			in.Unreachable, in.WhenUnreachable = map[string]bool{"a": true}, musterv1alpha1.UnreachableReschedule
		}), nil, "held Delete a/0 ClusterUnreachable"},
		"dropped as unreachable": {"unreachable is not deselected", free(func(in *Input) {
			in.Decisions = map[string]fleet.Decision{"a": {Cluster: "a", Unreachable: true}}
		}), nil, "held Delete a/0 ClusterUnreachable"},
		"dropped as unreachable, to be rescheduled": {"the application asks for it, and the cluster hears", free(func(in *Input) {
			in.Decisions = map[string]fleet.Decision{"a": {Cluster: "a", Unreachable: true}}
			in.WhenUnreachable = musterv1alpha1.UnreachableReschedule
		}), nil, "Delete a/0"},
		"update of an unreachable cluster": {"it goes straight to the newest commit when it is back", free(func(in *Input) {
			in.Unreachable = map[string]bool{"a": true}
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "Update a/0"},
		"failover": {"gains come before losses", free(func(*Input) {}), []*workv1.ManifestWork{wants("b", 0, settings)}, "Create b/0, Delete a/0"},

		"move begins": {"the gaining work first", free(func(in *Input) { in.Live = []fleet.LiveWork{live("a", 0, settings, themes)} }),
			[]*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes)}, "Create a/1, held Update a/0 MovePending"},
		"move goes on": {"the gaining work reports it applied", free(func(in *Input) { in.Live = []fleet.LiveWork{live("a", 0, settings, themes), gaining} }),
			[]*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes)}, "Update a/0, Update a/1"},
		"move at another generation": {"what was applied before says nothing", free(func(in *Input) {
			in.Live = []fleet.LiveWork{live("a", 0, settings, themes), edit(gaining, func(lw *fleet.LiveWork) { lw.Status.Observed = false })}
		}), []*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes, settings)}, "Update a/1, held Update a/0 MovePending"},
		"move of a failed object": {"others are applied, this one is not", free(func(in *Input) {
			in.Live = []fleet.LiveWork{live("a", 0, settings, themes), edit(gaining, func(lw *fleet.LiveWork) { lw.Status.AppliedObjects = []bool{false, true} })}
		}), []*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes, settings)}, "Update a/1, held Update a/0 MovePending"},
		"move to a work that goes": {"its objects are about to be deleted", free(func(in *Input) {
			in.Live = []fleet.LiveWork{live("a", 0, settings, themes), edit(gaining, func(lw *fleet.LiveWork) { lw.Deleting = true })}
		}), []*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes)}, "held Update a/0 MovePending, held Create a/1 WorkDeleting"},
		"emptied part": {"its work goes when its object has arrived", free(func(in *Input) {
			in.Live = []fleet.LiveWork{live("a", 0, settings), gaining}
		}), []*workv1.ManifestWork{wants("a", 1, themes, settings)}, "Update a/1, Delete a/0"},
		"emptied part too early": {"deleting it would delete the object", free(func(*Input) {}),
			[]*workv1.ManifestWork{wants("a", 1, settings)}, "Create a/1, held Delete a/0 MovePending"},

		"still being deleted": {"the name is not free", free(func(in *Input) {
			in.Live = []fleet.LiveWork{edit(one[0], func(lw *fleet.LiveWork) { lw.Deleting = true })}
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "held Create a/0 WorkDeleting"},
		"foreign": {"never overwritten", free(func(in *Input) {
			in.Live = []fleet.LiveWork{edit(one[0], func(lw *fleet.LiveWork) { lw.Owner = "" })}
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "held Refuse a/0 WorkForeign"},

		"orphan": {"its objects are to stay", free(func(in *Input) { in.Deletion = musterv1alpha1.DeletionOrphan }), nil, "Orphan a/0"},
		"orphaned": {"the option is there, the work can go", free(func(in *Input) {
			in.Deletion = musterv1alpha1.DeletionOrphan
			in.Live = []fleet.LiveWork{edit(one[0], func(lw *fleet.LiveWork) { lw.Orphan = true })}
		}), nil, "Delete a/0"},
		"emptied part is no orphan": {"the cluster keeps the application", free(func(in *Input) {
			in.Deletion, in.Live = musterv1alpha1.DeletionOrphan, []fleet.LiveWork{live("a", 0, settings), live("a", 1, themes)}
		}), []*workv1.ManifestWork{wants("a", 1, themes)}, "Update a/1, Delete a/0"},

		"volume claim": {"its loss cannot be undone", free(func(in *Input) { in.Live = []fleet.LiveWork{live("a", 0, settings, claim)} }),
			[]*workv1.ManifestWork{wants("a", 0, settings)}, "held Update a/0 ApprovalNeeded"},
		"volume claim, approved": {"a person has looked", free(func(in *Input) {
			in.Live, in.ApprovedPlan = []fleet.LiveWork{live("a", 0, settings, claim)}, "p"
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "Update a/0"},
		"volume claim, approved before": {"it was another plan", free(func(in *Input) {
			in.Live, in.ApprovedPlan = []fleet.LiveWork{live("a", 0, settings, claim)}, "q"
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "held Update a/0 ApprovalNeeded"},
		"no plan is not approved": {"two empty digests are not the same plan", free(func(in *Input) {
			in.Live, in.PlanDigest = []fleet.LiveWork{live("a", 0, settings, claim)}, ""
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "held Update a/0 ApprovalNeeded"},
		"volume claim moves": {"it stays on the cluster", free(func(in *Input) {
			in.Live = []fleet.LiveWork{live("a", 0, settings, claim), live("a", 1, claim)}
		}), []*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, claim)}, "Update a/1, Update a/0"},
		"volume claim stays behind": {"an orphaning rule keeps it", free(func(in *Input) {
			in.Live = []fleet.LiveWork{edit(live("a", 0, settings, claim), func(lw *fleet.LiveWork) {
				lw.Kept = []fleet.ObjectKey{{Resource: "persistentvolumeclaims", Namespace: "shop", Name: "data"}}
			})}
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "Update a/0"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, summary(next(row.in, row.works))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
		})
	}
}

func TestWitnesses(t *testing.T) {
	in := Input{Live: []fleet.LiveWork{live("a", 0, settings, themes), live("a", 1, themes)}, Complete: true, MaxClusterPercent: 100}
	for _, c := range next(in, []*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes)}).Now {
		var want []work.Witness
		if c.Name == name(0) {
			want = []work.Witness{{Name: name(1), UID: "u", Generation: 5}}
		}
		if diff := cmp.Diff(want, c.Witnesses); diff != "" {
			t.Errorf("%s: only what loses a moved object needs a witness (-want +got):\n%s", c.Name, diff)
		}
	}
}

func TestDeletionGuard(t *testing.T) {
	for name, row := range map[string]struct {
		why     string
		n, lost int
		change  func(*Input)
		held    int
		message string
	}{
		"one of nine":    {why: "11 percent are more than 10", n: 9, lost: 1, held: 1, message: "retail/web would leave 1 of 9 clusters: approve with muster approve --plan plan"},
		"one of ten":     {why: "10 percent are not more than 10", n: 10, lost: 1},
		"two of ten":     {why: "20 percent are", n: 10, lost: 2, held: 2, message: "retail/web would leave 2 of 10 clusters: approve with muster approve --plan plan"},
		"the only one":   {why: "at least one", n: 1, lost: 1, held: 1, message: "retail/web would leave 1 of 1 clusters: approve with muster approve --plan plan"},
		"ten of hundred": {why: "10 percent are not more than 10", n: 100, lost: 10},
		"guard off":      {why: "100 turns it off", n: 3, lost: 3, change: func(in *Input) { in.MaxClusterPercent = 100 }},
		"approved":       {why: "a person has looked at this plan", n: 3, lost: 3, change: func(in *Input) { in.ApprovedPlan = "plan" }},
		"deletions under way": {why: "many small commits add up while clusters are not done", n: 10, lost: 2,
			change: func(in *Input) { in.Live[0].Deleting = true }, held: 1,
			message: "retail/web would leave 2 of 10 clusters: approve with muster approve --plan plan"},
		"lately": {why: "what was lost lately counts", n: 9, lost: 1,
			change: func(in *Input) { in.RecentRemovals = []musterv1alpha1.Removal{{Clusters: []string{"gone-already"}}} }, held: 1,
			message: "retail/web would leave 2 of 10 clusters, 1 of them lately and without an approval: approve with muster approve --plan plan"},
		"lately and back": {why: "what is back is not lost", n: 10, lost: 1,
			change: func(in *Input) { in.RecentRemovals = []musterv1alpha1.Removal{{Clusters: []string{"edge-009"}}} }},
		"given up": {why: "its objects stay, with the application that has them", n: 3, lost: 3,
			change: func(in *Input) { in.Elsewhere = others(in.Live) }},
		"kept as unreachable": {why: "what stays is not lost", n: 10, lost: 2,
			change: func(in *Input) { in.Unreachable = map[string]bool{"edge-000": true} }},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Application: "retail/web", Live: clusters(row.n), Complete: true, MaxClusterPercent: 10, PlanDigest: "plan"}
			if row.change != nil {
				row.change(&in)
			}
			step := next(in, keep(in.Live, row.lost))
			held := 0
			for _, h := range step.Held {
				if h.Reason == ApprovalNeeded {
					held++
				}
			}
			message := ""
			if step.Guard != nil {
				message = step.Guard.Message
			}
			if held != row.held || message != row.message {
				t.Errorf("%d held, %q; want %d, %q: %s", held, message, row.held, row.message, row.why)
			}
			for _, c := range step.Now {
				if row.held > 0 && c.Action == work.Delete {
					t.Errorf("%s is deleted: held is all or nothing", c.Cluster)
				}
			}
			if updates := len(step.Now); row.held > 0 && updates != row.n-row.lost {
				t.Errorf("%d updates go ahead, want %d", updates, row.n-row.lost)
			}
		})
	}
}

// others are works of another application, applied, with the same objects.
func others(works []fleet.LiveWork) []fleet.LiveWork {
	list := slices.Clone(works)
	for i := range list {
		list[i].Name, list[i].Application = "other-0", "retail/other"
	}
	return list
}

// TestSmallCommitsAddUp: of a hundred clusters four are taken with every commit, and the clusters keep up with it.
func TestSmallCommitsAddUp(t *testing.T) {
	begin := time.Date(2026, 8, 1, 9, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		why     string
		every   time.Duration
		commits int // after the last, time only passes
		approve bool
		want    []int // clusters left each time
	}{
		"burst":    {why: "the third would make it twelve of a hundred, and waiting does not end that", every: 9 * time.Hour, commits: 3, want: []int{96, 92, 92, 92, 92, 92}},
		"slow":     {why: "no day has more than ten percent", every: Window, commits: 6, want: []int{96, 92, 88, 84, 80, 76}},
		"approved": {why: "a person has seen the sum, and counting begins anew", every: time.Hour, commits: 6, approve: true, want: []int{96, 92, 88, 84, 80, 80}},
	} {
		t.Run(name, func(t *testing.T) {
			all := clusters(100)
			var status musterv1alpha1.ApplicationStatus
			var got []int
			for i := range row.want {
				now := begin.Add(time.Duration(i) * row.every)
				in := Input{Application: "retail/web", Live: all, Complete: true, MaxClusterPercent: 10, PlanDigest: "plan", RecentRemovals: Lately(&status, now)}
				if row.approve && i == 2 {
					in.ApprovedPlan = "plan"
				}
				works := keep(clusters(100), 4*min(i+1, row.commits))
				step := next(in, works)
				status.RecentRemovals, status.Held = step.Remember(in.RecentRemovals, now), nil
				if step.Guard != nil {
					status.Held = &musterv1alpha1.Held{}
				}
				all = slices.DeleteFunc(slices.Clone(all), func(lw fleet.LiveWork) bool {
					return slices.ContainsFunc(step.Now, func(c work.Change) bool { return c.Action == work.Delete && c.Cluster == lw.Cluster })
				})
				got = append(got, len(all))
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
		})
	}
}

// TestLossesAreRememberedOnce: a deletion that has to be tried again is one loss.
func TestLossesAreRememberedOnce(t *testing.T) {
	in := Input{Application: "retail/web", Live: clusters(20), Complete: true, MaxClusterPercent: 10, PlanDigest: "plan"}
	now := time.Date(2026, 8, 1, 9, 0, 0, 0, time.UTC)
	want := []musterv1alpha1.Removal{{At: metav1.NewTime(now), Clusters: []string{"edge-000", "edge-001"}}}
	for range 2 {
		in.RecentRemovals = next(in, keep(in.Live, 2)).Remember(in.RecentRemovals, now)
		if diff := cmp.Diff(want, in.RecentRemovals); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	in.MaxClusterPercent, in.RecentRemovals = 100, nil
	if lost := next(in, nil).Remember(nil, now); lost != nil {
		t.Errorf("a guard that is off remembers %v", lost)
	}
}

// TestGivenUp: an object that another application has leaves our work when that one's is applied, and a work that holds it
// witnesses it.
func TestGivenUp(t *testing.T) {
	in := Input{Application: "retail/web", Live: []fleet.LiveWork{live("a", 0, settings, themes)}, Complete: true, MaxClusterPercent: 10, PlanDigest: "p"}
	in.Elsewhere = []fleet.LiveWork{edit(live("a", 0, themes), func(lw *fleet.LiveWork) { lw.Name = "other-0" })}
	works := []*workv1.ManifestWork{wants("a", 0, settings)}
	step := next(in, works)
	if got := summary(step); got != "Update a/0" {
		t.Fatalf("%s, want the object dropped", got)
	}
	if diff := cmp.Diff([]work.Witness{{Name: "other-0", UID: "u", Generation: 5}}, step.Now[0].Witnesses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in.Elsewhere[0].Status = fleet.WorkStatus{}
	if got := summary(next(in, works)); got != "held Update a/0 MovePending" {
		t.Errorf("%s, want it kept until the other one's is applied", got)
	}
}

func TestGuardNamesWhatWouldGo(t *testing.T) {
	in := Input{Application: "retail/web", Complete: true, MaxClusterPercent: 10, PlanDigest: "plan",
		Live: []fleet.LiveWork{live("a", 0, settings, claim), live("b", 0, settings)}}
	got := next(in, []*workv1.ManifestWork{wants("a", 0, settings)}).Guard
	want := &GuardHold{Deletions: 2, Clusters: 1, Items: []string{"b", "PersistentVolumeClaim shop/data on a"},
		Message: "retail/web would leave 1 of 2 clusters, and retail/web would lose 1 protected objects, the first is " +
			"PersistentVolumeClaim shop/data on a: approve with muster approve --plan plan"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAwaited: an object that another application is to have, or may be to have, does not go before, and is no loss.
func TestAwaited(t *testing.T) {
	lw := live("one", 0, settings, claim)
	for by, want := range map[string]struct {
		reason HeldReason
		guard  bool
	}{
		"":            {ApprovalNeeded, true},
		"retail/site": {MovePending, false},
		NotKnown:      {ApprovalNeeded, true}, // nobody is asked to approve less than before
	} {
		in := Input{Application: "retail/web", Live: []fleet.LiveWork{lw}, Complete: true, MaxClusterPercent: 10, PlanDigest: "p",
			Awaited: map[string]map[fleet.ObjectKey]string{"one": {claim.Identity(): by}}}
		step := Next(work.Diff(in.Live, []*workv1.ManifestWork{wants("one", 0, settings)}), in)
		if len(step.Held) != 1 || step.Held[0].Reason != want.reason || (step.Guard != nil) != want.guard {
			t.Errorf("awaited by %q: held %+v, guard %+v", by, step.Held, step.Guard)
		}
	}
	in := Input{Application: "retail/web", Live: []fleet.LiveWork{live("one", 0, settings, themes)}, Complete: true, MaxClusterPercent: 10,
		Awaited: map[string]map[fleet.ObjectKey]string{"one": {themes.Identity(): NotKnown}}}
	if step := Next(work.Diff(in.Live, []*workv1.ManifestWork{wants("one", 0, settings)}), in); len(step.Held) != 1 || step.Held[0].Reason != MovePending {
		t.Errorf("what is not known yet is taken away: %+v", step)
	}
}
