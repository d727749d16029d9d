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

func name(part int) string { return work.Name(web, part) }

// live is a work that is applied at its generation.
func live(cluster string, part int, keys ...fleet.ObjectKey) fleet.LiveWork {
	lw := fleet.LiveWork{
		Cluster: cluster, Name: name(part), Owner: web, OwnerDigest: web.Digest(),
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
		Labels:      map[string]string{musterv1alpha1.OwnerLabel: web.Digest()},
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
		in := Input{Owner: web, Live: one, Complete: true, MaxClusterPercent: 100, PlanDigest: "p"}
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
		"dependents": {"what depends on it goes first", free(func(in *Input) {
			in.DependentsPending = map[string]string{"a": "retail/web depends on it"}
		}), nil, "held Delete a/0 DependentsPending"},
		"dependents, and it stays": {"its objects are to stay", free(func(in *Input) {
			in.DependentsPending, in.Deletion = map[string]string{"a": "retail/web depends on it"}, musterv1alpha1.DeletionOrphan
		}), nil, "Orphan a/0"},
		"dependents, and another part": {"the owner does not leave the cluster", free(func(in *Input) {
			in.DependentsPending, in.Live = map[string]string{"a": "retail/web depends on it"}, []fleet.LiveWork{live("a", 0, settings), live("a", 1, themes)}
		}), []*workv1.ManifestWork{wants("a", 0, settings, themes)}, "Update a/0, held Delete a/1 HandoverPending"},
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
			in.WhenUnreachable, in.Grounds = musterv1alpha1.UnreachableReschedule, "one"
		}), nil, "Delete a/0"},
		"update of an unreachable cluster": {"it goes straight to the newest commit when it is back", free(func(in *Input) {
			in.Unreachable = map[string]bool{"a": true}
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "Update a/0"},
		"failover": {"gains come before losses", free(func(*Input) {}), []*workv1.ManifestWork{wants("b", 0, settings)}, "Create b/0, Delete a/0"},

		"handover begins": {"the gaining work first", free(func(in *Input) { in.Live = []fleet.LiveWork{live("a", 0, settings, themes)} }),
			[]*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes)}, "Create a/1, held Update a/0 HandoverPending"},
		"handover goes on": {"the gaining work reports it applied", free(func(in *Input) { in.Live = []fleet.LiveWork{live("a", 0, settings, themes), gaining} }),
			[]*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes)}, "Update a/0, Update a/1"},
		"handover at another generation": {"what was applied before says nothing", free(func(in *Input) {
			in.Live = []fleet.LiveWork{live("a", 0, settings, themes), edit(gaining, func(lw *fleet.LiveWork) { lw.Status.Observed = false })}
		}), []*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes, settings)}, "Update a/1, held Update a/0 HandoverPending"},
		"handover of a failed object": {"others are applied, this one is not", free(func(in *Input) {
			in.Live = []fleet.LiveWork{live("a", 0, settings, themes), edit(gaining, func(lw *fleet.LiveWork) { lw.Status.AppliedObjects = []bool{false, true} })}
		}), []*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes, settings)}, "Update a/1, held Update a/0 HandoverPending"},
		"handover to a work that is deleted": {"its objects are about to be deleted", free(func(in *Input) {
			in.Live = []fleet.LiveWork{live("a", 0, settings, themes), edit(gaining, func(lw *fleet.LiveWork) { lw.Deleting = true })}
		}), []*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes)}, "held Update a/0 HandoverPending, held Create a/1 WorkDeleting"},
		"emptied part": {"its work goes when its object has arrived", free(func(in *Input) {
			in.Live = []fleet.LiveWork{live("a", 0, settings), gaining}
		}), []*workv1.ManifestWork{wants("a", 1, themes, settings)}, "Update a/1, Delete a/0"},
		"emptied part too early": {"deleting it would delete the object", free(func(*Input) {}),
			[]*workv1.ManifestWork{wants("a", 1, settings)}, "Create a/1, held Delete a/0 HandoverPending"},

		"still being deleted": {"the name is not free", free(func(in *Input) {
			in.Live = []fleet.LiveWork{edit(one[0], func(lw *fleet.LiveWork) { lw.Deleting = true })}
		}), []*workv1.ManifestWork{wants("a", 0, settings)}, "held Create a/0 WorkDeleting"},
		"foreign": {"never overwritten", free(func(in *Input) {
			in.Live = []fleet.LiveWork{edit(one[0], func(lw *fleet.LiveWork) { lw.OwnerDigest = "" })}
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

func TestPreconditions(t *testing.T) {
	in := Input{Live: []fleet.LiveWork{live("a", 0, settings, themes), live("a", 1, themes)}, Complete: true, MaxClusterPercent: 100}
	for _, c := range next(in, []*workv1.ManifestWork{wants("a", 0, settings), wants("a", 1, themes)}).Now {
		var want []work.Precondition
		if c.Name == name(0) {
			want = []work.Precondition{{Name: name(1), UID: "u", Generation: 5}}
		}
		if diff := cmp.Diff(want, c.Preconditions); diff != "" {
			t.Errorf("%s: only what loses a moved object has a precondition (-want +got):\n%s", c.Name, diff)
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
		"recent": {why: "what was lost within a day counts", n: 9, lost: 1,
			change: func(in *Input) { in.Removals = []musterv1alpha1.Removal{{Clusters: []string{"gone-already"}}} }, held: 1,
			message: "retail/web would leave 2 of 10 clusters, 1 of them within the last day and without an approval: approve with muster approve --plan plan"},
		"recent and back": {why: "what is back is not lost", n: 10, lost: 1,
			change: func(in *Input) { in.Removals = []musterv1alpha1.Removal{{Clusters: []string{"edge-009"}}} }},
		"given up": {why: "its objects stay, with the application that has them", n: 3, lost: 3,
			change: func(in *Input) { in.OtherHolders = others(in.Live) }},
		"kept as unreachable": {why: "what stays is not lost", n: 10, lost: 2,
			change: func(in *Input) { in.Unreachable = map[string]bool{"edge-000": true} }},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Owner: web, Live: clusters(row.n), Complete: true, MaxClusterPercent: 10, PlanDigest: "plan"}
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
		list[i].Name, list[i].Owner = "other-0", fleet.ApplicationOwner("retail", "other")
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
				in := Input{Owner: web, Live: all, Complete: true, MaxClusterPercent: 10, PlanDigest: "plan", Now: now, Removals: status.RecentRemovals, GuardHolds: status.Held != nil}
				if row.approve && i == 2 {
					in.ApprovedPlan = "plan"
				}
				works := keep(clusters(100), 4*min(i+1, row.commits))
				step := next(in, works)
				status.RecentRemovals, status.Held = step.Recorded(), nil
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
	in := Input{Owner: web, Live: clusters(20), Complete: true, MaxClusterPercent: 10, PlanDigest: "plan"}
	now := time.Date(2026, 8, 1, 9, 0, 0, 0, time.UTC)
	in.Now = now
	want := []musterv1alpha1.Removal{{At: metav1.NewTime(now), Clusters: []string{"edge-000", "edge-001"}}}
	for range 2 {
		in.Removals = next(in, keep(in.Live, 2)).Recorded()
		if diff := cmp.Diff(want, in.Removals); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	in.MaxClusterPercent, in.Removals = 100, nil
	if lost := next(in, nil).Recorded(); lost != nil {
		t.Errorf("a guard that is off remembers %v", lost)
	}
}

// TestGivenUp: an object that another owner has leaves our work when that one's is applied, and the work that holds it becomes
// a precondition.
func TestGivenUp(t *testing.T) {
	in := Input{Owner: web, Live: []fleet.LiveWork{live("a", 0, settings, themes)}, Complete: true, MaxClusterPercent: 10, PlanDigest: "p"}
	in.OtherHolders = []fleet.LiveWork{edit(live("a", 0, themes), func(lw *fleet.LiveWork) { lw.Name = "other-0" })}
	works := []*workv1.ManifestWork{wants("a", 0, settings)}
	step := next(in, works)
	if got := summary(step); got != "Update a/0" {
		t.Fatalf("%s, want the object dropped", got)
	}
	if diff := cmp.Diff([]work.Precondition{{Name: "other-0", UID: "u", Generation: 5}}, step.Now[0].Preconditions); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in.OtherHolders[0].Status = fleet.WorkStatus{}
	if got := summary(next(in, works)); got != "held Update a/0 HandoverPending" {
		t.Errorf("%s, want it kept until the other one's is applied", got)
	}
}

func TestGuardNamesWhatWouldGo(t *testing.T) {
	in := Input{Owner: web, Complete: true, MaxClusterPercent: 10, PlanDigest: "plan",
		Live: []fleet.LiveWork{live("a", 0, settings, claim), live("b", 0, settings)}}
	got := next(in, []*workv1.ManifestWork{wants("a", 0, settings)}).Guard
	want := &GuardHold{Deletions: 2, Clusters: 1, Items: []string{"b", "PersistentVolumeClaim shop/data on a"},
		Message: "retail/web would leave 1 of 2 clusters, and retail/web would lose 1 protected objects, the first is " +
			"PersistentVolumeClaim shop/data on a: approve with muster approve --plan plan"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWantedBy: an object that another owner gets, or may get, is not dropped before that, and is no loss.
func TestWantedBy(t *testing.T) {
	lw := live("one", 0, settings, claim)
	for owner, want := range map[fleet.Owner]struct {
		reason HeldReason
		guard  bool
	}{
		{}:                                       {ApprovalNeeded, true},
		fleet.ApplicationOwner("retail", "site"): {HandoverPending, false},
		UnknownOwner:                             {ApprovalNeeded, true}, // nobody is asked to approve less than before
	} {
		in := Input{Owner: web, Live: []fleet.LiveWork{lw}, Complete: true, MaxClusterPercent: 10, PlanDigest: "p",
			WantedBy: map[string]map[fleet.ObjectKey]fleet.Owner{"one": {claim.Identity(): owner}}}
		step := Next(work.Diff(in.Live, []*workv1.ManifestWork{wants("one", 0, settings)}), in)
		if len(step.Held) != 1 || step.Held[0].Reason != want.reason || (step.Guard != nil) != want.guard {
			t.Errorf("wanted by %q: held %+v, guard %+v", owner, step.Held, step.Guard)
		}
	}
	in := Input{Owner: web, Live: []fleet.LiveWork{live("one", 0, settings, themes)}, Complete: true, MaxClusterPercent: 10,
		WantedBy: map[string]map[fleet.ObjectKey]fleet.Owner{"one": {themes.Identity(): UnknownOwner}}}
	if step := Next(work.Diff(in.Live, []*workv1.ManifestWork{wants("one", 0, settings)}), in); len(step.Held) != 1 || step.Held[0].Reason != HandoverPending {
		t.Errorf("what is not known yet is taken away: %+v", step)
	}
}

// TestObjectGuard: content that shrinks is held although the application stays on its clusters.
func TestObjectGuard(t *testing.T) {
	object := func(kind, name string) fleet.ObjectKey {
		return fleet.ObjectKey{Version: "v1", Kind: kind, Resource: strings.ToLower(kind) + "s", Namespace: "shop", Name: name}
	}
	ten := func() []fleet.ObjectKey {
		var keys []fleet.ObjectKey
		for i := range 10 {
			keys = append(keys, object("Service", fmt.Sprintf("s%d", i)))
		}
		return keys
	}
	on := func(clusters int, keys []fleet.ObjectKey) []fleet.LiveWork {
		var list []fleet.LiveWork
		for i := range clusters {
			list = append(list, live(fmt.Sprintf("edge-%d", i), 0, keys...))
		}
		return list
	}
	everywhere := func(keys ...fleet.ObjectKey) func(int) []fleet.ObjectKey {
		return func(int) []fleet.ObjectKey { return keys }
	}
	for name, row := range map[string]struct {
		why     string
		live    []fleet.LiveWork
		wants   func(cluster int) []fleet.ObjectKey
		change  func(*Input)
		held    int
		message string
	}{
		"one of three":  {why: "a single object is a matter of every day", live: on(3, ten()[:3]), wants: everywhere(ten()[:2]...)},
		"two of ten":    {why: "20 percent are more than 10", live: on(3, ten()), wants: everywhere(ten()[:8]...), held: 3, message: "would lose 2 of 10 objects"},
		"two of twenty": {why: "10 percent are not more than 10", live: on(3, append(ten(), renamed(ten())...)), wants: everywhere(append(ten(), renamed(ten())[:8]...)...)},
		"on few clusters": {why: "one of ten clusters is not more than 10 percent", live: on(10, ten()), wants: func(cluster int) []fleet.ObjectKey {
			if cluster == 0 {
				return ten()[:1]
			}
			return ten()
		}},
		"on more clusters": {why: "two of ten are", live: on(10, ten()), wants: func(cluster int) []fleet.ObjectKey {
			if cluster < 2 {
				return ten()[:5]
			}
			return ten()
		}, held: 2, message: "would lose 5 of 10 objects"},
		"replaced": {why: "a generated name changes with every edit: a new one of its kind comes", live: on(3, ten()), wants: everywhere(renamed(ten())...)},
		"replaced by half": {why: "four are not replaced", live: on(3, ten()), wants: everywhere(renamed(ten())[:6]...), held: 3,
			message: "would lose 4 of 10 objects"},
		"replaced by another kind": {why: "a ConfigMap stands for no Service", live: on(3, ten()[:2]), wants: everywhere(settings, themes), held: 3,
			message: "would lose 2 of 2 objects"},
		"kept": {why: "an orphaning rule leaves them", live: keepAll(on(3, ten())), wants: everywhere(ten()[:1]...)},
		"handed over": {why: "another owner has them", live: on(3, ten()), wants: everywhere(ten()[:1]...),
			change: func(in *Input) { in.OtherHolders = others(in.Live) }},
		"empty but for its namespace": {why: "nothing is left", live: on(3, ten()[:1]), wants: everywhere(object("Namespace", "shop")),
			change: func(in *Input) { in.Emptied = map[string]bool{"edge-0": true, "edge-1": true, "edge-2": true} }, held: 3,
			message: "would lose all its objects on 3 of 3 clusters, for which its content is empty"},
		"empty on one of many": {why: "no share excuses content that is gone", live: on(20, ten()[:1]), wants: func(cluster int) []fleet.ObjectKey {
			if cluster == 0 {
				return nil
			}
			return ten()[:1]
		}, change: func(in *Input) { in.Emptied = map[string]bool{"edge-0": true} }, held: 1,
			message: "would lose all its objects on 1 of 20 clusters, for which its content is empty"},
		"empty everywhere": {why: "it leaves all clusters, and says why", live: on(3, ten()[:1]), wants: everywhere(),
			change: func(in *Input) { in.Emptied = map[string]bool{"edge-0": true, "edge-1": true, "edge-2": true} }, held: 3,
			message: "would leave 3 of 3 clusters, since its content is empty"},
		"empty, and all handed over": {why: "nothing is deleted", live: on(3, ten()), wants: everywhere(), change: func(in *Input) {
			in.OtherHolders, in.Emptied = others(in.Live), map[string]bool{"edge-0": true, "edge-1": true, "edge-2": true}
		}},
		"guard off": {why: "100 turns it off", live: on(3, ten()), wants: everywhere(ten()[:1]...), change: func(in *Input) {
			in.MaxClusterPercent, in.Emptied = 100, map[string]bool{"edge-0": true}
		}},
		"approved": {why: "a person has looked", live: on(3, ten()), wants: everywhere(ten()[:1]...), change: func(in *Input) { in.ApprovedPlan = "plan" }},
		"on record": {why: "what was lost within a day counts", live: on(3, ten()), wants: everywhere(ten()[:9]...), change: func(in *Input) {
			in.Removals = []musterv1alpha1.Removal{{Objects: []string{"Service shop/gone"}}}
		}, held: 3, message: "would lose 2 of 11 objects"},
		"on record and back": {why: "what is back is not lost", live: on(3, ten()), wants: everywhere(ten()[:9]...), change: func(in *Input) {
			in.Removals = []musterv1alpha1.Removal{{Objects: []string{"Service shop/s0"}}}
		}},
		"on record and under way": {why: "what some clusters have not dropped yet counts once", live: on(3, append(ten(), renamed(ten())...)),
			wants: everywhere(append(ten(), renamed(ten())[:8]...)...), change: func(in *Input) {
				in.Removals = []musterv1alpha1.Removal{{Objects: []string{"Service shop/s8-new", "Service shop/s9-new"}}}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Owner: web, Live: row.live, Complete: true, MaxClusterPercent: 10, PlanDigest: "plan"}
			if row.change != nil {
				row.change(&in)
			}
			var works []*workv1.ManifestWork
			for i, lw := range row.live {
				if keys := row.wants(i); len(keys) > 0 {
					works = append(works, wants(lw.Cluster, 0, keys...))
				}
			}
			step := next(in, works)
			held, message := 0, ""
			for _, h := range step.Held {
				if h.Reason == ApprovalNeeded {
					held++
				}
			}
			if step.Guard != nil {
				message = step.Guard.Message
			}
			want := row.message
			if want != "" {
				want = "retail/web " + want + ": approve with muster approve --plan plan"
			}
			if held != row.held || message != want {
				t.Errorf("%d held, %q; want %d, %q: %s", held, message, row.held, want, row.why)
			}
		})
	}
}

func renamed(keys []fleet.ObjectKey) []fleet.ObjectKey {
	list := slices.Clone(keys)
	for i := range list {
		list[i].Name += "-new"
	}
	return list
}

// keepAll are the works with a rule that leaves every object on the cluster.
func keepAll(works []fleet.LiveWork) []fleet.LiveWork {
	for i := range works {
		for _, key := range works[i].Objects {
			works[i].Kept = append(works[i].Kept, fleet.ObjectKey{Group: key.Group, Resource: key.Resource, Namespace: key.Namespace, Name: key.Name})
		}
	}
	return works
}

// TestSmallCommitsOfObjectsAddUp: a commit an hour drops one of twenty objects, and clusters keep up with it.
func TestSmallCommitsOfObjectsAddUp(t *testing.T) {
	var keys []fleet.ObjectKey
	for i := range 20 {
		keys = append(keys, fleet.ObjectKey{Version: "v1", Kind: "Service", Namespace: "shop", Name: fmt.Sprintf("s%02d", i)})
	}
	has := slices.Clone(keys)
	var status musterv1alpha1.ApplicationStatus
	var got []int
	for hour := range 5 {
		in := Input{
			Owner: web, Now: time.Date(2026, 8, 1, hour, 0, 0, 0, time.UTC), Live: []fleet.LiveWork{live("a", 0, has...)}, Complete: true,
			MaxClusterPercent: 10, PlanDigest: "plan", Removals: status.RecentRemovals, GuardHolds: status.Held != nil,
		}
		if hour == 3 {
			in.ApprovedPlan = "plan"
		}
		step := next(in, []*workv1.ManifestWork{wants("a", 0, keys[:19-hour]...)})
		status.RecentRemovals, status.Held = step.Recorded(), nil
		if step.Guard != nil {
			status.Held = &musterv1alpha1.Held{}
		} else {
			has = keys[:19-hour]
		}
		got = append(got, len(has))
	}
	if diff := cmp.Diff([]int{19, 18, 18, 16, 15}, got); diff != "" {
		t.Errorf("two of twenty may go in a day, an approval ends the counting (-want +got):\n%s", diff)
	}
}

// TestNextLook: a step says when time alone changes it.
func TestNextLook(t *testing.T) {
	now := time.Date(2026, 8, 2, 9, 0, 0, 0, time.UTC)
	removal := func(age time.Duration) musterv1alpha1.Removal {
		return musterv1alpha1.Removal{At: metav1.NewTime(now.Add(-age)), Clusters: []string{"gone"}}
	}
	all := clusters(20)
	for name, row := range map[string]struct {
		why      string
		removals []musterv1alpha1.Removal
		lost     int
		want     time.Duration
	}{
		"nothing":  {why: "nothing waits for the time"},
		"removals": {why: "the first to stop counting", removals: []musterv1alpha1.Removal{removal(2 * time.Hour), removal(time.Hour)}, want: 22 * time.Hour},
		"outdated": {why: "it does not count any more", removals: []musterv1alpha1.Removal{removal(Window)}},
		"held":     {why: "a hold does not end by waiting", removals: []musterv1alpha1.Removal{removal(time.Hour)}, lost: 5},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Owner: web, Now: now, Live: all, Complete: true, MaxClusterPercent: 10, PlanDigest: "plan", Removals: row.removals}
			var got time.Duration
			if look := next(in, keep(all, row.lost)).NextLook; !look.IsZero() {
				got = look.Sub(now)
			}
			if got != row.want {
				t.Errorf("looks again after %s, want %s: %s", got, row.want, row.why)
			}
		})
	}
}

// TestIdle: a step that follows one with nothing to do is the one that Next would decide.
func TestIdle(t *testing.T) {
	now := time.Date(2026, 8, 2, 9, 0, 0, 0, time.UTC)
	in := Input{Owner: web, Now: now, Live: clusters(3), Complete: true, MaxClusterPercent: 10, PlanDigest: "plan", Grounds: "one", Settled: &musterv1alpha1.Settled{Grounds: "one", Clusters: 7},
		Decisions: map[string]fleet.Decision{"edge-000": {Cluster: "edge-000"}, "edge-001": {Cluster: "edge-001", Chosen: true}},
		Removals:  []musterv1alpha1.Removal{{At: metav1.NewTime(now.Add(-time.Hour)), Clusters: []string{"gone"}}}}
	first := Next(nil, in)
	for name, change := range map[string]func(*Input){
		"the same":    func(*Input) {},
		"later":       func(in *Input) { in.Now = now.Add(time.Hour) },
		"a day later": func(in *Input) { in.Now = now.Add(Window) },
		"approved":    func(in *Input) { in.ApprovedPlan = "plan" },
		"on record now": func(in *Input) {
			in.Removals = append(slices.Clone(in.Removals), musterv1alpha1.Removal{At: metav1.NewTime(now)})
		},
	} {
		in := in
		change(&in)
		if diff := cmp.Diff(Next(nil, in), first.Idle(in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
