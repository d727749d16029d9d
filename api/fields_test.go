package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/api/crds"
)

// kinds are OCM's kinds that are served here. The table has more, of later work.
var kinds = []string{
	"addon.open-cluster-management.io/v1alpha1 AddOnDeploymentConfig",
	"addon.open-cluster-management.io/v1alpha1 AddOnTemplate",
	"addon.open-cluster-management.io/v1alpha1 ClusterManagementAddOn",
	"addon.open-cluster-management.io/v1alpha1 ManagedClusterAddOn",
	"addon.open-cluster-management.io/v1beta1 AddOnDeploymentConfig",
	"addon.open-cluster-management.io/v1beta1 AddOnTemplate",
	"addon.open-cluster-management.io/v1beta1 ClusterManagementAddOn",
	"addon.open-cluster-management.io/v1beta1 ManagedClusterAddOn",
	"authentication.open-cluster-management.io/v1alpha1 ManagedServiceAccount",
	"authentication.open-cluster-management.io/v1beta1 ManagedServiceAccount",
	"cluster.open-cluster-management.io/v1 ManagedCluster",
	"cluster.open-cluster-management.io/v1alpha1 AddOnPlacementScore",
	"cluster.open-cluster-management.io/v1alpha1 ClusterClaim",
	"cluster.open-cluster-management.io/v1beta1 Placement",
	"cluster.open-cluster-management.io/v1beta1 PlacementDecision",
	"cluster.open-cluster-management.io/v1beta2 ManagedClusterSet",
	"cluster.open-cluster-management.io/v1beta2 ManagedClusterSetBinding",
	"rbac.open-cluster-management.io/v1alpha1 ClusterPermission",
	"work.open-cluster-management.io/v1 AppliedManifestWork",
	"work.open-cluster-management.io/v1 ManifestWork",
	"work.open-cluster-management.io/v1alpha1 ManifestWorkReplicaSet",
}

// additions are the fields that OCM's kinds have here and not in OCM, each with the reason. An addition is
// an optional field: without it an object behaves as in OCM.
var additions = map[node]string{}

// node is a place in a schema: the kind as in kinds, and the path, with [] for items and {} for map values.
// The path @crd is the definition itself.
type node struct{ Kind, Path string }

// row is what a schema says at one node, in the words of the table.
type row struct {
	Scope, Storage, Type, Required, Enum, Default, Constraints, Markers string
}

func TestKindsHaveOCMsFields(t *testing.T) {
	want := table(t)
	got := served(t)
	if diff := cmp.Diff(kinds, kindsOf(got)); diff != "" {
		t.Errorf("kinds that are served (-want +got)\n%s", diff)
	}
	maps.DeleteFunc(want, func(n node, _ row) bool { return !slices.Contains(kinds, n.Kind) })
	for n, why := range additions {
		switch _, inOCM := want[n]; {
		case inOCM:
			t.Errorf("%v is in OCM and no addition (%s)", n, why)
		case got[n] == row{}:
			t.Errorf("%v is an addition (%s) and not served", n, why)
		case got[n].Required == "yes":
			t.Errorf("%v is an addition (%s) and required", n, why)
		}
		delete(got, n)
	}
	for _, difference := range differences(want, got) {
		t.Error(difference)
	}
}

// TestDifferencesAreSeen proves the comparison itself: each small change of a schema is reported.
func TestDifferencesAreSeen(t *testing.T) {
	type schema = apiextensionsv1.JSONSchemaProps
	number := 3.0
	tests := map[string]struct {
		why    string
		change func(spec, status *schema)
		want   string // the path that is reported
	}{
		"missing":  {"a client of OCM sets it", func(spec, _ *schema) { delete(spec.Properties, "sortBy") }, "spec.sortBy"},
		"too many": {"an undocumented extension", func(spec, _ *schema) { spec.Properties["mood"] = schema{Type: "string"} }, "spec.mood"},
		"type": {"an OCM client could not decode it", func(spec, _ *schema) {
			spec.Properties["numberOfClusters"] = schema{Type: "string"}
		}, "spec.numberOfClusters"},
		"required": {"an object that OCM accepts is refused", func(spec, _ *schema) { spec.Required = []string{"clusterSets"} }, "spec.clusterSets"},
		"default":  {"an object means something else", func(spec, _ *schema) { set(spec, "sortBy", func(s *schema) { s.Default = nil }) }, "spec.sortBy"},
		"enum":     {"a value is refused", func(spec, _ *schema) { set(spec, "sortBy", func(s *schema) { s.Enum = s.Enum[1:] }) }, "spec.sortBy"},
		"pattern":  {"a value is refused", func(spec, _ *schema) { set(spec, "scoreRateLimit", func(s *schema) { s.Pattern = "m$" }) }, "spec.scoreRateLimit"},
		"bound":    {"a value is refused", func(spec, _ *schema) { set(spec, "numberOfClusters", func(s *schema) { s.Maximum = &number }) }, "spec.numberOfClusters"},
		"rule": {"an object is refused", func(spec, _ *schema) {
			set(spec, "predicates", func(s *schema) {
				s.XValidations = apiextensionsv1.ValidationRules{{Rule: "self.size() < 3", Message: "few"}}
			})
		}, "spec.predicates"},
		"items": {"a rule on items is a row of its own", func(spec, _ *schema) {
			set(spec, "clusterSets", func(s *schema) { s.Items.Schema.Pattern = "^a" })
		}, "spec.clusterSets[]"},
		"list type": {"server-side apply merges differently", func(_, status *schema) {
			set(status, "conditions", func(s *schema) { s.XListType = nil })
		}, "status.conditions"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			crd := definition(t, "Placement")
			want := flatten(crd)
			root := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
			spec, status := root.Properties["spec"], root.Properties["status"]
			tc.change(&spec, &status)
			root.Properties["spec"], root.Properties["status"] = spec, status
			got := differences(want, flatten(crd))
			if len(got) != 1 || !strings.Contains(got[0], " "+tc.want+":") {
				t.Errorf("%s: want one difference at %s, got %q", tc.why, tc.want, got)
			}
		})
	}
}

// set changes one property.
func set(s *apiextensionsv1.JSONSchemaProps, name string, change func(*apiextensionsv1.JSONSchemaProps)) {
	property := s.Properties[name]
	change(&property)
	s.Properties[name] = property
}

// differences tells, sorted, where two schemas differ: in either direction, or at the same node.
func differences(want, got map[node]row) []string {
	var out []string
	for n, w := range want {
		g, ok := got[n]
		if !ok {
			out = append(out, fmt.Sprintf("%s %s: missing", n.Kind, n.Path))
		} else if diff := cmp.Diff(w, g); diff != "" {
			out = append(out, fmt.Sprintf("%s %s: (-OCM +ours)\n%s", n.Kind, n.Path, diff))
		}
	}
	for n := range got {
		if _, ok := want[n]; !ok {
			out = append(out, fmt.Sprintf("%s %s: not in OCM", n.Kind, n.Path))
		}
	}
	slices.Sort(out)
	return out
}

func kindsOf(rows map[node]row) []string {
	var out []string
	for n := range rows {
		out = append(out, n.Kind)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// table reads OCM's fields. Its columns are group, version, kind, those of row with the path after storage,
// and the source file.
func table(t *testing.T) map[node]row {
	t.Helper()
	data, err := os.ReadFile("testdata/ocm-fields.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[node]row{}
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		c := strings.Split(line, "\t")
		if len(c) != 13 {
			t.Fatalf("line %d of the table has %d columns, want 13", i+1, len(c))
		}
		n := node{Kind: c[0] + "/" + c[1] + " " + c[2], Path: c[5]}
		if _, ok := rows[n]; ok {
			t.Fatalf("line %d of the table repeats %v", i+1, n)
		}
		rows[n] = row{c[3], c[4], c[6], c[7], c[8], c[9], c[10], c[11]}
	}
	return rows
}

// served flattens the definitions of every group but our own.
func served(t *testing.T) map[node]row {
	t.Helper()
	rows := map[node]row{}
	for _, crd := range definitions(t) {
		if crd.Spec.Group != "muster.dev" && crd.Spec.Group != "submarineraddon.open-cluster-management.io" { // not in OCM itself
			servedOnceConverted(t, crd)
			maps.Copy(rows, flatten(crd))
		}
	}
	return rows
}

// servedOnceConverted are the versions that the hub serves when it converts them: installed as served, fields would be lost until then.
func servedOnceConverted(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		converted := v.Name == "v1beta1" && (crd.Spec.Names.Kind == "ClusterManagementAddOn" || crd.Spec.Names.Kind == "ManagedClusterAddOn")
		if v.Served == converted {
			t.Errorf("%s %s: served is %v", crd.Name, v.Name, v.Served)
		}
		v.Served = true
	}
}

func definitions(t *testing.T) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	var out []*apiextensionsv1.CustomResourceDefinition
	for _, doc := range slices.Concat(crds.Hub(), crds.Agent()) {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(doc, crd); err != nil {
			t.Fatal(err)
		}
		out = append(out, crd)
	}
	return out
}

func definition(t *testing.T, kind string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	for _, crd := range definitions(t) {
		if crd.Spec.Names.Kind == kind {
			return crd
		}
	}
	t.Fatalf("no definition of %s", kind)
	return nil
}

// flatten writes every version of a definition as the rows of the table: one for the definition, one for
// each property, and one for items or map values that say something themselves.
func flatten(crd *apiextensionsv1.CustomResourceDefinition) map[node]row {
	f := flattening{rows: map[node]row{}, scope: string(crd.Spec.Scope)}
	for _, version := range crd.Spec.Versions {
		f.kind = crd.Spec.Group + "/" + version.Name + " " + crd.Spec.Names.Kind
		f.storage = yesNo(version.Storage)
		root := version.Schema.OpenAPIV3Schema
		f.add("@crd", row{
			Type:        "crd",
			Constraints: definitionOf(crd, version),
			Markers:     "root-required=" + strings.Join(root.Required, ","),
		})
		for name, property := range root.Properties {
			if name != "apiVersion" && name != "kind" && name != "metadata" {
				f.property(property, name, slices.Contains(root.Required, name))
			}
		}
	}
	return f.rows
}

// definitionOf describes a definition beside its schema.
func definitionOf(crd *apiextensionsv1.CustomResourceDefinition, version apiextensionsv1.CustomResourceDefinitionVersion) string {
	names := crd.Spec.Names
	var subresources, columns []string
	if s := version.Subresources; s != nil && s.Scale != nil {
		subresources = append(subresources, "scale")
	}
	if s := version.Subresources; s != nil && s.Status != nil {
		subresources = append(subresources, "status")
	}
	for _, c := range version.AdditionalPrinterColumns {
		columns = append(columns, c.Name+"="+c.JSONPath)
	}
	conversion := apiextensionsv1.NoneConverter
	if crd.Spec.Conversion != nil {
		conversion = crd.Spec.Conversion.Strategy
	}
	return strings.Join([]string{
		"plural=" + names.Plural,
		"singular=" + names.Singular,
		"shortNames=" + strings.Join(names.ShortNames, ","),
		"categories=" + strings.Join(names.Categories, ","),
		"subresources=" + strings.Join(subresources, ","),
		"served=" + strconv.FormatBool(version.Served),
		"deprecated=" + strconv.FormatBool(version.Deprecated),
		"conversion=" + string(conversion),
		"columns=" + strings.Join(columns, " , "),
	}, "; ")
}

// flattening collects the rows of one version.
type flattening struct {
	rows                 map[node]row
	kind, scope, storage string
}

func (f flattening) add(path string, r row) {
	r.Scope, r.Storage = f.scope, f.storage
	f.rows[node{f.kind, path}] = r
}

// property adds a named field and what is below it.
func (f flattening) property(s apiextensionsv1.JSONSchemaProps, path string, required bool) {
	r := rowOf(s)
	r.Required = yesNo(required)
	f.add(path, r)
	f.below(s, path)
}

// element adds items or map values, when they say more than a scalar type, and what is below them.
func (f flattening) element(s apiextensionsv1.JSONSchemaProps, path string) {
	r := rowOf(s)
	own := r.Enum != "" || r.Default != "" || r.Constraints != ""
	leaf := s.Properties == nil && s.Items == nil
	scalar := slices.Contains([]string{"string", "integer", "boolean", "number"}, s.Type)
	if own || leaf && !scalar {
		f.add(path, r)
	}
	f.below(s, path)
}

func (f flattening) below(s apiextensionsv1.JSONSchemaProps, path string) {
	for name, property := range s.Properties {
		f.property(property, path+"."+name, slices.Contains(s.Required, name))
	}
	if s.Items != nil && s.Items.Schema != nil {
		f.element(*s.Items.Schema, path+"[]")
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		f.element(*s.AdditionalProperties.Schema, path+"{}")
	}
}

func rowOf(s apiextensionsv1.JSONSchemaProps) row {
	r := row{
		Type:        typeOf(s),
		Constraints: strings.Join(append(limitsOf(s), rulesOf(s)...), "; "),
		Markers:     markersOf(s),
	}
	if s.Default != nil {
		r.Default = canonical(s.Default.Raw)
	}
	var values []string
	for _, value := range s.Enum {
		values = append(values, text(value.Raw))
	}
	r.Enum = strings.Join(values, "|")
	return r
}

func typeOf(s apiextensionsv1.JSONSchemaProps) string {
	switch {
	case s.XIntOrString:
		return "int-or-string"
	case s.Type == "array" && s.Items != nil && s.Items.Schema != nil:
		return "array<" + typeOf(*s.Items.Schema) + ">"
	case s.Type == "array":
		return "array<unknown>"
	case s.Type == "object" && s.Properties != nil:
		return "object"
	case s.Type == "object" && s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return "map<" + typeOf(*s.AdditionalProperties.Schema) + ">"
	case s.Type == "object":
		return "any-object"
	case s.Type != "":
		return s.Type
	case s.XPreserveUnknownFields != nil && *s.XPreserveUnknownFields:
		return "any"
	}
	return "unknown"
}

// limitsOf are the constraints of OpenAPI, in the table's order.
func limitsOf(s apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	say := func(name, value string) {
		if value != "" {
			// A table has no tabs or line breaks in its cells.
			out = append(out, name+"="+strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(value))
		}
	}
	say("format", s.Format)
	say("pattern", s.Pattern)
	say("minimum", float(s.Minimum))
	say("maximum", float(s.Maximum))
	say("exclusiveMinimum", yes(s.ExclusiveMinimum))
	say("exclusiveMaximum", yes(s.ExclusiveMaximum))
	say("multipleOf", float(s.MultipleOf))
	say("minLength", integer(s.MinLength))
	say("maxLength", integer(s.MaxLength))
	say("minItems", integer(s.MinItems))
	say("maxItems", integer(s.MaxItems))
	say("minProperties", integer(s.MinProperties))
	say("maxProperties", integer(s.MaxProperties))
	say("uniqueItems", yes(s.UniqueItems))
	say("nullable", yes(s.Nullable))
	return out
}

// rulesOf are combinations of schemas and CEL rules, in the table's order.
func rulesOf(s apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	if len(s.AnyOf) > 0 && !s.XIntOrString { // the two types of an int-or-string say nothing new
		out = append(out, "anyOf="+bare(s.AnyOf))
	}
	if len(s.OneOf) > 0 {
		out = append(out, "oneOf="+bare(s.OneOf))
	}
	if len(s.AllOf) > 0 {
		out = append(out, "allOf="+bare(s.AllOf))
	}
	if s.Not != nil {
		out = append(out, "not="+bare(s.Not))
	}
	for _, rule := range s.XValidations {
		cel := "CEL(" + rule.Rule + ")"
		if rule.Message != "" {
			cel += " msg=" + rule.Message
		}
		out = append(out, cel)
	}
	return out
}

func markersOf(s apiextensionsv1.JSONSchemaProps) string {
	var out []string
	if s.XListType != nil {
		out = append(out, "list-type="+*s.XListType)
	}
	if s.XListMapKeys != nil {
		out = append(out, "list-map-keys="+encode(s.XListMapKeys))
	}
	if s.XMapType != nil {
		out = append(out, "map-type="+*s.XMapType)
	}
	if s.XPreserveUnknownFields != nil {
		out = append(out, "preserve-unknown-fields="+strconv.FormatBool(*s.XPreserveUnknownFields))
	}
	if s.XEmbeddedResource {
		out = append(out, "embedded-resource=true")
	}
	return strings.Join(out, "; ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// yes is "true" or nothing.
func yes(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func float(f *float64) string {
	if f == nil {
		return ""
	}
	return strconv.FormatFloat(*f, 'f', -1, 64)
}

func integer(i *int64) string {
	if i == nil {
		return ""
	}
	return strconv.FormatInt(*i, 10)
}

// text is a JSON string without its quotes; any other value as it is.
func text(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return canonical(raw)
}

// canonical is JSON with sorted keys and no spaces.
func canonical(raw []byte) string {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return string(raw)
	}
	return encode(v)
}

// bare is a schema in JSON without its descriptions.
func bare(schema any) string {
	var v any
	if err := json.Unmarshal([]byte(encode(schema)), &v); err != nil {
		return err.Error()
	}
	return encode(undescribed(v))
}

func undescribed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "description")
		for name, value := range v {
			v[name] = undescribed(value)
		}
	case []any:
		for i, value := range v {
			v[i] = undescribed(value)
		}
	}
	return v
}

// encode is JSON with characters such as < left alone.
func encode(v any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out.String())
}
