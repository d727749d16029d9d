package placement

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/placement"
)

// conflictRetry is the delay before a retry after a conflict.
const conflictRetry = 200 * time.Millisecond

// Reconcile schedules one placement.
func (r *Placements) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var p clusterv1beta1.Placement
	if err := r.Client.Get(ctx, request.NamespacedName, &p); err != nil {
		if apierrors.IsNotFound(err) {
			r.ledger.forget(request.NamespacedName)
			r.interests.Delete(request.NamespacedName)
			r.debouncer.cancel(request.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !p.DeletionTimestamp.IsZero() || p.Annotations[clusterv1beta1.PlacementDisableAnnotation] == "true" {
		return reconcile.Result{}, nil
	}
	if wait := r.debouncer.wait(request.NamespacedName, r.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	if wait := r.ledger.begin(request.NamespacedName, r.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil // the watch wakes it earlier
	}
	requeue, err := r.schedule(ctx, &p)
	if again := r.ledger.end(request.NamespacedName); again {
		requeue = time.Millisecond
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return reconcile.Result{RequeueAfter: conflictRetry}, nil // the cache is stale
	}
	return reconcile.Result{RequeueAfter: requeue}, err
}

// schedule reads, decides and writes: pages first, status last.
func (r *Placements) schedule(ctx context.Context, p *clusterv1beta1.Placement) (requeue time.Duration, err error) {
	index, err := r.facts.get(ctx)
	if err != nil {
		return 0, err
	}
	existing, err := r.pages(ctx, p)
	if err != nil {
		return 0, err
	}
	now := r.Now()
	result := index.ScheduleAt(p, now, r.tracePlugins)
	outcome := placement.Next(p, &result, existing)
	schedulingDuration.Observe(r.Now().Sub(now).Seconds())
	begin := r.Now()
	if err := r.write(ctx, p, &result, outcome.Writes); err != nil {
		return 0, err
	}
	bindDuration.Observe(r.Now().Sub(begin).Seconds())
	if err := r.publish(ctx, p, outcome.Status); err != nil {
		return 0, err
	}
	return until(outcome.Again, now), nil
}

// until is the delay until shortly after a time, so that what expires then has expired; 0 for the zero time. It is at most a
// day, since a time may be further away than a duration can express.
func until(moment, now time.Time) time.Duration {
	if moment.IsZero() {
		return 0
	}
	return min(max(moment.Sub(now), 0), 24*time.Hour) + 10*time.Millisecond
}

// pages are the placement's PlacementDecisions, and those that only have the name of one, sorted by name.
func (r *Placements) pages(ctx context.Context, p *clusterv1beta1.Placement) ([]clusterv1beta1.PlacementDecision, error) {
	var list clusterv1beta1.PlacementDecisionList
	if err := r.Client.List(ctx, &list, client.InNamespace(p.Namespace), client.MatchingFields{pagesByPlacement: p.Name}); err != nil {
		return nil, fmt.Errorf("list the decisions of placement %s/%s: %w", p.Namespace, p.Name, err)
	}
	slices.SortFunc(list.Items, func(a, b clusterv1beta1.PlacementDecision) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// write writes the changes of the pages in their order, and stops at the first that fails: the order makes sure that no
// cluster is missing meanwhile.
func (r *Placements) write(ctx context.Context, p *clusterv1beta1.Placement, result *placement.Result, writes []placement.Write) error {
	for _, w := range writes {
		page := w.Page
		var err error
		switch w.Verb {
		case placement.Create:
			err = r.create(ctx, p, result, &page)
		case placement.Update:
			err = r.update(ctx, p, result, &page)
		case placement.Delete:
			err = r.remove(ctx, p, &page)
		}
		if err != nil {
			return fmt.Errorf("%s decision %s of placement %s/%s: %w", strings.ToLower(string(w.Verb)), page.Name, p.Namespace, p.Name, err)
		}
	}
	return nil
}

func (r *Placements) create(ctx context.Context, p *clusterv1beta1.Placement, result *placement.Result, page *clusterv1beta1.PlacementDecision) error {
	status := page.Status
	if err := r.Client.Create(ctx, page); err != nil {
		return err
	}
	r.ledger.wrote(client.ObjectKeyFromObject(p), page.Name, revisionOf(page))
	page.Status = status
	if err := r.Client.Status().Update(ctx, page); err != nil {
		return err
	}
	r.ledger.wrote(client.ObjectKeyFromObject(p), page.Name, revisionOf(page))
	r.event(p, page, "DecisionCreate", "DecisionCreated", "Decision %s is created with placement %s in namespace %s", page.Name, p.Name, p.Namespace)
	r.scored(p, page, result)
	return nil
}

// update writes the page's labels, owner and grounds, if they differ, and then its clusters. New grounds are written last: no
// reader may take them for those of the clusters before.
func (r *Placements) update(ctx context.Context, p *clusterv1beta1.Placement, result *placement.Result, page *clusterv1beta1.PlacementDecision) error {
	status := page.Status
	var live clusterv1beta1.PlacementDecision
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(page), &live); err != nil {
		return err
	}
	grounds := page.Annotations[musterv1alpha1.GroundsAnnotation]
	changed := placement.LastGrounds(live.Annotations[musterv1alpha1.GroundsAnnotation]) != placement.LastGrounds(grounds)
	if changed {
		delete(page.Annotations, musterv1alpha1.GroundsAnnotation)
	}
	if !placement.SameMetadata(&live, page) {
		if err := r.Client.Update(ctx, page); err != nil {
			return err
		}
		r.ledger.wrote(client.ObjectKeyFromObject(p), page.Name, revisionOf(page))
	}
	page.Status = status
	if err := r.Client.Status().Update(ctx, page); err != nil {
		return err
	}
	r.ledger.wrote(client.ObjectKeyFromObject(p), page.Name, revisionOf(page))
	if changed {
		metav1.SetMetaDataAnnotation(&page.ObjectMeta, musterv1alpha1.GroundsAnnotation, grounds)
		if err := r.Client.Update(ctx, page); err != nil {
			return err
		}
		r.ledger.wrote(client.ObjectKeyFromObject(p), page.Name, revisionOf(page))
	}
	const note = "Decision %s is updated with placement %s in namespace %s"
	if text := warnings(result); text != "" {
		r.eventOf(corev1.EventTypeWarning, p, page, "DecisionUpdate", "DecisionUpdated", note+": %s", page.Name, p.Name, p.Namespace, text)
	} else {
		r.event(p, page, "DecisionUpdate", "DecisionUpdated", note, page.Name, p.Name, p.Namespace)
	}
	r.scored(p, page, result)
	return nil
}

// scored records an event with the scores that led to a page.
func (r *Placements) scored(p *clusterv1beta1.Placement, page *clusterv1beta1.PlacementDecision, result *placement.Result) {
	if text := scores(result); text != "" {
		r.event(p, page, "ScoreUpdate", "ScoreUpdated", "%s", text)
	}
}

func (r *Placements) remove(ctx context.Context, p *clusterv1beta1.Placement, page *clusterv1beta1.PlacementDecision) error {
	var precondition client.DeleteOption = client.Preconditions{}
	if page.UID != "" {
		precondition = client.Preconditions{UID: &page.UID}
	}
	key := client.ObjectKeyFromObject(p)
	r.ledger.deleting(key, page.Name)
	switch err := r.Client.Delete(ctx, page, precondition); {
	case apierrors.IsNotFound(err):
		r.ledger.deleted(key, page.Name, false)
		return nil
	case err != nil:
		r.ledger.deletionFailed(key, page.Name)
		return err
	}
	r.ledger.deleted(key, page.Name, true)
	r.event(p, page, "DecisionDelete", "DecisionDeleted", "Decision %s is deleted with placement %s in namespace %s", page.Name, p.Name, p.Namespace)
	return nil
}

// publish writes the status, after the pages and only if it differs.
func (r *Placements) publish(ctx context.Context, p *clusterv1beta1.Placement, status clusterv1beta1.PlacementStatus) error {
	if equality.Semantic.DeepEqual(p.Status, status) {
		return nil
	}
	p.Status = status
	if err := r.Client.Status().Update(ctx, p); err != nil {
		return fmt.Errorf("write the status of placement %s/%s: %w", p.Namespace, p.Name, err)
	}
	r.ledger.wrote(client.ObjectKeyFromObject(p), "", revisionOf(p))
	return nil
}

func (r *Placements) event(p *clusterv1beta1.Placement, page *clusterv1beta1.PlacementDecision, reason, action, note string, args ...any) {
	r.eventOf(corev1.EventTypeNormal, p, page, reason, action, note, args...)
}

func (r *Placements) eventOf(kind string, p *clusterv1beta1.Placement, page *clusterv1beta1.PlacementDecision, reason, action, note string, args ...any) {
	if r.Events != nil {
		r.Events.Eventf(p, page, kind, reason, action, note, args...)
	}
}

// maxEventNote is the maximal length of an event's text, in bytes: Kubernetes allows 1024.
const maxEventNote = 1000

// scores are the totals of the candidates as OCM's event has them, "a:100 b:20 ".
func scores(result *placement.Result) string {
	var b strings.Builder
	for i, c := range result.Candidates {
		text := fmt.Sprintf("%s:%d ", c, result.Totals[i])
		if b.Len()+len(text) > maxEventNote {
			b.WriteString("......")
			break
		}
		b.WriteString(text)
	}
	return b.String()
}

// warnings are in OCM's words, "AddOnPlacementScores a/usage expired in plugin AddOn/usage/cpu".
func warnings(result *placement.Result) string {
	list := make([]string, len(result.Warnings))
	for i, w := range result.Warnings {
		list[i] = w.Message + " in plugin " + w.Plugin
	}
	text := strings.Join(list, "; ")
	if len(text) > maxEventNote/2 {
		text = strings.ToValidUTF8(text[:maxEventNote/2], "") + "…"
	}
	return text
}
