// Package notification tells people what happens, as the Notifications on the hub say.
//
// It hears the Kubernetes Events that this hub writes about repositories, applications and clusters, groups and paces them for each
// Notification, and sends. A receiver that does not take a message is tried again, later and later; what is given up is in the status.
// What waits is in memory: a hub that stops loses it, and the status of repositories and applications is the record.
package notification

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/notify"
)

// How long a message is tried.
const (
	firstRetry = 5 * time.Second
	lastRetry  = 10 * time.Minute
	giveUp     = 2 * time.Hour
	// maxWaiting is how many events wait for one receiver; the oldest are given up.
	maxWaiting = 1000
)

// Notifications hears events and tells them.
type Notifications struct {
	// Client reads Notifications from the hub's cache and Secrets from the API server, and writes status.
	Client client.Client
	// Now is the clock.
	Now func() time.Time
	// FirstRetry and GiveUp are firstRetry and giveUp, unless a test has less patience.
	FirstRetry, GiveUp time.Duration

	heard chan notify.Event

	mu      sync.Mutex
	ctx     context.Context // of the hub's leadership; nil before it
	workers map[types.NamespacedName]*worker
}

// Setup registers the controller of Notifications, and what routes events to them.
func (n *Notifications) Setup(mgr ctrl.Manager) error {
	if n.FirstRetry == 0 {
		n.FirstRetry = firstRetry
	}
	if n.GiveUp == 0 {
		n.GiveUp = giveUp
	}
	n.workers = map[types.NamespacedName]*worker{}
	if err := mgr.Add(manager.RunnableFunc(n.route)); err != nil {
		return err
	}
	changed := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	return ctrl.NewControllerManagedBy(mgr).Named("notification").For(&musterv1alpha1.Notification{}, changed).
		Complete(n)
}

// route gives every event to the Notifications that want it, until the hub stops to lead.
func (n *Notifications) route(ctx context.Context) error {
	n.mu.Lock()
	n.ctx = ctx
	n.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-n.heard:
			var list musterv1alpha1.NotificationList
			if err := n.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "list notifications; nobody is told", "event", e.Kind)
				continue
			}
			for i := range list.Items {
				if wants, err := notify.Wants(ctx, &list.Items[i], e); wants && err == nil { // a wrong filter is told by Reconcile
					n.worker(&list.Items[i]).add(e)
				}
			}
		}
	}
}

// worker gives the worker of a Notification, and starts it.
func (n *Notifications) worker(of *musterv1alpha1.Notification) *worker {
	key := client.ObjectKeyFromObject(of)
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.workers[key]
	if w == nil || w.uid != of.UID { // one that was deleted and created again is another one
		if w != nil {
			w.stop()
		}
		w = &worker{Notifications: n, key: key, uid: of.UID, wake: make(chan struct{}, 1)}
		w.sent, w.dead, w.letters, w.lastSent = of.Status.Sent, of.Status.Dead, slices.Clone(of.Status.DeadLetters), of.Status.LastSentAt
		n.workers[key] = w
		ctx, stop := context.WithCancel(n.ctx)
		w.stop = stop
		go w.run(ctx)
	}
	return w
}

// Reconcile checks what a Notification says, sends the test that somebody asked for, and ends the worker of one that is gone.
func (n *Notifications) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	key := request.NamespacedName
	of := &musterv1alpha1.Notification{}
	switch err := n.Client.Get(ctx, key, of); {
	case apierrors.IsNotFound(err) || err == nil && !of.DeletionTimestamp.IsZero():
		n.mu.Lock()
		if w := n.workers[key]; w != nil {
			w.stop()
			delete(n.workers, key)
		}
		n.mu.Unlock()
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("read Notification %s: %w", key, err)
	}
	ready := metav1.Condition{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Succeeded", Message: "it hears", ObservedGeneration: of.Generation}
	if err := check(ctx, of); err != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, "Invalid", err.Error()
	}
	patch := map[string]any{"observedGeneration": of.Generation}
	conditions := slices.Clone(of.Status.Conditions)
	if meta.SetStatusCondition(&conditions, ready) {
		patch["conditions"] = conditions
	}
	if id := of.Annotations[musterv1alpha1.TestNotificationAnnotation]; id != "" && (of.Status.Test == nil || of.Status.Test.ID != id) {
		result := map[string]string{"id": id, "error": ""} // a merge patch leaves what it does not name
		if err := n.test(ctx, of, id); err != nil {
			result["error"] = err.Error()
		}
		patch["test"] = result
	}
	if len(patch) == 1 && of.Status.ObservedGeneration == of.Generation {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, n.patch(ctx, key, patch)
}

// check tries the filter and the template with an event, of whatever kind the filter is for.
func check(ctx context.Context, of *musterv1alpha1.Notification) error {
	e := sample(of, "check", time.Unix(0, 0))
	if _, err := notify.Passes(ctx, of.Spec.Filter, e); err != nil {
		return err
	}
	_, err := notify.Messages(ctx, of, []notify.Event{e})
	return err
}

func sample(of *musterv1alpha1.Notification, id string, now time.Time) notify.Event {
	return notify.Event{
		ID: id, Kind: "Held", Severity: "Warning", Object: "Application", Namespace: of.Namespace, Name: "example", Labels: map[string]string{}, Reason: "Test",
		Message: "this is a test of Notification " + of.Namespace + "/" + of.Name, Time: now,
	}
}

// test sends one message, if what the Notification says makes sense: else nobody would ever be told.
func (n *Notifications) test(ctx context.Context, of *musterv1alpha1.Notification, id string) error {
	if err := check(ctx, of); err != nil {
		return err
	}
	messages, err := notify.Messages(ctx, of, []notify.Event{sample(of, "test-"+id, n.Now())})
	if err != nil {
		return err
	}
	secret, err := n.secret(ctx, of)
	if err != nil {
		return err
	}
	return notify.Send(ctx, &of.Spec, secret, messages[0], n.Now())
}

func (n *Notifications) secret(ctx context.Context, of *musterv1alpha1.Notification) (notify.Secret, error) {
	if of.Spec.SecretRef == nil {
		return nil, nil
	}
	var s corev1.Secret
	key := types.NamespacedName{Namespace: of.Namespace, Name: of.Spec.SecretRef.Name}
	switch err := n.Client.Get(ctx, key, &s); {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("spec.secretRef names Secret %s, which is not there: kubectl create secret generic -n %s %s --from-literal=url=…", key, key.Namespace, key.Name)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("the hub has no right to read Secret %s, which spec.secretRef names: kubectl create rolebinding -n %s muster-hub --clusterrole=%s --serviceaccount=muster-system:%s",
			key, key.Namespace, hub.RepositoryRole, hub.Account)
	case err != nil:
		return nil, fmt.Errorf("read Secret %s, which spec.secretRef names: %w", key, err)
	}
	out := notify.Secret{}
	for k, v := range s.Data {
		out[k] = string(v)
		if k != "caFile" && k != "hmacKey" {
			out[k] = trimLine(v)
		}
	}
	return out, nil
}

func trimLine(value []byte) string {
	for len(value) > 0 && (value[len(value)-1] == '\n' || value[len(value)-1] == '\r') {
		value = value[:len(value)-1]
	}
	return string(value)
}

func (n *Notifications) patch(ctx context.Context, key types.NamespacedName, status map[string]any) error {
	data, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return fmt.Errorf("encode the status of a notification: %w", err)
	}
	target := &musterv1alpha1.Notification{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	return client.IgnoreNotFound(n.Client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, data)))
}

// worker tells one receiver, one message after the other.
type worker struct {
	*Notifications
	key  types.NamespacedName
	uid  types.UID
	wake chan struct{}
	stop context.CancelFunc

	mu      sync.Mutex
	waiting []notify.Event
	lost    int32 // events that had no room

	limiter    *rate.Limiter
	sent, dead int64
	lastSent   *metav1.Time
	letters    []musterv1alpha1.DeadLetter
}

func (w *worker) add(e notify.Event) {
	w.mu.Lock()
	w.waiting = append(w.waiting, e)
	if len(w.waiting) > maxWaiting {
		w.waiting = w.waiting[1:]
		w.lost++
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) drain() ([]notify.Event, int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events, lost := w.waiting, w.lost
	w.waiting, w.lost = nil, 0
	return events, lost
}

func (w *worker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		of := &musterv1alpha1.Notification{}
		err := w.Client.Get(ctx, w.key, of)
		if err != nil || !sleep(ctx, of.Spec.Group.Wait.Duration) || !w.pace(ctx, of) {
			if apierrors.IsNotFound(err) || ctx.Err() != nil {
				return
			}
			continue
		}
		events, lost := w.drain()
		if lost > 0 {
			w.bury(lost, 0, "too many events were waiting", errors.New("the receiver, or spec.maxPerHour, is too slow"))
		}
		if len(events) == 0 {
			continue
		}
		messages, err := notify.Messages(ctx, of, events)
		if err != nil {
			w.bury(int32(len(events)), 0, "no message", err)
		}
		for i, m := range messages {
			if i > 0 && !w.pace(ctx, of) || !w.tell(ctx, m) {
				return
			}
		}
		w.publish(ctx)
	}
}

// pace waits until the next message may be sent: meanwhile events come together.
func (w *worker) pace(ctx context.Context, of *musterv1alpha1.Notification) bool {
	per := max(of.Spec.MaxPerHour, 1)
	limit, burst := rate.Limit(float64(per)/3600), int(max(per/12, 1))
	if w.limiter == nil || w.limiter.Limit() != limit {
		w.limiter = rate.NewLimiter(limit, burst)
	}
	return w.limiter.Wait(ctx) == nil
}

// tell sends one message, again and again until it is taken or given up. It is false when the hub stops.
func (w *worker) tell(ctx context.Context, m notify.Message) bool {
	begin, delay := w.Now(), w.FirstRetry
	for attempt := int32(1); ; attempt++ {
		of := &musterv1alpha1.Notification{} // a correction counts for what waits
		err := w.Client.Get(ctx, w.key, of)
		if apierrors.IsNotFound(err) {
			return false
		}
		var secret notify.Secret
		if err == nil {
			secret, err = w.secret(ctx, of)
		}
		if err == nil {
			err = notify.Send(ctx, &of.Spec, secret, m, w.Now())
		}
		if ctx.Err() != nil {
			return false
		}
		var never *notify.Refusal
		var later *notify.Later
		switch {
		case err == nil:
			now := metav1.NewTime(w.Now())
			w.sent, w.lastSent = w.sent+1, &now
			return true
		case errors.As(err, &never) || w.Now().Sub(begin) >= w.GiveUp:
			w.bury(int32(len(m.Events)), attempt, m.Title, err)
			return true
		}
		wait := delay
		if errors.As(err, &later) {
			wait = later.After
		}
		delay = min(2*delay, lastRetry)
		ctrl.LoggerFrom(ctx).Info("A receiver did not take a message", "notification", w.key.String(), "attempt", attempt, "reason", err.Error(), "retryIn", wait.String())
		if !sleep(ctx, wait) {
			return false
		}
	}
}

// maxLetters is how many dead letters the status has room for.
const maxLetters = 10

func (w *worker) bury(events, attempts int32, title string, err error) {
	w.dead++
	letter := musterv1alpha1.DeadLetter{At: metav1.NewTime(w.Now()), Title: title, Events: events, Attempts: attempts, Error: err.Error()}
	w.letters = append([]musterv1alpha1.DeadLetter{letter}, w.letters[:min(len(w.letters), maxLetters-1)]...)
}

func (w *worker) publish(ctx context.Context) {
	err := w.patch(ctx, w.key, map[string]any{"sent": w.sent, "dead": w.dead, "lastSentAt": w.lastSent, "deadLetters": w.letters})
	if err != nil && ctx.Err() == nil {
		ctrl.LoggerFrom(ctx).Error(err, "write the status of a notification", "notification", w.key.String())
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
