package registration

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	rules "github.com/muster-io/muster/internal/registration"
)

// facts are what the agent found out about its cluster. A nil part could not be found out, and what was reported stays.
type facts struct {
	available   *metav1.Condition
	version     string
	capacity    clusterv1.ResourceList
	allocatable clusterv1.ResourceList
	claims      []clusterv1.ManagedClusterClaim
	namespaces  map[string]metav1.Condition // by name: of managed namespaces
}

// put writes the facts into a ManagedCluster's status, as OCM's agent does: nothing before the hub accepts the cluster,
// nothing while the clocks are apart.
func (f facts) put(cluster *clusterv1.ManagedCluster) {
	status := &cluster.Status
	if !accepted(cluster) || meta.IsStatusConditionFalse(status.Conditions, clusterv1.ManagedClusterConditionClockSynced) {
		return
	}
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: clusterv1.ManagedClusterConditionJoined, Status: metav1.ConditionTrue,
		Reason: clusterv1.ReasonManagedClusterJoined, Message: "Managed cluster joined",
	})
	if f.available != nil {
		meta.SetStatusCondition(&status.Conditions, *f.available)
	}
	if f.version != "" {
		status.Version.Kubernetes = f.version
	}
	if f.capacity != nil {
		if status.Capacity == nil {
			status.Capacity = clusterv1.ResourceList{}
		}
		for name, quantity := range f.capacity { // what others count as capacity stays
			status.Capacity[name] = quantity
		}
		status.Allocatable = f.allocatable
	}
	if f.claims != nil {
		status.ClusterClaims = f.claims
	}
	for i := range status.ManagedNamespaces {
		if c, ok := f.namespaces[status.ManagedNamespaces[i].Name]; ok {
			meta.SetStatusCondition(&status.ManagedNamespaces[i].Conditions, c)
		}
	}
}

// report keeps the status on the hub equal to the facts, which are gathered every Health period and written when they, or
// what the hub shows, have changed.
func (s *session) report(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx)
	said := &reminder{period: s.Periods.Reminder}
	var known facts
	var gathered time.Time
	for ctx.Err() == nil {
		self, renewed, news := s.look()
		if !accepted(self) || time.Since(renewed) > rules.LeaseDeadline(self) {
			await(ctx, news, time.Hour) // without a lease the hub would not believe it
			continue
		}
		if time.Since(gathered) >= s.Periods.Health || asksForNamespaces(self, known) {
			known, gathered = s.gather(ctx, self), time.Now()
		}
		if err := s.publishFacts(ctx, self, known); err != nil && ctx.Err() == nil {
			if said.due(err.Error()) {
				log.Info("cannot report to the hub, trying again", "why", err.Error())
			}
			pause(ctx, s.Periods.Retry)
			continue
		}
		await(ctx, news, s.Periods.Health-time.Since(gathered))
	}
	return nil
}

// publishFacts writes the status when it differs.
func (s *session) publishFacts(ctx context.Context, self *clusterv1.ManagedCluster, known facts) error {
	wanted := self.DeepCopy()
	known.put(wanted)
	if equality.Semantic.DeepEqual(self.Status, wanted.Status) {
		return nil
	}
	before := meta.FindStatusCondition(self.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
	if err := s.patchStatus(ctx, known.put); err != nil {
		return err
	}
	if now := known.available; now != nil && (before == nil || before.Status != now.Status) {
		s.event(ctx, *now)
	}
	return nil
}

// patchStatus changes the status on the hub, and tries again where somebody else wrote in between.
func (s *session) patchStatus(ctx context.Context, change func(*clusterv1.ManagedCluster)) error {
	for range 5 {
		cluster := &clusterv1.ManagedCluster{}
		if err := s.hub.Get(ctx, client.ObjectKey{Name: s.state.cluster}, cluster); err != nil {
			return err
		}
		base := cluster.DeepCopy()
		change(cluster)
		if equality.Semantic.DeepEqual(base.Status, cluster.Status) {
			return nil
		}
		err := s.hub.Status().Patch(ctx, cluster, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) {
			return err
		}
	}
	return fmt.Errorf("the status of cluster %s changes too fast", s.state.cluster)
}

// event tells of the cluster's availability in its namespace on the hub.
func (s *session) event(ctx context.Context, available metav1.Condition) {
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: s.state.cluster + ".", Namespace: s.state.cluster},
		InvolvedObject: corev1.ObjectReference{APIVersion: clusterv1.GroupVersion.String(), Kind: "ManagedCluster", Name: s.state.cluster, Namespace: s.state.cluster},
		Type:           corev1.EventTypeNormal, Reason: "Available", Message: available.Message,
		Source: corev1.EventSource{Component: "klusterlet-agent"}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	if available.Status != metav1.ConditionTrue {
		event.Type, event.Reason = corev1.EventTypeWarning, "Unavailable"
	}
	if err := s.hub.Create(ctx, event); err != nil {
		logr.FromContextOrDiscard(ctx).Info("cannot write an event on the hub", "why", err.Error())
	}
}
