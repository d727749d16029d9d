package main

import (
	"archive/zip"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// registry is where the images lie.
const registry = "ghcr.io/muster-io/muster-"

// nobody is the user that programs run as.
const nobody = "65532:65532"

// images writes an OCI layout and a tar of it for each program: one image for each architecture, from scratch, with the
// authorities that Mozilla trusts and the time zones of the Go release that compiles this.
func (r release) images(names []string) error {
	base, err := r.base()
	if err != nil {
		return err
	}
	for _, name := range names {
		index, err := r.index(name, base)
		if err != nil {
			return fmt.Errorf("image of %s: %w", name, err)
		}
		digest, err := index.Digest()
		if err != nil {
			return err
		}
		if err := r.writeLayout(name, index); err != nil {
			return fmt.Errorf("write the image of %s: %w", name, err)
		}
		fmt.Printf("%s%s:%s@%s\n", registry, name, r.version, digest)
	}
	return nil
}

// base are the files beside the program.
func (r release) base() (tree, error) {
	files := tree{
		"tmp/":       {mode: 0o1777},
		"etc/passwd": {data: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"), mode: 0o644},
		"etc/group":  {data: []byte("root:x:0:\nnonroot:x:65532:\n"), mode: 0o644},
	}
	var authorities bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // a file cannot say from when on an authority is not trusted
		}
		if err := pem.Encode(&authorities, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	files["etc/ssl/certs/ca-certificates.crt"] = file{authorities.Bytes(), 0o644}
	license, err := os.ReadFile(r.license)
	if err != nil {
		return nil, err
	}
	files["licenses/LICENSE"] = file{license, 0o644}
	return files, addZones(files)
}

// addZones adds the time zones that Go brings along.
func addZones(files tree) error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find Go: %w", err)
	}
	archive, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return fmt.Errorf("read the time zones of Go: %w", err)
	}
	defer archive.Close()
	for _, f := range archive.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		data, err := fs.ReadFile(archive, f.Name)
		if err != nil {
			return err
		}
		files["usr/share/zoneinfo/"+f.Name] = file{data, 0o644}
	}
	return nil
}

func (r release) index(name string, base tree) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range r.architectures {
		image, err := r.image(name, architecture, base)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: architecture},
		}})
	}
	return index, nil
}

func (r release) image(name, architecture string, base tree) (v1.Image, error) {
	program, err := os.ReadFile(filepath.Join(r.programs, "linux_"+architecture, name))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, files := range []tree{base, {name: {program, 0o755}}} {
		var b bytes.Buffer
		if err := files.tar(&b, r.time); err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: r.time}, CreatedBy: "make images"}})
		if err != nil {
			return nil, err
		}
	}
	return mutate.ConfigFile(image, r.config(name, architecture, image))
}

func (r release) config(name, architecture string, image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		panic(err) // it was made here
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", architecture, v1.Time{Time: r.time}
	config.Config = v1.Config{
		User: nobody, Entrypoint: []string{"/" + name}, WorkingDir: "/", Env: []string{"PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		Labels: map[string]string{
			"org.opencontainers.image.title": "muster-" + name, "org.opencontainers.image.version": r.version, "org.opencontainers.image.revision": r.revision,
			"org.opencontainers.image.source": "https://github.com/muster-io/muster", "org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return config
}

// writeLayout writes <out>/muster-<name> and <out>/muster-<name>-<version>.tar, which `ctr images import` reads.
func (r release) writeLayout(name string, index v1.ImageIndex) error {
	dir := filepath.Join(r.out, "muster-"+name)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	oci, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	reference := registry + name + ":" + r.version
	if err := oci.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": r.version,
	})); err != nil {
		return err
	}
	files := tree{}
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(dir, name)
		files[filepath.ToSlash(inside)] = file{data, 0o644}
		return err
	})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := files.tar(&b, r.time); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "muster-"+name+"-"+r.version+".tar"), b.Bytes(), 0o644)
}
