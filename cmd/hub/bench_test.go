package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// benchEdits is how many edits one round makes.
const benchEdits = 100

// BenchmarkDrift is the time from an edit on a cluster until the application's status on the hub says so, through the real
// agent and the real hub. The floor is a bare client, in turn with the edits: it edits an object on the cluster, sees the
// edit there, writes to the hub, and sees that there: the way that the news has to take.
func BenchmarkDrift(b *testing.B) {
	f := newFleet(b, shopIn("shop")+clusterFile("one", "tier: edge")+applicationFile("shop", "edge", "manifests/shop", "shop", "  sync: {drift: Report}"))
	f.deliver()
	f.join("one")
	f.expectHealthy("retail/shop", f.push(""), 1)
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	hub, cluster := newObserver(b, f.cp.Config()), newObserver(b, f.spokes["one"].Config())
	applications := hub.watch(ctx, &musterv1alpha1.ApplicationList{}, "retail")
	drifted := func(n int32) func(client.Object) bool {
		return func(o client.Object) bool {
			a, ok := o.(*musterv1alpha1.Application)
			return ok && a.Name == "shop" && a.Status.Summary.Drifted == n
		}
	}
	bare := &floor{hub: hub, cluster: cluster}
	bare.begin(ctx)

	var took, floor []time.Duration
	for b.Loop() {
		for i := range benchEdits {
			began := time.Now()
			cluster.set("shop", "shop", "color", fmt.Sprint("edit-", i))
			await(b, applications, drifted(1))
			took = append(took, time.Since(began))
			cluster.set("shop", "shop", "color", "red") // as it is in Git
			await(b, applications, drifted(0))
			floor = append(floor, bare.round(i))
		}
	}
	slices.Sort(took)
	slices.Sort(floor)
	ratio := float64(middle(took)) / float64(middle(floor))
	b.ReportMetric(float64(middle(took).Milliseconds()), "p50-ms")
	b.ReportMetric(float64(slowest(took).Milliseconds()), "p99-ms")
	b.ReportMetric(ratio, "x-bare-client")
	b.Logf("drift of %d edits until the application's status says so: p50 %v, p99 %v; ratio %.1f to the floor: a bare client that carries the news, p50 %v, p99 %v",
		len(took), middle(took).Round(time.Millisecond), slowest(took).Round(time.Millisecond), ratio,
		middle(floor).Round(time.Millisecond), slowest(floor).Round(time.Millisecond))
}

func middle(sorted []time.Duration) time.Duration  { return sorted[len(sorted)/2] }
func slowest(sorted []time.Duration) time.Duration { return sorted[(len(sorted)-1)*99/100] }

// observer is a client of one API server that edits and watches.
type observer struct {
	tb testing.TB
	client.WithWatch
}

func newObserver(tb testing.TB, config *rest.Config) observer {
	tb.Helper()
	c, err := client.NewWithWatch(config, client.Options{Scheme: Scheme()})
	if err != nil {
		tb.Fatal(err)
	}
	return observer{tb, c}
}

func (o observer) watch(ctx context.Context, list client.ObjectList, namespace string) <-chan watch.Event {
	o.tb.Helper()
	w, err := o.Watch(ctx, list, client.InNamespace(namespace))
	if err != nil {
		o.tb.Fatal(err)
	}
	return w.ResultChan()
}

// set edits one key of a ConfigMap as kubectl would.
func (o observer) set(namespace, name, key, value string) {
	o.tb.Helper()
	target := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"data":{%q:%q}}`, key, value))
	if err := o.Patch(context.Background(), target, patch, client.FieldOwner("kubectl-edit")); err != nil {
		o.tb.Fatal(err)
	}
}

// await reads events until one is about what is wanted.
func await(tb testing.TB, events <-chan watch.Event, wanted func(client.Object) bool) {
	tb.Helper()
	patient := time.After(patience)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				tb.Fatal("the watch has ended")
			}
			if o, isObject := e.Object.(client.Object); isObject && wanted(o) {
				return
			}
		case <-patient:
			tb.Fatalf("nothing after %s", patience)
		}
	}
}

// floor carries news from the cluster to the hub with nothing in between.
type floor struct {
	hub, cluster             observer
	hubEvents, clusterEvents <-chan watch.Event
}

func (f *floor) begin(ctx context.Context) {
	for _, o := range []observer{f.hub, f.cluster} {
		if err := o.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "floor"}}); err != nil {
			o.tb.Fatal(err)
		}
	}
	f.hubEvents = f.hub.watch(ctx, &corev1.ConfigMapList{}, "default")
	f.clusterEvents = f.cluster.watch(ctx, &corev1.ConfigMapList{}, "default")
}

func (f *floor) round(i int) time.Duration {
	value := fmt.Sprint("round-", i, "-", time.Now().UnixNano())
	says := func(o client.Object) bool {
		c, ok := o.(*corev1.ConfigMap)
		return ok && c.Data["news"] == value
	}
	began := time.Now()
	f.cluster.set("default", "floor", "news", value)
	await(f.cluster.tb, f.clusterEvents, says)
	f.hub.set("default", "floor", "news", value)
	await(f.hub.tb, f.hubEvents, says)
	return time.Since(began)
}
