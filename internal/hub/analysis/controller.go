// Package analysis measures what the rollouts of Applications ask for.
//
// An Application's status names the step that is measured, with its clusters; its RolloutHistory takes the results. What they mean for
// the rollout is decided elsewhere: in package rollout. A hub that starts over goes on where the history is.
package analysis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/rollout"
)

// Name of the controller, for --controllers.
const Name = "analysis"

// Analyses measures.
type Analyses struct {
	// Client reads from the hub's cache, which holds no Secrets, and writes; Reader reads past the cache.
	Client client.Client
	Reader client.Reader
	// Works is the index of live works.
	Works *hub.Works
	// Now is the clock.
	Now func() time.Time
}

// Setup registers the controller. It wakes for Applications whose rollout begins or ends to be measured, and for the works of Jobs.
func (a *Analyses) Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named(Name).
		For(&musterv1alpha1.Application{}, builder.WithPredicates(measuredChanged())).
		WatchesRawSource(a.Works.Source(ofJob)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}). // one waits for the slowest of its providers
		Complete(reconcile.AsReconciler(mgr.GetClient(), a))
}

// ofJob wakes the Application that the work of a Job measures.
func ofJob(e hub.WorkEvent) []reconcile.Request {
	owner := e.Work().Owner
	if owner.Kind != jobOwner {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}}}
}

// measuredChanged lets through the Applications of which something else is to be measured.
func measuredChanged() predicate.Predicate {
	of := func(o client.Object) string {
		app, ok := o.(*musterv1alpha1.Application)
		if !ok {
			return ""
		}
		s := subjectOf(app)
		if s == nil {
			return fmt.Sprint(app.DeletionTimestamp)
		}
		return fmt.Sprint(s.revision, s.started, s.step.Name, s.clusters, app.Generation, app.DeletionTimestamp)
	}
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return of(e.ObjectOld) != of(e.ObjectNew) },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// subject is what is measured: the clusters of a step that have a revision.
type subject struct {
	app      *musterv1alpha1.Application
	step     *musterv1alpha1.RolloutStep
	revision string
	started  metav1.Time
	clusters []string
}

// subjectOf is what is to be measured of an Application, or nil.
func subjectOf(app *musterv1alpha1.Application) *subject {
	on := app.Status.Rollout
	if on == nil || on.Analysis == nil || on.Analysis.Phase == musterv1alpha1.AnalysisFailed || app.Spec.Rollout == nil || !app.DeletionTimestamp.IsZero() {
		return nil
	}
	step := stepOf(app.Spec.Rollout, on.Analysis.Step)
	if step == nil || step.Analysis == nil {
		return nil
	}
	return &subject{app: app, step: step, revision: on.Revision, started: on.StartedAt, clusters: on.Analysis.Clusters}
}

// stepOf is the step that an analysis is of, over the clusters or of a canary; nil when there is none.
func stepOf(r *musterv1alpha1.Rollout, analysis string) *musterv1alpha1.RolloutStep {
	if n := musterv1alpha1.CanaryStepOf(analysis); n > 0 {
		if r.Canary == nil || n > len(r.Canary.Steps) {
			return nil
		}
		return &musterv1alpha1.RolloutStep{Name: analysis, Analysis: r.Canary.Steps[n-1].Analysis}
	}
	for i := range r.Steps {
		if r.Steps[i].Name == analysis {
			return &r.Steps[i]
		}
	}
	return nil
}

// Reconcile measures what is due, records it, and says when the next measurement is.
func (a *Analyses) Reconcile(ctx context.Context, app *musterv1alpha1.Application) (reconcile.Result, error) {
	s := subjectOf(app)
	if s == nil {
		return reconcile.Result{}, a.removeJobs(ctx, app)
	}
	history, err := hub.RolloutHistory(ctx, a.Reader, app)
	if err != nil {
		return reconcile.Result{}, err
	}
	run := a.run(history, s)
	if rollout.VerdictOf(s.step.Analysis, run).Phase == musterv1alpha1.AnalysisFailed {
		return reconcile.Result{}, nil // the rollout is about to say so
	}
	again, changed := a.measure(ctx, s, run)
	if changed {
		err := hub.WriteRolloutHistory(ctx, a.Client, history)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) { // somebody else has written it: measure again
			return reconcile.Result{RequeueAfter: 100 * time.Millisecond}, nil
		}
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("record what was measured of %s/%s: %w", app.Namespace, app.Name, err)
		}
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// maxRuns is the CRD's bound on the analyses of a history.
const maxRuns = 20

// run is the analysis of a subject in a history, which has a new one when there was none.
func (a *Analyses) run(history *musterv1alpha1.RolloutHistory, s *subject) *musterv1alpha1.AnalysisRun {
	if run := rollout.RunOf(history.Analyses, s.revision, s.started.Time, s.step.Name); run != nil {
		return run
	}
	history.Analyses = slices.Insert(history.Analyses, 0, musterv1alpha1.AnalysisRun{
		Revision: s.revision, StartedAt: s.started, Step: s.step.Name, Clusters: s.clusters, Since: metav1.NewTime(a.Now().Truncate(time.Second)),
	})
	history.Analyses = history.Analyses[:min(len(history.Analyses), maxRuns)]
	return &history.Analyses[0]
}

// jobPeriod is how often a Job is looked at that does not wake the hub.
const jobPeriod = 30 * time.Second

// measure takes the measurements that are due, side by side. It says when the next one is, and whether there is a new result.
func (a *Analyses) measure(ctx context.Context, s *subject, run *musterv1alpha1.AnalysisRun) (again time.Duration, changed bool) {
	metrics := s.step.Analysis.Metrics
	looks := make([]*look, len(metrics))
	var wait sync.WaitGroup
	for i := range metrics {
		if m := &metrics[i]; !rollout.DueAt(m, run).After(a.Now()) {
			wait.Go(func() { looks[i] = a.look(ctx, s, m, rollout.ResultOf(run, m.Name)) })
		}
	}
	wait.Wait()
	next := func(at time.Time) {
		if d := max(at.Sub(a.Now()), 100*time.Millisecond); again == 0 || d < again {
			again = d
		}
	}
	for i := range metrics {
		m := &metrics[i]
		switch l := looks[i]; {
		case l == nil:
		case l.pending:
			next(a.Now().Add(jobPeriod))
			continue
		default:
			note(run, m, l, a.Now())
			changed = true
		}
		next(rollout.DueAt(m, run))
	}
	return again, changed
}

// look is one look at a metric.
type look struct {
	// pending is true while there is no result yet.
	pending bool
	result  any
	// standing is the provider's own judgement of the result, for a metric without conditions; value is the result for people.
	standing bool
	value    string
	err      error
}

// timeout of one measurement, but for that of a Job.
const timeout = 10 * time.Second

func (a *Analyses) look(ctx context.Context, s *subject, m *musterv1alpha1.RolloutMetric, before musterv1alpha1.MetricResult) *look {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case m.Prometheus != nil:
		return a.prometheus(ctx, s, m.Prometheus)
	case m.HTTP != nil:
		return a.http(ctx, s, m.HTTP)
	case m.Clusters != nil:
		return a.clusters(ctx, s)
	case m.Job != nil:
		return a.job(ctx, s, m, before.Successful+before.Failed+before.Inconclusive)
	}
	return &look{err: errors.New("it names no provider that this hub knows")}
}

// longest is how much of a value and of a message is kept.
const longest = 300

// note adds the outcome of a look to a run.
func note(run *musterv1alpha1.AnalysisRun, m *musterv1alpha1.RolloutMetric, l *look, now time.Time) {
	r := rollout.ResultOf(run, m.Name)
	is := rollout.Measurement{Outcome: musterv1alpha1.AnalysisInconclusive}
	if l.err != nil {
		is.Message = l.err.Error()
	} else {
		is = rollout.Judge(m, l.result, l.standing)
	}
	r.At, r.Outcome, r.Value, r.Message = metav1.NewTime(now.Truncate(time.Second)), is.Outcome, shorten(l.value), is.Message
	if l.err == nil && is.Message != "" && l.value != "" {
		r.Message = fmt.Sprintf("%s is the result; %s", shorten(l.value), is.Message)
	}
	r.Message = shorten(r.Message)
	switch is.Outcome {
	case musterv1alpha1.AnalysisSuccessful:
		r.Successful++
	case musterv1alpha1.AnalysisFailed:
		r.Failed++
	default:
		r.Inconclusive++
	}
	if i := slices.IndexFunc(run.Metrics, func(other musterv1alpha1.MetricResult) bool { return other.Name == r.Name }); i >= 0 {
		run.Metrics[i] = r
	} else {
		run.Metrics = append(run.Metrics, r)
	}
}

func shorten(text string) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

// worksOn are the works of the subject's application on a cluster.
func (a *Analyses) worksOn(s *subject, cluster string) []fleet.LiveWork {
	return a.Works.On(cluster, fleet.OwnerOf(s.app))
}
