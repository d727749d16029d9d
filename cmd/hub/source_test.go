package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/internal/test/charts"
	"github.com/muster-io/muster/internal/test/registry"
)

// chartFrom is an application retail/web with a chart of a repository, whose Secret is retail/charts.
func chartFrom(repo, version string) string {
	return fmt.Sprintf(`
-- applications/retail/web/application.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: web, namespace: retail}
spec:
  placementRef: {name: edge}
  source: {chart: {repo: %s, name: web, version: %q, secretRef: {name: charts}}}
  helm: {valuesFiles: [values.yaml]}
  destination: {namespace: charts, createNamespace: true}
  overrides:
  - name: canary
    clusterSelector: {labelSelector: {matchLabels: {ring: canary}}}
    source: {chart: {version: 2.0.0}}
-- applications/retail/web/values.yaml --
size: large
`, repo, version)
}

const web = `
-- values.yaml --
size: small
-- templates/config.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {version: "{{ .Chart.Version }}", size: {{ .Values.size }}}
`

// secretIn makes a Secret of a team, and lets the hub read it as the charts' documentation says.
func (f *theFleet) secretIn(namespace, name string, data map[string][]byte) {
	f.t.Helper()
	f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data})
	f.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: hub.RepositoryRole},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: hub.RepositoryRole},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "muster-system", Name: hub.Account}},
	})
}

// expectSource waits until the status of an application says what a source resolved to.
func (f *theFleet) expectSource(key, version string, parts ...string) {
	f.t.Helper()
	f.eventually(func() string {
		sources := f.application(key).Status.Sources
		for _, s := range sources {
			if s.Version == version && strings.HasPrefix(s.Digest, "sha256:") && has("", s.Message, parts...) == "" {
				return ""
			}
		}
		return fmt.Sprintf("the sources of %s are %+v, want %s and %q", key, sources, version, parts)
	})
}

// TestRegistriesAndOtherRepositoriesReachTheClusters: a chart and an artifact of a registry that wants tokens, a folder of another repository,
// and a chart of the fleet's own with a dependency in that registry; each is followed, and a tag that has moved is not.
func TestRegistriesAndOtherRepositoriesReachTheClusters(t *testing.T) {
	t.Parallel()
	r := registry.New(t)
	r.Change(func(s *registry.State) { s.User, s.Password = "ann", "hunter2" })
	r.Push("charts/web", "1.0.0", registry.Chart, charts.Pack("web", "1.0.0", web))
	config := func(name, color string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {color: %s}\n", name, color)
	}
	r.Push("fleet/artifact", "stable", registry.Flux, charts.Archive(map[string]string{"prod/config.yaml": config("artifact", "red")}))
	r.Push("charts/base", "1.0.0", registry.Chart, charts.Pack("base", "1.0.0", "-- templates/config.yaml --\n"+config("base", "red")))
	other := test.NewRepository(t, "-- ingress/config.yaml --\n"+config("other", "red"))
	other.Git("tag", "v1")
	application := func(name, namespace, source string) string {
		return fmt.Sprintf("-- applications/retail/%[1]s/application.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: %[1]s, namespace: retail}\n"+
			"spec:\n  placementRef: {name: edge}\n  source: %[2]s\n  destination: {namespace: %[3]s, createNamespace: true}\n", name, source, namespace)
	}
	f := newFleet(t, shopIn("shop")+clusterFile("one", "tier: edge")+
		application("web", "elsewhere", fmt.Sprintf("{chart: {repo: 'oci://%s/charts', name: web, version: ^1, secretRef: {name: registry}}}", r.Host()))+
		application("artifact", "elsewhere", fmt.Sprintf("{oci: {url: 'oci://%s/fleet/artifact', tag: stable, path: prod, secretRef: {name: registry}}}", r.Host()))+
		application("other", "elsewhere", fmt.Sprintf("{git: {url: %q, ref: {branch: main}, path: ingress}}", other.URL()))+
		application("tagged", "tagged", fmt.Sprintf("{git: {url: %q, ref: {tag: v1}, path: ingress}}", other.URL()))+
		application("private", "elsewhere", "{path: charts/private}")+
		fmt.Sprintf("-- charts/private/Chart.yaml --\napiVersion: v2\nname: private\nversion: 1.0.0\ndependencies: [{name: base, version: 1.0.0, repository: 'oci://%s/charts'}]\n", r.Host())+
		fmt.Sprintf("-- muster.yaml --\napiVersion: muster.dev/v1alpha1\nkind: FleetConfiguration\nspec:\n  defaults:\n  - {namespaces: [retail], spec: {chartRepositories: [{url: 'oci://%s', secretRef: {name: registry}}]}}\n", r.Host()),
		func(o *Options) {
			o.SourceInterval = time.Second
			o.LocalRepositories = append(o.LocalRepositories, other.Dir)
		})
	f.secretIn("retail", "registry", map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2"), "ca.crt": r.CA()})
	f.deliver()
	f.join("one")
	f.push("")
	f.expectData("one", "elsewhere", "web", "version", "1.0.0")
	f.expectData("one", "elsewhere", "artifact", "color", "red")
	f.expectData("one", "elsewhere", "other", "color", "red")
	f.expectData("one", "elsewhere", "base", "color", "red")
	f.expectData("one", "tagged", "other", "color", "red")

	r.Push("charts/web", "1.1.0", registry.Chart, charts.Pack("web", "1.1.0", web))
	r.Push("fleet/artifact", "stable", registry.Flux, charts.Archive(map[string]string{"prod/config.yaml": config("artifact", "blue")}))
	other.Commit("-- ingress/config.yaml --\n" + config("other", "blue"))
	f.expectData("one", "elsewhere", "web", "version", "1.1.0")
	f.expectData("one", "elsewhere", "artifact", "color", "blue")
	f.expectData("one", "elsewhere", "other", "color", "blue")
	other.Git("tag", "--force", "v1")
	f.eventually(func() string {
		for _, s := range f.application("retail/tagged").Status.Sources {
			if strings.Contains(s.Message, "tag v1 named commit") {
				return ""
			}
		}
		return fmt.Sprintf("the sources are %+v", f.application("retail/tagged").Status.Sources)
	})
	f.expectData("one", "tagged", "other", "color", "red")
}

func TestChartOfARepositoryReachesTheClusters(t *testing.T) {
	t.Parallel()
	repo := charts.New(t)
	repo.Change(func(s *charts.State) { s.User, s.Password = "ann", "hunter2" })
	repo.Publish("web", "1.0.0", web)
	repo.Publish("web", "2.0.0", web)
	f := newFleet(t, shopIn("shop")+clusterFile("one", "tier: edge")+clusterFile("two", "tier: edge, ring: canary")+chartFrom(repo.URL, "^1"),
		func(o *Options) { o.SourceInterval = time.Second })
	f.secretIn("retail", "charts", map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2"), "ca.crt": repo.CA()})
	f.deliver()
	f.join("one")
	f.join("two")
	revision := f.push("")
	f.expectHealthy("retail/web", revision, 2)
	f.expectSource("retail/web", "1.0.0")
	f.expectData("one", "charts", "web", "version", "1.0.0")
	f.expectData("one", "charts", "web", "size", "large")
	f.expectData("two", "charts", "web", "version", "2.0.0") // the override's version, and everything else as it is

	f.run("a range follows what is published", func(f *theFleet) {
		repo.Publish("web", "1.1.0", web)
		f.expectData("one", "charts", "web", "version", "1.1.0")
		f.expectSource("retail/web", "1.1.0")
		f.expectHealthy("retail/web", revision, 2)
		f.expectData("two", "charts", "web", "version", "2.0.0")
	})
	f.run("a repository that is away changes nothing", func(f *theFleet) {
		repo.Change(func(s *charts.State) { s.Status = http.StatusServiceUnavailable })
		f.expectSource("retail/web", "1.1.0", "HTTP 503")
		f.stop()
		f.startHub()
		revision = f.push("-- applications/retail/web/values.yaml --\nsize: huge\n")
		f.expectHealthy("retail/web", revision, 2)
		f.expectData("one", "charts", "web", "size", "huge")
		f.expectData("one", "charts", "web", "version", "1.1.0")
		repo.Change(func(s *charts.State) { s.Status = 0 })
	})
	f.run("a version that is not there deletes nothing", func(f *theFleet) {
		var before, after corev1.ConfigMap
		f.on("one", &before, "charts", "web")
		f.push(chartFrom(repo.URL, "^9"))
		f.expectRow("retail/web", "one", "no version is in the range ^9", "applications/retail/web/application.yaml")
		if !f.on("one", &after, "charts", "web") || after.UID != before.UID {
			f.t.Errorf("the ConfigMap was %s and is %s", before.UID, after.UID)
		}
		revision = f.push(chartFrom(repo.URL, "1.0.0"))
		f.expectData("one", "charts", "web", "version", "1.0.0")
	})
}
