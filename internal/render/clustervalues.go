package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/expression"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// clusterValuesLayer is the layer of helm.clusterValues, nil if the cluster has no values there.
func clusterValuesLayer(in Input, resolved *Resolved) (*engine.Layer, error) {
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
		return nil, in.faultOf(fleet.ValuesConflict, field, c.Error())
	}
	value, ok := values.At(path)
	if !ok {
		if in.HasValues == nil || in.HasValues(path) {
			return nil, nil // others have some
		}
		return nil, in.faultOf(fleet.ContentMissing, field, fmt.Sprintf("no ClusterValues for namespace %s has values at %s: correct the path, or define them", in.Application.Namespace, path))
	}
	table, isTable := value.(map[string]any)
	if !isTable {
		return nil, in.faultOf(fleet.DefinitionInvalid, field, fmt.Sprintf("cluster.values has no map at %s: name the map that holds the chart's values", path))
	}
	data, err := fleet.CanonicalJSON(table)
	if err != nil {
		return nil, fmt.Errorf("cluster values at %s: %w", path, err)
	}
	l := &engine.Layer{Name: "cluster values", Data: data, Places: map[string]engine.Place{}}
	for p := range flatten(table, "") {
		full := p
		if below != "" {
			full = below + "." + p
		}
		place, _ := values.Place(full)
		l.Places[p] = engine.Place{Name: place.String(), File: place.File, Line: place.Line}
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
	return bytes.Contains(data, []byte(`"clusterValues":`)) || bytes.Contains(data, []byte(`"clusterValue":`)) || bytes.Contains(data, []byte(expression.Open)) && readsValues.Match(data)
}
