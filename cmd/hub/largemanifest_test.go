package main

import (
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/muster-io/muster/internal/work"
)

// largeDefinition is a CustomResourceDefinition of so many bytes at least, as some operators have.
func largeDefinition(bytes int) string {
	var b strings.Builder
	b.WriteString("-- manifests/policies/definition.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: policies.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Policy, plural: policies, singular: policy, listKind: PolicyList}\n" +
		"  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema:\n      openAPIV3Schema:\n        type: object\n        properties:\n          spec:\n            type: object\n            properties:\n")
	for i := 0; b.Len() < bytes; i++ {
		fmt.Fprintf(&b, "              field%d: {type: string, description: %q}\n", i, strings.Repeat("what it is for ", 20))
	}
	return b.String()
}

// TestLargeManifestIsDelivered: one definition of 638 KiB, as large as the largest of Kyverno's, above what a work holds otherwise, reaches a
// cluster where the hub allows it; where it does not, the fault says what to do.
func TestLargeManifestIsDelivered(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shopIn("shop")+clusterFile("one", "tier: edge")+largeDefinition(638<<10)+
		"-- applications/retail/policies/application.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: policies, namespace: retail}\nspec:\n  placementRef: {name: edge}\n  source: {path: manifests/policies}\n",
		func(o *Options) { o.ManifestLimit = work.HardLimit >> 10 })
	f.deliver()
	f.join("one")
	f.expectRow("retail/policies", "one", "policies.example.com", "--manifest-limit")
	f.stop()
	f.options = append(f.options, func(o *Options) { o.ManifestLimit = 800 })
	f.startHub()
	var definition apiextensionsv1.CustomResourceDefinition
	f.eventually(func() string {
		if !f.on("one", &definition, "", "policies.example.com") {
			return "the definition is not there; " + f.describe()
		}
		return ""
	})
	if n := len(definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties); n < 1000 {
		t.Errorf("the definition has %d fields", n)
	}
}
