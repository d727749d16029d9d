package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/hub"
)

// TestOutages: an application that wants two of three clusters, with leases of two seconds. Whatever was away and came back, it is on
// two clusters afterwards, nothing waits for a person, and nothing was deleted that had no healthy replacement.
func TestOutages(t *testing.T) {
	t.Parallel()
	short := func(name string) string {
		return strings.Replace(clusterFile(name, "tier: edge"), "leaseDurationSeconds: 3600", "leaseDurationSeconds: 2", 1)
	}
	two := `{numberOfClusters: 2, predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge}}}}]}`
	f := newFleet(t, tenant+short("one")+short("two")+short("three")+placementFile("edge", two)+
		applicationFile("shop", "edge", "manifests/shop", "outage", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red"),
		func(o *Options) { o.HeartbeatPeriod = 500 * time.Millisecond })
	f.deliver()
	o := &outageFleet{theFleet: f, away: map[string]*atomic.Bool{}}
	for _, name := range []string{"one", "two", "three"} {
		f.join(name)
		o.renews(name)
	}
	f.push("")
	o.expectTwo()

	f.run("the hub and all clusters, which come back one after the other", func(*theFleet) { o.everything() })
	f.run("one cluster is replaced, and exchanged when it is back", func(*theFleet) { o.one() })
	f.run("a cluster flaps", func(*theFleet) { o.flapping() })
	f.run("a person who wants fewer is asked", func(f *theFleet) {
		f.push(placementFile("edge", strings.Replace(two, "numberOfClusters: 2", "numberOfClusters: 1", 1)))
		f.expectHeld("retail/shop", 1, "would leave 1 of 2 clusters")
	})
}

// outageFleet is a fleet whose clusters renew their leases, unless they are away.
type outageFleet struct {
	*theFleet
	away map[string]*atomic.Bool
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
		if s := a.Status.Summary; len(on) != 2 || s.Clusters != 2 || s.Healthy != 2 || a.Status.SettledClusters != 2 {
			return fmt.Sprintf("the application is on %v: %+v, settled on %d", on, s, a.Status.SettledClusters)
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
	o.leaseOlderThan("three", 12*time.Second)
	gone := o.watchDeletions(o.cp.Config(), works, "")
	o.startHub()
	o.eventually(func() string {
		pulse, err := hub.ReadPulse(o.ctx, o.client, time.Now())
		if err != nil || time.Since(pulse.RenewedAt) > 3*time.Second {
			return fmt.Sprintf("the hub does not run: %+v, %v", pulse, err)
		}
		return ""
	})
	for _, name := range []string{"two", "three", "one"} {
		time.Sleep(2 * time.Second) // one after the other, within the grace period of ten
		o.silence(false, name)
	}
	o.push("-- README.md --\nafter the outage\n")
	o.expectTwo()
	if after := o.uids("retail/shop"); fmt.Sprint(before) != fmt.Sprint(after) {
		o.t.Errorf("the works are %v, were %v", after, before)
	}
	if names := gone.list(); len(names) > 0 {
		o.t.Errorf("works were deleted: %v", names)
	}
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
	if after := o.expectTwo(); slices.Contains(after, lost) {
		o.t.Logf("the scheduler went back to %s: %v", lost, after)
	}
	o.expectReady("retail/shop")
}

// flapping: a cluster goes and comes, and goes before its works are gone.
func (o *outageFleet) flapping() {
	for range 2 {
		lost := o.expectTwo()[0]
		o.silence(true, lost)
		o.expectUnreachable(lost)
		o.silence(false, lost)
		time.Sleep(time.Second)
		o.silence(true, lost)
		o.expectUnreachable(lost)
		o.silence(false, lost)
	}
	o.expectTwo()
	o.expectReady("retail/shop")
}
