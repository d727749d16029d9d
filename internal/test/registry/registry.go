// Package registry serves OCI artifacts to tests, over TLS and with tokens as public registries do.
package registry

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log" //nolint:depguard // what the registry library takes, to be silent
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	registryserver "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// The media types of layers.
const (
	Chart = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	Flux  = "application/vnd.cncf.flux.content.v1.tar+gzip"
)

// Registry is a registry that a test runs.
type Registry struct {
	*httptest.Server
	registry http.Handler
	mu       sync.Mutex
	token    string
	State
}

// State is how a registry behaves.
type State struct {
	// User and Password that its tokens want; empty is none.
	User, Password string
	// Status is what it answers to everything; 0 is what there is.
	Status int
	// Damage changes what blobs hold.
	Damage bool
	// Cut ends blobs after half of them.
	Cut bool
	// Requests so far, as "HEAD /path 200".
	Requests []string
}

// New starts a registry over TLS.
func New(t testing.TB) *Registry {
	t.Helper()
	r := newRegistry()
	r.Server = httptest.NewTLSServer(r)
	t.Cleanup(r.Close)
	return r
}

// NewPlain starts a registry that speaks plain HTTP only.
func NewPlain(t testing.TB) *Registry {
	t.Helper()
	r := newRegistry()
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func newRegistry() *Registry {
	return &Registry{registry: registryserver.New(registryserver.Logger(log.New(io.Discard, "", 0))), token: rand.Text()}
}

// Host of the registry, with its port.
func (r *Registry) Host() string { return r.Listener.Addr().String() }

// CA is the certificate that its own is signed by, in PEM.
func (r *Registry) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
}

// Change changes how it behaves.
func (r *Registry) Change(change func(*State)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.State)
}

// Seen are the requests since the last call.
func (r *Registry) Seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.Requests
	r.Requests = nil
	return seen
}

// Push puts an artifact of one layer under a tag, and gives the digest of its manifest.
func (r *Registry) Push(name, tag, mediaType string, data []byte) string {
	return r.PushArtifact(name, tag, Artifact{Layers: []Layer{{MediaType: mediaType, Data: data}}})
}

// Artifact is what a manifest says.
type Artifact struct {
	// Type of the artifact, and the digest of the manifest that it is about; both may be empty.
	Type, Subject string
	Layers        []Layer
}

// Layer of an artifact.
type Layer struct {
	MediaType   string
	Data        []byte
	Annotations map[string]string
}

// PushArtifact puts an artifact under a tag, or without one, and gives the digest of its manifest.
func (r *Registry) PushArtifact(name, tag string, a Artifact) string {
	repository := r.repository(name)
	ctx := context.Background()
	config := content.NewDescriptorFromBytes("application/vnd.cncf.helm.config.v1+json", []byte("{}"))
	must(repository.Push(ctx, config, strings.NewReader("{}")))
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: a.Type, Config: config}
	for _, l := range a.Layers {
		layer := content.NewDescriptorFromBytes(l.MediaType, l.Data)
		must(repository.Push(ctx, layer, strings.NewReader(string(l.Data))))
		layer.Annotations = l.Annotations
		m.Layers = append(m.Layers, layer)
	}
	if a.Subject != "" {
		subject, err := repository.Resolve(ctx, a.Subject)
		must(err)
		m.Subject = &subject
	}
	manifest, err := json.Marshal(m)
	must(err)
	d := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	if tag == "" {
		must(repository.Push(ctx, d, strings.NewReader(string(manifest))))
	} else {
		must(repository.PushReference(ctx, d, strings.NewReader(string(manifest)), tag))
	}
	return d.Digest.String()
}

// repository is one of the registry's, for whoever may do everything.
func (r *Registry) repository(name string) *remote.Repository {
	repository, err := remote.NewRepository(r.Host() + "/" + name)
	must(err)
	repository.PlainHTTP = strings.HasPrefix(r.URL, "http://")
	repository.Client = &auth.Client{Client: r.Client(), Credential: auth.StaticCredential(r.Host(), auth.Credential{AccessToken: r.token})}
	return repository
}

// Save writes what a repository has under some tags, with all that refers to it, as an OCI layout.
func (r *Registry) Save(name, dir string, tags ...string) {
	layout, err := oci.New(dir)
	must(err)
	for _, tag := range tags {
		_, err := oras.ExtendedCopy(context.Background(), r.repository(name), tag, layout, tag, oras.DefaultExtendedCopyOptions)
		must(err)
	}
}

// Load puts an OCI layout into a repository, with all that refers to what has a tag.
func (r *Registry) Load(name, dir string) {
	ctx := context.Background()
	layout, err := oci.NewFromFS(ctx, os.DirFS(dir))
	must(err)
	must(layout.Tags(ctx, "", func(tags []string) error {
		for _, tag := range tags {
			if _, err := oras.ExtendedCopy(ctx, layout, tag, r.repository(name), tag, oras.DefaultExtendedCopyOptions); err != nil {
				return err
			}
		}
		return nil
	}))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	state, token := r.State, r.token
	r.mu.Unlock()
	seen := &recorder{ResponseWriter: w, status: http.StatusOK}
	r.serve(seen, request, state, token)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Requests = append(r.Requests, fmt.Sprintf("%s %s %d", request.Method, request.URL.Path, seen.status))
}

func (r *Registry) serve(w http.ResponseWriter, request *http.Request, state State, token string) {
	bearer := request.Header.Get("Authorization") == "Bearer "+token
	switch {
	case state.Status != 0:
		w.WriteHeader(state.Status)
	case request.URL.Path == "/token":
		user, password, _ := request.BasicAuth()
		if user != state.User || password != state.Password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token}) // the client may be gone
	case state.User != "" && !bearer:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, r.URL))
		w.WriteHeader(http.StatusUnauthorized)
	case (state.Damage || state.Cut) && strings.Contains(request.URL.Path, "/blobs/") && request.Method == http.MethodGet:
		whole := httptest.NewRecorder()
		r.registry.ServeHTTP(whole, request)
		data := whole.Body.Bytes()
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if state.Cut {
			data = data[:len(data)/2]
		} else {
			data[len(data)/2] ^= 1
		}
		w.WriteHeader(whole.Code)
		_, _ = w.Write(data) // the client may be gone
	default:
		r.registry.ServeHTTP(w, request)
	}
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
