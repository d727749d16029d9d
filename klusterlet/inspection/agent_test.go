package inspection_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/inspection"
)

func TestMain(m *testing.M) {
	test.Main(m, test.Environment{
		HubCRDs: crds.Hub(), ClusterCRDs: crds.Agent(), Clusters: controlplane.Options{Workloads: true, Ephemeral: true},
	})
}

const secret = "c2hlIHNlbGxzIHNlYSBzaGVsbHM="

// applied is what an application has on the cluster, with a pod that it does not own.
const applied = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
data: {password: ` + secret + `}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web:1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: shop}
spec: {containers: [{name: web, image: web:1}]}
`

func clientOf(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, musterv1alpha1.AddToScheme, workv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), o); client.IgnoreAlreadyExists(err) != nil {
		t.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// kubelet stands for one of a node: it has the log of every container.
func kubelet(t *testing.T, lines int) *corev1.Node {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/containerLogs/shop/web-log/") {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, "asked for %s\n", r.URL.Query().Get("tailLines"))
		for i := range lines {
			fmt.Fprintf(w, "line %d of %s \xff\n", i, r.URL.Path)
		}
	}))
	t.Cleanup(server.Close)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "logs"}, Status: corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(server.Listener.Addr().(*net.TCPAddr).Port)}},
	}}
	return node
}

// TestInspection asks a cluster as a person does, with real API servers, controllers and KWOK's pods between.
func TestInspection(t *testing.T) {
	hubPlane, spokePlane := test.Hub(t), test.Clusters(t, 1)[0]
	admin, spoke := clientOf(t, hubPlane.Config()), clientOf(t, spokePlane.Config())
	if err := cluster.Install(t.Context(), admin, hub.Rights()...); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"edge-1", "retail"} {
		create(t, admin, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	for _, role := range registration.SharedRoles() {
		create(t, admin, role)
	}
	for _, binding := range registration.WantRoleBindings("edge-1") {
		binding.Finalizers = nil
		create(t, admin, binding)
	}

	// What the hub and role work have left.
	record := &workv1.AppliedManifestWork{ObjectMeta: metav1.ObjectMeta{Name: "hash-web-0"}, Spec: workv1.AppliedManifestWorkSpec{HubHash: "hash", ManifestWorkName: "web-0"}}
	for document := range strings.SplitSeq(applied, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatal(err)
		}
		create(t, spoke, object)
		if object.GetKind() != "Pod" && object.GetKind() != "Namespace" {
			kind := object.GroupVersionKind()
			record.Status.AppliedResources = append(record.Status.AppliedResources, workv1.AppliedManifestResourceMeta{Version: kind.Version, UID: string(object.GetUID()), ResourceIdentifier: workv1.ResourceIdentifier{
				Group: kind.Group, Resource: strings.ToLower(kind.Kind) + "s", Namespace: "shop", Name: object.GetName(),
			}})
		}
	}
	record.Status.AppliedResources = append(record.Status.AppliedResources, workv1.AppliedManifestResourceMeta{Version: "v1", ResourceIdentifier: workv1.ResourceIdentifier{Resource: "configmaps", Namespace: "shop", Name: "gone"}})
	status := record.Status
	create(t, spoke, record)
	record.Status = status
	if err := spoke.Status().Update(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "edge-1", Name: "web-0", Labels: map[string]string{musterv1alpha1.OwnerLabel: fleet.ApplicationOwner("retail", "web").Digest()}}}
	work.Spec.Workload.Manifests = []workv1.Manifest{{RawExtension: runtime.RawExtension{Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"gone","namespace":"shop"}}`)}}}
	create(t, admin, work)
	eventually(t, "the pods run", func() error {
		var pods corev1.PodList
		if err := spoke.List(t.Context(), &pods, client.InNamespace("shop"), client.MatchingLabels{"app": "web"}); err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("pod %s is %s", p.Name, p.Status.Phase)
			}
		}
		if len(pods.Items) != 2 {
			return fmt.Errorf("there are %d pods", len(pods.Items))
		}
		return nil
	})

	// The agent has an agent's rights on the hub, and people have their own.
	agentConfig, err := hubPlane.User("system:open-cluster-management:edge-1:agent", registration.Group("edge-1"))
	if err != nil {
		t.Fatal(err)
	}
	agent := &inspection.Agent{Hub: agentConfig, Spoke: spokePlane.Config(), Cluster: "edge-1", HubHash: "hash", Retry: 100 * time.Millisecond}
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(t.Context()) }()
	person := func(name string, roles ...string) client.Client {
		config, err := hubPlane.User(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range roles {
			namespace, role, _ := strings.Cut(role, "/")
			create(t, admin, &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-" + strings.ReplaceAll(role, ":", "-")},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: name}},
			})
		}
		return clientOf(t, config)
	}
	create(t, admin, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reads-applications"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"muster.dev"}, Resources: []string{"applications"}, Verbs: []string{"get"},
	}}})
	jane := person("jane", "edge-1/"+hub.InspectionRole, "retail/reads-applications")
	asked := musterv1alpha1.InspectionSpec{Application: musterv1alpha1.InspectedApplication{Namespace: "retail", Name: "web"}}
	var answer *musterv1alpha1.InspectionStatus
	eventually(t, "an answer", func() (err error) {
		answer, err = overview.Inspect(t.Context(), jane, "edge-1", asked)
		return err
	})
	var drawing strings.Builder
	for _, r := range overview.Tree(answer.Objects) {
		name := r.Name
		if r.Depth > 0 {
			name = "*"
		}
		fmt.Fprintf(&drawing, "%s%s %s %s %s\n", r.Prefix, r.Kind, name, r.Health, overview.Containers(r.Pod))
	}
	if want := "configmaps gone Missing \nDeployment web Healthy \n└─ ReplicaSet * Healthy \n   ├─ Pod * Healthy 1/1 ready\n   └─ Pod * Healthy 1/1 ready\nSecret db Healthy \n"; drawing.String() != want {
		t.Errorf("the tree is\n%swant\n%s", drawing.String(), want)
	}
	reasons := ""
	for _, e := range answer.Events {
		reasons += e.Reason + " "
	}
	if !strings.Contains(reasons, "ScalingReplicaSet") || !strings.Contains(reasons, "SuccessfulCreate") {
		t.Errorf("the events are %s", reasons)
	}
	if text, err := json.Marshal(answer); err != nil || strings.Contains(string(text), secret) || len(answer.Notes) > 0 {
		t.Errorf("the answer is %s %v", text, err)
	}
	var left musterv1alpha1.InspectionList
	if err := admin.List(t.Context(), &left); err != nil || len(left.Items) > 0 {
		t.Errorf("%d questions stay: %v", len(left.Items), err)
	}

	t.Run("rights", func(t *testing.T) {
		logs := asked
		logs.Logs = &musterv1alpha1.InspectionLogs{}
		other := asked
		other.Application.Namespace = "bank"
		for name, tc := range map[string]struct {
			who  client.Client
			what musterv1alpha1.InspectionSpec
			want string
		}{
			"nobody":                             {person("nobody"), asked, "cannot create resource"},
			"who may ask but not see it":         {person("joe", "edge-1/"+hub.InspectionRole), asked, "may not get application retail/web"},
			"who may see it but not ask":         {person("ann", "retail/reads-applications"), asked, "cannot create resource"},
			"another team's application":         {jane, other, "may not get application bank/web"},
			"logs without the right to read any": {jane, logs, "may not read logs"},
		} {
			if _, err := overview.Inspect(t.Context(), tc.who, "edge-1", tc.what); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v, want %q", name, err, tc.want)
			}
		}
		absent := asked
		absent.Application.Name = "absent"
		if _, err := overview.Inspect(t.Context(), jane, "edge-1", absent); err == nil || !strings.Contains(err.Error(), "has no work of retail/absent") {
			t.Errorf("an application that is not there: %v", err)
		}
		var all musterv1alpha1.InspectionList
		if err := jane.List(t.Context(), &all, client.InNamespace("edge-1")); !apierrors.IsForbidden(err) {
			t.Errorf("who asks lists what others ask: %v", err)
		}
	})

	t.Run("logs", func(t *testing.T) {
		reader := person("rita", "edge-1/"+hub.InspectionRole, "edge-1/"+hub.LogsRole, "retail/reads-applications")
		node := kubelet(t, 5000)
		create(t, spoke, node.DeepCopy())
		eventually(t, "the node has its address", func() error {
			live := &corev1.Node{}
			if err := spoke.Get(t.Context(), client.ObjectKeyFromObject(node), live); err != nil {
				return err
			}
			live.Status.Addresses, live.Status.DaemonEndpoints = node.Status.Addresses, node.Status.DaemonEndpoints
			return spoke.Status().Update(t.Context(), live)
		})
		var set unstructured.Unstructured
		for _, o := range answer.Objects {
			if o.Kind == "ReplicaSet" {
				set.SetUID(types.UID(o.UID))
				set.SetName(o.Name)
			}
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-log", OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set.GetName(), UID: set.GetUID()}}}}
		pod.Spec.NodeName = "logs"
		pod.Spec.Containers = []corev1.Container{{Name: "web", Image: "web:1"}, {Name: "aside", Image: "aside:1"}}
		create(t, spoke, pod)
		logs := asked
		logs.Logs = &musterv1alpha1.InspectionLogs{Pod: "web-log", Container: "aside", Lines: 1500}
		got, err := overview.Inspect(t.Context(), reader, "edge-1", logs)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(strings.NewReader(got.Log.Text))
		lines.Scan()
		if !strings.HasPrefix(lines.Text(), "line ") || !strings.Contains(got.Log.Text, "line 4999 of /containerLogs/shop/web-log/aside \uFFFD\n") || !got.Log.Cut || len(got.Log.Text) > 80<<10 {
			t.Errorf("the log, cut %v, %d bytes, begins with %q", got.Log.Cut, len(got.Log.Text), lines.Text())
		}
		for name, tc := range map[string]struct {
			asked musterv1alpha1.InspectionLogs
			want  string
		}{
			"a pod of somebody else":    {musterv1alpha1.InspectionLogs{Pod: "stranger"}, "has no pod stranger"},
			"a container that is not":   {musterv1alpha1.InspectionLogs{Pod: "web-log", Container: "none"}, "has no container none; it has web, aside"},
			"a namespace without a pod": {musterv1alpha1.InspectionLogs{Namespace: "kube-system"}, "has no pod"},
		} {
			logs.Logs = &tc.asked
			if _, err := overview.Inspect(t.Context(), reader, "edge-1", logs); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v, want %q", name, err, tc.want)
			}
		}
	})

	t.Run("objects", func(t *testing.T) {
		object := func(group, kind, name string) musterv1alpha1.InspectionSpec {
			question := asked
			question.Object = &musterv1alpha1.InspectionObject{Group: group, Kind: kind, Namespace: "shop", Name: name}
			return question
		}
		if _, err := overview.Inspect(t.Context(), jane, "edge-1", object("apps", "Deployment", "web")); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "may not read objects") {
			t.Errorf("an object without the right to read any: %v", err)
		}
		reader := person("otto", "edge-1/"+hub.InspectionRole, "edge-1/"+hub.ObjectsRole, "retail/reads-applications")
		got, err := overview.Inspect(t.Context(), reader, "edge-1", object("apps", "Deployment", "web"))
		if err != nil || !strings.Contains(got.Live, `"image":"web:1"`) || strings.Contains(got.Live, "managedFields") || len(got.Objects) > 0 {
			t.Errorf("the Deployment is %+v (%v)", got, err)
		}
		got, err = overview.Inspect(t.Context(), reader, "edge-1", object("", "Secret", "db"))
		if err != nil || !strings.Contains(got.Live, `"name":"db"`) || strings.Contains(got.Live, secret) {
			t.Errorf("the Secret is %+v (%v)", got, err)
		}
		for name, question := range map[string]musterv1alpha1.InspectionSpec{
			"of somebody else": object("", "Pod", "stranger"), "of another group": object("", "Deployment", "web"), "that is gone": object("", "configmaps", "gone"),
		} {
			if _, err := overview.Inspect(t.Context(), reader, "edge-1", question); err == nil || !strings.Contains(err.Error(), "the application has no "+question.Object.Kind) {
				t.Errorf("an object %s: %v", name, err)
			}
		}
		both := object("apps", "Deployment", "web")
		both.Logs = &musterv1alpha1.InspectionLogs{}
		if _, err := overview.Inspect(t.Context(), admin, "edge-1", both); !apierrors.IsInvalid(err) {
			t.Errorf("a question for both: %v", err)
		}
	})

	select {
	case err := <-ended:
		t.Fatalf("the agent has ended: %v", err)
	default:
	}
}
