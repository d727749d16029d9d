package fleet_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/fleet"
)

func TestRedact(t *testing.T) {
	secret := func(field string, value any) map[string]any {
		return map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "Opaque", field: value,
			"metadata": map[string]any{"name": "s", "annotations": map[string]any{
				"kubectl.kubernetes.io/last-applied-configuration": "hunter2", "note": "stays",
			}},
		}
	}
	r := fleet.Redactor{Key: []byte("k")}
	for name, row := range map[string]struct {
		manifest map[string]any
		hidden   bool
		why      string
	}{
		"data":          {secret("data", map[string]any{"pin": "hunter2"}), true, ""},
		"stringData":    {secret("stringData", map[string]any{"pin": "hunter2"}), true, ""},
		"nested":        {secret("stringData", map[string]any{"pin": map[string]any{"deep": []any{"hunter2"}}}), true, "no API server takes it, and it is printed before one is asked"},
		"no map":        {secret("data", "hunter2"), true, ""},
		"misspelt":      {secret("stringdata", map[string]any{"pin": "hunter2"}), true, "what is no field of a Secret was meant to be one"},
		"type":          {secret("type", map[string]any{"pin": "hunter2"}), true, "it slipped in from another field"},
		"immutable":     {secret("immutable", "hunter2"), true, "it is true or false"},
		"no Secret":     {map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"pin": "hunter2"}}, false, "a ConfigMap is shown"},
		"another group": {map[string]any{"apiVersion": "example.com/v1", "kind": "Secret", "data": map[string]any{"pin": "hunter2"}}, false, "somebody else's kind"},
	} {
		before, _ := json.Marshal(row.manifest)
		have, err := json.Marshal(r.Redact(row.manifest))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(have), "hunter2") == row.hidden {
			t.Errorf("%s: %s: %s", name, have, row.why)
		}
		if after, _ := json.Marshal(row.manifest); string(after) != string(before) {
			t.Errorf("%s: the manifest itself was changed to %s", name, after)
		}
	}
	one, two := r.Redact(secret("data", map[string]any{"pin": "1", "same": "x"})), r.Redact(secret("data", map[string]any{"pin": "2", "same": "x"}))
	a, b := one["data"].(map[string]any), two["data"].(map[string]any)
	if a["pin"] == b["pin"] || a["same"] != b["same"] {
		t.Errorf("a change is not visible, or what did not change is: %v, %v", a, b)
	}
	if cmp.Equal(one["data"], fleet.Redactor{Key: []byte("other")}.Redact(secret("data", map[string]any{"pin": "1", "same": "x"}))["data"]) {
		t.Error("the hash has no key, and short values can be guessed")
	}
	if metadata := one["metadata"].(map[string]any); metadata["name"] != "s" || metadata["annotations"].(map[string]any)["note"] != "stays" || one["type"] != "Opaque" {
		t.Errorf("what names the Secret is hidden: %v", one)
	}
}
