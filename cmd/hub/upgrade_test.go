package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/test"
	agent "github.com/muster-io/muster/klusterlet/work"
)

// lastRelease has the packed charts of the last release, and what its hub and its agent have made of a fleet repository: recorded objects.
const lastRelease = "../../internal/chart/testdata/last-release"

// TestUpgradeFromTheLastRelease: this hub and this agent take over what those of the last release have left. The works are the same
// objects, what is applied stays applied, by its UID, and the next commit reaches it.
func TestUpgradeFromTheLastRelease(t *testing.T) {
	t.Parallel()
	archive, err := os.ReadFile(filepath.Join(lastRelease, "fleet.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	hub, spoke := test.ControlPlane(t, controlplane.Options{Name: "upgraded-hub"}), test.ControlPlane(t, controlplane.Options{Name: "upgraded-one"})
	f := stoppedFleet(t, hub, string(archive))
	f.url, f.spokes["one"] = "https://hub.example.com", spoke // what the recorded agent knew the hub by
	recorded := strings.NewReplacer("REPOSITORY", f.repo.URL(), "REVISION", strings.TrimSpace(f.repo.Git("rev-parse", "HEAD")))
	works := restore(t, hub, "hub.yaml", recorded)
	applied := restore(t, spoke, "cluster.yaml", recorded)

	if err := prepareHub(t.Context(), hub); err != nil {
		t.Fatal(err)
	}
	f.connect()
	f.startHub()
	t.Cleanup(f.end)
	f.startAgentWith("one", func(a *agent.Agent) {
		a.EvictionAllowed = func(context.Context) (bool, error) { return true, nil } // as on a hub that has planned before
	})
	revision := f.push("-- manifests/shop/config.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {color: green}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: shop}\n")
	f.expectHealthy("retail/shop", revision, 1)
	f.expectHealthy("retail/web", revision, 1)
	same(t, hub, works)
	same(t, spoke, applied)
	var shop corev1.ConfigMap
	if !f.on("one", &shop, "upgraded-shop", "shop") || shop.Data["color"] != "green" {
		t.Errorf("the next commit does not reach the object: %v", shop.Data)
	}
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
