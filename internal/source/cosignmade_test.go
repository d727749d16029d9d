package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/test/charts"
	"github.com/muster-io/muster/internal/test/registry"
)

// TestSignaturesThatCosignMade: what the program cosign has signed is taken, in both of its formats, and by its key only. The signatures are
// in testdata/cosign as OCI layouts; COSIGN=/path/to/cosign go test makes them anew.
func TestSignaturesThatCosignMade(t *testing.T) {
	const name = "charts/web"
	for _, format := range []string{"bundle", "simple"} {
		layout := filepath.Join("testdata", "cosign", format)
		if program := os.Getenv("COSIGN"); program != "" {
			signWithCosign(t, program, format, name, layout)
		}
		t.Run(format, func(t *testing.T) {
			public, err := os.ReadFile(filepath.Join(layout, "cosign.pub"))
			must(t, err)
			r, s := private(t)
			r.Load(name, layout)
			r.Push(name, "1.0.1", registry.Chart, charts.Pack("web", "1.0.1", webChart))
			_, other := cosignKey(t)
			of := func(version, key string) *fleet.Reference {
				reference := chartIn(r, version)
				reference.Chart.Verify = &musterv1alpha1.Verification{Keys: []string{key}}
				return reference
			}
			s.finds(of("1.0.0", string(public)), "1.0.0")
			for why, reference := range map[string]*fleet.Reference{"another key": of("1.0.0", other), "a version that nobody signed": of("1.0.1", string(public))} {
				found, err := s.look(reference)
				if f, _ := fleet.AsFault(err); f.Reason != fleet.NotSigned {
					t.Errorf("%s: %+v, %v", why, found, err)
				}
			}
		})
	}
}

// signWithCosign has cosign make a key and sign a chart, and writes both into a folder.
func signWithCosign(t *testing.T, program, format, name, layout string) {
	t.Helper()
	must(t, os.RemoveAll(layout))
	must(t, os.MkdirAll(layout, 0o755))
	r := registry.NewPlain(t)
	digest := r.Push(name, "1.0.0", registry.Chart, charts.Pack("web", "1.0.0", webChart))
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		command := exec.Command(program, args...)
		command.Dir, command.Env = dir, append(os.Environ(), "COSIGN_PASSWORD=", "HOME="+dir)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("generate-key-pair")
	tags := []string{"1.0.0"}
	bundle := "true"
	if format == "simple" {
		bundle = "false"
		tags = append(tags, strings.Replace(digest, ":", "-", 1)+".sig")
	}
	run("sign", "--yes", "--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format="+bundle, "--allow-http-registry", r.Host()+"/"+name+"@"+digest)
	r.Save(name, layout, tags...)
	public, err := os.ReadFile(filepath.Join(dir, "cosign.pub"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(layout, "cosign.pub"), public, 0o644))
}
