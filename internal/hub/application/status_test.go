package application

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

func TestRowOfWorks(t *testing.T) {
	good := fleet.WorkStatus{Observed: true, Applied: true, Health: fleet.HealthHealthy}
	work := func(set string, size int, status fleet.WorkStatus) fleet.LiveWork {
		return fleet.LiveWork{Cluster: "one", SetDigest: set, SetSize: size, Status: status}
	}
	cases := map[string]struct {
		why     string
		works   []fleet.LiveWork
		offline bool
		refused error
		state   string
		current bool
		healthy bool
	}{
		"Healthy": {
			why: "all works of the wanted set are applied and healthy", works: []fleet.LiveWork{work("a", 2, good), work("a", 2, good)},
			state: StateHealthy, current: true, healthy: true,
		},
		"Missing": {
			why: "one of two works is not there yet", works: []fleet.LiveWork{work("a", 2, good)}, state: StatePending,
		},
		"None": {why: "no work at all is not current", state: StatePending},
		"OlderSet": {
			why: "works of an older set say nothing about the newest plan", works: []fleet.LiveWork{work("old", 1, good)}, state: StatePending,
		},
		"NotObserved": {
			why:   "conditions of an older generation do not count",
			works: []fleet.LiveWork{work("a", 1, fleet.WorkStatus{Applied: true, Health: fleet.HealthHealthy})}, state: StatePending,
		},
		"HealthUnknown": {
			why:   "what is not reported is not healthy",
			works: []fleet.LiveWork{work("a", 1, fleet.WorkStatus{Observed: true, Applied: true})}, state: StateApplied, current: true,
		},
		"Degraded": {
			why:   "applied, and an object does not do well",
			works: []fleet.LiveWork{work("a", 1, fleet.WorkStatus{Observed: true, Applied: true, Health: fleet.HealthDegraded})},
			state: StateDegraded, current: true,
		},
		"ApplyFailed": {
			why: "the cluster refused an object",
			works: []fleet.LiveWork{work("a", 1, fleet.WorkStatus{Observed: true, Problems: []fleet.ObjectProblem{
				{Object: fleet.ObjectKey{Kind: "Pod", Name: "x"}, State: "ApplyFailed", Message: "no"},
			}})},
			state: StateFailed,
		},
		"Drifted": {
			why: "applied and healthy, and somebody changed a field",
			works: []fleet.LiveWork{work("a", 1, fleet.WorkStatus{Observed: true, Applied: true, Health: fleet.HealthHealthy, Problems: []fleet.ObjectProblem{
				{Object: fleet.ObjectKey{Kind: "Pod", Name: "x"}, State: StateDrifted, Message: "replicas"},
			}})},
			state: StateDrifted, current: true, healthy: true,
		},
		"Offline": {
			why: "what is pending on a cluster that does not answer is offline", works: []fleet.LiveWork{work("old", 1, good)}, offline: true, state: StateOffline,
		},
		"Refused": {
			why: "the API server refused the work", works: []fleet.LiveWork{work("a", 1, good)}, refused: errors.New("too large"),
			state: StateFailed, current: true, healthy: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := rowOfWorks("one", tc.works, "a", tc.offline, tc.refused)
			if r.State != tc.state || r.current != tc.current || r.healthy != tc.healthy {
				t.Errorf("%s: state %s current %v healthy %v, want %s %v %v", tc.why, r.State, r.current, r.healthy, tc.state, tc.current, tc.healthy)
			}
		})
	}
}

// TestKeptIsTold: the works of a cluster that its placement has dropped only because it does not answer stay, and its row says so.
// It counts as offline, and nothing waits for an approval.
func TestKeptIsTold(t *testing.T) {
	world := &fleet.World{}
	for _, name := range []string{"kept", "silent"} {
		world.Clusters = append(world.Clusters, clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	out := &report{offline: plan.UnreachableIn(world), planned: &plan.Application{Clusters: []plan.Cluster{{Name: "kept", Kept: true}, {Name: "silent"}}}}
	var told []string
	for _, name := range []string{"kept", "silent"} {
		out.clusters.set(name, rowsOn(out, name, nil))
	}
	rows := out.clusters.worst()
	for _, r := range rows {
		told = append(told, strings.Join([]string{r.Cluster, r.State, r.Reason}, " "))
	}
	if diff := cmp.Diff([]string{"kept Offline Kept", "silent Offline Offline"}, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(rows[0].Message, "its works stay until it is back") {
		t.Errorf("the row says %q", rows[0].Message)
	}
	if s := out.clusters.summary; s.Offline != 2 || s.Held != 0 {
		t.Errorf("the summary is %+v", s)
	}
}

// TestSwapIsTold: the row of a cluster that the scheduler has replaced says so, and waits for no person.
func TestSwapIsTold(t *testing.T) {
	held := func(reason rollout.HeldReason) []rollout.Held {
		return []rollout.Held{{Change: work.Change{Cluster: "old"}, Reason: reason, Message: "old waits"}}
	}
	for want, step := range map[string]rollout.Step{
		"Pending Removing Controller ":                    {},
		"Pending Swapped Controller swapped: ":            {Swapped: []string{"old"}},
		"Pending ReplacementPending Controller old waits": {Swapped: []string{"old"}, Held: held(rollout.ReplacementPending)},
		"Held ApprovalNeeded User old waits":              {Held: held(rollout.ApprovalNeeded)},
		"Held WorkForeign User old waits":                 {Held: held(rollout.WorkForeign)},
		"Pending WindowClosed Controller old waits":       {Held: held(rollout.WindowClosed)},
		"Pending OnHold Controller old waits":             {Held: held(rollout.OnHold)},
		"Offline ClusterUnreachable Controller old waits": {Held: held(rollout.ClusterUnreachable)},
		"Pending Swapped Controller swapped: the placement chose another cluster in its place, on which the application is healthy; PersistentVolumeClaim a/b stay here": {
			Swapped: []string{"old"}, Left: []musterv1alpha1.LeftObjects{{Cluster: "old", Objects: []string{"PersistentVolumeClaim a/b"}}},
		},
	} {
		r := rowOfRemoval("old", &step)
		if got := strings.Join([]string{r.State, r.Reason, r.ActionRequiredBy, r.Message}, " "); !strings.HasPrefix(got, want) {
			t.Errorf("the row is %q, want %q", got, want)
		}
	}
}

func TestConditions(t *testing.T) {
	summary := func(clusters, current, healthy int32) musterv1alpha1.Summary {
		return musterv1alpha1.Summary{Clusters: clusters, Current: current, Healthy: healthy}
	}
	offline := summary(3, 2, 2)
	offline.Offline = 1
	drifted := summary(2, 2, 2)
	drifted.Drifted = 1
	planned := &plan.Application{}
	cases := map[string]struct {
		why    string
		out    *report
		status musterv1alpha1.ApplicationStatus
		err    error
		ready  metav1.ConditionStatus
		reason string
	}{
		"Ready":       {"all is well", &report{planned: planned}, musterv1alpha1.ApplicationStatus{Summary: summary(2, 2, 2)}, nil, "True", ReasonSucceeded},
		"Progressing": {"clusters have not applied it yet", &report{planned: planned}, musterv1alpha1.ApplicationStatus{Summary: summary(2, 1, 1)}, nil, "False", ReasonProgressing},
		"Offline":     {"only a cluster that does not answer is missing", &report{planned: planned}, musterv1alpha1.ApplicationStatus{Summary: offline}, nil, "False", ReasonOffline},
		"Drifted":     {"a field is not what was applied", &report{planned: planned}, musterv1alpha1.ApplicationStatus{Summary: drifted}, nil, "False", ReasonDrifted},
		"NoClusters":  {"an empty placement is no failure", &report{planned: planned}, musterv1alpha1.ApplicationStatus{}, nil, "True", ReasonNoClusters},
		"Waiting":     {"nothing was planned", &report{waiting: "a commit"}, musterv1alpha1.ApplicationStatus{Summary: summary(2, 2, 2)}, nil, "False", ReasonWaiting},
		"Failed":      {"the hub's own trouble", &report{planned: planned}, musterv1alpha1.ApplicationStatus{}, errors.New("timeout"), "False", ReasonFailed},
		"Held": {
			"all is current, and a deletion waits", &report{planned: planned},
			musterv1alpha1.ApplicationStatus{Summary: summary(2, 2, 2), Held: &musterv1alpha1.Held{Message: "approve"}}, nil, "False", ReasonHeld,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ready := meta.FindStatusCondition(conditionsOf(tc.out, tc.status, tc.err), ConditionReady)
			if ready.Status != tc.ready || ready.Reason != tc.reason || ready.Message == "" {
				t.Errorf("%s: Ready %s %s %q, want %s %s", tc.why, ready.Status, ready.Reason, ready.Message, tc.ready, tc.reason)
			}
		})
	}
}

func TestStatusStaysWhileNothingIsPlanned(t *testing.T) {
	app := &musterv1alpha1.Application{Status: musterv1alpha1.ApplicationStatus{
		Revision: "good", Summary: musterv1alpha1.Summary{Clusters: 3, Current: 3, Healthy: 3}, Held: &musterv1alpha1.Held{Plan: "x"},
	}}
	status := statusOf(app, &report{waiting: "the next commit"}, nil)
	status.Conditions = nil
	if diff := cmp.Diff(app.Status, status); diff != "" {
		t.Errorf("what the clusters say was forgotten (-want +got):\n%s", diff)
	}
}

func TestWorstTwenty(t *testing.T) {
	var table clusterTable
	table.set("ok", []row{{ClusterStatus: musterv1alpha1.ClusterStatus{Cluster: "ok", State: StateHealthy}, healthy: true, current: true}})
	if got := len(table.worst()); got != 0 {
		t.Errorf("a healthy cluster has a row: %d", got)
	}
	for i := range 30 {
		name := fmt.Sprint(i)
		table.set(name, []row{{ClusterStatus: musterv1alpha1.ClusterStatus{Cluster: name, State: StatePending}}})
	}
	if got := len(table.worst()); got != 20 {
		t.Errorf("%d rows, want the CRD's bound of 20", got)
	}
}

// TestCountsFollowReports: the counts are those of the rows of all clusters, in whatever order clusters report, fail and leave.
func TestCountsFollowReports(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var table clusterTable
	last := map[string][]row{}
	for range 500 {
		name := fmt.Sprint(random.IntN(20))
		var rows []row
		for range random.IntN(3) { // none: the cluster has left
			r := row{current: random.IntN(2) == 0, healthy: random.IntN(2) == 0, offline: random.IntN(2) == 0, drifted: random.IntN(2) == 0}
			r.Cluster, r.State = name, rankedStates[random.IntN(len(rankedStates))]
			rows = append(rows, r)
		}
		table.set(name, rows)
		last[name] = rows
		var fresh clusterTable
		for name, rows := range last {
			fresh.set(name, rows)
		}
		if diff := cmp.Diff(fresh.summary, table.summary); diff != "" {
			t.Fatalf("the counts are wrong (-want +have):\n%s", diff)
		}
	}
}

func TestSince(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := rowOfWorks("one", []fleet.LiveWork{{SetDigest: "a", SetSize: 1, Status: fleet.WorkStatus{Since: at}}}, "a", false, nil)
	if r.Since == nil || !r.Since.Time.Equal(at) {
		t.Errorf("since %v, want %v", r.Since, at)
	}
}

// TestReadyCountsInWords: one cluster is no clusters.
func TestReadyCountsInWords(t *testing.T) {
	for n, want := range map[int32]string{1: "healthy on 1 cluster at abc", 2: "healthy on 2 clusters at abc"} {
		status := musterv1alpha1.ApplicationStatus{Revision: "abc", Summary: musterv1alpha1.Summary{Clusters: n, Current: n, Healthy: n}}
		if got := readyCondition(status, metav1.Condition{Status: metav1.ConditionTrue}).Message; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestProgressingCondition: an application with a rollout says of it what a Deployment does.
func TestProgressingCondition(t *testing.T) {
	on := func(phase string) *musterv1alpha1.RolloutStatus {
		return &musterv1alpha1.RolloutStatus{Phase: phase, Clusters: 3, Updated: 1, Message: "the rollout waits for one"}
	}
	for name, c := range map[string]struct {
		status musterv1alpha1.ApplicationStatus
		want   metav1.ConditionStatus
		reason string
		says   string
	}{
		"goes on":     {musterv1alpha1.ApplicationStatus{Rollout: on("Progressing")}, "True", ReasonProgressing, "1 of 3 clusters are updated: the rollout waits for one"},
		"is over":     {musterv1alpha1.ApplicationStatus{Revision: "41aa9d0e"}, "True", ReasonSucceeded, "41aa9d0 is rolled out"},
		"stopped":     {musterv1alpha1.ApplicationStatus{Rollout: on("Stopped")}, "False", ReasonRolloutStopped, "waits for one"},
		"returns":     {musterv1alpha1.ApplicationStatus{Rollout: on("Returning"), RolledBack: &musterv1alpha1.RolledBack{Refused: "41aa9d0e", Message: "one failed"}}, "False", ReasonRolledBack, "41aa9d0 is refused: one failed"},
		"taken back":  {musterv1alpha1.ApplicationStatus{RolledBack: &musterv1alpha1.RolledBack{Refused: "41aa9d0e", Message: "one failed"}}, "False", ReasonRolledBack, "is refused"},
		"paused":      {musterv1alpha1.ApplicationStatus{Rollout: on("Progressing"), OnHold: []musterv1alpha1.OnHold{{By: "ann", Clusters: 2}}}, "Unknown", ReasonOnHold, "held by ann"},
		"held by one": {musterv1alpha1.ApplicationStatus{Rollout: on("Progressing"), OnHold: []musterv1alpha1.OnHold{{By: "ann"}}}, "True", ReasonProgressing, ""},
	} {
		if got := progressingCondition(c.status); got.Status != c.want || got.Reason != c.reason || !strings.Contains(got.Message, c.says) {
			t.Errorf("%s: %s %s %q, want %s %s %q", name, got.Status, got.Reason, got.Message, c.want, c.reason, c.says)
		}
	}
}
