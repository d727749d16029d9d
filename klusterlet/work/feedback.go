package work

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/client-go/util/jsonpath"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// wellKnown are the values that OCM's rule WellKnownStatus reports, by kind: name of the value and where it is. A path
// with ?(@.type) names a condition.
var wellKnown = map[string][]workv1.JsonPath{
	"apps/Deployment": {
		{Name: "ReadyReplicas", Path: ".status.readyReplicas"},
		{Name: "Replicas", Path: ".status.replicas"},
		{Name: "AvailableReplicas", Path: ".status.availableReplicas"},
	},
	"apps/DaemonSet": {
		{Name: "NumberReady", Path: ".status.numberReady"},
		{Name: "DesiredNumberScheduled", Path: ".status.desiredNumberScheduled"},
		{Name: "NumberAvailable", Path: ".status.numberAvailable"},
	},
	"batch/Job": {
		{Name: "JobComplete", Path: `.status.conditions[?(@.type=="Complete")].status`},
		{Name: "JobSucceeded", Path: ".status.succeeded"},
	},
	"/Pod": {
		{Name: "PodReady", Path: `.status.conditions[?(@.type=="Ready")].status`},
		{Name: "PodPhase", Path: ".status.phase"},
	},
}

// feedbackOf reads the values that rules ask for. What is not there yet is left out; what cannot be read is an error,
// and the other values are still there.
func feedbackOf(object map[string]any, group, version, kind string, rules []workv1.FeedbackRule, raw rawValues) ([]workv1.FeedbackValue, error) {
	var (
		values []workv1.FeedbackValue
		errs   []error
		named  = map[string]bool{}
	)
	for _, rule := range rules {
		paths := rule.JsonPaths
		if rule.Type == workv1.WellKnownStatusType {
			known, ok := wellKnown[group+"/"+kind]
			if !ok {
				errs = append(errs, fmt.Errorf("no well known status of %s", kind))
				continue
			}
			paths = known
		}
		for _, path := range paths {
			if named[path.Name] {
				continue
			}
			value, found, err := valueAt(object, version, path, raw)
			if err != nil {
				errs = append(errs, fmt.Errorf("read %s at %s: %w", path.Name, path.Path, err))
			} else if found {
				named[path.Name] = true
				values = append(values, workv1.FeedbackValue{Name: path.Name, Value: value})
			}
		}
	}
	return values, errors.Join(errs...)
}

func valueAt(object map[string]any, version string, path workv1.JsonPath, raw rawValues) (workv1.FieldValue, bool, error) {
	if path.Version != "" && path.Version != version {
		return workv1.FieldValue{}, false, fmt.Errorf("the path is for version %s and the manifest is of %s", path.Version, version)
	}
	parser := jsonpath.New(path.Name).AllowMissingKeys(true)
	expression := path.Path
	if !strings.HasPrefix(expression, "{") {
		if !strings.HasPrefix(expression, ".") && !strings.HasPrefix(expression, "[") && !strings.HasPrefix(expression, "$") {
			expression = "." + expression
		}
		expression = "{" + expression + "}"
	}
	if err := parser.Parse(expression); err != nil {
		return workv1.FieldValue{}, false, fmt.Errorf("parse: %w", err)
	}
	results, err := parser.FindResults(object)
	if err != nil {
		return workv1.FieldValue{}, false, err
	}
	if len(results) == 0 || len(results[0]) == 0 {
		return workv1.FieldValue{}, false, nil
	}
	var found []any
	for _, result := range results[0] {
		if result.IsValid() && result.CanInterface() {
			found = append(found, result.Interface())
		}
	}
	switch {
	case len(found) == 0:
		return workv1.FieldValue{}, false, nil
	case len(found) == 1:
		return fieldValue(found[0], raw)
	case !raw.allowed:
		return workv1.FieldValue{}, false, errors.New("the path gives several values")
	}
	return fieldValue(found, raw)
}

// rawValues says whether a value that is a map or list may be reported, and how long its JSON may be, in bytes.
type rawValues struct {
	allowed bool
	longest int
}

func fieldValue(v any, raw rawValues) (workv1.FieldValue, bool, error) {
	switch v := v.(type) {
	case nil:
		return workv1.FieldValue{}, false, nil
	case int64:
		return workv1.FieldValue{Type: workv1.Integer, Integer: &v}, true, nil
	case string:
		return workv1.FieldValue{Type: workv1.String, String: &v}, true, nil
	case bool:
		return workv1.FieldValue{Type: workv1.Boolean, Boolean: &v}, true, nil
	}
	if !raw.allowed {
		return workv1.FieldValue{}, false, fmt.Errorf("a value of type %T cannot be reported", v)
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return workv1.FieldValue{}, false, fmt.Errorf("encode: %w", err)
	}
	text := strings.TrimSpace(b.String())
	if len(text) > raw.longest {
		return workv1.FieldValue{}, false, fmt.Errorf("the value has %d bytes, more than %d", len(text), raw.longest)
	}
	return workv1.FieldValue{Type: workv1.JsonRaw, JsonRaw: &text}, true, nil
}
