package work_test

import (
	"fmt"
	"testing"

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
