package placement

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	typedeventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	"k8s.io/client-go/util/flowcontrol"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// What the events may take of the API server, and of the hub's memory.
const (
	eventsPerSecond = 10
	eventsAtOnce    = 50
	eventsWaiting   = 5000
)

// recorder writes the events of placements, of which there may be thousands at once. They go out slowly then, so that the
// decisions that they tell of do not wait for them. The manager starts and stops it.
func recorder(mgr ctrl.Manager) (events.EventRecorder, error) {
	const name = "muster-placement"
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS = -1 // the queue is what paces them
	c, err := typedeventsv1.NewForConfigAndClient(config, mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up the events of placements: %w", err)
	}
	broadcaster := events.NewBroadcaster(untilStopped{&events.EventSinkImpl{Interface: c}})
	q := &eventQueue{
		out: broadcaster.NewRecorder(mgr.GetScheme(), name), scheme: mgr.GetScheme(), log: mgr.GetLogger().WithName(name),
		waiting: make(chan queuedEvent, eventsWaiting),
	}
	err = mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		defer broadcaster.Shutdown()
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			return fmt.Errorf("write the events of placements: %w", err)
		}
		q.run(ctx, flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventsAtOnce))
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("set up the events of placements: %w", err)
	}
	return q, nil
}

// eventQueue holds events back. Client-go's recorder has a goroutine for each that is not written: behind a slow client they would
// become as many as there are events. What finds the queue full is dropped.
type eventQueue struct {
	out     events.EventRecorder
	scheme  *runtime.Scheme
	log     logr.Logger
	waiting chan queuedEvent
	dropped atomic.Int64 // since the queue was full
}

// queuedEvent holds references: the objects themselves are the caller's, and large.
type queuedEvent struct {
	regarding, related         *corev1.ObjectReference
	kind, reason, action, note string
}

// Eventf never waits.
func (q *eventQueue) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	e := queuedEvent{kind: kind, reason: reason, action: action, note: fmt.Sprintf(note, args...)}
	var err error
	if e.regarding, err = reference.GetReference(q.scheme, regarding); err != nil {
		q.log.Error(err, "Cannot tell what an event is about", "note", e.note)
		return
	}
	if related != nil {
		e.related, _ = reference.GetReference(q.scheme, related) // an event without it is one all the same
	}
	select {
	case q.waiting <- e:
	default:
		if q.dropped.Add(1) == 1 {
			q.log.Info("Too many events of placements are waiting: the next are dropped", "waiting", cap(q.waiting))
		}
	}
}

// run lets the events go one by one, until the context ends.
func (q *eventQueue) run(ctx context.Context, pace flowcontrol.RateLimiter) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-q.waiting:
			if pace.Wait(ctx) != nil {
				return
			}
			var related runtime.Object
			if e.related != nil {
				related = e.related
			}
			q.out.Eventf(e.regarding, related, e.kind, e.reason, e.action, "%s", e.note)
			if len(q.waiting) == 0 {
				if n := q.dropped.Swap(0); n > 0 {
					q.log.Info("The events of placements that were waiting are written", "dropped", n)
				}
			}
		}
	}
}

// untilStopped lets go of the events that are not out when the hub stops, and does not complain of each.
type untilStopped struct{ events.EventSink }

func (s untilStopped) Create(ctx context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	created, err := s.EventSink.Create(ctx, e)
	if ctx.Err() != nil {
		return created, nil
	}
	return created, err
}
