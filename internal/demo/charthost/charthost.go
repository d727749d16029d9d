// Package charthost serves the charts of the demo, as a chart repository and as an OCI registry do: over TLS, and to who has the
// password.
package charthost

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log" //nolint:depguard // what the registry library takes, to be silent
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"k8s.io/client-go/util/cert"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"sigs.k8s.io/yaml"
)

//go:embed content
var charts embed.FS

// The charts: Metrics is in the chart repository, Logs in the registry, each in these versions.
const (
	Metrics = "metrics"
	Logs    = "logs"
)

var versions = map[string][]string{
	Metrics: {"1.4.0", "1.4.2", "2.0.0"},
	Logs:    {"0.9.1"},
}

// User that the host lets in.
const User = "fleet"

const (
	host       = "127.0.0.1"
	configType = "application/vnd.cncf.helm.config.v1+json"
	chartType  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// Access is how clients reach a host that serves.
type Access struct {
	// Address is its host and port.
	Address string
	// Password of the User.
	Password string
	// CA is what the certificate is signed by, in PEM.
	CA []byte
}

// Repository is the address of the chart repository.
func (a Access) Repository() string { return "https://" + a.Address + "/charts" }

// Registry is the address in the registry below which the charts are.
func (a Access) Registry() string { return "oci://" + a.Address + "/charts" }

const accessFile = "access.json"

// Read finds the host that serves a folder; the error is fs.ErrNotExist as long as none does.
func Read(dir string) (Access, error) {
	var a Access
	data, err := os.ReadFile(filepath.Join(dir, accessFile))
	if err != nil {
		return a, err
	}
	err = json.Unmarshal(data, &a)
	return a, err
}

// Serve packs the charts into a folder, and serves them until the context ends. Once it serves, Read says where.
func Serve(ctx context.Context, dir string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey(host, []net.IP{net.ParseIP(host)}, nil)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	a := Access{Address: listener.Addr().String(), Password: rand.Text(), CA: certificate}
	repository := filepath.Join(dir, "repository")
	server := &http.Server{
		Handler: a.handler(repository), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // nothing that is served has to end well
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	if err := a.publish(ctx, dir, repository); err != nil {
		return errors.Join(err, server.Close(), ignoreClosed(<-served))
	}
	return ignoreClosed(<-served)
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// handler serves both; a chart repository is a folder with an index.
func (a Access) handler(repository string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/charts/", http.StripPrefix("/charts/", http.FileServer(http.Dir(repository))))
	mux.Handle("/v2/", registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != User || subtle.ConstantTimeCompare([]byte(password), []byte(a.Password)) == 0 {
			w.Header().Set("WWW-Authenticate", `Basic realm="charts"`)
			http.Error(w, "the password is missing or wrong", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// publish puts the charts where they are served from, and says last how to reach them.
func (a Access) publish(ctx context.Context, dir, repository string) error {
	if err := pack(Metrics, repository); err != nil {
		return err
	}
	if err := writeIndex(Metrics, repository); err != nil {
		return err
	}
	packed := filepath.Join(dir, "packed")
	if err := pack(Logs, packed); err != nil {
		return err
	}
	for _, version := range versions[Logs] {
		data, err := os.ReadFile(archiveOf(packed, Logs, version))
		if err != nil {
			return err
		}
		if err := a.push(ctx, Logs, version, data); err != nil {
			return fmt.Errorf("push chart %s %s: %w", Logs, version, err)
		}
	}
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	next := filepath.Join(dir, accessFile+".new")
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, accessFile))
}

func archiveOf(dir, name, version string) string {
	return filepath.Join(dir, name+"-"+version+".tgz")
}

// pack makes the archive of each version of a chart, as `helm package` does.
func pack(name, dir string) error {
	root := "content/" + name
	var files []*archive.BufferedFile
	err := fs.WalkDir(charts, root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := charts.ReadFile(file)
		files = append(files, &archive.BufferedFile{Name: strings.TrimPrefix(file, root+"/"), Data: data})
		return err
	})
	if err != nil {
		return err
	}
	for _, version := range versions[name] {
		c, err := loader.LoadFiles(files)
		if err != nil {
			return fmt.Errorf("read chart %s: %w", name, err)
		}
		c.Metadata.Version = version
		if _, err := chartutil.Save(c, dir); err != nil {
			return fmt.Errorf("pack chart %s %s: %w", name, version, err)
		}
	}
	return nil
}

// entry of a repository's index.
type entry struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	URLs    []string `json:"urls"`
	Digest  string   `json:"digest"`
}

// writeIndex writes what `helm repo index` does.
func writeIndex(name, dir string) error {
	var entries []entry
	for _, version := range versions[name] {
		file := archiveOf(dir, name, version)
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		entries = append(entries, entry{name, version, []string{filepath.Base(file)}, hex.EncodeToString(sum[:])})
	}
	index, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "entries": map[string][]entry{name: entries}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.yaml"), index, 0o644)
}

// push puts a chart into the registry, as `helm push` does.
func (a Access) push(ctx context.Context, name, version string, data []byte) error {
	repository, err := remote.NewRepository(a.Address + "/charts/" + name)
	if err != nil {
		return err
	}
	repository.Client = &auth.Client{
		Client:     a.client(),
		Credential: auth.StaticCredential(a.Address, auth.Credential{Username: User, Password: a.Password}),
	}
	config := fmt.Appendf(nil, `{"apiVersion":"v2","name":%q,"version":%q}`, name, version)
	configDescriptor, layer := content.NewDescriptorFromBytes(configType, config), content.NewDescriptorFromBytes(chartType, data)
	if err := repository.Push(ctx, configDescriptor, strings.NewReader(string(config))); err != nil {
		return err
	}
	if err := repository.Push(ctx, layer, strings.NewReader(string(data))); err != nil {
		return err
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: configDescriptor, Layers: []ocispec.Descriptor{layer},
	})
	if err != nil {
		return err
	}
	descriptor := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	return repository.PushReference(ctx, descriptor, strings.NewReader(string(manifest)), version)
}

// client trusts the host's certificate and no other.
func (a Access) client() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.CA)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
}
