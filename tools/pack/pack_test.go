package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// programs is a folder with two programs for each platform, written at a time of their own.
func programs(t *testing.T, when time.Time) string {
	t.Helper()
	dir := t.TempDir()
	for _, platform := range []string{"linux_amd64", "linux_arm64"} {
		for _, name := range []string{"hub", "klusterlet"} {
			file := filepath.Join(dir, platform, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(platform+name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, when, when); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func pack(t *testing.T, what string, when time.Time) string {
	t.Helper()
	out := t.TempDir()
	args := []string{what, "--version", "v1.2.3", "--revision", "abc", "--epoch", "1700000000", "--programs", programs(t, when), "--charts", "../../charts", "--license", "../../LICENSE", "--out", out}
	if what == "images" {
		args = append(args, "hub", "klusterlet")
	}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSameInputSameBytes: two builds at two times, of equal programs in two folders, are equal.
func TestSameInputSameBytes(t *testing.T) {
	for _, what := range []string{"images", "archives", "charts"} {
		one, two := digests(t, pack(t, what, time.Unix(1, 0))), digests(t, pack(t, what, time.Unix(1e9, 0)))
		if one != two || one == "" {
			t.Errorf("%s differ:\n%s\n%s", what, one, two)
		}
	}
}

func digests(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		inside, _ := filepath.Rel(dir, name)
		fmt.Fprintf(&b, "%s %x\n", inside, sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestImage(t *testing.T) {
	out := pack(t, "images", time.Unix(1, 0))
	oci, err := layout.ImageIndexFromPath(filepath.Join(out, "muster-hub"))
	if err != nil {
		t.Fatal(err)
	}
	outer, err := oci.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if name := outer.Manifests[0].Annotations["io.containerd.image.name"]; name != "ghcr.io/muster-io/muster-hub:1.2.3" {
		t.Errorf("containerd imports it as %q", name)
	}
	index, err := oci.ImageIndex(outer.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, architecture := range []string{"amd64", "arm64"} {
		if p := manifest.Manifests[i].Platform; p == nil || p.Architecture != architecture {
			t.Fatalf("platform %v, want %s", p, architecture)
		}
		image, err := index.Image(manifest.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Config.User != nobody || config.Config.Entrypoint[0] != "/hub" || config.Config.Labels["org.opencontainers.image.version"] != "1.2.3" {
			t.Errorf("config %+v", config.Config)
		}
		files := content(t, image)
		if string(files["hub"]) != "linux_"+architecture+"hub" {
			t.Errorf("the program is %q", files["hub"])
		}
		if !bytes.Contains(files["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERTIFICATE")) || len(files["usr/share/zoneinfo/Europe/Berlin"]) == 0 {
			t.Error("authorities or time zones are missing")
		}
	}
	if _, err := os.Stat(filepath.Join(out, "muster-hub-1.2.3.tar")); err != nil {
		t.Error(err)
	}
}

func content(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, layer := range layers {
		r, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for tr := tar.NewReader(r); ; {
			header, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if files[header.Name], err = io.ReadAll(tr); err != nil {
				t.Fatal(err)
			}
		}
	}
	return files
}

// TestSBOM reads what this test's binary is linked with.
func TestSBOM(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sbom.json")
	if err := run([]string{"sbom", "--version", "1.2.3", "--out", file, self}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var document spdxDocument
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	if document.Version != "SPDX-2.3" || !strings.Contains(string(data), "pkg:golang/github.com/google/go-containerregistry@v0") {
		t.Errorf("%.500s", data)
	}
	ids := map[string]bool{document.ID: true}
	for _, p := range document.Packages {
		ids[p.ID] = true
	}
	for _, r := range document.Relationships {
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("%+v names what is not there", r)
		}
	}
}
