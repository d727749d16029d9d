package work_test

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

func onImmutable(policy musterv1alpha1.ImmutablePolicy) option {
	return func(w *workv1.ManifestWork) {
		metav1.SetMetaDataAnnotation(&w.ObjectMeta, musterv1alpha1.OnImmutableAnnotation, string(policy))
	}
}

// TestImmutable: a field that cannot be changed is named, or the object is made anew where the application says so, and never where
// data would go with it.
func TestImmutable(t *testing.T) {
	s := newSite(t)
	s.start()
	change := func(o map[string]any, value any, path ...string) map[string]any {
		changed := (&unstructured.Unstructured{Object: o}).DeepCopy().Object
		_ = unstructured.SetNestedField(changed, value, path...)
		return changed
	}
	service := s.configMap("service", nil)
	delete(service, "data")
	service["kind"], service["spec"] = "Service", map[string]any{"ports": []any{map[string]any{"port": int64(80)}}, "clusterIP": "None"}
	stateful := s.deployment("stateful", 0)
	stateful["kind"] = "StatefulSet"
	stateful["spec"].(map[string]any)["serviceName"] = "one"
	claim := s.configMap("claim", nil)
	delete(claim, "data")
	claim["kind"], claim["spec"] = "PersistentVolumeClaim", map[string]any{"accessModes": []any{"ReadWriteOnce"}, "storageClassName": "none",
		"resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}}}
	web := s.deployment("web", 0)
	selector := map[string]any{"app": "web", "tier": "new"}
	newWeb := change(change(web, selector, "spec", "selector", "matchLabels"), selector, "spec", "template", "metadata", "labels")
	for name, row := range map[string]struct {
		old, new map[string]any
		value    any
		path     []string
		says     []string // when it fails
	}{
		"deployment": {web, newWeb, selector, []string{"spec", "selector", "matchLabels"}, []string{"spec.selector cannot be changed", "sync.onImmutable"}},
		"job": {s.job("job"), change(s.job("job"), "OnFailure", "spec", "template", "spec", "restartPolicy"), "OnFailure",
			[]string{"spec", "template", "spec", "restartPolicy"}, []string{"spec.template cannot be changed", "sync.onImmutable"}},
		"stateful set": {stateful, change(stateful, "two", "spec", "serviceName"), "two", []string{"spec", "serviceName"}, []string{"spec cannot be changed"}},
		"config map": {change(s.configMap("fixed", map[string]any{"k": "1"}), true, "immutable"), change(s.configMap("fixed", map[string]any{"k": "2"}), true, "immutable"),
			"2", []string{"data", "k"}, []string{"data cannot be changed"}},
		"claim": {claim, change(claim, "other", "spec", "storageClassName"), nil, nil, []string{"spec cannot be changed", "never recreated"}},
	} {
		t.Run(name, func(t *testing.T) {
			work := fmt.Sprintf("w%x", name)
			s.put(work, objects{row.old}, serverSide(false), mode("Correct"))
			s.expectApplied(work)
			uid := s.live(row.old).GetUID()
			s.put(work, objects{row.new}, serverSide(false), mode("Correct"))
			s.expectManifest(work, 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, row.says...))
			if s.live(row.old).GetUID() != uid {
				t.Fatal("the object was recreated, and nobody asked for it")
			}
			s.put(work, objects{annotated(row.new, "example.com/again", "1")}, serverSide(false), mode("Correct"), onImmutable(musterv1alpha1.ImmutableRecreate))
			if row.path == nil {
				s.expectManifest(work, 0, workv1.ManifestApplied, func(c metav1.Condition, m workv1.ManifestCondition) error {
					if c.ObservedGeneration != s.work(work).Generation {
						return fmt.Errorf("of generation %d", c.ObservedGeneration)
					}
					return says("False", workv1.ReasonAppliedManifestFailed, row.says...)(c, m)
				})
				if s.live(row.old).GetUID() != uid {
					t.Fatal("the object was recreated, and its data lost")
				}
				return
			}
			s.expectApplied(work)
			s.expectValue(row.new, row.value, row.path...)
			if s.live(row.old).GetUID() == uid {
				t.Error("the object is the old one")
			}
		})
	}
	// What is wrong in itself is no matter of fields that cannot be changed.
	s.put("wrong", objects{web}, serverSide(false), mode("Correct"))
	bad := change(web, map[string]any{"app": "another"}, "spec", "template", "metadata", "labels")
	s.put("wrong", objects{bad}, serverSide(false), mode("Correct"), onImmutable(musterv1alpha1.ImmutableRecreate))
	s.expectManifest("wrong", 0, workv1.ManifestApplied, func(c metav1.Condition, m workv1.ManifestCondition) error {
		return says("False", "", "template")(c, m)
	})
}
