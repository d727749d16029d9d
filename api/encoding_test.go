package api_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
)

// What a typed client sends decides whether the API server's defaults apply, and whether it accepts the object.
func TestEncoding(t *testing.T) {
	raw := runtime.RawExtension{Raw: []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`)}
	tests := map[string]struct {
		why    string
		object any
		want   string
	}{
		"joining cluster": {
			why:    "the spec is sent though it is empty: the lease's default applies inside it only",
			object: clusterv1.ManagedCluster{},
			want:   `{"metadata":{},"spec":{"hubAcceptsClient":false}}`,
		},
		"taint": {
			why:    "a taint without a time is null, which the schema allows; the hub sets it",
			object: clusterv1.Taint{Key: "a", Effect: clusterv1.TaintEffectNoSelect},
			want:   `{"key":"a","effect":"NoSelect","timeAdded":null}`,
		},
		"cluster set": {
			why:    "an empty selector is left out, so that the exclusive label is the default",
			object: clusterv1beta2.ManagedClusterSet{},
			want:   `{"metadata":{},"spec":{}}`,
		},
		"placement": {
			why:    "empty parts are left out: a decisionStrategy with a group size of 0 is none that OCM's schema means",
			object: clusterv1beta1.Placement{Spec: clusterv1beta1.PlacementSpec{ClusterSets: []string{"prod"}}},
			want:   `{"metadata":{},"spec":{"clusterSets":["prod"]}}`,
		},
		"prioritizer that is off": {
			why:    "a weight of 0 left out would become 1",
			object: clusterv1beta1.PrioritizerConfig{ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{BuiltIn: clusterv1beta1.PrioritizerSteady}},
			want:   `{"scoreCoordinate":{"builtIn":"Steady"},"weight":0}`,
		},
		"page without clusters": {
			why:    "decisions are required in a status; an empty page has an empty list",
			object: clusterv1beta1.PlacementDecisionStatus{Decisions: []clusterv1beta1.ClusterDecision{}},
			want:   `{"decisions":[]}`,
		},
		"new page": {
			why:    "without decisions there is no status, which the schema accepts",
			object: clusterv1beta1.PlacementDecision{},
			want:   `{"metadata":{}}`,
		},
		"manifest": {
			why:    "a manifest is the object itself",
			object: workv1.ManifestsTemplate{Manifests: []workv1.Manifest{{RawExtension: raw}}},
			want:   `{"manifests":[{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}]}`,
		},
		"rollout": {
			why: "an empty strategy is left out, so that All is the default",
			object: workv1alpha1.ManifestWorkReplicaSetSpec{
				PlacementRefs: []workv1alpha1.LocalPlacementReference{{Name: "edge"}},
			},
			want: `{"placementRefs":[{"name":"edge"}]}`,
		},
		"rollout with a deadline": {
			why:    "fields of embedded types are siblings",
			object: clusterv1alpha1.RolloutAll{RolloutConfig: clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: 120e9}}},
			want:   `{"minSuccessTime":"2m0s"}`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(tc.object)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(data)); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.why, diff)
			}
		})
	}
}
