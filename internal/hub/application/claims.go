package application

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// claims makes a fault of every cluster on which another owner has an object that this application wants: a work of the other
// one holds it, or no work does and the delivered plan gives it to the other one.
func (r *Applications) claims(ctx context.Context, a *plan.Application, delivered *plan.Plan, renames fleet.Renames) error {
	var failed error
	holder := func(cluster string, object fleet.ObjectKey) *fleet.LiveWork {
		lw, err := r.holder(ctx, a.Application, cluster, object, renames)
		failed = errors.Join(failed, err)
		return lw
	}
	planned := func(cluster string, object fleet.ObjectKey) fleet.Owner {
		if delivered == nil {
			return fleet.Owner{}
		}
		return delivered.Claimed(cluster, object, a.Owner())
	}
	givesUp := func(owner fleet.Owner, cluster string, object fleet.ObjectKey) bool {
		return delivered != nil && delivered.GivesUp(owner, cluster, object)
	}
	a.Claim(holder, planned, givesUp)
	a.NoteHandovers(func(cluster string, object fleet.ObjectKey) fleet.Owner {
		if delivered == nil { // the hub has just started: the owner that has it may want it, and so may others
			return cmp.Or(r.anotherWith(a, cluster, object, renames), rollout.UnknownOwner)
		}
		return delivered.Wanted(cluster, object, a.Owner())
	}, func(cluster string, object fleet.ObjectKey) []fleet.LiveWork {
		return r.liveWith(cluster, object, renames)
	})
	if failed != nil {
		return fmt.Errorf("look up the claims of %s: %w", a.Key(), failed)
	}
	return nil
}

// liveWith are the works on a cluster that hold an object, those of a renamed application as works of its present name.
func (r *Applications) liveWith(cluster string, object fleet.ObjectKey, renames fleet.Renames) []fleet.LiveWork {
	return renames.Works(r.Works.Holding(cluster, object))
}

// anotherWith is another owner whose work holds an object on a cluster, or the zero Owner.
func (r *Applications) anotherWith(a *plan.Application, cluster string, object fleet.ObjectKey, renames fleet.Renames) fleet.Owner {
	for _, lw := range r.liveWith(cluster, object, renames) {
		if !lw.Owner.IsZero() && lw.Owner != a.Owner() {
			return lw.Owner
		}
	}
	return fleet.Owner{}
}

// holder is the live work that has the object on the cluster. When works of several applications hold it, which happens when
// two are planned at the same time, all of them find the same one.
func (r *Applications) holder(ctx context.Context, me *musterv1alpha1.Application, cluster string, object fleet.ObjectKey, renames fleet.Renames) (*fleet.LiveWork, error) {
	works := r.Works.Holding(cluster, object)
	if len(works) == 0 {
		return nil, nil
	}
	owner := fleet.OwnerOf(me)
	digest := owner.Digest()
	if !slices.ContainsFunc(works, func(lw fleet.LiveWork) bool { return lw.OwnerDigest != digest }) {
		return &fleet.LiveWork{Cluster: cluster, Owner: owner}, nil // as nearly always
	}
	live := renames.Works(works)
	created := map[fleet.Owner]time.Time{owner: me.CreationTimestamp.Time}
	for _, lw := range live {
		if !lw.Owner.IsApplication() || lw.Owner == owner {
			continue
		}
		var other musterv1alpha1.Application
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: lw.Owner.Namespace, Name: lw.Owner.Name}, &other)
		if client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		created[lw.Owner] = other.CreationTimestamp.Time // zero, which is unknown, if it is gone
	}
	return work.NewClaims(live, created).Holder(cluster, object), nil
}

// contenders are the applications whose works hold an object of a work that is new or has changed: neither of the two plans may
// have known the other's work.
func (r *Applications) contenders(lw *fleet.LiveWork) []reconcile.Request {
	var requests []reconcile.Request
	for _, object := range lw.Objects {
		for _, other := range r.Works.Holding(lw.Cluster, object) {
			if other.OwnerDigest != lw.OwnerDigest {
				requests = append(requests, requestsOf(other.Owner)...)
			}
		}
	}
	return requests
}

// requestsOf wake the application that is an owner.
func requestsOf(owner fleet.Owner) []reconcile.Request {
	if !owner.IsApplication() {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}}}
}
