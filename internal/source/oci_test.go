package source

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/test/charts"
	"github.com/muster-io/muster/internal/test/registry"
)

// private is a registry that wants a token, and a library that has a Secret for it.
func private(t *testing.T) (*registry.Registry, *shelf) {
	r := registry.New(t)
	r.Change(func(s *registry.State) { s.User, s.Password = "ann", "hunter2" })
	s := newShelf(t)
	s.secrets["retail/registry"] = map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2"), "ca.crt": r.CA()}
	return r, s
}

func ociOf(r *registry.Registry, name string, change func(*musterv1alpha1.OCISource)) *fleet.Reference {
	oci := &musterv1alpha1.OCISource{URL: "oci://" + r.Host() + "/" + name, SecretRef: &musterv1alpha1.LocalReference{Name: "registry"}}
	change(oci)
	return fleet.ReferenceOf("retail", musterv1alpha1.Source{OCI: oci})
}

func chartIn(r *registry.Registry, version string) *fleet.Reference {
	return fleet.ReferenceOf("retail", musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{
		Repo: "oci://" + r.Host() + "/charts", Name: "web", Version: version, SecretRef: &musterv1alpha1.LocalReference{Name: "registry"},
	}})
}

func TestChartsOfARegistry(t *testing.T) {
	r, s := private(t)
	for _, version := range []string{"4.11.2", "4.12.0", "5.0.0+build.1"} {
		r.Push("charts/web", strings.ReplaceAll(version, "+", "_"), registry.Chart, charts.Pack("web", version, webChart))
	}
	found := s.finds(chartIn(r, "4.11.2"), "4.11.2")
	if _, err := fs.Stat(found.Tree, "Chart.yaml"); err != nil || !found.Packed {
		t.Errorf("the chart: %v, packed %v", err, found.Packed)
	}
	s.finds(chartIn(r, "^4"), "4.12.0")
	s.finds(chartIn(r, "5.0.0+build.1"), "5.0.0+build.1")
	s.finds(chartIn(r, ">=4"), "5.0.0+build.1")

	r.Seen()
	s.Look(t.Context(), remoteName(chartIn(r, "^4")))
	for _, request := range r.Seen() {
		if strings.HasPrefix(request, "GET") && (strings.Contains(request, "/blobs/") || strings.Contains(request, "/manifests/")) {
			t.Errorf("nothing has changed, and it was asked %s", request)
		}
	}
	r.Push("charts/web", "4.11.2", registry.Chart, charts.Pack("web", "4.11.2", webChart+"-- NEW --\n"))
	if moved, err := s.look(chartIn(r, "4.11.2")); err != nil || moved.Digest != found.Digest || !strings.Contains(moved.Problem, "when it was fetched and is") {
		t.Errorf("a version that moved: %+v, %v", moved, err)
	}
}

func TestArtifacts(t *testing.T) {
	r, s := private(t)
	files := func(color string) []byte {
		return charts.Archive(map[string]string{"./prod/config.yaml": "color: " + color, "README.md": ""})
	}
	red := r.Push("fleet/shops", "stable", registry.Flux, files("red"))
	r.Push("fleet/shops", "1.0.0", registry.Flux, files("red"))
	stable := ociOf(r, "fleet/shops", func(o *musterv1alpha1.OCISource) { o.Tag = "stable" })
	pinned := ociOf(r, "fleet/shops", func(o *musterv1alpha1.OCISource) { o.Digest = red })
	ranged := ociOf(r, "fleet/shops", func(o *musterv1alpha1.OCISource) { o.SemVer = "^1" })
	found := s.finds(stable, "stable")
	if data, err := fs.ReadFile(found.Tree, "prod/config.yaml"); err != nil || string(data) != "color: red" || found.Digest != red {
		t.Errorf("the artifact holds %q, %v, digest %s", data, err, found.Digest)
	}
	s.finds(pinned, "")
	s.finds(ranged, "1.0.0")

	blue := r.Push("fleet/shops", "stable", registry.Flux, files("blue"))
	r.Push("fleet/shops", "1.1.0", registry.Flux, files("blue"))
	looked := s.Look(t.Context(), remoteName(stable))
	want := []string{stable.Key(), ranged.Key()}
	slices.Sort(want)
	if diff := cmp.Diff(want, looked.Changed); diff != "" {
		t.Errorf("changed (-want +got)\n%s", diff)
	}
	if found = s.finds(stable, "stable"); found.Digest != blue || found.Problem != "" {
		t.Errorf("a tag moves as a channel does: %+v", found)
	}
	s.finds(ranged, "1.1.0")
	if found = s.finds(pinned, ""); found.Digest != red {
		t.Errorf("a digest does not move: %+v", found)
	}
}

func TestRegistriesOfAllKinds(t *testing.T) {
	t.Run("docker config", func(t *testing.T) {
		r, s := private(t)
		r.Push("charts/web", "4.11.2", registry.Chart, charts.Pack("web", "4.11.2", webChart))
		auth := base64.StdEncoding.EncodeToString([]byte("ann:hunter2"))
		s.secrets["retail/registry"] = map[string][]byte{
			".dockerconfigjson": fmt.Appendf(nil, `{"auths":{%q:{"auth":%q},"other.example.com":{"auth":"eDp5"}}}`, "https://"+r.Host(), auth), "ca.crt": r.CA(),
		}
		s.finds(chartIn(r, "4.11.2"), "4.11.2")
	})
	t.Run("plain HTTP", func(t *testing.T) {
		r := registry.NewPlain(t)
		r.Push("charts/web", "4.11.2", registry.Chart, charts.Pack("web", "4.11.2", webChart))
		plain := fleet.ReferenceOf("retail", musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{
			Repo: "oci://" + r.Host() + "/charts", Name: "web", Version: "4.11.2", Insecure: true,
		}})
		s := newShelf(t)
		if _, err := s.look(plain); err == nil || !strings.Contains(err.Error(), "the hub does not allow it") {
			t.Errorf("without the hub's flag: %v", err)
		}
		s.Insecure = true
		s.finds(plain, "4.11.2")
	})
}

func TestWhatARegistryGaveStays(t *testing.T) {
	cases := map[string]struct {
		change func(*registry.Registry, *shelf)
		want   string
	}{
		"away": {func(r *registry.Registry, _ *shelf) { r.Close() }, "cannot be read: check the address"},
		"credentials": {func(r *registry.Registry, _ *shelf) {
			r.Change(func(s *registry.State) { s.Password, s.User = "other", "bob" })
		}, "refuses the credentials (basic, HTTP 401)"},
		"busy": {func(r *registry.Registry, _ *shelf) {
			r.Change(func(s *registry.State) { s.Status = http.StatusTooManyRequests })
		}, "has no answer now (HTTP 429)"},
		"damaged": {func(r *registry.Registry, _ *shelf) { r.Change(func(s *registry.State) { s.Damage = true }) }, "is not what its digest says"},
		"half":    {func(r *registry.Registry, _ *shelf) { r.Change(func(s *registry.State) { s.Cut = true }) }, "the answer broke off"},
		"large": {func(r *registry.Registry, _ *shelf) {
			r.Push("charts/web", "4.12.0", registry.Chart, largeChart())
		}, "more than the 20 MiB that are fetched"},
		"bomb": {func(r *registry.Registry, _ *shelf) {
			r.Push("charts/web", "4.12.0", registry.Chart, bomb())
		}, "more than 100 MiB of files"},
		"leads out": {func(r *registry.Registry, _ *shelf) {
			r.Push("charts/web", "4.12.0", registry.Chart, charts.Archive(map[string]string{"web/../../etc/passwd": ""}))
		}, "which leads out of it"},
		"no chart": {func(r *registry.Registry, _ *shelf) {
			r.Push("charts/web", "4.12.0", registry.Flux, charts.Archive(map[string]string{"a": "b"}))
		}, "holds no Helm chart: its layers are application/vnd.cncf.flux"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, s := private(t)
			r.Push("charts/web", "4.11.2", registry.Chart, charts.Pack("web", "4.11.2", webChart))
			ranged := chartIn(r, "^4")
			before := s.finds(ranged, "4.11.2")
			r.Push("charts/web", "4.12.0", registry.Chart, charts.Pack("web", "4.12.0", webChart))
			c.change(r, s)
			s.Look(t.Context(), remoteName(ranged))
			found, err := s.Sources().Find(ranged)
			if err != nil || found.Digest != before.Digest {
				t.Fatalf("what was fetched: %+v, %v", found, err)
			}
			if !strings.Contains(found.Problem, c.want) || strings.Contains(found.Problem, "hunter2") {
				t.Errorf("the problem is %q, want %q", found.Problem, c.want)
			}
		})
	}
}
