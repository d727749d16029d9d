package crds_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/muster-io/muster/api/crds"
)

func definition(versions ...apiextensionsv1.CustomResourceDefinitionVersion) *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{Versions: versions}}
}

func version(name string, spec apiextensionsv1.JSONSchemaProps) apiextensionsv1.CustomResourceDefinitionVersion {
	return apiextensionsv1.CustomResourceDefinitionVersion{Name: name, Served: true, Schema: &apiextensionsv1.CustomResourceValidation{
		OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": spec}},
	}}
}

func unserved(v apiextensionsv1.CustomResourceDefinitionVersion) apiextensionsv1.CustomResourceDefinitionVersion {
	v.Served = false
	return v
}

func list(names ...string) apiextensionsv1.JSONSchemaProps {
	item := apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
	for _, name := range names {
		item.Properties[name] = apiextensionsv1.JSONSchemaProps{Type: "string"}
	}
	return apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"taints": {Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}},
	}}
}

func TestBeyond(t *testing.T) {
	for name, row := range map[string]struct {
		one, other *apiextensionsv1.CustomResourceDefinition
		want       []string
		why        string
	}{
		"equal": {definition(version("v1", list("key"))), definition(version("v1", list("key"))), nil, "the same may replace it"},
		"older": {definition(version("v1", list("key"))), definition(version("v1", list("key", "effect"))), nil, "the other knows more"},
		"newer": {definition(version("v1", list("key", "effect"))), definition(version("v1", list("key"))), []string{"v1 .spec.taints[].effect"}, "a field would be lost"},
		"a version more": {
			definition(version("v1", list("key")), version("v2", list("key"))), definition(version("v1", list("key"))), []string{"v2"}, "its objects could not be read",
		},
		"a version not served yet": {
			definition(version("v1", list("key")), version("v2", list("key"))), definition(version("v1", list("key")), unserved(version("v2", list("key")))), nil,
			"the hub serves it once it converts",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, crds.Beyond(row.one, row.other)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
		})
	}
}
