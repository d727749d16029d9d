package fleetrepository

import (
	"context"
	"fmt"
	"slices"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mark annotates the namespace of a cluster once the hub has held all works that are planned for the cluster. Only then does the agent
// treat a missing work as deleted: before, the hub may be a new one that is being rebuilt from Git. The annotation stays.
func (r *Repositories) mark(ctx context.Context, repo *musterv1alpha1.FleetRepository, out *report) error {
	unmarked, err := r.unmarked(ctx)
	if err != nil || len(unmarked) == 0 {
		return err
	}
	plans, err := r.completePlans(ctx, repo, out)
	if err != nil || plans == nil {
		return err
	}
	live := liveSets(r.Works.All())
	for _, name := range unmarked {
		if !complete(plans, live, name) {
			continue
		}
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, musterv1alpha1.FirstPlanAnnotation, out.delivery.Snapshot.Revision)
		namespace := &corev1.Namespace{}
		namespace.Name = name
		err := r.Client.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, []byte(patch)))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("mark the first complete plan of %s: %w", name, err)
		}
	}
	return nil
}

// unmarked are the clusters whose namespace has no mark, sorted. A cluster that is being deleted gets none.
func (r *Repositories) unmarked(ctx context.Context) ([]string, error) {
	var namespaces corev1.NamespaceList
	if err := r.Client.List(ctx, &namespaces, client.HasLabels{clusterv1.ClusterNameLabelKey}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the namespaces of clusters: %w", err)
	}
	var names []string
	for i := range namespaces.Items {
		name := namespaces.Items[i].Name
		if namespaces.Items[i].Annotations[musterv1alpha1.FirstPlanAnnotation] != "" {
			continue
		}
		var c clusterv1.ManagedCluster
		err := r.Client.Get(ctx, types.NamespacedName{Name: name}, &c, client.UnsafeDisableDeepCopy)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("look up the cluster of a namespace: %w", err)
		}
		if err == nil && c.DeletionTimestamp.IsZero() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// completePlans are the plans of all repositories, or nil while one of them does not prove absence: it is not delivered, not planned
// since the hub started, or has a file that cannot be read.
func (r *Repositories) completePlans(ctx context.Context, me *musterv1alpha1.FleetRepository, out *report) ([]*plan.Plan, error) {
	var repos musterv1alpha1.FleetRepositoryList
	if err := r.Client.List(ctx, &repos); err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	var plans []*plan.Plan
	for i := range repos.Items {
		repo := &repos.Items[i]
		delivery := out.delivery
		if repo.UID != me.UID {
			if repo.Status.Revision == "" || !meta.IsStatusConditionTrue(repo.Status.Conditions, ConditionDelivered) {
				return nil, nil
			}
			var err error
			if delivery, err = r.Deliveries.Read(ctx, repo, repo.Status.Revision); err != nil {
				return nil, err
			}
		}
		if delivery.Plan == nil || !absenceProven(delivery.Definitions) {
			return nil, nil
		}
		plans = append(plans, delivery.Plan)
	}
	return plans, nil
}

type setOn struct {
	owner           fleet.Owner
	cluster, digest string
}

// liveSets are the sets of works of which every work exists.
func liveSets(works []fleet.LiveWork) map[setOn]bool {
	counts, sets := map[setOn]int{}, map[setOn]bool{}
	for i := range works {
		lw := &works[i]
		if lw.Owner.IsZero() || lw.Deleting {
			continue
		}
		set := setOn{lw.Owner, lw.Cluster, lw.SetDigest}
		counts[set]++
		sets[set] = counts[set] >= lw.SetSize
	}
	return sets
}

// complete is true when every planned work of the cluster exists and no application failed to be planned for it.
func complete(plans []*plan.Plan, live map[setOn]bool, cluster string) bool {
	for _, p := range plans {
		for _, a := range p.Applications {
			if faulty, all := a.Faulty(); all || faulty[cluster] {
				return false
			}
			if c := a.On(cluster); c != nil && !live[setOn{a.Owner(), cluster, c.SetDigest}] {
				return false
			}
		}
	}
	return true
}
