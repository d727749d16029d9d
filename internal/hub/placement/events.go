package placement

import (
	"context"
	"fmt"

	eventsv1 "k8s.io/api/events/v1"
	typedeventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// What the events may take of the API server.
const (
	eventsPerSecond = 10
	eventsAtOnce    = 50
)

// recorder writes the events of placements, of which there may be thousands at once. They go out slowly then, so that the
// decisions that they tell of do not wait for them. The manager starts and stops it.
func recorder(mgr ctrl.Manager) (events.EventRecorder, error) {
	const name = "muster-placement"
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS, config.Burst = eventsPerSecond, eventsAtOnce
	c, err := typedeventsv1.NewForConfigAndClient(config, mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up the events of placements: %w", err)
	}
	broadcaster := events.NewBroadcaster(untilStopped{&events.EventSinkImpl{Interface: c}})
	err = mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		defer broadcaster.Shutdown()
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			return fmt.Errorf("write the events of placements: %w", err)
		}
		<-ctx.Done()
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("set up the events of placements: %w", err)
	}
	return broadcaster.NewRecorder(mgr.GetScheme(), name), nil
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
