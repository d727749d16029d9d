package work_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/health"
	"github.com/muster-io/muster/internal/test"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// canarySite is a site whose cluster runs pods, with one work that has a Deployment of three and a ConfigMap which its pods need.
type canarySite struct {
	*site
	server, companion map[string]any
}

const (
	untilApproved = `{"steps":[{"weight":34,"pause":{}}]}`
	inTwoSteps    = `{"steps":[{"replicas":1,"pause":{"duration":"1s"}},{"replicas":2,"pause":{}}]}`
)

func newCanarySite(t *testing.T) *canarySite {
	cp := test.ControlPlane(t, controlplane.Options{Name: "canary", Workloads: true})
	if err := controlplane.Install(t.Context(), cp.Config(), crds.Agent()...); err != nil {
		t.Fatal(err)
	}
	s := &canarySite{site: newSite(t, cp)}
	s.server = s.deployment("server", 3)
	s.companion = s.deployment("server-canary", 1)
	return s
}

// release puts the work with a version of the Deployment, and a ConfigMap of its name beside it. Without steps there is no canary.
func (s *canarySite) release(version, steps string) {
	s.Helper()
	d := s.deployment("server", 3)
	d["spec"].(map[string]any)["progressDeadlineSeconds"] = int64(5)
	containerOf(d)["image"] = "web:" + version
	s.put("web", objects{d, s.configMap("config-"+version, nil)}, serverSide(true), mode("Correct"), func(w *workv1.ManifestWork) {
		if steps != "" {
			w.Annotations[musterv1alpha1.CanaryAnnotation] = steps
		}
		key := fleet.ObjectKey{Group: "apps", Version: "v1", Kind: "Deployment"}
		w.Spec.ManifestConfigs[2].FeedbackRules, w.Spec.ManifestConfigs[2].ConditionRules = health.Feedback(key), health.Rules(key)
	})
}

// pass is the hub's word that a step may be left.
func (s *canarySite) pass(step int) {
	s.Helper()
	w := s.work("web")
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		musterv1alpha1.CanaryPassedAnnotation: fmt.Sprintf("%d/%d", w.Generation, step)}}})
	if err != nil {
		s.Fatal(err)
	}
	if err := s.hub.Patch(context.Background(), w, client.RawPatch(types.MergePatchType, patch)); err != nil {
		s.Fatal(err)
	}
}

func imageOf(d *unstructured.Unstructured) string {
	if d == nil {
		return ""
	}
	return fmt.Sprint(containerOf(d.Object)["image"])
}

// expect waits until the Deployment and its companion have these versions, "" for none, and the Deployment's report says a text.
func (s *canarySite) expect(server, companion string, progressing metav1.ConditionStatus, text string) {
	s.Helper()
	s.eventually("versions", func() error {
		if is, its := imageOf(s.live(s.server)), imageOf(s.live(s.companion)); is != server || its != companion {
			return fmt.Errorf("are %q and %q, want %q and %q", is, its, server, companion)
		}
		return nil
	})
	s.expectWork("web", workv1.WorkApplied, metav1.ConditionTrue)
	s.expectManifest("web", 0, workv1.ManifestProgressing, says(progressing, "", text))
}

// expectPods waits until so many pods that the Deployment's Services choose are ready.
func (s *canarySite) expectPods(want int) {
	s.Helper()
	s.eventually("pods", func() error {
		pods := &unstructured.UnstructuredList{}
		pods.SetAPIVersion("v1")
		pods.SetKind("PodList")
		if err := s.spoke.List(context.Background(), pods, client.InNamespace(s.target), client.MatchingLabels{"app": "server"}); err != nil {
			return err
		}
		ready := 0
		for _, p := range pods.Items {
			conditions, _, _ := unstructured.NestedSlice(p.Object, "status", "conditions")
			for _, c := range conditions {
				if c := c.(map[string]any); c["type"] == "Ready" && c["status"] == "True" && p.GetDeletionTimestamp() == nil {
					ready++
				}
			}
		}
		if ready != want {
			return fmt.Errorf("%d are ready, want %d", ready, want)
		}
		return nil
	})
}

// TestCanary: a changed pod template goes through the steps that a work names, on a cluster that runs pods.
func TestCanary(t *testing.T) {
	s := newCanarySite(t)
	s.start()
	s.release("1", untilApproved)
	s.expect("web:1", "", metav1.ConditionFalse, "")
	s.expectPods(3)

	t.Run("waits for the hub", func(t *testing.T) {
		s.release("2", untilApproved)
		s.expect("web:1", "web:2", metav1.ConditionTrue, "canary at step 1 of 1: waits for an approval")
		s.expectPods(5) // 34 % of three, rounded up, beside the three
		if s.live(s.configMap("config-1", nil)) == nil {
			t.Error("what the pods of the old template need is gone")
		}
		s.stop()
		s.start() // goes on where it was
		s.expect("web:1", "web:2", metav1.ConditionTrue, "waits for an approval")
		s.pass(1)
		s.expect("web:2", "", metav1.ConditionFalse, "")
		s.expectPods(3)
		s.expectGone(s.configMap("config-1", nil))
	})
	const revision = "deployment.kubernetes.io/revision" // another one with each template
	was := s.live(s.server).GetAnnotations()[revision]
	t.Run("a bad image stays in the companion, and goes with the return", func(t *testing.T) {
		s.release("bad", untilApproved)
		s.expect("web:2", "web:bad", metav1.ConditionTrue, "canary at step 1 of 1 fails: Deployment "+s.target+"/server-canary: the rollout exceeded its deadline")
		s.expectManifest("web", 0, workv1.ManifestDegraded, says(metav1.ConditionTrue, ""))
		s.expectPods(3)
		s.release("2", "")
		s.expect("web:2", "", metav1.ConditionFalse, "")
		if now := s.live(s.server).GetAnnotations()[revision]; now != was || was == "" {
			t.Errorf("the Deployment has revision %q, and had %q: its pods were changed", now, was)
		}
	})
	t.Run("another template begins with the first step", func(t *testing.T) {
		s.release("3", inTwoSteps)
		s.expect("web:2", "web:3", metav1.ConditionTrue, "canary at step 2 of 2: waits for an approval")
		s.pass(1) // which is not the step that it is at
		s.release("4", inTwoSteps)
		s.expect("web:2", "web:4", metav1.ConditionTrue, "canary at step 2 of 2: waits for an approval")
		s.expectPods(5)
		s.pass(2)
		s.expect("web:4", "", metav1.ConditionFalse, "")
	})
	t.Run("what is there already under the companion's name is left alone", func(t *testing.T) {
		foreign := s.deployment("server-canary", 0)
		if err := s.spoke.Create(t.Context(), &unstructured.Unstructured{Object: foreign}); err != nil {
			t.Fatal(err)
		}
		s.release("5", untilApproved)
		s.expect("web:4", "web:1", metav1.ConditionTrue, "is there already, and is no companion")
		s.remove(foreign)
		s.expect("web:4", "web:5", metav1.ConditionTrue, "waits for an approval")
	})
	t.Run("one that is taken back goes, although another one goes on", func(t *testing.T) {
		pair := func(left, right string) {
			var both objects
			for name, version := range map[string]string{"left": left, "right": right} {
				d := s.deployment(name, 1)
				containerOf(d)["image"] = "web:" + version
				both = append(both, d)
			}
			s.put("pair", both, serverSide(true), mode("Correct"), func(w *workv1.ManifestWork) { w.Annotations[musterv1alpha1.CanaryAnnotation] = untilApproved })
		}
		image := func(name, want string) {
			t.Helper()
			s.eventually("image of "+name, func() error {
				if is := imageOf(s.live(s.deployment(name, 1))); is != want {
					return fmt.Errorf("is %q, want %q", is, want)
				}
				return nil
			})
		}
		pair("1", "1")
		image("right", "web:1")
		pair("2", "1")
		image("left-canary", "web:2")
		pair("1", "bad")
		image("right-canary", "web:bad")
		image("left-canary", "")
		image("left", "web:1")
		image("right", "web:1")
		s.deleteWork("pair")
		s.expectWorkGone("pair")
		image("right-canary", "")
	})
	t.Run("its end", func(t *testing.T) {
		s.deleteWork("web")
		s.expectWorkGone("web")
		s.expectGone(s.server)
		s.expectGone(s.companion)
	})
}

// TestCanaryCrash: an agent that is killed between any two of its writes goes on with the step that it was at.
func TestCanaryCrash(t *testing.T) {
	s := newCanarySite(t)
	s.start()
	s.release("0", untilApproved)
	s.expect("web:0", "", metav1.ConditionFalse, "")
	s.stop()
	before := "web:0"
	for i, step := range []string{"canary recorded", "recorded", "applied", "settled"} {
		version := fmt.Sprint(i + 1)
		s.release(version, untilApproved)
		s.runUntil(step, 1)
		s.start()
		s.expect(before, "web:"+version, metav1.ConditionTrue, "waits for an approval")
		s.stop()
		s.pass(1)
		s.runUntil(step, 1)
		s.start()
		before = "web:" + version
		s.expect(before, "", metav1.ConditionFalse, "")
		s.stop()
	}
}

const rolloutDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {kind: Rollout, plural: rollouts, singular: rollout, listKind: RolloutList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// TestFollowedRollouts: a Rollout of another controller that waits for a person says so, and leaves the step when the hub has an approval of it.
func TestFollowedRollouts(t *testing.T) {
	s := newSite(t)
	for group, c := range map[string]struct{ strategy, status, want map[string]any }{
		"argoproj.io": {
			strategy: map[string]any{"canary": map[string]any{"steps": []any{map[string]any{"setWeight": int64(5)}, map[string]any{"pause": map[string]any{}}}}},
			status:   map[string]any{"phase": "Paused", "currentStepIndex": int64(1), "pauseConditions": []any{map[string]any{"reason": "CanaryPauseStep"}}},
			want:     map[string]any{"phase": "Paused", "currentStepIndex": int64(1)},
		},
		"rollouts.kruise.io": {
			strategy: map[string]any{"canary": map[string]any{"steps": []any{map[string]any{"replicas": "5%", "pause": map[string]any{"duration": int64(9)}}, map[string]any{"replicas": "50%"}}}},
			status:   map[string]any{"phase": "Progressing", "canaryStatus": map[string]any{"currentStepIndex": int64(2), "currentStepState": "StepPaused"}},
			want:     map[string]any{"phase": "Progressing", "canaryStatus": map[string]any{"currentStepIndex": int64(2), "currentStepState": "StepReady"}},
		},
	} {
		if err := controlplane.Install(t.Context(), test.Hub(t).Config(), []byte(fmt.Sprintf(rolloutDefinition, group))); err != nil {
			t.Fatal(err)
		}
		o := s.configMap("web", nil)
		o["apiVersion"], o["kind"], o["spec"] = group+"/v1", "Rollout", map[string]any{"strategy": c.strategy}
		delete(o, "data")
		s.put("web", objects{o}, mode("Correct"), config(func(*workv1.ManifestConfigOption) {}), func(w *workv1.ManifestWork) {
			w.Spec.ManifestConfigs = []workv1.ManifestConfigOption{{
				ResourceIdentifier: workv1.ResourceIdentifier{Group: group, Resource: "rollouts", Namespace: s.target, Name: "web"},
				UpdateStrategy:     &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeServerSideApply, ServerSideApply: &workv1.ServerSideApplyConfig{Force: true, FieldManager: manager}},
			}}
		})
		s.start()
		s.expectApplied("web")
		s.eventually("write its status", func() error {
			live := s.live(o)
			live.Object["status"] = c.status
			return s.spoke.Status().Update(context.Background(), live)
		})
		s.expectManifest("web", 0, workv1.ManifestApplied, func(_ metav1.Condition, m workv1.ManifestCondition) error {
			if at, _ := health.CanaryOf(m.StatusFeedbacks.Values); at != (fleet.Canary{Step: 2, Phase: fleet.CanaryFollowed}) {
				return fmt.Errorf("says %+v", at)
			}
			return nil
		})
		(&canarySite{site: s}).pass(2)
		s.expectValue(o, c.want, "status")
		s.deleteWork("web")
		s.expectWorkGone("web")
		s.stop()
	}
}
