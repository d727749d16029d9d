package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// TestCanaries: an agent leaves a step of a canary that wants an approval or an analysis when the hub has it, and clusters that are in a canary
// keep the others waiting for as long as it takes.
func TestCanaries(t *testing.T) {
	began := rolloutNow
	at := func(cluster string, step int, phase fleet.CanaryPhase) fleet.LiveWork {
		return edit(live(cluster, 0, settings), func(lw *fleet.LiveWork) {
			lw.SpecDigest, lw.MetaDigest, lw.WrittenAt = "wanted", work.MetaDigest(wants(cluster, 0, settings)), began
			lw.Status.Health, lw.Status.Canary = fleet.HealthProgressing, &fleet.Canary{Step: step, Phase: phase}
			if phase == fleet.CanaryFailed {
				lw.Status.Health = fleet.HealthDegraded
			}
		})
	}
	passed := func(lw fleet.LiveWork) fleet.LiveWork {
		return edit(lw, func(lw *fleet.LiveWork) {
			lw.Status.Canary = &fleet.Canary{Step: lw.Status.Canary.Step, Phase: lw.Status.Canary.Phase, Passed: lw.Status.Canary.Step}
		})
	}
	old := edit(live("c", 0, settings), func(lw *fleet.LiveWork) { lw.Status.Health = fleet.HealthHealthy })
	const waiting = fleet.CanaryWaiting
	measuring := func(clusters ...string) *musterv1alpha1.AnalysisStatus {
		return &musterv1alpha1.AnalysisStatus{Step: "canary/2 of " + clusters[0], Clusters: clusters}
	}
	ran := func(run *musterv1alpha1.AnalysisRun, of string) []musterv1alpha1.AnalysisRun {
		run.Step, run.Clusters, run.Revision, run.StartedAt = "canary/2 of "+of, []string{of}, "r", metav1.NewTime(began)
		return []musterv1alpha1.AnalysisRun{*run}
	}
	for name, c := range map[string]struct {
		why  string
		live []fleet.LiveWork
		edit func(in *Input)
		want string // who passes
		says string
		stop bool
	}{
		"on their way":       {"no deadline runs", []fleet.LiveWork{at("a", 1, fleet.CanaryProgressing), at("b", 1, fleet.CanaryPaused)}, nil, "", "waits for a, b", false},
		"promoted":           {"nor does one to the end", []fleet.LiveWork{at("a", 3, fleet.CanaryPromoting), at("b", 3, fleet.CanaryPromoting)}, nil, "", "waits for a, b", false},
		"wait for a person":  {"", []fleet.LiveWork{at("a", 1, waiting), at("b", 1, fleet.CanaryPaused)}, nil, "", "step canary/1 waits for an approval on a: muster approve retail/web --step canary/1", false},
		"approved":           {"for all clusters", []fleet.LiveWork{at("a", 1, waiting), at("b", 1, waiting)}, func(in *Input) { in.Approved = map[string]bool{"canary/1": true} }, "a 1, b 1", "waits for a, b", false},
		"approved elsewhere": {"the approval of another step says nothing", []fleet.LiveWork{at("a", 1, waiting), at("b", 2, fleet.CanaryPaused)}, func(in *Input) { in.Approved = map[string]bool{"canary/2": true} }, "", "step canary/1 waits for an approval on a", false},
		"passed already":     {"it is said once", []fleet.LiveWork{passed(at("a", 1, waiting)), at("b", 1, fleet.CanaryPaused)}, func(in *Input) { in.Approved = map[string]bool{"canary/1": true} }, "", "waits for a, b", false},
		"is measured":        {"those who are there", []fleet.LiveWork{at("a", 2, waiting), at("b", 1, fleet.CanaryPaused)}, nil, "", "the analysis of step canary/2 of a: metric errors has 0 of 3", false},
		"comes later": {"is not among those that are measured", []fleet.LiveWork{at("a", 2, waiting), at("b", 2, waiting)}, func(in *Input) {
			in.Measuring, in.Analyses = measuring("b"), ran(measuredOf(3, 0, "Successful", ""), "b")
		}, "b 2", "waits for a, b", false},
		"comes with a stale one": {"a has gone on, which is not seen yet: b is not measured with it", []fleet.LiveWork{at("a", 2, waiting), at("b", 2, waiting)}, func(in *Input) { in.Analyses = ran(measuredOf(3, 0, "Successful", ""), "a") }, "a 2", "waits for a, b", false},
		"measured next": {"when those before have gone on", []fleet.LiveWork{at("a", 2, waiting), passed(at("b", 2, waiting))}, func(in *Input) {
			in.Measuring, in.Analyses = measuring("b"), ran(measuredOf(3, 0, "Successful", ""), "b")
		}, "", "the analysis of step canary/2 of a: metric errors has 0 of 3", false},
		"analysis fails": {"the rollout stops", []fleet.LiveWork{at("a", 2, waiting), at("b", 1, waiting)}, func(in *Input) {
			in.Measuring, in.Analyses = measuring("a"), ran(measuredOf(0, 2, "Failed", "too many"), "a")
			in.Approved = map[string]bool{"canary/1": true}
		}, "", "the analysis of step canary/2 of a failed: metric errors failed: too many", true},
		"skipped":             {"a person does not wait for it", []fleet.LiveWork{at("a", 2, waiting), at("b", 1, fleet.CanaryPaused)}, func(in *Input) { in.Skipped = map[string]bool{"canary/2": true} }, "a 2", "waits for a, b", false},
		"does not answer":     {"nobody waits for it, nor is it measured", []fleet.LiveWork{at("a", 1, waiting), at("b", 1, fleet.CanaryPaused)}, func(in *Input) { in.Unreachable = map[string]bool{"a": true} }, "", "waits for b", false},
		"is held":             {"by a person", []fleet.LiveWork{at("a", 1, waiting), at("b", 1, fleet.CanaryPaused)}, func(in *Input) { in.Holds, in.Approved = onHold("a", time.Time{}), map[string]bool{"canary/1": true} }, "", "waits for a, b", false},
		"fails":               {"a companion that fails is a cluster that failed", []fleet.LiveWork{at("a", 1, fleet.CanaryFailed), at("b", 1, waiting)}, func(in *Input) { in.Approved = map[string]bool{"canary/1": true} }, "", "a failed", true},
		"a Rollout waits":     {"of another controller, for a person, whatever the steps of ours are", []fleet.LiveWork{at("a", 2, fleet.CanaryFollowed), at("b", 1, fleet.CanaryPaused)}, nil, "", "step canary/2 waits for an approval on a", false},
		"a Rollout approved":  {"", []fleet.LiveWork{at("a", 2, fleet.CanaryFollowed), at("b", 1, fleet.CanaryPaused)}, func(in *Input) { in.Approved = map[string]bool{"canary/2": true} }, "a 2", "waits for a, b", false},
		"comes back too late": {"what the others have proved is proved", []fleet.LiveWork{at("a", 1, waiting)}, func(in *Input) { in.RolloutStarted = time.Time{} }, "a 1", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			strategy := progressive("2", clusterv1alpha1.RolloutConfig{ProgressDeadline: "1m"})
			strategy.Canary = &musterv1alpha1.Canary{Steps: []musterv1alpha1.CanaryStep{
				{Weight: 10, Pause: &musterv1alpha1.CanaryPause{}},
				{Weight: 50, Analysis: &musterv1alpha1.RolloutAnalysis{Metrics: []musterv1alpha1.RolloutMetric{errorRate}}},
			}}
			in := Input{
				Owner: web, Now: began.Add(time.Hour), Live: c.live, Complete: true, MaxClusterPercent: 10, Strategy: &strategy, Revision: "r", RolloutStarted: began,
				Decisions: map[string]fleet.Decision{},
			}
			works := []*workv1.ManifestWork{}
			for _, lw := range c.live {
				works = append(works, wants(lw.Cluster, 0, settings))
				in.Decisions[lw.Cluster] = fleet.Decision{Cluster: lw.Cluster, Chosen: true}
			}
			if c.edit != nil {
				c.edit(&in)
			}
			if !in.RolloutStarted.IsZero() {
				in.Live, works = append(slices.Clone(c.live), old), append(works, wants("c", 0, settings))
				in.Decisions["c"] = fleet.Decision{Cluster: "c", Chosen: true}
			}
			step := next(in, works)
			var passes []string
			for _, p := range step.Passes {
				passes = append(passes, fmt.Sprintf("%s %d", p.Cluster, p.Step))
				if p.Generation != 5 || p.UID != "u" || p.Work != work.Name(web, 0) {
					t.Errorf("passes %+v", p)
				}
			}
			if got := strings.Join(passes, ", "); got != c.want {
				t.Errorf("%s: passes %q, want %q", c.why, got, c.want)
			}
			if message := step.Rollout.Message(); c.says != "" && !strings.Contains(message, c.says) {
				t.Errorf("%s: says %q, want %q", c.why, message, c.says)
			}
			if step.Rollout.Stopped != c.stop {
				t.Errorf("%s: stopped %v, %s", c.why, step.Rollout.Stopped, summary(step))
			}
		})
	}
}
