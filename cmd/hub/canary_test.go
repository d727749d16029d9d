package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

const withCanary = `  rollout:
    type: Progressive
    onFailure: Rollback
    progressive: {maxConcurrency: 1, progressDeadline: None}
    canary:
      steps:
      - {replicas: 1, pause: {}}
      - {weight: 100, analysis: {metrics: [{name: errors, interval: 1s, count: 2, successCondition: "result[0] < 0.05", prometheus: {address: %q, query: errors}}]}}`

// TestCanaryWithinClusters: a change goes through the steps of a canary within one cluster after the other. Steps wait for an approval and for
// measurements, over a restart of the hub; what fails never reaches the Deployments.
func TestCanaryWithinClusters(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge, site: a")+clusterFile("two", "tier: edge, site: b")+placementFile("shops", byCanary))
	f.serverIn = "grey"
	f.deliver()
	for _, name := range []string{"one", "two"} {
		f.join(name)
	}
	f.giveHolders()
	var rate atomic.Value
	rate.Store("0.01")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,%q]}]}}`, rate.Load())
	}))
	defer server.Close()

	good := f.push(applicationFile("shop", "shops", "manifests/shop", f.serverIn, fmt.Sprintf(withCanary, server.URL)) + serverFile("1"))
	f.runs("one", "1") // what is new takes no steps
	f.runs("two", "1")
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", good)

	better := f.push(serverFile("2"))
	f.companionRuns("one", "2")
	f.expectRollout("Progressing", 1, "step canary/1 waits for an approval on one: muster approve retail/shop --step canary/1")
	f.expectVersions("one", "1", "2")
	f.expectVersions("two", "1", "")
	f.stop()
	f.startHub()
	f.expectRollout("Progressing", 1, "step canary/1 waits for an approval on one")
	if c := f.application("retail/shop").Status.Rollout.Canary; c == nil || c.WaitsForApproval != "canary/1" || c.Steps != 2 || c.Clusters != 1 {
		t.Errorf("the status says %+v of the canary", c)
	}
	if err := f.annotateAs("lead", map[string]string{musterv1alpha1.ApprovedStepsAnnotation: better + "/canary/1", musterv1alpha1.RolloutByAnnotation: "lead"}); err != nil {
		t.Fatal(err)
	}
	f.runs("one", "2")
	f.expectVersions("one", "2", "")
	f.companionRuns("two", "2") // the approval is for all clusters; the measurements are not
	f.runs("two", "2")
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", better, good)

	rate.Store("0.7")
	bad := f.push(serverFile("3"))
	f.companionRuns("one", "3")
	if err := f.annotateAs("lead", map[string]string{musterv1alpha1.ApprovedStepsAnnotation: bad + "/canary/1", musterv1alpha1.RolloutByAnnotation: "lead"}); err != nil {
		t.Fatal(err)
	}
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "RolledBack", bad[:7]+" is refused: the analysis of step canary/2 of one failed: metric errors failed: [0.7]", better[:7])
	f.expectVersions("one", "2", "")
	f.expectVersions("two", "2", "")

	worse := f.push(serverFile("4"))
	f.reportOf("one", "server-canary", "4", corev1.ConditionFalse, "ProgressDeadlineExceeded")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "RolledBack", worse[:7]+" is refused: one failed")
	f.expectVersions("one", "2", "")
	f.expectVersions("two", "2", "")
}

func (f *theFleet) companionRuns(cluster, version string) {
	f.t.Helper()
	f.reportOf(cluster, "server-canary", version, corev1.ConditionTrue, "NewReplicaSetAvailable")
}

// expectVersions waits until the Deployment of a cluster and its companion have these versions, "" for none.
func (f *theFleet) expectVersions(cluster, server, companion string) {
	f.t.Helper()
	f.eventually(func() string {
		var d appsv1.Deployment
		f.on(cluster, &d, f.serverIn, "server-canary")
		if is, its := f.image(cluster), versionIn(&d); is != server || its != companion {
			return fmt.Sprintf("%s has versions %q and %q, want %q and %q", cluster, is, its, server, companion)
		}
		return ""
	})
}
