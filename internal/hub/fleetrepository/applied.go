package fleetrepository

import (
	"context"
	"fmt"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// newApplied is a cache of the metadata of all objects that fleet repositories have applied, selected by the owner label. It shows
// without a request whether somebody changed a definition on the hub, and which objects have left a repository.
func newApplied(mgr ctrl.Manager) (cache.Cache, error) {
	owned, err := labels.NewRequirement(musterv1alpha1.OwnerLabel, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultLabelSelector: labels.NewSelector().Add(*owned), DefaultTransform: cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, fmt.Errorf("make a cache of what is applied: %w", err)
	}
	return c, nil
}

// metadataOf is an empty object of a kind, to read metadata into.
func metadataOf(gvk schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(gvk)
	return o
}

// fingerprintOf stays the same while only the status of an object changes. A kind without generations is compared by its resource
// version.
func fingerprintOf(o metav1.Object) string {
	version := fmt.Sprint(o.GetGeneration())
	if o.GetGeneration() == 0 {
		version = o.GetResourceVersion()
	}
	return fmt.Sprint(o.GetUID(), version, o.GetDeletionTimestamp() != nil, o.GetLabels(), o.GetAnnotations())
}

// asApplied is true when the definition is the one that was applied last and nobody has changed the object on the hub since. A stale
// cache makes it false, or true for an object whose change the cache is about to report.
func (r *Repositories) asApplied(ctx context.Context, w *writes, d *fleet.Definition, digest string) bool {
	last, ok := w.last(d.Key)
	if !ok || last.digest != digest {
		return false
	}
	live := metadataOf(schema.GroupVersionKind{Group: d.Key.Group, Version: d.Key.Version, Kind: d.Key.Kind})
	err := r.applied.Get(ctx, types.NamespacedName{Namespace: d.Key.Namespace, Name: d.Key.Name}, live, client.UnsafeDisableDeepCopy)
	return err == nil && last.fingerprint == fingerprintOf(live)
}
