package render

import (
	"fmt"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// filesOf is what an application says of the files of its folder.
func filesOf(in Input, resolved *Resolved) (engine.Files, error) {
	y := resolved.Application.Spec.YAML
	if y == nil {
		return engine.Files{}, nil
	}
	f := engine.Files{Include: y.Include, Exclude: y.Exclude, Flat: y.Recurse != nil && !*y.Recurse}
	for _, field := range []struct {
		name     string
		patterns []string
	}{{"yaml.include", y.Include}, {"yaml.exclude", y.Exclude}} {
		for i, pattern := range field.patterns {
			if !doublestar.ValidatePattern(pattern) {
				return f, in.faultOf(fleet.DefinitionInvalid, resolved.fieldOf(fmt.Sprintf("%s[%d]", field.name, i)), "is no pattern: a [ or a { is not closed")
			}
		}
	}
	return f, nil
}
