package manifestworkreplicaset

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/work"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// setOver is a ManifestWorkReplicaSet over placements.
func setOver(strategy clusterv1alpha1.RolloutStrategy, placements ...string) *workv1alpha1.ManifestWorkReplicaSet {
	set := &workv1alpha1.ManifestWorkReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web", Generation: 3, Labels: map[string]string{"team": "shop"}}}
	set.Spec.ManifestWorkTemplate.Workload.Manifests = []workv1.Manifest{{RawExtension: runtime.RawExtension{
		Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"shop","name":"settings"}}`),
	}}}
	for _, name := range placements {
		set.Spec.PlacementRefs = append(set.Spec.PlacementRefs, workv1alpha1.LocalPlacementReference{Name: name, RolloutStrategy: strategy})
	}
	return set
}

// chooses is a placement whose pages are complete.
func chooses(name string, clusters ...string) chosen {
	return chosen{name: name, placement: &clusterv1beta1.Placement{}, complete: true, groups: []placement.Group{{Clusters: clusters}}}
}

func edited(c chosen, edit func(*chosen)) chosen {
	edit(&c)
	return c
}

// made is the work of the set on a cluster as it is wanted, done for an hour.
func madeFor(set *workv1alpha1.ManifestWorkReplicaSet, placement, cluster string, edits ...func(*fleet.LiveWork)) fleet.LiveWork {
	t := templateOf(set)
	labels := map[string]string{workv1alpha1.PlacementNameLabelKey: placement}
	for key, value := range t.labels {
		labels[key] = value
	}
	lw := fleet.LiveWork{
		Cluster: cluster, Name: work.Name(ownerOf(set), 0), Owner: ownerOf(set), OwnerDigest: ownerOf(set).Digest(), UID: cluster,
		SpecDigest: t.digest, Labels: labels, WrittenAt: now.Add(-time.Hour),
	}
	lw.Status.Conditions = fleet.WorkConditions{
		Applied: fleet.ConditionAt(true, true), Available: fleet.ConditionAt(true, true), Progressing: fleet.ConditionAt(false, true), Degraded: fleet.ConditionAt(false, true),
	}
	for _, edit := range edits {
		edit(&lw)
	}
	return lw
}

func old(lw *fleet.LiveWork)      { lw.SpecDigest = "old" }
func deleting(lw *fleet.LiveWork) { lw.Deleting = true }
func silent(lw *fleet.LiveWork)   { lw.Status = fleet.WorkStatus{} }
func progressing(lw *fleet.LiveWork) {
	lw.Status.Conditions.Progressing = fleet.ConditionAt(true, true)
}
func degraded(lw *fleet.LiveWork) {
	progressing(lw)
	lw.Status.Conditions.Degraded = fleet.ConditionAt(true, true)
}

// TestDecide: what becomes of each work, and what the status says of it.
func TestDecide(t *testing.T) {
	all := clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All}
	oneByOne := clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{MaxConcurrency: intstr.FromInt32(1)}}
	type sets = []fleet.LiveWork
	for name, c := range map[string]struct {
		why        string
		strategy   clusterv1alpha1.RolloutStrategy
		placements []chosen
		refs       []string // where they are not those of placements
		live       func(*workv1alpha1.ManifestWorkReplicaSet) sets
		refused    map[string]error
		want       string
		status     string // summary as desired/total/updated/applied/available/progressing/degraded
		conditions string // of PlacementVerified, PlacementRolledOut, ManifestworkApplied, as far as they are there
		says       string
	}{
		"first": {
			why: "a work for each cluster", strategy: all, placements: []chosen{chooses("edge", "b", "a")},
			want: "Create a edge, Create b edge", status: "2/0/0/0/0/0/0", conditions: "AsExpected Progressing NotAsExpected",
		},
		"done": {
			why: "nothing is left", strategy: all, placements: []chosen{chooses("edge", "a", "b")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a"), madeFor(s, "edge", "b")}
			},
			status: "2/2/2/2/2/0/0", conditions: "AsExpected Complete AsExpected",
		},
		"one by one": {
			why: "the second waits for the first", strategy: oneByOne, placements: []chosen{chooses("edge", "a", "b", "c")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a", progressing), madeFor(s, "edge", "b", old), madeFor(s, "edge", "c", old)}
			},
			status: "3/3/1/3/3/1/0", conditions: "AsExpected Progressing Processing", says: "placement edge: the rollout waits for a",
		},
		"stopped": {
			why: "no failure is allowed", strategy: oneByOne, placements: []chosen{chooses("edge", "a", "b")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a", degraded), madeFor(s, "edge", "b", old)}
			},
			status: "2/2/1/2/2/1/1", conditions: "AsExpected Progressing NotAsExpected", says: "the rollout is stopped: a failed",
		},
		"without rules": {
			why: "a work whose objects are there is done: the rollout goes on", strategy: oneByOne, placements: []chosen{chooses("edge", "a", "b")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a", func(lw *fleet.LiveWork) { lw.Status.Conditions.Progressing, lw.Status.Conditions.Degraded = 0, 0 }), madeFor(s, "edge", "b", old)}
			},
			want: "Update b edge", status: "2/2/1/2/2/0/0", conditions: "AsExpected Progressing AsExpected",
		},
		"not reported": {
			why: "is not done", strategy: oneByOne, placements: []chosen{chooses("edge", "a", "b")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a", silent), madeFor(s, "edge", "b", old)}
			},
			status: "2/2/1/1/1/0/0", conditions: "AsExpected Progressing NotAsExpected",
		},
		"deselected": {
			why: "its work goes", strategy: all, placements: []chosen{chooses("edge", "a")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a"), madeFor(s, "edge", "b")}
			},
			want: "Delete b", status: "1/1/1/1/1/0/0", conditions: "AsExpected Complete AsExpected",
		},
		"incomplete": {
			why: "of pages that are no complete set nothing is concluded", strategy: all,
			placements: []chosen{edited(chooses("edge", "a"), func(c *chosen) { c.complete = false })},
			live:       func(s *workv1alpha1.ManifestWorkReplicaSet) sets { return sets{madeFor(s, "edge", "b", old)} },
			status:     "0/0/0/0/0/0/0", conditions: "NotAsExpected", says: "not as many as its status says",
		},
		"no placement": {
			why: "is no reason to delete", strategy: all, placements: []chosen{{name: "edge"}},
			live:   func(s *workv1alpha1.ManifestWorkReplicaSet) sets { return sets{madeFor(s, "edge", "a")} },
			status: "0/0/0/0/0/0/0", conditions: "PlacementDecisionNotFound", says: "no placement edge",
		},
		"no decisions": {
			why: "as OCM says it", strategy: all, placements: []chosen{{name: "edge", placement: &clusterv1beta1.Placement{}}},
			status: "0/0/0/0/0/0/0", conditions: "PlacementDecisionEmpty PlacementDecisionEmpty",
		},
		"no clusters": {
			why: "one page without clusters is an answer", strategy: all, placements: []chosen{chooses("edge")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets { return sets{madeFor(s, "edge", "a")} },
			want: "Delete a", status: "0/0/0/0/0/0/0", conditions: "PlacementDecisionEmpty Complete PlacementDecisionEmpty",
		},
		"two placements": {
			why: "a cluster of both has one work, which is the first one's", strategy: all, placements: []chosen{chooses("edge", "a", "b"), chooses("core", "b", "c")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a"), madeFor(s, "edge", "b")}
			},
			want: "Create c core", status: "3/2/2/2/2/0/0", conditions: "AsExpected Progressing AsExpected", says: "b is chosen by core too, and belongs to edge",
		},
		"handed over": {
			why: "the work of a cluster that the first placement drops is kept for the second", strategy: all, placements: []chosen{chooses("edge", "a"), chooses("core", "b")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a"), madeFor(s, "edge", "b")}
			},
			want: "Update b core", status: "2/2/2/2/2/0/0", conditions: "AsExpected Complete AsExpected",
		},
		"reference removed": {
			why: "the works of a placement that is not named any more go", strategy: all, placements: []chosen{chooses("edge", "a")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a"), madeFor(s, "core", "c")}
			},
			want: "Delete c", status: "1/1/1/1/1/0/0", conditions: "AsExpected Complete AsExpected",
		},
		"made by OCM": {
			why: "a work under another name is the set's by its labels", strategy: all, placements: []chosen{chooses("edge", "a")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a", old, func(lw *fleet.LiveWork) { lw.Name = "webx7k2p" })}
			},
			want: "Update a edge", status: "1/1/0/1/1/0/0", conditions: "AsExpected Progressing AsExpected",
		},
		"second work": {
			why: "each cluster has one", strategy: all, placements: []chosen{chooses("edge", "a")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				return sets{madeFor(s, "edge", "a", deleting, func(lw *fleet.LiveWork) { lw.Name = "a" }), madeFor(s, "edge", "a"), madeFor(s, "edge", "a", func(lw *fleet.LiveWork) { lw.Name = "webz" })}
			},
			want: "Delete a", status: "1/1/1/1/1/0/0", conditions: "AsExpected Complete AsExpected",
		},
		"being deleted": {
			why: "it comes back when it is gone", strategy: all, placements: []chosen{chooses("edge", "a")},
			live:   func(s *workv1alpha1.ManifestWorkReplicaSet) sets { return sets{madeFor(s, "edge", "a", deleting)} },
			status: "1/0/0/0/0/0/0", conditions: "AsExpected Progressing NotAsExpected",
		},
		"labels": {
			why: "follow at once, without a rollout", strategy: oneByOne, placements: []chosen{chooses("edge", "a", "b")},
			live: func(s *workv1alpha1.ManifestWorkReplicaSet) sets {
				bare := func(lw *fleet.LiveWork) { delete(lw.Labels, "team") }
				return sets{madeFor(s, "edge", "a", progressing, bare), madeFor(s, "edge", "b", progressing, bare)}
			},
			want: "Update a edge, Update b edge", status: "2/2/2/2/2/2/0", conditions: "AsExpected Progressing Processing",
		},
		"refused": {
			why: "why is said, and not that there are no decisions", strategy: all, placements: []chosen{chooses("edge", "a")},
			refused: map[string]error{"a": errors.New("the namespace is being deleted")},
			want:    "Create a edge", status: "1/0/0/0/0/0/0", conditions: "AsExpected Progressing NotAsExpected", says: "on a: the namespace is being deleted",
		},
		"strategy": {
			why:        "what an API server without our schema lets through is named",
			strategy:   clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{MaxConcurrency: intstr.FromString("many")}},
			placements: []chosen{chooses("edge", "a")}, status: "0/0/0/0/0/0/0", conditions: "NotAsExpected", says: `maxConcurrency "many"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var names []string
			for _, p := range c.placements {
				names = append(names, p.name)
			}
			set := setOver(c.strategy, names...)
			var live sets
			if c.live != nil {
				live = c.live(set)
			}
			out := decide(set, templateOf(set), c.placements, live, now)
			if c.refused != nil {
				out.refused = c.refused
			}
			var changes []string
			for _, change := range append(out.gains, out.losses...) {
				text := string(change.Action) + " " + change.Cluster
				if change.Wanted != nil {
					text += " " + change.Wanted.Labels[workv1alpha1.PlacementNameLabelKey]
					if change.Wanted.Labels["team"] != "shop" || change.Wanted.Labels[workv1alpha1.ManifestWorkReplicaSetLabelKey] != "retail.web" {
						t.Errorf("the work has the labels %v", change.Wanted.Labels)
					}
				}
				if change.Live != nil && change.Wanted != nil && change.Wanted.Name != change.Live.Name {
					t.Errorf("work %s would be %s", change.Live.Name, change.Wanted.Name)
				}
				changes = append(changes, text)
			}
			if got := strings.Join(changes, ", "); got != c.want {
				t.Errorf("%s: got %q, want %q", c.why, got, c.want)
			}
			checkStatus(t, statusOf(set, out), c.status, c.conditions, c.says)
		})
	}
}

// TestHubIsSpared: a template that steers the hub changes nothing on the hub's own cluster, unless an account there bounds it.
func TestHubIsSpared(t *testing.T) {
	for name, c := range map[string]struct {
		why                 string
		namespace, manifest string
		executor, spared    bool
	}{
		"own namespace":     {why: "there a tenant delivers", namespace: "shop"},
		"another namespace": {why: "it is another tenant's", namespace: "retail", spared: true},
		"with an executor":  {why: "its rights bound it", namespace: "retail", executor: true},
		"kind of OCM":       {why: "a work is everything on its cluster", namespace: "shop", manifest: `{"apiVersion":"work.open-cluster-management.io/v1","kind":"ManifestWork","metadata":{"namespace":"shop","name":"w"}}`, spared: true},
		"the root":          {why: "it may everything", namespace: plan.RootNamespace},
	} {
		t.Run(name, func(t *testing.T) {
			set := setOver(clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All}, "edge")
			set.Namespace = c.namespace
			if c.manifest != "" {
				set.Spec.ManifestWorkTemplate.Workload.Manifests[0].Raw = []byte(c.manifest)
			}
			if c.executor {
				set.Spec.ManifestWorkTemplate.Executor = &workv1.ManifestWorkExecutor{}
			}
			template := templateOf(set)
			template.hubs = map[string]bool{"self": true}
			out := decide(set, template, []chosen{chooses("edge", "a", "self")}, nil, now)
			if got := len(out.gains) == 1 && out.gains[0].Cluster == "a" && out.refused["self"] != nil; got != c.spared || !c.spared && len(out.gains) != 2 {
				t.Errorf("%s: changes %v, refused %v", c.why, out.gains, out.refused)
			}
		})
	}
}

func checkStatus(t *testing.T, status workv1alpha1.ManifestWorkReplicaSetStatus, summary, conditions, says string) {
	t.Helper()
	s := status.Summary
	if got := fmt.Sprintf("%d/%d/%d/%d/%d/%d/%d", s.DesiredTotal, s.Total, s.Updated, s.Applied, s.Available, s.Progressing, s.Degraded); got != summary {
		t.Errorf("counts %s, want %s", got, summary)
	}
	var reasons []string
	all := ""
	for _, kind := range []string{
		workv1alpha1.ManifestWorkReplicaSetConditionPlacementVerified, workv1alpha1.ManifestWorkReplicaSetConditionPlacementRolledOut,
		workv1alpha1.ManifestWorkReplicaSetConditionManifestworkApplied,
	} {
		if condition := meta.FindStatusCondition(status.Conditions, kind); condition != nil {
			reasons = append(reasons, condition.Reason)
			all += condition.Message + "\n"
			if good := condition.Reason == "AsExpected" || condition.Reason == "Complete"; good != (condition.Status == metav1.ConditionTrue) {
				t.Errorf("%s is %s with the reason %s", kind, condition.Status, condition.Reason)
			}
		}
	}
	if got := strings.Join(reasons, " "); got != conditions {
		t.Errorf("reasons %q, want %q", got, conditions)
	}
	if !strings.Contains(all, says) {
		t.Errorf("the conditions say %q, want %q in it", all, says)
	}
}

// TestLongName: a name that makes no label is said, as OCM says it.
func TestLongName(t *testing.T) {
	set := setOver(clusterv1alpha1.RolloutStrategy{}, "edge")
	set.Name = strings.Repeat("n", 60)
	out := decide(set, templateOf(set), []chosen{chooses("edge", "a")}, nil, now)
	if len(out.gains) > 0 {
		t.Errorf("makes %v", out.gains)
	}
	checkStatus(t, statusOf(set, out), "0/0/0/0/0/0/0", "InvalidManifestWorkName", "take a shorter name")
}

// TestPlacementSummary: what each placement says of itself, clusters that it shares included.
func TestPlacementSummary(t *testing.T) {
	set := setOver(clusterv1alpha1.RolloutStrategy{}, "edge", "core")
	live := []fleet.LiveWork{madeFor(set, "edge", "a"), madeFor(set, "edge", "b", old)}
	out := decide(set, templateOf(set), []chosen{chooses("edge", "a", "b"), chooses("core", "a", "c")}, live, now)
	var got []string
	for _, p := range statusOf(set, out).PlacementsSummary {
		got = append(got, fmt.Sprintf("%s %s total %d", p.Name, p.AvailableDecisionGroups, p.Summary.Total))
	}
	if want := "edge 1 (1 / 2 clusters applied) total 2, core 1 (1 / 2 clusters applied) total 1"; strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", strings.Join(got, ", "), want)
	}
}

// TestChoose: a status that nobody writes says nothing of how many pages there are.
func TestChoose(t *testing.T) {
	page := clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge-decision-1", Labels: map[string]string{clusterv1beta1.PlacementLabel: "edge"}}}
	page.Status.Decisions = []clusterv1beta1.ClusterDecision{{ClusterName: "a"}}
	for name, c := range map[string]struct {
		status   clusterv1beta1.PlacementStatus
		pages    []clusterv1beta1.PlacementDecision
		complete bool
	}{
		"as many":   {clusterv1beta1.PlacementStatus{NumberOfSelectedClusters: 1}, []clusterv1beta1.PlacementDecision{page}, true},
		"fewer":     {clusterv1beta1.PlacementStatus{NumberOfSelectedClusters: 2}, []clusterv1beta1.PlacementDecision{page}, false},
		"by hand":   {clusterv1beta1.PlacementStatus{}, []clusterv1beta1.PlacementDecision{page}, true},
		"no pages":  {clusterv1beta1.PlacementStatus{}, nil, false},
		"none now":  {clusterv1beta1.PlacementStatus{Conditions: []metav1.Condition{{Type: "PlacementSatisfied"}}}, []clusterv1beta1.PlacementDecision{page}, false},
		"none left": {clusterv1beta1.PlacementStatus{NumberOfSelectedClusters: 1}, nil, false},
	} {
		p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge"}, Status: c.status}
		if got := choose("edge", p, c.pages); got.complete != c.complete {
			t.Errorf("%s: complete %t", name, got.complete)
		}
	}
}
