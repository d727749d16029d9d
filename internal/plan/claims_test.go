package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/test/archive"
	"github.com/muster-io/muster/internal/work"
)

var contested = archive.Retail + archive.Cluster("edge-1", "") + archive.Placement("all", "{}")

// claimant is an application with an object of its own, if it has a name, and one that others want too.
func claimant(name, own string) string {
	text := "-- applications/" + name + `.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: ` + name + `, namespace: retail}
spec: {placementRef: {name: all}, source: {path: manifests/` + name + `}}
-- manifests/` + name + `/shared.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: shared}
`
	if own != "" {
		text += "-- manifests/" + name + "/own.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + own + "}\n"
	}
	return text
}

// TestTwoHoldOneObject: two applications that took an object in one moment both hold it. The second gives it up, once the
// first one's is applied, and then waits for it like anybody else.
func TestTwoHoldOneObject(t *testing.T) {
	for name, row := range map[string]struct {
		why, own string
		want     work.Action
		left     int // works
	}{
		"among others": {"it keeps what is its own", "own", work.Update, 2},
		"alone":        {"a work with nothing else in it goes, which is no loss that the guard counts", "", work.Delete, 1},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := claimant("first", "other"), claimant("second", row.own)
			w := fleet.World{FromRepository: true}
			w.Works = slices.Concat(worksOf(t, contested+first), worksOf(t, contested+second))
			p := buildText(t, contested+first+second, w)
			expectClaimed(t, p)
			changes := writes(t, p, p.Find("retail/second"))
			if len(changes) != 1 || changes[0].Action != row.want || len(changes[0].Preconditions) != 1 {
				t.Fatalf("%s: have %+v, want one %s with a witness", row.why, changes, row.want)
			}
			if n := len(writes(t, p, p.Find("retail/first"))); n > 0 {
				t.Errorf("the first changes %d works: it has what it wants", n)
			}
			w.Works = slices.DeleteFunc(w.Works, func(lw fleet.LiveWork) bool { return lw.Name == changes[0].Name })
			if wanted := changes[0].Wanted; wanted != nil {
				lw := work.Live(wanted)
				if diff := cmp.Diff("ConfigMap retail/own", objects(lw)); diff != "" {
					t.Errorf("%s (-want +have):\n%s", row.why, diff)
				}
				w.Works = append(w.Works, lw)
			}
			p = buildText(t, contested+first+second, w)
			expectClaimed(t, p)
			if changes := writes(t, p, p.Find("retail/second")); len(changes) > 0 || len(w.Works) != row.left {
				t.Errorf("it does not rest: %+v", changes)
			}
		})
	}
}

// TestNothingIsLostWithAClaim: what an application with a fault gets no more is not paid for with what it has. While a commit has
// other objects than the cluster, both keep the contested one; once the author has made room, the second lets it go.
func TestNothingIsLostWithAClaim(t *testing.T) {
	first, before := claimant("first", "other"), claimant("second", "own")
	for name, after := range map[string]string{
		"renamed": claimant("second", "renamed"),
		"dropped": claimant("second", ""),
		"added":   before + "-- manifests/second/more.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n",
	} {
		w := fleet.World{FromRepository: true}
		w.Works = slices.Concat(worksOf(t, contested+first), worksOf(t, contested+before))
		p := buildText(t, contested+first+after, w)
		expectClaimed(t, p)
		for _, key := range []string{"retail/first", "retail/second"} {
			if changes := writes(t, p, p.Find(key)); len(changes) > 0 {
				t.Errorf("%s: %s changes %+v", name, key, changes)
			}
		}
		room := strings.Replace(after, "{name: shared}", "{name: mine}", 1)
		p = buildText(t, contested+first+room, w)
		if changes := writes(t, p, p.Find("retail/second")); len(p.Faults) > 0 || len(changes) != 1 || changes[0].Action != work.Update {
			t.Errorf("%s: with room made, have %+v and %v, want one update", name, changes, p.Faults)
		}
	}
}

// expectClaimed: the one fault is that second wants what first has.
func expectClaimed(t *testing.T, p *plan.Plan) {
	t.Helper()
	if len(p.Faults) != 1 || p.Faults[0].Reason != fleet.ObjectClaimed || p.Faults[0].Application != "retail/second" {
		t.Fatalf("faults %v, want that second's object is claimed", p.Faults)
	}
}

// writes are what the hub would do now for an application.
func writes(t *testing.T, p *plan.Plan, a *plan.Application) work.Changes {
	t.Helper()
	changes, err := a.Changes()
	if err != nil {
		t.Fatal(err)
	}
	step := rollout.Next(changes, a.ReviewInput(p.World))
	for _, h := range step.Held {
		t.Errorf("%s is held: %s", h.Change.Action, h.Message)
	}
	return step.Now
}

func objects(lw fleet.LiveWork) string {
	var names []string
	for _, o := range lw.Objects {
		names = append(names, o.String())
	}
	return strings.Join(names, ", ")
}

// worksOf are the works of a repository that has been delivered everywhere.
func worksOf(t *testing.T, text string) []fleet.LiveWork {
	t.Helper()
	p := buildText(t, text, fleet.World{FromRepository: true})
	return plan.Delivered(fleet.World{}, p, p.Definitions).Works
}

func buildText(t *testing.T, text string, w fleet.World) *plan.Plan {
	t.Helper()
	files, err := txtar.FS(txtar.Parse([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	return build(t, files, w)
}

// TestOneRolloutInput: what a review says that the hub would do counts what the hub counts: an approval, and earlier losses.
func TestOneRolloutInput(t *testing.T) {
	w := fleet.World{FromRepository: true, Time: time.Date(2026, 8, 1, 9, 0, 0, 0, time.UTC)}
	onHub := musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{
		Namespace: "retail", Name: "first", Annotations: map[string]string{musterv1alpha1.ApprovedPlanAnnotation: "approved"},
	}}
	onHub.Status.RecentRemovals = []musterv1alpha1.Removal{
		{At: metav1.NewTime(w.Time.Add(-rollout.Window)), Clusters: []string{"long-ago"}},
		{At: metav1.NewTime(w.Time.Add(-time.Hour)), Clusters: []string{"recent"}},
	}
	w.Applications = []musterv1alpha1.Application{onHub}
	p := buildText(t, contested+claimant("first", ""), w)
	in := p.Find("retail/first").ReviewInput(p.World)
	if in.ApprovedPlan != "approved" || in.MaxClusterPercent != 10 {
		t.Errorf("approved %q, guarded at %d percent", in.ApprovedPlan, in.MaxClusterPercent)
	}
	if diff := cmp.Diff(onHub.Status.RecentRemovals[1:], rollout.Next(nil, in).Counted); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}
