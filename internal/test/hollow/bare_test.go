package hollow_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/test/hollow"
)

// bareInformer names, in the environment, the kubeconfig with which this program is nothing but an informer of works and
// clusters.
const bareInformer = "MUSTER_BARE_INFORMER"

// runBareInformer holds the works and the clusters of a hub, and says on its output, a file, when it has them.
func runBareInformer(kubeconfig string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := func() error {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		config.QPS = -1
		scheme := runtime.NewScheme()
		if err := clusterv1.AddToScheme(scheme); err != nil {
			return err
		}
		if err := workv1.AddToScheme(scheme); err != nil {
			return err
		}
		informers, err := cache.New(config, cache.Options{Scheme: scheme})
		if err != nil {
			return err
		}
		for _, o := range []client.Object{&workv1.ManifestWork{}, &clusterv1.ManagedCluster{}} {
			if _, err := informers.GetInformer(ctx, o, cache.BlockUntilSynced(false)); err != nil {
				return err
			}
		}
		go func() {
			if informers.WaitForCacheSync(ctx) {
				_ = os.WriteFile(kubeconfig+".synced", nil, 0o600) // who waits for it waits for ever
			}
		}()
		return informers.Start(ctx)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// startBareInformer starts this program as a bare informer, and returns when it has all objects.
func (b *bench) startBareInformer() (p *hollow.Process, took time.Duration) {
	b.Helper()
	kubeconfig := filepath.Join(b.TempDir(), "kubeconfig")
	text, err := os.ReadFile(b.kubeconfig())
	must(b, err)
	must(b, os.WriteFile(kubeconfig, text, 0o600))
	began := time.Now()
	program, err := os.Executable()
	must(b, err)
	p, err = hollow.Start("env", bareInformer+"="+kubeconfig, program)
	must(b, err)
	b.wait(20*time.Millisecond, func() string {
		if _, err := os.Stat(kubeconfig + ".synced"); err != nil {
			return "the bare informer has not listed all"
		}
		return ""
	})
	return p, time.Since(began)
}

// writers is how many writes a bare client makes at once: as many as the hub by default.
const writers = 16

// bareClient writes works and counts the answers, with nothing in between.
type bareClient struct {
	b     *bench
	works []workv1.ManifestWork

	mu      sync.Mutex
	healthy map[types.NamespacedName]int64 // the generation that a work is healthy at
	changed chan struct{}
}

// newBareClient reads the works that are there, and begins to follow them.
func (b *bench) newBareClient(ctx context.Context) *bareClient {
	b.Helper()
	c := &bareClient{b: b, healthy: map[types.NamespacedName]int64{}, changed: make(chan struct{}, 1)}
	list := &workv1.ManifestWorkList{}
	must(b, b.client.List(ctx, list))
	c.works = list.Items
	b.followWorks(ctx, c.note)
	return c
}

// followWorks calls a function with each work, as it is and after every change, until the context ends. It returns when it has called it with
// all that there are.
func (b *bench) followWorks(ctx context.Context, note func(*workv1.ManifestWork)) {
	b.Helper()
	informers, err := cache.New(b.config, cache.Options{Scheme: b.client.Scheme()})
	must(b, err)
	informer, err := informers.GetInformer(ctx, &workv1.ManifestWork{}, cache.BlockUntilSynced(false))
	must(b, err)
	handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { note(o.(*workv1.ManifestWork)) },
		UpdateFunc: func(_, o any) { note(o.(*workv1.ManifestWork)) },
	})
	must(b, err)
	go func() { _ = informers.Start(ctx) }() // it ends with the context
	if !toolscache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		b.Fatal("the works are not listed")
	}
}

// isAnswered is true for a work whose cluster has applied what it asks for now.
func isAnswered(w *workv1.ManifestWork) bool {
	applied := meta.FindStatusCondition(w.Status.Conditions, workv1.WorkApplied)
	return applied != nil && applied.ObservedGeneration == w.Generation
}

func (c *bareClient) note(w *workv1.ManifestWork) {
	if !isAnswered(w) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.healthy[client.ObjectKeyFromObject(w)] = w.Generation
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// replace writes all works with one line changed, and returns when all are answered and counted.
func (c *bareClient) replace(before, after string) time.Duration {
	c.b.Helper()
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(writers)
	for i := range c.works {
		group.Go(func() error {
			w := &c.works[i]
			for n := range w.Spec.Workload.Manifests {
				raw := string(w.Spec.Workload.Manifests[n].Raw)
				w.Spec.Workload.Manifests[n].Raw = []byte(strings.Replace(raw, before, after, 1))
			}
			patch, err := client.MergeFrom(&workv1.ManifestWork{}).Data(&workv1.ManifestWork{Spec: w.Spec})
			if err != nil {
				return err
			}
			target := &workv1.ManifestWork{}
			target.Namespace, target.Name = w.Namespace, w.Name
			if err := c.b.client.Patch(c.b.ctx, target, client.RawPatch(types.MergePatchType, patch)); err != nil {
				return err
			}
			w.Generation = target.Generation
			return nil
		})
	}
	must(c.b, group.Wait())
	for !c.allHealthy() {
		select {
		case <-c.changed:
		case <-c.b.ctx.Done():
			c.b.Fatal("the works are not answered")
		}
	}
	return time.Since(began)
}

// bareRounds measures the floor of changes of one line: a bare client that writes the same works and counts the same answers.
func (b *bench) bareRounds(line func(int) string) []time.Duration {
	b.Helper()
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	bare := b.newBareClient(ctx)
	var took []time.Duration
	for i := range rounds {
		took = append(took, bare.replace(line(rounds+i), line(rounds+i+1)))
	}
	return took
}

func (c *bareClient) allHealthy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.works {
		if c.healthy[client.ObjectKeyFromObject(&c.works[i])] < c.works[i].Generation {
			return false
		}
	}
	return true
}

// createCopies creates a copy of each work beside it, and returns the time that it takes.
func (b *bench) createCopies(ctx context.Context) time.Duration {
	b.Helper()
	list := &workv1.ManifestWorkList{}
	must(b, b.client.List(ctx, list))
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(writers)
	for i := range list.Items {
		group.Go(func() error {
			w := &list.Items[i]
			fresh := &workv1.ManifestWork{Spec: w.Spec}
			fresh.Namespace, fresh.Name, fresh.Labels, fresh.Annotations = w.Namespace, w.Name+"-copy", w.Labels, w.Annotations
			return b.client.Create(ctx, fresh)
		})
	}
	must(b, group.Wait())
	return time.Since(began)
}
