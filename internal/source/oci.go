package source

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	orascontent "oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	orasremote "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/muster-io/muster/internal/fleet"
)

// The bounds of what a registry lists.
const (
	maxManifest = 1 << 20
	maxTags     = 20_000
)

// chartLayer is the media type of a Helm chart. archiveLayers are those of files, Flux's first.
const chartLayer = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

var archiveLayers = []string{
	"application/vnd.cncf.flux.content.v1.tar+gzip",
	chartLayer,
	ocispec.MediaTypeImageLayerGzip,
	"application/vnd.docker.image.rootfs.diff.tar.gzip",
}

// artifact is a repository of a registry as it is asked in one look.
type artifact struct {
	*orasremote.Repository
	shown       string
	credentials Credentials
	patience    *patience
	tags        []string // nil before they were listed
}

// patience notes how long the registry asks to be left in peace.
type patience struct {
	next  http.RoundTripper
	after time.Duration
}

// RoundTrip implements http.RoundTripper.
func (p *patience) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := p.next.RoundTrip(request)
	if err == nil && (response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable) {
		p.after = max(p.after, retryAfter(response.Header))
	}
	return response, err
}

// askOCI asks a repository of a registry for the tags and digests that references name, and fetches what is not here.
func (l *Library) askOCI(ctx context.Context, references []*fleet.Reference, c Credentials) (map[string]result, error) {
	a, err := l.artifact(references[0], c)
	if err != nil {
		return nil, err
	}
	if references[0].Insecure() {
		a.probe(ctx)
	}
	results := map[string]result{}
	for _, r := range references {
		record, err := l.fetchOCI(ctx, a, r)
		if err == nil {
			record.Signed, err = l.signed(ctx, r, record.Digest, func(s *Signers) error { return a.signed(ctx, s, record) })
		}
		results[r.Key()] = result{record: record, err: err}
	}
	return results, nil
}

func (l *Library) artifact(r *fleet.Reference, c Credentials) (*artifact, error) {
	address := strings.TrimRight(r.URL(), "/")
	if r.Chart != nil {
		address += "/" + r.Chart.Name
	}
	repository, err := orasremote.NewRepository(strings.TrimPrefix(address, "oci://"))
	if err != nil || repository.Reference.Reference != "" {
		return nil, fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s is no address of a repository of a registry: write oci://host/path, and the tag or version in its own field", address))
	}
	shared := l.clients.of(c, r.Insecure())
	a := &artifact{Repository: repository, shown: address, credentials: c, patience: &patience{next: shared.Transport}}
	repository.Client = &auth.Client{
		Client: &http.Client{Transport: a.patience, CheckRedirect: shared.CheckRedirect, Timeout: fetchTimeout},
		Cache:  auth.NewCache(), Credential: auth.StaticCredential(repository.Reference.Registry, c.registry(repository.Reference.Registry)),
	}
	repository.MaxMetadataBytes = maxManifest
	return a, nil
}

// registry is what authenticates to a registry.
func (c Credentials) registry(host string) auth.Credential {
	if d, ok := c.docker[host]; ok {
		return auth.Credential{Username: d.Username, Password: d.Password, RefreshToken: d.IdentityToken, AccessToken: d.RegistryToken}
	}
	if host == "docker.io" || host == "registry-1.docker.io" { // as docker login writes it
		if d, ok := c.docker["index.docker.io"]; ok {
			return auth.Credential{Username: d.Username, Password: d.Password, RefreshToken: d.IdentityToken}
		}
	}
	return auth.Credential{Username: c.data[keyUsername], Password: c.data[keyPassword], AccessToken: c.data[keyBearerToken]}
}

// fetchOCI resolves a reference to a manifest, and fetches its files if they are not here.
func (l *Library) fetchOCI(ctx context.Context, a *artifact, r *fleet.Reference) (*record, error) {
	version, tag, err := a.tagOf(ctx, r)
	if err != nil {
		return nil, err
	}
	manifest, err := a.Resolve(ctx, tag)
	if err != nil {
		return nil, a.unavailable(fmt.Sprintf("%s:%s", a.shown, tag), err)
	}
	digest := manifest.Digest.String()
	file := manifest.Digest.Encoded() + ".zip"
	out := &record{Reference: r, Version: version, Digest: digest, Content: file}
	if l.has(remoteName(r), chartFile(file)) {
		out.Content, out.Packed = chartFile(file), true
		return out, nil
	}
	if l.has(remoteName(r), file) {
		return out, nil
	}
	layer, err := a.layerOf(ctx, r, manifest)
	if err != nil {
		return nil, err
	}
	if most := cmp.Or(l.MaxArchive, DefaultMaxArchive); layer.Size > most {
		return nil, fleet.Reject(fleet.ContentRefused, fmt.Errorf("%s@%s has %d MiB, more than the %d MiB that are fetched", a.shown, shortDigest(digest), layer.Size>>20, most>>20))
	}
	data, err := a.read(ctx, layer)
	if err != nil {
		return nil, a.unavailable(fmt.Sprintf("%s@%s", a.shown, shortDigest(digest)), err)
	}
	strip := 0
	if layer.MediaType == chartLayer {
		out.Content, out.Packed, strip = chartFile(file), true, 1
	}
	if err := l.keepArchive(r, data, out.Content, strip); err != nil {
		return nil, archiveRefused(fmt.Sprintf("%s@%s", a.shown, shortDigest(digest)), err)
	}
	return out, nil
}

// chartFile is the name of the content of a packed chart, so that it is known from other files.
func chartFile(file string) string { return "chart-" + file }

// tagOf is the version that a reference takes, and the tag or digest that it has in the registry.
func (a *artifact) tagOf(ctx context.Context, r *fleet.Reference) (version, tag string, err error) {
	wanted := ""
	switch {
	case r.OCI != nil && r.OCI.Digest != "":
		return "", r.OCI.Digest, nil
	case r.OCI != nil && r.OCI.Tag != "":
		return r.OCI.Tag, r.OCI.Tag, nil
	case r.OCI != nil:
		wanted = r.OCI.SemVer
	default:
		wanted = r.Chart.Version
		if isExact(wanted) {
			return wanted, strings.ReplaceAll(wanted, "+", "_"), nil
		}
	}
	if a.tags == nil {
		err := a.Tags(ctx, "", func(tags []string) error {
			if a.tags = append(a.tags, tags...); len(a.tags) > maxTags {
				return fmt.Errorf("it has more than %d tags", maxTags)
			}
			return nil
		})
		if err != nil {
			return "", "", a.unavailable("the tags of "+a.shown, err)
		}
	}
	var versions []string
	for _, tag := range a.tags {
		versions = append(versions, strings.ReplaceAll(tag, "_", "+")) // a tag has no plus sign: Helm writes it so
	}
	version, err = choose(wanted, versions)
	if err != nil {
		return "", "", fleet.Reject(fleet.ContentMissing, fmt.Errorf("%s: %w", a.shown, err))
	}
	return version, strings.ReplaceAll(version, "+", "_"), nil
}

// probe finds out whether a registry speaks plain HTTP only.
func (a *artifact) probe(ctx context.Context) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+a.Reference.Host()+"/v2/", nil)
	if err != nil {
		return
	}
	response, err := (&http.Client{Transport: a.patience, Timeout: fetchTimeout}).Do(request)
	if err != nil {
		a.PlainHTTP = errors.Is(err, http.ErrSchemeMismatch)
		return
	}
	_ = response.Body.Close() // only whether there is an answer counts
}

// layerOf is the layer of a manifest that holds the files.
func (a *artifact) layerOf(ctx context.Context, r *fleet.Reference, manifest ocispec.Descriptor) (ocispec.Descriptor, error) {
	shown := fmt.Sprintf("%s@%s", a.shown, shortDigest(manifest.Digest.String()))
	if manifest.Size > maxManifest {
		return ocispec.Descriptor{}, fleet.Reject(fleet.ContentRefused, fmt.Errorf("the manifest of %s has %d bytes", shown, manifest.Size))
	}
	data, err := a.read(ctx, manifest)
	if err != nil {
		return ocispec.Descriptor{}, a.unavailable("the manifest of "+shown, err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m.Config, fleet.Reject(fleet.ContentRefused, fmt.Errorf("the manifest of %s cannot be read", shown))
	}
	wanted := archiveLayers
	if r.Chart != nil {
		wanted = []string{chartLayer}
	}
	var found []string
	for _, kind := range wanted {
		for _, layer := range m.Layers {
			if layer.MediaType == kind {
				return layer, nil
			}
		}
	}
	for _, layer := range m.Layers {
		found = append(found, layer.MediaType)
	}
	what := "files as a gzipped tar"
	if r.Chart != nil {
		what = "a Helm chart"
	}
	slices.Sort(found)
	return ocispec.Descriptor{}, fleet.Reject(fleet.ContentRefused, fmt.Errorf("%s holds no %s: its layers are %s", shown, strings.TrimPrefix(what, "a "), cmp.Or(shorten(strings.Join(found, ", ")), "none")))
}

// read reads content of a size and digest that are known, and makes sure that it has them.
func (a *artifact) read(ctx context.Context, d ocispec.Descriptor) (data []byte, err error) {
	from, err := a.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	return orascontent.ReadAll(from, d)
}

// unavailable is the fault of a registry that does not give what it was asked for.
func (a *artifact) unavailable(what string, err error) error {
	host := a.Reference.Host()
	var answer *errcode.ErrorResponse
	switch {
	case errors.As(err, &answer):
		refused := refusal(what, host, a.credentials, &http.Response{StatusCode: answer.StatusCode})
		var busy *busyError
		if errors.As(refused, &busy) {
			busy.after = a.patience.after
		}
		return refused
	case errors.Is(err, errdef.ErrNotFound):
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: there is nothing, or these credentials (%s) may not see it: correct the address, the version or the Secret; what was fetched stays", what, a.credentials))
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: %s wants credentials: name a Secret in secretRef, for a dependency in chartRepositories", what, host))
	case errors.Is(err, orascontent.ErrMismatchedDigest), errors.Is(err, orascontent.ErrTrailingData), errors.Is(err, orascontent.ErrInvalidDescriptorSize):
		return fleet.Fail(fleet.ContentRefused, fmt.Errorf("%s is not what its digest says: somebody may be in between, or the registry is damaged", what))
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("the answer broke off: %w", err)
	}
	return unreachable(what, host, a.credentials, err)
}
