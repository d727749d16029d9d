package crds_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func TestDefault(t *testing.T) {
	tests := map[string]struct{ why, given, want string }{
		"a missing weight": {
			why:   "a prioritizer that is named counts",
			given: placement + `spec: {prioritizerPolicy: {mode: Exact, configurations: [{scoreCoordinate: {builtIn: Steady}}]}}`,
			want: placement + `spec:
  sortBy: ClusterName
  scoreRateLimit: 1m
  prioritizerPolicy: {mode: Exact, configurations: [{weight: 1, scoreCoordinate: {type: BuiltIn, builtIn: Steady}}]}`,
		},
		"a weight of 0": {
			why:   "0 turns a prioritizer off and is not the same as nothing",
			given: placement + `spec: {prioritizerPolicy: {configurations: [{scoreCoordinate: {type: BuiltIn, builtIn: Steady}, weight: 0}]}}`,
			want: placement + `spec:
  sortBy: ClusterName
  scoreRateLimit: 1m
  prioritizerPolicy: {mode: Additive, configurations: [{weight: 0, scoreCoordinate: {type: BuiltIn, builtIn: Steady}}]}`,
		},
		"a missing parent": {
			why:   "only objects that are there are filled: no lease without a spec",
			given: cluster,
			want:  cluster,
		},
		"an empty parent": {
			why:   "the spec is there, its fields are not",
			given: cluster + `spec: {}`,
			want:  cluster + `spec: {leaseDurationSeconds: 60}`,
		},
		"a null": {
			why:   "null is nothing where the schema does not allow it",
			given: cluster + `spec: {leaseDurationSeconds: null, taints: [{key: a, effect: NoSelect, timeAdded: null}]}`,
			want:  cluster + `spec: {leaseDurationSeconds: 60, taints: [{key: a, effect: NoSelect, timeAdded: null}]}`,
		},
		"a whole spec": {
			why:   "the default of a parent brings its children",
			given: `{apiVersion: cluster.open-cluster-management.io/v1beta2, kind: ManagedClusterSet}`,
			want: `{apiVersion: cluster.open-cluster-management.io/v1beta2, kind: ManagedClusterSet,
  spec: {clusterSelector: {selectorType: ExclusiveClusterSetLabel}}}`,
		},
		"defaults inside a default": {
			why: "what a default brings is filled in itself",
			given: `{apiVersion: work.open-cluster-management.io/v1alpha1, kind: ManifestWorkReplicaSet,
  spec: {placementRefs: [{name: edge}]}}`,
			want: `{apiVersion: work.open-cluster-management.io/v1alpha1, kind: ManifestWorkReplicaSet,
  spec: {cascadeDeletionPolicy: Background, placementRefs: [{name: edge, rolloutStrategy:
    {type: All, all: {progressDeadline: None, minSuccessTime: "0", maxFailures: 0}}}]}}`,
		},
		"another kind": {
			why:   "what is not defined here is not ours to fill",
			given: `{apiVersion: v1, kind: Placement, spec: {}}`,
			want:  `{apiVersion: v1, kind: Placement, spec: {}}`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := object(t, tc.given)
			crds.Default(got)
			if diff := cmp.Diff(object(t, tc.want), got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.why, diff)
			}
			again := object(t, tc.given)
			crds.Default(again)
			crds.Default(again)
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("a second time changes something: (-first +second)\n%s", diff)
			}
		})
	}
}

func TestDefaultsAreNotShared(t *testing.T) {
	const set = `{apiVersion: cluster.open-cluster-management.io/v1beta2, kind: ManagedClusterSet}`
	first, second := object(t, set), object(t, set)
	crds.Default(first)
	first["spec"].(map[string]any)["clusterSelector"] = "changed"
	crds.Default(second)
	if _, ok := second["spec"].(map[string]any)["clusterSelector"].(map[string]any); !ok {
		t.Errorf("a change of one object reached the next: %v", second)
	}
}

const (
	placement = "apiVersion: cluster.open-cluster-management.io/v1beta1\nkind: Placement\n"
	cluster   = "apiVersion: cluster.open-cluster-management.io/v1\nkind: ManagedCluster\n"
)

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGoSetsTheDefaultsOfTheSchema: an application from Git equals the same one from the API server. Where the two differ, the hub
// waits for an application that never comes.
func TestGoSetsTheDefaultsOfTheSchema(t *testing.T) {
	given := object(t, `{apiVersion: muster.dev/v1alpha1, kind: Application, metadata: {namespace: a, name: b},
  spec: {placementRef: {name: c}, source: {path: d}, sync: {}, deletion: {}, deletionGuard: {}}}`)
	decode := func() *musterv1alpha1.Application {
		data, err := json.Marshal(given)
		if err != nil {
			t.Fatal(err)
		}
		var app musterv1alpha1.Application
		if err := json.Unmarshal(data, &app); err != nil {
			t.Fatal(err)
		}
		return &app
	}
	fromGit := decode()
	fromGit.Default()
	crds.Default(given)
	if diff := cmp.Diff(decode(), fromGit); diff != "" {
		t.Errorf("(-schema +Go):\n%s", diff)
	}
}
