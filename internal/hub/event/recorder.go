package event

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

// The bounds of events: how often one is written, and how many wait in the hub's memory.
const (
	eventsPerSecond = 10
	eventsAtOnce    = 50
	eventsWaiting   = 5000
)

// NewRecorder writes events under a controller's name. Of placements there may be thousands at once: the queue writes them
// slowly, so that the controllers' own writes do not wait. The manager starts and stops it. Client-go's broadcaster makes a series
// of equal events about one version of an object.
func NewRecorder(mgr ctrl.Manager, name string) (events.EventRecorder, error) {
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS = -1 // the queue is what paces them
	c, err := typedeventsv1.NewForConfigAndClient(config, mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up the events: %w", err)
	}
	broadcaster := events.NewBroadcaster(untilStopped{&events.EventSinkImpl{Interface: c}})
	q := &queue{
		out: broadcaster.NewRecorder(mgr.GetScheme(), name), scheme: mgr.GetScheme(), log: mgr.GetLogger().WithName(name),
		waiting: make(chan queued, eventsWaiting),
	}
	err = mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		defer broadcaster.Shutdown()
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			return fmt.Errorf("write the events: %w", err)
		}
		q.run(ctx, flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventsAtOnce))
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("set up the events: %w", err)
	}
	return q, nil
}

// queue holds events back. Client-go's recorder has a goroutine for each event that is not written: with a slow client they would
// become as many as there are events. When the queue is full, new events are dropped.
type queue struct {
	out     events.EventRecorder
	scheme  *runtime.Scheme
	log     logr.Logger
	waiting chan queued
	dropped atomic.Int64 // since the queue was full
}

// queued has references to objects: the objects themselves are the caller's, and large.
type queued struct {
	regarding, related         *corev1.ObjectReference
	kind, reason, action, note string
}

// Eventf never waits.
func (q *queue) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	e := queued{kind: kind, reason: reason, action: action, note: fmt.Sprintf(note, args...)}
	var err error
	if e.regarding, err = reference.GetReference(q.scheme, regarding); err != nil {
		q.log.Error(err, "Cannot name the object of an event", "note", e.note)
		return
	}
	if related != nil {
		e.related, _ = reference.GetReference(q.scheme, related) // the event is written without it
	}
	select {
	case q.waiting <- e:
	default:
		if q.dropped.Add(1) == 1 {
			q.log.Info("Too many events are waiting: the next ones are dropped", "waiting", cap(q.waiting))
		}
	}
}

// run writes the events one by one, until the context ends.
func (q *queue) run(ctx context.Context, pace flowcontrol.RateLimiter) {
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
					q.log.Info("The events that were waiting are written", "dropped", n)
				}
			}
		}
	}
}

// untilStopped reports no error for the events that are not written when the hub stops.
type untilStopped struct{ events.EventSink }

func (s untilStopped) Create(ctx context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	created, err := s.EventSink.Create(ctx, e)
	if ctx.Err() != nil {
		return created, nil
	}
	return created, err
}
