package notification

import (
	"crypto/rand"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub/event"
	"github.com/muster-io/muster/internal/notify"
)

// Hear gives a recorder that writes events as the other one does, and lets notifications hear them.
func (n *Notifications) Hear(next events.EventRecorder) events.EventRecorder {
	n.heard = make(chan notify.Event, 5000)
	return &recorder{next, n}
}

type recorder struct {
	events.EventRecorder
	to *Notifications
}

// Eventf never waits. When more events wait than there is room for, the next ones are written and told to nobody.
func (r *recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	r.Record(regarding, related, event.Event{Type: kind, Reason: reason, Action: action, Note: fmt.Sprintf(note, args...)})
}

// Record is Eventf with the causes, which notifications hear of and the event of Kubernetes has no place for.
func (r *recorder) Record(regarding, related runtime.Object, of event.Event) {
	r.EventRecorder.Eventf(regarding, related, of.Type, of.Reason, of.Action, "%s", of.Note)
	object, ok := regarding.(client.Object)
	is := notify.KindOf(of.Type, of.Reason)
	if !ok || is == "" {
		return
	}
	e := notify.Event{
		ID: rand.Text(), Kind: is, Severity: "Info", Namespace: object.GetNamespace(), Name: object.GetName(), Labels: object.GetLabels(),
		Reason: of.Reason, Message: of.Note, Time: r.to.Now(), Causes: of.Causes,
	}
	switch object.(type) {
	case *musterv1alpha1.FleetRepository:
		e.Object = "FleetRepository"
	case *musterv1alpha1.Application:
		e.Object = "Application"
	case *clusterv1.ManagedCluster:
		e.Object = "ManagedCluster"
	default:
		return
	}
	if of.Type == "Warning" {
		e.Severity = "Warning"
	}
	select {
	case r.to.heard <- e:
	default:
	}
}
