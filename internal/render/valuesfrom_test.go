package render

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/fleet"
)

// onHub are Secrets and ConfigMaps of a hub, by "Kind namespace/name".
type onHub map[string]fleet.HeldValues

// Find implements fleet.Sources.
func (o onHub) Find(r *fleet.Reference) (*fleet.Found, error) {
	values, ok := o[r.From()]
	if !ok {
		return nil, fleet.Reject(fleet.ContentMissing, fmt.Errorf("%s is not on the hub", r.From()))
	}
	return &fleet.Found{Name: r.Name(), Digest: fleet.ValuesDigest("uid", values.Data), Values: &values}, nil
}

func held(data ...string) fleet.HeldValues {
	v := fleet.HeldValues{Data: map[string][]byte{}}
	for i := 0; i < len(data); i += 2 {
		v.Data[data[i]] = []byte(data[i+1])
	}
	return v
}

// shop is a chart with a Secret, of which its password is, and a ConfigMap for all else.
const shop = `
-- chart/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- chart/values.schema.json --
{"properties": {"color": {"enum": ["red", "blue"]}}}
-- chart/templates/all.yaml --
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData: {password: {{ .Values.db.password | quote }}, encoded: {{ .Values.db.password | b64enc | quote }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web, annotations: {checksum: {{ .Values.db.password | sha256sum }}}}
data: {a: {{ .Values.a | quote }}, plain: {{ .Values.plain }}, trimmed: {{ .Values.trimmed | trim | quote }}, json: {{ .Values.json | toJson | quote }}, b: {{ .Values.b | quote }}, dotted: {{ index .Values.hosts "shop.example.com" | quote }}}
{{- if .Values.fails }}{{ fail (printf "the password is %s" .Values.db.password) }}{{ end }}
-- applications/shop/web/values.yaml --
a: file
b: file
db: {password: file}
plain: file
trimmed: file
json: file
hosts: {shop.example.com: file}
`

func TestValuesFrom(t *testing.T) {
	const head = `{source: {path: chart}, helm: {valuesFiles: [values.yaml], `
	hub := onHub{
		"Secret shop/db":           held("password", "hunter22", "values.yaml", "a: ours\nb: ours\n", "map.yaml", "db: {password: hunter22}\na: hunter22\n", "deep.yaml", "json: {list: [x, {deep: hunter22}]}\n", "safe.yaml", "db: {password: hunter22}\n", "list", "- a\n", "color", "hunter22"),
		"ConfigMap shop/config":    held("values.yaml", "a: config\n", "host", "hub"),
		"Secret other/elsewhere":   held("password", "not ours"),
		"ConfigMap shop/eu":        held("values.yaml", "a: eu\n"),
		"ConfigMap shop/bad":       held("values.yaml", "a: [hunter22"),
		"ConfigMap shop/aliases":   held("values.yaml", manyAliases),
		"Secret shop/away":         {Unseen: true},
		"ConfigMap shop/away":      {Unseen: true},
		"Secret shop/masked":       {Data: map[string][]byte{"password": []byte("hunter22"), "values.yaml": []byte("a: hunter22-too\nb: 7\n")}, Mask: &fleet.Redactor{Key: []byte("k")}},
		"Secret shop/short-secret": held("password", "7"),
		"Secret shop/newline":      held("password", "hunter22\n", "quoted", "hunter\"22<\n", "digits", "1234567\n", "pin", "77\n"),
	}
	const password = "{kind: Secret, name: db, valuesKey: password, targetPath: db.password}"
	newline := func(key, path string) string {
		return fmt.Sprintf("{kind: Secret, name: newline, valuesKey: %s, targetPath: %s}", key, path)
	}
	for name, test := range map[string]struct{ why, from, want, not, fault string }{
		"order":     {why: "they go over values files, in their order", from: "[{kind: Secret, name: db}, {kind: ConfigMap, name: config}]", want: `"a":"config","b":"ours"`},
		"inline":    {why: "inline values go over them", from: "[{kind: ConfigMap, name: config}], values: {a: inline}", want: `"a":"inline"`},
		"path":      {why: "one value at a path", from: "[" + password + "]", want: `"password":"hunter22"`},
		"beside":    {why: "a value at a path leaves others beside it", from: "[{kind: ConfigMap, name: config, valuesKey: host, targetPath: db.host}]", want: `"password":"file"`},
		"dots":      {why: "a dot that belongs to a name is escaped", from: `[{kind: ConfigMap, name: config, valuesKey: host, targetPath: 'hosts.shop\.example\.com'}]`, want: `"dotted":"hub"`},
		"label":     {why: "a name may say it by cluster", from: `[{kind: ConfigMap, name: '${{ label("region") }}'}]`, want: `"a":"eu"`},
		"optional":  {why: "nobody has to have it", from: "[{kind: Secret, name: none, optional: true}, {kind: Secret, name: db, valuesKey: none, targetPath: a, optional: true}]", want: `"a":"file"`},
		"missing":   {why: "an object that is gone", from: "[{kind: Secret, name: none}]", fault: "Secret shop/none is not on the hub"},
		"key":       {why: "a key that is not there", from: "[{kind: Secret, name: db, valuesKey: none}]", fault: "Secret shop/db has no key none: add it, name another key in valuesKey, or mark the entry optional"},
		"namespace": {why: "no other namespace is read", from: "[{kind: Secret, name: elsewhere, valuesKey: password, targetPath: db.password}]", fault: "Secret shop/elsewhere is not on the hub"},
		"no map":    {why: "what is no map is named and not quoted", from: "[{kind: ConfigMap, name: bad}]", fault: "ConfigMap shop/bad, key values.yaml holds no YAML map"},
		"aliases":   {why: "what its aliases make is bounded", from: "[{kind: ConfigMap, name: aliases}]", fault: "ConfigMap shop/aliases, key values.yaml holds no YAML map"},
		"list":      {why: "a list is no map", from: "[{kind: Secret, name: db, valuesKey: list}]", fault: "Secret shop/db, key list holds no YAML map"},
		"outside":   {why: "a value of a Secret belongs into Secrets", from: "[{kind: Secret, name: db, valuesKey: password, targetPath: a}]", fault: "data.a holds what Secret shop/db, key password says: let the chart put it into a Secret"},
		"within":    {why: "within a text too", from: "[" + password + "], values: {a: 'pg://hunter22@db'}", fault: "data.a holds what Secret shop/db, key password says"},
		"encoded":   {why: "in base64 too", from: "[" + password + "], values: {a: aHVudGVyMjI=}", fault: "data.a holds what Secret shop/db, key password says"},
		"newline":   {why: "a newline at its end does not hide it: unquoted", from: "[" + newline("password", "plain") + "]", fault: "data.plain holds what Secret shop/newline, key password says"},
		"trimmed":   {why: "trimmed", from: "[" + newline("password", "trimmed") + "]", fault: "data.trimmed holds what Secret shop/newline, key password says"},
		"inside":    {why: "within a text", from: "[" + newline("password", "db.password") + "], values: {a: 'pg://hunter22@db'}", fault: "data.a holds what Secret shop/newline, key password says"},
		"base64":    {why: "in base64, without the newline", from: "[" + newline("password", "db.password") + "], values: {a: aHVudGVyMjI=}", fault: "data.a holds what Secret shop/newline, key password says"},
		"base64 nl": {why: "in base64, with the newline", from: "[" + newline("password", "db.password") + "], values: {a: aHVudGVyMjIK}", fault: "data.a holds what Secret shop/newline, key password says"},
		"json":      {why: "as JSON writes it", from: "[" + newline("quoted", "json") + "]", fault: "data.json holds what Secret shop/newline, key quoted says"},
		"digits":    {why: "as a number", from: "[" + newline("digits", "plain") + "]", fault: "data.plain holds what Secret shop/newline, key digits says"},
		"pin":       {why: "a short one as a whole, trimmed", from: "[" + newline("pin", "trimmed") + "]", fault: "data.trimmed holds what Secret shop/newline, key pin says"},
		"short":     {why: "a short one only as a whole", from: "[{kind: Secret, name: short-secret, valuesKey: password, targetPath: db.password}], values: {a: v17}", want: `"a":"v17"`},
		"allowed":   {why: "where that is allowed it may", from: "[{kind: Secret, name: db, valuesKey: password, targetPath: a, allowOutsideSecrets: true}]", want: `"a":"hunter22"`},
		"map":       {why: "of a map too", from: "[{kind: Secret, name: db, valuesKey: map.yaml}]", fault: "data.a holds what Secret shop/db, key map.yaml, value a says: let the chart put it into a Secret, keep what is no secret in a ConfigMap"},
		"map, text": {why: "within a text, of a map", from: "[{kind: Secret, name: db, valuesKey: safe.yaml}], values: {a: 'pg://hunter22@db'}", fault: "data.a holds what Secret shop/db, key safe.yaml, value db.password says"},
		"map, deep": {why: "as JSON of a map", from: "[{kind: Secret, name: db, valuesKey: deep.yaml}]", fault: "data.json holds what Secret shop/db, key deep.yaml, value json.list[1].deep says"},
		"map, safe": {why: "a map whose values stay in Secrets", from: "[{kind: Secret, name: db, valuesKey: safe.yaml}]", want: `"password":"hunter22"`},
		"map, let":  {why: "a map that may stand anywhere", from: "[{kind: Secret, name: db, valuesKey: map.yaml, allowOutsideSecrets: true}]", want: `"a":"hunter22"`},
		"map, mask": {why: "a review has the fault of the hub", from: "[{kind: Secret, name: masked}]", fault: "data.a holds what Secret shop/masked, key values.yaml, value a says"},
		"config":    {why: "a ConfigMap's may stand anywhere", from: "[{kind: ConfigMap, name: config, valuesKey: host, targetPath: a}]", want: `"a":"hub"`},
		"unseen":    {why: "without a hub something stands for a value", from: "[{kind: Secret, name: away, valuesKey: password, targetPath: db.password}, {kind: ConfigMap, name: away, valuesKey: x, targetPath: a}, {kind: Secret, name: away}]", want: `"a":"<ConfigMap shop/away, key x>","b":"file"`},
		"masked":    {why: "and for a Secret's where a plan is only shown", from: "[{kind: Secret, name: masked, allowOutsideSecrets: true}, {kind: Secret, name: masked, valuesKey: password, targetPath: db.password}]", want: `"b":"1"`, not: "hunter22"},
		"fail":      {why: "what a chart says of a password is not shown", from: "[" + password + "], values: {fails: true}", fault: "the chart refuses these values"},
		"schema":    {why: "and what a schema says of it", from: "[{kind: Secret, name: db, valuesKey: color, targetPath: color}]", fault: "chart/values.schema.json"},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(t, shop, head+"valuesFrom: "+test.from+"}}")
			in.Sources = hub
			content, err := New(1<<20).Render(context.Background(), in)
			got := ""
			if err == nil {
				got = strings.Join(texts(content), "\n")
			}
			f, isFault := fleet.AsFault(err)
			switch {
			case test.fault != "" && (!isFault || !strings.Contains(f.Error(), test.fault) || strings.Contains(f.Error(), "hunter22")):
				t.Errorf("%s: got %v, want %s", test.why, err, test.fault)
			case test.fault != "" && !strings.HasPrefix(f.File, "chart/") && !strings.HasPrefix(f.Position(), in.File+":10"):
				t.Errorf("%s: the fault is at %s", test.why, f.Position())
			case test.fault == "" && (err != nil || !strings.Contains(got, test.want)):
				t.Errorf("%s: got %v\n%s\nwant %s", test.why, err, got, test.want)
			case test.not != "" && (strings.Contains(got, test.not) || strings.Contains(got, base64.StdEncoding.EncodeToString([]byte(test.not)))):
				t.Errorf("%s: %s", test.why, got)
			}
		})
	}
}

// TestValuesFromOfOverrides: an override replaces the list, as it replaces values files.
func TestValuesFromOfOverrides(t *testing.T) {
	in := input(t, shop, `{source: {path: chart}, helm: {valuesFiles: [values.yaml], valuesFrom: [{kind: ConfigMap, name: a}]},
		overrides: [{name: prod, clusterSelector: {labelSelector: {matchLabels: {env: prod}}}, helm: {valuesFrom: [{kind: ConfigMap, name: b}]}}]}`)
	in.Sources = onHub{"ConfigMap shop/b": held("values.yaml", "a: b\n")}
	content := mustRender(t, New(1<<20), in)
	if got := strings.Join(texts(content), "\n"); !strings.Contains(got, `"a":"b"`) {
		t.Error(got)
	}
	if from := content.Values["a"]; from != "ConfigMap shop/b" {
		t.Errorf("a is from %q", from)
	}
}

// TestFaultsWithoutSecrets: what a fault quotes of a Secret is taken out, also where the value ends in a newline and the quote does not.
func TestFaultsWithoutSecrets(t *testing.T) {
	r := &Resolved{secrets: []secretValue{{text: "hunter\"22\n"}}}
	for _, quoted := range []string{"hunter\"22", "hunter\\\"22", base64.StdEncoding.EncodeToString([]byte("hunter\"22")), base64.StdEncoding.EncodeToString([]byte("hunter\"22\n"))} {
		f, _ := fleet.AsFault(r.withoutSecrets(fleet.Fault{Message: "color is " + quoted + ", which is none"}))
		if f.Message != "color is (redacted), which is none" {
			t.Errorf("%s is shown: %s", quoted, f.Message)
		}
	}
}
