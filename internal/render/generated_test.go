package render

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/generated"
)

const secretHead = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n"

// TestGeneratedOnCluster: what a chart draws reaches Secrets as placeholders, and nothing else.
func TestGeneratedOnCluster(t *testing.T) {
	const password = `{{ randAlphaNum 12 }}`
	tests := map[string]struct {
		template string
		want     string // what the Secret's key v holds, with every placeholder as its function; or
		fault    string
	}{
		"data":                                  {template: secretHead + `data: {v: {{ randAlphaNum 12 | b64enc | quote }}}`, want: "randAlphaNum[12]"},
		"stringData":                            {template: secretHead + `stringData: {v: "user:` + password + `@db"}`, want: "user:randAlphaNum[12]@db"},
		"encoded within":                        {template: secretHead + `stringData: {v: {{ printf "{\"auth\":%q}" (printf "a:%s" (randAlpha 5) | b64enc) | quote }}}`, want: `{"auth":"`},
		"certificates":                          {template: `{{ $ca := genCA "ca" 365 }}{{ $c := genSignedCert "a" (list "127.0.0.1") (list "a" "b") 30 $ca }}` + secretHead + `data: {v: {{ $c.Cert | b64enc }}, k: {{ $c.Key | b64enc }}, ca: {{ $ca.Cert | b64enc }}}`, want: "genSignedCert"},
		"a hash":                                {template: `{{ $p := randAlphaNum 12 }}` + secretHead + `stringData: {v: {{ htpasswd "ann" $p | quote }}, p: {{ $p | quote }}}`, want: "ann:bcrypt"},
		"default":                               {template: secretHead + `stringData: {v: {{ .Values.password | default uuidv4 | quote }}}`, want: "uuidv4"},
		"a checksum":                            {template: `{{ $p := randAlphaNum 12 }}` + secretHead + "stringData: {v: {{ $p }}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: z, annotations: {checksum: {{ sha256sum $p }}}}\n", want: "randAlphaNum[12]"},
		"a ConfigMap":                           {template: configMap + `data: {v: ` + password + `}`, fault: "data.v: a generated value stands here, outside of a Secret's data"},
		"encoded outside":                       {template: configMap + `data: {v: {{ randAlphaNum 12 | b64enc }}}`, fault: "data.v: a generated value stands here"},
		"an annotation":                         {template: "apiVersion: v1\nkind: Secret\nmetadata: {name: x, annotations: {a: " + password + "}}\n", fault: "metadata.annotations.a: a generated value stands here"},
		"a Secret's type":                       {template: secretHead + `type: ` + password, fault: "type: a generated value stands here"},
		"cut":                                   {template: secretHead + `stringData: {v: {{ randAlphaNum 12 | trunc 30 | quote }}}`, fault: "stringData.v: it is made of a generated value"},
		"in capitals":                           {template: secretHead + `stringData: {v: {{ randAlphaNum 12 | upper | quote }}}`, fault: "stringData.v: it is made of a generated value"},
		"hashed":                                {template: secretHead + `stringData: {v: {{ randAlphaNum 12 | sha1sum | quote }}}`, fault: "stringData.v: it is made of a generated value"},
		"hashed in a key that is called labels": {template: configMap + `data: {labels.conf: {{ randAlphaNum 12 | sha1sum }}}`, fault: "data.labels.conf: it is made of a generated value"},
		"hashed outside":                        {template: configMap + `data: {v: {{ randAlphaNum 12 | sha1sum }}}`, fault: "data.v: it is made of a generated value"},
		"a name":                                {template: "apiVersion: v1\nkind: Secret\nmetadata: {name: x-{{ randAlpha 5 | lower }}}\n", fault: "what the chart holds depends on it"},
		"a number":                              {template: secretHead + `stringData: {v: "{{ randInt 1 99 }}"}`, fault: "randInt gives another result every time"},
		"the time":                              {template: secretHead + `stringData: {v: "{{ now }}"}`, fault: "now gives another result every time"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			archive, spec := helmCase(test.template, `{generated: OnCluster}`)
			in := input(t, archive, spec)
			if test.fault != "" {
				if f := faultOf(t, in); !strings.Contains(f.Error(), test.fault) || f.Reason != fleet.NotDeterministic {
					t.Errorf("the fault is %s %s, want %q", f.Reason, f.Error(), test.fault)
				}
				return
			}
			first, second := texts(mustRender(t, New(1<<20), in)), texts(mustRender(t, New(1<<20), in))
			if strings.Join(first, "") != strings.Join(second, "") {
				t.Error("it is another one the next time")
			}
			if got := placeholders(t, first); !strings.HasPrefix(got, test.want) {
				t.Errorf("the Secret holds %q, want %q", got, test.want)
			}
			other := input(t, strings.ReplaceAll(archive, "namespace: retail", "namespace: other"), spec)
			other.Application.Namespace = "other"
			if strings.Join(texts(mustRender(t, New(1<<20), other)), "") == strings.Join(first, "") {
				t.Error("an application of another team has the same values")
			}
		})
	}
}

// placeholders are what the Secret's key v holds.
func placeholders(t *testing.T, objects []string) string {
	t.Helper()
	for _, text := range objects {
		var secret struct {
			Kind       string
			Data       map[string]string
			StringData map[string]string
		}
		_, object, _ := strings.Cut(text, " ")
		if err := json.Unmarshal([]byte(object), &secret); err != nil {
			t.Fatal(err)
		}
		if secret.Kind != "Secret" {
			continue
		}
		content, ok, err := generated.Decode(secret.Data["v"])
		if err != nil || !ok || len(secret.StringData) > 0 {
			t.Fatalf("%v is not for the klusterlet: %v", secret, err)
		}
		filled, err := generated.Fill(string(content.Text), func(id, _ string) (string, error) {
			c := content.Calls[id]
			if len(c.Args) == 1 && !strings.Contains(c.Args[0], "muster") {
				return c.Function + "[" + c.Args[0] + "]", nil
			}
			for _, arg := range c.Args {
				for id := range generated.In(arg, content.Calls) {
					if content.Calls[id].Function == "" {
						t.Errorf("%s needs a call that is not there", c.Function)
					}
				}
			}
			return c.Function, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return filled
	}
	return ""
}
