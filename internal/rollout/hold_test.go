package rollout

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func TestHoldsOf(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(d)} }
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shop", Labels: map[string]string{"tier": "front"}}}
	label := func(value string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"tier": value}}
	}
	for name, row := range map[string]struct {
		why       string
		namespace string
		spec      musterv1alpha1.HoldSpec
		want      bool
	}{
		"its namespace":         {"an empty hold is for all of its namespace", "retail", musterv1alpha1.HoldSpec{}, true},
		"another namespace":     {"a tenant holds nothing of another", "billing", musterv1alpha1.HoldSpec{}, false},
		"muster-system":         {"holds all namespaces", "muster-system", musterv1alpha1.HoldSpec{}, true},
		"some namespaces":       {"", "muster-system", musterv1alpha1.HoldSpec{Applications: musterv1alpha1.HeldApplications{Namespaces: []string{"billing"}}}, false},
		"by name":               {"", "retail", musterv1alpha1.HoldSpec{Applications: musterv1alpha1.HeldApplications{Names: []string{"shop"}}}, true},
		"another name":          {"", "retail", musterv1alpha1.HoldSpec{Applications: musterv1alpha1.HeldApplications{Names: []string{"till"}}}, false},
		"by label":              {"", "retail", musterv1alpha1.HoldSpec{Applications: musterv1alpha1.HeldApplications{LabelSelector: label("front")}}, true},
		"another label":         {"", "retail", musterv1alpha1.HoldSpec{Applications: musterv1alpha1.HeldApplications{LabelSelector: label("back")}}, false},
		"its repository":        {"", "muster-system", musterv1alpha1.HoldSpec{Repositories: []string{"muster-system/fleet"}}, true},
		"another repository":    {"", "muster-system", musterv1alpha1.HoldSpec{Repositories: []string{"muster-system/other"}}, false},
		"all parts have to fit": {"", "retail", musterv1alpha1.HoldSpec{Applications: musterv1alpha1.HeldApplications{Names: []string{"shop"}, LabelSelector: label("back")}}, false},
		"not expired":           {"", "retail", musterv1alpha1.HoldSpec{Until: at(time.Second)}, true},
		"expired":               {"the end is not part of it", "retail", musterv1alpha1.HoldSpec{Until: at(0)}, false},
		"not a selector": {"what cannot be read holds", "retail", musterv1alpha1.HoldSpec{Applications: musterv1alpha1.HeldApplications{
			LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			hold := musterv1alpha1.Hold{ObjectMeta: metav1.ObjectMeta{Namespace: row.namespace, Name: "freeze"}, Spec: row.spec}
			holds := HoldsOf([]musterv1alpha1.Hold{hold}, app, "muster-system/fleet", now)
			if got := holds.On("any") != nil; got != row.want {
				t.Errorf("held: %v, want %v (%s)", got, row.want, row.why)
			}
			if u := row.spec.Until; row.want && u != nil && !holds.Expiry.Equal(u.Time) {
				t.Errorf("expires at %v, want %v", holds.Expiry, u)
			}
		})
	}
}

// TestHoldOfClusters: a hold of some clusters leaves the others alone, and a pin pauses nothing.
func TestHoldOfClusters(t *testing.T) {
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shop"}}
	list := []musterv1alpha1.Hold{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "pin"}, Spec: musterv1alpha1.HoldSpec{Pin: &musterv1alpha1.Pin{Revision: "a"}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "site"}, Spec: musterv1alpha1.HoldSpec{
			ClusterSelector: &musterv1alpha1.ClusterSelector{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"site": "b"}}}}},
	}
	holds := HoldsOf(list, app, "", time.Now())
	holds.Select([]clusterv1.ManagedCluster{
		{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, {ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"site": "b"}}},
	})
	if holds.On("a") != nil || holds.On("b") == nil || holds.Pin == nil || holds.Paused != nil {
		t.Errorf("holds are %+v", holds)
	}
	text := HoldText(musterv1alpha1.OnHold{Name: "retail/pin", By: "ann", Reason: "audit", Revision: "41aa9d0f0f", Until: &metav1.Time{Time: time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)}})
	if want := "pinned to 41aa9d0 by ann until 2026-12-01 12:00 UTC (Hold retail/pin): audit"; text != want {
		t.Errorf("says %q, want %q", text, want)
	}
	if !strings.Contains(HoldText(OnHoldOf(&list[1])), "held by") {
		t.Error("a pause is not said to hold")
	}
}
