package fleet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/muster-io/muster/api/crds"
	"go.yaml.in/yaml/v3"
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
	// indexed is what the paths in lines take.
	indexed int
	// twice is the path of a field that stands there twice.
	twice  string
	object map[string]any
	err    error
}

// parseFile reads the documents of a file that name themselves by apiVersion and kind. The documents before a syntax error
// are returned with it.
func parseFile(file string, data []byte) ([]document, error) {
	var documents []document
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return documents, err
		}
		if len(node.Content) == 0 || !namesItself(node.Content[0]) {
			continue // values and other data
		}
		d := document{file: file, line: node.Content[0].Line, lines: map[string]int{}}
		if expands(&node) {
			return documents, atLine(d.line, ErrExpands)
		}
		if d.index(node.Content[0], ""); d.indexed > maxIndexed {
			return documents, atLine(d.line, errPaths)
		}
		d.decode(node.Content[0])
		documents = append(documents, d)
	}
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

// maxIndexed is how much the paths of a document's fields may take: each repeats those that it is below.
const maxIndexed = 32 << 20

var errPaths = errors.New("the paths of its fields are far longer than it is: nest less, under shorter names")

// atLine is an error in which lineIn finds the line.
func atLine(line int, err error) error { return fmt.Errorf("line %d: %w", line, err) }

// note keeps the line of a field, while there is room for it.
func (d *document) note(name string, line int) bool {
	d.indexed += len(name) + 64
	d.lines[name] = line
	return d.indexed <= maxIndexed
}

// index notes the line of every field, and the first field that stands there twice.
func (d *document) index(node *yaml.Node, at string) {
	switch node.Kind {
	case yaml.AliasNode:
		d.index(node.Alias, at)
	case yaml.MappingNode:
		seen := map[string]bool{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			name := joinPath(at, key.Value)
			if seen[key.Value] && d.twice == "" {
				d.twice = name
			}
			seen[key.Value] = true
			if !d.note(name, key.Line) {
				return
			}
			d.index(node.Content[i+1], name)
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			name := fmt.Sprintf("%s[%d]", at, i)
			if !d.note(name, item.Line) {
				return
			}
			d.index(item, name)
		}
	}
}

func joinPath(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// decode turns the node into the plain values that JSON has. Of a field that stands there twice the last one counts here, so
// that the object is known to be there although it is not taken.
func (d *document) decode(node *yaml.Node) {
	if d.twice != "" {
		dropTwins(node, map[*yaml.Node]bool{})
	}
	var plain map[string]any
	if d.err = node.Decode(&plain); d.err != nil {
		return
	}
	data, err := json.Marshal(plain)
	if err != nil {
		d.err = err
		return
	}
	d.err = kjson.UnmarshalCaseSensitivePreserveInts(data, &d.object)
}

// ambiguous: the fields that name the object stand there twice, so that it may be either.
func (d *document) ambiguous() bool {
	return d.twice == "apiVersion" || d.twice == "kind" || strings.HasPrefix(d.twice, "metadata")
}

// dropTwins removes the first of two equal keys, everywhere below a node.
func dropTwins(node *yaml.Node, seen map[*yaml.Node]bool) {
	if seen[node] {
		return
	}
	seen[node] = true
	if node.Kind == yaml.MappingNode {
		last := map[string]int{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			last[node.Content[i].Value] = i
		}
		var kept []*yaml.Node
		for i := 0; i+1 < len(node.Content); i += 2 {
			if last[node.Content[i].Value] == i {
				kept = append(kept, node.Content[i], node.Content[i+1])
			}
		}
		node.Content = kept
	}
	for _, child := range node.Content {
		dropTwins(child, seen)
	}
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
	at := Definition{Line: d.line, lines: d.lines}
	return at.LineOf(field)
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
		return out, 0, d.fault("", plainYAMLError(d.err))
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
	out.Object = object
	return out, rank, nil
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

var (
	fieldOfGo  = regexp.MustCompile(`Go struct field \w+\.(\S+) of type`)
	lineInYAML = regexp.MustCompile(`line (\d+)`)
)

// lineIn is the line that a YAML error names, or 0.
func lineIn(err error) int {
	m := lineInYAML.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	if parserError.MatchString(err.Error()) {
		n++ // the parser counts from 0, the scanner from 1
	}
	return n
}

var parserError = regexp.MustCompile(`did not find expected (<document start>|<stream-start>|'-' indicator|key|node content|',' or)`)

// plainYAMLError is the error without the names of libraries and without values.
func plainYAMLError(err error) string {
	text := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "json: ", "yaml: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	first, _, _ := strings.Cut(text, "\n")
	first = lineInYAML.ReplaceAllString(first, "")
	first = strings.TrimPrefix(first, ": ")
	return cmp.Or(strings.TrimSpace(first), "does not parse")
}
