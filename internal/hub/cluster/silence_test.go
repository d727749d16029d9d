package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	thehub "github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/registration"
)

// agents renew the leases of clusters, as long as they are not cut off, and say that the clusters are available.
type agents struct {
	h   *hub
	off []atomic.Bool
}

func (a *agents) name(i int) string { return fmt.Sprintf("silence-%d", i) }

// start creates n accepted clusters with short leases and lets their agents run until the test ends.
func (h *hub) agents(n int) *agents {
	a := &agents{h: h, off: make([]atomic.Bool, n)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	for i := range n {
		h.create(managed(a.name(i), acceptedCluster, func(c *clusterv1.ManagedCluster) { c.Spec.LeaseDurationSeconds = 1 }))
	}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for i := range n {
				if !a.off[i].Load() {
					a.renew(ctx, i)
				}
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	h.t.Cleanup(func() { cancel(); <-done })
	return a
}

// renew does what an agent does once a lease period; a failure is made up for the next time.
func (a *agents) renew(ctx context.Context, i int) {
	lease := &coordinationv1.Lease{}
	if a.h.Get(ctx, client.ObjectKey{Namespace: a.name(i), Name: clusterv1.ManagedClusterLeaseName}, lease) != nil {
		return
	}
	renewed := metav1.NewMicroTime(time.Now())
	lease.Spec.RenewTime = &renewed
	_ = a.h.Update(ctx, lease)
	c := &clusterv1.ManagedCluster{}
	if a.h.Get(ctx, client.ObjectKey{Name: a.name(i)}, c) != nil || meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable) {
		return
	}
	base := c.DeepCopy()
	meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{
		Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionTrue, Reason: clusterv1.ReasonManagedClusterAvailable,
	})
	_ = a.h.Status().Patch(ctx, c, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
}

func (a *agents) cutOff(off bool, clusters ...int) {
	for _, i := range clusters {
		a.off[i].Store(off)
	}
}

// unreachable says which clusters are unknown and tainted.
func (a *agents) unreachable() (names []int) {
	for i := range a.off {
		c := a.h.cluster(a.name(i))
		if hasTaint(c, clusterv1.ManagedClusterTaintUnreachable) {
			names = append(names, i)
		}
	}
	return names
}

func (a *agents) expectUnreachable(want ...int) {
	a.h.t.Helper()
	eventually(a.h.t, func() string {
		if got := a.unreachable(); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("unreachable are %v, want %v", got, want)
		}
		return ""
	})
}

// fleetOfFive is a hub that takes three of five clusters for a mass silence, with its heartbeat, and five agents.
func fleetOfFive(t *testing.T, deaf *atomic.Bool) *agents {
	t.Helper()
	presence := &thehub.Presence{}
	h := startedWith(t, cluster.Options{Presence: presence, MassSilence: &registration.SilenceLimit{Clusters: 3, Percent: 50}})
	h.create(namespace(thehub.HeartbeatKey.Namespace))
	h.beats(&thehub.Heartbeat{
		Client: deafClient{h.Client, deaf}, Reader: h.Client, Holder: "test", Presence: presence, Period: 200 * time.Millisecond, Now: time.Now,
	})
	a := h.agents(5)
	eventually(t, func() string {
		for i := range a.off {
			c := h.cluster(a.name(i))
			if !meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable) || hasTaint(c, clusterv1.ManagedClusterTaintUnreachable) {
				return c.Name + " has not joined"
			}
		}
		return ""
	})
	return a
}

func (a *agents) hearing() thehub.Hearing {
	a.h.t.Helper()
	p, err := thehub.ReadPulse(a.h.t.Context(), a.h, time.Now())
	if err != nil {
		a.h.t.Fatal(err)
	}
	return p.Hearing
}

// TestMassSilence: one cluster that falls silent is tainted. Most of them at once are not, which the Lease and an event say, until they
// are heard again.
func TestMassSilence(t *testing.T) {
	a := fleetOfFive(t, &atomic.Bool{})
	a.cutOff(true, 0)
	a.expectUnreachable(0)
	a.cutOff(false, 0)
	a.expectUnreachable()

	a.cutOff(true, 0, 1, 2, 3)
	eventually(t, func() string {
		s := a.hearing()
		return unless(s.Silence != nil && s.Silence.Clusters == 4 && s.Of == 5, fmt.Sprintf("the Lease says %+v", s))
	})
	a.h.expectEvent(cluster.ReasonMassSilence, "of 5 clusters are silent at once")
	silentFor(t, a.h, a.name(0), 7*time.Second) // five periods and some more
	if names := a.unreachable(); len(names) > 0 {
		t.Fatalf("%v were tainted", names)
	}
	a.cutOff(false, 0, 1, 2, 3)
	eventually(t, func() string {
		return unless(a.hearing().Silence == nil, "they are heard again, and the Lease does not say so")
	})
	a.h.expectEvent(cluster.ReasonMassSilenceEnded, "silence is judged again")
}

// TestDeafHub: an API server that does not answer the hub silences nobody. Then all are there again, but one.
func TestDeafHub(t *testing.T) {
	var deaf atomic.Bool
	a := fleetOfFive(t, &deaf)
	deaf.Store(true)
	a.cutOff(true, 0, 1)
	silentFor(t, a.h, a.name(0), 4*time.Second)
	before := time.Now()
	deaf.Store(false)
	a.cutOff(false, 1)
	a.expectUnreachable(0)
	if took := time.Since(before); took < 4*time.Second { // a Lease tells seconds
		t.Errorf("the cluster had %s and not its whole grace period since the hub is back", took)
	}
	a.cutOff(false, 0)
	a.expectUnreachable()
}

// TestSparedClusters: two clusters are called silent before there are enough of them for a mass silence. Then they are spared too, until
// a person says that it is real.
func TestSparedClusters(t *testing.T) {
	a := fleetOfFive(t, &atomic.Bool{})
	a.cutOff(true, 0, 1)
	a.expectUnreachable(0, 1)
	a.cutOff(true, 2, 3)
	eventually(t, func() string { return unless(a.hearing().Silence != nil, "four clusters are silent") })
	a.expectUnreachable()
	eventually(t, func() string {
		s := a.hearing().Silence
		return unless(s != nil && s.Clusters == 4, fmt.Sprintf("the Lease says %+v", s))
	})
	lease := &coordinationv1.Lease{}
	mustGet(t, a.h, thehub.HeartbeatKey, lease)
	base := lease.DeepCopy()
	lease.Annotations[musterv1alpha1.ApprovedSilenceAnnotation] = a.hearing().Silence.Approval()
	if err := a.h.Patch(t.Context(), lease, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	a.expectUnreachable(0, 1, 2, 3)
	a.h.expectEvent(cluster.ReasonMassSilenceApproved, "a person says")
}

// beats lets a heartbeat run until the test ends.
func (h *hub) beats(heartbeat *thehub.Heartbeat) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- heartbeat.Start(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("heartbeat: %v", err)
		}
	})
}

// deafClient is a hub's way to an API server that does not answer at times.
type deafClient struct {
	client.Client
	deaf *atomic.Bool
}

func (c deafClient) Patch(ctx context.Context, o client.Object, patch client.Patch, options ...client.PatchOption) error {
	if c.deaf.Load() {
		return errors.New("connection refused")
	}
	return c.Client.Patch(ctx, o, patch, options...)
}

// silentFor waits until the lease of a cluster is that old.
func silentFor(t *testing.T, h *hub, name string, age time.Duration) {
	t.Helper()
	eventually(t, func() string {
		lease := &coordinationv1.Lease{}
		mustGet(t, h, client.ObjectKey{Namespace: name, Name: clusterv1.ManagedClusterLeaseName}, lease)
		return unless(time.Since(lease.Spec.RenewTime.Time) > age, "the lease is not "+age.String()+" old")
	})
}

// expectEvent waits for an event on the Lease of the heartbeat.
func (h *hub) expectEvent(reason, part string) {
	h.t.Helper()
	eventually(h.t, func() string {
		var list eventsv1.EventList
		if err := h.List(h.t.Context(), &list, client.InNamespace(thehub.HeartbeatKey.Namespace)); err != nil {
			return err.Error()
		}
		var all []string
		for _, e := range list.Items {
			if e.Reason == reason && e.Regarding.Kind == "Lease" && strings.Contains(e.Note, part) {
				return ""
			}
			all = append(all, e.Reason+": "+e.Note)
		}
		return fmt.Sprintf("no event %s with %q among %q", reason, part, all)
	})
}
