package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/internal/fleet"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestChartsAsTheyAre renders charts that are shaped as public ones are. What they give is golden, and equal to what Helm's own engine
// gives, but for definitions of crds/, which Helm installs aside, for hooks, which get waves, and for what the cluster makes.
func TestChartsAsTheyAre(t *testing.T) {
	charts, err := filepath.Glob("testdata/charts/*.txtar")
	if err != nil || len(charts) < 15 {
		t.Fatalf("%d charts, %v", len(charts), err)
	}
	for _, file := range charts {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			helm := helmOf(t, archive)
			spec, err := json.Marshal(map[string]any{"source": map[string]any{"path": "chart"}, "helm": helm})
			if err != nil {
				t.Fatal(err)
			}
			in := input(t, string(txtar.Format(archive)), string(spec))
			content := mustRender(t, New(1<<20), in)
			checkGolden(t, strings.TrimSuffix(file, ".txtar")+".golden.yaml", content)
			values, _ := helm["values"].(map[string]any)
			ours := templatesOf(t, content)
			for key, object := range byKey(helmRenders(t, in, values)) {
				same, ok := ours[key]
				delete(ours, key)
				if helm["generated"] != nil { // Helm draws another one each time
					for _, o := range []map[string]any{object, same} {
						delete(o, "data")
						dropChecksums(o)
					}
				}
				if diff := cmp.Diff(object, same); !ok || diff != "" {
					t.Errorf("%s of Helm (-) and ours (+):\n%s", key, diff)
				}
			}
			for key := range ours {
				t.Errorf("%s is ours alone", key)
			}
		})
	}
}

// helmOf is what an archive's helm.yaml says.
func helmOf(t testing.TB, a *txtar.Archive) map[string]any {
	t.Helper()
	helm := map[string]any{}
	for _, f := range a.Files {
		if f.Name == "helm.yaml" {
			if err := yaml.Unmarshal(f.Data, &helm); err != nil {
				t.Fatal(err)
			}
		}
	}
	return helm
}

func checkGolden(t *testing.T, file string, content *fleet.Content) {
	t.Helper()
	var got bytes.Buffer
	for _, m := range content.Manifests {
		text, err := yaml.JSONToYAML(m.JSON)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("---\n# " + m.File + "\n" + string(text))
	}
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("golden (-) and now (+):\n%s", diff)
	}
}

// templatesOf are the objects that Helm's engine gives too.
func templatesOf(t *testing.T, content *fleet.Content) map[string]map[string]any {
	t.Helper()
	var objects []any
	for _, m := range content.Manifests {
		var object map[string]any
		if err := json.Unmarshal(m.JSON, &object); err != nil {
			t.Fatal(err)
		}
		annotations, _ := object["metadata"].(map[string]any)["annotations"].(map[string]any)
		if _, hook := annotations["helm.sh/hook"]; !hook && !strings.Contains(m.File, "/crds/") {
			objects = append(objects, object)
		}
	}
	return byKey(objects)
}

// byKey are objects by what names them. The namespace of the release is none: Helm does not write it down.
func byKey(objects []any) map[string]map[string]any {
	found := map[string]map[string]any{}
	for _, o := range objects {
		object := o.(map[string]any)
		metadata := object["metadata"].(map[string]any)
		key := fmt.Sprint(object["kind"], " ", metadata["name"])
		if namespace := metadata["namespace"]; namespace != nil && namespace != "shop" {
			key += fmt.Sprint(" in ", namespace)
		}
		delete(metadata, "namespace")
		found[key] = object
	}
	return found
}

// dropChecksums drops annotations of pods.
func dropChecksums(object map[string]any) {
	spec, _ := object["spec"].(map[string]any)
	template, _ := spec["template"].(map[string]any)
	if metadata, ok := template["metadata"].(map[string]any); ok {
		delete(metadata, "annotations")
	}
}
