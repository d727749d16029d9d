package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// document is one YAML document of a definition file that names itself.
type document struct {
	file  string
	line  int
	lines map[string]int
	// twice is the path of a field that stands there twice.
	twice  string
	object map[string]any
	err    *YAMLError
}

// parseFile reads the documents of a file that name themselves by apiVersion and kind. The documents before a syntax error
// are returned with it.
func parseFile(file string, data []byte) ([]document, error) {
	var documents []document
	for _, part := range splitYAML(endLine(string(data))) {
		read, err := part.read()
		if err == nil {
			for _, y := range read {
				d, err := newDocument(file, y)
				if err != nil {
					return documents, err
				}
				if d != nil {
					documents = append(documents, *d)
				}
			}
			continue
		}
		root := part.node()
		if root != nil && !namesItself(root) {
			continue // values and other data
		}
		var problem *YAMLError
		if root == nil || errors.Is(err, ErrExpands) || errors.Is(err, ErrDocument) || !errors.As(err, &problem) {
			return documents, err
		}
		documents = append(documents, document{file: file, line: part.Line, err: problem})
	}
	return documents, nil
}

// newDocument reads a document, nil if it does not name itself. Of a field that stands there twice the last one counts, so that
// it is known which object the repository names, although it is not applied.
func newDocument(file string, y YAML) (*document, error) {
	var object any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(y.JSON, &object); err != nil {
		return nil, yamlError(y.Line, err)
	}
	table, _ := object.(map[string]any)
	_, hasVersion := table["apiVersion"]
	_, hasKind := table["kind"]
	if !hasVersion && !hasKind {
		return nil, nil // values and other data
	}
	d := &document{file: file, line: y.Line, object: table}
	var err error
	if d.lines, d.twice, err = y.Lines(); err != nil {
		return nil, err
	}
	return d, nil
}

func namesItself(node *yaml.Node) bool {
	if node.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if name := node.Content[i].Value; name == "apiVersion" || name == "kind" {
			return true
		}
	}
	return false
}

// ambiguous: the fields that name the object stand there twice, so that it may be either.
func (d *document) ambiguous() bool {
	return d.twice == "apiVersion" || d.twice == "kind" || strings.HasPrefix(d.twice, "metadata")
}

// sources are the folders and files that an Application names as its content, up to the first expression.
func (d *document) sources() []string {
	object := unstructured.Unstructured{Object: d.object}
	if d.object == nil || object.GetKind() != "Application" || object.GroupVersionKind().Group != "muster.dev" {
		return nil
	}
	var found []string
	if p, ok, _ := unstructured.NestedString(d.object, "spec", "source", "path"); ok {
		found = append(found, p)
	}
	overrides, _, _ := unstructured.NestedSlice(d.object, "spec", "overrides")
	for _, o := range overrides {
		if m, ok := o.(map[string]any); ok {
			if p, ok, _ := unstructured.NestedString(m, "source", "path"); ok {
				found = append(found, p)
			}
		}
	}
	for i, p := range found {
		if before, _, templated := strings.Cut(p, "${{"); templated {
			p = path.Dir(before + "x")
		}
		found[i] = path.Clean(p)
	}
	return found
}

// fault makes an author's fault of this document at the line of a field.
func (d *document) fault(field, message string) Fault {
	return Fault{Reason: DefinitionInvalid, ActionRequiredBy: User, File: d.file, Line: d.lineOf(field), Object: d.name(), Message: message}
}

func (d *document) lineOf(field string) int {
	definition := Definition{Line: d.line, lines: d.lines}
	return definition.LineOf(field)
}

func (d *document) name() string { return d.key().String() }

func (d *document) key() ObjectKey {
	u := unstructured.Unstructured{Object: d.object}
	if d.object == nil {
		return ObjectKey{Kind: "document"}
	}
	k := u.GroupVersionKind()
	return ObjectKey{Group: k.Group, Version: k.Version, Kind: k.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// definition decodes the document strictly. The key is filled in as far as the document names itself, even with an error.
func (d *document) definition() (Definition, int, error) {
	out := Definition{File: d.file, Line: d.line, lines: d.lines}
	if d.err != nil {
		f := d.fault("", d.err.Message)
		f.Line = d.err.Line
		return out, 0, f
	}
	out.Key = d.key()
	if d.twice != "" {
		return out, 0, d.fault(d.twice, fmt.Sprintf("field %q is there twice: keep one", d.twice))
	}
	kind, rank, ok := kindOf(schema.GroupVersionKind{Group: out.Key.Group, Version: out.Key.Version, Kind: out.Key.Kind})
	if !ok {
		f := d.fault("kind", fmt.Sprintf("%s is not a kind of a fleet repository: content belongs in a folder that an Application's source names", kindName(out.Key)))
		f.Reason = KindNotAllowed
		return out, 0, f
	}
	out.Key.Resource = kind.Resource
	if err := d.checkMetadata(kind, out.Key); err != nil {
		return out, 0, err
	}
	out.Source = &unstructured.Unstructured{Object: d.object}
	if kind.New == nil {
		out.Object = out.Source
		return out, rank, nil
	}
	object := kind.New()
	if err := d.strict(object); err != nil {
		return out, 0, err
	}
	defaulted(object)
	if app, ok := object.(*musterv1alpha1.Application); ok {
		if err := d.checkPlacement(app); err != nil {
			return out, 0, err
		}
	}
	out.Object = object
	return out, rank, nil
}

// checkPlacement holds what the API server checks too.
func (d *document) checkPlacement(app *musterv1alpha1.Application) error {
	set := 0
	for _, is := range []bool{app.Spec.PlacementRef.Name != "", len(app.Spec.PlacementRefs) > 0, app.Spec.Placement != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return d.fault("spec.placementRef", "set exactly one of spec.placementRef, spec.placementRefs and spec.placement: it says on which clusters the application belongs")
	}
	return nil
}

// ownPlacement is the Placement that an Application has of its own, with the lines of its fields; nil if it has none.
func ownPlacement(d *Definition) *Definition {
	app, ok := d.Object.(*musterv1alpha1.Application)
	if !ok || app.Spec.Placement == nil {
		return nil
	}
	written, _, _ := unstructured.NestedMap(d.Source.Object, "spec", "placement")
	kind := clusterv1beta1.GroupVersion.WithKind("Placement")
	out := &Definition{
		Object: &clusterv1beta1.Placement{
			TypeMeta:   metav1.TypeMeta{APIVersion: kind.GroupVersion().String(), Kind: kind.Kind},
			ObjectMeta: metav1.ObjectMeta{Namespace: app.Namespace, Name: app.Name}, Spec: *app.Spec.Placement.DeepCopy(),
		},
		Source: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": kind.GroupVersion().String(), "kind": kind.Kind,
			"metadata": map[string]any{"namespace": app.Namespace, "name": app.Name}, "spec": written,
		}},
		Key:  ownPlacementKey(d.Key),
		File: d.File, Line: d.LineOf("spec.placement"), lines: map[string]int{},
	}
	for field, line := range d.lines {
		if below, ok := strings.CutPrefix(field, "spec.placement"); ok && (below == "" || below[0] == '.') {
			out.lines["spec"+below] = line
		}
	}
	return out
}

func ownPlacementKey(application ObjectKey) ObjectKey {
	return ObjectKey{
		Group: clusterv1beta1.GroupVersion.Group, Version: clusterv1beta1.GroupVersion.Version, Kind: "Placement", Resource: "placements",
		Namespace: application.Namespace, Name: application.Name,
	}
}

// hasOwnPlacement: also of an application that is invalid, the placement must not be pruned.
func (d *document) hasOwnPlacement() bool {
	_, found, _ := unstructured.NestedFieldNoCopy(d.object, "spec", "placement")
	key := d.key()
	return found && key.Kind == "Application" && key.Group == musterv1alpha1.GroupVersion.Group
}

func kindName(k ObjectKey) string {
	if k.Kind == "" || k.Version == "" {
		return "a document without apiVersion or kind"
	}
	return fmt.Sprintf("%s of %s", k.Kind, schema.GroupVersion{Group: k.Group, Version: k.Version})
}

func (d *document) checkMetadata(kind Kind, key ObjectKey) error {
	if key.Name == "" {
		return d.fault("metadata", "metadata.name is missing")
	}
	if kind.Namespaced && key.Namespace == "" {
		return d.fault("metadata", "metadata.namespace is missing: the namespace is the tenant")
	}
	if !kind.Namespaced && key.Namespace != "" {
		return d.fault("metadata.namespace", fmt.Sprintf("metadata.namespace is set, but %s is not namespaced", key.Kind))
	}
	metadata, _ := d.object["metadata"].(map[string]any)
	if field, problem := WrongMetadata(kind.Group, kind.GroupVersionKind.Kind, metadata); problem != "" {
		return d.fault(field, problem)
	}
	if problem := wrongAssumption(metadata); problem != "" {
		return d.fault("metadata.annotations."+musterv1alpha1.AssumeAnnotation, "metadata.annotations["+musterv1alpha1.AssumeAnnotation+"] "+problem)
	}
	if field, problem := wrongMark(kind.GroupVersionKind.Kind, metadata); problem != "" {
		return d.fault(field, problem)
	}
	return nil
}

var unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)

// strict decodes into a typed object; an unknown field is a fault at its line.
func (d *document) strict(object Object) error {
	if _, ok := d.object["status"]; ok {
		return d.fault("status", "status is written by the hub and has no place in a repository")
	}
	withDefaults := runtime.DeepCopyJSON(d.object)
	crds.Default(withDefaults)
	data, err := json.Marshal(withDefaults)
	if err != nil {
		return d.fault("", err.Error())
	}
	problems, err := kjson.UnmarshalStrict(data, object)
	if err != nil {
		return d.fault(fieldIn(err), strings.TrimPrefix(err.Error(), "json: "))
	}
	if len(problems) > 0 {
		field := ""
		if m := unknownField.FindStringSubmatch(problems[0].Error()); m != nil {
			field = m[1]
		}
		return d.fault(field, problems[0].Error())
	}
	if wrong := crds.Validate(withDefaults); len(wrong) > 0 {
		return d.fault(wrong[0].Field, wrong[0].Field+" "+wrong[0].Message)
	}
	return nil
}

// fieldIn is the path of the field that a decoding error is about.
func fieldIn(err error) string {
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		return typed.Field
	}
	if m := fieldOfGo.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

var fieldOfGo = regexp.MustCompile(`Go struct field \w+\.(\S+) of type`)
