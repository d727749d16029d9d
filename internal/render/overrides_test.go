package render

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestOverridesChangeEverything: an override that sets every field it may have changes every field, of an application that has none of
// them and of one that has others. A field that is new is in the test by itself.
func TestOverridesChangeEverything(t *testing.T) {
	sources := map[string]musterv1alpha1.Source{
		"path":  {Path: "folder"},
		"git":   {Git: filled[musterv1alpha1.GitSource]("o")},
		"chart": {Chart: filled[musterv1alpha1.ChartSource]("o")},
		"oci":   {OCI: filled[musterv1alpha1.OCISource]("o")},
	}
	for name, source := range sources {
		override := musterv1alpha1.Override{
			Name: "all", Source: &source, Helm: filled[musterv1alpha1.Helm]("o"), Kustomize: filled[musterv1alpha1.Kustomize]("o"), YAML: filled[musterv1alpha1.YAML]("o"),
			CommonMetadata: *filled[musterv1alpha1.CommonMetadata]("o"), Destination: filled[musterv1alpha1.Destination]("o"),
		}
		for what, base := range map[string]musterv1alpha1.ApplicationSpec{
			"nothing": {Source: musterv1alpha1.Source{Path: "x"}},
			"other values": {
				Source: musterv1alpha1.Source{Git: filled[musterv1alpha1.GitSource]("b")}, Helm: filled[musterv1alpha1.Helm]("b"), Kustomize: filled[musterv1alpha1.Kustomize]("b"),
				YAML: filled[musterv1alpha1.YAML]("b"), CommonMetadata: *filled[musterv1alpha1.CommonMetadata]("b"), Destination: *filled[musterv1alpha1.Destination]("b"),
			},
		} {
			in := input(t, "", "source: {path: x}")
			in.Application.Spec = base
			in.Application.Spec.Overrides = []musterv1alpha1.Override{override}
			resolved, err := Resolve(in)
			if err != nil {
				t.Fatal(err)
			}
			got, want := resolved.Application.Spec, override
			if diff := cmp.Diff(map[string]any{"a": "o"}, resolved.defaults); diff != "" {
				t.Errorf("%s over %s: default values (-want +got):\n%s", name, what, diff)
			}
			got.Helm.DefaultValues = want.Helm.DefaultValues // they are kept aside
			for field, pair := range map[string][2]any{
				"source": {*want.Source, got.Source}, "helm": {want.Helm, got.Helm}, "kustomize": {want.Kustomize, got.Kustomize}, "yaml": {want.YAML, got.YAML},
				"commonMetadata": {want.CommonMetadata, got.CommonMetadata}, "destination": {*want.Destination, got.Destination},
			} {
				if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
					t.Errorf("%s over %s: %s (-want +got):\n%s", name, what, field, diff)
				}
			}
		}
	}
}

// filled is a value of which every field is set; texts are, or begin with, the given one.
func filled[T any](text string) *T {
	v := new(T)
	fill(reflect.ValueOf(v).Elem(), text)
	return v
}

func fill(v reflect.Value, text string) {
	switch raw := v.Addr().Interface().(type) {
	case *runtime.RawExtension:
		raw.Raw = []byte(`{"a":"` + text + `"}`)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, text)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), value)
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(len(text)))
	}
}
