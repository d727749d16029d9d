package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/test"
	agent "github.com/muster-io/muster/klusterlet/work"
)

// lastRelease has the packed charts of the last release, and what its hub and its agent have made of a fleet repository: recorded objects.
const lastRelease = "../../internal/chart/testdata/last-release"

// TestUpgradeFromTheLastRelease: this hub takes over what that of the last release has left, and reads what the agent of that release has
// reported; it asks nothing new of that agent. Then this agent takes over as well. The works are the same objects, what is applied
// stays applied, by its UID, and the next commit reaches it.
func TestUpgradeFromTheLastRelease(t *testing.T) {
	t.Parallel()
	f, works, applied := lastFleet(t)
	if err := prepareHub(t.Context(), f.cp); err != nil {
		t.Fatal(err)
	}
	f.startHub()
	t.Cleanup(f.end)
	for _, name := range []string{"retail/shop", "retail/web"} {
		f.expectHealthy(name, strings.TrimSpace(f.repo.Git("rev-parse", "HEAD")), 1)
	}
	for _, w := range f.works("one") {
		if w.Generation != 1 {
			t.Errorf("work %s is at generation %d: the hub has changed what the agent of the last release has applied", w.Name, w.Generation)
		}
	}
	f.startAgentWith("one", func(a *agent.Agent) {
		a.EvictionAllowed = func(context.Context) (bool, error) { return true, nil } // as on a hub that has planned before
	})
	revision := f.push("-- manifests/shop/config.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {color: green}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: shop}\n")
	f.expectHealthy("retail/shop", revision, 1)
	f.expectHealthy("retail/web", revision, 1)
	same(t, f.cp, works)
	same(t, f.spokes["one"], applied)
	f.expectColor("green")
}

// TestAgentWithTheLastHub: this agent works for the hub of the last release, whose kinds and works it finds. A work that changes is applied and
// reported, and the others stay as they are.
func TestAgentWithTheLastHub(t *testing.T) {
	t.Parallel()
	f, works, applied := lastFleet(t)
	f.stop = func() {} // no hub of this version runs
	t.Cleanup(f.end)
	f.startAgent("one")
	work := f.works("one")[0]
	changed := strings.Replace(string(work.Spec.Workload.Manifests[configOf(t, work)].Raw), "red", "blue", 1)
	work.Spec.Workload.Manifests[configOf(t, work)].Raw = []byte(changed)
	if err := f.client.Update(t.Context(), &work); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() string {
		now := f.works("one")[0]
		if c := meta.FindStatusCondition(now.Status.Conditions, workv1.WorkApplied); c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != work.Generation {
			return fmt.Sprintf("work %s is at generation %d and reports %+v", now.Name, work.Generation, c)
		}
		return ""
	})
	f.expectColor("blue")
	same(t, f.cp, works)
	same(t, f.spokes["one"], applied)
}

// configOf is where a work has the ConfigMap.
func configOf(t *testing.T, work workv1.ManifestWork) int {
	t.Helper()
	i := slices.IndexFunc(work.Spec.Workload.Manifests, func(m workv1.Manifest) bool { return strings.Contains(string(m.Raw), `"red"`) })
	if i < 0 {
		t.Fatalf("work %s has no ConfigMap", work.Name)
	}
	return i
}

func (f *theFleet) expectColor(color string) {
	f.t.Helper()
	var shop corev1.ConfigMap
	if !f.on("one", &shop, "upgraded-shop", "shop") || shop.Data["color"] != color {
		f.t.Errorf("the object is %v, want color %s", shop.Data, color)
	}
}

// lastFleet is a fleet as the last release has left it: a repository, a hub and a cluster with all that was recorded of them, and no program
// that runs.
func lastFleet(t *testing.T) (f *theFleet, works, applied []*unstructured.Unstructured) {
	t.Helper()
	archive, err := os.ReadFile(filepath.Join(lastRelease, "fleet.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	f = stoppedFleet(t, test.ControlPlane(t, controlplane.Options{Name: "last-hub"}), string(archive))
	f.url = "https://hub.example.com" // what the recorded agent knew the hub by
	f.spokes["one"] = test.ControlPlane(t, controlplane.Options{Name: "last-one"})
	f.connect()
	recorded := strings.NewReplacer("REPOSITORY", f.repo.URL(), "REVISION", strings.TrimSpace(f.repo.Git("rev-parse", "HEAD")))
	return f, restore(t, f.cp, "hub.yaml", recorded), restore(t, f.spokes["one"], "cluster.yaml", recorded)
}

// restore puts recorded objects on a control plane with the kinds of the last release: with their status, with owners by their new UIDs, and
// with who owns which field.
func restore(t *testing.T, cp *controlplane.ControlPlane, name string, recorded *strings.Replacer) []*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(lastRelease, "*.tgz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d charts of the last release (%v)", len(files), err)
	}
	var kinds [][]byte
	for _, file := range files {
		chart, err := loader.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range chart.Files {
			if strings.HasPrefix(f.Name, "files/crds/") {
				kinds = append(kinds, f.Data)
			}
		}
	}
	if err := controlplane.Install(t.Context(), cp.Config(), kinds...); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(lastRelease, name))
	if err != nil {
		t.Fatal(err)
	}
	r := restorer{client: clientOf(t, cp), uids: map[string]types.UID{}}
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(recorded.Replace(string(data))), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) == 0 {
			continue
		}
		if err := r.create(t.Context(), o); err != nil {
			t.Fatalf("%s %s/%s: %v", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
	}
	for _, o := range r.objects {
		if err := r.complete(t.Context(), o); err != nil {
			t.Fatalf("%s %s/%s: %v", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
	}
	return r.objects
}

type restorer struct {
	client  client.Client
	objects []*unstructured.Unstructured
	uids    map[string]types.UID // by kind, namespace and name
}

// create makes an object whose owners are there.
func (r *restorer) create(ctx context.Context, o *unstructured.Unstructured) error {
	owners := o.GetOwnerReferences()
	for i := range owners {
		uid, known := r.uids[keyOf(owners[i].Kind, o.GetNamespace(), owners[i].Name)]
		if !known {
			uid, known = r.uids[keyOf(owners[i].Kind, "", owners[i].Name)]
		}
		if !known {
			return fmt.Errorf("its owner %s %s is not there", owners[i].Kind, owners[i].Name)
		}
		owners[i].UID = uid
	}
	o.SetOwnerReferences(owners)
	created := o.DeepCopy()
	created.SetManagedFields(nil)
	if err := r.client.Create(ctx, created); err != nil {
		return err
	}
	o.SetUID(created.GetUID())
	r.objects = append(r.objects, o)
	r.uids[keyOf(o.GetKind(), o.GetNamespace(), o.GetName())] = o.GetUID()
	return nil
}

// complete writes an object's status, in which records name others by their UIDs, and who owns its fields.
func (r *restorer) complete(ctx context.Context, o *unstructured.Unstructured) error {
	resources, _, _ := unstructured.NestedSlice(o.Object, "status", "appliedResources")
	for _, resource := range resources {
		named := resource.(map[string]any)
		kind := map[any]string{"configmaps": "ConfigMap", "namespaces": "Namespace", "serviceaccounts": "ServiceAccount"}[named["resource"]]
		namespace, _ := named["namespace"].(string)
		uid, known := r.uids[keyOf(kind, namespace, named["name"].(string))]
		if !known {
			return fmt.Errorf("what it lists is not there: %v", named)
		}
		named["uid"] = string(uid)
	}
	if resources != nil {
		if err := unstructured.SetNestedSlice(o.Object, resources, "status", "appliedResources"); err != nil {
			return err
		}
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(o.GroupVersionKind())
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(o), live); err != nil {
		return err
	}
	if status, has := o.Object["status"]; has {
		live.Object["status"] = status
		if err := r.client.Status().Update(ctx, live); err != nil && !apierrors.IsNotFound(err) { // a kind without a status of its own has it already
			return err
		}
	}
	live.SetManagedFields(o.GetManagedFields())
	return r.client.Update(ctx, live)
}

func keyOf(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }

// same says that the objects are there, as the same objects.
func same(t *testing.T, cp *controlplane.ControlPlane, objects []*unstructured.Unstructured) {
	t.Helper()
	c := clientOf(t, cp)
	for _, o := range objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(o.GroupVersionKind())
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), live); err != nil || live.GetUID() != o.GetUID() {
			t.Errorf("%s %s/%s was %s and is %s (%v)", o.GetKind(), o.GetNamespace(), o.GetName(), o.GetUID(), live.GetUID(), err)
		}
	}
}

func clientOf(t *testing.T, cp *controlplane.ControlPlane) client.Client {
	t.Helper()
	c, err := client.New(cp.Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
