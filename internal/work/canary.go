package work

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// CanarySteps are the steps of a canary as a work carries them: the agent has to know that a step is measured, and not what is measured.
func CanarySteps(c *musterv1alpha1.Canary) string {
	if c == nil {
		return ""
	}
	told := c.DeepCopy()
	for i := range told.Steps {
		if told.Steps[i].Analysis != nil {
			told.Steps[i].Analysis = &musterv1alpha1.RolloutAnalysis{}
		}
	}
	data, err := json.Marshal(told)
	if err != nil {
		panic(fmt.Sprintf("encode the steps of a canary: %v", err)) // numbers and durations: there is nothing to fail on
	}
	return string(data)
}

// hasDeployment says that some manifest is a Deployment: of others there is no canary.
func hasDeployment(manifests []fleet.Manifest) bool {
	return slices.ContainsFunc(manifests, func(m fleet.Manifest) bool { return m.Key.Group == "apps" && m.Key.Kind == "Deployment" })
}

// CanaryPass is how a work says that its agent may leave a step of a canary, while the work is at a generation.
func CanaryPass(generation int64, step int) string { return fmt.Sprintf("%d/%d", generation, step) }

// CanaryPassed is the last step that the agent of a work may leave, of those that wait for the hub.
func CanaryPassed(w *workv1.ManifestWork) int {
	generation, step, ok := strings.Cut(w.Annotations[musterv1alpha1.CanaryPassedAnnotation], "/")
	if !ok || generation != strconv.FormatInt(w.Generation, 10) {
		return 0
	}
	n, err := strconv.Atoi(step)
	if err != nil {
		return 0
	}
	return n
}
