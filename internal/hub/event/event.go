// Package event writes Kubernetes Events about what people look for: what became of a commit, an application, a cluster.
//
//	FleetRepository  Delivered, DeletionsHeld, DeletionsReleased, the reason of each fault that appeared, FaultResolved
//	Application      Applied, DeletionsHeld, DeletionsReleased, the reason of each fault that appeared, FaultResolved,
//	                 Degraded, Recovered, DriftFound, DriftCorrected, RolloutStarted, RolloutStopped, RolloutResumed, RolloutCompleted,
//	                 RollingBack, RolledBack, ApprovalNeeded, StepApproved, OnHold, HoldEnded,
//	                 AnalysisStarted, AnalysisInconclusive, AnalysisResumed, AnalysisSucceeded
//	ManagedCluster   Accepted, Denied, Joined, AvailableUnknown (lost), Unavailable, Available (back), ClockOutOfSync, ClockInSync
//
// An event is the difference between two versions of an object's status, whoever wrote them; DriftCorrected is that of two reports
// about a work, and tells what had drifted. Drift that ends with another commit has no DriftCorrected. The hub that leads compares the
// versions that its cache sees; what changed while no hub led has no event. The status itself is the record.
package event

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Event is something that happened to an object.
type Event struct {
	Type   string // Normal or Warning
	Reason string
	Action string
	Note   string
	// Causes tell apart what began, so that its end is known as its own: a cluster and a reason, for one. There are as many as a status lists.
	Causes []map[string]string
}

func normal(reason, action, note string, args ...any) Event {
	return Event{Type: corev1.EventTypeNormal, Reason: reason, Action: action, Note: fmt.Sprintf(note, args...)}
}

func warning(reason, action, note string, args ...any) Event {
	return Event{Type: corev1.EventTypeWarning, Reason: reason, Action: action, Note: fmt.Sprintf(note, args...)}
}

func (e Event) of(cause map[string]string) Event {
	e.Causes = []map[string]string{cause}
	return e
}

// causeRecorder takes the causes too, which an event of Kubernetes has no place for.
type causeRecorder interface {
	Record(regarding, related runtime.Object, e Event)
}

func record(recorder events.EventRecorder, regarding, related runtime.Object, e Event) {
	e.Note = cut(e.Note)
	if r, ok := recorder.(causeRecorder); ok {
		r.Record(regarding, related, e)
		return
	}
	recorder.Eventf(regarding, related, e.Type, e.Reason, e.Action, "%s", e.Note)
}

// OfRepositories writes the events of FleetRepositories.
func OfRepositories(mgr ctrl.Manager, recorder events.EventRecorder) error {
	return watch(mgr, recorder, &musterv1alpha1.FleetRepository{}, func(before, after *musterv1alpha1.FleetRepository) []Event {
		return ofRepository(&before.Status, &after.Status)
	})
}

// OfApplications writes the events of Applications.
func OfApplications(mgr ctrl.Manager, recorder events.EventRecorder) error {
	return watch(mgr, recorder, &musterv1alpha1.Application{}, func(before, after *musterv1alpha1.Application) []Event {
		return ofApplication(&before.Status, &after.Status)
	})
}

// OfClusters writes the events of ManagedClusters.
func OfClusters(mgr ctrl.Manager, recorder events.EventRecorder) error {
	return watch(mgr, recorder, &clusterv1.ManagedCluster{}, func(before, after *clusterv1.ManagedCluster) []Event {
		return ofCluster(after.Name, before.Status.Conditions, after.Status.Conditions)
	})
}

// watch compares the versions of the objects of a kind while this hub leads.
func watch[T client.Object](mgr ctrl.Manager, recorder events.EventRecorder, kind T, of func(before, after T) []Event) error {
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		informer, err := mgr.GetCache().GetInformer(ctx, kind)
		if err != nil {
			return fmt.Errorf("watch %T for its events: %w", kind, err)
		}
		registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(before, after any) {
			was, ok := before.(T)
			is, too := after.(T)
			if !ok || !too || was.GetUID() != is.GetUID() {
				return
			}
			for _, e := range of(was, is) {
				record(recorder, is, nil, e)
			}
		}})
		if err != nil {
			return fmt.Errorf("watch %T for its events: %w", kind, err)
		}
		<-ctx.Done()
		return informer.RemoveEventHandler(registration)
	}))
}

// maxNote is how long a note may be, in bytes: Kubernetes allows 1024.
const maxNote = 1000

func cut(note string) string {
	if len(note) <= maxNote {
		return note
	}
	return strings.ToValidUTF8(note[:maxNote], "") + "…"
}

// maxNamed is how many faults, or clusters with drift, the note of an event names.
const maxNamed = 3

// merged makes one event of those with one reason: Kubernetes makes a series of the events of one version of an object that have
// the same reason, and keeps the note of one of them.
func merged(all []Event, what string) []Event {
	var one []Event
	notes, causes := map[string][]string{}, map[string][]map[string]string{}
	for _, e := range all {
		if notes[e.Reason] == nil {
			one = append(one, e)
		}
		notes[e.Reason] = append(notes[e.Reason], e.Note)
		causes[e.Reason] = append(causes[e.Reason], e.Causes...)
	}
	for i := range one {
		one[i].Causes = causes[one[i].Reason]
		if n := notes[one[i].Reason]; len(n) > 1 {
			one[i].Note = fmt.Sprintf("%d %s: %s", len(n), what, strings.Join(n[:min(len(n), maxNamed)], "; "))
			if len(n) > maxNamed {
				one[i].Note += "; …"
			}
		}
	}
	return one
}

// maxListed is how many faults, and rows of clusters, a status lists: what is missing in a list of that length may only be left out.
const maxListed = 20

func ofHeld(before, after *musterv1alpha1.Held) []Event {
	switch {
	case after != nil && (before == nil || before.Plan != after.Plan):
		return []Event{warning("DeletionsHeld", "Hold", "%s", after.Message)}
	case before != nil && after == nil:
		return []Event{normal("DeletionsReleased", "Release", "no deletion waits for an approval any more")}
	}
	return nil
}

// keyed are the elements of a list by what makes them the same from one version to the next, in order.
func keyed[T any, K comparable](list []T, key func(T) K) (map[K]T, []K) {
	all, keys := map[K]T{}, []K{}
	for _, element := range list {
		k := key(element)
		if _, known := all[k]; !known {
			all[k] = element
			keys = append(keys, k)
		}
	}
	return all, keys
}

// changed tells of the elements that appeared, and, unless gone is nil, of those that are gone from a list that has room for them.
func changed[T any, K comparable](before, after []T, key func(T) K, what string, appeared, gone func(T) Event) []Event {
	was, oldKeys := keyed(before, key)
	is, newKeys := keyed(after, key)
	var came, went []Event
	for _, k := range newKeys {
		if _, known := was[k]; !known {
			came = append(came, appeared(is[k]))
		}
	}
	for _, k := range oldKeys {
		if _, stays := is[k]; !stays && gone != nil && len(after) < maxListed {
			went = append(went, gone(was[k]))
		}
	}
	return slices.Concat(merged(came, what), merged(went, what))
}
