package works

import (
	"context"
	"fmt"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/work"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// Remaining is how far the removal of an owner's works has come.
type Remaining struct {
	// Works that are left. It is 0 only when the API server has none.
	Works int
	// Waiting are those of them whose clusters do not answer: they stay until the clusters are back.
	Waiting int
	// OnHold are those on clusters that a person keeps as they are.
	OnHold int
	// WaitsFor says what the first of them waits for: an application that depends on the owner and goes first, or objects that do not go.
	WaitsFor string
}

// Finalize removes the works of an owner that is deleted, as its deletion policy says. Call it until none remains.
func (w *Writer) Finalize(ctx context.Context, owner fleet.Owner, live []fleet.LiveWork, policy musterv1alpha1.DeletionPolicy) (Remaining, error) {
	out := Remaining{Works: len(live)}
	for _, lw := range live {
		waits, err := w.finalize(ctx, lw, policy)
		if err != nil {
			return out, fmt.Errorf("delete work %s/%s: %w", lw.Cluster, lw.Name, err)
		}
		if waits {
			out.Waiting++
		}
	}
	if out.Works > 0 {
		return out, nil
	}
	// The cache may be stale: the API server has the last word.
	var left metav1.PartialObjectMetadataList
	left.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWorkList"))
	if err := w.Reader.List(ctx, &left, client.MatchingLabels(work.OwnerSelector(owner))); err != nil {
		return out, fmt.Errorf("list the works of %s that are left: %w", owner.WithKind(), err)
	}
	out.Works = len(left.Items)
	return out, nil
}

// finalize removes one work. A deletion is not begun on a cluster that cannot hear it: what its agent has applied waits until
// the cluster is back.
func (w *Writer) finalize(ctx context.Context, lw fleet.LiveWork, policy musterv1alpha1.DeletionPolicy) (waits bool, err error) {
	if lw.Deleting {
		return false, nil
	}
	if waits, err = w.waitsForCluster(ctx, lw); err != nil || waits {
		return waits, err
	}
	if policy == musterv1alpha1.DeletionOrphan && !lw.Orphan {
		return false, w.orphan(ctx, lw, nil) // its deletion follows when the cache has the change
	}
	return false, w.remove(ctx, lw)
}

// waitsForCluster is true when the cluster does not answer and its agent has put its finalizer on the work.
func (w *Writer) waitsForCluster(ctx context.Context, lw fleet.LiveWork) (bool, error) {
	var cluster clusterv1.ManagedCluster
	err := w.Client.Get(ctx, types.NamespacedName{Name: lw.Cluster}, &cluster)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil || !plan.Unreachable(&cluster) {
		return false, err
	}
	current, err := w.current(ctx, lw.Cluster, lw.Name)
	return current != nil && controllerutil.ContainsFinalizer(current, workv1.ManifestWorkFinalizer), err
}
