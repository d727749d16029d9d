package addon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	rules "github.com/muster-io/muster/internal/registration"
)

// Role is a part of the klusterlet that is the agent of an add-on. It runs until ctx ends, and calls alive again and again while it serves.
type Role func(ctx context.Context, alive func()) error

// roles runs the roles of the klusterlet that the add-ons of the cluster name, each as long as its add-on is there.
type roles struct {
	*Agent
	hubClient
	cluster client.Client
	ctx     context.Context // of all that run

	mu      sync.Mutex
	running map[string]*running // by add-on
}

// running is a role at work.
type running struct {
	role string
	stop context.CancelFunc
	done chan struct{}
}

// Reconcile starts the role that an add-on names, or ends it.
func (r *roles) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	addon := &addonv1alpha1.ManagedClusterAddOn{}
	if err := r.Get(ctx, request.NamespacedName, addon); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	name := addon.Annotations[musterv1alpha1.AgentRoleAnnotation] // "" when the add-on is gone
	run := r.Roles[name]
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.running[request.Name]; now != nil && now.role != name {
		now.stop()
		<-now.done
		delete(r.running, request.Name)
	}
	if run == nil || r.running[request.Name] != nil {
		return reconcile.Result{}, nil
	}
	log := logr.FromContextOrDiscard(ctx).WithValues("addon", request.Name, "role", name)
	log.Info("run a role for an add-on")
	inside, cancel := context.WithCancel(logr.NewContext(r.ctx, log))
	started := &running{role: name, stop: cancel, done: make(chan struct{})}
	r.running[request.Name] = started
	alive := Beat(inside, r.cluster, client.ObjectKey{Namespace: rules.AddOnNamespace(addon), Name: request.Name}, r.Periods.Lease, r.now)
	go func() {
		defer close(started.done)
		for inside.Err() == nil {
			if err := run(inside, alive); err != nil && inside.Err() == nil {
				log.Error(err, "the role ended, it is started again")
			}
			select {
			case <-inside.Done():
			case <-time.After(r.Periods.Hub):
			}
		}
	}()
	return reconcile.Result{}, nil
}

// end waits until all have ended, which their context has told.
func (r *roles) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, now := range r.running {
		<-now.done
	}
}

// Beat is what the agent of an add-on calls while it works: its Lease on the cluster is renewed, at most once in a period.
func Beat(ctx context.Context, cluster client.Client, key client.ObjectKey, period time.Duration, now func() time.Time) (alive func()) {
	var last time.Time
	said := ""
	return func() {
		if now().Sub(last) < period {
			return
		}
		err := beat(ctx, cluster, key, metav1.NewMicroTime(now()))
		switch {
		case err == nil:
			last, said = now(), ""
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			logr.FromContextOrDiscard(ctx).Error(err, "the hub does not hear that the add-on works")
		}
	}
}

func beat(ctx context.Context, cluster client.Client, key client.ObjectKey, now metav1.MicroTime) error {
	lease := &coordinationv1.Lease{}
	err := cluster.Get(ctx, key, lease)
	if err == nil {
		lease.Spec.RenewTime = &now
		if err = cluster.Update(ctx, lease); err != nil {
			return fmt.Errorf("renew Lease %s: %w", key, err)
		}
		return nil
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read Lease %s: %w", key, err)
	}
	lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: coordinationv1.LeaseSpec{RenewTime: &now, LeaseDurationSeconds: ptr.To[int32](60)}}
	err = cluster.Create(ctx, lease.DeepCopy())
	if apierrors.IsNotFound(err) { // the namespace
		if err = client.IgnoreAlreadyExists(cluster.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: key.Namespace}})); err == nil {
			err = cluster.Create(ctx, lease)
		}
	}
	if err != nil {
		return fmt.Errorf("make Lease %s: %w", key, err)
	}
	return nil
}
