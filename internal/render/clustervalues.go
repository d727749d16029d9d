package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// clusterValues is cluster.values in expressions, or a map below it. Like clusterFacts it remembers what was missing, with the
// complete path, and a value on which ClusterValues do not agree is an error for those who read it, and for nobody else.
type clusterValues struct {
	traits.Mapper
	table  map[string]any
	values *fleet.Values
	prefix string // "ingress." below ingress
	failed *valuesFailure
}

// valuesFailure is why the last expression failed, shared by all maps of one cluster.
type valuesFailure struct {
	missed   *missingFact
	conflict *fleet.ValueConflict
}

func valuesOf(values *fleet.Values) *clusterValues {
	if values == nil {
		values = &fleet.Values{}
	}
	return below(values, values.Table, "", &valuesFailure{})
}

func below(values *fleet.Values, table map[string]any, prefix string, failed *valuesFailure) *clusterValues {
	return &clusterValues{
		Mapper: types.NewStringInterfaceMap(types.DefaultTypeAdapter, table),
		table:  table, values: values, prefix: prefix, failed: failed,
	}
}

// Find gives the value of a key.
func (v *clusterValues) Find(key ref.Val) (ref.Val, bool) {
	name, isText := key.Value().(string)
	path := v.prefix + name
	if c := v.values.Conflict(path); isText && c != nil && (c.Problem != "" || len(c.Path) <= len(path)) {
		v.failed.conflict = c
		return types.WrapErr(*c), true
	}
	value, ok := v.table[name]
	if !isText || !ok {
		v.failed.missed = &missingFact{kind: "value", key: name, path: path}
		return nil, false
	}
	if table, isTable := value.(map[string]any); isTable {
		return below(v.values, table, path+".", v.failed), true
	}
	return types.DefaultTypeAdapter.NativeToValue(value), true
}

// Get is Find for a key that must be there.
func (v *clusterValues) Get(key ref.Val) ref.Val {
	value, ok := v.Find(key)
	if !ok {
		return types.WrapErr(v.failed.missed)
	}
	return value
}

// clusterValuesLayer is the layer of helm.clusterValues, nil if the cluster has no values there.
func clusterValuesLayer(in Input, resolved *Resolved) (*Layer, error) {
	path := resolved.Application.Spec.Helm.ClusterValues
	if path == "" {
		return nil, nil
	}
	field := resolved.fieldOf("helm.clusterValues")
	values := in.ClusterValues
	if values == nil {
		values = &fleet.Values{}
	}
	below := path
	if path == "." {
		below = ""
	}
	if c := values.Conflict(below); c != nil {
		return nil, in.at(fleet.ValuesConflict, field, c.Error())
	}
	value, ok := values.At(path)
	if !ok {
		if in.HasValues == nil || in.HasValues(path) {
			return nil, nil // others have some
		}
		return nil, in.at(fleet.ContentMissing, field, fmt.Sprintf("no ClusterValues for namespace %s has values at %s: correct the path, or define them", in.Application.Namespace, path))
	}
	table, isTable := value.(map[string]any)
	if !isTable {
		return nil, in.at(fleet.DefinitionInvalid, field, fmt.Sprintf("cluster.values has no map at %s: name the map that holds the chart's values", path))
	}
	data, err := fleet.CanonicalJSON(table)
	if err != nil {
		return nil, fmt.Errorf("cluster values at %s: %w", path, err)
	}
	l := &Layer{Name: "cluster values", Data: data, Places: map[string]Place{}}
	for p := range flatten(table, "") {
		whole := p
		if below != "" {
			whole = below + "." + p
		}
		place, _ := values.Place(whole)
		l.Places[p] = Place{Name: place.String(), File: place.File, Line: place.Line}
	}
	return l, nil
}

// readsValues finds an expression that reads cluster.values in the JSON of an application.
var readsValues = regexp.MustCompile(`cluster(\\[nt]|\s)*\.(\\[nt]|\s)*values`)

// ReadsClusterValues tells whether an application depends on ClusterValues.
func ReadsClusterValues(app *musterv1alpha1.Application) bool {
	data, err := json.Marshal(app.Spec)
	if err != nil {
		return true // it is not known
	}
	return bytes.Contains(data, []byte(`"clusterValues":`)) || bytes.Contains(data, []byte(openExpression)) && readsValues.Match(data)
}
