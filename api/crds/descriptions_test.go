package crds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// TestWithoutDescriptions: nothing but texts for people is left out of a definition.
func TestWithoutDescriptions(t *testing.T) {
	plain := func(doc []byte) any {
		var value any
		data, err := yaml.ToJSON(doc)
		if err == nil {
			err = json.Unmarshal(data, &value)
		}
		if err != nil {
			t.Fatal(err)
		}
		dropTexts(value)
		return value
	}
	for _, doc := range all() {
		short := withoutDescriptions(doc)
		if diff := cmp.Diff(plain(doc), plain(short)); diff != "" {
			t.Errorf("all but descriptions (-), without descriptions (+):\n%s", diff)
		}
		if len(short) > len(doc)*9/10 {
			t.Errorf("%d of %d bytes are left", len(short), len(doc))
		}
	}
}

// dropTexts drops descriptions that are texts: a field may have that name too.
func dropTexts(value any) {
	switch v := value.(type) {
	case map[string]any:
		if _, isText := v["description"].(string); isText {
			delete(v, "description")
		}
		for _, below := range v {
			dropTexts(below)
		}
	case []any:
		for _, below := range v {
			dropTexts(below)
		}
	}
}
