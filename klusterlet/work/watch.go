package work

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// watches keeps one metadata watch per resource of which a work has a labelled object, and remembers which objects
// changed since their work was last looked at.
type watches struct {
	client metadata.Interface
	notify func(work string)

	mu      sync.Mutex
	ctx     context.Context // of the running agent; nil before
	running map[schema.GroupResource]*watch
	wanted  map[string]map[objectKey]schema.GroupVersionResource // by work
	works   map[objectKey]map[string]bool
	changed map[string]map[objectKey]string // by work: the resourceVersion that was reported
}

type watch struct {
	informer cache.SharedIndexInformer
	cancel   context.CancelFunc
	users    map[string]bool
}

func newWatches(client metadata.Interface, notify func(string)) *watches {
	return &watches{client: client, notify: notify, running: map[schema.GroupResource]*watch{},
		wanted: map[string]map[objectKey]schema.GroupVersionResource{}, works: map[objectKey]map[string]bool{},
		changed: map[string]map[objectKey]string{}}
}

func (w *watches) start(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx = ctx
}

func (w *watches) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, running := range w.running {
		running.cancel()
	}
}

// want says which labelled objects a work has. Watches that nobody wants any more end.
func (w *watches) want(work string, targets []target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.wanted[work] {
		delete(w.works[key], work)
		if len(w.works[key]) == 0 {
			delete(w.works, key)
		}
	}
	keys, resources := map[objectKey]schema.GroupVersionResource{}, map[schema.GroupResource]bool{}
	for _, t := range targets {
		if t.err != nil || !t.labelled() {
			continue
		}
		key := t.key()
		keys[key], resources[key.groupResource()] = t.gvr(), true
		if w.works[key] == nil {
			w.works[key] = map[string]bool{}
		}
		w.works[key][work] = true
		w.run(t.gvr(), work)
	}
	w.wanted[work] = keys
	if len(keys) == 0 {
		delete(w.wanted, work)
	}
	for resource, running := range w.running {
		if !resources[resource] {
			delete(running.users, work)
		}
		if len(running.users) == 0 {
			running.cancel()
			delete(w.running, resource)
		}
	}
}

func (w *watches) run(gvr schema.GroupVersionResource, work string) {
	if running, ok := w.running[gvr.GroupResource()]; ok {
		running.users[work] = true
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	informer := metadatainformer.NewFilteredMetadataInformer(w.client, gvr, metav1.NamespaceAll, 0, cache.Indexers{},
		func(o *metav1.ListOptions) { o.LabelSelector = musterv1alpha1.HubLabel }).Informer()
	// The store needs to know what there is, no more: objects are read when they change.
	_ = informer.SetTransform(func(o any) (any, error) { // fails only on an informer that runs
		if m, ok := o.(*metav1.PartialObjectMetadata); ok {
			m.ManagedFields, m.Annotations, m.Labels, m.OwnerReferences = nil, nil, nil, nil
		}
		return o, nil
	})
	see := func(o any, deleted bool) { w.see(gvr.GroupResource(), unwrap(o), deleted) }
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{ // as above
		AddFunc: func(o any) { see(o, false) },
		UpdateFunc: func(old, o any) {
			if a, b := unwrap(old).(metav1.Object), unwrap(o).(metav1.Object); a.GetResourceVersion() != b.GetResourceVersion() {
				see(o, false)
			}
		},
		DeleteFunc: func(o any) { see(o, true) },
	})
	w.running[gvr.GroupResource()] = &watch{informer: informer, cancel: cancel, users: map[string]bool{work: true}}
	go informer.RunWithContext(ctx)
}

// see remembers a change and tells the works of the object.
func (w *watches) see(resource schema.GroupResource, o any, deleted bool) {
	object, ok := o.(metav1.Object)
	if !ok {
		return
	}
	key := objectKey{resource.Group, resource.Resource, object.GetNamespace(), object.GetName()}
	version := object.GetResourceVersion()
	if deleted {
		version = "deleted"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for work := range w.works[key] {
		if w.changed[work] == nil {
			w.changed[work] = map[objectKey]string{}
		}
		w.changed[work][key] = version
		w.notify(work)
	}
}

// take gives the objects of a work that changed since the last call, with their resourceVersion.
func (w *watches) take(work string) map[objectKey]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := w.changed[work]
	delete(w.changed, work)
	return changed
}

// covers says that changes of a labelled object are reported.
func (w *watches) covers(t target) bool {
	if !t.labelled() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	running, ok := w.running[t.key().groupResource()]
	return ok && running.informer.HasSynced()
}
