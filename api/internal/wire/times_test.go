package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

func TestUnmarshalStatus(t *testing.T) {
	began := time.Unix(0, 0)
	for text, c := range map[string]struct {
		why  string
		want time.Time
	}{
		"2026-01-02T03:04:05Z":           {"as Kubernetes writes it", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		"2026-01-02t03:04:05z":           {"it is meant so", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		"2026-01-02t03:04:05.5+01:00":    {"with a zone", time.Date(2026, 1, 2, 2, 4, 5, 5e8, time.UTC)},
		"2026-01-02T23:59:60Z":           {"Go knows no leap seconds", began},
		"20260-01-02T03:04:05Z":          {"a year has four digits", began},
		"soon":                           {"no time at all", began},
		"2026-01-02T03:04:05.123456789Z": {"as precise as can be", time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)},
	} {
		var work workv1.ManifestWork
		data := `{"spec":{"workload":{"manifests":[{"lastTransitionTime":"` + text + `","kind":"ConfigMap"}]}},"status":{"conditions":[{"type":"Applied","lastTransitionTime":"` + text +
			`"}],"resourceStatus":{"manifests":[{"resourceMeta":{"ordinal":3},"conditions":[{"type":"Applied","lastTransitionTime":"` + text + `"}]}]}}}`
		if err := json.Unmarshal([]byte(data), &work); err != nil {
			t.Errorf("%s: %v: %s", text, err, c.why)
			continue
		}
		for _, got := range []metav1.Condition{work.Status.Conditions[0], work.Status.ResourceStatus.Manifests[0].Conditions[0]} {
			if !got.LastTransitionTime.Time.Equal(c.want) || got.Type != "Applied" {
				t.Errorf("%s is read as %v, want %v: %s", text, got.LastTransitionTime, c.want, c.why)
			}
		}
		if n := work.Status.ResourceStatus.Manifests[0].ResourceMeta.Ordinal; n != 3 {
			t.Errorf("%s: the rest of the status is lost: ordinal %d", text, n)
		}
		if raw := string(work.Spec.Workload.Manifests[0].Raw); raw != `{"lastTransitionTime":"`+text+`","kind":"ConfigMap"}` {
			t.Errorf("%s: a manifest is no status, and became %s", text, raw)
		}
		var score clusterv1alpha1.AddOnPlacementScore
		if err := json.Unmarshal([]byte(`{"status":{"validUntil":"`+text+`"}}`), &score); err != nil || !score.Status.ValidUntil.Time.Equal(c.want) {
			t.Errorf("validUntil %s is read as %v, %v, want %v: %s", text, score.Status.ValidUntil, err, c.want, c.why)
		}
		var cluster clusterv1.ManagedCluster
		if err := json.Unmarshal([]byte(`{"spec":{"taints":[{"key":"k","timeAdded":"`+text+`"}]}}`), &cluster); err != nil {
			t.Errorf("timeAdded %s: %v: %s", text, err, c.why)
		} else if taint := cluster.Spec.Taints[0]; !taint.TimeAdded.Time.Time.Equal(c.want) || taint.Key != "k" {
			t.Errorf("timeAdded %s is read as %v, want %v: %s", text, taint.TimeAdded, c.want, c.why)
		}
	}
	var cluster clusterv1.ManagedCluster
	if err := json.Unmarshal([]byte(`{"spec":{"taints":[{"timeAdded":null}]}}`), &cluster); err != nil || !cluster.Spec.Taints[0].TimeAdded.IsZero() {
		t.Errorf("no time is read as %v, %v", cluster.Spec.Taints, err)
	}
	if err := json.Unmarshal([]byte(`{"spec":{"taints":[{"timeAdded":3}]}}`), &cluster); err == nil {
		t.Error("a number is taken for a time")
	}
	var work workv1.ManifestWork
	if err := json.Unmarshal([]byte(`{"status":{"conditions":[{"lastTransitionTime":"soon","observedGeneration":"x"}]}}`), &work); err == nil {
		t.Error("a generation that is no number is taken")
	}
}
