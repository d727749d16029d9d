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
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// watches keeps one metadata watch per resource of which a work has a labelled object, and one per resource and namespace of which
// a work has objects whose feedback is to be watched. It remembers which objects changed since their work was last looked at.
type watches struct {
	client      metadata.Interface
	maxFeedback int  // watches that are for feedback only
	off         bool // the agent may watch nothing: objects are polled
	notify      func(work string)

	mu      sync.Mutex
	ctx     context.Context // of the running agent; nil before
	running map[watchKey]*watch
	wanted  map[string]map[objectKey]schema.GroupVersionResource // by work
	works   map[objectKey]map[string]bool
	changed map[string]map[objectKey]string // by work: the resourceVersion that was reported
}

// watchKey names a watch: of the labelled objects of a resource, or for feedback of all objects of a resource in a namespace.
type watchKey struct {
	resource  schema.GroupResource
	feedback  bool
	namespace string // empty for cluster-scoped objects, and for labelled ones of every namespace
}

// watchFor says which watch reports changes of an object, if there is to be one.
func watchFor(t target) (watchKey, bool) {
	resource := t.key().groupResource()
	switch {
	case t.labelled():
		return watchKey{resource: resource}, true
	case t.config.FeedbackScrapeType == workv1.FeedbackWatchType && len(t.config.FeedbackRules) > 0:
		return watchKey{resource: resource, feedback: true, namespace: t.meta.Namespace}, true
	}
	return watchKey{}, false
}

type watch struct {
	informer cache.SharedIndexInformer
	cancel   context.CancelFunc
	users    map[string]bool
}

func newWatches(client metadata.Interface, maxFeedback int, off bool, notify func(string)) *watches {
	return &watches{client: client, maxFeedback: maxFeedback, off: off, notify: notify, running: map[watchKey]*watch{},
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

// want says which objects a work has that are to be watched. Watches that nobody wants any more end.
func (w *watches) want(work string, targets []target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.wanted[work] {
		delete(w.works[key], work)
		if len(w.works[key]) == 0 {
			delete(w.works, key)
		}
	}
	keys, needed := map[objectKey]schema.GroupVersionResource{}, map[watchKey]bool{}
	for _, t := range targets {
		watched, ok := watchFor(t)
		if t.err != nil || !ok || !w.run(watched, t.gvr(), work) {
			continue
		}
		key := t.key()
		keys[key], needed[watched] = t.gvr(), true
		if w.works[key] == nil {
			w.works[key] = map[string]bool{}
		}
		w.works[key][work] = true
	}
	w.wanted[work] = keys
	if len(keys) == 0 {
		delete(w.wanted, work)
	}
	for key, running := range w.running {
		if !needed[key] {
			delete(running.users, work)
		}
		if len(running.users) == 0 {
			running.cancel()
			delete(w.running, key)
		}
	}
}

// run makes a work a user of a watch, which is started if need be. It is false when there are too many for feedback.
func (w *watches) run(key watchKey, gvr schema.GroupVersionResource, work string) bool {
	if running, ok := w.running[key]; ok {
		running.users[work] = true
		return true
	}
	if w.off || key.feedback && w.forFeedback() >= w.maxFeedback {
		return false
	}
	ctx, cancel := context.WithCancel(w.ctx)
	selector := musterv1alpha1.HubLabel
	if key.feedback {
		selector = ""
	}
	informer := metadatainformer.NewFilteredMetadataInformer(w.client, gvr, key.namespace, 0, cache.Indexers{},
		func(o *metav1.ListOptions) { o.LabelSelector = selector }).Informer()
	// The store needs to know what there is, no more: objects are read when they change.
	_ = informer.SetTransform(func(o any) (any, error) { // fails only on an informer that runs
		if m, ok := o.(*metav1.PartialObjectMetadata); ok {
			m.ManagedFields, m.Annotations, m.Labels, m.OwnerReferences = nil, nil, nil, nil
		}
		return o, nil
	})
	see := func(o any, deleted bool) { w.noteChange(gvr.GroupResource(), unwrap(o), deleted) }
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{ // as above
		AddFunc: func(o any) { see(o, false) },
		UpdateFunc: func(old, o any) {
			if a, b := unwrap(old).(metav1.Object), unwrap(o).(metav1.Object); a.GetResourceVersion() != b.GetResourceVersion() {
				see(o, false)
			}
		},
		DeleteFunc: func(o any) { see(o, true) },
	})
	w.running[key] = &watch{informer: informer, cancel: cancel, users: map[string]bool{work: true}}
	go informer.RunWithContext(ctx)
	return true
}

func (w *watches) forFeedback() int {
	count := 0
	for key := range w.running {
		if key.feedback {
			count++
		}
	}
	return count
}

// noteChange remembers a change and tells the works of the object.
func (w *watches) noteChange(resource schema.GroupResource, o any, deleted bool) {
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

// drain gives the objects of a work that changed since the last call, with their resourceVersion.
func (w *watches) drain(work string) map[objectKey]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := w.changed[work]
	delete(w.changed, work)
	return changed
}

// covers says that changes of an object are reported.
func (w *watches) covers(t target) bool {
	key, wanted := watchFor(t)
	if !wanted {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	running, ok := w.running[key]
	return ok && running.informer.HasSynced()
}
