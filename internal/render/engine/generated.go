package engine

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/generated"
)

// With helm.generated: OnCluster the chart's random functions give placeholders, for which the klusterlet makes values. A placeholder has
// to reach a Secret whole: the chart is rendered again with other placeholders, and what then differs beside them is made of one, such as a
// password that was cut or hashed. Outside of Secrets that is allowed in annotations and labels only, where checksums are.

// generator gives placeholders in place of random values.
type generator struct {
	application string
	counts      map[string]int
	calls       map[string]generated.Call // by ID
	canonical   map[string]string         // of an ID: what is the same for every application
}

func newGenerator(application string) *generator {
	return &generator{application: application, counts: map[string]int{}, calls: map[string]generated.Call{}, canonical: map[string]string{}}
}

// call notes a call and gives its ID. Calls of one function with the same arguments are told apart by their order.
func (g *generator) call(function string, args ...string) string {
	plain := make([]string, len(args))
	for i, arg := range args {
		plain[i] = g.canonically(arg)
	}
	what := fmt.Sprintf("%s%q", function, plain)
	g.counts[what]++
	c := generated.Call{Function: function, Args: args}
	id := generated.ID(g.application, generated.Call{Function: function, Args: plain}, g.counts[what])
	g.calls[id], g.canonical[id] = c, fmt.Sprintf("<%s %d>", what, g.counts[what])
	return id
}

func (g *generator) value(function string, args ...string) string {
	return generated.Placeholder(g.call(function, args...), generated.Value)
}

func (g *generator) certificate(function string, args ...string) certificate {
	id := g.call(function, args...)
	return certificate{Cert: generated.Placeholder(id, generated.Cert), Key: generated.Placeholder(id, generated.Key)}
}

// canonically is a text whose placeholders are the same for every application.
func (g *generator) canonically(text string) string {
	text, _ = generated.Fill(text, func(id, part string) (string, error) { // it does not fail
		return g.canonical[id] + part, nil
	})
	return text
}

// functions that give placeholders. What they cannot stand for stays what it is without them.
func (g *generator) functions(otherwise template.FuncMap) template.FuncMap {
	texts := template.FuncMap{}
	for _, function := range []string{"randAlphaNum", "randAlpha", "randAscii", "randNumeric", "randBytes"} {
		texts[function] = func(count int) string {
			if count <= 0 {
				return ""
			}
			return g.value(function, strconv.Itoa(count))
		}
	}
	texts["uuidv4"] = func() string { return g.value("uuidv4") }
	texts["bcrypt"] = func(password string) string { return g.value("bcrypt", password) }
	texts["htpasswd"] = func(user, password string) string {
		if strings.Contains(user, ":") {
			return "invalid username: " + user
		}
		return user + ":" + g.value("bcrypt", password)
	}
	texts["genPrivateKey"] = func(kind string) (string, error) {
		if slices.Contains([]string{"", "rsa", "ecdsa", "ed25519"}, kind) {
			return g.value("genPrivateKey", kind), nil
		}
		return otherwise["genPrivateKey"].(func(string) (string, error))(kind)
	}
	texts["genCA"] = func(name string, days int) certificate { return g.certificate("genCA", name, strconv.Itoa(days)) }
	texts["genSelfSignedCert"] = func(name string, ips, names []any, days int) certificate {
		return g.certificate("genSelfSignedCert", name, strconv.Itoa(days), list(ips), list(names))
	}
	texts["genSignedCert"] = func(name string, ips, names []any, days int, ca any) (certificate, error) {
		if of, ok := ca.(certificate); ok && len(generated.In(of.Key, g.calls)) > 0 {
			return g.certificate("genSignedCert", name, strconv.Itoa(days), list(ips), list(names), of.Cert, of.Key), nil
		}
		return otherwise["genSignedCert"].(func(string, []any, []any, int, any) (certificate, error))(name, ips, names, days, ca)
	}
	return texts
}

func list(items []any) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = fmt.Sprint(item)
	}
	return strings.Join(texts, ",")
}

// place puts the placeholders in Secrets such that a klusterlet finds them. The other objects and their generator are those of the
// same chart with other placeholders.
func place(objects []Object, g *generator, others []Object, og *generator) ([]Object, error) {
	placed := slices.Clone(objects)
	for i, o := range objects {
		if i >= len(others) || others[i].GVK != o.GVK || g.canonically(o.Name) != og.canonically(others[i].Name) {
			return nil, o.unplaceable("", "what the chart holds depends on it")
		}
		var value, other map[string]any
		if json.Unmarshal(o.JSON, &value) != nil || json.Unmarshal(others[i].JSON, &other) != nil {
			return nil, o.Invalid("cannot be read again")
		}
		c := comparison{g, og, o}
		changed, err := c.secret(value, other)
		if err == nil {
			err = c.rest("", value, other)
		}
		if err != nil {
			return nil, err
		}
		if changed {
			if placed[i], err = (object{file: o.File, line: o.Line, gvk: o.GVK, name: o.Name, value: value}).write(); err != nil {
				return nil, err
			}
			placed[i].hook = o.hook
		}
	}
	if len(others) > len(objects) {
		return nil, others[len(objects)].unplaceable("", "what the chart holds depends on it")
	}
	return placed, nil
}

func (o Object) unplaceable(field, why string) error {
	f := o.Invalid("%s: a value that helm.generated makes on the cluster has to reach a Secret as it is: supply the value instead, or set helm.generated: Refuse to read which", why)
	if field != "" {
		f.Message = field + ": " + f.Message
	}
	f.Reason = fleet.NotDeterministic
	return f
}

// comparison of an object with the one of other placeholders.
type comparison struct {
	g, og  *generator
	object Object
}

// secret takes the values with placeholders out of a Secret's data and stringData, and puts them back as the klusterlet reads them.
func (c comparison) secret(value, other map[string]any) (changed bool, err error) {
	if c.object.GVK.Kind != "Secret" || c.object.GVK.Group != "" {
		return false, nil
	}
	data, _ := value["data"].(map[string]any)
	for _, field := range []string{"data", "stringData"} {
		values, _ := value[field].(map[string]any)
		others, _ := other[field].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			text, otherText := plainOf(field, values[key]), plainOf(field, others[key])
			if text == otherText {
				continue
			}
			calls := generated.In(text, c.g.calls)
			if len(calls) == 0 || c.g.canonically(text) != c.og.canonically(otherText) {
				return false, c.object.unplaceable(field+"."+key, "it is made of a generated value")
			}
			if data == nil {
				data = map[string]any{}
			}
			written, err := (generated.Text{Text: []byte(text), Calls: calls}).Encode()
			if err != nil {
				return false, err
			}
			delete(values, key)
			delete(others, key)
			data[key], changed = written, true
		}
	}
	if changed {
		value["data"] = data
		if left, ok := value["stringData"].(map[string]any); ok && len(left) == 0 {
			delete(value, "stringData")
			delete(other, "stringData")
		}
		delete(other, "data") // compared already
	}
	return changed, nil
}

// plainOf is the text of a key of a Secret. What is no base64 stays as it is.
func plainOf(field string, value any) string {
	text, _ := value.(string)
	if field == "stringData" {
		return text
	}
	if plain, err := base64.StdEncoding.DecodeString(text); err == nil {
		return string(plain)
	}
	return text
}

// rest compares what is no value of a Secret: there a placeholder has no place, nor what is made of one.
func (c comparison) rest(field string, value, other any) error {
	switch value := value.(type) {
	case map[string]any:
		others, _ := other.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(value)) {
			at := strings.TrimPrefix(field+"."+key, ".")
			if at == "data" && c.object.GVK.Kind == "Secret" && c.object.GVK.Group == "" {
				continue
			}
			if err := c.rest(at, value[key], others[key]); err != nil {
				return err
			}
		}
	case []any:
		others, _ := other.([]any)
		for i := range value {
			var of any
			if i < len(others) {
				of = others[i]
			}
			if err := c.rest(fmt.Sprintf("%s[%d]", field, i), value[i], of); err != nil {
				return err
			}
		}
	case string:
		if len(generated.In(value, c.g.calls)) > 0 {
			return c.object.unplaceable(field, "a generated value stands here, outside of a Secret's data")
		}
		if value != other && !strings.Contains(field, "metadata.annotations.") && !strings.Contains(field, "metadata.labels.") {
			return c.object.unplaceable(field, "it is made of a generated value")
		}
	}
	return nil
}
