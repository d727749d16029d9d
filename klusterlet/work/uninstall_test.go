package work_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// deletedObjects holds, by name, the revision of etcd at which the deletion of an object is asked for or done. Events of several
// watches come in any sequence; revisions are those of one store.
type deletedObjects struct {
	mu        sync.Mutex
	revisions map[string]uint64
}

func (d *deletedObjects) add(name string, revision uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, ok := d.revisions[name]; !ok || revision < r {
		d.revisions[name] = revision
	}
}

// missing are those of the names that are not deleted.
func (d *deletedObjects) missing(names []string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := d.revisions[name]; return ok })
}

// watchDeletions notes when objects like these are deleted.
func (s *site) watchDeletions(objects ...map[string]any) *deletedObjects {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.Cleanup(cancel)
	deleted, names := &deletedObjects{revisions: map[string]uint64{}}, map[string]bool{}
	for _, o := range objects {
		names[(&unstructured.Unstructured{Object: o}).GetName()] = true
	}
	watched := map[string]bool{}
	for _, o := range objects {
		u := &unstructured.Unstructured{Object: o}
		if watched[u.GroupVersionKind().String()] {
			continue
		}
		watched[u.GroupVersionKind().String()] = true
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(u.GroupVersionKind())
		watcher, err := s.spoke.(client.WithWatch).Watch(ctx, list)
		if err != nil {
			s.Fatal(err)
		}
		go func() {
			for event := range watcher.ResultChan() {
				live, ok := event.Object.(*unstructured.Unstructured)
				if ok && names[live.GetName()] && (event.Type == watch.Deleted || live.GetDeletionTimestamp() != nil) {
					revision, err := strconv.ParseUint(live.GetResourceVersion(), 10, 64)
					if err != nil {
						s.Error(err)
					}
					deleted.add(live.GetName(), revision)
				}
			}
		}()
	}
	return deleted
}

// TestUninstallInReverse: webhooks go first, then custom resources and waves from the highest on, definitions and namespaces last. A
// finalizer that stays is named, with the object and how long it has been going, and never removed.
func TestUninstallInReverse(t *testing.T) {
	s := newSite(t)
	s.start()
	prefix := s.target
	d := definition()
	d["metadata"] = map[string]any{"name": "parts." + prefix + ".example.com"}
	_ = unstructured.SetNestedField(d, prefix+".example.com", "spec", "group")
	_ = unstructured.SetNestedField(d, map[string]any{"plural": "parts", "singular": "part", "kind": "Part", "listKind": "PartList"}, "spec", "names")
	namespace := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": prefix + "-app"}}
	webhook := map[string]any{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
		"metadata": map[string]any{"name": prefix + "-hook"}, "webhooks": []any{}}
	part := s.configMap(prefix+"-part", nil)
	part["apiVersion"], part["kind"] = prefix+".example.com/v1", "Part"
	part["metadata"].(map[string]any)["finalizers"] = []any{"example.com/drain"}
	early, late := s.configMap(prefix+"-early", nil), inWave(s.configMap(prefix+"-late", nil), "3")
	all := objects{namespace, d, webhook, part, early, late}
	s.put("web", all, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	deleted := s.watchDeletions(all...)

	s.deleteWork("web")
	s.eventually("the finalizer is named", func() error {
		c := meta.FindStatusCondition(s.work("web").Status.Conditions, workv1.WorkDeleting)
		if c == nil {
			return fmt.Errorf("not deleting: %s", told(s.work("web")))
		}
		return says("True", workv1.ReasonWorkDeleting, "Part "+s.target+"/"+prefix+"-part", "example.com/drain", "less than a minute")(*c, workv1.ManifestCondition{})
	})
	for _, o := range (objects{namespace, d, early}) {
		if live := s.live(o); live == nil || live.GetDeletionTimestamp() != nil {
			t.Errorf("%v goes before the custom resource", o["metadata"])
		}
	}
	s.edit(part, []any{}, "metadata", "finalizers")
	s.expectWorkGone("web")
	s.expectGone(d)
	sequence := []string{prefix + "-hook", prefix + "-late", prefix + "-part", prefix + "-early", "parts." + prefix + ".example.com", prefix + "-app"}
	s.eventually("all are deleted", func() error {
		if missing := deleted.missing(sequence); len(missing) > 0 {
			return fmt.Errorf("%v are not", missing)
		}
		return nil
	})
	for i := 1; i < len(sequence); i++ {
		if deleted.revisions[sequence[i-1]] > deleted.revisions[sequence[i]] {
			t.Errorf("%s goes before %s: %v", sequence[i], sequence[i-1], deleted.revisions)
		}
	}
}

// TestLeftOfAnUpgrade: an object that left a work and does not go is named, until it has gone.
func TestLeftOfAnUpgrade(t *testing.T) {
	s := newSite(t)
	s.start()
	stays, goes := s.configMap("stays", nil), s.configMap("goes", nil)
	goes["metadata"].(map[string]any)["finalizers"] = []any{"example.com/stuck"}
	s.put("web", objects{stays, goes}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	s.put("web", objects{stays}, serverSide(false), mode("Correct"))
	s.eventually("it is named", func() error {
		c := meta.FindStatusCondition(s.work("web").Status.Conditions, musterv1alpha1.ConditionPruned)
		if c == nil {
			return fmt.Errorf("is not: %s", told(s.work("web")))
		}
		return says("False", "ObjectsLeft", "ConfigMap "+s.target+"/goes", "example.com/stuck")(*c, workv1.ManifestCondition{})
	})
	s.expectWork("web", workv1.WorkApplied, metav1.ConditionTrue)
	s.edit(goes, []any{}, "metadata", "finalizers")
	s.expectGone(goes)
	s.eventually("nothing is left", func() error {
		if c := meta.FindStatusCondition(s.work("web").Status.Conditions, musterv1alpha1.ConditionPruned); c != nil {
			return fmt.Errorf("%s", c.Message)
		}
		return nil
	})
}
