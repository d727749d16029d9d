package render

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/memo"
	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// files makes a tree of a txtar archive. A file whose name ends in @ is a link to its content.
func files(archive string) fstest.MapFS {
	m := fstest.MapFS{}
	for _, file := range txtar.Parse([]byte(archive)).Files {
		if name, isLink := strings.CutSuffix(file.Name, "@"); isLink {
			m[name] = &fstest.MapFile{Data: bytes.TrimSpace(file.Data), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		m[file.Name] = &fstest.MapFile{Data: file.Data, Mode: 0o644}
	}
	return m
}

// app reads an application whose fields below spec are given, and where its fields stand.
func app(t testing.TB, spec string) *musterv1alpha1.Application {
	t.Helper()
	a := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &a.Spec); err != nil {
		t.Fatal(err)
	}
	return a
}

func cluster(name string, labels map[string]string) *clusterv1.ManagedCluster {
	return &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func input(t testing.TB, archive, spec string) Input {
	t.Helper()
	return Input{
		Application: app(t, spec),
		File:        "applications/shop/web/application.yaml",
		Tree:        fleet.TreeOf(files(archive)),
		Cluster:     cluster("edge-7", map[string]string{"region": "eu", "env": "prod"}),
		LineOf:      func(field string) int { return 100 + strings.Count(field, ".") },
	}
}

func mustRender(t testing.TB, r *Renderer, in Input) *fleet.Content {
	t.Helper()
	content, err := r.Render(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// texts are the manifests one a line: the file, then the JSON.
func texts(content *fleet.Content) []string {
	var lines []string
	for _, m := range content.Manifests {
		lines = append(lines, m.File+" "+string(m.JSON))
	}
	return lines
}

func objects(content *fleet.Content) []string {
	var keys []string
	for _, m := range content.Manifests {
		keys = append(keys, m.Key.String())
	}
	return keys
}

// faultOf renders, wants a fault, and gives it as reason, position and message.
func faultOf(t testing.TB, in Input) fleet.Fault {
	t.Helper()
	_, err := New(1<<20).Render(context.Background(), in)
	f, ok := fleet.AsFault(err)
	if !ok {
		t.Fatalf("want a fault, got %v", err)
	}
	if f.Application != "shop/web" || f.Cluster != "edge-7" {
		t.Errorf("the fault is of %q on %q", f.Application, f.Cluster)
	}
	return f
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"

func TestPlainYAML(t *testing.T) {
	archive := `
-- manifests/b.yaml --
# a comment alone is no document
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: other, creationTimestamp: null}
spec: {ports: [{port: 9007199254740993}]}
status: {loadBalancer: {}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {text: "<a & b>"}}
- {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: reader}}
-- manifests/sub/a.json --
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"metadata": {"creationTimestamp": null}}}}
-- manifests/README.md --
not a manifest
`
	content := mustRender(t, New(1<<20), input(t, archive, `{source: {path: ./manifests/}, destination: {namespace: front, createNamespace: true}}`))
	want := []string{
		`applications/shop/web/application.yaml {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"front"}}`,
		`manifests/b.yaml {"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"other"},"spec":{"ports":[{"port":9007199254740993}]}}`,
		`manifests/b.yaml {"apiVersion":"v1","data":{"text":"<a & b>"},"kind":"ConfigMap","metadata":{"name":"one","namespace":"front"}}`,
		`manifests/b.yaml {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"reader"}}`,
		`manifests/sub/a.json {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"front"},"spec":{"template":{"metadata":{}}}}`,
	}
	if diff := cmp.Diff(want, texts(content)); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	wantKey := fleet.ObjectKey{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespace: "front", Name: "web"}
	if diff := cmp.Diff(wantKey, content.Manifests[4].Key); diff != "" {
		t.Errorf("key (-want +got):\n%s", diff)
	}
}

func TestKindsComeFirst(t *testing.T) {
	archive := `
-- manifests/a.yaml --
apiVersion: example.com/v1
kind: Ledger
metadata: {name: main}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
-- manifests/z.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ledgers.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Ledger, plural: ledgers}
  versions: [{name: v1, served: true}]
`
	content := mustRender(t, New(1<<20), input(t, archive, `{source: {path: manifests}, destination: {createNamespace: true}}`))
	want := []string{"CustomResourceDefinition ledgers.example.com", "Namespace shop", "Ledger shop/main"}
	if diff := cmp.Diff(want, objects(content)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	wantDefined := []musterv1alpha1.APIResource{{Group: "example.com", Version: "v1", Kind: "Ledger", Resource: "ledgers", Namespaced: true}}
	if diff := cmp.Diff(wantDefined, content.Defines); diff != "" {
		t.Errorf("defines (-want +got):\n%s", diff)
	}
}

// TestNamespaceOfAClustersKind: charts write a namespace into every object. An API server drops it where the kind has none, so that
// kubectl and Helm take it.
func TestNamespaceOfAClustersKind(t *testing.T) {
	for name, metadata := range map[string]string{"last": "{name: a, namespace: b}", "in between": "{name: a, namespace: b, uid: x}"} {
		t.Run(name, func(t *testing.T) {
			in := input(t, "-- m/a.yaml --\napiVersion: v1\nkind: PersistentVolume\nmetadata: "+metadata+"\nspec: {}\n", `{source: {path: m}}`)
			got := mustRender(t, New(1<<20), in).Manifests[0]
			want := `{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"a"},"spec":{}}`
			if name == "in between" {
				want = strings.Replace(want, `"a"}`, `"a","uid":"x"}`, 1)
			}
			if got.Key.Namespace != "" || string(got.JSON) != want {
				t.Errorf("got %s %s", got.Key, got.JSON)
			}
		})
	}
}

func TestExtraKinds(t *testing.T) {
	in := input(t, "-- m/a.yaml --\napiVersion: example.com/v1\nkind: Ledger\nmetadata: {name: main}\n", `{source: {path: m}}`)
	f := faultOf(t, in)
	if f.Reason != fleet.UnknownKind || f.Position() != "m/a.yaml:1" || !strings.Contains(f.Message, "cluster edge-7 does not serve kind Ledger of example.com/v1") {
		t.Errorf("unknown kind: %v", f)
	}
	in.Extra = []musterv1alpha1.APIResource{{Group: "example.com", Version: "v1", Kind: "Ledger", Resource: "ledgers"}}
	if got := mustRender(t, New(1<<20), in).Manifests[0].Key; got.Resource != "ledgers" || got.Namespace != "" {
		t.Errorf("a cluster-scoped kind of another application: %+v", got)
	}
}

func TestFaults(t *testing.T) {
	tests := map[string]struct {
		archive, spec string
		reason        fleet.Reason
		at, says, why string
	}{
		"missing source": {
			"", `{source: {path: charts/web}}`, fleet.ContentMissing,
			"applications/shop/web/application.yaml:102", "charts/web is not in the repository", "the author sees which line names it",
		},
		"source outside": {
			"", `{source: {path: ../secrets}}`, fleet.ContentMissing,
			"applications/shop/web/application.yaml:102", "leaves the repository", "a path must not leave the fleet",
		},
		"helm and kustomize": {
			"-- a/Chart.yaml --\n", `{source: {path: a}, helm: {}, kustomize: {}}`, fleet.DefinitionInvalid,
			"applications/shop/web/application.yaml:102", "helm and kustomize.path are set", "one source has one kind",
		},
		"helm without chart": {
			"-- a/x.yaml --\n" + configMap, `{source: {path: a}, helm: {}}`, fleet.ContentMissing,
			"applications/shop/web/application.yaml:102", "has no Chart.yaml", "what was asked for is not there",
		},
		"kustomize without kustomization": {
			"-- a/x.yaml --\n" + configMap, `{source: {path: a}, kustomize: {}}`, fleet.ContentMissing,
			"applications/shop/web/application.yaml:102", "has no kustomization.yaml", "what was asked for is not there",
		},
		"nothing in it": {
			"-- a/README.md --\n", `{source: {path: a}}`, fleet.ContentMissing, "a", "neither a chart, nor an overlay, nor manifests", "absence is no empty content",
		},
		"not YAML": {
			"-- a/x.yaml --\nkind: A\n---\na: {\n", `{source: {path: a}}`, fleet.ManifestInvalid, "a/x.yaml:1", "apiVersion is missing", "the first problem of the file is told",
		},
		"YAML broken in the second document": {
			"-- a/x.yaml --\n" + configMap + "---\na: b\nc: [\n", `{source: {path: a}}`, fleet.ManifestInvalid, "a/x.yaml:6", "not valid YAML", "lines count from the file's beginning",
		},
		"key twice": {
			"-- a/x.yaml --\n" + configMap + "data: {a: b}\ndata: {c: d}\n", `{source: {path: a}}`, fleet.ManifestInvalid, "a/x.yaml:5", "field \"data\" is there twice", "one of the two would be lost silently",
		},
		"no kind": {
			"-- a/x.yaml --\napiVersion: v1\nmetadata: {name: a}\n", `{source: {path: a}}`, fleet.ManifestInvalid, "a/x.yaml:1", "kind is missing", "it can be no object",
		},
		"no name": {
			"-- a/x.yaml --\napiVersion: v1\nkind: Secret\n", `{source: {path: a}}`, fleet.ManifestInvalid, "a/x.yaml:1", "metadata.name is missing", "it can be no object",
		},
		"generated name": {
			"-- a/x.yaml --\napiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", `{source: {path: a}}`, fleet.ManifestInvalid, "a/x.yaml:1", "generateName", "server-side apply needs a name",
		},
		"label that is no text": {
			"-- a/x.yaml --\napiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {enabled: true}}\n", `{source: {path: a}}`, fleet.ManifestInvalid, "a/x.yaml:1", "metadata.labels[enabled] is not text: quote it", "every API server refuses it",
		},
		"twice": {
			"-- a/x.yaml --\n" + configMap + "-- a/y.yaml --\n" + strings.Replace(configMap, "settings", "settings, namespace: shop", 1), `{source: {path: a}}`, fleet.ManifestInvalid, "a/y.yaml:1", "also in a/x.yaml:1", "both files are named, whatever way the namespace is written",
		},
		"dangling link": {
			"-- a/x.yaml@ --\nnowhere.yaml\n", `{source: {path: a}}`, fleet.ContentRefused, "a/x.yaml", "a link that leads nowhere", "the content is not complete",
		},
		"selector": {
			"-- a/x.yaml --\n" + configMap, `{source: {path: a}, overrides: [{name: bad, clusterSelector: {labelSelector: {matchLabels: {"a b": c}}}}]}`,
			fleet.DefinitionInvalid, "applications/shop/web/application.yaml:102", "override bad", "a selector that cannot match is no empty one",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := faultOf(t, input(t, test.archive, test.spec))
			if f.Reason != test.reason || f.Position() != test.at || !strings.Contains(f.Message, test.says) || f.ActionRequiredBy != fleet.User {
				t.Errorf("%s: got %s %s %q", test.why, f.Reason, f.Position(), f.Message)
			}
		})
	}
}

// circleTree is a tree whose hashes do not follow links, as a commit's do not.
type circleTree struct{ fstest.MapFS }

func (t circleTree) Hash(name string) (string, error) {
	if _, err := t.Stat(name); err != nil {
		return "", err
	}
	return memo.Digest(name), nil
}

func TestLinksInACircle(t *testing.T) {
	for source, more := range map[string]string{"manifests": "", "chart": "-- a/Chart.yaml --\napiVersion: v2\nname: a\nversion: 1.0.0\n"} {
		in := input(t, "", `{source: {path: a}}`)
		in.Tree = circleTree{files("-- a/x.yaml --\n" + configMap + "-- a/self@ --\n../a\n" + more)}
		f := faultOf(t, in)
		if f.Reason != fleet.ContentRefused || f.File != "a"+strings.Repeat("/self", 8+1) || !strings.Contains(f.Message, "in a circle") {
			t.Errorf("%s: got %v", source, f)
		}
	}
}

func TestLinksAreFollowed(t *testing.T) {
	archive := "-- shared/x.yaml --\n" + configMap + "-- a/x.yaml@ --\n../shared/x.yaml\n-- b@ --\nshared\n"
	for _, source := range []string{"a", "b"} {
		content := mustRender(t, New(1<<20), input(t, archive, `{source: {path: `+source+`}}`))
		if diff := cmp.Diff([]string{"ConfigMap shop/settings"}, objects(content)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
	}
}

func TestRendersAreShared(t *testing.T) {
	spec := `{source: {path: chart}, helm: {values: {region: '${{ label("region") }}'}}}`
	archive := webChart + "-- chart/templates/cm.yaml --\n" + configMap + "data: {region: '{{ .Values.region }}'}\n"
	r := New(64 << 20)
	in := input(t, archive, spec)
	var wg sync.WaitGroup
	digests := make([]string, 1000)
	for i := range digests {
		wg.Go(func() {
			in := in
			in.Cluster = cluster(fmt.Sprint("edge-", i), map[string]string{"region": fmt.Sprint("r", i%4)})
			content, err := r.Render(context.Background(), in)
			if err != nil {
				t.Error(err)
				return
			}
			digests[i] = content.Digest
		})
	}
	wg.Wait()
	if diff := cmp.Diff(Stats{Renders: 4, Hits: 996}, r.Stats()); diff != "" {
		t.Errorf("a thousand clusters with four values (-want +got):\n%s", diff)
	}
	for i, digest := range digests {
		if digest != digests[i%4] {
			t.Fatalf("cluster %d got another content than cluster %d", i, i%4)
		}
	}
}

func TestOnlyWhatReadTheFileIsRenderedAgain(t *testing.T) {
	m := files(webChart + "-- chart/templates/cm.yaml --\n" + configMap + "-- plain/x.yaml --\n" + configMap + overlay)
	r := New(1 << 20)
	render := func() {
		for _, source := range []string{"chart", "plain", "overlays/prod"} {
			in := input(t, "", `{source: {path: `+source+`}}`)
			in.Tree = fleet.TreeOf(m)
			mustRender(t, r, in)
		}
	}
	render()
	m["base/README.md"] = &fstest.MapFile{Data: []byte("read by nobody")}
	render()
	if got := r.Stats().Renders; got != 3 {
		t.Fatalf("a file that nobody reads: %d renders, want 3", got)
	}
	m["base/deployment.yaml"] = &fstest.MapFile{Data: bytes.Replace(m["base/deployment.yaml"].Data, []byte("replicas: 1"), []byte("replicas: 2"), 1)}
	render()
	if got := r.Stats().Renders; got != 4 {
		t.Errorf("a file of the overlay's base: %d renders, want 4", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	const limit = 200_000
	r := New(limit)
	for i := range 200 {
		in := input(t, webChart+"-- chart/templates/cm.yaml --\n"+configMap+"data: {text: '{{ .Values.text }}'}\n",
			fmt.Sprintf(`{source: {path: chart}, helm: {values: {text: "%d %s"}}}`, i, strings.Repeat("x", 5000)))
		mustRender(t, r, in)
	}
	if size := r.memo.Size(); size > limit || size == 0 {
		t.Errorf("%d bytes are remembered, at most %d are to be", size, limit)
	}
}

func TestTooLittleMemoryStillRenders(t *testing.T) {
	for _, source := range []string{"chart", "overlays/prod"} {
		in := input(t, webChart+"-- chart/templates/cm.yaml --\n"+configMap+overlay, `{source: {path: `+source+`}}`)
		r := New(0)
		a, b := mustRender(t, r, in), mustRender(t, r, in)
		if a.Digest != b.Digest {
			t.Errorf("%s: forgotten content differs when rendered again", source)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New(1).Render(ctx, input(t, "", `{}`)); err == nil {
		t.Error("want the context's error")
	}
}

// TestBytesAreEqualInTwoProcesses renders the same content in fresh processes: maps iterate differently there.
func TestBytesAreEqualInTwoProcesses(t *testing.T) {
	const variable = "RENDER_AND_PRINT"
	if os.Getenv(variable) != "" {
		archive := subcharts + overlay
		for _, source := range []string{"parent", "overlays/prod", "base"} {
			content := mustRender(t, New(1<<20), input(t, archive, `{source: {path: `+source+`}}`))
			if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"m": texts(content), "v": content.Values, "d": content.Digest}); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	var outputs [2]string
	for i := range outputs {
		command := exec.Command(os.Args[0], "-test.run=^TestBytesAreEqualInTwoProcesses$")
		command.Env = append(os.Environ(), variable+"=1", fmt.Sprintf("TZ=Etc/GMT%+d", i*5))
		out, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		outputs[i], _, _ = strings.Cut(string(out), "PASS")
	}
	if outputs[0] == "" || outputs[0] != outputs[1] {
		t.Errorf("two processes differ:\n%s", cmp.Diff(outputs[0], outputs[1]))
	}
}

func TestBuiltinKinds(t *testing.T) {
	apis := fleet.NewAPIs("v1.33.1", nil)
	tests := map[string]struct {
		group, version, kind, resource string
		namespaced                     bool
	}{
		"namespace":  {"", "v1", "Namespace", "namespaces", false},
		"deployment": {"apps", "v1", "Deployment", "deployments", true},
		"crd":        {"apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false},
		"role":       {"rbac.authorization.k8s.io", "v1", "Role", "roles", true},
		"binding":    {"rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false},
		"policy":     {"admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false},
		"ingress":    {"networking.k8s.io", "v1", "Ingress", "ingresses", true},
		"endpoints":  {"", "v1", "Endpoints", "endpoints", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := musterv1alpha1.APIResource{Group: test.group, Version: test.version, Kind: test.kind, Resource: test.resource, Namespaced: test.namespaced}
			got, ok := apis.Lookup(gvk(test.group, test.version, test.kind))
			if !ok || got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	list := apis.Resources()
	for i := 1; i < len(list); i++ {
		a, b := list[i-1], list[i]
		if strings.Join([]string{a.Group, a.Version, a.Kind}, "\x00") >= strings.Join([]string{b.Group, b.Version, b.Kind}, "\x00") {
			t.Errorf("not sorted: %v before %v", a, b)
		}
	}
}
