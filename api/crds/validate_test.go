package crds_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/api/crds"
	"sigs.k8s.io/yaml"
)

func TestValidate(t *testing.T) {
	cases := map[string]struct {
		why    string
		object string
		fields []string
	}{
		"Valid": {
			why:    "a whole object has no problem",
			object: "{apiVersion: muster.dev/v1alpha1, kind: Application, metadata: {name: a}, spec: {placementRef: {name: p}, source: {path: x}}}",
		},
		"Enum": {
			why:    "a value that is none of the allowed ones",
			object: "{apiVersion: muster.dev/v1alpha1, kind: Application, spec: {placementRef: {name: p}, source: {path: x}, sync: {drift: Maybe}}}",
			fields: []string{"spec.sync.drift"},
		},
		"Required": {
			why:    "a required field that is missing",
			object: "{apiVersion: muster.dev/v1alpha1, kind: Application, spec: {placementRef: {name: p}}}",
			fields: []string{"spec.source"},
		},
		"InList": {
			why:    "the index of a list is in the path",
			object: "{apiVersion: cluster.open-cluster-management.io/v1, kind: ManagedCluster, spec: {hubAcceptsClient: true, taints: [{key: a, effect: NoSelect}, {key: b, effect: Never}]}}",
			fields: []string{"spec.taints[1].effect"},
		},
		"Bounds": {
			why:    "a number over its bound",
			object: "{apiVersion: muster.dev/v1alpha1, kind: Application, spec: {placementRef: {name: p}, source: {path: x}, deletionGuard: {maxClusterPercent: 101}}}",
			fields: []string{"spec.deletionGuard.maxClusterPercent"},
		},
		"Unknown": {
			why:    "a kind that is not ours is not judged",
			object: "{apiVersion: v1, kind: Pod, spec: 3}",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(tc.object), &object); err != nil {
				t.Fatal(err)
			}
			var fields []string
			for _, p := range crds.Validate(object) {
				fields = append(fields, p.Field)
				if p.Message == "" {
					t.Errorf("%s has no message", p.Field)
				}
			}
			if diff := cmp.Diff(tc.fields, fields); diff != "" {
				t.Errorf("%s (-want +got):\n%s\n%v", tc.why, diff, crds.Validate(object))
			}
		})
	}
}
