package work_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

type objects = []map[string]any

// TestApply: the whole life of a work, on a hub that is its own cluster.
func TestApply(t *testing.T) {
	s := newSite(t)
	s.start()
	a, b, c := s.configMap("a", map[string]any{"k": "1"}), s.configMap("b", nil), s.deployment("c", 2)
	s.put("web", objects{c, a, b}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	s.expectWork("web", workv1.WorkAvailable, metav1.ConditionTrue)

	w, r := s.work("web"), s.record("web")
	if !slices.Contains(w.Finalizers, workv1.ManifestWorkFinalizer) || !slices.Contains(r.Finalizers, workv1.AppliedManifestWorkFinalizer) {
		t.Errorf("finalizers %v and %v", w.Finalizers, r.Finalizers)
	}
	if diff := cmp.Diff(workv1.AppliedManifestWorkSpec{HubHash: s.agent.HubHash, AgentID: s.agent.HubHash, ManifestWorkName: "web"}, r.Spec); diff != "" {
		t.Error(diff)
	}
	var listed []string
	for _, e := range r.Status.AppliedResources {
		listed = append(listed, e.Resource+"/"+e.Name)
		if e.UID == "" {
			t.Errorf("%s has no uid", e.Name)
		}
	}
	if diff := cmp.Diff([]string{"configmaps/a", "configmaps/b", "deployments/c"}, listed); diff != "" {
		t.Error(diff)
	}
	if owners := s.live(a).GetOwnerReferences(); len(owners) != 1 || owners[0].UID != r.UID || owners[0].Controller != nil {
		t.Errorf("owners %v", owners)
	}
	if m := w.Status.ResourceStatus.Manifests[0].ResourceMeta; m.Ordinal != 0 || m.Resource != "deployments" {
		t.Errorf("the status is not in the order of the spec: %v", m)
	}

	version := s.live(c).GetResourceVersion()
	s.put("web", objects{s.configMap("a", map[string]any{"k": "2"}), c}, serverSide(false), mode("Correct"))
	s.expectValue(a, "2", "data", "k")
	s.expectGone(b)
	s.expectApplied("web")
	if spec := s.live(c); spec.GetGeneration() != 1 {
		t.Errorf("an unchanged manifest was written: %s to %s", version, spec.GetResourceVersion())
	}

	s.deleteWork("web")
	s.expectWorkGone("web")
	s.expectGone(a)
	s.expectGone(c)
}

// TestPruneOnlyAfterSuccess: a manifest that the API server refuses stops nobody, but keeps what left the work.
func TestPruneOnlyAfterSuccess(t *testing.T) {
	s := newSite(t)
	s.start()
	old, next := s.configMap("old", nil), s.configMap("new", nil)
	s.put("web", objects{old}, serverSide(false))
	s.expectApplied("web")
	bad := s.deployment("bad", 1)
	unstructured.RemoveNestedField(bad, "spec", "selector")
	s.put("web", objects{bad, next}, serverSide(false))
	s.expectManifest("web", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "spec.selector"))
	s.expectManifest("web", 1, workv1.ManifestApplied, says("True", workv1.ReasonAppliedManifestComplete))
	s.expectWork("web", workv1.WorkApplied, metav1.ConditionFalse)
	s.expectWork("web", workv1.WorkAvailable, metav1.ConditionFalse)
	if s.live(old) == nil {
		t.Fatal("pruned although a manifest failed")
	}
	s.put("web", objects{next}, serverSide(false))
	s.expectGone(old)
	s.expectApplied("web")
}

const widgets = "widgets.example.com"

func definition() map[string]any {
	return map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": widgets},
		"spec": map[string]any{"group": "example.com", "scope": "Namespaced",
			"names": map[string]any{"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}}
}

// TestDefinitionAndObject: a custom resource and its definition come in one work, in the wrong order.
func TestDefinitionAndObject(t *testing.T) {
	s := newSite(t)
	s.start()
	widget := s.configMap("w", nil)
	widget["apiVersion"], widget["kind"] = "example.com/v1", "Widget"
	widget["spec"] = map[string]any{"size": int64(1)}
	delete(widget, "data")
	s.put("widgets", objects{widget, definition()}, serverSide(false), mode("Correct"))
	s.expectApplied("widgets")
	s.edit(widget, int64(5), "spec", "size")
	s.expectManifest("widgets", 0, "Drift", says("False", "DriftCorrected", "spec.size was 1, is 5, by kubectl-edit"))
	s.expectValue(widget, 1, "spec", "size")
	s.deleteWork("widgets")
	s.expectWorkGone("widgets")
	s.expectGone(definition())
}

// TestUnknownKind: a kind that the cluster does not serve is named, and works when it comes.
func TestUnknownKind(t *testing.T) {
	s := newSite(t)
	s.start()
	gadget := s.configMap("g", nil)
	gadget["apiVersion"], gadget["kind"] = "late.example.com/v1", "Gadget"
	s.put("late", objects{gadget, s.configMap("there", nil)}, serverSide(false))
	s.expectManifest("late", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "Gadget"))
	s.expectManifest("late", 0, workv1.ManifestAvailable, says("Unknown", workv1.ReasonIncompleteResourceMeta))
	s.expectManifest("late", 1, workv1.ManifestApplied, says("True", ""))
	d := definition()
	d["metadata"] = map[string]any{"name": "gadgets.late.example.com"}
	_ = unstructured.SetNestedField(d, "late.example.com", "spec", "group")
	_ = unstructured.SetNestedField(d, map[string]any{"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"}, "spec", "names")
	s.put("definition", objects{d})
	s.expectApplied("definition", "late")
}

// TestMove: an object goes from one work to another, whichever is processed first, and is the same object all along.
func TestMove(t *testing.T) {
	for name, losesFirst := range map[string]bool{"gaining work first": false, "losing work first": true} {
		for _, kind := range []string{"one manager", "update"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				s := newSite(t)
				how := serverSide(true)
				if kind == "update" {
					how = strategy(workv1.UpdateStrategyTypeUpdate)
				}
				s.start()
				moved, stays, other := s.configMap("moved", map[string]any{"k": "1"}), s.configMap("stays", nil), s.configMap("other", nil)
				s.put("from", objects{moved, stays}, how, mode("Correct"))
				s.put("to", objects{other}, how, mode("Correct"))
				s.expectApplied("from", "to")
				uid := s.live(moved).GetUID()

				lose := func() { s.put("from", objects{stays}, how, mode("Correct")) }
				gain := func() { s.put("to", objects{other, moved}, how, mode("Correct")) }
				if losesFirst {
					// The gaining work cannot be applied yet: the agent knows it and has nothing of it.
					s.stop()
					gain()
					s.put("to", objects{other, moved}, how, mode("Correct"), executor(s.target, "nobody"))
					lose()
					s.start()
					s.expectWork("to", workv1.WorkApplied, metav1.ConditionFalse)
					s.expectApplied("from")
					if live := s.live(moved); live == nil || live.GetUID() != uid {
						t.Fatal("the object was lost between the works")
					}
					gain()
				} else {
					newer := s.configMap("moved", map[string]any{"k": "2"})
					s.put("to", objects{other, newer}, how, mode("Correct"))
					s.expectApplied("to")
					s.expectValue(moved, "2", "data", "k")
					s.remove(stays) // once this is undone, the losing work has seen what the gaining one did
					s.expectManifest("from", 1, "Drift", says("False", ""))
					if c := condition(s.work("from"), 0, "Drift"); c != nil || s.live(moved).Object["data"].(map[string]any)["k"] != "2" {
						t.Errorf("the works fight over the object: %v", c)
					}
					lose()
				}
				s.expectApplied("from", "to")
				s.eventually("the object belongs to the gaining work alone", func() error {
					live := s.live(moved)
					if live == nil || live.GetUID() != uid {
						t.Fatal("the object was deleted")
					}
					if owners := live.GetOwnerReferences(); len(owners) != 1 || owners[0].UID != s.record("to").UID {
						return fmt.Errorf("owners %v", owners)
					}
					if list := s.record("from").Status.AppliedResources; len(list) != 1 {
						return fmt.Errorf("the losing work still lists %v", list)
					}
					return nil
				})
				s.deleteWork("from")
				s.expectWorkGone("from")
				if live := s.live(moved); live == nil || live.GetUID() != uid {
					t.Fatal("the object went with the work that lost it")
				}
				s.deleteWork("to")
				s.expectWorkGone("to")
				s.expectGone(moved)
			})
		}
	}
}

// TestKilled: an agent that dies between two steps leaves nothing that the next one does not finish.
func TestKilled(t *testing.T) {
	for _, step := range []string{"recorded", "applied"} {
		t.Run(step, func(t *testing.T) {
			s := newSite(t)
			old, a, b := s.configMap("old", nil), s.configMap("a", nil), s.configMap("b", nil)
			s.put("web", objects{old}, serverSide(false))
			s.runUntil("applied", 1)
			if s.live(old) == nil {
				t.Fatal("not applied")
			}
			if list := s.record("web").Status.AppliedResources; len(list) != 1 || list[0].UID != "" {
				t.Fatalf("the record is not written ahead: %v", list)
			}
			// The object was applied and nobody knows its UID. The next work does not hold it.
			s.put("web", objects{a, b}, serverSide(false))
			s.runUntil(step, 1)
			if list := s.record("web").Status.AppliedResources; len(list) != 3 {
				t.Fatalf("not written ahead: %v", list)
			}
			s.start()
			s.expectApplied("web")
			s.expectGone(old)
			if s.live(a) == nil || s.live(b) == nil {
				t.Error("not applied after the restart")
			}
		})
	}
}

// TestWriteAheadIsNoLicence: an entry without a UID does not make somebody else's object ours to delete.
func TestWriteAheadIsNoLicence(t *testing.T) {
	s := newSite(t)
	theirs := s.configMap("theirs", nil)
	s.put("web", objects{theirs, s.configMap("a", nil)}, serverSide(false))
	s.runUntil("recorded", 1)
	if live := s.live(theirs); live != nil && len(live.GetOwnerReferences()) > 0 {
		s.remove(theirs)
	}
	_ = s.spoke.Create(context.Background(), &unstructured.Unstructured{Object: theirs})
	s.put("web", objects{s.configMap("a", nil)}, serverSide(false))
	s.start()
	s.eventually("the entry goes", func() error {
		if list := s.record("web").Status.AppliedResources; len(list) != 1 {
			return fmt.Errorf("%v", list)
		}
		return nil
	})
	if s.live(theirs) == nil {
		t.Error("an object of somebody else was deleted")
	}
}

// TestOrphan: objects that stay when their work goes, all or the named ones.
func TestOrphan(t *testing.T) {
	for name, row := range map[string]struct {
		option workv1.DeleteOption
		stays  []string
		why    string
	}{
		"orphan": {why: "all stay", stays: []string{"a", "b"}, option: workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan}},
		"selectively": {why: "only the named one stays", stays: []string{"b"}, option: workv1.DeleteOption{
			PropagationPolicy: workv1.DeletePropagationPolicyTypeSelectivelyOrphan,
			SelectivelyOrphan: &workv1.SelectivelyOrphan{OrphaningRules: []workv1.OrphaningRule{{Resource: "configmaps", Name: "b"}}}}},
		"foreground": {why: "none stays", option: workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeForeground}},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, decided late %v", name, late), func(t *testing.T) {
				s := newSite(t)
				s.start()
				option := row.option.DeepCopy()
				if option.SelectivelyOrphan != nil {
					option.SelectivelyOrphan.OrphaningRules[0].Namespace = s.target
				}
				all := objects{s.configMap("a", nil), s.configMap("b", nil)}
				if late {
					s.put("web", all, serverSide(false))
					s.expectApplied("web")
					s.stop()
				}
				s.put("web", all, serverSide(false), deletion(*option))
				if !late {
					s.expectApplied("web")
				}
				s.deleteWork("web")
				if late {
					s.start()
				}
				s.expectWorkGone("web")
				for _, o := range all {
					live := s.live(o)
					name := o["metadata"].(map[string]any)["name"].(string)
					if stays := slices.Contains(row.stays, name); stays != (live != nil && live.GetDeletionTimestamp() == nil) {
						t.Errorf("%s: %s stays: want %v", row.why, name, stays)
					} else if stays && len(live.GetOwnerReferences()) > 0 {
						t.Errorf("%s is still owned: %v", name, live.GetOwnerReferences())
					}
				}
			})
		}
	}
}

// TestKeptAndNoLongerWanted: a cluster that was away sees at once that an object is to be kept and that no manifest has it.
func TestKeptAndNoLongerWanted(t *testing.T) {
	s := newSite(t)
	s.start()
	kept, dropped, stays := s.configMap("kept", nil), s.configMap("dropped", nil), s.configMap("stays", nil)
	s.put("web", objects{kept, dropped, stays}, serverSide(false))
	s.expectApplied("web")
	uid := s.live(kept).GetUID()
	s.put("web", objects{stays}, serverSide(false), deletion(workv1.DeleteOption{
		PropagationPolicy: workv1.DeletePropagationPolicyTypeSelectivelyOrphan,
		SelectivelyOrphan: &workv1.SelectivelyOrphan{OrphaningRules: []workv1.OrphaningRule{{Resource: "configmaps", Namespace: s.target, Name: "kept"}}}}))
	s.expectGone(dropped)
	s.eventually("both entries go", func() error {
		if list := s.record("web").Status.AppliedResources; len(list) != 1 {
			return fmt.Errorf("%v", list)
		}
		return nil
	})
	if live := s.live(kept); live == nil || live.GetUID() != uid || live.GetDeletionTimestamp() != nil || len(live.GetOwnerReferences()) > 0 {
		t.Errorf("what is to be kept was not let go of alive: %v", live)
	}
}

// TestUnrecordedIsNotApplied: what cannot be written ahead is not applied, and nobody is told that it was.
func TestUnrecordedIsNotApplied(t *testing.T) {
	s := newSite(t)
	var refuse atomic.Bool
	s.agent.Spoke = rest.CopyConfig(s.agent.Spoke)
	s.agent.Spoke.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if refuse.Load() && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/appliedmanifestworks/") {
				return nil, errors.New("the disk is full")
			}
			return next.RoundTrip(r)
		})
	})
	s.start()
	a, b := s.configMap("a", map[string]any{"k": "1"}), s.configMap("b", nil)
	s.put("web", objects{a}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	refuse.Store(true)
	before := s.work("web").Generation
	events := s.watchWork("web")
	s.put("web", objects{a, b}, serverSide(false), mode("Correct"))
	s.expectSeen(events, "what became of the generation", func(w *workv1.ManifestWork) bool {
		c := meta.FindStatusCondition(w.Status.Conditions, workv1.WorkApplied)
		if c == nil || w.Generation == before || c.ObservedGeneration != w.Generation {
			return false
		}
		if c.Status != metav1.ConditionFalse {
			t.Errorf("the first that the hub hears of the generation is %v", c)
		}
		return true
	})
	s.expectManifest("web", 1, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "the disk is full"))
	if s.live(b) != nil {
		t.Error("applied without a record")
	}
	refuse.Store(false)
	s.expectApplied("web")
	if s.live(b) == nil {
		t.Error("said to be applied and is not")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestOtherAgentsName: an agent that was installed anew ends what the one before it began.
func TestOtherAgentsName(t *testing.T) {
	s := newSite(t)
	s.agent.AgentID = "before"
	s.start()
	c := s.configMap("c", nil)
	s.put("web", objects{c}, serverSide(false))
	s.expectApplied("web")
	s.stop()
	s.deleteWork("web")
	s.agent.AgentID = "after"
	s.start()
	s.expectWorkGone("web")
	s.expectGone(c)
}

// TestShared: an object that two works own goes with the last.
func TestShared(t *testing.T) {
	s := newSite(t)
	s.start()
	shared := s.configMap("shared", nil)
	for _, name := range []string{"one", "two"} {
		s.put(name, objects{shared}, strategy(workv1.UpdateStrategyTypeUpdate))
	}
	s.expectApplied("one", "two")
	s.eventually("both own it", func() error {
		if owners := s.live(shared).GetOwnerReferences(); len(owners) != 2 {
			return fmt.Errorf("%v", owners)
		}
		return nil
	})
	uid := s.live(shared).GetUID()
	s.deleteWork("one")
	s.expectWorkGone("one")
	if live := s.live(shared); live == nil || live.GetUID() != uid {
		t.Fatal("deleted although another work owns it")
	}
	s.deleteWork("two")
	s.expectWorkGone("two")
	s.expectGone(shared)
}

// TestConflict: a field that somebody else applied is refused without force, and said.
func TestConflict(t *testing.T) {
	s := newSite(t)
	theirs := s.configMap("c", map[string]any{"k": "theirs"})
	if err := s.spoke.Create(context.Background(), &unstructured.Unstructured{Object: theirs}, client.FieldOwner("someone")); err != nil {
		t.Fatal(err)
	}
	s.start()
	ours := s.configMap("c", map[string]any{"k": "ours"})
	s.put("web", objects{ours}, serverSide(false))
	s.expectManifest("web", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "conflict", "someone"))
	s.expectManifest("web", 0, workv1.ManifestAvailable, says("True", ""))
	s.put("web", objects{ours}, serverSide(true))
	s.expectApplied("web")
	s.expectValue(ours, "ours", "data", "k")
}

// TestStrategies: what is done to an object that somebody made before us.
func TestStrategies(t *testing.T) {
	for name, row := range map[string]struct {
		kind  workv1.UpdateStrategyType
		want  map[string]any
		owned bool
		why   string
	}{
		"Update":     {workv1.UpdateStrategyTypeUpdate, map[string]any{"k": "ours"}, true, "data is overwritten, their label stays"},
		"CreateOnly": {workv1.UpdateStrategyTypeCreateOnly, map[string]any{"k": "theirs", "more": "1"}, true, "only our ownerReference is added"},
		"ReadOnly":   {workv1.UpdateStrategyTypeReadOnly, map[string]any{"k": "theirs", "more": "1"}, false, "nothing is written"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			theirs := &unstructured.Unstructured{Object: s.configMap("c", map[string]any{"k": "theirs", "more": "1"})}
			theirs.SetLabels(map[string]string{"their": "label"})
			if err := s.spoke.Create(context.Background(), theirs); err != nil {
				t.Fatal(err)
			}
			s.start()
			s.put("web", objects{s.configMap("c", map[string]any{"k": "ours"})}, strategy(row.kind))
			s.expectApplied("web")
			live := s.live(theirs.Object)
			if diff := cmp.Diff(row.want, live.Object["data"]); diff != "" {
				t.Errorf("%s: %s", row.why, diff)
			}
			if live.GetLabels()["their"] != "label" || (len(live.GetOwnerReferences()) == 1) != row.owned {
				t.Errorf("%s: labels %v, owners %v", row.why, live.GetLabels(), live.GetOwnerReferences())
			}
			s.deleteWork("web")
			s.expectWorkGone("web")
			if row.owned {
				s.expectGone(theirs.Object)
			} else if s.live(theirs.Object) == nil {
				t.Error("an object that is only read was deleted")
			}
		})
	}
}

// TestIgnoreFields: replicas belong to an autoscaler once the object is there, and are not reset by an update.
func TestIgnoreFields(t *testing.T) {
	for _, condition := range []workv1.IgnoreFieldsCondition{workv1.IgnoreFieldsConditionOnSpokePresent, workv1.IgnoreFieldsConditionOnSpokeChange} {
		t.Run(string(condition), func(t *testing.T) {
			s := newSite(t)
			s.start()
			how := serverSide(false, workv1.IgnoreField{Condition: condition, JSONPointers: []string{"/spec/replicas"}})
			d := s.deployment("web", 3)
			s.put("web", objects{d}, how, mode("Correct"))
			s.expectApplied("web")
			s.expectValue(d, 3, "spec", "replicas")
			changed := s.deployment("web", 3)
			_ = unstructured.SetNestedField(changed, int64(7), "spec", "minReadySeconds")
			s.put("web", objects{changed}, how, mode("Correct"))
			s.expectValue(d, 7, "spec", "minReadySeconds")
			s.expectApplied("web")
			s.expectValue(d, 3, "spec", "replicas")
			if condition == workv1.IgnoreFieldsConditionOnSpokeChange {
				return
			}
			s.edit(d, int64(9), "spec", "replicas")
			_ = unstructured.SetNestedField(changed, int64(8), "spec", "minReadySeconds")
			s.put("web", objects{changed}, how, mode("Correct"))
			s.expectValue(d, 8, "spec", "minReadySeconds")
			s.expectApplied("web")
			s.expectValue(d, 9, "spec", "replicas")
		})
	}
}

// TestExecutor: a work runs with the rights of its service account and no others.
func TestExecutor(t *testing.T) {
	s := newSite(t)
	s.start()
	c := s.configMap("c", nil)
	s.put("web", objects{c}, serverSide(false), executor(s.target, "deployer"))
	s.expectManifest("web", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "deployer", "create", "configmaps"))
	if s.live(c) != nil {
		t.Fatal("applied without the right to")
	}
	rbac := func(kind string, spec map[string]any) map[string]any {
		o := map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": map[string]any{"namespace": s.target, "name": "deployer"}}
		for k, v := range spec {
			o[k] = v
		}
		return o
	}
	rule := func(group, resource string) map[string]any {
		return map[string]any{"apiGroups": []any{group}, "resources": []any{resource}, "verbs": []any{"get", "create", "update", "patch", "delete"}}
	}
	for _, o := range []map[string]any{
		rbac("Role", map[string]any{"rules": []any{rule("", "configmaps"), rule("rbac.authorization.k8s.io", "roles")}}),
		rbac("RoleBinding", map[string]any{"roleRef": map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "deployer", "namespace": s.target}}}),
	} {
		if err := s.spoke.Create(context.Background(), &unstructured.Unstructured{Object: o}); err != nil {
			t.Fatal(err)
		}
	}
	deploy := s.deployment("web", 7)
	if err := s.spoke.Create(context.Background(), &unstructured.Unstructured{Object: deploy}); err != nil {
		t.Fatal(err)
	}
	replicas := config(func(c *workv1.ManifestConfigOption) {
		c.FeedbackRules = []workv1.FeedbackRule{{Type: workv1.JSONPathsType, JsonPaths: []workv1.JsonPath{{Name: "replicas", Path: ".spec.replicas"}}}}
	})
	for name, how := range map[string]option{"applied": serverSide(false), "read": strategy(workv1.UpdateStrategyTypeReadOnly)} {
		s.put(name, objects{deploy}, how, replicas, executor(s.target, "deployer"))
		s.expectManifest(name, 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "deployer", "deployments"))
		s.expectManifest(name, 0, workv1.ManifestAvailable, says("True", workv1.ReasonResourceAvailable)) // as OCM's agent says it, and nothing else
		if values := s.work(name).Status.ResourceStatus.Manifests[0].StatusFeedbacks.Values; len(values) > 0 {
			t.Errorf("%s: the executor may not read the object, and its work does: %v", name, values)
		}
	}
	role := rbac("Role", map[string]any{"rules": []any{rule("", "secrets")}})
	role["metadata"] = map[string]any{"namespace": s.target, "name": "more"}
	s.put("web", objects{s.configMap("c", map[string]any{"k": "1"}), role}, serverSide(false), executor(s.target, "deployer"))
	s.expectManifest("web", 0, workv1.ManifestApplied, says("True", ""))
	s.expectManifest("web", 1, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "grant the rights"))
	if s.live(role) != nil {
		t.Error("rights were granted that the executor does not have")
	}
}

// TestHealth: rules and feedback are read from the live object, and a change is told at once although nothing polls.
func TestHealth(t *testing.T) {
	s := newSite(t)
	s.agent.SyncInterval, s.agent.StatusInterval = 1<<40, 1<<40 // nothing but a flip is told
	s.start()
	d := s.deployment("web", 0)
	s.put("web", objects{d}, serverSide(false), mode("Report"), config(func(c *workv1.ManifestConfigOption) {
		c.FeedbackRules = []workv1.FeedbackRule{{Type: workv1.WellKnownStatusType}, {Type: workv1.JSONPathsType,
			JsonPaths: []workv1.JsonPath{{Name: "observed", Path: ".status.observedGeneration"}}}}
		c.ConditionRules = []workv1.ConditionRule{{Condition: "Progressing", Type: workv1.CelConditionExpressionsType,
			CelExpressions: []string{"!has(object.status.observedGeneration) || object.status.observedGeneration < object.metadata.generation"}}}
		if c.ResourceIdentifier.Resource != "deployments" {
			c.FeedbackRules, c.ConditionRules = nil, nil
		}
	}))
	s.expectWork("web", workv1.WorkProgressing, metav1.ConditionFalse)
	s.expectManifest("web", 0, "Progressing", says("False", workv1.ReasonConditionRuleEvaluated))
	s.expectManifest("web", 0, workv1.ManifestStatusFeedbackSynced, says("True", workv1.ReasonStatusFeedbackSynced))
	s.expectManifest("web", 0, workv1.ManifestApplied, func(_ metav1.Condition, m workv1.ManifestCondition) error {
		for _, v := range m.StatusFeedbacks.Values {
			if v.Name == "observed" && v.Value.Integer != nil {
				return nil
			}
		}
		return fmt.Errorf("values %v", m.StatusFeedbacks.Values)
	})
	// Other rules are answered at once as well: what is said of a generation is said by its rules.
	s.put("web", objects{d}, serverSide(false), mode("Report"), config(func(c *workv1.ManifestConfigOption) {
		c.ConditionRules = []workv1.ConditionRule{{Condition: "Degraded", Type: workv1.CelConditionExpressionsType, CelExpressions: []string{"false"}}}
	}))
	s.expectWork("web", workv1.WorkDegraded, metav1.ConditionFalse)
	if c := condition(s.work("web"), 0, "Progressing"); c != nil {
		t.Errorf("a rule that is gone is still answered: %v", c)
	}
	s.remove(d)
	s.expectWork("web", workv1.WorkAvailable, metav1.ConditionFalse)
}

// TestBadManifests: what is wrong with a manifest is said beside it, and the rest goes on.
func TestBadManifests(t *testing.T) {
	s := newSite(t)
	s.start()
	good := s.configMap("good", nil)
	homeless := s.configMap("homeless", nil)
	delete(homeless["metadata"].(map[string]any), "namespace")
	s.put("web", objects{good, good, homeless}, serverSide(false))
	s.expectManifest("web", 0, workv1.ManifestApplied, says("True", ""))
	s.expectManifest("web", 1, workv1.ManifestApplied, says("False", "", "twice"))
	s.expectManifest("web", 2, workv1.ManifestApplied, says("False", "", "no namespace"))
}

// TestEvict: what a hub no longer knows goes after the grace period, and only if the hub's silence means something.
func TestEvict(t *testing.T) {
	s := newSite(t)
	s.start()
	c := s.configMap("c", nil)
	s.put("web", objects{c}, serverSide(false))
	s.expectApplied("web")
	s.stop()
	w := s.work("web") // the hub loses the work: nobody is asked
	w.Finalizers = nil
	if err := s.hub.Update(context.Background(), w); err != nil {
		t.Fatal(err)
	}
	s.deleteWork("web")

	asked := make(chan struct{}, 1)
	held := s.agent
	held.EvictionGracePeriod = glance
	held.EvictionAllowed = func(context.Context) (bool, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		return false, nil
	}
	s.run(held)
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("nobody asked whether the hub's silence means something")
	}
	s.stop()
	if r := s.record("web"); r == nil || r.Status.EvictionStartTime != nil || s.live(c) == nil {
		t.Fatal("the clock runs although the hub has not planned yet")
	}
	// A clock that runs is stopped while the hub's silence means nothing, as it does after the hub was lost.
	r := s.record("web")
	r.Status.EvictionStartTime = &metav1.Time{Time: time.Now().Add(-time.Hour)}
	if err := s.spoke.Status().Update(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	s.run(held)
	s.eventually("the clock stops", func() error {
		if r := s.record("web"); r == nil || r.Status.EvictionStartTime != nil {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	s.stop()
	s.agent.EvictionGracePeriod = glance
	s.start()
	s.expectGone(c)
	s.expectWorkGone("web")
}

// TestTwoServers: the hub and the cluster apart; the hub goes and the cluster is kept right all the same.
func TestTwoServers(t *testing.T) {
	s := newSite(t, test1(t))
	line := newLine(t, s.agent.Hub)
	s.agent.Hub = line.config
	s.start()
	c := s.configMap("c", map[string]any{"k": "1"})
	s.put("web", objects{c}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	line.cut()
	s.edit(c, "2", "data", "k")
	s.expectValue(c, "1", "data", "k")
	s.remove(c)
	s.expectValue(c, "1", "data", "k")
	line.mend()
	s.expectManifest("web", 0, "Drift", says("False", "DriftCorrected", "is absent"))
	s.put("web", objects{s.configMap("c", map[string]any{"k": "3"})}, serverSide(false), mode("Correct"))
	s.expectValue(c, "3", "data", "k")
	if !strings.HasPrefix(s.record("web").Name, s.agent.HubHash) {
		t.Error("the record is not on the cluster")
	}
}
