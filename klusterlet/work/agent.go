package work

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/tracing"
)

// Agent applies the works of one cluster. The zero values of the options are OCM's defaults.
type Agent struct {
	// Hub is the connection to the API server that has the works; Spoke the one to the managed cluster.
	Hub, Spoke *rest.Config
	// ClusterName is the name of the cluster, and of its namespace on the hub.
	ClusterName string
	// HubHash is the SHA-256, in hex, of the hub's host: AppliedManifestWorks are named with it.
	HubHash string
	// AgentID distinguishes agents of one cluster; the hub hash when empty.
	AgentID string

	// Workers is how many works are reconciled at a time: 10.
	Workers int
	// Writers is how many objects are read or applied at a time: 16.
	Writers int
	// StatusInterval is the shortest time between two status writes of one work while nothing flips: 10 s.
	StatusInterval time.Duration
	// SyncInterval is how often the status of objects that no watch reports is read: 10 s.
	SyncInterval time.Duration
	// ResyncInterval is how often everything is compared again: 4 m, and up to half as much again.
	ResyncInterval time.Duration
	// RetryDelay is the longest pause before a failed manifest is tried again: 60 s.
	RetryDelay time.Duration
	// EvictionGracePeriod is how long an AppliedManifestWork without a work stays: 60 m. A hundred years is for ever.
	EvictionGracePeriod time.Duration
	// EvictionAllowed says whether a work that is missing on the hub is proof that it is gone. Nil is OCM's rule: it is.
	EvictionAllowed func(context.Context) (bool, error)
	// ExecutorOnly writes the objects of a work as the work's executor, and refuses works that name none. Nothing is watched: the agent
	// has no rights on objects.
	ExecutorOnly bool
	// RawFeedback reports maps and lists as JSON, as OCM's gate RawFeedbackJsonString does, of MaxRawFeedback bytes at most: 1024.
	RawFeedback    bool
	MaxRawFeedback int
	// MaxFeedbackWatch is how many resources are watched for rules with feedbackScrapeType Watch: 50. Beyond it, objects are polled.
	MaxFeedbackWatch int
	// Namespace of the agent on its cluster, where a ConfigMap may hold works. Empty: none does.
	Namespace string
	// Traces are told of works that were applied; nil is nobody.
	Traces *tracing.Tracer
	// Serving is called when the agent has read its works and begins to apply them. It may be nil.
	Serving func()

	hook func(step string) // called at the steps that a test stops the agent at
}

// request is what a worker is given: a work of the hub, or an AppliedManifestWork of the cluster.
type request struct {
	record bool
	name   string
}

// engine is a running agent.
type engine struct {
	Agent

	works   cache.Cache // of the hub: the works of the cluster's namespace
	hub     client.Client
	records cache.Cache // of the spoke: AppliedManifestWorks
	mapper  meta.RESTMapper
	remover

	queue   workqueue.TypedRateLimitingInterface[request]
	watches *watches
	claims  *claims
	waves   *waveBoard
	holds   *holds

	generated *generatedValues

	mu     sync.Mutex
	memory map[string]*memory // by name of the AppliedManifestWork
	waits  map[request]int    // how often something was waited for
}

// Run applies works until ctx ends. It fails at once when a configuration cannot be used, and waits for a hub or a
// cluster that is away.
func (a *Agent) Run(ctx context.Context) error {
	e, err := a.engine()
	if err != nil {
		return fmt.Errorf("start the work agent of %s: %w", a.ClusterName, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.works.Start(ctx) })
	group.Go(func() error { return e.records.Start(ctx) })
	group.Go(func() error {
		defer e.queue.ShutDown()
		if err := e.subscribe(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("start the work agent of %s: %w", a.ClusterName, err)
		}
		e.serve(ctx)
		return nil
	})
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (a *Agent) engine() (*engine, error) {
	if a.Hub == nil || a.Spoke == nil || a.ClusterName == "" || a.HubHash == "" {
		return nil, errors.New("hub, spoke, cluster name and hub hash are needed")
	}
	e := &engine{Agent: *a, memory: map[string]*memory{}, waits: map[request]int{}, claims: newClaims(), waves: newWaveBoard(), holds: &holds{}, generated: &generatedValues{}}
	e.setDefaults()
	e.slots, e.others = make(chan struct{}, e.Writers), e
	e.queue = workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[request](200*time.Millisecond, e.RetryDelay),
		workqueue.TypedRateLimitingQueueConfig[request]{Name: "manifestworks"})
	scheme := runtime.NewScheme() // of the few kinds that the agent knows: all of Kubernetes' are a megabyte
	if err := errors.Join(corev1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme), workv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return e, errors.Join(e.connectHub(scheme), e.connectSpoke(scheme))
}

// standardWriters is how many requests to the cluster run at the same time by default.
const standardWriters = 16

func (e *engine) setDefaults() {
	if e.AgentID == "" {
		e.AgentID = e.HubHash
	}
	for value, standard := range map[*int]int{&e.Workers: 10, &e.Writers: standardWriters, &e.MaxRawFeedback: 1024, &e.MaxFeedbackWatch: 50} {
		if *value <= 0 {
			*value = standard
		}
	}
	for value, standard := range map[*time.Duration]time.Duration{
		&e.StatusInterval: 10 * time.Second, &e.SyncInterval: 10 * time.Second, &e.ResyncInterval: 4 * time.Minute,
		&e.RetryDelay: time.Minute, &e.EvictionGracePeriod: time.Hour,
	} {
		if *value <= 0 {
			*value = standard
		}
	}
}

func (e *engine) connectHub(scheme *runtime.Scheme) (err error) {
	config := configured(e.Hub)
	if e.works, err = cache.New(config, cache.Options{Scheme: scheme,
		Mapper:            workMapper(),
		DefaultNamespaces: map[string]cache.Config{e.ClusterName: {}}, DefaultTransform: cache.TransformStripManagedFields()}); err != nil {
		return fmt.Errorf("connect to the hub: %w", err)
	}
	if e.hub, err = client.New(config, client.Options{Scheme: scheme, Mapper: workMapper()}); err != nil {
		return fmt.Errorf("connect to the hub: %w", err)
	}
	return nil
}

// workMapper knows the kinds of works without asking: the agent's rights on a hub do not include discovery.
func workMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(workv1.GroupVersion.WithKind("ManifestWork"), meta.RESTScopeNamespace)
	mapper.Add(workv1.GroupVersion.WithKind("ManifestWorkList"), meta.RESTScopeNamespace) // asked for by the cache
	mapper.Add(workv1.GroupVersion.WithKind(recordKind), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	return mapper
}

func (e *engine) connectSpoke(scheme *runtime.Scheme) error {
	config := configured(e.Spoke)
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	var errs [4]error
	e.records, errs[0] = cache.New(config, cache.Options{Scheme: scheme, Mapper: workMapper(), HTTPClient: web,
		ByObject: e.heldCache(), DefaultTransform: cache.TransformStripManagedFields()})
	e.mapper, errs[1] = apiutil.NewDynamicRESTMapper(config, web)
	errs[2] = e.connect(config, web, scheme, e.mapper)
	var metadatas metadata.Interface
	metadatas, errs[3] = metadata.NewForConfigAndClient(metadata.ConfigFor(config), web)
	e.watches = newWatches(metadatas, e.MaxFeedbackWatch, e.ExecutorOnly, func(work string) { e.queue.Add(request{name: work}) })
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	return nil
}

// configured leaves the pace to the API server, which has its own fairness, and to the agent's bounded concurrency.
func configured(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	if c.UserAgent == "" {
		c.UserAgent = "work-agent"
	}
	if c.QPS == 0 {
		c.QPS = -1
	}
	return c
}

// subscribe makes requests of the events of the caches, and waits until the caches are filled.
func (e *engine) subscribe(ctx context.Context) error {
	works, err := e.works.GetInformer(ctx, &workv1.ManifestWork{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch works: %w", err)
	}
	records, err := e.records.GetInformer(ctx, &workv1.AppliedManifestWork{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch AppliedManifestWorks: %w", err)
	}
	w, err := works.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { e.workChanged(nil, o) },
		UpdateFunc: e.workChanged,
		DeleteFunc: func(o any) { e.workChanged(o, nil) },
	})
	if err != nil {
		return fmt.Errorf("watch works: %w", err)
	}
	r, err := records.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { e.recordChanged(o, false) },
		UpdateFunc: func(old, o any) {
			e.recordChanged(o, false)
			a, b := old.(*workv1.AppliedManifestWork), o.(*workv1.AppliedManifestWork)
			if a.Annotations[holdAnnotation] != b.Annotations[holdAnnotation] {
				e.queue.Add(request{name: b.Spec.ManifestWorkName})
			}
		},
		DeleteFunc: func(o any) { e.recordChanged(o, true) },
	})
	if err != nil {
		return fmt.Errorf("watch AppliedManifestWorks: %w", err)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), w.HasSynced, r.HasSynced) {
		return ctx.Err()
	}
	return e.watchHolds(ctx)
}

func (e *engine) workChanged(before, after any) {
	old, _ := unwrap(before).(*workv1.ManifestWork)
	work, _ := unwrap(after).(*workv1.ManifestWork)
	switch {
	case work == nil && old != nil:
		work = old
		worksKnown.Dec()
		e.wake(e.claims.drop(old.Name))
		e.wake(e.waves.set(old.Name, nil))
	case work != nil && old != nil && unchanged(old, work):
		return
	case work != nil:
		if old == nil {
			worksKnown.Inc()
		}
		e.wake(e.claims.set(work))
		e.wake(e.waves.set(work.Name, work))
	default:
		return
	}
	e.queue.Add(request{name: work.Name})
}

// unchanged says that at most the status differs.
func unchanged(a, b *workv1.ManifestWork) bool {
	return a.UID == b.UID && a.Generation == b.Generation && a.DeletionTimestamp.Equal(b.DeletionTimestamp) &&
		len(a.Finalizers) == len(b.Finalizers) && sameMap(a.Labels, b.Labels) && sameMap(a.Annotations, b.Annotations)
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// recordChanged looks at a record, and at its work when the record goes: it has to be made anew, or the work let go.
func (e *engine) recordChanged(o any, gone bool) {
	record, ok := unwrap(o).(*workv1.AppliedManifestWork)
	if !ok {
		return
	}
	ours := record.Name == e.recordName(record.Spec.ManifestWorkName)
	if ours && (gone || !record.DeletionTimestamp.IsZero()) {
		e.queue.Add(request{name: record.Spec.ManifestWorkName})
	}
	e.queue.Add(request{record: true, name: record.Name})
}

func unwrap(o any) any {
	if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		return gone.Obj
	}
	return o
}

// wake looks again at works whose claim on an object has changed.
func (e *engine) wake(works []string) {
	for _, name := range works {
		e.queue.Add(request{name: name})
	}
}

// serve runs the workers.
func (e *engine) serve(ctx context.Context) {
	defer e.watches.stop()
	e.watches.start(ctx)
	if e.Serving != nil {
		e.Serving()
	}
	var workers sync.WaitGroup
	for range e.Workers {
		workers.Go(func() {
			for e.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	e.queue.ShutDown()
	workers.Wait()
}

func (e *engine) next(ctx context.Context) bool {
	r, shutdown := e.queue.Get()
	if shutdown {
		return false
	}
	defer e.queue.Done(r)
	key := "work"
	if r.record {
		key = "appliedManifestWork"
	}
	log := logr.FromContextOrDiscard(ctx).WithValues("cluster", e.ClusterName, key, r.name)
	again, err := e.reconcile(logr.NewContext(ctx, log), r)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		log.Error(err, "Reconcile again")
		e.queue.AddRateLimited(r)
	default:
		e.queue.Forget(r)
		if again > 0 {
			e.queue.AddAfter(r, again)
		}
	}
	return true
}

func (e *engine) reconcile(ctx context.Context, r request) (time.Duration, error) {
	if r.record {
		return e.reconcileRecord(ctx, r.name)
	}
	return e.reconcileWork(ctx, r.name)
}

func (e *engine) reached(step string) {
	if e.hook != nil {
		e.hook(step)
	}
}
