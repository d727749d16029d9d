package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/embedded"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/test"
)

var listAll = metav1.ListOptions{}

const (
	systemNamespace = embedded.SystemNamespace
	agentNamespace  = "muster-agent"
	clusterName     = "local-cluster"
	leaseName       = "muster-hub"

	hubChart   = "../../../charts/muster-hub"
	agentChart = "../../../charts/klusterlet"
	// lastVersion is that of the charts before the upgrade. They are those of today, as the images are: a chart is for the images of its own
	// version. TestUpgradeOverTheLastRelease in internal/chart upgrades from packed charts, TestUpgradeFromTheLastRelease in cmd/hub
	// from what older programs have left.
	lastVersion = "0.1.0-rc.1"
)

// fleetFiles are a fleet of one cluster, the hub's own, with one application.
const fleetFiles = `
-- muster.yaml --
apiVersion: muster.dev/v1alpha1
kind: FleetConfiguration
spec: {paths: [fleet]}
-- fleet/cluster.yaml --
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata:
  name: local-cluster
  annotations: {muster.dev/join-identity: "system:serviceaccount:muster-system:join-local-cluster"}
spec: {hubAcceptsClient: true}
-- fleet/team.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSet
metadata: {name: everywhere}
spec: {clusterSelector: {selectorType: LabelSelector, labelSelector: {}}}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: everywhere, namespace: demo}
spec: {clusterSet: everywhere}
---
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: everywhere, namespace: demo}
spec: {clusterSets: [everywhere]}
-- fleet/hello.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: hello, namespace: demo}
spec:
  placementRef: {name: everywhere}
  source: {path: hello}
  destination: {namespace: demo} # a tenant delivers to the hub's own cluster only there
  sync: {drift: Correct}
`

// content is the application, which writes a text into its log.
func content(text string) string {
	return fmt.Sprintf(`
-- hello/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - {name: hello, image: "ghcr.io/muster-io/muster-pause:1", imagePullPolicy: Never, args: [%q]}
`, text)
}

// fleet is a hub and an agent that were installed with Helm, and a repository that the hub follows.
type fleet struct {
	*realCluster
	repository *test.Repository
	git        *gitServer
	values     map[string]map[string]any // by release
}

// TestOnARealNode installs both charts and lives through what happens to an installation.
func TestOnARealNode(t *testing.T) {
	f := &fleet{realCluster: newCluster(t)}
	f.repository = test.NewRepository(t, fleetFiles+content("hello one"))
	f.git = &gitServer{}
	image := map[string]any{"tag": f.version, "pullPolicy": "Never"}
	f.values = map[string]map[string]any{
		"muster-hub": {
			"image": image, "hubCluster": clusterName,
			"fleetRepository": map[string]any{"url": f.serveGit(f.repository, f.git), "interval": "5s"},
		},
	}
	f.step(t, "helm install of the hub", func(t *testing.T) {
		f.install(t, "muster-hub", systemNamespace, f.loadLast(hubChart), f.values["muster-hub"])
	})
	f.step(t, "helm install of the klusterlet", f.join)
	f.step(t, "a push runs as pods", func(t *testing.T) {
		f.says(t, "hello one")
		f.repository.Commit(content("hello two"))
		f.says(t, "hello two")
	})
	f.step(t, "the agent tells of pods and their logs", func(t *testing.T) { f.inspect(t, "hello two") })
	f.step(t, "drift on a Deployment is healed", f.drift)
	f.step(t, "the hub dies in the middle of a push", f.hubDies)
	f.step(t, "helm upgrade to the charts of this commit", f.upgrades)
	f.step(t, "helm uninstall of the klusterlet keeps the workloads", func(t *testing.T) {
		before := f.pods(t)
		f.leaves(t)
		f.unchanged(t, before)
	})
	f.step(t, "helm uninstall of the klusterlet deletes the workloads", func(t *testing.T) {
		f.values["klusterlet"]["uninstall"] = map[string]any{"workloads": "Delete"}
		f.join(t)
		f.says(t, "hello three")
		f.leaves(t)
		f.eventually(t, "no pod of the application", func(ctx context.Context) error {
			if pods := f.pods(t); len(pods) > 0 {
				return fmt.Errorf("%d pods", len(pods))
			}
			return nil
		})
	})
}

// step is a subtest that the ones after it need.
func (f *fleet) step(t *testing.T, name string, do func(*testing.T)) {
	t.Helper()
	if !t.Run(name, do) {
		t.FailNow()
	}
}

// join installs the klusterlet and waits until the cluster is available.
func (f *fleet) join(t *testing.T) {
	token, err := embedded.JoinToken(t.Context(), f.Config(), clusterName)
	if err != nil {
		t.Fatal(err)
	}
	values := f.values["klusterlet"]
	if values == nil {
		values = map[string]any{"image": map[string]any{"tag": f.version, "pullPolicy": "Never"}, "clusterName": clusterName}
		f.values["klusterlet"] = values
	}
	values["bootstrap"] = map[string]any{"server": f.URL(), "ca": string(f.CA()), "token": token}
	chart := f.loadLast(agentChart)
	if values["uninstall"] != nil { // after the upgrade
		chart = f.load(agentChart)
		t.Cleanup(f.acceptAgain(t))
	}
	f.install(t, "klusterlet", agentNamespace, chart, values)
	f.eventually(t, "the cluster is available", func(ctx context.Context) error {
		var managed clusterv1.ManagedCluster
		if err := f.api.Get(ctx, client.ObjectKey{Name: clusterName}, &managed); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(managed.Status.Conditions, clusterv1.ManagedClusterConditionAvailable) {
			return fmt.Errorf("conditions %+v", managed.Status.Conditions)
		}
		return nil
	})
}

// acceptAgain does what a person has to: an agent that joins anew under a name that was joined before is a stranger, whatever its
// identity. It returns what ends it.
func (f *fleet) acceptAgain(t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if accepted, err := cluster.Accept(ctx, f.api, clusterName, cluster.AcceptOptions{}); err == nil && len(accepted.Approved) > 0 {
				t.Logf("accepted %s", accepted.Agent)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// pods are those of the application that are not being deleted.
func (f *fleet) pods(t *testing.T) map[string]corev1.Pod {
	t.Helper()
	list, err := f.clients.CoreV1().Pods("demo").List(t.Context(), listAll)
	if err != nil {
		t.Fatal(err)
	}
	pods := map[string]corev1.Pod{}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			pods[string(p.UID)] = p
		}
	}
	return pods
}

// says waits until both pods of the application run and have written a text, and no other pod is left.
func (f *fleet) says(t *testing.T, text string) {
	t.Helper()
	f.eventually(t, text+" in the logs", func(ctx context.Context) error {
		pods := f.pods(t)
		if len(pods) != 2 {
			return fmt.Errorf("%d pods", len(pods))
		}
		for _, p := range pods {
			if p.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("pod %s is %s", p.Name, p.Status.Phase)
			}
			log, err := f.clients.CoreV1().Pods("demo").GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
			if err != nil {
				return err
			}
			if strings.TrimSpace(string(log)) != text {
				return fmt.Errorf("pod %s says %q", p.Name, log)
			}
		}
		return nil
	})
}

// inspect asks the agent as muster tree and muster logs do: the pods run on the node, and the log is what the kubelet has of it.
func (f *fleet) inspect(t *testing.T, text string) {
	spec := musterv1alpha1.InspectionSpec{Application: musterv1alpha1.InspectedApplication{Namespace: "demo", Name: "hello"}}
	f.eventually(t, "a tree with two pods that run", func(ctx context.Context) error {
		answer, err := overview.Inspect(ctx, f.api, clusterName, spec)
		if err != nil {
			return err
		}
		running := 0
		for _, o := range answer.Objects {
			if o.Pod != nil && o.Pod.Node != "" && len(o.Pod.Containers) == 1 && o.Pod.Containers[0].Ready {
				running++
			}
		}
		if running != 2 {
			return fmt.Errorf("%d pods run among %+v", running, answer.Objects)
		}
		return nil
	})
	spec.Logs = &musterv1alpha1.InspectionLogs{Lines: 5}
	answer, err := overview.Inspect(t.Context(), f.api, clusterName, spec)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Log == nil || strings.TrimSpace(answer.Log.Text) != text || answer.Log.Container != "hello" {
		t.Errorf("the log is %+v, want %q", answer.Log, text)
	}
}

// unchanged says that the pods are the same and have not been restarted.
func (f *fleet) unchanged(t *testing.T, before map[string]corev1.Pod) {
	t.Helper()
	after := f.pods(t)
	if !slices.Equal(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after))) {
		t.Errorf("the application has other pods: %d before, %d after", len(before), len(after))
	}
	for _, p := range after {
		if p.Status.Phase != corev1.PodRunning || p.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("pod %s is %s, restarted %d times", p.Name, p.Status.Phase, p.Status.ContainerStatuses[0].RestartCount)
		}
	}
}

func (f *fleet) drift(t *testing.T) {
	key := client.ObjectKey{Namespace: "demo", Name: "hello"}
	var deployment appsv1.Deployment
	if err := f.api.Get(t.Context(), key, &deployment); err != nil {
		t.Fatal(err)
	}
	replicas := int32(0)
	deployment.Spec.Replicas = &replicas
	deployment.Spec.Template.Spec.Containers[0].Args = []string{"hello from somebody else"}
	if err := f.api.Update(t.Context(), &deployment, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	f.eventually(t, "the Deployment is as applied", func(ctx context.Context) error {
		var now appsv1.Deployment
		if err := f.api.Get(ctx, key, &now); err != nil {
			return err
		}
		if args := now.Spec.Template.Spec.Containers[0].Args; now.Generation <= deployment.Generation || *now.Spec.Replicas != 2 || args[0] != "hello two" {
			return fmt.Errorf("generation %d has %d replicas and says %v", now.Generation, *now.Spec.Replicas, args)
		}
		return nil
	})
	f.says(t, "hello two")
}

// hubDies kills the hub that leads while it fetches a push, and expects the standby to lead within the lease and to deliver.
func (f *fleet) hubDies(t *testing.T) {
	lease := func() *coordinationv1.Lease {
		var l coordinationv1.Lease
		if err := f.api.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: leaseName}, &l); err != nil || l.Spec.HolderIdentity == nil {
			t.Fatalf("the hub's lease: %v", err)
		}
		return &l
	}
	before := lease()
	leader, _, _ := strings.Cut(*before.Spec.HolderIdentity, "_")
	fetching, release := f.git.hold()
	revision := f.repository.Commit(content("hello three"))
	select {
	case <-fetching:
	case <-time.After(patience):
		t.Fatal("the hub does not fetch the push")
	}
	f.kill(t, leader, "/hub")
	release()
	if err := f.clients.CoreV1().Pods(systemNamespace).Delete(t.Context(), leader, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	killed := time.Now()
	f.eventually(t, "another hub leads", func(context.Context) error {
		if holder := *lease().Spec.HolderIdentity; holder == *before.Spec.HolderIdentity {
			return fmt.Errorf("%s holds the lease", holder)
		}
		return nil
	})
	after := lease()
	limit := time.Duration(*before.Spec.LeaseDurationSeconds)*time.Second + 10*time.Second // it looks every 2 s, on a busy machine
	if took := after.Spec.AcquireTime.Sub(killed); took > limit {
		t.Errorf("another hub leads %s after the end of the first one, want at most %s", took, limit)
	}
	f.says(t, "hello three")
	var repository musterv1alpha1.FleetRepository
	if err := f.api.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "fleet"}, &repository); err != nil || repository.Status.FetchedRevision != revision {
		t.Errorf("the hub is at %s, want %s (%v)", repository.Status.FetchedRevision, revision, err)
	}
}

// upgrades to the charts of this commit: the works are the same objects, and no pod of the application notices.
func (f *fleet) upgrades(t *testing.T) {
	works := func() map[string]string {
		var list workv1.ManifestWorkList
		if err := f.api.List(t.Context(), &list, client.InNamespace(clusterName)); err != nil {
			t.Fatal(err)
		}
		uids := map[string]string{}
		for _, w := range list.Items {
			uids[w.Name] = string(w.UID)
		}
		return uids
	}
	before, pods := works(), f.pods(t)
	if len(before) == 0 {
		t.Fatal("no works")
	}
	f.upgrade(t, "muster-hub", systemNamespace, f.load(hubChart), f.values["muster-hub"])
	f.upgrade(t, "klusterlet", agentNamespace, f.load(agentChart), f.values["klusterlet"])
	f.repository.Commit("-- hello/page.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: page}\ndata: {text: after the upgrade}\n")
	f.eventually(t, "a push after the upgrade is delivered", func(ctx context.Context) error {
		return f.api.Get(ctx, client.ObjectKey{Namespace: "demo", Name: "page"}, &corev1.ConfigMap{})
	})
	if after := works(); !maps.Equal(before, after) {
		t.Errorf("the works were %v and are %v", before, after)
	}
	f.unchanged(t, pods)
}

// leaves uninstalls the klusterlet: nothing of it holds anything any more.
func (f *fleet) leaves(t *testing.T) {
	f.uninstall(t, "klusterlet", agentNamespace)
	var applied workv1.AppliedManifestWorkList
	if err := f.api.List(t.Context(), &applied); err != nil {
		t.Fatal(err)
	}
	if len(applied.Items) > 0 {
		t.Errorf("%d AppliedManifestWorks are left, the first one with finalizers %v", len(applied.Items), applied.Items[0].Finalizers)
	}
}
