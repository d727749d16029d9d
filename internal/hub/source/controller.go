// Package source keeps what applications take from chart repositories, registries and other Git repositories up to date.
//
// It looks at each address once an interval, however many applications name it, and sooner when a plan asks for something that
// is not there yet. Namespaces take turns. When what a reference resolves to has changed, the applications and repositories that use it are planned
// again: a new version in a range is a new plan like any commit. What cannot be fetched stays as it was fetched last.
package source

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/metric"
	"github.com/muster-io/muster/internal/source"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"
)

// Sources looks at the remotes of a library.
type Sources struct {
	Library *source.Library

	queue     workqueue.TypedDelayingInterface[string] // the names of remotes
	turns     turns
	mu        sync.Mutex
	listeners []func(User)
}

// User of a reference: an Application or a FleetRepository.
type User struct {
	Kind string
	types.NamespacedName
}

// String is the user as the library knows it.
func (u User) String() string { return u.Kind + " " + u.NamespacedName.String() }

// New makes a controller of a library that has no other.
func New(library *source.Library) *Sources {
	s := &Sources{Library: library, queue: workqueue.NewTypedDelayingQueue[string]()}
	library.Wanted = s.queue.Add
	return s
}

// Trigger looks now at what sources of a namespace name with a Secret.
func (s *Sources) Trigger(namespace, secret string) {
	for _, remote := range s.Library.RemotesWith(namespace, secret) {
		s.queue.Add(remote)
	}
}

// Setup registers the controller.
func (s *Sources) Setup(mgr ctrl.Manager) error { return mgr.Add(s) }

// Start looks at remotes until the context ends.
func (s *Sources) Start(ctx context.Context) error {
	for _, remote := range s.Library.Remotes() { // those that were known before a restart
		s.queue.Add(remote)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			remote, ended := s.queue.Get()
			if ended {
				return
			}
			s.turns.add(remote, s.Library.Askers(remote))
			s.begin(ctx, &running)
		}
	})
	<-ctx.Done()
	s.queue.ShutDown()
	running.Wait()
	return nil
}

// begin begins the looks whose turn it is.
func (s *Sources) begin(ctx context.Context, running *sync.WaitGroup) {
	for ctx.Err() == nil {
		next, ok := s.turns.next()
		if !ok {
			return
		}
		running.Go(func() {
			s.look(ctx, next.remote)
			s.turns.end(next)
			s.begin(ctx, running)
		})
	}
}

// look looks at a remote.
func (s *Sources) look(ctx context.Context, remote string) {
	defer s.queue.Done(remote)
	began := time.Now()
	looked := s.Library.Look(ctx, remote)
	if looked.Asked {
		metric.Looked(metric.Source, time.Since(began), looked.Err)
	}
	if len(looked.Changed) > 0 {
		log := ctrl.LoggerFrom(ctx).WithName("source")
		if looked.Err != nil {
			log.Info("could not fetch", "fault", looked.Err.Error())
		}
		s.wake(looked.Changed)
	}
	if looked.Again > 0 {
		s.queue.AddAfter(remote, max(looked.Again, 100*time.Millisecond))
	}
}

// wake wakes the users of references.
func (s *Sources) wake(references []string) {
	for _, name := range s.Library.Users(references) {
		kind, key, _ := strings.Cut(name, " ")
		namespace, object, _ := strings.Cut(key, "/")
		s.tell(User{kind, types.NamespacedName{Namespace: namespace, Name: object}})
	}
}

// tell tells all who listen that a user has to be planned again.
func (s *Sources) tell(user User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, listener := range s.listeners {
		listener(user)
	}
}

// World is what is known now; nil when no controller fetches sources.
func (s *Sources) World() fleet.Sources {
	if s == nil {
		return nil
	}
	return s.Library.Sources()
}

// Known is what is known now, for a plan that must not make the hub ask anybody.
func (s *Sources) Known() fleet.Sources {
	if s == nil {
		return nil
	}
	return s.Library.Known()
}

// Use says which sources a user has, in place of those that it had before. The user is woken if one of them has changed since.
func (s *Sources) Use(user User, used []fleet.UsedSource) {
	if s != nil && s.Library.Use(user.String(), used) {
		s.tell(user)
	}
}

// Source wakes a controller for users whose sources have changed.
func (s *Sources) Source(wakes func(User) []reconcile.Request) ctrlsource.Source {
	return ctrlsource.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		if s == nil {
			return nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.listeners = append(s.listeners, func(user User) {
			for _, request := range wakes(user) {
				queue.Add(request)
			}
		})
		return nil
	})
}
