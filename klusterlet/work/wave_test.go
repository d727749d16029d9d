package work_test

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// annotated adds an annotation to a manifest.
func annotated(o map[string]any, key, value string) map[string]any {
	_ = unstructured.SetNestedField(o, value, "metadata", "annotations", key)
	return o
}

func inWave(o map[string]any, wave string) map[string]any {
	return annotated(o, musterv1alpha1.WaveAnnotation, wave)
}

// ofApplication makes a work one of several of an application.
func ofApplication(owner, set string, size int) option {
	return func(w *workv1.ManifestWork) {
		metav1.SetMetaDataAnnotation(&w.ObjectMeta, musterv1alpha1.SetDigestAnnotation, set)
		metav1.SetMetaDataAnnotation(&w.ObjectMeta, musterv1alpha1.SetSizeAnnotation, fmt.Sprint(size))
		w.Labels = map[string]string{musterv1alpha1.OwnerLabel: owner}
	}
}

// TestWaves: a wave is applied when every object of the lower ones is ready, and what is not ready is named.
func TestWaves(t *testing.T) {
	s := newSite(t)
	s.start()
	job := inWave(s.job("migrate"), "-1")
	between := s.configMap("between", nil)
	web := annotated(inWave(s.deployment("web", 1), "1"), musterv1alpha1.WaveTimeoutAnnotation, "1s")
	custom := annotated(inWave(s.configMap("custom", map[string]any{"state": "starting"}), "2"), musterv1alpha1.ReadyAnnotation, `object.data.state == "up"`)
	last := inWave(s.configMap("last", nil), "3")
	all := objects{last, custom, web, between, job}
	s.put("web", all, serverSide(false, workv1.IgnoreField{Condition: workv1.IgnoreFieldsConditionOnSpokePresent, JSONPointers: []string{"/data/state"}}), mode("Correct"))

	waits := func(parts ...string) {
		t.Helper()
		s.eventually("the condition about waves", func() error {
			c := meta.FindStatusCondition(s.work("web").Status.Conditions, musterv1alpha1.ConditionWaves)
			if c == nil {
				return fmt.Errorf("is not there: %s", told(s.work("web")))
			}
			return says("False", "WaitingForWave", parts...)(*c, workv1.ManifestCondition{})
		})
	}
	absent := func(those ...map[string]any) {
		t.Helper()
		for _, o := range those {
			if s.live(o) != nil {
				t.Errorf("%v was applied before its wave", o["metadata"])
			}
		}
	}
	waits("wave -1 waits for", "Job "+s.target+"/migrate", "not finished")
	absent(between, web, custom, last)
	s.finish(job)
	s.eventually("the next waves", func() error {
		if s.live(between) == nil || s.live(web) == nil {
			return fmt.Errorf("are not applied")
		}
		return nil
	})
	waits("wave 1 waits for", "Deployment "+s.target+"/web", "0 of 1 replicas")
	absent(custom, last)
	// One second later that is a fault of those that wait, and of nothing else.
	s.expectManifest("web", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "not applied yet", "Deployment "+s.target+"/web"))
	s.expectManifest("web", 3, workv1.ManifestApplied, says("True", ""))
	absent(custom, last)

	_ = unstructured.SetNestedField(web, int64(0), "spec", "replicas")
	s.put("web", all, serverSide(false, workv1.IgnoreField{Condition: workv1.IgnoreFieldsConditionOnSpokePresent, JSONPointers: []string{"/data/state"}}), mode("Correct"))
	waits("wave 2 waits for", "ConfigMap "+s.target+"/custom", "muster.dev/ready")
	absent(last)
	s.edit(custom, "up", "data", "state")
	s.expectApplied("web")
	s.expectWork("web", musterv1alpha1.ConditionWaves, metav1.ConditionTrue)
	if s.live(last) == nil {
		t.Error("the last wave is not there")
	}
}

// TestWavesOfSeveralWorks: the waves of an application run over all its works.
func TestWavesOfSeveralWorks(t *testing.T) {
	s := newSite(t)
	s.start()
	job, after := inWave(s.job("migrate"), "0"), inWave(s.configMap("after", nil), "1")
	s.put("late", objects{after}, serverSide(false), mode("Correct"), ofApplication("0123456789", "one", 2))
	s.put("early", objects{job}, serverSide(false), mode("Correct"), ofApplication("0123456789", "one", 2))
	s.put("stranger", objects{inWave(s.configMap("stranger", nil), "1")}, serverSide(false), mode("Correct"), ofApplication("9876543210", "two", 1))
	s.expectApplied("early", "stranger")
	s.expectWork("late", musterv1alpha1.ConditionWaves, metav1.ConditionFalse)
	if s.live(after) != nil {
		t.Fatal("applied before the wave of another work")
	}
	s.finish(job)
	s.expectApplied("late")
}

// TestFoundationGoesFirst: namespaces and definitions of an application are there before its other objects are tried, also where
// they are in another work: nobody is told of an error that passes.
func TestFoundationGoesFirst(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watcher, err := s.hub.(client.WithWatch).Watch(ctx, &workv1.ManifestWorkList{}, client.InNamespace(s.namespace))
	if err != nil {
		t.Fatal(err)
	}
	failures := make(chan string, 100)
	go func() {
		defer close(failures)
		for event := range watcher.ResultChan() {
			if w, ok := event.Object.(*workv1.ManifestWork); ok && event.Type == watch.Modified {
				for _, m := range w.Status.ResourceStatus.Manifests {
					if c := meta.FindStatusCondition(m.Conditions, workv1.ManifestApplied); c != nil && c.Status == "False" {
						failures <- w.Name + ": " + c.Message
					}
				}
			}
		}
	}()
	tried := make(chan struct{}, 1000)
	s.agent.OnStep(func(step string) {
		if step == "applied" {
			tried <- struct{}{}
		}
	})
	s.start()
	namespace := s.target + "-new"
	d := definition()
	d["metadata"] = map[string]any{"name": "things.first.example.com"}
	_ = unstructured.SetNestedField(d, "first.example.com", "spec", "group")
	_ = unstructured.SetNestedField(d, map[string]any{"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}, "spec", "names")
	thing := s.configMap("t", nil)
	thing["apiVersion"], thing["kind"] = "first.example.com/v1", "Thing"
	inside := s.configMap("c", nil)
	inside["metadata"].(map[string]any)["namespace"] = namespace
	set := ofApplication("0123456789", "one", 2)
	s.put("a-objects", objects{thing, inside}, serverSide(false), mode("Correct"), set)
	<-tried
	s.put("b-foundation", objects{d, {"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace}}}, serverSide(false), mode("Correct"), set)
	s.expectApplied("a-objects", "b-foundation")
	cancel()
	for failure := range failures {
		t.Errorf("an error that passed was reported: %s", failure)
	}
}

// TestDeletePolicy: an object that is deleted when it is ready is done, and lets the next wave begin; one that is deleted before it is
// applied is another object after a change.
func TestDeletePolicy(t *testing.T) {
	s := newSite(t)
	s.start()
	hook := func(image string) map[string]any {
		o := annotated(inWave(s.job("hook"), "-1"), musterv1alpha1.DeletePolicyAnnotation, "BeforeApply, WhenReady")
		containers := []any{map[string]any{"name": "job", "image": image}}
		_ = unstructured.SetNestedSlice(o, containers, "spec", "template", "spec", "containers")
		return o
	}
	after := s.configMap("after", map[string]any{"k": "1"})
	s.put("web", objects{hook("job:1"), after}, serverSide(false), mode("Correct"))
	s.eventually("the hook", func() error {
		if s.live(hook("")) == nil {
			return fmt.Errorf("is not applied")
		}
		return nil
	})
	uid := s.live(hook("")).GetUID()
	if s.live(after) != nil {
		t.Fatal("applied before the hook has finished")
	}
	s.put("web", objects{hook("job:2"), after}, serverSide(false), mode("Correct"))
	s.eventually("another hook", func() error {
		if live := s.live(hook("")); live == nil || live.GetUID() == uid {
			return fmt.Errorf("is not applied")
		}
		return nil
	})
	s.finish(hook(""))
	s.expectApplied("web")
	s.expectGone(hook(""))
	s.expectWork("web", workv1.WorkAvailable, metav1.ConditionTrue)
	s.stop()
	s.put("web", objects{hook("job:2"), s.configMap("after", map[string]any{"k": "2"})}, serverSide(false), mode("Correct"))
	s.start()
	s.expectValue(after, "2", "data", "k")
	s.expectApplied("web")
	if s.live(hook("")) != nil {
		t.Error("the hook runs again, and its manifest did not change")
	}
}
