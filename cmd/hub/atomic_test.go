package main

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestAtomic: where a repository says so, a commit that one application takes back is taken back by the others that it has changed, also by
// one that was good with it, and by none that it has not changed; the next commit goes everywhere.
func TestAtomic(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+placementFile("shops", everyEdge))
	f.serverIn = "together"
	f.deliver()
	f.join("one")
	f.atomic()
	config := func(name, version string) string {
		return configMapFile("manifests/"+name+"/config.yaml", name, "version", `"`+version+`"`)
	}
	is := func(name, version string) {
		t.Helper()
		f.expectData("one", f.serverIn, name, "version", version)
	}
	good := f.push(applicationFile("shop", "shops", "manifests/shop", f.serverIn, "  rollout: {type: All, onFailure: Rollback}") + serverFile("1") +
		applicationFile("stock", "shops", "manifests/stock", f.serverIn, "") + config("stock", "1") +
		applicationFile("other", "shops", "manifests/other", f.serverIn, "") + config("other", "1"))
	f.runs("one", "1")
	for _, name := range []string{"shop", "stock", "other"} {
		f.expectReady("retail/" + name)
	}
	f.expectHistory("retail/stock", good)

	bad := f.push(serverFile("bad") + config("stock", "2"))
	is("stock", "2")
	f.expectHistory("retail/stock", bad, good)
	f.fails("one", "bad")
	f.runs("one", "1")
	is("stock", "1")
	f.expectApplication("retail/stock", "Ready", metav1.ConditionFalse, "RolledBack", bad[:7]+" is refused: it returns with retail/shop", good[:7])
	f.expectReady("retail/other")
	f.stop()
	f.startHub()
	f.expectApplication("retail/stock", "Ready", metav1.ConditionFalse, "RolledBack", "it returns with retail/shop")
	is("stock", "1")

	f.push(config("other", "2")) // what the failed commit asks for stays refused
	is("other", "2")
	f.expectApplication("retail/stock", "Ready", metav1.ConditionFalse, "RolledBack", "it returns with retail/shop")
	is("stock", "1")

	f.push(serverFile("3"))
	f.runs("one", "3")
	is("stock", "2")
	for _, name := range []string{"shop", "stock", "other"} {
		f.expectReady("retail/" + name)
	}
}

// atomic sets spec.rollout.atomic of the repository.
func (f *theFleet) atomic() {
	f.t.Helper()
	f.eventually(func() string {
		r := &musterv1alpha1.FleetRepository{}
		if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: f.repository().Namespace, Name: f.repository().Name}, r); err != nil {
			return err.Error()
		}
		if err := f.client.Patch(f.ctx, r, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"rollout":{"atomic":true}}}`))); err != nil {
			return fmt.Sprint(err)
		}
		return ""
	})
}
