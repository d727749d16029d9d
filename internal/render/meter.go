package render

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
)

// A template is a program, written by whoever may push to a repository, and it runs in the hub. A meter counts what one run
// of it costs, and ends it with a fault of its author when a bound is passed. Nothing of it is measured in seconds or in
// free memory: the same input passes the same bound everywhere.

// limits are the bounds of one run.
type limits struct {
	// steps: one for a node of a template that is executed, and more for a function that takes long over large arguments.
	steps int64
	// levels that templates, blocks and parentheses may be nested, all together: each needs some of the stack.
	levels int64
	// value is the size in bytes of one value, as text: of a result, an argument, or a rendered file.
	value int64
	// made is the bytes of all results and all output in sum, as if nothing of it were ever given back.
	made int64
}

// chartLimits are far above what charts need: the charts of examples/ take some hundred steps, 2,000 objects made in a loop
// 35,000, and fifty dashboards of 90 KiB, each rendered by tpl, a million steps and 40 MiB. A chart that goes to the bounds
// costs seconds, and less than 300 MiB.
var chartLimits = limits{steps: 4_000_000, levels: 10_000, value: 16 << 20, made: 256 << 20}

const (
	// maxActions in one template text: the parser needs some of the stack for each block that is nested.
	maxActions = 50_000
	// maxNesting of a value, as writers of JSON and YAML go down into it. A value that holds itself has no end.
	maxNesting = 1000
	// maxDecoded is the size of a text that a function may parse as YAML, JSON or TOML: a tree takes a hundred times that.
	maxDecoded = 1 << 20
	// bytesPerStep is how many bytes a function that reads its arguments once gets through in about the time of a step.
	bytesPerStep = 64
	// actionCost is how many bytes of memory a byte of an action takes when it is parsed.
	actionCost = 32
	// entryCost and elementCost are what a map and a list take for each value in them.
	entryCost   = 64
	elementCost = 16
)

// meter counts what one run costs.
type meter struct {
	limits
	steps, levels, made int64
	// passed is the first bound that was passed. Some functions swallow errors; this stays.
	passed error
}

func newMeter(l limits) *meter { return &meter{limits: l} }

// ErrTooCostly is behind a fault that was found by going to a bound, whatever its reason.
var ErrTooCostly = errors.New("a bound of rendering was passed")

// unbounded is the error of a run that passed a bound. It says which, and quotes no value.
type unbounded struct{ message string }

func (e *unbounded) Error() string { return e.message }

// Is makes it ErrTooCostly.
func (*unbounded) Is(target error) bool { return target == ErrTooCostly }

// addressed is the error of a run that writes where something is in memory.
type addressed struct{ message string }

func (e *addressed) Error() string { return e.message }

func (m *meter) pass(format string, args ...any) error {
	if m.passed == nil {
		m.passed = &unbounded{fmt.Sprintf(format, args...)}
	}
	return m.passed
}

// step counts n steps.
func (m *meter) step(n int64) error {
	m.steps += n
	if m.steps > m.limits.steps || n < 0 || m.passed != nil {
		return m.pass("takes more than %d steps: look for a range, include or tpl that does not end, or that goes over too much", m.limits.steps)
	}
	return nil
}

// enter begins a template that is n levels deep in itself.
func (m *meter) enter(n int64) error {
	m.levels += n
	if m.levels > m.limits.levels {
		return m.pass("nests templates and blocks more than %d levels deep: look for an include, template or tpl that leads back to itself", m.limits.levels)
	}
	return nil
}

// leave ends it.
func (m *meter) leave(n int64) { m.levels -= n }

// room tells whether a value of n bytes may be made.
func (m *meter) room(function string, n int64) error {
	if n > m.limits.value || n < 0 {
		return m.pass("makes or takes a value of more than %s in %s, or one that holds itself: make it smaller, or in parts", size(m.limits.value), function)
	}
	if m.made+n > m.limits.made {
		return m.spend(n)
	}
	return nil
}

// make counts a value of n bytes that was made.
func (m *meter) make(function string, n int64) error {
	if err := m.room(function, n); err != nil {
		return err
	}
	return m.spend(n)
}

// spend counts n bytes.
func (m *meter) spend(n int64) error {
	m.made += n
	if m.made > m.limits.made {
		return m.pass("makes more than %s in all: look for a loop or a template that repeats its result", size(m.limits.made))
	}
	return nil
}

func size(bytes int64) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// product multiplies without running over.
func product(a, b int64) int64 {
	if a > 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}

// output is a text that a template writes.
type output struct {
	strings.Builder
	meter *meter
}

// Write counts before it keeps.
func (o *output) Write(p []byte) (int, error) {
	if int64(o.Len()+len(p)) > o.meter.limits.value {
		return 0, o.meter.room("one file or template", math.MaxInt64)
	}
	if err := o.meter.make("one file or template", int64(len(p))); err != nil {
		return 0, err
	}
	return o.Builder.Write(p)
}

// extent is how large a value is when it is written down or copied. Parts that are shared count as often as they are met.
type extent struct {
	nodes, bytes int64
	// address is true when a value is met of which fmt prints nothing but its address.
	address bool
}

// measure goes through a value before a function does that would not stop.
func (m *meter) measure(function string, value any) (extent, error) {
	var e extent
	if !m.fits(value, 0, &e) {
		return e, m.room(function, math.MaxInt64)
	}
	return e, m.step(e.nodes + e.bytes/bytesPerStep)
}

func (m *meter) fits(value any, depth int, e *extent) bool {
	e.nodes++
	e.bytes += 8 + 2*int64(depth) // punctuation, and the indentation that YAML gives it
	if depth > maxNesting || e.bytes > m.limits.value {
		return false
	}
	switch v := value.(type) {
	case nil, bool, int, int64, float64:
	case string:
		e.bytes += int64(len(v))
		if depth > 0 && len(v) > 64 {
			e.bytes += 2 * int64(depth) * int64(strings.Count(v, "\n"))
		}
	case map[string]any:
		for key, below := range v {
			e.bytes += int64(len(key))
			if !m.fits(below, depth+1, e) {
				return false
			}
		}
	case []any:
		for _, below := range v {
			if !m.fits(below, depth+1, e) {
				return false
			}
		}
	case fmt.Stringer, error:
		e.bytes += 64
	default:
		return m.reflected(reflect.ValueOf(value), depth, e)
	}
	return e.bytes <= m.limits.value
}

// reflected is fits for types that are not those of JSON.
func (m *meter) reflected(v reflect.Value, depth int, e *extent) bool {
	if e.bytes > m.limits.value || depth > maxNesting {
		return false
	}
	switch v.Kind() {
	case reflect.String:
		e.bytes += int64(v.Len())
	case reflect.Interface:
		return v.IsNil() || m.below(v.Elem(), depth, e)
	case reflect.Pointer:
		e.address = e.address || depth > 0 && !v.IsNil()
		return v.IsNil() || m.below(v.Elem(), depth, e)
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			if !m.below(entries.Key(), depth, e) || !m.below(entries.Value(), depth, e) {
				return false
			}
		}
	case reflect.Slice, reflect.Array:
		return m.listed(v, depth, e)
	case reflect.Struct:
		for i := range v.NumField() {
			if !m.below(v.Field(i), depth, e) {
				return false
			}
		}
	}
	return e.bytes <= m.limits.value
}

func (m *meter) listed(list reflect.Value, depth int, e *extent) bool {
	if list.Type().Elem().Kind() <= reflect.Complex128 { // numbers
		e.bytes += 4 * int64(list.Len())
		return e.bytes <= m.limits.value
	}
	for i := range list.Len() {
		if !m.below(list.Index(i), depth, e) {
			return false
		}
	}
	return true
}

func (m *meter) below(v reflect.Value, depth int, e *extent) bool {
	if v.CanInterface() {
		return m.fits(v.Interface(), depth+1, e)
	}
	e.nodes++
	e.bytes += 8
	return m.reflected(v, depth+1, e)
}
