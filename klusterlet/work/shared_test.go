package work

import (
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// TestOnceShared: what another work made of an object that two claimed is found, however late it can be looked at: a work of
// another hub is compared at its resync only, and a dry run may fail.
func TestOnceShared(t *testing.T) {
	const manifest = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"n"},"data":{"by":"one"}}`
	live := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"by": "two"},
		"metadata": map[string]any{"name": "c", "namespace": "n", "uid": "c", "ownerReferences": []any{map[string]any{"uid": "record"}}},
	}}
	for name, row := range map[string]struct {
		mode   string
		resync bool  // only then the object is compared
		late   error // of the first dry run after the other work let go
		want   need
	}{
		"a work of another hub":       {modeOCM, true, nil, correct},
		"after a dry run that failed": {modeReport, false, errors.New("the API server is away"), nothing},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme(), live.DeepCopy())
			var broken error
			client.PrependReactor("update", "configmaps", func(a clienttesting.Action) (bool, runtime.Object, error) {
				return true, a.(clienttesting.UpdateAction).GetObject(), broken // as a dry run
			})
			p := &reconciliation{
				engine: &engine{claims: newClaims(), watches: &watches{}, remover: remover{objects: client}}, mode: row.mode, now: time.Now(),
				record: &workv1.AppliedManifestWork{ObjectMeta: metav1.ObjectMeta{UID: "record"}},
				memory: &memory{objects: map[objectKey]*objectState{}},
				work:   claimant("one", manifest),
			}
			target := target{object: &unstructured.Unstructured{}, meta: workv1.ManifestResourceMeta{
				Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "n", Name: "c",
			}}
			if err := target.object.UnmarshalJSON([]byte(manifest)); err != nil {
				t.Fatal(err)
			}
			s := p.memory.about(target.key())
			s.checked = true
			p.claims.set(p.work)
			p.claims.set(claimant("two", manifest))
			p.resync = true
			if need := p.inspect(t.Context(), target, s); need != nothing || s.drift.Active() {
				t.Fatalf("while both claim it, need %v and %+v", need, s.drift)
			}

			p.claims.set(claimant("two"))
			p.resync, broken = false, row.late
			if !p.due(target, s) {
				t.Error("it is not looked at although the other work let it go")
			}
			if need := p.inspect(t.Context(), target, s); need != nothing || s.drift.Active() {
				t.Fatalf("when it cannot be compared, need %v and %+v", need, s.drift)
			}

			p.resync, broken = row.resync, nil
			if !p.due(target, s) {
				t.Error("it is not looked at again")
			}
			if need := p.inspect(t.Context(), target, s); need != row.want || !s.drift.Active() {
				t.Errorf("need %v with %+v, want %v", need, s.drift, row.want)
			}
		})
	}
}

func claimant(name string, manifests ...string) *workv1.ManifestWork {
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, m := range manifests {
		w.Spec.Workload.Manifests = append(w.Spec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: []byte(m)}})
	}
	return w
}
