package main

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/charts"
	"github.com/muster-io/muster/internal/test"
)

// selfManagedFleet is what docs/install.md shows under self-management, with two clusters, one of which is the hub's own, and an
// application beside the charts.
const selfManagedFleet = `
-- muster.yaml --
apiVersion: muster.dev/v1alpha1
kind: FleetConfiguration
spec: {paths: [fleet]}
-- fleet/clusters.yaml --
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata: {name: local-cluster, labels: {local-cluster: "true"}}
spec: {hubAcceptsClient: true}
---
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata: {name: one}
spec: {hubAcceptsClient: true}
-- fleet/placements.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: global, namespace: muster-system}
spec: {clusterSet: global}
---
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: every-cluster, namespace: muster-system}
spec: {clusterSets: [global]}
---
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: hub, namespace: muster-system}
spec:
  clusterSets: [global]
  predicates:
  - requiredClusterSelector: {labelSelector: {matchLabels: {local-cluster: "true"}}}
-- fleet/hello.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: hello, namespace: muster-system}
spec:
  placementRef: {name: every-cluster}
  source: {path: hello}
  destination: {namespace: default}
`

// klusterletApplication delivers the agents' chart.
func klusterletApplication(tag string) string {
	return fmt.Sprintf(`
-- fleet/klusterlet.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: klusterlet, namespace: muster-system}
spec:
  placementRef: {name: every-cluster}
  source: {path: charts/klusterlet}
  helm:
    releaseName: klusterlet
    values:
      clusterName: '${{ cluster.name }}'
      bootstrap: {existingSecret: klusterlet-bootstrap}
      uninstall: {job: false}
      image: {tag: %q}
  destination: {namespace: muster-agent}
  rollout: {type: Progressive, progressive: {maxConcurrency: 1}}
  deletion: {cluster: Orphan, application: Orphan}
`, tag)
}

// hubApplication delivers the hub's chart, with the values that it was installed with.
func hubApplication(tag, repository string) string {
	return fmt.Sprintf(`
-- fleet/hub.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: muster-hub, namespace: muster-system}
spec:
  placementRef: {name: hub}
  source: {path: charts/muster-hub}
  helm:
    releaseName: muster-hub
    values:
      hubCluster: local-cluster
      fleetRepository: {url: %q, interval: 1s}
      extraArgs: [%q]
      image: {tag: %q}
  destination: {namespace: muster-system}
  deletion: {cluster: Orphan, application: Orphan}
`, repository, localRepositories(repository), tag)
}

// localRepositories is the argument that lets a hub read a repository of this machine.
func localRepositories(repository string) string {
	return "--local-repositories=" + filepath.Dir(strings.TrimPrefix(repository, "file://"))
}

func hello(text string) string {
	return "-- hello/page.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: hello}\ndata: {text: " + text + "}\n"
}

// selfManaged is a hub and two agents that are installed from the command line, and deliver their own charts from then on.
type selfManaged struct {
	*realClusters
	repository *test.Repository
	nodes      map[string]*test.Kubelet // of the hub's cluster and of the other one
}

// TestSelfManagement: the hub delivers the chart of the agents and its own, from the fleet repository. What takes over the installation
// restarts nothing; a new version reaches one cluster after the other, as the application's rollout says; and the works stay the same
// objects while the programs that write and apply them are replaced.
func TestSelfManagement(t *testing.T) {
	t.Parallel()
	s := newSelfManaged(t)
	url := s.repository.URL()
	s.muster("hub", "install", "--timeout", "2m", "--set", "image.tag=one", "--set", "hubCluster=local-cluster",
		"--set", "fleetRepository.url="+url, "--set", "fleetRepository.interval=1s", "--set", "extraArgs={"+localRepositories(url)+"}")
	for name, kubeconfig := range map[string]string{"local-cluster": s.hub.KubeconfigPath(), "one": s.cluster.KubeconfigPath()} {
		s.muster("join", name, "--install", "--cluster-kubeconfig", kubeconfig, "--timeout", "2m", "--set", "image.tag=one")
	}
	pods := s.pods()

	s.delivered(s.repository.Commit(klusterletApplication("one")+hubApplication("one", url)), "klusterlet", "muster-hub", "hello")
	works := s.works()
	if now := s.pods(); !maps.Equal(pods, now) {
		t.Errorf("the pods are %v after the charts have become applications, and were %v", now, pods)
	}

	s.oneAfterTheOther(s.repository.Commit(klusterletApplication("two")))
	s.replaced(pods, "klusterlet")

	s.delivered(s.repository.Commit(hubApplication("two", url)), "muster-hub")
	s.replaced(pods, "muster-hub")

	s.delivered(s.repository.Commit(hello("delivered by the new hub and the new agents")), "hello", "klusterlet", "muster-hub")
	for name, c := range map[string]client.Client{"local-cluster": s.hubAPI, "one": s.clusterC} {
		var page corev1.ConfigMap
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "hello"}, &page); err != nil || page.Data["text"] != "delivered by the new hub and the new agents" {
			t.Errorf("cluster %s has %v (%v)", name, page.Data, err)
		}
	}
	if now := s.works(); !maps.Equal(works, now) {
		t.Errorf("the works are %v after the upgrades, and were %v", now, works)
	}
}

func newSelfManaged(t *testing.T) *selfManaged {
	t.Helper()
	s := &selfManaged{realClusters: newRealClusters(t), repository: test.NewRepository(t, selfManagedFleet+hello("first"))}
	var archive strings.Builder
	err := fs.WalkDir(charts.FS, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := charts.FS.ReadFile(file)
		fmt.Fprintf(&archive, "-- charts/%s --\n%s", file, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.repository.Commit(archive.String())
	agent := "muster-agent/klusterlet"
	s.nodes = map[string]*test.Kubelet{
		"local-cluster": {T: t, ControlPlane: s.hub, Programs: map[string]string{"muster-system/muster-hub": s.hubProgram, agent: s.klusterlet}},
		"one":           {T: t, ControlPlane: s.cluster, Programs: map[string]string{agent: s.klusterlet}},
	}
	return s
}

// muster runs the program while the clusters' pods run.
func (s *selfManaged) muster(args ...string) {
	s.t.Helper()
	var code int
	var out, errs string
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, out, errs = s.realClusters.muster(args...)
	}()
	s.until("muster "+args[0], func() string {
		select {
		case <-done:
			return ""
		default:
			return "it runs"
		}
	})
	if code != 0 {
		s.t.Fatalf("muster %v: exit code %d\n%s\n%s", args, code, out, errs)
	}
}

// until keeps the pods running until nothing is missing.
func (s *selfManaged) until(what string, missing func() string) {
	s.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); ; {
		for _, node := range s.nodes {
			node.Sync()
		}
		text := missing()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %s", what, text)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *selfManaged) application(name string) *musterv1alpha1.Application {
	s.t.Helper()
	application := &musterv1alpha1.Application{}
	if err := s.hubAPI.Get(s.t.Context(), client.ObjectKey{Namespace: "muster-system", Name: name}, application); client.IgnoreNotFound(err) != nil {
		s.t.Fatal(err)
	}
	return application
}

// delivered waits until applications are healthy at a revision on all their clusters.
func (s *selfManaged) delivered(revision string, applications ...string) {
	s.t.Helper()
	for _, name := range applications {
		s.until("application "+name, func() string {
			a := s.application(name)
			if a.Status.Revision != revision || a.Status.Summary.Clusters == 0 || a.Status.Summary.Healthy != a.Status.Summary.Clusters {
				return fmt.Sprintf("want all healthy at %s: %s %+v %+v %+v", revision, a.Status.Revision, a.Status.Summary, a.Status.Clusters, a.Status.Conditions)
			}
			return ""
		})
	}
}

// oneAfterTheOther holds the pods of the cluster that has the new version first: until its agents run, the other one keeps the old version.
func (s *selfManaged) oneAfterTheOther(revision string) {
	s.t.Helper()
	changed := map[string]bool{}
	look := func() {
		for name, c := range map[string]client.Client{"local-cluster": s.hubAPI, "one": s.clusterC} {
			var deployment appsv1.Deployment
			if err := c.Get(s.t.Context(), client.ObjectKey{Namespace: "muster-agent", Name: "klusterlet"}, &deployment); err != nil {
				s.t.Fatal(err)
			}
			changed[name] = strings.HasSuffix(deployment.Spec.Template.Spec.Containers[0].Image, ":two")
		}
	}
	nodes := s.nodes
	s.nodes = nil // no new pod runs, the old ones go on
	s.until("the first cluster has the new version", func() string {
		if look(); changed["one"] || changed["local-cluster"] {
			return ""
		}
		return "none has"
	})
	s.until("the hub knows that it does not run yet", func() string {
		a := s.application("klusterlet")
		if a.Status.Revision == revision && slices.ContainsFunc(a.Status.Clusters, func(c musterv1alpha1.ClusterStatus) bool { return changed[c.Cluster] && c.State == "Applied" }) {
			return ""
		}
		return fmt.Sprintf("%s %+v", a.Status.Revision, a.Status.Clusters)
	})
	if look(); changed["one"] && changed["local-cluster"] {
		s.t.Error("both clusters have the new version before the agents of the first one run")
	}
	s.nodes = nodes
	s.delivered(revision, "klusterlet")
}

// pods are the UIDs of the pods of each Deployment of Muster's.
func (s *selfManaged) pods() map[types.UID]string {
	s.t.Helper()
	all := map[types.UID]string{}
	for _, c := range []client.Client{s.hubAPI, s.clusterC} {
		var pods corev1.PodList
		if err := c.List(s.t.Context(), &pods); err != nil {
			s.t.Fatal(err)
		}
		for _, p := range pods.Items {
			all[p.UID] = p.Labels["app.kubernetes.io/instance"]
		}
	}
	return all
}

// replaced says that no pod of a release is one of those before.
func (s *selfManaged) replaced(before map[types.UID]string, release string) {
	s.t.Helper()
	s.until("no old pod of "+release, func() string {
		for uid, of := range s.pods() {
			if of == release && before[uid] != "" {
				return fmt.Sprintf("%s is there", uid)
			}
		}
		return ""
	})
}

// works are the UIDs of all works.
func (s *selfManaged) works() map[string]types.UID {
	s.t.Helper()
	var list workv1.ManifestWorkList
	if err := s.hubAPI.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	all := map[string]types.UID{}
	for _, w := range list.Items {
		all[w.Namespace+"/"+w.Name] = w.UID
	}
	return all
}
