package addon

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// TestFeatures: the labels of a cluster are those of the add-ons that it has.
func TestFeatures(t *testing.T) {
	add := func(name string, available metav1.ConditionStatus) addonv1alpha1.ManagedClusterAddOn {
		mca := addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: name}}
		if available != "" {
			mca.Status.Conditions = []metav1.Condition{{Type: addonv1alpha1.ConditionAvailable, Status: available}}
		}
		return mca
	}
	going := add("going", metav1.ConditionTrue)
	now := metav1.Now()
	going.DeletionTimestamp = &now
	addons := []addonv1alpha1.ManagedClusterAddOn{
		add("new", ""), add("well", metav1.ConditionTrue), add("ill", metav1.ConditionFalse), add("silent", metav1.ConditionUnknown), going,
		add(strings.Repeat("long", 20), metav1.ConditionTrue),
	}
	const prefix = "feature.open-cluster-management.io/addon-"
	has := map[string]string{"tier": "edge", "feature.open-cluster-management.io/other": "x", prefix + "gone": "available", prefix + "going": "available", prefix + "ill": "available"}
	want := map[string]string{"tier": "edge", "feature.open-cluster-management.io/other": "x",
		prefix + "new": "unreachable", prefix + "well": "available", prefix + "ill": "unhealthy", prefix + "silent": "unreachable"}
	if diff := cmp.Diff(want, withFeatures(has, addons)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
