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

// Delivery is the content of a repository at one commit.
type Delivery struct {
	// URL and Path that it was read from.
	URL, Path   string
	Snapshot    fleet.Snapshot
	Definitions *fleet.Definitions
	// Plan made for the commit; nil until the repository's controller has made it.
	Plan *plan.Plan
}

// Deliveries reads repositories, and remembers of each repository the commit that is delivered and the commit that was read
// last, whose delivery is in progress. A restart loses nothing: the status of the repository names the commit, and the store holds its content
// and the proof that the repository has fetched it.
type Deliveries struct {
	Store *source.Store

	mu        sync.Mutex
	delivered map[types.NamespacedName]*Delivery
	read      map[types.NamespacedName]*Delivery // last
	past      map[types.NamespacedName][]*Delivery
}

// Read reads a repository at a commit, without using the network.
func (d *Deliveries) Read(ctx context.Context, repo *musterv1alpha1.FleetRepository, revision string) (*Delivery, error) {
	key := client.ObjectKeyFromObject(repo)
	if known := d.known(repo, revision); known != nil {
		return known, nil
	}
	fetched, err := d.Store.HasFetched(repo.Spec.URL, string(repo.UID), revision)
	if err != nil {
		return nil, fmt.Errorf("open %s at %s: %w", key, fleet.ShortRevision(revision), err)
	}
	if !fetched { // the revision in the status proves nothing: a user who may write the status can name any commit
		return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s has not fetched %s of its repository: what was delivered stays until it has",
			key, fleet.ShortRevision(revision)))
	}
	delivery, err := d.load(ctx, repo, revision)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.read == nil {
		d.read = map[types.NamespacedName]*Delivery{}
	}
	d.read[key] = delivery
	return delivery, nil
}

// load opens a commit, without asking who has fetched it.
func (d *Deliveries) load(ctx context.Context, repo *musterv1alpha1.FleetRepository, revision string) (*Delivery, error) {
	key := client.ObjectKeyFromObject(repo)
	snapshot, err := d.Store.Snapshot(repo.Spec.URL, revision, repo.Spec.Path)
	if err != nil {
		return nil, fmt.Errorf("open %s at %s: %w", key, fleet.ShortRevision(revision), err)
	}
	snapshot.Repository = key.String()
	definitions, err := fleet.Load(ctx, snapshot.Tree)
	if err != nil {
		return nil, fmt.Errorf("load %s at %s: %w", key, fleet.ShortRevision(revision), err)
	}
	return &Delivery{URL: repo.Spec.URL, Path: repo.Spec.Path, Snapshot: snapshot, Definitions: definitions}, nil
}

// maxPast is how many commits of a repository that were delivered earlier are remembered: a return compares two with the delivered
// one.
const maxPast = 4

// Past reads a commit that the repository has delivered earlier, without using the network. It may have left the remote's history: the
// store keeps those that were good.
func (d *Deliveries) Past(ctx context.Context, repo *musterv1alpha1.FleetRepository, revision string) (*Delivery, error) {
	if known := d.known(repo, revision); known != nil {
		return known, nil
	}
	key := client.ObjectKeyFromObject(repo)
	fetched, err := d.Store.HasFetched(repo.Spec.URL, string(repo.UID), revision)
	if err != nil {
		return nil, fmt.Errorf("open %s at %s: %w", key, fleet.ShortRevision(revision), err)
	}
	if !fetched {
		return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("commit %s of %s is not in the hub's mirror, and not in the history of the remote any more",
			fleet.ShortRevision(revision), key))
	}
	delivery, err := d.load(ctx, repo, revision)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.past == nil {
		d.past = map[types.NamespacedName][]*Delivery{}
	}
	d.past[key] = append([]*Delivery{delivery}, d.past[key][:min(len(d.past[key]), maxPast-1)]...)
	return delivery, nil
}

// known is the remembered delivery of a commit, or nil.
func (d *Deliveries) known(repo *musterv1alpha1.FleetRepository, revision string) *Delivery {
	key := client.ObjectKeyFromObject(repo)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, known := range append([]*Delivery{d.delivered[key], d.read[key]}, d.past[key]...) {
		if known != nil && known.Snapshot.Revision == revision && known.URL == repo.Spec.URL && known.Path == repo.Spec.Path {
			return known
		}
	}
	return nil
}

// Delivered is what was delivered last of a repository; nil for nothing that is remembered.
func (d *Deliveries) Delivered(repo types.NamespacedName) *Delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.delivered[repo]
}

// Remember keeps a delivery, so that the next reader of the same commit need not load it.
func (d *Deliveries) Remember(repo *musterv1alpha1.FleetRepository, delivery *Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.delivered == nil {
		d.delivered = map[types.NamespacedName]*Delivery{}
	}
	d.delivered[client.ObjectKeyFromObject(repo)] = delivery
	delete(d.read, client.ObjectKeyFromObject(repo))
}

// Forget drops a repository that was deleted.
func (d *Deliveries) Forget(key types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.delivered, key)
	delete(d.read, key)
	delete(d.past, key)
}

// RepositoryOf is the repository that an object on the hub was applied from, by its annotation.
func RepositoryOf(o client.Object) (types.NamespacedName, bool) {
	namespace, name, ok := strings.Cut(o.GetAnnotations()[musterv1alpha1.RepositoryAnnotation], "/")
	return types.NamespacedName{Namespace: namespace, Name: name}, ok
}
