package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// applicationDefaults are one entry of spec.defaults in muster.yaml.
type applicationDefaults struct {
	namespaces []string
	selector   labels.Selector
	spec       map[string]any
	lines      map[string]int // in muster.yaml, by the field path of an application
}

// contentSections are for applications that have them: a section alone says what the content is.
var contentSections = []string{"helm", "kustomize", "yaml"}

// readDefaults reads the defaults as they are written; their types have been checked.
func (l *loader) readDefaults(data []byte, typed []musterv1alpha1.ApplicationDefaults) {
	documents, err := ReadYAML(string(data))
	if len(typed) == 0 {
		l.unknownDefaults = false
	}
	if err != nil || len(documents) != 1 || len(typed) == 0 {
		return
	}
	var written struct {
		Spec struct {
			Defaults []struct {
				Spec map[string]any `json:"spec"`
			} `json:"defaults"`
		} `json:"spec"`
	}
	lines, _, err := documents[0].Lines()
	if err != nil || json.Unmarshal(documents[0].JSON, &written) != nil {
		return
	}
	for i, entry := range written.Spec.Defaults {
		prefix := fmt.Sprintf("spec.defaults[%d].", i)
		selector, err := metav1.LabelSelectorAsSelector(typed[i].Selector)
		if typed[i].Selector == nil {
			selector, err = labels.Everything(), nil
		}
		if err != nil {
			l.absent(Fault{
				Reason: DefinitionInvalid, ActionRequiredBy: User, File: ConfigurationFile, Line: lines[prefix+"selector"],
				Message: "the selector of the defaults is invalid: " + err.Error(),
			})
			continue
		}
		d := applicationDefaults{namespaces: typed[i].Namespaces, selector: selector, spec: entry.Spec, lines: map[string]int{}}
		if helm, ok := d.spec["helm"].(map[string]any); ok && helm["values"] != nil {
			helm["defaultValues"] = helm["values"]
			delete(helm, "values")
		}
		for path, line := range lines {
			if field, ok := strings.CutPrefix(path, prefix); ok {
				field = strings.Replace(field, "spec.helm.values", "spec.helm.defaultValues", 1)
				d.lines[field] = line
			}
		}
		l.defaults = append(l.defaults, d)
	}
	l.unknownDefaults = len(l.defaults) != len(typed)
}

// applyDefaults puts what an application does not say itself into its document. It gives the lines in muster.yaml of what came from there.
func (l *loader) applyDefaults(d *document) map[string]int {
	key := d.key()
	if len(l.defaults) == 0 || key.Kind != "Application" || key.Group != musterv1alpha1.GroupVersion.Group {
		return nil
	}
	own, isTable := d.object["spec"].(map[string]any)
	if !isTable {
		return nil
	}
	merged, places := map[string]any{}, map[string]int{}
	marks := labels.Set((&unstructured.Unstructured{Object: d.object}).GetLabels())
	for _, entry := range l.defaults {
		if len(entry.namespaces) > 0 && !slices.Contains(entry.namespaces, key.Namespace) || !entry.selector.Matches(marks) {
			continue
		}
		MergeValues(merged, entry.spec, "spec.", func(path string, set bool) {
			DropBelow(places, path)
			if set {
				places[path] = entry.lines[path]
			}
		})
	}
	for _, section := range contentSections {
		if own[section] == nil {
			delete(merged, section)
			DropBelow(places, "spec."+section)
		}
	}
	MergeValues(merged, own, "spec.", func(path string, _ bool) { DropBelow(places, path) })
	object := make(map[string]any, len(d.object))
	for field, value := range d.object {
		object[field] = value
	}
	object["spec"] = merged
	d.object = object
	return places
}
