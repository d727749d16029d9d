package overview

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
)

// TestAsLive has a scheduler that would choose a and not b, and a hub on which another one decided.
func TestAsLive(t *testing.T) {
	rows := map[string]struct {
		why    string
		live   []string
		number int32
		want   [][]string // cluster, chosen, reason, change
	}{
		"the same": {"nothing to add", []string{"a"}, 1, [][]string{{"a", "yes", "in set prod", ""}, {"b", "no", "tainted", "tolerate it"}}},
		"the other": {"what is on the hub counts", []string{"b"}, 1, [][]string{
			{"a", "no", "not yet in the decisions on the hub, although: in set prod", "the hub has to schedule the placement"},
			{"b", "yes", "chosen by the decisions on the hub, although: tainted", ""},
		}},
		"incomplete": {"pages that do not add up say nothing", []string{"b"}, 2, [][]string{{"a", "yes", "in set prod", ""}, {"b", "no", "tainted", "tolerate it"}}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shops"}}
			p.Status.NumberOfSelectedClusters = row.number
			page := clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Labels: map[string]string{clusterv1beta1.PlacementLabel: "shops"}}}
			for _, c := range row.live {
				page.Status.Decisions = append(page.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: c})
			}
			decisions := []placement.Explained{
				{Decision: fleet.Decision{Cluster: "a", Chosen: true, Step: placement.StepChosen, Reason: "in set prod"}},
				{Decision: fleet.Decision{Cluster: "b", Step: placement.StepTaints, Reason: "tainted"}, Change: "tolerate it"},
			}
			(&Knowledge{World: &fleet.World{Decisions: []clusterv1beta1.PlacementDecision{page}}}).asLive(p, decisions)
			var got [][]string
			for _, d := range decisions {
				got = append(got, []string{d.Cluster, map[bool]string{true: "yes", false: "no"}[d.Chosen], d.Reason, d.Change})
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
		})
	}
}

// TestAsTheirs has a placement that our scheduler leaves to another one: it would choose a, and the other has chosen b.
func TestAsTheirs(t *testing.T) {
	const annotated = "another scheduler decides: annotation cluster.open-cluster-management.io/experimental-scheduling-disable=true"
	rows := map[string]struct {
		why       string
		live      []string
		number    int32
		scheduled int64 // generation
		notes     []string
	}{
		"complete": {"pages, number and generation agree", []string{"b"}, 1, 2, nil},
		"no number": {"pages without the number in the status", []string{"b"}, 0, 2, []string{
			"its decisions are not complete, so that applications do not follow it: they name 1 cluster, and status.numberOfSelectedClusters is 0"}},
		"old": {"the spec has changed since", []string{"b"}, 1, 1, []string{
			"it has not said in condition PlacementSatisfied that generation 2 is scheduled, so that applications do not follow it"}},
		"none": {"it has not begun", nil, 0, 0, []string{"it has written no decisions yet, so that applications do not follow it"}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			w := &fleet.World{}
			for _, c := range []string{"a", "b"} {
				w.Clusters = append(w.Clusters, clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: c, Labels: map[string]string{clusterv1beta2.ClusterSetLabel: "prod"}}})
			}
			w.Clusters[1].Spec.Taints = []clusterv1.Taint{{Key: "k", Effect: clusterv1.TaintEffectNoSelect}}
			w.ClusterSets = []clusterv1beta2.ManagedClusterSet{{ObjectMeta: metav1.ObjectMeta{Name: "prod"}}}
			w.Bindings = []clusterv1beta2.ManagedClusterSetBinding{{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "prod"}}}
			p := clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shops", Generation: 2,
				Annotations: map[string]string{clusterv1beta1.PlacementDisableAnnotation: "true"}}}
			p.Status.NumberOfSelectedClusters = row.number
			p.Status.Conditions = []metav1.Condition{{Type: clusterv1beta1.PlacementConditionSatisfied, ObservedGeneration: row.scheduled}}
			w.Placements = []clusterv1beta1.Placement{p}
			if len(row.live) > 0 {
				page := clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Labels: map[string]string{clusterv1beta1.PlacementLabel: "shops"}}}
				for _, c := range row.live {
					page.Status.Decisions = append(page.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: c})
				}
				w.Decisions = []clusterv1beta1.PlacementDecision{page}
			}
			r, err := (&Knowledge{World: w}).Placement("retail/shops", "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]string{annotated}, row.notes...), r.Scheduler); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
			want := []placement.Explained{
				{Decision: fleet.Decision{Cluster: "a", Reason: "not in its decisions"}, Change: "the other scheduler has to choose it"},
				{Decision: fleet.Decision{Cluster: "b", Reason: "not in its decisions"}, Change: "the other scheduler has to choose it"},
			}
			if len(row.live) > 0 {
				want[1] = placement.Explained{Decision: fleet.Decision{Cluster: "b", Chosen: true, Reason: "in its decisions"}}
			}
			if diff := cmp.Diff(want, r.Decisions); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
			if want := Count(len(row.live), "cluster") + " chosen by another scheduler"; r.Summary != want {
				t.Errorf("summary %q, want %q", r.Summary, want)
			}
		})
	}
}

// TestWaits: what stands between a commit and a cluster besides decision, fault and hold.
func TestWaits(t *testing.T) {
	now := time.Unix(7200, 0)
	at := metav1.Time{Time: now.Add(-5 * time.Minute)}
	of := func(kind, status, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, Message: message, LastTransitionTime: at}
	}
	joined, available := condition(clusterv1.ManagedClusterConditionJoined, true), condition(clusterv1.ManagedClusterConditionAvailable, true)
	for name, row := range map[string]struct {
		why    string
		change func(k *Knowledge, a *musterv1alpha1.Application)
		want   string
	}{
		"nothing": {"all is as it should be", func(*Knowledge, *musterv1alpha1.Application) {}, ""},
		"dead hub": {"nobody acts", func(k *Knowledge, _ *musterv1alpha1.Application) {
			k.Hub = Hub{State: HubSilent, LastSeen: &at.Time}
		},
			"the hub: last seen 5m ago"},
		"offline": {"the cluster does not answer", func(k *Knowledge, _ *musterv1alpha1.Application) {
			k.World.Clusters[0].Status.Conditions = []metav1.Condition{joined, of(clusterv1.ManagedClusterConditionAvailable, "Unknown", "R", "the agent stopped.")}
		}, "the cluster is offline for 5m (the agent stopped): what it has stays"},
		"unreachable repository": {"the newest commit cannot be known", func(k *Knowledge, _ *musterv1alpha1.Application) {
			k.Repositories[0].Status.DeliveredAt = &metav1.Time{Time: now.Add(-time.Hour)}
			k.Repositories[0].Status.Conditions = []metav1.Condition{of("Fetched", "False", "SourceUnavailable", "the host cannot be reached")}
		}, "cannot be fetched for 5m: the host cannot be reached; aaaaaaa of 60m ago stays"},
		"settling": {"placements are being decided", func(k *Knowledge, _ *musterv1alpha1.Application) {
			k.Repositories[0].Status.FetchedRevision = "bbbbbbbbbb"
			k.Repositories[0].Status.Conditions = []metav1.Condition{of("Delivered", "False", "Waiting", "the decisions of placement retail/shops to follow")}
		}, "has fetched bbbbbbb and not delivered it, which waits for: the decisions of placement retail/shops to follow"},
		"rewritten": {"", func(k *Knowledge, _ *musterv1alpha1.Application) {
			k.Repositories[0].Status.Conditions = []metav1.Condition{of("Fetched", "True", "HistoryRewritten", "the history was rewritten")}
		}, "repository muster-system/fleet: the history was rewritten"},
		"stale": {"the application is behind its repository", func(_ *Knowledge, a *musterv1alpha1.Application) { a.Status.Revision = "0000000000" },
			"the application is planned at 0000000, and aaaaaaa is delivered"},
		"waiting": {"the commit is half on the hub", func(_ *Knowledge, a *musterv1alpha1.Application) {
			a.Status.Conditions = []metav1.Condition{of("Planned", "False", "Waiting", "waits for commit bbbbbbb")}
		}, "the application is not planned: waits for commit bbbbbbb"},
		"unseen": {"the hub has not come to it", func(_ *Knowledge, a *musterv1alpha1.Application) { a.Generation = 2 }, "has not seen the application as it is now"},
		"pending work": {"the agent has not come to it", func(k *Knowledge, _ *musterv1alpha1.Application) {
			k.World.Works = []fleet.LiveWork{{Name: "web-1", Owner: fleet.ApplicationOwner("retail", "web"), Cluster: "a"}}
		}, "the agent has not reported on work web-1"},
	} {
		t.Run(name, func(t *testing.T) {
			a := app("web", "aaaaaaaaaa", musterv1alpha1.Summary{Clusters: 1, Healthy: 1})
			k := &Knowledge{
				Hub: Hub{State: HubRuns}, Repositories: []musterv1alpha1.FleetRepository{delivered("aaaaaaaaaa")},
				World: &fleet.World{Time: now, Clusters: []clusterv1.ManagedCluster{managed("a", true, joined, available)}},
			}
			row.change(k, &a)
			waits := k.waits(&a, "a")
			if row.want == "" && len(waits) > 0 || row.want != "" && (len(waits) != 1 || !strings.Contains(waits[0], row.want)) {
				t.Errorf("%s: %q, want %q", row.why, waits, row.want)
			}
		})
	}
	reported := app("web", "aaaaaaaaaa", musterv1alpha1.Summary{Clusters: 1, Drifted: 1}, musterv1alpha1.ClusterStatus{Cluster: "a", State: "Drifted", ActionRequiredBy: "Controller"})
	world := &fleet.World{Time: now, Clusters: []clusterv1.ManagedCluster{managed("a", true, joined, available)}}
	world.Placements = []clusterv1beta1.Placement{{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web"}}}
	for policy, want := range map[musterv1alpha1.DriftPolicy]string{musterv1alpha1.DriftReport: "User", musterv1alpha1.DriftCorrect: "Controller"} {
		reported.Spec.Sync.Drift = policy
		r, err := (&Knowledge{Hub: Hub{State: HubRuns}, World: world}).Application(&reported, "a")
		if err != nil || r.Row.ActionRequiredBy != want {
			t.Errorf("drift under %s is the move of %+v (%v), want %s", policy, r, err, want)
		}
	}
}

func condition(kind string, ok bool) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: "R", Message: "m"}
}

func managed(name string, accepted bool, conditions ...metav1.Condition) clusterv1.ManagedCluster {
	m := clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	m.Spec.HubAcceptsClient = accepted
	m.Status.Conditions = conditions
	return m
}

func app(name, revision string, s musterv1alpha1.Summary, rows ...musterv1alpha1.ClusterStatus) musterv1alpha1.Application {
	a := musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{
		Namespace: "retail", Name: name, Annotations: map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet"},
	}}
	a.Spec.PlacementRef.Name = name
	a.Status.Revision, a.Status.Summary, a.Status.Clusters = revision, s, rows
	a.Status.Conditions = []metav1.Condition{condition("Planned", true), condition("Ready", true)}
	return a
}

func delivered(revision string) musterv1alpha1.FleetRepository {
	r := musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
	r.Status.Revision, r.Status.FetchedRevision = revision, revision
	return r
}
