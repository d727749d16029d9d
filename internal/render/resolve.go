package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/expression"
	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Resolved is an application as one cluster gets it.
type Resolved struct {
	// Application with the overrides merged and the expressions evaluated.
	Application *musterv1alpha1.Application
	// Overrides that apply to the cluster, by name, in order.
	Overrides []string
	// Layers tells which layer each inline value is from: the dotted path below spec.helm.values -> "override prod,
	// application.yaml:7", or "application.yaml:3".
	Layers map[string]string
	// Sources are the references to other repositories and registries that rendering has looked up, and what they resolved to.
	Sources []fleet.UsedSource

	values   map[string]any
	defaults map[string]any    // below all other layers
	secrets  []secretValue     // what Secrets of the hub gave the chart
	fields   map[string]string // source.path, helm.values.replicas -> the field of the application that says it
}

// fieldOf gives the field of the application that a resolved field came from, or its nearest parent.
func (r *Resolved) fieldOf(path string) string {
	for p := path; p != ""; p = fleet.ParentPath(p) {
		if field, ok := r.fields[p]; ok {
			return field + path[len(p):]
		}
	}
	return "spec." + path
}

// What an expression asks for and the cluster lacks: the cluster's file is to be changed, or what it reports.
var (
	ErrLabelMissing = expression.ErrLabelMissing
	ErrClaimMissing = expression.ErrClaimMissing
)

// Resolve gives the application as the input's cluster gets it: overrides whose selector matches merged in order (maps
// merge, lists replace, null deletes), then expressions evaluated. The error is a fleet.Fault with the file and line of the field.
func Resolve(in Input) (*Resolved, error) {
	app := *in.Application
	app.Spec.Kustomize, app.Spec.YAML, app.Spec.CommonMetadata = app.Spec.Kustomize.DeepCopy(), app.Spec.YAML.DeepCopy(), *app.Spec.CommonMetadata.DeepCopy()
	r := &Resolved{Application: &app, values: map[string]any{}, defaults: map[string]any{}, fields: map[string]string{}}
	if app.Spec.Helm != nil {
		helm := *app.Spec.Helm
		app.Spec.Helm = nil
		if err := r.mergeHelm(in, &helm, "spec.helm"); err != nil {
			return nil, err
		}
	}
	for i := range app.Spec.Overrides {
		override := &in.Application.Spec.Overrides[i]
		field := "spec.overrides[" + strconv.Itoa(i) + "]"
		matches, err := fleet.Selects(override.ClusterSelector, in.Cluster)
		if err != nil {
			return nil, in.faultOf(fleet.DefinitionInvalid, field+".clusterSelector", fmt.Sprintf("the selector of override %s is invalid: %v", override.Name, err))
		}
		if !matches {
			continue
		}
		r.Overrides = append(r.Overrides, override.Name)
		if err := r.merge(in, override, field); err != nil {
			return nil, err
		}
	}
	if err := r.evaluate(in); err != nil {
		return nil, err
	}
	r.nameLayers(in)
	return r, r.storeValues()
}

func (r *Resolved) merge(in Input, override *musterv1alpha1.Override, field string) error {
	if override.Source != nil {
		r.mergeSource(override.Source, field+".source")
	}
	replaceList(&r.Application.Spec.ChartRepositories, override.ChartRepositories, func() {})
	r.mergeObjects(override, field)
	if override.Helm == nil {
		return nil
	}
	return r.mergeHelm(in, override.Helm, field+".helm")
}

func (r *Resolved) mergeHelm(in Input, from *musterv1alpha1.Helm, field string) error {
	if r.Application.Spec.Helm == nil {
		r.Application.Spec.Helm = &musterv1alpha1.Helm{}
	}
	helm := r.Application.Spec.Helm
	if from.ReleaseName != "" {
		helm.ReleaseName = from.ReleaseName
		r.fields["helm.releaseName"] = field + ".releaseName"
	}
	if from.ClusterValues != "" {
		helm.ClusterValues = from.ClusterValues
		r.fields["helm.clusterValues"] = field + ".clusterValues"
	}
	if from.ValuesFiles != nil {
		helm.ValuesFiles = slices.Clone(from.ValuesFiles)
		r.fields["helm.valuesFiles"] = field + ".valuesFiles"
	}
	if from.ValuesFrom != nil {
		helm.ValuesFrom = slices.Clone(from.ValuesFrom)
		r.fields["helm.valuesFrom"] = field + ".valuesFrom"
	}
	if from.Hooks != "" {
		helm.Hooks = from.Hooks
	}
	replace(&helm.Generated, from.Generated)
	if err := r.mergeInline(in, r.defaults, from.DefaultValues, field, "defaultValues"); err != nil {
		return err
	}
	return r.mergeInline(in, r.values, from.Values, field, "values")
}

// mergeInline merges inline values, and notes where each is from.
func (r *Resolved) mergeInline(in Input, into map[string]any, from *runtime.RawExtension, field, name string) error {
	if from == nil || len(from.Raw) == 0 {
		return nil
	}
	var values map[string]any
	if err := json.Unmarshal(from.Raw, &values); err != nil {
		return in.faultOf(fleet.DefinitionInvalid, field+"."+name, name+" must be a map")
	}
	fleet.MergeValues(into, values, "", func(path string, set bool) {
		fleet.DropBelow(r.fields, "helm."+name+"."+path)
		if set {
			r.fields["helm."+name+"."+path] = field + "." + name + "." + path
		}
	})
	return nil
}

// evaluate evaluates the expressions in the inline fields.
func (r *Resolved) evaluate(in Input) error {
	scope := expression.NewScope(in.Application, in.Cluster, in.ClusterValues)
	for _, f := range r.inlineFields() {
		value, err := scope.Text(*f.text)
		if err != nil {
			return r.expressionFault(in, f.path, err)
		}
		*f.text = value
	}
	namespace := r.Application.Spec.Destination.Namespace
	if bad := validation.IsDNS1123Label(namespace); namespace != "" && len(bad) > 0 {
		return in.faultOf(fleet.DefinitionInvalid, r.fieldOf("destination.namespace"),
			"what it says for this cluster is no name of a namespace: "+fleet.ShortRule(bad[0]))
	}
	if _, err := r.evaluateValue(in, scope, "helm.defaultValues", r.defaults); err != nil {
		return err
	}
	if _, err := r.evaluateValue(in, scope, "helm.values", r.values); err != nil {
		return err
	}
	spec := &r.Application.Spec
	if err := evaluateIn(r, in, scope, "kustomize", spec.Kustomize); err != nil {
		return err
	}
	if err := evaluateIn(r, in, scope, "yaml", spec.YAML); err != nil {
		return err
	}
	return evaluateIn(r, in, scope, "commonMetadata", &spec.CommonMetadata)
}

func (r *Resolved) expressionFault(in Input, path string, err error) error {
	f := in.faultOf(fleet.ExpressionFailed, r.fieldOf(path), err.Error())
	f.Err = err
	if errors.Is(err, expression.ErrValueMissing) && in.ClusterValues != nil {
		f.Remedy = in.ClusterValues.File
	}
	return f
}

// inlineField is a text of the application that may hold expressions.
type inlineField struct {
	path string
	text *string
}

func (r *Resolved) inlineFields() []inlineField {
	spec := &r.Application.Spec
	fields := append(r.sourceFields(),
		inlineField{"destination.namespace", &spec.Destination.Namespace},
		inlineField{"serviceAccountName", &spec.ServiceAccountName},
	)
	if spec.Helm != nil {
		fields = append(fields, inlineField{"helm.releaseName", &spec.Helm.ReleaseName}, inlineField{"helm.clusterValues", &spec.Helm.ClusterValues})
		for i := range spec.Helm.ValuesFiles {
			fields = append(fields, inlineField{fmt.Sprintf("helm.valuesFiles[%d]", i), &spec.Helm.ValuesFiles[i].Path})
		}
		for i := range spec.Helm.ValuesFrom {
			fields = append(fields, inlineField{fmt.Sprintf("helm.valuesFrom[%d].name", i), &spec.Helm.ValuesFrom[i].Name})
		}
	}
	return fields
}

// evaluateValue evaluates the strings of a value in place, and gives the value that replaces it.
func (r *Resolved) evaluateValue(in Input, scope *expression.Scope, path string, value any) (any, error) {
	var err error
	switch v := value.(type) {
	case string:
		if value, err = scope.Value(v); err != nil {
			return nil, r.expressionFault(in, path, err)
		}
	case []any:
		for i := range v {
			if v[i], err = r.evaluateValue(in, scope, fmt.Sprintf("%s[%d]", path, i), v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if v[key], err = r.evaluateValue(in, scope, path+"."+key, v[key]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// nameLayers names, for people, where each inline value is from.
func (r *Resolved) nameLayers(in Input) {
	r.Layers = map[string]string{}
	for path, field := range r.fields {
		below, ok := strings.CutPrefix(path, "helm.values.")
		if !ok {
			continue
		}
		if i, isOverride := overrideIndex(field); isOverride {
			r.Layers[below] = "override " + in.Application.Spec.Overrides[i].Name + ", " + fleet.Position(baseName(in.File), in.lineOf(field))
			continue
		}
		r.Layers[below] = fleet.Position(baseName(in.File), in.lineOf(field))
	}
}

func overrideIndex(field string) (int, bool) {
	rest, ok := strings.CutPrefix(field, "spec.overrides[")
	if !ok {
		return 0, false
	}
	number, _, _ := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	return i, err == nil
}

func baseName(file string) string { return file[strings.LastIndex(file, "/")+1:] }

// storeValues puts the merged and evaluated values back into the application.
func (r *Resolved) storeValues() error {
	if r.Application.Spec.Helm == nil || len(r.values) == 0 {
		return nil
	}
	raw, err := fleet.CanonicalJSON(r.values)
	if err != nil {
		return fmt.Errorf("inline values: %w", err)
	}
	// Results of expressions become what JSON makes of them, as if they had been written down.
	r.values = map[string]any{}
	if err := json.Unmarshal(raw, &r.values); err != nil {
		return fmt.Errorf("inline values: %w", err)
	}
	r.Application.Spec.Helm.Values = &runtime.RawExtension{Raw: raw}
	return nil
}
