package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

const measuredCanary = `  rollout:
    type: Progressive
    onFailure: Rollback
    steps:
    - name: canary
      clusterSelector: {labelSelector: {matchLabels: {site: c}}}
      analysis:
        metrics:
        - {name: errors, interval: 1s, count: 2, successCondition: "result[0] < 0.05", prometheus: {address: %q, query: errors}}
        - {name: smoke, interval: 1h, job: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: t, image: example.com/t}]}}}}}
    - {name: prod}`

// TestAnalysis: a step is measured between its clusters and the next ones. A provider that does not answer pauses the rollout, over a
// restart of the hub too; when what it says is bad, the canary returns and the others are never touched.
func TestAnalysis(t *testing.T) {
	t.Parallel()
	f := newShops(t, "measured", "one: a", "two: c")
	var rate atomic.Value
	rate.Store("0.01")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		value := rate.Load().(string)
		if value == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,%q]}]}}`, value)
	}))
	defer server.Close()

	good := f.push(applicationFile("shop", "shops", "manifests/shop", f.serverIn, fmt.Sprintf(measuredCanary, server.URL)) + serverFile("1"))
	f.runs("two", "1")
	f.expectRollout("Progressing", 1, "analysis of step canary", "smoke has 0 of 1")
	f.jobEnds("two", true)
	f.runs("one", "1")
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", good)
	versions := f.uidsAndGenerations("one")

	rate.Store("")
	better := f.push(serverFile("2"))
	f.runs("two", "2")
	f.jobEnds("two", true)
	f.expectRollout("Progressing", 1, "is paused", "inconclusive", "metric errors: prometheus does not answer")
	f.stop() // the measurements go on where they were
	f.startHub()
	f.expectRollout("Progressing", 1, "is paused", "inconclusive")
	if now := f.uidsAndGenerations("one"); now != versions {
		t.Errorf("works of the next step changed while the analysis is inconclusive:\n was %s\n is %s", versions, now)
	}
	rate.Store("0.02")
	f.runs("one", "2")
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", better, good)
	versions = f.uidsAndGenerations("one")

	rate.Store("0.7")
	bad := f.push(serverFile("3"))
	f.runs("two", "3")
	f.runs("two", "2")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "RolledBack", bad[:7]+" is refused: the analysis of step canary failed: metric errors failed: [0.7]", better[:7])
	if now := f.uidsAndGenerations("one"); now != versions {
		t.Errorf("works of the next step changed by a change that failed its analysis:\n was %s\n is %s", versions, now)
	}
	f.expectHistory("retail/shop", better, good)
	f.eventually(func() string { // Jobs go with the analysis
		var jobs batchv1.JobList
		if err := f.spokeClient("two").List(f.ctx, &jobs, client.InNamespace(f.serverIn)); err != nil || len(jobs.Items) > 0 {
			return fmt.Sprintf("%d Jobs are left, %v", len(jobs.Items), err)
		}
		return ""
	})
	var history musterv1alpha1.RolloutHistory
	if err := f.client.Get(f.ctx, client.ObjectKey{Namespace: "retail", Name: "shop"}, &history); err != nil {
		t.Fatal(err)
	}
	if n := len(history.Analyses); n != 3 || history.Analyses[0].Revision != bad || history.Analyses[0].Metrics[0].Failed != 1 {
		t.Errorf("%d analyses, %+v", n, history.Analyses)
	}
}

func (f *theFleet) spokeClient(cluster string) client.Client {
	f.t.Helper()
	c, err := client.New(f.spokes[cluster].Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// jobEnds waits for the newest Job of the analysis on a cluster that has not ended, and ends it: no Jobs run here.
func (f *theFleet) jobEnds(cluster string, well bool) {
	f.t.Helper()
	f.eventually(func() string {
		var jobs batchv1.JobList
		if err := f.spokeClient(cluster).List(f.ctx, &jobs, client.InNamespace(f.serverIn)); err != nil {
			return err.Error()
		}
		for i := range jobs.Items {
			j := &jobs.Items[i]
			if len(j.Status.Conditions) > 0 || !j.DeletionTimestamp.IsZero() || !strings.HasPrefix(j.Name, "shop-smoke-") {
				continue
			}
			now := metav1.Now()
			j.Status = batchv1.JobStatus{StartTime: &now, CompletionTime: &now, Succeeded: 1, Conditions: []batchv1.JobCondition{
				{Type: batchv1.JobSuccessCriteriaMet, Status: corev1.ConditionTrue, LastTransitionTime: now}, {Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: now},
			}}
			if !well {
				j.Status = batchv1.JobStatus{StartTime: &now, Failed: 1, Conditions: []batchv1.JobCondition{
					{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue, LastTransitionTime: now}, {Type: batchv1.JobFailed, Status: corev1.ConditionTrue, LastTransitionTime: now},
				}}
			}
			if err := f.spokeClient(cluster).Status().Update(f.ctx, j); err != nil {
				return err.Error()
			}
			return ""
		}
		return "no Job that has not ended"
	})
}
