package crds

import (
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Beyond are the fields that one definition of a kind has and another one does not, as "v1 .spec.taints[].key", sorted. A
// version that is missing is one field. Where there are none, the other definition is equal or newer, and may replace the first.
func Beyond(one, other *apiextensionsv1.CustomResourceDefinition) []string {
	known := fieldsOf(other)
	var beyond []string
	for _, v := range one.Spec.Versions {
		if !v.Served {
			continue
		}
		if !known[v.Name] {
			beyond = append(beyond, v.Name)
			continue
		}
		mine := map[string]bool{}
		collectVersion(v, mine)
		for field := range mine {
			if !known[field] {
				beyond = append(beyond, field)
			}
		}
	}
	slices.Sort(beyond)
	return beyond
}

func fieldsOf(d *apiextensionsv1.CustomResourceDefinition) map[string]bool {
	all := map[string]bool{}
	for _, v := range d.Spec.Versions { // one that is not served too: the hub serves v1beta1 of add-ons once it converts them
		all[v.Name] = true
		collectVersion(v, all)
	}
	return all
}

func collectVersion(v apiextensionsv1.CustomResourceDefinitionVersion, into map[string]bool) {
	if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
		collect(v.Name+" ", *v.Schema.OpenAPIV3Schema, into)
	}
}

func collect(path string, schema apiextensionsv1.JSONSchemaProps, into map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		into[path+"."+name] = true
		collect(path+"."+name, schema.Properties[name], into)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		collect(path+"[]", *schema.Items.Schema, into)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		collect(path+"{}", *schema.AdditionalProperties.Schema, into)
	}
}
