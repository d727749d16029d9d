package rollout

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/cel"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/expression"
)

// Measured is a step whose analysis goes on, or has failed.
type Measured struct {
	Step     string
	Clusters []string
	Verdict
}

// Verdict is what the measurements of a step amount to.
type Verdict struct {
	Phase musterv1alpha1.AnalysisPhase
	// Message says what is missing, or what failed.
	Message string
}

// analysisFailed stops a rollout whose step does not do well.
func (s *selector) analysisFailed(p phase, t tally) bool {
	if p.analysis == nil || p.skipped || p.run == nil {
		return false
	}
	v := VerdictOf(p.analysis, p.run)
	if v.Phase != musterv1alpha1.AnalysisFailed {
		return false
	}
	s.out.Measured = &Measured{Step: p.group, Clusters: t.changed, Verdict: v}
	return true
}

// measure has a step measured whose clusters are all healthy, until it is proved: as long as they are in their minSuccessTime, and then
// until there are enough measurements. A step in which nothing has changed has nothing to measure.
func (s *selector) measure(p phase, t tally, soaking bool) bool {
	if p.analysis == nil || p.skipped || len(t.changed) == 0 {
		return false
	}
	v := VerdictOf(p.analysis, p.run)
	if v.Phase == musterv1alpha1.AnalysisSuccessful && !soaking {
		return false
	}
	s.out.Measured = &Measured{Step: p.group, Clusters: t.changed, Verdict: v}
	return true
}

// VerdictOf says what the measurements of a step amount to; a nil run has none yet. A metric that was inconclusive last makes all of it
// so, until it is measured again. The worst metric decides.
func VerdictOf(a *musterv1alpha1.RolloutAnalysis, run *musterv1alpha1.AnalysisRun) Verdict {
	var failed, inconclusive, running []string
	for i := range a.Metrics {
		m := &a.Metrics[i]
		result := ResultOf(run, m.Name)
		count := max(m.Count, 1)
		switch {
		case result.Failed > m.FailureLimit:
			failed = append(failed, fmt.Sprintf("metric %s failed: %s", m.Name, result.Message))
		case result.Outcome == musterv1alpha1.AnalysisInconclusive:
			inconclusive = append(inconclusive, fmt.Sprintf("metric %s: %s", m.Name, result.Message))
		case result.Successful < count:
			running = append(running, fmt.Sprintf("metric %s has %d of %d measurements", m.Name, result.Successful, count))
		}
	}
	switch {
	case len(failed) > 0:
		return Verdict{musterv1alpha1.AnalysisFailed, strings.Join(failed, "; ")}
	case len(inconclusive) > 0:
		return Verdict{musterv1alpha1.AnalysisInconclusive, strings.Join(inconclusive, "; ")}
	case len(running) > 0:
		return Verdict{musterv1alpha1.AnalysisRunning, strings.Join(running, "; ")}
	}
	return Verdict{Phase: musterv1alpha1.AnalysisSuccessful}
}

// wait says what a rollout waits for whose step is measured.
func (m *Measured) wait() string {
	switch m.Phase {
	case musterv1alpha1.AnalysisInconclusive:
		return fmt.Sprintf("the rollout is paused: the analysis of step %s is inconclusive: %s", m.Step, m.Message)
	case musterv1alpha1.AnalysisSuccessful:
		return fmt.Sprintf("the rollout waits for the minSuccessTime of step %s, whose analysis is successful so far", m.Step)
	}
	return fmt.Sprintf("the rollout waits for the analysis of step %s: %s", m.Step, m.Message)
}

// ResultOf is what was measured of a metric; the zero value when nothing was.
func ResultOf(run *musterv1alpha1.AnalysisRun, metric string) musterv1alpha1.MetricResult {
	if run != nil {
		if i := slices.IndexFunc(run.Metrics, func(r musterv1alpha1.MetricResult) bool { return r.Name == metric }); i >= 0 {
			return run.Metrics[i]
		}
	}
	return musterv1alpha1.MetricResult{Name: metric}
}

// RunOf is what was measured of a step in a rollout, or nil.
func RunOf(runs []musterv1alpha1.AnalysisRun, revision string, started time.Time, step string) *musterv1alpha1.AnalysisRun {
	for i := range runs {
		if r := &runs[i]; r.Revision == revision && r.Step == step && r.StartedAt.Unix() == started.Unix() {
			return r
		}
	}
	return nil
}

// DueAt is when a metric is to be measured next.
func DueAt(m *musterv1alpha1.RolloutMetric, run *musterv1alpha1.AnalysisRun) time.Time {
	last := ResultOf(run, m.Name).At
	if last.IsZero() {
		return time.Time{}
	}
	return last.Add(m.Every())
}

// Measurement is the outcome of one look at a metric.
type Measurement struct {
	Outcome musterv1alpha1.AnalysisPhase
	Message string
}

// Judge says what a result means, by the conditions of its metric. Standing is what it means without any: the provider's own judgement.
func Judge(m *musterv1alpha1.RolloutMetric, result any, standing bool) Measurement {
	if m.SuccessCondition == "" && m.FailureCondition == "" {
		if standing {
			return Measurement{Outcome: musterv1alpha1.AnalysisSuccessful}
		}
		return Measurement{musterv1alpha1.AnalysisFailed, "it is not a success"}
	}
	if m.FailureCondition != "" {
		failed, err := holds(m.FailureCondition, result)
		if err != nil {
			return Measurement{musterv1alpha1.AnalysisInconclusive, "failureCondition: " + err.Error()}
		}
		if failed {
			return Measurement{musterv1alpha1.AnalysisFailed, "failureCondition is true: " + m.FailureCondition}
		}
		if m.SuccessCondition == "" {
			return Measurement{Outcome: musterv1alpha1.AnalysisSuccessful}
		}
	}
	succeeded, err := holds(m.SuccessCondition, result)
	switch {
	case err != nil:
		return Measurement{musterv1alpha1.AnalysisInconclusive, "successCondition: " + err.Error()}
	case succeeded:
		return Measurement{Outcome: musterv1alpha1.AnalysisSuccessful}
	case m.FailureCondition != "":
		return Measurement{musterv1alpha1.AnalysisInconclusive, "neither successCondition nor failureCondition is true"}
	}
	return Measurement{musterv1alpha1.AnalysisFailed, "successCondition is false: " + m.SuccessCondition}
}

// holds evaluates a condition over a result.
func holds(condition string, result any) (bool, error) {
	program, err := conditionOf(condition)
	if err != nil {
		return false, err
	}
	value, _, err := program.Eval(map[string]any{"result": result})
	if err != nil {
		return false, errors.New(strings.ReplaceAll(err.Error(), "\n", " "))
	}
	is, ok := value.Value().(bool)
	if !ok {
		return false, fmt.Errorf("gives %s, not true or false", value.Type().TypeName())
	}
	return is, nil
}

// conditionOf compiles a condition.
func conditionOf(condition string) (cel.Program, error) {
	env, err := expression.Environment(cel.Variable("result", cel.DynType))
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(condition)
	if issues.Err() != nil {
		return nil, errors.New(expression.Problems(issues))
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("gives %s, not true or false", t)
	}
	return expression.Program(env, ast, expression.Costs{})
}

// CheckAnalyses says which condition of a rollout's steps cannot be read, with its field; "" when all can.
func CheckAnalyses(r *musterv1alpha1.Rollout) (field string, err error) {
	all := checkedSteps(r)
	for _, of := range slices.Sorted(maps.Keys(all)) {
		for j, m := range all[of].Metrics {
			for _, c := range []struct{ name, text string }{{"failureCondition", m.FailureCondition}, {"successCondition", m.SuccessCondition}} {
				if c.text == "" {
					continue
				}
				if _, err := conditionOf(c.text); err != nil {
					field := fmt.Sprintf("%s.analysis.metrics[%d].%s", of, j, c.name)
					return field, fmt.Errorf("%s: %w", field, err)
				}
			}
		}
	}
	return "", nil
}
