package work_test

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/health"
)

// finish ends a Job as Kubernetes does.
func (s *site) finish(job map[string]any) {
	s.Helper()
	s.eventually("finish the Job", func() error {
		now := metav1.Now().UTC().Format("2006-01-02T15:04:05Z")
		live := s.live(job)
		if live == nil {
			return fmt.Errorf("it is not there")
		}
		start, found, _ := unstructured.NestedString(live.Object, "status", "startTime") // which the Job's controller may have written
		if !found {
			start = now
		}
		live.Object["status"] = map[string]any{"startTime": start, "completionTime": now, "succeeded": int64(1), "conditions": []any{
			map[string]any{"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": now},
			map[string]any{"type": "Complete", "status": "True", "lastTransitionTime": now}}}
		return s.spoke.Status().Update(context.Background(), live)
	})
}

// TestCollectedJob: a Job that has finished and was removed by its own time to live is done: it is healthy, no drift, and does not
// run again, not for a restarted agent and not when another manifest changes, until its own does.
func TestCollectedJob(t *testing.T) {
	for _, drift := range []string{"Correct", "Report"} {
		t.Run(drift, func(t *testing.T) {
			s := newSite(t)
			s.start()
			job := s.job("migrate")
			_ = unstructured.SetNestedField(job, int64(3600), "spec", "ttlSecondsAfterFinished")
			key := fleet.ObjectKey{Group: "batch", Kind: "Job"}
			how := []option{serverSide(false), mode(drift), configFor("batch", "jobs", workv1.ManifestConfigOption{
				ConditionRules: health.Rules(key), UpdateStrategy: &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeServerSideApply}})}
			s.put("web", objects{job, s.configMap("c", nil)}, how...)
			s.expectWork("web", workv1.WorkProgressing, metav1.ConditionTrue)
			s.finish(job)
			s.expectWork("web", workv1.WorkProgressing, metav1.ConditionFalse)
			s.eventually("it is written down", func() error {
				if s.record("web").Annotations["muster.dev/applied"] == "" {
					return fmt.Errorf("no mark")
				}
				return nil
			})
			done := func(when string) {
				t.Helper()
				s.eventually("health "+when, func() error {
					w := s.work("web")
					state, why := health.FromManifest(key, w.Status.ResourceStatus.Manifests[0].Conditions, w.Generation)
					if state != fleet.HealthHealthy {
						return fmt.Errorf("%s: %s: %s", state, why, told(w))
					}
					return nil
				})
				s.expectApplied("web")
				s.expectWork("web", workv1.WorkAvailable, metav1.ConditionTrue)
				if c := condition(s.work("web"), 0, musterv1alpha1.ConditionDrift); c != nil {
					t.Errorf("drift %s: %s", when, c.Message)
				}
				if s.live(job) != nil {
					t.Fatalf("the Job runs again %s", when)
				}
			}
			s.remove(job)
			s.expectGone(job)
			s.expectManifest("web", 0, workv1.ManifestAvailable, says("True", workv1.ReasonResourceAvailable, "finished"))
			done("after it was removed")
			s.stop()
			s.put("web", objects{job, s.configMap("c", map[string]any{"k": "2"})}, how...)
			s.start()
			s.expectValue(s.configMap("c", nil), "2", "data", "k")
			done("after a restart and another commit")
			s.put("web", objects{job, s.configMap("c", map[string]any{"k": "3"})}, how...)
			s.expectValue(s.configMap("c", nil), "3", "data", "k")
			done("after another commit")
			_ = unstructured.SetNestedField(job, int64(3), "spec", "backoffLimit")
			s.put("web", objects{job, s.configMap("c", nil)}, how...)
			s.expectValue(job, 3, "spec", "backoffLimit")
			s.remove(job)
			if drift == "Correct" { // it had not finished: somebody deleted it
				s.expectValue(job, 3, "spec", "backoffLimit")
			} else {
				s.expectManifest("web", 0, musterv1alpha1.ConditionDrift, says("True", ""))
			}
		})
	}
}
