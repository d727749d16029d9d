package work

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// A hold on the cluster's side keeps the agent from applying and deleting until a time. Somebody writes it on the cluster:
//
//	ConfigMap muster-hold in the agent's namespace    key cluster: all works; key NAMESPACE.NAME: those of an application
//	annotation muster.dev/hold-until                  of an AppliedManifestWork: its work
//
// The value is a time, such as 2026-12-01T06:00:00Z. One that cannot be read holds until it is corrected or removed: whoever wrote
// it wanted a hold.
const (
	holdConfigMap  = "muster-hold"
	holdAllKey     = "cluster"
	holdAnnotation = "muster.dev/hold-until"
)

// hold is one that is in force. Without an end when its time cannot be read.
type hold struct {
	until time.Time
	text  string // who holds, and until when
}

// newHold reads a hold; nil when there is none, or none any more.
func newHold(value, where string, now time.Time) *hold {
	if value == "" {
		return nil
	}
	until, err := time.Parse(time.RFC3339, value)
	switch {
	case err != nil:
		return &hold{text: fmt.Sprintf("nothing is applied: %s is %q, and has to be a time such as 2026-12-01T06:00:00Z", where, value)}
	case !until.After(now):
		return nil
	}
	return &hold{until: until, text: fmt.Sprintf("nothing is applied until %s: %s says so", until.UTC().Format(time.RFC3339), where)}
}

// holds is what the ConfigMap says.
type holds struct {
	mu     sync.Mutex
	values map[string]string
}

// set replaces what the ConfigMap says, and tells whether that is news.
func (h *holds) set(values map[string]string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	news := !maps.Equal(h.values, values)
	h.values = maps.Clone(values)
	return news
}

func (h *holds) get(key string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.values[key]
}

// heldBy gives the hold that is in force for a work, nil when there is none. record is nil before there is one.
func (e *engine) heldBy(work *workv1.ManifestWork, record *workv1.AppliedManifestWork, now time.Time) *hold {
	where := func(key string) string {
		return fmt.Sprintf("ConfigMap %s/%s, key %s,", e.Namespace, holdConfigMap, key)
	}
	if h := newHold(e.holds.get(holdAllKey), where(holdAllKey), now); h != nil {
		return h
	}
	if namespace, name, ok := strings.Cut(work.Annotations[musterv1alpha1.ApplicationAnnotation], "/"); ok {
		key := namespace + "." + name
		if h := newHold(e.holds.get(key), where(key), now); h != nil {
			return h
		}
	}
	if record == nil {
		return nil
	}
	return newHold(record.Annotations[holdAnnotation], "annotation "+holdAnnotation+" of AppliedManifestWork "+record.Name, now)
}

// heldCache is the cache of the one ConfigMap that holds.
func (e *engine) heldCache() map[client.Object]cache.ByObject {
	if e.Namespace == "" {
		return nil
	}
	only := fields.OneTermEqualSelector("metadata.name", holdConfigMap)
	return map[client.Object]cache.ByObject{&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{e.Namespace: {FieldSelector: only}}}}
}

// watchHolds reads the ConfigMap before anything is applied, and then follows it. An agent that may not read it has none.
func (e *engine) watchHolds(ctx context.Context) error {
	if e.Namespace == "" {
		return nil
	}
	for {
		var found corev1.ConfigMap
		err := e.spoke.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: holdConfigMap}, &found)
		if apierrors.IsForbidden(err) {
			logr.FromContextOrDiscard(ctx).Info("Hold nothing, since the ConfigMap may not be read", "configMap", e.Namespace+"/"+holdConfigMap)
			return nil
		}
		if client.IgnoreNotFound(err) == nil {
			e.holds.set(found.Data)
			break
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	informer, err := e.records.GetInformer(ctx, &corev1.ConfigMap{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch ConfigMap %s/%s: %w", e.Namespace, holdConfigMap, err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { e.holdsChanged(ctx, o, false) },
		UpdateFunc: func(_, o any) { e.holdsChanged(ctx, o, false) },
		DeleteFunc: func(o any) { e.holdsChanged(ctx, o, true) },
	})
	return err
}

func (e *engine) holdsChanged(ctx context.Context, o any, gone bool) {
	found, ok := unwrap(o).(*corev1.ConfigMap)
	if !ok || found.Name != holdConfigMap {
		return
	}
	values := found.Data
	if gone {
		values = nil
	}
	if !e.holds.set(values) {
		return
	}
	var works workv1.ManifestWorkList
	if err := e.works.List(ctx, &works, client.InNamespace(e.ClusterName)); err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, "List works, since a hold changed")
		return
	}
	for i := range works.Items {
		e.queue.Add(request{name: works.Items[i].Name})
	}
}

// reportHeld says in the status of a work that it is held. It gives when to look again.
func (e *engine) reportHeld(ctx context.Context, work *workv1.ManifestWork, m *memory, h *hold) (time.Duration, error) {
	status := *work.Status.DeepCopy()
	if m.published != nil {
		status = *m.published.DeepCopy()
	}
	setHeld(&status, h, work.Generation)
	if old := meta.FindStatusCondition(work.Status.Conditions, musterv1alpha1.ConditionHeld); old != nil && old.Message == cut(h.text) && old.ObservedGeneration == work.Generation {
		return h.left(time.Now()), nil
	}
	return h.left(time.Now()), e.writeStatus(ctx, work, m, status)
}

// left is how long the hold lasts, at most an hour: then it is looked at again.
func (h *hold) left(now time.Time) time.Duration {
	if h.until.IsZero() {
		return time.Hour
	}
	return min(max(h.until.Sub(now), time.Second), time.Hour)
}

// setHeld puts the condition about a hold into a status, or removes it.
func setHeld(status *workv1.ManifestWorkStatus, h *hold, generation int64) {
	if h == nil {
		meta.RemoveStatusCondition(&status.Conditions, musterv1alpha1.ConditionHeld)
		return
	}
	set(&status.Conditions, metav1.Condition{Type: musterv1alpha1.ConditionHeld, Status: metav1.ConditionTrue, Reason: fleet.WaitHeldOnCluster,
		Message: cut(h.text), ObservedGeneration: generation})
}
