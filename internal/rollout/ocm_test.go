package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ocmCase is one case of the rollout helper that OCM publishes: decision groups as "name: cluster ...", the states of clusters that
// have the workload as "cluster=state age", and what the helper answers.
type ocmCase struct {
	strategy musterv1alpha1.Rollout
	groups   string
	existing string
	// rollout are the clusters that change now, or are under way; timedOut have passed the deadline.
	rollout, timedOut string
	breach            bool
	recheck           time.Duration
}

func config(deadline, maxFailures string, minSuccess time.Duration) clusterv1alpha1.RolloutConfig {
	c := clusterv1alpha1.RolloutConfig{ProgressDeadline: deadline, MinSuccessTime: metav1.Duration{Duration: minSuccess}}
	if maxFailures != "" {
		c.MaxFailures = intstr.Parse(maxFailures)
	}
	return c
}

func all(c clusterv1alpha1.RolloutConfig) musterv1alpha1.Rollout { return allAtOnce(c) }

const (
	twoGroups   = "group1: 1 2 3; : 4 5 6"
	threeGroups = "group1: 1 2 3; : 4 5 6; : 7 8 9"
	fourAndTwo  = "group1: 1 2; : 3 4 5 6"
	threePairs  = "group1: 1 2; : 3 4; : 5 6"
)

// ocmCases are the cases of OCM's rollout helper (sdk-go, pkg/apis/cluster/v1alpha1), each in one line.
var ocmCases = map[string]ocmCase{
	"all, nothing made": {all(config("90s", "", 0)), fourAndTwo, "", "1 2 3 4 5 6", "", false, 0},
	"all, under way": {all(config("90s", "", 0)), fourAndTwo, "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 120s, 4=Failed 60s, 5=Progressing 60s",
		"4 5 6", "2 3", false, 30 * time.Second},
	"all, cluster added": {all(config("90s", "", 0)), "group1: 1 2 7; : 3 4 5 6", "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 120s, 4=Failed 60s, 5=Progressing 60s",
		"4 5 6 7", "2 3", false, 30 * time.Second},
	"all, cluster removed": {all(config("90s", "", 0)), "group1: 1; : 3 5", "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 120s, 4=Failed 60s, 5=Progressing 60s",
		"5", "3", false, 30 * time.Second},

	"progressive, nothing made": {progressive("2", config("90s", "", 0)), twoGroups, "", "1 2", "", false, 0},
	"progressive, one under way": {progressive("4", config("90s", "", 0)), threeGroups, "1=Progressing 60s",
		"1 2 3 4", "", false, 30 * time.Second},
	"progressive, no maxConcurrency": {progressive("0", config("90s", "", 0)), threeGroups, "1=Progressing 60s",
		"1 2 3 4 5 6 7 8 9", "", false, 30 * time.Second},
	"progressive, no maxFailures": {progressive("2", config("90s", "", 0)), twoGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 60s",
		"3", "2", true, 30 * time.Second},
	"progressive, all may fail, soaking": {progressive("2", config("90s", "100%", time.Minute)), twoGroups, "1=Succeeded 30s, 2=Failed 120s, 3=Progressing 30s",
		"1 3", "2", false, 30 * time.Second},
	"progressive, deadlines and soaking": {progressive("4", config("90s", "100%", time.Minute)), "group1: 1 2 3 4",
		"1=Succeeded 30s, 2=Progressing 60s, 3=Progressing 30s, 4=Succeeded 120s", "1 2 3", "", false, 30 * time.Second},
	"progressive, one may fail": {progressive("2", config("90s", "1", 0)), twoGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 60s",
		"3 4", "2", false, 30 * time.Second},
	"progressive, no time at all": {progressive("2", config("0s", "3", 0)), twoGroups, "1=Succeeded 30s, 2=Progressing 30s, 3=Progressing 30s",
		"4 5", "2 3", false, 0},
	"progressive, mandatory under way": {progressive("3", config("90s", "", 0), "group1"), twoGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 60s",
		"3", "2", true, 30 * time.Second},
	"progressive, half at a time, all may fail": {progressive("50%", config("None", "100%", 0)), fourAndTwo, "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 60s",
		"2 3 4", "", false, 0},
	"progressive, half at a time, none may fail": {progressive("50%", config("None", "0%", 0)), fourAndTwo, "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 60s",
		"2 3", "", true, 0},
	"progressive, mandatory failed": {progressive("3", config("90s", "", 0), "group1"), threePairs, "1=Failed 120s, 2=Failed 60s",
		"2", "1", true, 30 * time.Second},
	"progressive, mandatory succeeded": {progressive("3", config("", "", 0), "group1"), threePairs, "1=Succeeded 60s, 2=Succeeded 120s",
		"3 4 5", "", false, 0},
	"progressive, clusters added": {progressive("3", config("90s", "", 0), "group1"), "group1: 1 2 7; : 3 4 8; : 5 6 9",
		"1=Succeeded 60s, 2=Succeeded 60s, 3=Succeeded 60s, 4=Progressing 60s, 5=Progressing 60s", "4 5 7", "", false, 30 * time.Second},
	"progressive, cluster removed": {progressive("2", config("90s", "100%", 0)), "group1: 2 3; : 4 5 6", "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 60s",
		"3 4", "2", false, 30 * time.Second},
	"progressive, removed from mandatory": {progressive("2", config("90s", "", 0), "group1"), "group1: 1 3; : 4 5 6", "1=Succeeded 60s, 2=Failed 120s, 3=Succeeded 60s",
		"4 5", "", false, 0},

	"per group, nothing made": {perGroup(config("90s", "", 0)), twoGroups, "", "1 2 3", "", false, 0},
	"per group, one under way": {perGroup(config("90s", "", 0)), twoGroups, "1=Progressing 60s",
		"1 2 3", "", false, 30 * time.Second},
	"per group, one timed out": {perGroup(config("90s", "", 0)), twoGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Progressing 60s",
		"3", "2", true, 30 * time.Second},
	"per group, two may fail": {perGroup(config("90s", "2", 0)), threeGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Succeeded 60s",
		"4 5 6", "2", false, 0},
	"per group, second succeeded": {perGroup(config("90s", "2", 0)), threeGroups,
		"1=Succeeded 60s, 2=Failed 120s, 3=Succeeded 60s, 4=Succeeded 60s, 5=Succeeded 60s, 6=Succeeded 60s", "7 8 9", "2", false, 0},
	"per group, failing without a deadline": {perGroup(config("None", "", 0)), threeGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Succeeded 60s",
		"2", "", true, 0},
	"per group, failing as often as it may": {perGroup(config("None", "2", 0)), threeGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Succeeded 60s",
		"2 4 5 6", "", false, 0},
	"per group, failing more often": {perGroup(config("None", "30%", 0)), threeGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Failed 120s",
		"2 3", "", true, 0},
	"per group, mandatory failed": {perGroup(config("90s", "", 0), "group1"), twoGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Failed 120s",
		"", "2 3", true, 0},
	"per group, mandatory may never fail": {perGroup(config("90s", "2", 0), "group1"), threeGroups, "1=Succeeded 60s, 2=Failed 120s, 3=Succeeded 60s",
		"", "2", true, 0},
	"per group, mandatory succeeded": {perGroup(config("90s", "", 0), "group1"), threeGroups, "1=Succeeded 60s, 2=Succeeded 60s, 3=Succeeded 60s",
		"4 5 6", "", false, 0},
	"per group, soaking": {perGroup(config("90s", "50%", time.Minute)), "group1: 1 2 3; group2: 4 5", "1=Succeeded 30s, 2=Succeeded 120s, 3=Progressing 30s",
		"1 3", "", false, 30 * time.Second},
	"per group, cluster added": {perGroup(config("90s", "", 0)), twoGroups, "1=Succeeded 60s, 2=Succeeded 60s, 4=Progressing 60s, 5=Progressing 60s",
		"3 4 5", "", false, 30 * time.Second},
	"per group, cluster removed": {perGroup(config("90s", "", 0)), "group1: 1 3; : 4 5 6", "1=Succeeded 60s, 2=Failed 60s, 3=Progressing 60s",
		"3", "", false, 30 * time.Second},
	"per group, cluster removed, the other timed out": {perGroup(config("90s", "2", 0)), "group1: 1 3; : 4 5 6", "1=Succeeded 60s, 2=Failed 60s, 3=Progressing 120s",
		"4 5 6", "3", false, 0},
	"per group, removed from mandatory": {perGroup(config("90s", "", 0), "group1"), "group1: 1 3; : 4 5 6; : 7 8 9", "1=Succeeded 60s, 2=Failed 120s, 3=Succeeded 60s",
		"4 5 6", "", false, 0},
}

// groupsOf reads the groups of a case with the state of each cluster.
func (c ocmCase) groupsOf(t *testing.T) []Group {
	t.Helper()
	states := map[string]Cluster{}
	for _, text := range strings.Split(c.existing, ", ") {
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			continue
		}
		state, age, _ := strings.Cut(rest, " ")
		d, err := time.ParseDuration(age)
		if err != nil {
			t.Fatal(err)
		}
		states[name] = Cluster{Name: name, State: State(state), Since: rolloutNow.Add(-d)}
	}
	var groups []Group
	for i, text := range strings.Split(c.groups, "; ") {
		name, clusters, _ := strings.Cut(text, ":")
		g := Group{Name: name, Index: int32(i)}
		for _, cluster := range strings.Fields(clusters) {
			known, ok := states[cluster]
			if !ok {
				known = Cluster{Name: cluster, State: ToApply}
			}
			g.Clusters = append(g.Clusters, known)
		}
		groups = append(groups, g)
	}
	return groups
}

func (c ocmCase) check(t *testing.T, s Selection) {
	t.Helper()
	rollout := slices.Sorted(slices.Values(slices.Concat(s.Selected, s.InFlight)))
	if got := strings.Join(rollout, " "); got != c.rollout {
		t.Errorf("roll out %q, want %q", got, c.rollout)
	}
	if got := strings.Join(s.TimedOut, " "); got != c.timedOut {
		t.Errorf("timed out %q, want %q", got, c.timedOut)
	}
	if s.Stopped != c.breach {
		t.Errorf("stopped %t, want %t", s.Stopped, c.breach)
	}
	recheck := time.Time{}
	if c.recheck > 0 {
		recheck = rolloutNow.Add(c.recheck)
	}
	if !s.NextLook.Equal(recheck) {
		t.Errorf("looks again at %v, want %v", s.NextLook, recheck)
	}
}

// TestSelectAsOCM: the selection is the one that OCM's rollout helper makes.
func TestSelectAsOCM(t *testing.T) {
	for name, c := range ocmCases {
		t.Run(name, func(t *testing.T) {
			s, err := Select(c.strategy, c.groupsOf(t), rolloutNow)
			if err != nil {
				t.Fatal(err)
			}
			c.check(t, s)
		})
	}
}

// reportOf is what a cluster in a state reports of its work.
func reportOf(state State) (s fleet.WorkStatus) {
	s.Observed, s.Applied, s.Health = true, state != Failed, fleet.HealthHealthy
	s.Conditions.Applied = fleet.ConditionAt(state != Failed, true)
	s.Conditions.Available = fleet.ConditionAt(true, true)
	s.Conditions.Progressing = fleet.ConditionAt(state != Succeeded, true)
	if state == Progressing {
		s.Health = fleet.HealthProgressing
	}
	return s
}

// TestWorksAsOCM: so is the one over the works of a ManifestWorkReplicaSet, read from what clusters report.
func TestWorksAsOCM(t *testing.T) {
	for name, c := range ocmCases {
		t.Run(name, func(t *testing.T) {
			groups := c.groupsOf(t)
			for i := range groups {
				for j := range groups[i].Clusters {
					cluster := &groups[i].Clusters[j]
					if cluster.State == ToApply {
						continue
					}
					want, lw := *cluster, live(cluster.Name, 0, settings)
					lw.WrittenAt, lw.Status = cluster.Since, reportOf(cluster.State)
					if cluster.State, cluster.Since = StateOf(&lw); *cluster != want {
						t.Fatalf("read %+v, want %+v", *cluster, want)
					}
				}
			}
			shares, err := Over([]Target{{Placement: "p", Strategy: c.strategy.RolloutStrategy, Groups: groups}}, rolloutNow)
			if err != nil {
				t.Fatal(err)
			}
			c.check(t, shares[0].Selection)
		})
	}
}

// TestNextAsOCM: and the one that an application's step makes, whose changes are those of the clusters that it selects.
func TestNextAsOCM(t *testing.T) {
	for name, c := range ocmCases {
		t.Run(name, func(t *testing.T) {
			in := Input{
				Owner: web, Now: rolloutNow, Complete: true, MaxClusterPercent: 100, Strategy: &c.strategy,
				RolloutStarted: rolloutNow.Add(-time.Hour), Decisions: map[string]fleet.Decision{},
			}
			var wanted []*workv1.ManifestWork
			changing := map[string]bool{}
			for _, g := range c.groupsOf(t) {
				for _, cluster := range g.Clusters {
					in.Decisions[cluster.Name] = fleet.Decision{Cluster: cluster.Name, Chosen: true, Group: g.Name, GroupIndex: int(g.Index)}
					wants := wants(cluster.Name, 0, settings)
					wanted = append(wanted, wants)
					if cluster.State == ToApply {
						changing[cluster.Name] = true
						continue
					}
					in.Live = append(in.Live, edit(live(cluster.Name, 0, settings), func(lw *fleet.LiveWork) {
						lw.SpecDigest, lw.MetaDigest = "wanted", work.MetaDigest(wants)
						lw.WrittenAt, lw.Status = cluster.Since, reportOf(cluster.State)
					}))
				}
			}
			step := next(in, wanted)
			if step.Rollout.Invalid != nil {
				t.Fatal(step.Rollout.Invalid)
			}
			c.check(t, step.Rollout.Selection)
			now := map[string]bool{}
			for _, change := range step.Now {
				now[change.Cluster] = true
			}
			selected := map[string]bool{}
			for _, cluster := range strings.Fields(c.rollout) {
				if changing[cluster] {
					selected[cluster] = true
				}
			}
			if !maps.Equal(now, selected) {
				t.Errorf("changes %v, want %v", fmt.Sprint(now), fmt.Sprint(selected))
			}
		})
	}
}
