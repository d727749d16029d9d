package work

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestCanarySteps: a work says which steps there are and which wait for the hub, and not what is measured, so that another query writes no work.
func TestCanarySteps(t *testing.T) {
	steps := func(query string) string {
		return CanarySteps(&musterv1alpha1.Canary{Steps: []musterv1alpha1.CanaryStep{
			{Weight: 10, Pause: &musterv1alpha1.CanaryPause{Duration: &metav1.Duration{Duration: time.Minute}}},
			{Replicas: 3, Pause: &musterv1alpha1.CanaryPause{}, Analysis: &musterv1alpha1.RolloutAnalysis{Metrics: []musterv1alpha1.RolloutMetric{
				{Name: "m", Prometheus: &musterv1alpha1.PrometheusMetric{Query: query}},
			}}},
		}})
	}
	const want = `{"steps":[{"weight":10,"pause":{"duration":"1m0s"}},{"replicas":3,"pause":{},"analysis":{"metrics":null}}]}`
	if got := steps("a"); got != want || steps("b") != want || CanarySteps(nil) != "" {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestCanaryOfDeployments: works without Deployments are not written for a canary, and the steps are no part of what a plan's digest says.
func TestCanaryOfDeployments(t *testing.T) {
	made := func(kind, canary string) Set {
		t.Helper()
		key := fleet.ObjectKey{Group: "apps", Version: "v1", Kind: kind, Resource: "x", Namespace: "shop", Name: "web"}
		content := &fleet.Content{Manifests: []fleet.Manifest{{Key: key, JSON: []byte(`{"apiVersion":"apps/v1","kind":"` + kind + `","metadata":{"name":"web","namespace":"shop"}}`)}}}
		set, err := Wanted(Input{Owner: fleet.ApplicationOwner("retail", "shop"), Cluster: "edge", Content: content, Canary: canary})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	with, without, other := made("Deployment", "steps"), made("Deployment", ""), made("StatefulSet", "steps")
	if with.Digest != without.Digest || MetaDigest(with.Works[0]) == MetaDigest(without.Works[0]) {
		t.Error("the steps change the digest of the set, or do not change the work")
	}
	if _, ok := other.Works[0].Annotations[musterv1alpha1.CanaryAnnotation]; ok {
		t.Error("a work without Deployments has a canary")
	}
}

// TestCanaryPassed: the hub's word is for one generation.
func TestCanaryPassed(t *testing.T) {
	for annotation, want := range map[string]int{"7/2": 2, CanaryPass(7, 3): 3, "6/2": 0, "7/": 0, "7/x": 0, "": 0, "2": 0} {
		w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Generation: 7, Annotations: map[string]string{musterv1alpha1.CanaryPassedAnnotation: annotation}}}
		if got := CanaryPassed(w); got != want {
			t.Errorf("%q: %d, want %d", annotation, got, want)
		}
	}
}
