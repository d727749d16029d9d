package controlplane_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/controlplane"
)

func TestFindAssets(t *testing.T) {
	for name, c := range map[string]struct {
		why   string
		given []string // files in KUBEBUILDER_ASSETS; nil: not set
		built []string // files in bin/controlplane of the module
		want  string
		err   string
	}{
		"given": {
			why:   "a folder of envtest's that is there is respected",
			given: []string{"etcd", "kube-apiserver"}, built: []string{"etcd", "kube-apiserver"}, want: "given",
		},
		"built": {
			why:   "the module's own folder is found from a package's folder below",
			built: []string{"etcd", "kube-apiserver"}, want: "module/bin/controlplane",
		},
		"given without etcd": {
			why:   "a folder that was named is not passed over in silence",
			given: []string{"kube-apiserver"}, built: []string{"etcd", "kube-apiserver"}, err: "etcd not found in",
		},
		"half built": {
			why:   "the program that is missing is named, with the way to get it",
			built: []string{"etcd"}, err: "kube-apiserver not found in",
		},
		"nothing": {
			why: "a fresh clone", err: "make controlplane",
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			place(t, filepath.Join(root, "module/bin/controlplane"), c.built)
			place(t, filepath.Join(root, "module/internal/hub"), nil)
			if err := os.WriteFile(filepath.Join(root, "module/go.mod"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("KUBEBUILDER_ASSETS", "")
			if c.given != nil {
				place(t, filepath.Join(root, "given"), c.given)
				t.Setenv("KUBEBUILDER_ASSETS", filepath.Join(root, "given"))
			}
			t.Chdir(filepath.Join(root, "module/internal/hub"))

			got, err := controlplane.FindAssets()
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q: %s", err, c.err, c.why)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v: %s", err, c.why)
			}
			if diff := cmp.Diff(filepath.Join(root, c.want), got.Dir); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
		})
	}
}

// TestMissingProgram: before anything is started, the error names the program that is not there.
func TestMissingProgram(t *testing.T) {
	for name, c := range map[string]struct {
		why  string
		have []string
		ask  controlplane.Options
		want string
	}{
		"controllers": {
			why:  "envtest's folders have no kube-controller-manager",
			have: []string{"etcd", "kube-apiserver"}, ask: controlplane.Options{Controllers: true}, want: "kube-controller-manager",
		},
		"workloads": {
			why:  "workloads want all programs",
			have: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"},
			ask:  controlplane.Options{Workloads: true}, want: "kwok",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.ask.Dir, c.ask.Assets = t.TempDir(), controlplane.Assets{Dir: t.TempDir()}
			place(t, c.ask.Assets.Dir, c.have)
			_, err := controlplane.Start(t.Context(), c.ask)
			var missing *controlplane.MissingError
			if !errors.As(err, &missing) {
				t.Fatalf("error %v, want a MissingError: %s", err, c.why)
			}
			if missing.Program != c.want || !strings.Contains(err.Error(), "make controlplane") {
				t.Errorf("error %v, want %s named with the next step: %s", err, c.want, c.why)
			}
			if _, err := os.Stat(filepath.Join(c.ask.Dir, "processes.json")); !os.IsNotExist(err) {
				t.Errorf("programs were started: %v", err)
			}
		})
	}
}

func place(t *testing.T, dir string, files []string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
