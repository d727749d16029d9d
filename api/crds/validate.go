package crds

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	openapierrors "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// Problem is a field that the schema does not allow as it is.
type Problem struct {
	// Field is its path, such as spec.sync.drift or spec.taints[0].effect.
	Field string
	// Message says what the schema wants; it does not quote the value.
	Message string
}

// Validate compares an object with its schema as an API server does, but for the CEL rules: required fields, types, enums,
// bounds, patterns. The problems are sorted by field. An object of a kind that is not defined here has none.
func Validate(object map[string]any) []Problem {
	schema := schemaOf(object)
	if schema == nil {
		return nil
	}
	var problems []Problem
	for _, err := range validatorOf(fmt.Sprint(object["apiVersion"], " ", object["kind"]), schema).Validate(object).Errors {
		var v *openapierrors.Validation
		if errors.As(err, &v) {
			problems = append(problems, Problem{Field: fieldPath(v.Name), Message: plainMessage(v)})
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Field+a.Message, b.Field+b.Message) })
	return slices.Compact(problems)
}

var index = regexp.MustCompile(`\.(\d+)(\.|$)`)

// fieldPath writes the index of a list as people do.
func fieldPath(name string) string {
	name = strings.TrimPrefix(name, ".")
	for index.MatchString(name) {
		name = index.ReplaceAllString(name, "[$1]$2")
	}
	return name
}

func plainMessage(v *openapierrors.Validation) string {
	message := strings.TrimPrefix(v.Error(), v.Name+" ")
	return strings.TrimPrefix(strings.TrimPrefix(message, "in body "), "is ")
}

// validators are those of the schemas, by the same keys.
var validators sync.Map

func validatorOf(key string, plain map[string]any) *validate.SchemaValidator {
	if known, ok := validators.Load(key); ok {
		return known.(*validate.SchemaValidator)
	}
	data, err := stdjson.Marshal(plain)
	schema := &spec.Schema{}
	if err == nil {
		err = stdjson.Unmarshal(data, schema)
	}
	if err != nil {
		panic(err) // the definitions are part of the binary
	}
	validator := validate.NewSchemaValidator(schema, nil, "", strfmt.Default)
	validators.Store(key, validator)
	return validator
}
