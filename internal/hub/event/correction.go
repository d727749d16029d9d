package event

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
)

// correctionsPause is how long corrections of one application are gathered into one event.
const correctionsPause = time.Second

// OfCorrections writes, on Applications, that drift was found and corrected. It reads the reports about works, since an agent often
// corrects drift before it reports it: then no status of an application has ever said that there was drift.
func OfCorrections(mgr ctrl.Manager, recorder events.EventRecorder, works *hub.Works) error {
	c := &corrections{of: map[fleet.Owner][]correction{}}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		if _, err := works.Handle(c.note); err != nil {
			return err
		}
		ticker := time.NewTicker(correctionsPause)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
				for owner, all := range c.drain() {
					write(ctx, mgr.GetClient(), recorder, owner, all)
				}
			}
		}
	}))
}

// correction is an event, and the cluster that it is about.
type correction struct {
	Event
	cluster string
}

// corrections are those that no event was written about yet.
type corrections struct {
	mu sync.Mutex
	of map[fleet.Owner][]correction
}

func (c *corrections) note(e hub.WorkEvent) {
	found := ofWork(e)
	if len(found) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	owner := e.After.Owner
	c.of[owner] = append(c.of[owner], found...)
}

func (c *corrections) drain() map[fleet.Owner][]correction {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.of
	c.of = map[fleet.Owner][]correction{}
	return all
}

// ofWork gives the corrections that a report tells of and the one before it did not.
func ofWork(e hub.WorkEvent) []correction {
	if e.Before == nil || e.After == nil || !e.After.Owner.IsApplication() {
		return nil // the first look after a start: what it reports may be old
	}
	var all []correction
	for _, c := range e.After.Status.Corrected {
		if slices.Contains(e.Before.Status.Corrected, c) {
			continue
		}
		what := c.Message
		if object := c.Object.String(); !strings.HasPrefix(what, object) {
			what = object + ": " + what
		}
		all = append(all, correction{normal("DriftCorrected", "Correct", "%s: %s", e.After.Cluster, what).of(map[string]string{"cluster": e.After.Cluster}), e.After.Cluster})
	}
	return all
}

// write writes one event about an application. Kubernetes counts events of one reason about the same two objects as one series, so
// that an event about one cluster names it as the second object.
func write(ctx context.Context, reader client.Reader, recorder events.EventRecorder, owner fleet.Owner, all []correction) {
	var application musterv1alpha1.Application
	if err := reader.Get(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: owner.Name}, &application); err != nil {
		return // it is gone
	}
	texts := make([]Event, len(all))
	for i := range all {
		texts[i] = all[i].Event
	}
	for _, e := range merged(texts, "corrections") {
		cluster := &clusterv1.ManagedCluster{}
		if len(all) == 1 && reader.Get(ctx, client.ObjectKey{Name: all[0].cluster}, cluster) == nil {
			record(recorder, &application, cluster, e)
		} else {
			record(recorder, &application, nil, e)
		}
	}
}
