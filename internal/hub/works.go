package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Works is the index of the ManifestWorks on the hub: of each its facts, the digest of its actual spec among them, and none of
// its manifests, so that the hub's memory does not hold the fleet's. It is the only place from which the hub's controllers
// read works. What it returns shares memory with it and must not be changed.
type Works struct {
	indexer toolscache.Indexer
	// informer fills the indexer; nil in tests, which call Set and Delete.
	informer toolscache.SharedIndexInformer
	shared   interner
}

// The indexes of Works.
const (
	byOwner   = "owner"
	byCluster = "cluster"
)

var workIndexers = toolscache.Indexers{
	byOwner: func(o any) ([]string, error) {
		if owner := o.(*indexedWork).Owner; !owner.IsZero() {
			return []string{owner.String()}, nil
		}
		return nil, nil
	},
	byCluster: func(o any) ([]string, error) { return []string{o.(*indexedWork).Cluster}, nil },
}

// indexedWork is a work as the index stores it.
type indexedWork struct {
	fleet.LiveWork
	resourceVersion string
}

// GetObjectMeta is how an informer reads the name and the version of what it stores.
func (w *indexedWork) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: w.Cluster, Name: w.Name, UID: types.UID(w.UID), ResourceVersion: w.resourceVersion}
}

// NewWorks is an empty index that nothing fills but Set.
func NewWorks() *Works {
	return &Works{indexer: toolscache.NewIndexer(toolscache.DeletionHandlingMetaNamespaceKeyFunc, workIndexers), shared: newInterner()}
}

// WatchWorks is an index that follows the works of an API server while the manager runs.
func WatchWorks(mgr ctrl.Manager) (*Works, error) {
	c, err := client.NewWithWatch(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return nil, fmt.Errorf("make a client for works: %w", err)
	}
	w := &Works{shared: newInterner()}
	if w.informer, err = w.newInformer(c); err != nil {
		return nil, err
	}
	w.indexer = w.informer.GetIndexer()
	return w, mgr.Add(w)
}

// newInformer makes the informer. It streams the works at its start where the API server can, and lists them in pages where it
// cannot: each work is digested as it arrives, so that the start needs no memory for all manifests.
func (w *Works) newInformer(c client.WithWatch) (toolscache.SharedIndexInformer, error) {
	api := &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			var list workv1.ManifestWorkList
			err := c.List(ctx, &list, &client.ListOptions{Raw: &o, Limit: o.Limit, Continue: o.Continue})
			return &list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return c.Watch(ctx, &workv1.ManifestWorkList{}, &client.ListOptions{Raw: &o})
		},
	}
	informer := toolscache.NewSharedIndexInformer(toolscache.ToListWatcherWithWatchListSemantics(api, c), &workv1.ManifestWork{}, 0, workIndexers)
	return informer, informer.SetTransform(w.digest)
}

// digest is the informer's transform: it replaces a work by its facts. An informer may give it what it has made already.
func (w *Works) digest(object any) (any, error) {
	m, ok := object.(*workv1.ManifestWork)
	if !ok {
		return object, nil
	}
	indexed := &indexedWork{LiveWork: LiveWork(m), resourceVersion: m.ResourceVersion}
	w.shared.work(&indexed.LiveWork)
	return indexed, nil
}

// Start follows the works until the context ends.
func (w *Works) Start(ctx context.Context) error {
	w.informer.RunWithContext(ctx)
	return nil
}

// NeedLeaderElection is false: a standby has the works already when it begins to lead.
func (*Works) NeedLeaderElection() bool { return false }

// Set stores a work, as the informer does.
func (w *Works) Set(m *workv1.ManifestWork) error {
	indexed, err := w.digest(m)
	if err != nil {
		return err
	}
	return w.indexer.Add(indexed)
}

// Delete removes a work.
func (w *Works) Delete(m *workv1.ManifestWork) error { return w.indexer.Delete(m) }

// All works, in no order.
func (w *Works) All() []fleet.LiveWork {
	stored := w.indexer.List()
	return liveWorks(stored, len(stored), nil)
}

// sorted are all works by cluster and name. The index's own entries are put into order, before the large values are made of them.
func (w *Works) sorted() []fleet.LiveWork {
	stored := w.indexer.List()
	slices.SortFunc(stored, func(a, b any) int {
		x, y := &a.(*indexedWork).LiveWork, &b.(*indexedWork).LiveWork
		return cmp.Or(cmp.Compare(x.Cluster, y.Cluster), cmp.Compare(x.Name, y.Name))
	})
	return liveWorks(stored, len(stored), nil)
}

// Of are the works of one owner, in no order.
func (w *Works) Of(owner fleet.Owner) []fleet.LiveWork { return w.by(byOwner, owner.String(), nil) }

// OnCluster are the works on one cluster, whoever owns them, in no order.
func (w *Works) OnCluster(cluster string) []fleet.LiveWork { return w.by(byCluster, cluster, nil) }

// On are the works of one owner on one cluster.
func (w *Works) On(cluster string, owner fleet.Owner) []fleet.LiveWork {
	return w.by(byCluster, cluster, func(lw *fleet.LiveWork) bool { return lw.Owner == owner })
}

// Get is a work, or nil.
func (w *Works) Get(cluster, name string) *fleet.LiveWork {
	stored, found, err := w.indexer.GetByKey(cluster + "/" + name)
	if err != nil || !found {
		return nil
	}
	return &stored.(*indexedWork).LiveWork
}

// Holding are the works on a cluster that hold an object, under any version of its kind.
func (w *Works) Holding(cluster string, object fleet.ObjectKey) []fleet.LiveWork {
	identity := object.Identity()
	return w.by(byCluster, cluster, func(lw *fleet.LiveWork) bool {
		return slices.ContainsFunc(lw.Objects, func(o fleet.ObjectKey) bool { return o.Identity() == identity })
	})
}

// by reads one of the indexes; a nil test is true of all.
func (w *Works) by(index, value string, test func(*fleet.LiveWork) bool) []fleet.LiveWork {
	stored, err := w.indexer.ByIndex(index, value)
	if err != nil {
		panic(err) // the index does not exist: a mistake in this file
	}
	size := len(stored)
	if test != nil {
		size = 0 // the test is true of few
	}
	return liveWorks(stored, size, test)
}

func liveWorks(stored []any, size int, test func(*fleet.LiveWork) bool) []fleet.LiveWork {
	works := make([]fleet.LiveWork, 0, size)
	for _, o := range stored {
		if lw := &o.(*indexedWork).LiveWork; test == nil || test(lw) {
			works = append(works, *lw)
		}
	}
	return works
}

// WorkEvent is a work before and after a change.
type WorkEvent struct {
	// Before is nil of a work that is new, After of one that is gone.
	Before, After *fleet.LiveWork
}

// Work is the work as it is, or as it was before it went.
func (e WorkEvent) Work() *fleet.LiveWork {
	if e.After != nil {
		return e.After
	}
	return e.Before
}

// SpecChanged says whether the work came, went, or has another generation.
func (e WorkEvent) SpecChanged() bool {
	return e.Before == nil || e.After == nil || e.Before.Generation != e.After.Generation
}

// PlanChanged says whether anything changed that a plan or its delivery reads: all but what the cluster reports.
func (e WorkEvent) PlanChanged() bool {
	if e.Before == nil || e.After == nil {
		return true
	}
	before, after := *e.Before, *e.After
	before.Status, after.Status = fleet.WorkStatus{}, fleet.WorkStatus{}
	before.WrittenAt = after.WrittenAt // an agent that adds its finalizer moves it
	return !reflect.DeepEqual(before, after)
}

// Handle calls a function for each change of a work, after the index has stored it. HasSynced is true once the function was
// called for every work that existed at the start.
func (w *Works) Handle(handle func(WorkEvent)) (hasSynced func() bool, err error) {
	if w.informer == nil {
		return nil, errors.New("watch works: nothing fills this index")
	}
	handler, err := w.informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { handle(WorkEvent{After: facts(o)}) },
		UpdateFunc: func(before, after any) {
			if before.(*indexedWork).resourceVersion != after.(*indexedWork).resourceVersion { // else the informer repeats what is known
				handle(WorkEvent{Before: facts(before), After: facts(after)})
			}
		},
		DeleteFunc: func(o any) { handle(WorkEvent{Before: facts(o)}) },
	})
	if err != nil {
		return nil, fmt.Errorf("watch works: %w", err)
	}
	return handler.HasSynced, nil
}

func facts(o any) *fleet.LiveWork {
	if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	return &o.(*indexedWork).LiveWork
}

// Source wakes a controller for changes of works. The controller starts when the index is complete.
func (w *Works) Source(wakes func(WorkEvent) []reconcile.Request) source.Source {
	return &workSource{works: w, wakes: wakes}
}

type workSource struct {
	works     *Works
	wakes     func(WorkEvent) []reconcile.Request
	hasSynced func() bool
}

// Start implements source.Source.
func (s *workSource) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) (err error) {
	s.hasSynced, err = s.works.Handle(func(e WorkEvent) {
		for _, request := range s.wakes(e) {
			queue.Add(request)
		}
	})
	return err
}

// WaitForSync implements source.SyncingSource.
func (s *workSource) WaitForSync(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), s.hasSynced) {
		return fmt.Errorf("list the works: %w", ctx.Err())
	}
	return nil
}

// LiveWork gives the facts of a work.
func LiveWork(w *workv1.ManifestWork) fleet.LiveWork {
	live := work.Live(w)
	live.UID = string(w.UID)
	return live
}

// workPage is how many works one request to an API server gives.
const workPage = 500

// ListWorks reads the facts of all works from an API server, page by page.
func ListWorks(ctx context.Context, reader client.Reader, options ...client.ListOption) ([]fleet.LiveWork, error) {
	var works []fleet.LiveWork
	page := client.ListOptions{Limit: workPage}
	page.ApplyOptions(options)
	for {
		var list workv1.ManifestWorkList
		if err := reader.List(ctx, &list, &page); err != nil {
			return nil, fmt.Errorf("list works: %w", err)
		}
		for i := range list.Items {
			works = append(works, LiveWork(&list.Items[i]))
		}
		if page.Continue = list.Continue; page.Continue == "" {
			return works, nil
		}
	}
}
