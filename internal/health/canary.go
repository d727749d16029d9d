package health

import (
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// The feedback of a Deployment whose pod template goes through the steps of a canary.
const (
	canaryStep  = "CanaryStep"
	canaryPhase = "CanaryPhase"
	canaryReady = "CanaryReadyReplicas"
)

// CanaryFeedback is how an agent reports that a Deployment is at a step of a canary.
func CanaryFeedback(c fleet.Canary, readyReplicas int64) []workv1.FeedbackValue {
	step, phase := int64(c.Step), string(c.Phase)
	return []workv1.FeedbackValue{
		{Name: canaryStep, Value: workv1.FieldValue{Type: workv1.Integer, Integer: &step}},
		{Name: canaryPhase, Value: workv1.FieldValue{Type: workv1.String, String: &phase}},
		{Name: canaryReady, Value: workv1.FieldValue{Type: workv1.Integer, Integer: &readyReplicas}},
	}
}

// CanaryOf reads at which step of a canary an object is; false when it is at none.
func CanaryOf(values []workv1.FeedbackValue) (fleet.Canary, bool) {
	var c fleet.Canary
	for _, v := range values {
		switch {
		case v.Name == canaryStep && v.Value.Integer != nil:
			c.Step = int(*v.Value.Integer)
		case v.Name == canaryPhase && v.Value.String != nil:
			c.Phase = fleet.CanaryPhase(*v.Value.String)
		}
	}
	return c, c.Step > 0 && c.Phase != ""
}
