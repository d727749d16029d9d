package main

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestDetach: a cluster leaves the hub as its annotation says, and the application does not fight it.
func TestDetach(t *testing.T) {
	t.Parallel()
	for how, stays := range map[string]bool{musterv1alpha1.DetachKeepWorkloads: true, musterv1alpha1.DetachClean: false} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			namespace := "detach-" + how
			f := newFleet(t, shopIn(namespace)+clusterFile("one", "tier: edge")+clusterFile("two", "tier: edge"))
			f.deliver()
			f.join("one")
			f.join("two")
			revision := f.push("")
			f.expectHealthy("retail/shop", revision, 2)
			f.push("-- clusters/two.yaml --\ndeleted\n") // Git lets go of it first: it is released

			var leaving clusterv1.ManagedCluster
			f.eventually(func() string {
				if err := f.client.Get(f.ctx, types.NamespacedName{Name: "two"}, &leaving); err != nil {
					return err.Error()
				}
				if leaving.Annotations[musterv1alpha1.ReleasedAnnotation] == "" {
					return "the cluster is not released"
				}
				return ""
			})
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, musterv1alpha1.DetachAnnotation, how)
			if err := f.client.Patch(f.ctx, &leaving, client.RawPatch(types.MergePatchType, patch)); err != nil {
				t.Fatal(err)
			}
			if err := f.client.Delete(f.ctx, &leaving); err != nil {
				t.Fatal(err)
			}
			f.eventually(func() string {
				err := f.client.Get(f.ctx, types.NamespacedName{Name: "two"}, &leaving)
				if client.IgnoreNotFound(err) != nil || err == nil {
					return fmt.Sprintf("the cluster is still there (%v): %v", err, leaving.Status.Conditions)
				}
				return ""
			})
			if n := len(f.works("two")); n != 0 {
				t.Errorf("%d works are left on the hub", n)
			}
			if got := f.on("two", &corev1.ConfigMap{}, namespace, "shop"); got != stays {
				t.Errorf("the workload is there: %v, want %v", got, stays)
			}
			if !f.on("one", &corev1.ConfigMap{}, namespace, "shop") {
				t.Error("the other cluster lost its workload")
			}
		})
	}
}
