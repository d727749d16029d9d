package addon

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Content is the kind of configuration that stands for a folder of a FleetRepository in the status of an add-on.
var Content = addonv1alpha1.ConfigGroupResource{Group: musterv1alpha1.GroupVersion.Group, Resource: "fleetrepositories"}

// ContentOf is the folder of a FleetRepository that an add-on is made of, and the repository as a configuration of the add-on. The
// repository is the one that the add-on was applied from, unless an annotation names another. It is false for an add-on without such a folder.
func ContentOf(cma *addonv1alpha1.ClusterManagementAddOn) (folder string, repository addonv1alpha1.AddOnConfig, ok bool) {
	folder = cma.Annotations[musterv1alpha1.AddOnContentAnnotation]
	from := cma.Annotations[musterv1alpha1.AddOnRepositoryAnnotation]
	if from == "" {
		from = cma.Annotations[musterv1alpha1.RepositoryAnnotation]
	}
	namespace, name, _ := strings.Cut(from, "/")
	repository = addonv1alpha1.AddOnConfig{ConfigGroupResource: Content, ConfigReferent: addonv1alpha1.ConfigReferent{Namespace: namespace, Name: name}}
	return path.Clean(folder), repository, folder != ""
}

// Application is the add-on on a cluster as an application that renders the folder: in its install namespace, with its customized variables
// as values of a chart. Of a variable a__b the value is that of a.b; what reads as a number or as true is one.
func Application(name, folder, namespace string, configs []*addonv1alpha1.AddOnDeploymentConfig) (*musterv1alpha1.Application, error) {
	values := map[string]any{}
	for _, v := range merged(configs).CustomizedVariables {
		if err := setValue(values, strings.Split(v.Name, "__"), scalar(v.Value)); err != nil {
			return nil, fmt.Errorf("customized variable %s: %w", v.Name, err)
		}
	}
	data, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("encode the customized variables: %w", err)
	}
	app := &musterv1alpha1.Application{}
	app.Namespace, app.Name = namespace, name
	app.Spec.Source.Path, app.Spec.Destination.Namespace = folder, namespace
	app.Spec.Helm = &musterv1alpha1.Helm{}
	if len(values) > 0 {
		app.Spec.Helm.Values = &runtime.RawExtension{Raw: data}
	}
	return app, nil
}

// scalar is a number, a truth value or a quoted text, by the rules of JSON, and any other text as it is: no is not false.
func scalar(text string) any {
	var value any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil || decoder.More() {
		return text
	}
	switch value.(type) {
	case json.Number, bool, string:
		return value
	}
	return text
}

func setValue(values map[string]any, keys []string, value any) error {
	for _, key := range keys[:len(keys)-1] {
		below, ok := values[key].(map[string]any)
		if !ok {
			if values[key] != nil {
				return fmt.Errorf("%s has a value already", key)
			}
			below = map[string]any{}
			values[key] = below
		}
		values = below
	}
	values[keys[len(keys)-1]] = value
	return nil
}
