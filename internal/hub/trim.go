package hub

import (
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// Trim is the transform of the hub's cache: it drops the managed fields that no controller reads, which are often larger than the
// object itself.
//
//	ManagedCluster   keeps those of its spec and metadata: they say what Git owns, and when the lease period was written
//	Lease            keeps their times: they say when the hub's API server heard of the agent
//
// An object from the cache may be written back, since an API server keeps the managed fields of an object that comes without
// any. ManagedClusters and Leases are only patched.
func Trim(o any) (any, error) {
	switch o := o.(type) {
	case *clusterv1.ManagedCluster:
		var kept []metav1.ManagedFieldsEntry // in an array of their own, so that the others are freed
		for _, entry := range o.ManagedFields {
			if entry.Subresource == "" {
				kept = append(kept, entry)
			}
		}
		o.ManagedFields = kept
		return o, nil
	case *coordinationv1.Lease:
		for i := range o.ManagedFields {
			o.ManagedFields[i].FieldsV1 = nil
		}
		return o, nil
	}
	return strip(o)
}

var strip = cache.TransformStripManagedFields()
