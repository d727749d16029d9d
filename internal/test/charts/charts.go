// Package charts serves Helm charts to tests, over HTTP as a chart repository does.
package charts

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"
)

// Repository is a chart repository that a test runs. Its fields may change while it runs, under Change.
type Repository struct {
	*httptest.Server
	mu sync.Mutex
	// Charts by name and version: the archives.
	charts map[string]map[string][]byte
	State
}

// State is how a repository behaves.
type State struct {
	// User and Password that it wants; empty is none.
	User, Password string
	// Status is what it answers to everything; 0 is what there is.
	Status int
	// RetryAfter is the header of that answer.
	RetryAfter string
	// Cut ends archives after half of them.
	Cut bool
	// Digests that the index says instead of the right ones, by version.
	Digests map[string]string
	// Provenance is what lies beside every archive; nil is nothing.
	Provenance []byte
	// Requests so far, as "GET /path 200".
	Requests []string
}

// New starts a repository over TLS.
func New(t testing.TB) *Repository {
	t.Helper()
	r := &Repository{charts: map[string]map[string][]byte{}}
	r.Server = httptest.NewTLSServer(r)
	t.Cleanup(r.Close)
	return r
}

// CA is the certificate that its own is signed by, in PEM.
func (r *Repository) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
}

// Change changes how it behaves.
func (r *Repository) Change(change func(*State)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.State)
}

// Seen are the requests since the last call.
func (r *Repository) Seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.Requests
	r.Requests = nil
	return seen
}

// Publish adds a version of a chart, whose files are those of a txtar archive: Chart.yaml is made if it is not among them.
func (r *Repository) Publish(name, version, files string) {
	r.PublishArchive(name, version, Pack(name, version, files))
}

// PublishArchive adds an archive as it is.
func (r *Repository) PublishArchive(name, version string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.charts[name] == nil {
		r.charts[name] = map[string][]byte{}
	}
	r.charts[name][version] = data
}

// Withdraw takes all versions of a chart away, and publishes 5.0.0.
func (r *Repository) Withdraw(name string) {
	r.mu.Lock()
	delete(r.charts, name)
	r.mu.Unlock()
	r.Publish(name, "5.0.0", "")
}

// Pack makes the archive of a chart.
func Pack(name, version, files string) []byte {
	all := map[string]string{name + "/Chart.yaml": fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)}
	for _, f := range txtar.Parse([]byte(files)).Files {
		all[name+"/"+f.Name] = string(f.Data)
	}
	return Archive(all)
}

// Archive makes a gzipped tar of files.
func Archive(files map[string]string) []byte {
	var headers []tar.Header
	for _, file := range slices.Sorted(maps.Keys(files)) {
		headers = append(headers, tar.Header{Name: file, Mode: 0o644, Size: int64(len(files[file]))})
	}
	return ArchiveOf(headers, func(name string) string { return files[name] })
}

// ArchiveOf makes a gzipped tar of entries.
func ArchiveOf(headers []tar.Header, content func(name string) string) []byte {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, header := range headers {
		must(archive.WriteHeader(&header))
		_, err := archive.Write([]byte(content(header.Name)))
		must(err)
	}
	must(archive.Close())
	must(zipped.Close())
	return out.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// ServeHTTP implements http.Handler.
func (r *Repository) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.serve(w, request)
	r.Requests = append(r.Requests, fmt.Sprintf("%s %s %d", request.Method, request.URL.Path, status))
}

func (r *Repository) serve(w http.ResponseWriter, request *http.Request) int {
	user, password, _ := request.BasicAuth()
	status := r.Status
	if status == 0 && (user != r.User || password != r.Password) {
		status = http.StatusUnauthorized
	}
	if status != 0 {
		if r.RetryAfter != "" {
			w.Header().Set("Retry-After", r.RetryAfter)
		}
		w.WriteHeader(status)
		return status
	}
	if request.URL.Path == "/index.yaml" {
		return r.index(w, request)
	}
	name, version, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(request.URL.Path, "/charts/"), ".tgz"), "/")
	data, ok := r.charts[name][version]
	if strings.HasSuffix(request.URL.Path, ".tgz.prov") {
		data, ok = r.Provenance, r.Provenance != nil
	}
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return http.StatusNotFound
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if r.Cut {
		data = data[:len(data)/2]
	}
	_, _ = w.Write(data) // the client may be gone
	return http.StatusOK
}

func (r *Repository) index(w http.ResponseWriter, request *http.Request) int {
	text := "apiVersion: v1\nentries:\n"
	for _, name := range slices.Sorted(maps.Keys(r.charts)) {
		text += "  " + name + ":\n"
		for _, version := range slices.Sorted(maps.Keys(r.charts[name])) {
			sum := sha256.Sum256(r.charts[name][version])
			digest := hex.EncodeToString(sum[:])
			if other, ok := r.Digests[version]; ok {
				digest = other
			}
			text += fmt.Sprintf("  - name: %s\n    version: %s\n    urls: [charts/%s/%s.tgz]\n    digest: %s\n", name, version, name, version, digest)
		}
	}
	sum := sha256.Sum256([]byte(text))
	tag := fmt.Sprintf("%q", hex.EncodeToString(sum[:8]))
	w.Header().Set("ETag", tag)
	if request.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified
	}
	_, _ = w.Write([]byte(text)) // the client may be gone
	return http.StatusOK
}
