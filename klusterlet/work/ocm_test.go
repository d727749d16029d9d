package work_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// as makes works apply server-side under a field manager.
func as(manager string, force bool, ignore ...workv1.IgnoreField) option {
	return config(func(c *workv1.ManifestConfigOption) {
		c.UpdateStrategy = &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeServerSideApply,
			ServerSideApply: &workv1.ServerSideApplyConfig{Force: force, FieldManager: manager, IgnoreFields: ignore}}
	})
}

// TestNullTimestamps: a null creationTimestamp, at whatever depth, is applied by no work, so that two works do not contend for it.
func TestNullTimestamps(t *testing.T) {
	for name, how := range map[string][2]option{
		"two managers": {as("work-agent-one", false), as("work-agent-two", false)},
		"one manager":  {as(workv1.DefaultFieldManager, false), as(workv1.DefaultFieldManager, false)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.start()
			d := s.deployment("web", 1)
			for _, path := range [][]string{{"metadata"}, {"spec", "template", "metadata"}} {
				_ = unstructured.SetNestedField(d, nil, append(path, "creationTimestamp")...)
			}
			s.put("one", objects{d}, how[0])
			s.expectApplied("one")
			generation := s.live(d).GetGeneration()
			s.put("two", objects{d}, how[1])
			s.expectApplied("one", "two")
			if have := s.live(d).GetGeneration(); have != generation {
				t.Errorf("the second work changed the object: generation %d, was %d", have, generation)
			}
			if owners := s.live(d).GetOwnerReferences(); len(owners) != 2 {
				t.Errorf("the works do not both own the object: %v", owners)
			}
		})
	}
}

// TestOwnerGoesWithOrphan: once a work leaves its objects behind, it does not own them, whatever the strategy.
func TestOwnerGoesWithOrphan(t *testing.T) {
	for name, how := range map[string]option{
		"server-side apply":                  serverSide(false),
		"server-side apply, ignoring fields": serverSide(false, workv1.IgnoreField{Condition: workv1.IgnoreFieldsConditionOnSpokePresent, JSONPointers: []string{"/data/a"}}),
		"update":                             strategy(workv1.UpdateStrategyTypeUpdate),
		"create only":                        strategy(workv1.UpdateStrategyTypeCreateOnly),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.start()
			c := s.configMap("c", map[string]any{"a": "1"})
			s.put("web", objects{c}, how)
			s.put("other", objects{c}, how)
			s.expectApplied("web", "other")
			s.eventually("both own it", func() error {
				if owners := s.live(c).GetOwnerReferences(); len(owners) != 2 {
					return fmt.Errorf("owners %v", owners)
				}
				return nil
			})
			s.put("web", objects{c}, how, deletion(workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan}))
			s.eventually("one owner is left", func() error {
				if owners := s.live(c).GetOwnerReferences(); len(owners) != 1 || owners[0].UID != s.record("other").UID {
					return fmt.Errorf("owners %v", owners)
				}
				return nil
			})
			s.put("web", objects{c}, how)
			s.eventually("both own it again", func() error {
				if owners := s.live(c).GetOwnerReferences(); len(owners) != 2 {
					return fmt.Errorf("owners %v", owners)
				}
				return nil
			})
		})
	}
}

// TestHashOfIgnoredFields: every object with a rule carries OCM's annotation, and while it does not change the manifest is not
// applied: a manifest that differs in a field under OnSpokePresent only writes nothing.
func TestHashOfIgnoredFields(t *testing.T) {
	for _, condition := range []workv1.IgnoreFieldsCondition{workv1.IgnoreFieldsConditionOnSpokePresent, workv1.IgnoreFieldsConditionOnSpokeChange} {
		t.Run(string(condition), func(t *testing.T) {
			s := newSite(t)
			s.start()
			rule := pointer("/data/a")
			rule.Condition = condition
			c := s.configMap("c", map[string]any{"a": "1", "b": "1"})
			s.put("web", objects{c}, serverSide(true, rule))
			s.expectApplied("web")
			const annotation = workv1.ManifestConfigSpecHashAnnotationKey
			first := s.live(c)
			if len(first.GetAnnotations()[annotation]) != 32 {
				t.Fatalf("annotations %v", first.GetAnnotations())
			}
			s.put("web", objects{s.configMap("c", map[string]any{"a": "2", "b": "1"})}, serverSide(true, rule))
			s.expectApplied("web")
			second := s.live(c)
			want := map[workv1.IgnoreFieldsCondition]string{workv1.IgnoreFieldsConditionOnSpokePresent: "1", workv1.IgnoreFieldsConditionOnSpokeChange: "2"}
			if have, _, _ := unstructured.NestedString(second.Object, "data", "a"); have != want[condition] {
				t.Errorf("the manifest's a is %q, want %q", have, want[condition])
			}
			if same := second.GetResourceVersion() == first.GetResourceVersion(); same != (condition == workv1.IgnoreFieldsConditionOnSpokePresent) {
				t.Errorf("from version %s to %s", first.GetResourceVersion(), second.GetResourceVersion())
			}
			s.put("web", objects{s.configMap("c", map[string]any{"a": "2", "b": "2"})}, serverSide(true, rule))
			s.expectValue(c, "2", "data", "b")
			if s.live(c).GetAnnotations()[annotation] == first.GetAnnotations()[annotation] {
				t.Error("the annotation did not change with the manifest")
			}
		})
	}
}

// grant gives or takes the rights that an executor needs for config maps in the namespace of the objects.
func (s *site) grant(account string, granted bool) {
	s.Helper()
	meta := map[string]any{"namespace": s.target, "name": account}
	role := map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta,
		"rules": []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"configmaps"}, "verbs": []any{"get", "create", "update", "patch", "delete"}}}}
	binding := map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": account, "namespace": s.target}}}
	for _, o := range (objects{role, binding}) {
		var err error
		if granted {
			err = s.spoke.Create(context.Background(), &unstructured.Unstructured{Object: o})
		} else {
			err = s.spoke.Delete(context.Background(), &unstructured.Unstructured{Object: o})
		}
		if err != nil {
			s.Fatal(err)
		}
	}
}

// TestDenied: an object that the executor may not apply is told to be absent where it is, and rights that are revoked show on a
// manifest that did not change.
func TestDenied(t *testing.T) {
	for name, how := range map[string][]option{
		"planned": {serverSide(false), mode("Correct")},
		"of OCM":  {strategy(workv1.UpdateStrategyTypeUpdate)},
		"read":    {strategy(workv1.UpdateStrategyTypeReadOnly)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.agent.ResyncInterval = time.Second
			s.start()
			c := s.configMap("c", nil)
			how = append(how, executor(s.target, "deployer"))
			s.put("web", objects{c}, how...)
			s.expectManifest("web", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "deployer"))
			s.expectManifest("web", 0, workv1.ManifestAvailable, says("False", workv1.ReasonResourceNotAvailable))
			s.expectWork("web", workv1.WorkAvailable, metav1.ConditionFalse)
			if name == "read" {
				return
			}
			s.grant("deployer", true)
			s.expectApplied("web")
			s.grant("deployer", false)
			s.expectManifest("web", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "deployer"))
		})
	}
}

// TestWellKnownConditions: a rule for a condition that is not well known of the kind gives no condition.
func TestWellKnownConditions(t *testing.T) {
	s := newSite(t)
	s.start()
	job := s.job("done")
	s.put("web", objects{job, s.configMap("c", nil)}, configFor("batch", "jobs", workv1.ManifestConfigOption{ConditionRules: []workv1.ConditionRule{
		{Type: workv1.WellKnownConditionsType, Condition: "Complete"}, {Type: workv1.WellKnownConditionsType, Condition: "Ready"}}}))
	s.expectManifest("web", 0, "Complete", says("False", workv1.ReasonConditionRuleEvaluated))
	if c := condition(s.work("web"), 0, "Ready"); c != nil {
		t.Errorf("condition %v", c)
	}
}

func (s *site) job(name string) map[string]any {
	o := s.configMap(name, nil)
	delete(o, "data")
	o["apiVersion"], o["kind"] = "batch/v1", "Job"
	o["spec"] = map[string]any{"template": map[string]any{"spec": map[string]any{"restartPolicy": "Never",
		"containers": []any{map[string]any{"name": "job", "image": "job:1"}}}}}
	return o
}

// configFor puts the configuration of one resource before what there is.
func configFor(group, resource string, c workv1.ManifestConfigOption) option {
	return func(w *workv1.ManifestWork) {
		c.ResourceIdentifier = workv1.ResourceIdentifier{Group: group, Resource: resource, Namespace: "*", Name: "*"}
		w.Spec.ManifestConfigs = append([]workv1.ManifestConfigOption{c}, w.Spec.ManifestConfigs...)
	}
}

// TestFeedbackIsWatched: a value of an object with feedbackScrapeType Watch is told although nothing is polled, as many watches as
// there may be; StatusFeedbackSynced moves with the values; a list is told as JSON.
func TestFeedbackIsWatched(t *testing.T) {
	s := newSite(t)
	s.agent.SyncInterval, s.agent.MaxFeedbackWatch, s.agent.RawFeedback = time.Hour, 1, true
	s.start()
	unlabelled := func(kind, name string) map[string]any {
		o := s.configMap(name, map[string]any{"k": "1"})
		delete(o["metadata"].(map[string]any), "labels")
		if o["kind"] = kind; kind == "ServiceAccount" {
			delete(o, "data")
			o["secrets"] = []any{map[string]any{"name": "one"}}
		}
		return o
	}
	rule := func(name, path string) workv1.ManifestConfigOption {
		return workv1.ManifestConfigOption{FeedbackScrapeType: workv1.FeedbackWatchType, FeedbackRules: []workv1.FeedbackRule{
			{Type: workv1.JSONPathsType, JsonPaths: []workv1.JsonPath{{Name: name, Path: path}}}}}
	}
	c, account := unlabelled("ConfigMap", "c"), unlabelled("ServiceAccount", "c")
	s.put("web", objects{c, account}, configFor("", "configmaps", rule("k", ".data.k")), configFor("", "serviceaccounts", rule("secrets", ".secrets")))
	value := func(ordinal int, want string) metav1.Time {
		var moved metav1.Time
		s.expectManifest("web", ordinal, workv1.ManifestStatusFeedbackSynced, func(c metav1.Condition, m workv1.ManifestCondition) error {
			for _, v := range m.StatusFeedbacks.Values {
				if v.Value.String != nil && *v.Value.String == want || v.Value.JsonRaw != nil && *v.Value.JsonRaw == want {
					moved = c.LastTransitionTime
					return says("True", workv1.ReasonStatusFeedbackSynced)(c, m)
				}
			}
			return fmt.Errorf("values %v", m.StatusFeedbacks.Values)
		})
		return moved
	}
	first := value(0, "1")
	value(1, `[{"name":"one"}]`)
	time.Sleep(time.Until(first.Add(1100 * time.Millisecond))) // transition times have seconds
	s.edit(c, "2", "data", "k")
	if second := value(0, "2"); !second.After(first.Time) {
		t.Errorf("StatusFeedbackSynced was %v and is %v", first, second)
	}
	s.edit(account, []any{map[string]any{"name": "two"}}, "secrets")
	s.put("other", objects{s.configMap("another", nil)}) // something that the agent does afterwards
	s.expectApplied("other")
	value(1, `[{"name":"one"}]`)
}

// TestDeletionProgress: while a work is being removed, the objects that are gone leave its AppliedManifestWork.
func TestDeletionProgress(t *testing.T) {
	s := newSite(t)
	s.start()
	a, b := s.configMap("a", nil), s.configMap("b", nil)
	b["metadata"].(map[string]any)["finalizers"] = []any{"example.com/stays"}
	s.put("web", objects{a, b}, serverSide(false))
	s.expectApplied("web")
	s.deleteWork("web")
	s.eventually("only what is there is listed", func() error {
		list := s.record("web").Status.AppliedResources
		if len(list) != 1 || list[0].Name != "b" {
			return fmt.Errorf("%v", list)
		}
		return nil
	})
	s.edit(b, []any{}, "metadata", "finalizers")
	s.expectWorkGone("web")
}

// TestEvictionEndsWithALongerGrace: an agent that starts with a grace period that is for ever clears an eviction that has begun.
func TestEvictionEndsWithALongerGrace(t *testing.T) {
	s := newSite(t)
	s.agent.EvictionGracePeriod = time.Hour
	s.start()
	s.put("web", objects{s.configMap("c", nil)})
	s.expectApplied("web")
	s.stop()
	w := s.work("web")
	w.Finalizers = nil
	if err := s.hub.Update(context.Background(), w); err != nil {
		t.Fatal(err)
	}
	s.deleteWork("web")
	evicting := func(want bool) {
		s.eventually("eviction", func() error {
			if r := s.record("web"); (r.Status.EvictionStartTime != nil) != want {
				return fmt.Errorf("start %v", r.Status.EvictionStartTime)
			}
			return nil
		})
	}
	s.start()
	evicting(true)
	s.stop()
	s.agent.EvictionGracePeriod = 100 * 365 * 24 * time.Hour
	s.start()
	evicting(false)
}
