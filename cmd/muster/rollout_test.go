package main

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestRolloutStatusShowsMeasurements: the status of a rollout says how far its steps are, what was measured of the present one, and what those
// that it follows have not proved.
func TestRolloutStatusShowsMeasurements(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC))
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "storefront"}}
	app.Status = musterv1alpha1.ApplicationStatus{
		Revision: "41aa9d0", LastGoodRevision: "0b2c3d4",
		Follows: &musterv1alpha1.FollowsStatus{Revision: "41aa9d0", Waiting: "99fedcb", Message: "waits for those that it follows: staging does not have it yet"},
		Rollout: &musterv1alpha1.RolloutStatus{
			StartedAt: at, Revision: "41aa9d0", Phase: musterv1alpha1.RolloutProgressing, Group: "canary", Clusters: 10, Updated: 2, Waiting: 8, Message: "the rollout is paused",
			Steps: []musterv1alpha1.StepProgress{
				{Name: "canary", Clusters: 2, Updated: 2, SoakUntil: &metav1.Time{Time: at.Add(10 * time.Minute)}}, {Clusters: 8, Failed: 1},
			},
			Canary: &musterv1alpha1.CanaryStatus{Step: 2, Steps: 3, Clusters: 2},
			Analysis: &musterv1alpha1.AnalysisStatus{
				Step: "canary", Phase: musterv1alpha1.AnalysisInconclusive, Clusters: []string{"a", "b"},
				Metrics: []musterv1alpha1.MetricResult{
					{Name: "errors", Successful: 3, Inconclusive: 1, At: at, Outcome: musterv1alpha1.AnalysisInconclusive, Message: "connection refused"},
					{Name: "probe", Successful: 4, At: at, Outcome: musterv1alpha1.AnalysisSuccessful, Value: "200 OK"},
				},
			},
		},
	}
	p := &printer{}
	printRollout(p, rolloutAnswerOf(app), at.Add(time.Minute+400*time.Millisecond))
	text := strings.Join(strings.Fields(p.b.String()), " ")
	for _, want := range []string{
		"at canary: 2 of 10 clusters have 41aa9d0", "STEP CLUSTERS FAILED SOAK LEFT WAITS FOR", "canary 2 of 2 0 9m0s the rollout is paused", "others 0 of 8 1 -",
		"canary at step 2 of 3 on 2 clusters", "analysis of step canary on 2 clusters: Inconclusive",
		"METRIC SUCCESSFUL FAILED INCONCLUSIVE LAST RESULT", "errors 3 0 1 12:00:00 connection refused", "probe 4 0 0 12:00:00 200 OK",
		"99fedcb waits for those that it follows: staging does not have it yet",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, p.b.String())
		}
	}
}
