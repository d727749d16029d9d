package health

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// OfObject says how a live object does by the rules of its kind, and why it is not better. An object is as an agent reports it.
func OfObject(object *unstructured.Unstructured) (fleet.Health, string) {
	kind := object.GroupVersionKind()
	key := fleet.ObjectKey{Group: kind.Group, Version: kind.Version, Kind: kind.Kind}
	conditions := []metav1.Condition{{Type: workv1.ManifestAvailable, Status: metav1.ConditionTrue}}
	for _, rule := range Rules(key) {
		if condition, known := Evaluate(rule, object); known {
			conditions = append(conditions, condition)
		}
	}
	return FromManifest(key, conditions, 0)
}
