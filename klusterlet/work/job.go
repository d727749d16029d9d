package work

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// longTTL is how long a finished Job must stay for the agent to have read it in the end: one that it last saw running was then
// deleted by somebody.
const longTTL = time.Minute

// lifetime is how long Kubernetes keeps the Job of a manifest after it has finished; false when for ever, or for no Job.
func (t target) lifetime() (time.Duration, bool) {
	if t.object == nil || t.meta.Group != "batch" || t.meta.Kind != "Job" {
		return 0, false
	}
	seconds, found, err := unstructured.NestedInt64(t.object.Object, "spec", "ttlSecondsAfterFinished")
	return time.Duration(seconds) * time.Second, found && err == nil
}

// noteJob remembers whether a Job that Kubernetes will remove has finished.
func (p *reconciliation) noteJob(t target, s *objectState, live *unstructured.Unstructured) {
	ttl, limited := t.lifetime()
	s.collected, s.running = false, false
	s.finished = p.mode != modeOCM && p.endedByPolicy(t, s)
	if !limited || p.mode == modeOCM {
		return
	}
	s.finished = s.finished || conditionTrue(live, "Complete") || conditionTrue(live, "Failed")
	s.running = !s.finished && ttl >= longTTL && p.watches.covers(t)
}

// collectedJob says that an applied Job that is absent has finished, and was removed by Kubernetes as its manifest asks. OCM's works
// know nothing of that: there it is created again.
func (p *reconciliation) collectedJob(t target, s *objectState) bool {
	if p.mode == modeOCM {
		return false
	}
	if t.deletesAtTheEnd() && p.marked(t) {
		return true
	}
	_, limited := t.lifetime()
	return limited && !s.running
}

func conditionTrue(object *unstructured.Unstructured, kind string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, _ := c.(map[string]any)
		return m["type"] == kind && m["status"] == "True"
	})
}

// collectedRules answers the rules of a Job that is gone because it has finished: it is not progressing, and otherwise as it was
// when it was last read.
func collectedRules(t target, before []metav1.Condition) []metav1.Condition {
	var all []metav1.Condition
	for _, rule := range t.config.ConditionRules {
		c := metav1.Condition{Type: rule.Condition, Status: metav1.ConditionFalse, Reason: workv1.ReasonConditionRuleEvaluated, Message: messageCollected}
		for _, old := range before {
			if old.Type == rule.Condition && rule.Condition != workv1.ManifestProgressing {
				c.Status, c.Message = old.Status, old.Message
			}
		}
		if rule.Condition == workv1.ManifestComplete {
			c.Status = metav1.ConditionTrue
		}
		all = append(all, c)
	}
	return all
}

const messageCollected = "The object has finished and was removed, as its manifest asks"
