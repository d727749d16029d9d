package health

import (
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FromManifest reads the health of one object from what an agent reported of its manifest, and why it is not better.
// Conditions of another generation of the work do not count, nor do rules that could not be evaluated.
//
//	Available False                  Degraded: the object is not there
//	Degraded True                    Degraded
//	Progressing True                 Progressing
//	Progressing False                Healthy
//	no Progressing, Available True   Healthy for kinds that have nothing to report, else Unknown
//	otherwise                        Unknown
func FromManifest(key fleet.ObjectKey, conditions []metav1.Condition, generation int64) (fleet.Health, string) {
	available := reported(conditions, workv1.ManifestAvailable, generation)
	worse := reported(conditions, workv1.ManifestDegraded, generation)
	busy := reported(conditions, workv1.ManifestProgressing, generation)
	switch {
	case is(available, metav1.ConditionFalse):
		return fleet.HealthDegraded, "does not exist on the cluster"
	case is(worse, metav1.ConditionTrue):
		if is(busy, metav1.ConditionTrue) {
			return fleet.HealthDegraded, busy.Message // that of Progressing tells the cause
		}
		return fleet.HealthDegraded, worse.Message
	case is(busy, metav1.ConditionTrue):
		return fleet.HealthProgressing, busy.Message
	case is(busy, metav1.ConditionFalse):
		return fleet.HealthHealthy, ""
	case is(available, metav1.ConditionTrue) && !Reports(key):
		return fleet.HealthHealthy, ""
	}
	return fleet.HealthUnknown, "the agent has not reported how it does"
}

// Worse gives the worse of two: Degraded, Progressing, Unknown, Healthy. An empty one is Healthy's better.
func Worse(a, b fleet.Health) fleet.Health {
	if rank[a] <= rank[b] {
		return a
	}
	return b
}

var rank = map[fleet.Health]int{
	fleet.HealthDegraded: 0, fleet.HealthProgressing: 1, fleet.HealthUnknown: 2, fleet.HealthHealthy: 3, "": 4,
}

// reported finds a condition that is about this generation and was really computed.
func reported(conditions []metav1.Condition, kind string, generation int64) *metav1.Condition {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil || c.ObservedGeneration != generation {
		return nil
	}
	switch c.Reason {
	case workv1.ReasonConditionRuleInvalid, workv1.ReasonConditionRuleExpressionError, workv1.ReasonConditionRuleInternalError:
		return nil
	}
	return c
}

func is(c *metav1.Condition, status metav1.ConditionStatus) bool {
	return c != nil && c.Status == status
}
