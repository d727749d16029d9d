package addon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/hub"
)

// Configurations say what configurations each ManagedClusterAddOn should have, and how far it is.
type Configurations struct {
	// Client reads from the hub's cache and writes. Reader reads past the cache.
	Client client.Client
	Reader client.Reader
	// Works is the index of live works.
	Works *hub.Works
	// Contents are the folders that add-ons are made of.
	Contents *Contents
	// Writers bounds the writes that run side by side.
	Writers int
	// StatusInterval is the least time between two looks at one add-on.
	StatusInterval time.Duration
	// Now is the clock.
	Now func() time.Time

	hashes hashes
	mu     sync.Mutex
	last   map[string]time.Time // when each add-on was looked at
}

// configInterval is the time between two looks at configurations of kinds that the hub does not watch.
const configInterval = time.Minute

// Setup registers the controller. An add-on wakes for its placements, its clusters, its configurations and its works.
func (r *Configurations) Setup(mgr ctrl.Manager) error {
	changed := builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})
	edited := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).
		Named(ConfigurationName).
		For(&addonv1alpha1.ClusterManagementAddOn{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Watches(&addonv1alpha1.ManagedClusterAddOn{}, handler.EnqueueRequestsFromMapFunc(ofAddOn), changed).
		Watches(&addonv1alpha1.AddOnTemplate{}, ofEach(r.Client, supports(addon.Template)), edited).
		Watches(&addonv1alpha1.AddOnDeploymentConfig{}, ofEach(r.Client, supports(addon.DeploymentConfig)), edited).
		Watches(&clusterv1beta1.Placement{}, ofPlacement(r.Client), changed).
		Watches(&clusterv1beta1.PlacementDecision{}, ofPlacement(r.Client), changed).
		Watches(&musterv1alpha1.FleetRepository{}, ofEach(r.Client, isMadeOf), builder.WithPredicates(delivers)).
		WatchesRawSource(r.Works.Source(func(e hub.WorkEvent) []reconcile.Request {
			if of, ok := ofWork(e); ok {
				return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: of.Name}}}
			}
			return nil
		})).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// supports says that an add-on supports configurations of a kind.
func supports(kind addonv1alpha1.ConfigGroupResource) func(*addonv1alpha1.ClusterManagementAddOn, client.Object) bool {
	return func(cma *addonv1alpha1.ClusterManagementAddOn, _ client.Object) bool {
		for _, c := range cma.Spec.SupportedConfigs {
			if c.ConfigGroupResource == kind {
				return true
			}
		}
		return false
	}
}

// Reconcile configures one add-on on all its clusters.
func (r *Configurations) Reconcile(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn) (reconcile.Result, error) {
	if isSelfManaged(cma) || !cma.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	if wait := r.paced(cma.Name); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil // many clusters that report at once are looked at once
	}
	have, err := onClusters(ctx, r.Client, cma.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	placements, err := choose(ctx, r.Client, cma)
	if err != nil {
		return reconcile.Result{}, err
	}
	contents := &contents{ctx: ctx, client: r.Client, reader: r.Reader, hashes: &r.hashes, known: map[addonv1alpha1.AddOnConfig]found{}}
	if _, repository, ok := addon.ContentOf(cma); ok {
		f := r.Contents.read(ctx, cma)
		contents.known[repository] = f
		contents.unwatched = f.err != nil // a commit that is fetched again wakes nobody
	}
	out, err := decide(cma, have, placements, r.Works.Of, contents.get, r.Now())
	if err != nil {
		return reconcile.Result{}, err
	}
	stale, err := r.write(ctx, have, out)
	if !equality.Semantic.DeepEqual(cma.Status, out.status) {
		cma.Status = out.status
		serr := r.Client.Status().Update(ctx, cma)
		if apierrors.IsConflict(serr) {
			stale, serr = true, nil
		}
		err = errors.Join(err, client.IgnoreNotFound(serr))
	}
	return r.again(out, contents.unwatched, stale), err
}

// paced is how long to wait until an add-on is looked at again.
func (r *Configurations) paced(name string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]time.Time{}
	}
	now := r.Now()
	if wait := r.last[name].Add(r.StatusInterval).Sub(now); wait > 0 {
		return wait
	}
	r.last[name] = now
	return 0
}

func (r *Configurations) again(out *decided, unwatched, stale bool) reconcile.Result {
	var again time.Duration
	sooner := func(d time.Duration) {
		if again == 0 || d < again {
			again = d
		}
	}
	if unwatched {
		sooner(configInterval)
	}
	if stale {
		sooner(max(r.StatusInterval, 100*time.Millisecond))
	}
	if !out.nextLook.IsZero() {
		sooner(max(out.nextLook.Sub(r.Now()), time.Second))
	}
	return reconcile.Result{RequeueAfter: again}
}

// write publishes the status of the clusters that changed. Stale is true when somebody else had written one in between.
func (r *Configurations) write(ctx context.Context, have []addonv1alpha1.ManagedClusterAddOn, out *decided) (stale bool, err error) {
	var group errgroup.Group
	group.SetLimit(max(1, r.Writers))
	var mu sync.Mutex
	for i := range have {
		before, after := &have[i], out.addons[i]
		if after == nil || equality.Semantic.DeepEqual(before.Status, after.Status) {
			continue
		}
		group.Go(func() error {
			err := r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(before.DeepCopy(), client.MergeFromWithOptimisticLock{}))
			if apierrors.IsConflict(err) {
				mu.Lock()
				defer mu.Unlock()
				stale, err = true, nil
			}
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("configure add-on %s on cluster %s: %w", before.Name, before.Namespace, err)
			}
			return nil
		})
	}
	err = group.Wait() // before stale is read
	return stale, err
}

// contents reads configurations, each once.
type contents struct {
	ctx    context.Context
	client client.Client
	reader client.Reader
	hashes *hashes
	known  map[addonv1alpha1.AddOnConfig]found
	// unwatched is true when one is of a kind whose changes wake nobody.
	unwatched bool
}

// reader says what a configuration says.
type reader func(addonv1alpha1.AddOnConfig) found

// found is what a configuration says, as a hash, or why it cannot be read.
type found struct {
	hash       string
	generation int64
	err        error
}

func (c *contents) get(config addonv1alpha1.AddOnConfig) found {
	f, ok := c.known[config]
	if !ok {
		f = c.read(config)
		c.known[config] = f
	}
	return f
}

func (c *contents) read(config addonv1alpha1.AddOnConfig) found {
	key := client.ObjectKey{Namespace: config.Namespace, Name: config.Name}
	object, err := c.object(config.ConfigGroupResource, key)
	if err != nil {
		return found{err: fmt.Errorf("configuration %s.%s %s: %w", config.Resource, config.Group, key, err)}
	}
	hash, err := c.hashes.of(object)
	return found{hash: hash, generation: object.GetGeneration(), err: err}
}

// object reads the two kinds that are watched from the cache, and every other one from the API server.
func (c *contents) object(kind addonv1alpha1.ConfigGroupResource, key client.ObjectKey) (client.Object, error) {
	var watched client.Object
	switch kind {
	case addon.Template:
		watched = &addonv1alpha1.AddOnTemplate{}
	case addon.DeploymentConfig:
		watched = &addonv1alpha1.AddOnDeploymentConfig{}
	default:
		c.unwatched = true
		return c.unknown(kind, key)
	}
	return watched, c.client.Get(c.ctx, key, watched)
}

func (c *contents) unknown(kind addonv1alpha1.ConfigGroupResource, key client.ObjectKey) (client.Object, error) {
	gvk, err := c.client.RESTMapper().KindFor(schema.GroupVersionResource{Group: kind.Group, Resource: kind.Resource})
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(gvk)
	return object, c.reader.Get(c.ctx, key, object)
}

// hashes remembers the hash of the last generation of each configuration: every report of a cluster asks for it. An object without a
// generation, such as a ConfigMap, is hashed each time.
type hashes struct {
	mu    sync.Mutex
	known map[types.UID]generation
}

type generation struct {
	number int64
	hash   string
}

func (h *hashes) of(o client.Object) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g, ok := h.known[o.GetUID()]; ok && g.number == o.GetGeneration() && g.number != 0 {
		return g.hash, nil
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return "", err
	}
	hash, err := addon.SpecHash(object)
	if err != nil {
		return "", err
	}
	if h.known == nil {
		h.known = map[types.UID]generation{}
	}
	h.known[o.GetUID()] = generation{o.GetGeneration(), hash}
	return hash, nil
}
