package addon

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestConvert: what the two versions say of each other, there and back.
func TestConvert(t *testing.T) {
	for name, c := range map[string]struct{ alpha, beta string }{
		"ClusterManagementAddOn": {
			`{"apiVersion":"ALPHA","kind":"ClusterManagementAddOn","metadata":{"name":"a"},"spec":{"addOnMeta":{"displayName":"A"},"installStrategy":{"type":"Manual"},
			  "supportedConfigs":[{"group":"g","resource":"r","defaultConfig":{"name":"n","namespace":"ns"}},{"group":"","resource":"s"}]},
			  "status":{"defaultconfigReferences":[{"group":"g","resource":"r","desiredConfig":{"name":"n","specHash":"h"}}],"installProgressions":[{"name":"p","namespace":"n"}]}}`,
			`{"apiVersion":"BETA","kind":"ClusterManagementAddOn","metadata":{"name":"a"},"spec":{"addOnMeta":{"displayName":"A"},"installStrategy":{"type":"Manual"},
			  "defaultConfigs":[{"group":"g","resource":"r","name":"n","namespace":"ns"},{"group":"","resource":"s","name":"__reserved_no_default__"}]},
			  "status":{"defaultConfigReferences":[{"group":"g","resource":"r","desiredConfig":{"name":"n","specHash":"h"}}],"installProgressions":[{"name":"p","namespace":"n"}]}}`,
		},
		"ManagedClusterAddOn": {
			`{"apiVersion":"ALPHA","kind":"ManagedClusterAddOn","metadata":{"name":"a","annotations":{"addon.open-cluster-management.io/v1alpha1-install-namespace":"edge"}},
			  "spec":{"installNamespace":"edge","configs":[{"group":"g","resource":"r","name":"n"}]},
			  "status":{"namespace":"edge","kubeClientDriver":"token","healthCheck":{"mode":"Lease"},
			  "registrations":[{"signerName":"kubernetes.io/kube-apiserver-client","subject":{"user":"u","groups":["g"]}},{"signerName":"example.com/s","subject":{"organizationUnit":["o"]}}],
			  "configReferences":[{"group":"g","resource":"r","name":"n","desiredConfig":{"name":"n","specHash":"h"},"lastObservedGeneration":2}]}}`,
			`{"apiVersion":"BETA","kind":"ManagedClusterAddOn","metadata":{"name":"a","annotations":{"addon.open-cluster-management.io/v1alpha1-install-namespace":"edge"}},
			  "spec":{"configs":[{"group":"g","resource":"r","name":"n"}]},
			  "status":{"namespace":"edge","healthCheck":{"mode":"Lease"},
			  "registrations":[{"type":"kubeClient","kubeClient":{"driver":"token","subject":{"user":"u","groups":["g"]}}},{"type":"customSigner","customSigner":{"signerName":"example.com/s","subject":{"organizationUnits":["o"]}}}],
			  "configReferences":[{"group":"g","resource":"r","desiredConfig":{"name":"n","specHash":"h"},"lastObservedGeneration":2}]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			versions := strings.NewReplacer("ALPHA", alpha, "BETA", beta)
			inAlpha, inBeta := versions.Replace(c.alpha), versions.Replace(c.beta)
			for _, way := range []struct{ from, want, to string }{{inAlpha, inBeta, beta}, {inBeta, inAlpha, alpha}, {inAlpha, inAlpha, alpha}} {
				got, err := Convert([]byte(way.from), way.to)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(decoded(t, way.want), decoded(t, string(got))); diff != "" {
					t.Errorf("to %s (-want +got)\n%s", way.to, diff)
				}
			}
		})
	}
	if _, err := Convert([]byte(`{"apiVersion":"`+alpha+`","kind":"AddOnTemplate"}`), beta); err == nil {
		t.Error("a kind whose versions are the same is converted")
	}
}

func decoded(t *testing.T, text string) any {
	t.Helper()
	var out any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
