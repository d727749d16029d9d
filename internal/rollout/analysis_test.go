package rollout

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

var errorRate = musterv1alpha1.RolloutMetric{Name: "errors", Count: 3, FailureLimit: 1, SuccessCondition: "result[0] < 0.05"}

func measuredOf(successful, failed int32, last musterv1alpha1.AnalysisPhase, message string) *musterv1alpha1.AnalysisRun {
	return &musterv1alpha1.AnalysisRun{Metrics: []musterv1alpha1.MetricResult{
		{Name: "errors", Successful: successful, Failed: failed, At: metav1.NewTime(rolloutNow), Outcome: last, Message: message},
	}}
}

// TestSelectByAnalysis: a step begins when what was measured of the one before it is a success, and when it is a failure none does.
func TestSelectByAnalysis(t *testing.T) {
	const soaked, soaking = "a Succeeded 1h, b Succeeded 1h", "a Succeeded 1h, b Succeeded 1m"
	for name, c := range map[string]struct {
		why    string
		canary string
		run    *musterv1alpha1.AnalysisRun
		skip   bool
		want   string
		says   string
	}{
		"not yet":          {"a cluster is not healthy yet: there is nothing to measure", "a Succeeded 1h, b Progressing 1m", nil, false, "select ; in flight b; 1 wait; at canary", "waits for b of group canary"},
		"not all":          {"nor while one has not changed", "a Succeeded 1h, b ToApply", nil, false, "select b; in flight ; 1 wait; at canary", "begins with b"},
		"begins":           {"all are healthy", soaked, nil, false, "select ; in flight ; 1 wait; at canary; measured a b", "metric errors has 0 of 3 measurements"},
		"while they soak":  {"it is measured during minSuccessTime", soaking, nil, false, "select ; in flight b; 1 wait; at canary; measured a b", "metric errors has 0 of 3 measurements"},
		"too few":          {"every metric wants its count", soaked, measuredOf(2, 0, "Successful", ""), false, "select ; in flight ; 1 wait; at canary; measured a b", "2 of 3"},
		"enough":           {"the next step begins", soaked, measuredOf(3, 0, "Successful", ""), false, "select z; in flight ; at prod", "begins with z"},
		"still soaking":    {"minSuccessTime has to be over too, and is measured to its end", soaking, measuredOf(3, 0, "Successful", ""), false, "select ; in flight b; 1 wait; at canary; measured a b", "minSuccessTime of step canary"},
		"allowed failure":  {"failureLimit is not passed", soaked, measuredOf(3, 1, "Failed", "too many"), false, "select z; in flight ; at prod", ""},
		"failed":           {"it is", soaked, measuredOf(3, 2, "Failed", "too many"), false, "select ; in flight ; 1 wait; at canary; stopped; measured a b", "the analysis of step canary failed: metric errors failed: too many"},
		"fails and soaks":  {"at once", soaking, measuredOf(0, 2, "Failed", "too many"), false, "select ; in flight b; 1 wait; at canary; stopped; measured a b", "analysis of step canary failed"},
		"inconclusive":     {"a provider that does not answer pauses the rollout", soaked, measuredOf(3, 0, "Inconclusive", "connection refused"), false, "select ; in flight ; 1 wait; at canary; measured a b", "is paused: the analysis of step canary is inconclusive: metric errors: connection refused"},
		"skipped":          {"a person lets it go on", soaked, measuredOf(0, 2, "Failed", "too many"), true, "select z; in flight ; at prod", ""},
		"nothing changed":  {"what did not change in this rollout is not measured", "a Succeeded, b Succeeded", nil, false, "select z; in flight ; at prod", ""},
		"nobody answers":   {"proves nothing", "a Succeeded 1h offline, b Succeeded 1h offline", nil, false, "select ; in flight ; 1 wait; at canary; unproven", "until a cluster of group canary answers"},
		"one is away":      {"is not measured, and holds nobody", "a Succeeded 1h, b Succeeded 1h offline", nil, false, "select ; in flight ; 1 wait; at canary; measured a", "0 of 3"},
		"allowed, and ill": {"one that has failed, and may, is not healthy", "a Succeeded 1h, b Failed 1h", nil, false, "select ; in flight b; 1 wait; at canary; stopped", "b failed of group canary"},
	} {
		t.Run(name, func(t *testing.T) {
			strategy := musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{
				RolloutConfig: clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: 10 * time.Minute}},
			}}}
			strategy.Steps = []musterv1alpha1.RolloutStep{
				{Name: "canary", Analysis: &musterv1alpha1.RolloutAnalysis{Metrics: []musterv1alpha1.RolloutMetric{errorRate}}}, {Name: "prod"},
			}
			canary := in(t, "canary", 0, c.canary)
			canary.Analysis, canary.Skipped = c.run, c.skip
			s, err := Select(strategy, []Group{canary, in(t, "prod", 1, "z ToApply")}, rolloutNow)
			if err != nil {
				t.Fatal(err)
			}
			got := selectionText(s)
			if s.Measured != nil {
				got += "; measured " + strings.Join(s.Measured.Clusters, " ")
			}
			if got != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.why, got, c.want)
			}
			if says := (&Rollout{Selection: s}).Message(); !strings.Contains(says, c.says) {
				t.Errorf("it says %q, without %q", says, c.says)
			}
			back, err := SelectReturn(strategy, []Group{canary, in(t, "prod", 1, "z ToApply")}, rolloutNow)
			if err != nil || back.Measured != nil {
				t.Errorf("a return is measured: %+v %v", back.Measured, err)
			}
		})
	}
}

// TestLastStepIsMeasured: a rollout has not ended while its last step is measured.
func TestLastStepIsMeasured(t *testing.T) {
	strategy := progressive("1", clusterv1alpha1.RolloutConfig{})
	strategy.Steps = []musterv1alpha1.RolloutStep{{Name: "all", Analysis: &musterv1alpha1.RolloutAnalysis{Metrics: []musterv1alpha1.RolloutMetric{errorRate}}}}
	g := in(t, "all", 0, "a Succeeded 1h")
	s, err := Select(strategy, []Group{g}, rolloutNow)
	if err != nil || s.Done || s.Measured == nil {
		t.Errorf("done %t, measured %+v, %v", s.Done, s.Measured, err)
	}
	g.Analysis = measuredOf(3, 0, "Successful", "")
	if s, err = Select(strategy, []Group{g}, rolloutNow); err != nil || !s.Done {
		t.Errorf("it does not end: %+v %v", s, err)
	}
}

// TestJudge has the meaning of results.
func TestJudge(t *testing.T) {
	const good, bad = "result[0] < 0.05", "result[0] > 0.2"
	for name, c := range map[string]struct {
		success, failure string
		result           any
		standing         bool
		want             musterv1alpha1.AnalysisPhase
		says             string
	}{
		"success":             {good, "", []any{0.01}, false, "Successful", ""},
		"not a success":       {good, "", []any{0.1}, false, "Failed", "successCondition is false: result[0] < 0.05"},
		"failure":             {good, bad, []any{0.3}, false, "Failed", "failureCondition is true: result[0] > 0.2"},
		"neither":             {good, bad, []any{0.1}, false, "Inconclusive", "neither successCondition nor failureCondition"},
		"no failure":          {"", bad, []any{0.1}, false, "Successful", ""},
		"no data":             {good, "", []any{}, false, "Inconclusive", "index out of bounds"},
		"another type":        {good, "", "text", false, "Inconclusive", "successCondition: no such key"},
		"no condition":        {"", "", nil, true, "Successful", ""},
		"no condition, wrong": {"", "", nil, false, "Failed", "not a success"},
		"a condition decides": {"result.status == 404", "", map[string]any{"status": 404}, false, "Successful", ""},
		"feedback": {"result.all(c, c.healthy && !c.drifted && c.feedback.exists(f, f.kind == 'Deployment' && f.values.ReadyReplicas >= 2))", "",
			[]any{map[string]any{"name": "a", "healthy": true, "drifted": false, "feedback": []any{map[string]any{"kind": "Deployment", "values": map[string]any{"ReadyReplicas": int64(2)}}}}}, false, "Successful", ""},
		"gives a number": {"result[0]", "", []any{1.0}, false, "Inconclusive", "not true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			m := musterv1alpha1.RolloutMetric{SuccessCondition: c.success, FailureCondition: c.failure}
			if got := Judge(&m, c.result, c.standing); got.Outcome != c.want || !strings.Contains(got.Message, c.says) {
				t.Errorf("got %+v, want %s that says %q", got, c.want, c.says)
			}
		})
	}
}

// TestCheckAnalyses: a condition that cannot be read is named by its field.
func TestCheckAnalyses(t *testing.T) {
	steps := []musterv1alpha1.RolloutStep{{Name: "canary"}, {Name: "prod", Analysis: &musterv1alpha1.RolloutAnalysis{Metrics: []musterv1alpha1.RolloutMetric{errorRate, {SuccessCondition: "result +"}}}}}
	if field, err := CheckAnalyses(&musterv1alpha1.Rollout{Steps: steps}); err == nil || field != "steps[1].analysis.metrics[1].successCondition" || !strings.Contains(err.Error(), field+": column") {
		t.Errorf("field %q, %v", field, err)
	}
	canary := &musterv1alpha1.Canary{Steps: []musterv1alpha1.CanaryStep{{Analysis: steps[1].Analysis}}}
	if field, err := CheckAnalyses(&musterv1alpha1.Rollout{Canary: canary}); err == nil || field != "canary.steps[0].analysis.metrics[1].successCondition" {
		t.Errorf("field %q, %v", field, err)
	}
	if field, err := CheckAnalyses(&musterv1alpha1.Rollout{Steps: steps[:1]}); err != nil || field != "" {
		t.Errorf("field %q, %v", field, err)
	}
}
