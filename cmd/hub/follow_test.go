package main

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestFollows: production gets what staging has proved, without a commit of its own: not while staging is not healthy with it, never what
// staging refuses, and at once what asks nothing of staging; also from a hub that starts over in between.
func TestFollows(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge, site: a")+clusterFile("two", "tier: edge, site: b")+
		placementFile("staging", "\n  predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {site: a}}}}]")+
		placementFile("prod", "\n  predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {site: b}}}}]"))
	f.serverIn = "promoted"
	f.deliver()
	for _, name := range []string{"one", "two"} {
		f.join(name)
	}
	prod := func(extra string) string {
		return applicationFile("prod", "prod", "manifests/shop", f.serverIn, "  follows: {application: stage, minSuccessTime: 1s}\n"+extra)
	}
	first := f.push(applicationFile("stage", "staging", "manifests/shop", f.serverIn,
		"  rollout: {type: All, onFailure: Rollback}") + prod("") + serverFile("1"))
	f.expectApplication("retail/prod", "Ready", metav1.ConditionFalse, "Waiting", "follows: stage")
	if got := f.image("two"); got != "" {
		t.Errorf("production has %q before staging is healthy", got)
	}
	f.runs("one", "1")
	f.runs("two", "1")
	f.expectFollows(first, "")

	second := f.push(serverFile("2"))
	f.expectImage("one", "2")
	f.expectFollows(first, second)
	f.stop()
	f.startHub()
	f.expectFollows(first, second)
	if got := f.image("two"); got != "1" {
		t.Errorf("production has version %s before staging has proved it", got)
	}
	f.runs("one", "2")
	f.runs("two", "2")
	f.expectFollows(second, "")

	bad := f.push(serverFile("bad"))
	f.fails("one", "bad")
	f.runs("one", "2")
	f.expectApplication("retail/stage", "Ready", metav1.ConditionFalse, "RolledBack", bad[:7])
	f.expectApplication("retail/prod", "Ready", metav1.ConditionTrue, "Succeeded", bad[:7]+" waits for those that it follows: stage refuses "+bad[:7])
	f.expectImage("two", "2")
	f.push(serverFile("2"))
	f.expectReady("retail/stage")

	own := f.push(prod(`  commonMetadata: {labels: {team: shops}}`))
	f.eventually(func() string {
		var c corev1.ConfigMap
		if !f.on("two", &c, f.serverIn, "shop") || c.Labels["team"] != "shops" {
			return fmt.Sprintf("production does not get its own change: %v", c.Labels)
		}
		return ""
	})
	f.expectFollows(own, "")
}

// expectFollows waits until production is to have a commit, and waits for another one.
func (f *theFleet) expectFollows(revision, waiting string) {
	f.t.Helper()
	f.eventually(func() string {
		got := f.application("retail/prod").Status.Follows
		if got == nil || got.Revision != revision || got.Waiting != waiting {
			return fmt.Sprintf("it follows %+v, want %+v", got, musterv1alpha1.FollowsStatus{Revision: revision, Waiting: waiting})
		}
		return ""
	})
}
