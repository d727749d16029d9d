//go:build ignore

// Command generate writes into the charts what the code says already: the kinds, the admission policies, the hub's rights.
// `make generate` runs it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/hub/install"
)

func main() {
	if err := generate("charts"); err != nil {
		fmt.Fprintln(os.Stderr, "generate the charts' files:", err)
		os.Exit(1)
	}
}

func generate(dir string) error {
	for chart, definitions := range map[string][][]byte{"muster-hub": crds.Hub(), "klusterlet": crds.Agent()} {
		if err := os.RemoveAll(filepath.Join(dir, chart, "files")); err != nil {
			return err
		}
		for _, definition := range definitions {
			var named struct {
				Metadata struct{ Name string }
			}
			if err := yaml.Unmarshal(definition, &named); err != nil {
				return err
			}
			if err := write(filepath.Join(dir, chart, "files", "crds", named.Metadata.Name+".yaml"), definition); err != nil {
				return err
			}
		}
	}
	for folder, objects := range map[string][]client.Object{"policies": install.Policies(), "rights": install.Rights()} {
		for _, o := range objects {
			data, err := encode(o)
			if err != nil {
				return err
			}
			name := strings.ToLower(o.GetObjectKind().GroupVersionKind().Kind) + "-" + strings.ReplaceAll(o.GetName(), ":", "-") + ".yaml"
			if err := write(filepath.Join(dir, "muster-hub", "files", folder, name), data); err != nil {
				return err
			}
		}
	}
	return nil
}

// encode leaves out what an API server writes.
func encode(o client.Object) ([]byte, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	delete(object, "status")
	delete(object["metadata"].(map[string]any), "creationTimestamp")
	return yaml.Marshal(object)
}

func write(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
