package hub

import (
	"context"
	"fmt"
	"strings"
	"sync"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/source"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Delivery is what a repository says at one commit.
type Delivery struct {
	// URL and Path that it was read from.
	URL, Path   string
	Snapshot    fleet.Snapshot
	Definitions *fleet.Definitions
	// Plan made for the commit; nil until the repository's controller has made it.
	Plan *plan.Plan
}

// Deliveries gives what repositories say, and remembers of each the commit that is delivered and the one that was read last,
// which is on its way. Nothing in it is lost with the process: the commit is in the repository's status, its content and that
// the repository has fetched it in the store.
type Deliveries struct {
	Store *source.Store

	mu     sync.Mutex
	latest map[types.NamespacedName]*Delivery
	coming map[types.NamespacedName]*Delivery
}

// At reads a repository at a commit. No network is used.
func (d *Deliveries) At(ctx context.Context, repo *musterv1alpha1.FleetRepository, revision string) (*Delivery, error) {
	key := client.ObjectKeyFromObject(repo)
	if known := d.known(repo, revision); known != nil {
		return known, nil
	}
	opened, err := d.Store.HasFetched(repo.Spec.URL, string(repo.UID), revision)
	if err != nil {
		return nil, fmt.Errorf("open %s at %s: %w", key, fleet.ShortRevision(revision), err)
	}
	if !opened { // the status, which says the revision, is no proof: whoever may write it could name another's commit
		return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s has not fetched %s of its repository: what was delivered stays until it has",
			key, fleet.ShortRevision(revision)))
	}
	snapshot, err := d.Store.Snapshot(repo.Spec.URL, revision, repo.Spec.Path)
	if err != nil {
		return nil, fmt.Errorf("open %s at %s: %w", key, fleet.ShortRevision(revision), err)
	}
	snapshot.Repository = key.String()
	definitions, err := fleet.Load(ctx, snapshot.Tree)
	if err != nil {
		return nil, fmt.Errorf("load %s at %s: %w", key, fleet.ShortRevision(revision), err)
	}
	delivery := &Delivery{URL: repo.Spec.URL, Path: repo.Spec.Path, Snapshot: snapshot, Definitions: definitions}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.coming == nil {
		d.coming = map[types.NamespacedName]*Delivery{}
	}
	d.coming[key] = delivery
	return delivery, nil
}

// known is what is remembered of a commit, or nil.
func (d *Deliveries) known(repo *musterv1alpha1.FleetRepository, revision string) *Delivery {
	key := client.ObjectKeyFromObject(repo)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, known := range []*Delivery{d.latest[key], d.coming[key]} {
		if known != nil && known.Snapshot.Revision == revision && known.URL == repo.Spec.URL && known.Path == repo.Spec.Path {
			return known
		}
	}
	return nil
}

// Remember keeps a delivery, so that the next reader of the same commit has it at once.
func (d *Deliveries) Remember(repo *musterv1alpha1.FleetRepository, delivery *Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.latest == nil {
		d.latest = map[types.NamespacedName]*Delivery{}
	}
	d.latest[client.ObjectKeyFromObject(repo)] = delivery
	delete(d.coming, client.ObjectKeyFromObject(repo))
}

// Forget drops a repository that is gone.
func (d *Deliveries) Forget(key types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.latest, key)
	delete(d.coming, key)
}

// RepositoryOf is the repository that an object on the hub says it was applied from.
func RepositoryOf(o client.Object) (types.NamespacedName, bool) {
	namespace, name, ok := strings.Cut(o.GetAnnotations()[musterv1alpha1.RepositoryAnnotation], "/")
	return types.NamespacedName{Namespace: namespace, Name: name}, ok
}
