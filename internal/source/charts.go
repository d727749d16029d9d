package source

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"

	"github.com/muster-io/muster/internal/fleet"
)

// maxIndex bounds the index of a chart repository, in bytes.
const maxIndex = 32 << 20

// chartIndex is the index of a chart repository, as far as it is needed. Helm's own package for it would link Helm's plugins,
// a WebAssembly runtime among them.
type chartIndex struct {
	// ETag and LastModified of the answer that it is from.
	ETag         string                    `json:"etag,omitempty" yaml:"-"`
	LastModified string                    `json:"lastModified,omitempty" yaml:"-"`
	Entries      map[string][]chartVersion `json:"entries" yaml:"entries"`
}

type chartVersion struct {
	Version string   `json:"version" yaml:"version"`
	URLs    []string `json:"urls" yaml:"urls"`
	Digest  string   `json:"digest,omitempty" yaml:"digest"`
	Removed bool     `json:"removed,omitempty" yaml:"removed"`
}

// askCharts asks a chart repository for its index, and fetches the charts that are not here.
func (l *Library) askCharts(ctx context.Context, references []*fleet.Reference, c Credentials) (map[string]result, error) {
	first := references[0]
	repo, err := url.Parse(first.Chart.Repo)
	if err != nil || repo.Host == "" {
		return nil, fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s is no address of a chart repository: write https://host/path or oci://host/path", Display(first.Chart.Repo)))
	}
	if repo.User != nil {
		return nil, fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s: the address carries a user or password: move them to a Secret", repo.Redacted()))
	}
	if repo.Scheme == "http" && !first.Chart.Insecure {
		return nil, plainHTTP(first.Chart.Repo)
	}
	repo.Path = strings.TrimRight(repo.Path, "/") + "/"
	w := &web{client: l.clients.of(c, first.Chart.Insecure), credentials: c, home: repo}
	folder := filepath.Join(l.Dir, remoteName(first))
	index, err := w.index(ctx, filepath.Join(folder, "index.json"))
	if err != nil {
		return nil, err
	}
	results := map[string]result{}
	for _, r := range references {
		record, err := l.chart(ctx, w, index, r)
		results[r.Key()] = result{record: record, err: err}
	}
	return results, nil
}

// index gives the index of a repository: the one that is kept, if the repository says that it is as it was.
func (w *web) index(ctx context.Context, file string) (*chartIndex, error) {
	kept := &chartIndex{}
	if data, err := os.ReadFile(file); err != nil || json.Unmarshal(data, kept) != nil {
		kept = &chartIndex{}
	}
	address := w.home.JoinPath("index.yaml")
	header := http.Header{}
	if kept.Entries != nil {
		setIf(header, "If-None-Match", kept.ETag)
		setIf(header, "If-Modified-Since", kept.LastModified)
	}
	answer, err := w.get(ctx, address, header, maxIndex)
	if err != nil {
		return nil, err
	}
	if answer.status == http.StatusNotModified {
		return kept, nil
	}
	index := &chartIndex{ETag: answer.header.Get("ETag"), LastModified: answer.header.Get("Last-Modified")}
	if json.Valid(answer.body) {
		err = json.Unmarshal(answer.body, index)
	} else {
		err = yaml.Unmarshal(answer.body, index)
	}
	if err != nil || index.Entries == nil {
		return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s is no index of a chart repository: correct the address", w.shown(address)))
	}
	data, err := json.Marshal(index)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o700)
	}
	if err == nil {
		err = writeWhole(file, func(to io.Writer) error {
			_, err := to.Write(data)
			return err
		})
	}
	if err != nil {
		return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("keep the index of %s: %w", w.shown(w.home), err))
	}
	return index, nil
}

func setIf(header http.Header, name, value string) {
	if value != "" {
		header.Set(name, value)
	}
}

// chart finds the version that a reference wants and fetches its archive, if it is not here.
func (l *Library) chart(ctx context.Context, w *web, index *chartIndex, r *fleet.Reference) (*record, error) {
	entries := index.Entries[r.Chart.Name]
	if len(entries) == 0 {
		return nil, fleet.Reject(fleet.ContentMissing, fmt.Errorf("%s has no chart %s: correct the name", w.shown(w.home), r.Chart.Name))
	}
	var versions []string
	by := map[string]chartVersion{}
	for _, e := range entries {
		if !e.Removed && len(e.URLs) > 0 {
			versions = append(versions, e.Version)
			by[e.Version] = e
		}
	}
	version, err := choose(r.Chart.Version, versions)
	if err != nil {
		return nil, fleet.Reject(fleet.ContentMissing, fmt.Errorf("chart %s of %s: %w", r.Chart.Name, w.shown(w.home), err))
	}
	entry := by[version]
	address, err := w.home.Parse(entry.URLs[0])
	if err != nil || address.Scheme != "http" && address.Scheme != "https" {
		return nil, fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("the index of %s gives chart %s %s an address that is none", w.shown(w.home), r.Chart.Name, version))
	}
	if address.Scheme == "http" && !r.Chart.Insecure {
		return nil, plainHTTP(w.shown(address))
	}
	digest, err := l.bring(ctx, w, r, address, strings.TrimPrefix(strings.ToLower(entry.Digest), "sha256:"))
	if err != nil {
		return nil, err
	}
	out := &record{Reference: r, Version: version, Digest: "sha256:" + digest, Content: digest + ".zip", Packed: true}
	out.Signed, err = l.signed(ctx, r, out.Digest, func(s *Signers) error { return w.provenance(ctx, s, address, out) })
	return out, err
}

// bring fetches an archive, if it is not here, and gives its digest. The one of the index is empty where that has none.
func (l *Library) bring(ctx context.Context, w *web, r *fleet.Reference, address *url.URL, digest string) (string, error) {
	if hexDigest(digest) && l.has(remoteName(r), digest+".zip") {
		return digest, nil
	}
	answer, err := w.get(ctx, address, nil, cmp.Or(l.MaxArchive, DefaultMaxArchive))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(answer.body)
	got := hex.EncodeToString(sum[:])
	if digest != "" && got != digest {
		return "", fleet.Fail(fleet.ContentRefused, fmt.Errorf("%s is not what the index of its repository says: it has digest %s and not %s; somebody may be in between, or the repository is not consistent",
			w.shown(address), shortHash(got), shortHash(digest)))
	}
	if err := l.keepArchive(r, answer.body, got+".zip", 1); err != nil {
		return "", archiveRefused(w.shown(address), err)
	}
	return got, nil
}

// provenance makes sure that the file beside a chart's archive says who packed it.
func (w *web) provenance(ctx context.Context, s *Signers, archive *url.URL, of *record) error {
	at := *archive
	at.Path += ".prov"
	answer, err := w.get(ctx, &at, nil, maxSignature)
	if errors.As(err, new(nothingError)) {
		return fmt.Errorf("%s: the chart has no provenance file: sign it with `helm package --sign`, and publish the .prov file beside the archive", w.shown(archive))
	}
	if err != nil {
		return fmt.Errorf("the chart has no provenance file that can be read: `helm package --sign` makes it, beside the archive: %w", err)
	}
	return wrapIf(w.shown(&at), s.provenance(answer.body, of))
}

// keepArchive unpacks an archive into the folder of the reference's remote.
func (l *Library) keepArchive(r *fleet.Reference, data []byte, name string, strip int) error {
	files, err := unpack(bytes.NewReader(data), strip)
	if err != nil {
		return err
	}
	if _, ok := files["Chart.yaml"]; r.Chart != nil && !ok {
		return archiveFault("the archive holds no chart: it has no Chart.yaml in a folder of its own")
	}
	return keepFiles(filepath.Join(l.Dir, remoteName(r), name), files)
}

func archiveRefused(what string, err error) error {
	var refused errArchive
	if errors.As(err, &refused) {
		return fleet.Reject(fleet.ContentRefused, fmt.Errorf("%s: %w", what, err))
	}
	return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("keep %s: %w", what, err))
}

func hexDigest(text string) bool {
	data, err := hex.DecodeString(text)
	return err == nil && len(data) == sha256.Size
}

func shortHash(hash string) string { return hash[:min(len(hash), 12)] }

// isExact is true for one version, and not a range of them.
func isExact(version string) bool {
	_, err := semver.StrictNewVersion(strings.TrimPrefix(version, "v"))
	return err == nil
}

// choose picks of versions the one that is wanted: that of the name, else the newest of the range.
func choose(wanted string, versions []string) (string, error) {
	for _, v := range versions {
		if v == wanted || strings.TrimPrefix(v, "v") == strings.TrimPrefix(wanted, "v") {
			return v, nil
		}
	}
	newest := cmp.Or(newestOf(versions, func(v *semver.Version) bool { return v.Prerelease() == "" }),
		newestOf(versions, func(*semver.Version) bool { return true }))
	hint := "it has none"
	if newest != "" {
		hint = "the newest is " + newest
	}
	if isExact(wanted) {
		return "", fmt.Errorf("there is no version %s: %s", wanted, hint)
	}
	allowed, err := semver.NewConstraint(wanted)
	if err != nil {
		return "", fmt.Errorf("%q is no version and no range of versions: write one such as 4.11.2, ^4.11 or \">=4.11 <5\"", wanted)
	}
	if found := newestOf(versions, allowed.Check); found != "" {
		return found, nil
	}
	return "", fmt.Errorf("no version is in the range %s: %s", wanted, hint)
}

func newestOf(versions []string, allowed func(*semver.Version) bool) string {
	var newest *semver.Version
	for _, text := range versions {
		v, err := semver.NewVersion(text)
		if err == nil && allowed(v) && (newest == nil || v.GreaterThan(newest)) {
			newest = v
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Original()
}
