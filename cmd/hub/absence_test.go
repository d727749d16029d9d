package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// TestOutages: an application that wants two of three clusters, with leases of one second. Whatever was away and came back, it is on
// two clusters afterwards, nothing waits for a person, nothing was deleted that had no healthy replacement, and no data is lost.
//
// It waits for leases, and so takes longest of all tests here. It stands in the first file because parallel tests begin in that sequence.
func TestOutages(t *testing.T) {
	t.Parallel()
	short := func(name string) string {
		return strings.Replace(clusterFile(name, "tier: edge"), "leaseDurationSeconds: 3600", "leaseDurationSeconds: 1", 1)
	}
	two := `{numberOfClusters: 2, predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge}}}}]}`
	f := newFleet(t, tenant+short("one")+short("two")+short("three")+placementFile("edge", two)+
		applicationFile("shop", "edge", "manifests/shop", "outage", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red")+
		"-- manifests/shop/data.yaml --\n"+protectedFiles,
		func(o *Options) { o.HeartbeatPeriod = 500 * time.Millisecond })
	f.deliver()
	o := &outageFleet{theFleet: f, away: map[string]*atomic.Bool{}, claims: map[string]types.UID{}}
	for _, name := range []string{"one", "two", "three"} {
		f.join(name)
		o.renews(name)
		o.binds(name)
	}
	f.push("")
	o.expectTwo()
	o.watchChanges()

	o.outage("the hub and all clusters, which come back one after the other", o.everything)
	o.outage("the hub alone", o.hubAlone)
	o.outage("all clusters, and the hub is there", o.allClusters)
	o.outage("one cluster is replaced, and exchanged when it is back", o.one)
	o.outage("a cluster flaps", o.flapping)
	f.run("a person who names another placement is asked", func(f *theFleet) {
		f.push(placementFile("other", two) + applicationFile("shop", "other", "manifests/shop", "outage", ""))
		f.expectHeld("retail/shop", 1, "would leave 1 of 3 clusters")
		f.push(applicationFile("shop", "edge", "manifests/shop", "outage", ""))
		f.expectHeld("retail/shop", 0)
	})
	f.run("a person who wants fewer is asked", func(f *theFleet) {
		f.push(placementFile("edge", strings.Replace(two, "numberOfClusters: 2", "numberOfClusters: 1", 1)))
		f.expectHeld("retail/shop", 1, "would leave 1 of ")
	})
}

// protectedFiles are objects that hold data.
const protectedFiles = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: outage-data}
`

// outageFleet is a fleet whose clusters renew their leases, unless they are away.
type outageFleet struct {
	*theFleet
	away   map[string]*atomic.Bool
	claims map[string]types.UID // by cluster: the claim that the application has made there

	mu      sync.Mutex
	wrong   []string // what changed although it must not
	deleted []string // works
}

// outage lets one happen, and checks what is true after each: everything is where the placement wants it, nothing waited for a person,
// nothing was deleted that had no healthy replacement, and the data of each cluster is there.
func (o *outageFleet) outage(name string, do func()) {
	o.run(name, func(*theFleet) {
		do()
		o.expectTwo()
		o.expectReady("retail/shop")
		o.expectData()
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, text := range o.wrong {
			o.t.Error(text)
		}
		o.wrong, o.deleted = nil, nil
	})
}

// expectData: a claim that was made on a cluster stays there, also when the application has left it, which the status says.
func (o *outageFleet) expectData() {
	o.t.Helper()
	on, left := o.onClusters(), o.application("retail/shop").Status.Left
	for name := range o.spokes {
		var claim corev1.PersistentVolumeClaim
		if !o.on(name, &claim, "outage", "data") {
			if o.claims[name] != "" {
				o.t.Errorf("the claim on %s is gone", name)
			}
			continue
		}
		if before := o.claims[name]; claim.DeletionTimestamp != nil || before != "" && before != claim.UID {
			o.t.Errorf("the claim on %s is not the one that it was: %s, was %s; deleted at %s", name, claim.UID, before, claim.DeletionTimestamp)
		}
		o.claims[name] = claim.UID
		says := rollout.LeftOn(left, name)
		if has := slices.Contains(on, name); has && says != "" || !has && says != "Namespace outage-data, PersistentVolumeClaim outage/data" {
			o.t.Errorf("the application is on %v, and left on %s is %q", on, name, says)
		}
	}
}

// watchChanges looks at every change of works and of the application until the test ends.
func (o *outageFleet) watchChanges() {
	c, err := client.NewWithWatch(o.cp.Config(), client.Options{Scheme: o.client.Scheme()})
	if err != nil {
		o.t.Fatal(err)
	}
	var list workv1.ManifestWorkList
	if err := c.List(o.ctx, &list); err != nil {
		o.t.Fatal(err)
	}
	live := map[string]fleet.LiveWork{}
	note := func(w *workv1.ManifestWork) {
		if w.Annotations[musterv1alpha1.ApplicationAnnotation] == "retail/shop" {
			live[w.Namespace+"/"+w.Name] = work.Live(w)
		}
	}
	for i := range list.Items {
		note(&list.Items[i])
	}
	works, err := c.Watch(o.ctx, &workv1.ManifestWorkList{}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	if err != nil {
		o.t.Fatal(err)
	}
	applications, err := c.Watch(o.ctx, &musterv1alpha1.ApplicationList{})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(works.Stop)
	o.t.Cleanup(applications.Stop)
	go func() {
		for e := range works.ResultChan() {
			w, ok := e.Object.(*workv1.ManifestWork)
			if !ok {
				continue
			}
			key := w.Namespace + "/" + w.Name
			if e.Type == watch.Deleted {
				delete(live, key)
				continue
			}
			before := live[key]
			note(w)
			if w.DeletionTimestamp != nil && !before.Deleting {
				o.seesDeletion(key, live)
			}
		}
	}()
	go func() {
		for e := range applications.ResultChan() {
			if a, ok := e.Object.(*musterv1alpha1.Application); ok && a.Status.Held != nil {
				o.says("the application waits for a person: %s", a.Status.Held.Message)
			}
		}
	}()
}

func (o *outageFleet) says(format string, values ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wrong = append(o.wrong, fmt.Sprintf(format, values...))
}

func (o *outageFleet) seesDeletion(key string, live map[string]fleet.LiveWork) {
	var healthy []string
	for other, lw := range live {
		if !lw.Deleting && lw.Status.Observed && lw.Status.Applied && lw.Status.Health == fleet.HealthHealthy && !o.away[lw.Cluster].Load() {
			healthy = append(healthy, other)
		}
	}
	if len(healthy) < 2 {
		o.says("work %s is deleted, and the application is healthy on %v only", key, healthy)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deleted = append(o.deleted, key)
}

// binds does what the storage of a cluster does.
func (o *outageFleet) binds(name string) {
	c, err := client.New(o.spokes[name].Config(), client.Options{Scheme: o.client.Scheme()})
	if err != nil {
		o.t.Fatal(err)
	}
	stop := o.inBackground("storage of "+name, func(ctx context.Context) error {
		for ctx.Err() == nil {
			var claim corev1.PersistentVolumeClaim
			if c.Get(ctx, types.NamespacedName{Namespace: "outage", Name: "data"}, &claim) == nil && claim.Status.Phase != corev1.ClaimBound {
				claim.Status.Phase = corev1.ClaimBound
				_ = c.Status().Update(ctx, &claim) // the next one makes up for it
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
		return nil
	})
	o.t.Cleanup(stop)
}

// renews does what the registration agent of a cluster does, until the test ends.
func (o *outageFleet) renews(name string) {
	away := &atomic.Bool{}
	o.away[name] = away
	stop := o.inBackground("lease of "+name, func(ctx context.Context) error {
		for ctx.Err() == nil {
			if !away.Load() {
				o.renew(ctx, name)
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
		return nil
	})
	o.t.Cleanup(stop)
}

func (o *outageFleet) renew(ctx context.Context, name string) {
	var lease coordinationv1.Lease
	if o.client.Get(ctx, types.NamespacedName{Namespace: name, Name: clusterv1.ManagedClusterLeaseName}, &lease) == nil {
		now := metav1.NewMicroTime(time.Now())
		lease.Spec.RenewTime = &now
		_ = o.client.Update(ctx, &lease) // the next one makes up for it
	}
	var c clusterv1.ManagedCluster
	if o.client.Get(ctx, types.NamespacedName{Name: name}, &c) != nil || meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable) {
		return
	}
	base := c.DeepCopy()
	meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{
		Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionTrue, Reason: clusterv1.ReasonManagedClusterAvailable, Message: "set by the test",
	})
	_ = o.client.Status().Patch(ctx, &c, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
}

// on are the clusters that have the application, sorted.
func (o *outageFleet) onClusters() []string {
	var names []string
	for key := range o.worksOf("retail/shop") {
		name, _, _ := strings.Cut(key, "/")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// expectTwo waits until the application is healthy on two clusters and on no other, and nothing is held.
func (o *outageFleet) expectTwo() []string {
	o.t.Helper()
	var on []string
	o.eventually(func() string {
		a := o.application("retail/shop")
		on = o.onClusters()
		if s := a.Status.Summary; len(on) != 2 || s.Clusters != 2 || s.Healthy != 2 || a.Status.Settled == nil || a.Status.Settled.Clusters != 2 {
			return fmt.Sprintf("the application is on %v: %+v, settled on %+v", on, s, a.Status.Settled)
		}
		return ""
	})
	if a := o.application("retail/shop"); a.Status.Held != nil || len(a.Status.RecentRemovals) > 0 {
		o.t.Fatalf("waits for a person: %+v, counts %+v", a.Status.Held, a.Status.RecentRemovals)
	}
	return on
}

func (o *outageFleet) silence(away bool, names ...string) {
	for _, name := range names {
		o.away[name].Store(away)
		if away {
			o.agents[name]()
		} else {
			o.startAgent(name)
		}
	}
}

// expectUnreachable waits until the hub has noticed.
func (o *outageFleet) expectUnreachable(name string) {
	o.t.Helper()
	o.eventually(func() string {
		var c clusterv1.ManagedCluster
		if err := o.client.Get(o.ctx, types.NamespacedName{Name: name}, &c); err != nil {
			return err.Error()
		}
		if a := meta.FindStatusCondition(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable); a == nil || a.Status != metav1.ConditionUnknown {
			return fmt.Sprintf("%s is not called silent: %+v", name, a)
		}
		return ""
	})
}

// everything is the case that was told: the hub and its clusters are away for longer than a grace period, and come back one after the
// other. Nobody was silent while nobody listened, so that nothing is moved.
func (o *outageFleet) everything() {
	before := o.uids("retail/shop")
	o.stop()
	o.silence(true, "one", "two", "three")
	o.leaseOlderThan("three", 7*time.Second)
	o.startHub()
	o.expectHub()
	for _, name := range []string{"two", "three", "one"} {
		time.Sleep(500 * time.Millisecond) // one after the other, within the grace period of five
		o.silence(false, name)
	}
	o.push("-- README.md --\nafter the outage\n")
	o.expectTwo()
	o.expectUnmoved(before)
}

func (o *outageFleet) expectHub() {
	o.t.Helper()
	o.eventually(func() string {
		pulse, err := hub.ReadPulse(o.ctx, o.client, time.Now())
		if err != nil || time.Since(pulse.RenewedAt) > 3*time.Second {
			return fmt.Sprintf("the hub does not run: %+v, %v", pulse, err)
		}
		return ""
	})
}

// expectUnmoved: the works are the ones that they were, and none was deleted.
func (o *outageFleet) expectUnmoved(before map[string]types.UID) {
	o.t.Helper()
	if after := o.uids("retail/shop"); fmt.Sprint(before) != fmt.Sprint(after) {
		o.t.Errorf("the works are %v, were %v", after, before)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.deleted) > 0 {
		o.t.Errorf("works were deleted: %v", o.deleted)
	}
}

// hubAlone: nobody else is away.
func (o *outageFleet) hubAlone() {
	before := o.uids("retail/shop")
	since := time.Now()
	o.stop()
	o.eventually(func() string {
		if away := time.Since(since); away < 7*time.Second {
			return fmt.Sprintf("the hub is away for %s", away)
		}
		return ""
	})
	o.startHub()
	o.expectHub()
	o.push("-- README.md --\nafter the hub was away\n")
	o.expectTwo()
	o.expectUnmoved(before)
}

// allClusters: each is called silent, since there are fewer than of a mass silence. The first one that is back gets the application,
// and leaves it again when those are back that had it.
func (o *outageFleet) allClusters() {
	on := o.expectTwo()
	third := slices.DeleteFunc([]string{"one", "two", "three"}, func(name string) bool { return slices.Contains(on, name) })[0]
	o.silence(true, "one", "two", "three")
	for name := range o.spokes {
		o.expectUnreachable(name)
	}
	o.push("-- README.md --\nwhile all clusters are away\n")
	o.silence(false, third)
	o.eventually(func() string {
		if got := o.onClusters(); len(got) != 3 {
			return fmt.Sprintf("the application is on %v, and %s is the only one that answers", got, third)
		}
		return ""
	})
	o.silence(false, on...)
}

func (o *outageFleet) leaseOlderThan(name string, age time.Duration) {
	o.t.Helper()
	o.eventually(func() string {
		var lease coordinationv1.Lease
		if err := o.client.Get(o.ctx, types.NamespacedName{Namespace: name, Name: clusterv1.ManagedClusterLeaseName}, &lease); err != nil {
			return err.Error()
		}
		if since := time.Since(lease.Spec.RenewTime.Time); since < age {
			return fmt.Sprintf("the lease of %s is %s old", name, since)
		}
		return ""
	})
}

// one: a cluster is silent for long, the third one gets the application, and the first one loses it when it is back.
func (o *outageFleet) one() {
	on := o.expectTwo()
	lost := on[0]
	o.silence(true, lost)
	o.expectUnreachable(lost)
	o.eventually(func() string {
		if got := o.onClusters(); len(got) != 3 {
			return fmt.Sprintf("the application is on %v, and a third one is to replace %s", got, lost)
		}
		return ""
	})
	o.expectRow("retail/shop", lost, "Offline Kept")
	o.silence(false, lost)
}

// flapping: a cluster goes and comes, and goes before its works are gone.
func (o *outageFleet) flapping() {
	lost := o.expectTwo()[0]
	for range 2 {
		o.silence(true, lost)
		o.expectUnreachable(lost)
		o.silence(false, lost)
		o.eventually(func() string {
			if c := o.cluster(lost); !meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable) {
				return lost + " is not back"
			}
			return ""
		})
	}
}
