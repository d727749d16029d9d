package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
	_ "time/tzdata" // so that a zone is the same on a machine that has no list of them

	"github.com/BurntSushi/toml"
	"github.com/Masterminds/sprig/v3"
	"github.com/muster-io/muster/internal/fleet"
	"helm.sh/helm/v3/pkg/chartutil"
	goyaml "sigs.k8s.io/yaml/goyaml.v3"

	"sigs.k8s.io/yaml"
)

// Charts may call what Helm gives them: sprig's functions and Helm's own. Each is called through the meter, which knows of a
// function how its cost and its result follow from the arguments.

// manner is how a function deals with its arguments.
type manner int

const (
	deep    manner = iota // goes through all of them, as printing does; what is not listed below is taken to be so
	shallow               // reads texts, and the elements of lists and maps, but not into those
	passing               // gives one of its arguments, or a part of one, at once: nothing is made
	free                  // and reads next to nothing: it is not even counted
)

var manners = func() map[string]manner {
	of := map[string]manner{}
	for m, names := range map[manner]string{
		free: "default empty coalesce ternary kindOf kindIs typeOf typeIs typeIsLike hello required fail lookup getHostByName",
		passing: "set get unset hasKey first mustFirst last mustLast slice mustSlice dig all any unixEpoch date_modify dateModify " +
			"must_date_modify mustDateModify",
		shallow: "list tuple dict pluck keys values pick omit append push mustAppend mustPush prepend mustPrepend rest mustRest " +
			"initial mustInitial reverse mustReverse compact mustCompact concat chunk mustChunk int int64 float64 add add1 sub div mod mul " +
			"max min biggest maxf minf addf add1f subf divf mulf ceil floor round until untilStep seq",
	} {
		for name := range strings.FieldsSeq(names) {
			of[name] = m
		}
	}
	return of
}()

// function is one function of the map.
type function struct {
	name   string
	value  reflect.Value
	typ    reflect.Type // with an error as its second result
	manner manner
	check  func(m *meter, args []reflect.Value) error
}

// checks hold back what makes more than a few times its arguments, or takes more than one look at them.
var checks = map[string]func(m *meter, args []reflect.Value) error{
	"repeat": func(m *meter, args []reflect.Value) error {
		return m.room("repeat", product(max(args[0].Int(), 0), int64(args[1].Len())))
	},
	"indent": indentRoom, "nindent": indentRoom,
	"replace": func(m *meter, args []reflect.Value) error {
		found := int64(strings.Count(args[2].String(), args[0].String()))
		return m.room("replace", int64(args[2].Len())+product(found, int64(args[1].Len())))
	},
	"until": func(m *meter, args []reflect.Value) error { return m.count("until", 0, args[0].Int(), 1) },
	"untilStep": func(m *meter, args []reflect.Value) error {
		return m.count("untilStep", args[0].Int(), args[1].Int(), args[2].Int())
	},
	"seq": func(m *meter, args []reflect.Value) error {
		switch p := args[0].Interface().([]int); len(p) {
		case 1:
			return m.count("seq", 1, int64(p[0]), 1)
		case 2:
			return m.count("seq", int64(p[0]), int64(p[1]), 1)
		case 3:
			return m.count("seq", int64(p[0]), int64(p[2]), int64(p[1]))
		}
		return nil
	},
	"join": func(m *meter, args []reflect.Value) error {
		return m.room("join", product(int64(args[0].Len()), elements(args[1])))
	},
	"wrapWith": func(m *meter, args []reflect.Value) error {
		text := args[2].String()
		breaks := int64(strings.Count(text, " ")) + int64(len(text))/max(args[0].Int(), 1)
		return m.room("wrapWith", int64(len(text))+product(breaks, int64(args[1].Len())))
	},
	"splitList": func(m *meter, args []reflect.Value) error { return m.parts("splitList", args[0], args[1], elementCost) },
	"split":     func(m *meter, args []reflect.Value) error { return m.parts("split", args[0], args[1], entryCost) },
	"splitn":    func(m *meter, args []reflect.Value) error { return m.parts("splitn", args[0], args[2], entryCost) },
	"printf": func(m *meter, args []reflect.Value) error {
		return m.format(args[0].String(), args[1].Interface().([]any))
	},
	"dict": func(m *meter, args []reflect.Value) error { // keys are printed
		given := args[0].Interface().([]any)
		for i := 0; i < len(given); i += 2 {
			if _, text := given[i].(string); !text {
				if _, err := m.measure("dict", given[i]); err != nil {
					return err
				}
			}
		}
		return m.make("dict", entryCost*int64(len(given)/2))
	},
	"set":  func(m *meter, _ []reflect.Value) error { return m.make("set", entryCost) },
	"uniq": eachWithEach, "mustUniq": eachWithEach,
	"without": eachWithAll, "mustWithout": eachWithAll,
	"deepCopy": copied, "mustDeepCopy": copied, "merge": copied, "mustMerge": copied, "mergeOverwrite": copied, "mustMergeOverwrite": copied,
	"semver": versionLength, "semverCompare": versionLength,
	"derivePassword":  func(m *meter, _ []reflect.Value) error { return m.step(500_000) }, // scrypt: 32 MiB and a tenth of a second
	"buildCustomCert": func(m *meter, _ []reflect.Value) error { return m.step(2_000) },
}

func indentRoom(m *meter, args []reflect.Value) error {
	lines := int64(strings.Count(args[1].String(), "\n")) + 1
	return m.room("indent", int64(args[1].Len())+product(lines, max(args[0].Int(), 0)))
}

// count allows a sequence of numbers.
func (m *meter) count(function string, from, to, by int64) error {
	const far = 1 << 40 // so that sums cannot run over
	if max(from, to, by) > far || min(from, to, by) < -far {
		return m.room(function, math.MaxInt64)
	}
	turns := int64(0)
	if by != 0 {
		turns = max((to-from)/by, (from-to)/by)
	}
	if err := m.room(function, product(turns, elementCost)); err != nil {
		return err
	}
	return m.step(turns / 8)
}

// parts allows the pieces of a text.
func (m *meter) parts(function string, separator, text reflect.Value, each int64) error {
	return m.make(function, product(each, int64(strings.Count(text.String(), separator.String()))))
}

func elements(v reflect.Value) int64 {
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return int64(v.Len())
	}
	return 1
}

func eachWithEach(m *meter, args []reflect.Value) error {
	e, err := m.measure("uniq", args[0].Interface())
	if err != nil {
		return err
	}
	n := elements(args[0])
	return m.step(product(n, n/8+e.bytes/bytesPerStep))
}

func eachWithAll(m *meter, args []reflect.Value) error {
	e, err := m.measure("without", args[0].Interface())
	if err != nil {
		return err
	}
	n := elements(args[1])
	return m.step(product(n, elements(args[0])/8+e.bytes/bytesPerStep))
}

func copied(m *meter, args []reflect.Value) error {
	for _, arg := range args {
		e, err := m.measure("merge or deepCopy", arg.Interface())
		if err != nil {
			return err
		}
		if err := m.make("merge or deepCopy", e.nodes*entryCost); err != nil {
			return err
		}
	}
	return nil
}

// versionLength keeps what matches long patterns, and is copied by each method, short.
func versionLength(m *meter, args []reflect.Value) error {
	const longest = 4096
	for _, arg := range args {
		if arg.Len() > longest {
			return m.pass("takes a text of more than %d characters for a version", longest)
		}
	}
	return m.step(20)
}

// format allows the result of printf. fmt itself takes widths of up to a million.
func (m *meter) format(format string, args []any) error {
	const widest = 1_000_000
	var total, largest, wide int64
	for _, arg := range args {
		e, err := m.measure("printf", arg)
		if err != nil {
			return err
		}
		total, largest = total+e.bytes, max(largest, e.bytes)
		if n, ok := arg.(int); ok && strings.Contains(format, "*") {
			wide = max(wide, min(int64(n), widest), min(-int64(n), widest))
		}
	}
	bytes := int64(len(format)) + total
	for rest := format; ; {
		_, verb, ok := strings.Cut(rest, "%")
		if !ok {
			return m.room("printf", bytes)
		}
		end := strings.IndexFunc(verb, func(r rune) bool { return !strings.ContainsRune("+-# 0123456789.*[]", r) })
		if end < 0 {
			end = len(verb)
		}
		for number := range strings.FieldsFuncSeq(verb[:end], func(r rune) bool { return r < '0' || r > '9' }) {
			n, _ := strconv.ParseInt(number, 10, 64)
			bytes += min(n, widest)
		}
		bytes += product(wide, int64(strings.Count(verb[:end], "*")))
		if strings.Contains(verb[:end], "[") { // an argument that is taken again
			bytes += largest
		}
		rest = verb[end:]
		if letter := rest[:min(len(rest), 1)]; letter == "p" {
			return &addressed{"printf %p"}
		} else if letter != "" && strings.Contains("qxXvU", letter) && verb[:end] != "" {
			bytes += largest // longer than the text
		}
		rest = rest[min(len(rest), 1):]
		if bytes > m.limits.value {
			return m.room("printf", bytes)
		}
	}
}

// catalogue is what charts may call, but for what is made anew for each run.
var catalogue = func() []*function {
	all := sprig.TxtFuncMap()
	for _, name := range []string{"env", "expandenv"} { // the machine's
		delete(all, name)
	}
	maps.Copy(all, template.FuncMap{ // of text/template
		"print": fmt.Sprint, "printf": fmt.Sprintf, "println": fmt.Sprintln,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,
	})
	maps.Copy(all, template.FuncMap{ // of Helm
		"toYaml": toYAML, "toYamlPretty": toYAMLPretty, "toToml": toTOML, "toJson": toJSON,
		"lookup":        func(string, string, string, string) (map[string]any, error) { return map[string]any{}, nil },
		"getHostByName": func(string) string { return "" },
	})
	maps.Copy(all, template.FuncMap{ // as sprig has them, in an order
		"keys": keys, "values": values, "toDate": toDate, "mustToDate": mustToDate,
	})
	var functions []*function
	for name, value := range all {
		functions = append(functions, newFunction(name, value))
	}
	return functions
}()

func newFunction(name string, value any) *function {
	f := &function{name: name, value: reflect.ValueOf(value), manner: manners[name], check: checks[name]}
	var in []reflect.Type
	for i := range f.value.Type().NumIn() {
		in = append(in, f.value.Type().In(i))
	}
	out := []reflect.Type{f.value.Type().Out(0), reflect.TypeFor[error]()}
	f.typ = reflect.FuncOf(in, out, f.value.Type().IsVariadic())
	return f
}

// textFunctions are those whose result is nothing to look through.
var textFunctions = func() map[string]bool {
	is := map[string]bool{}
	note := func(name string, typ reflect.Type) {
		kind := typ.Out(0).Kind()
		is[name] = kind == reflect.String || kind <= reflect.Complex128
	}
	for _, f := range catalogue {
		note(f.name, f.typ)
	}
	for name, function := range random {
		note(name, reflect.TypeOf(function(nil, nil)))
	}
	is["include"], is["tpl"] = true, true
	return is
}()

// bind gives the function as a template calls it, counted by m.
func (f *function) bind(m *meter) any {
	if f.manner == free {
		return f.value.Interface()
	}
	call := f.value.Call
	if f.typ.IsVariadic() {
		call = f.value.CallSlice
	}
	return reflect.MakeFunc(f.typ, func(args []reflect.Value) []reflect.Value {
		if err := f.before(m, args); err != nil {
			return f.failed(err)
		}
		out := call(args)
		if len(out) == 2 && !out[1].IsNil() {
			return out
		}
		if err := f.after(m, args, out[0]); err != nil {
			return f.failed(err)
		}
		return []reflect.Value{out[0], noError}
	}).Interface()
}

var noError = reflect.Zero(reflect.TypeFor[error]())

func (f *function) failed(err error) []reflect.Value {
	return []reflect.Value{reflect.Zero(f.typ.Out(0)), reflect.ValueOf(&err).Elem()}
}

func (f *function) before(m *meter, args []reflect.Value) error {
	if f.manner == deep {
		if err := f.walk(m, args); err != nil {
			return err
		}
	} else if err := m.step(f.glance(args)); err != nil {
		return err
	}
	if f.check != nil {
		return f.check(m, args)
	}
	return nil
}

// walk measures the arguments, all together.
func (f *function) walk(m *meter, args []reflect.Value) error {
	var e extent
	for i, arg := range args {
		depth := 0
		if f.typ.IsVariadic() && i == len(args)-1 {
			depth = -1 // its elements are the arguments
		}
		if !m.fits(arg.Interface(), depth, &e) {
			return m.room(f.name, math.MaxInt64)
		}
	}
	if e.address && printing[f.name] {
		return &addressed{f.name}
	}
	return m.step((e.nodes + e.bytes/bytesPerStep) * max(writing[f.name], 1))
}

// writing are functions that take longer than to go through a value, by how much.
var writing = map[string]int64{
	"toYaml": 8, "toYamlPretty": 8, "toToml": 4, "toJson": 2, "mustToJson": 2, "toPrettyJson": 4, "mustToPrettyJson": 4,
	"toRawJson": 2, "mustToRawJson": 2, "deepCopy": 4, "mustDeepCopy": 4, "merge": 4, "mustMerge": 4, "mergeOverwrite": 4, "mustMergeOverwrite": 4,
}

// printing are functions that write a value as fmt does.
var printing = map[string]bool{
	"print": true, "printf": true, "println": true, "html": true, "js": true, "urlquery": true, "quote": true, "squote": true,
	"cat": true, "toString": true, "toStrings": true, "join": true, "sortAlpha": true, "toDecimal": true,
}

// glance is what it takes to read texts, and in a shallow function the elements of lists and maps.
func (f *function) glance(args []reflect.Value) int64 {
	var n int64
	for i, arg := range args {
		for arg.Kind() == reflect.Interface {
			arg = arg.Elem()
		}
		switch arg.Kind() {
		case reflect.String:
			n += int64(arg.Len()) / bytesPerStep
		case reflect.Slice, reflect.Map:
			if f.manner == shallow {
				n += int64(arg.Len()) / 4
			}
		}
		if given, ok := variadic(f, i, arg); ok {
			for _, value := range given {
				if text, ok := value.(string); ok {
					n += int64(len(text)) / bytesPerStep
				}
			}
		}
	}
	return n
}

// variadic gives the arguments that a function takes in any number.
func variadic(f *function, i int, arg reflect.Value) ([]any, bool) {
	if !f.typ.IsVariadic() || i != f.typ.NumIn()-1 {
		return nil, false
	}
	given, ok := arg.Interface().([]any)
	return given, ok
}

// after counts what was made.
func (f *function) after(m *meter, args []reflect.Value, result reflect.Value) error {
	if f.manner == passing {
		return nil
	}
	for result.Kind() == reflect.Interface {
		result = result.Elem()
	}
	switch result.Kind() {
	case reflect.String:
		return m.make(f.name, int64(result.Len()))
	case reflect.Slice:
		return m.make(f.name, bytesOf(result))
	case reflect.Map:
		if slices.ContainsFunc(args, func(arg reflect.Value) bool { return sameMap(arg, result) }) {
			return nil
		}
		return m.make(f.name, entryCost*int64(result.Len()))
	}
	return nil
}

func sameMap(arg, result reflect.Value) bool {
	for arg.Kind() == reflect.Interface {
		arg = arg.Elem()
	}
	return arg.Kind() == reflect.Map && arg.Pointer() == result.Pointer()
}

// guards are the functions that are put into trees.
func (m *meter) guards() template.FuncMap {
	return template.FuncMap{
		stepName: func(n int64) (bool, error) { return false, m.step(n) },
		enterName: func(nodes, levels int64) (bool, error) {
			if err := m.enter(levels); err != nil {
				return false, err
			}
			return false, m.step(nodes)
		},
		leaveName:    func(levels int64) bool { m.leave(levels); return false },
		rangedName:   m.ranged,
		printedName:  func(v reflect.Value) (reflect.Value, error) { return v, m.printed("what is printed", v) },
		comparedName: func(v reflect.Value) (reflect.Value, error) { return v, m.printed("a comparison", v) },
		madeName:     m.madeByMethod,
		receiverName: m.receiver,
	}
}

// ranged looks at what a range goes over: a map is sorted first.
func (m *meter) ranged(v reflect.Value) (reflect.Value, error) {
	inner := v
	for inner.Kind() == reflect.Interface || inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	if inner.Kind() != reflect.Map {
		return v, nil
	}
	n := int64(inner.Len())
	if n > 1000 {
		if err := m.make("range", n*entryCost); err != nil {
			return v, err
		}
	}
	return v, m.step(n)
}

// printed looks at a value before fmt prints it.
func (m *meter) printed(where string, v reflect.Value) error {
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.String:
		return m.step(int64(v.Len()) / bytesPerStep)
	case reflect.Map, reflect.Slice, reflect.Array, reflect.Struct, reflect.Pointer:
		e, err := m.measure(where, v.Interface())
		if err == nil && e.address {
			err = &addressed{where}
		}
		return err
	}
	return nil
}

func (m *meter) madeByMethod(v reflect.Value) (reflect.Value, error) {
	switch v.Kind() {
	case reflect.String:
		return v, m.make("a method", int64(v.Len()))
	case reflect.Slice:
		return v, m.make("a method", bytesOf(v))
	case reflect.Map:
		return v, m.make("a method", entryCost*int64(v.Len()))
	}
	return v, nil
}

// bytesOf is the size of a list without what its elements point to.
func bytesOf(list reflect.Value) int64 { return int64(list.Len()) * int64(list.Type().Elem().Size()) }

// receiver looks at the value of a method that goes through all of it, or that asks the machine.
func (m *meter) receiver(method string, v reflect.Value) (reflect.Value, error) {
	inner := v
	for inner.Kind() == reflect.Interface {
		inner = inner.Elem()
	}
	if v.IsValid() && !inner.IsValid() {
		return v, fmt.Errorf("nil pointer evaluating interface {}.%s", method) // as text/template would say without this
	}
	if !v.IsValid() || !inner.CanInterface() {
		return v, nil
	}
	switch value := inner.Interface().(type) {
	case chartutil.Values:
		if method != "YAML" {
			return v, nil
		}
		e, err := m.measure(method, value)
		if err == nil {
			err = m.make(method, 2*e.bytes)
		}
		return v, err
	case chartFiles:
		if method == "Glob" {
			return v, m.step(2 * int64(len(value)))
		}
		var all int64
		for _, data := range value {
			all += int64(len(data))
		}
		if err := m.step(all / 8); err != nil {
			return v, err
		}
		return v, m.make(method, 2*all)
	case time.Time, *time.Time:
		return v, &addressed{"Local, the time zone of the machine,"}
	}
	return v, nil
}

// keys and values, which sprig gives in the order of a Go map.
func keys(tables ...map[string]any) []string {
	all := []string{}
	for _, table := range tables {
		all = append(all, slices.Sorted(maps.Keys(table))...)
	}
	return all
}

func values(table map[string]any) []any {
	all := []any{}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		all = append(all, table[key])
	}
	return all
}

// toDate and mustToDate read a date in UTC, where sprig takes the zone of the machine.
func toDate(layout, text string) time.Time {
	t, _ := time.ParseInLocation(layout, text, time.UTC)
	return t
}

func mustToDate(layout, text string) (time.Time, error) {
	return time.ParseInLocation(layout, text, time.UTC)
}

// What follows are Helm's functions, which swallow errors, as they are in its engine.

func toYAML(v any) string {
	data, err := yaml.Marshal(v)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(data), "\n")
}

func toYAMLPretty(v any) string {
	var data bytes.Buffer
	encoder := goyaml.NewEncoder(&data)
	encoder.SetIndent(2)
	if err := encoder.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSuffix(data.String(), "\n")
}

func toTOML(v any) string {
	var data bytes.Buffer
	if err := toml.NewEncoder(&data).Encode(v); err != nil {
		return err.Error()
	}
	return data.String()
}

func toJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(data)
}

// decoded parses a text into a value, within bounds.
func (m *meter) decoded(function, text string, into any, decode func([]byte, any) error) error {
	if len(text) > maxDecoded {
		return m.pass("parses a text of more than %s with %s: parse it in parts", size(maxDecoded), function)
	}
	if err := m.step(int64(len(text)) / 8); err != nil {
		return err
	}
	if err := decode([]byte(text), into); err != nil {
		if errors.Is(err, fleet.ErrExpands) {
			return m.pass("parses a text with %s that becomes far more than it is: write it without aliases", function)
		}
		return err
	}
	e, err := m.measure(function, reflect.ValueOf(into).Elem().Interface())
	if err == nil {
		err = m.make(function, e.nodes*entryCost+e.bytes)
	}
	return err
}

func decodeYAML(data []byte, into any) error {
	if err := fleet.AliasesFit(data); err != nil {
		return err
	}
	return yaml.Unmarshal(data, into)
}

// decodeTOML bounds how deep its parser goes down.
func decodeTOML(data []byte, into any) error {
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > maxActions {
		return fleet.ErrExpands
	}
	return toml.Unmarshal(data, into)
}

// decoders are Helm's functions that parse: errors become part of the result.
func (m *meter) decoders() template.FuncMap {
	table := func(name string, decode func([]byte, any) error) func(string) (map[string]any, error) {
		return func(text string) (map[string]any, error) {
			into := map[string]any{}
			err := m.decoded(name, text, &into, decode)
			if err != nil && m.passed == nil {
				into["Error"] = err.Error()
			}
			return into, m.passed
		}
	}
	list := func(name string, decode func([]byte, any) error) func(string) ([]any, error) {
		return func(text string) ([]any, error) {
			into := []any{}
			err := m.decoded(name, text, &into, decode)
			if err != nil && m.passed == nil {
				into = []any{err.Error()}
			}
			return into, m.passed
		}
	}
	return template.FuncMap{
		"fromYaml": table("fromYaml", decodeYAML), "fromYamlArray": list("fromYamlArray", decodeYAML),
		"fromJson": table("fromJson", json.Unmarshal), "fromJsonArray": list("fromJsonArray", json.Unmarshal),
		"fromToml": table("fromToml", decodeTOML),
		"mustFromJson": func(text string) (any, error) {
			var into any
			err := m.decoded("mustFromJson", text, &into, json.Unmarshal)
			return into, err
		},
	}
}
