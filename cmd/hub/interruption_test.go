package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestWhatIsAwayLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+clusterFile("two", "tier: edge")+placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "away", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red")+
		configMapFile("manifests/shop/other.yaml", "other", "color", "red"))
	f.deliver()
	f.join("one")
	f.join("two")
	f.push("")
	f.expectReady("retail/shop")
	uids := f.uids("retail/shop")
	gone := f.watchDeletions(f.cp.Config(), works, "")

	f.run("a cluster that misses two commits goes straight to the newest", clusterMissesCommits)
	f.run("a hub that is restarted in the middle of a push goes on", hubRestartsInPush)
	f.run("an agent that is restarted goes on", agentRestarts)
	f.run("a rewritten history is said and followed", rewrittenHistory)
	f.run("a repository that vanishes changes nothing, over a restart of the hub too", repositoryVanishes)
	f.run("a repository that becomes empty changes nothing", repositoryEmpties)

	if names := gone.list(); len(names) > 0 {
		t.Errorf("works were deleted: %v", names)
	}
	if now := f.uids("retail/shop"); !equality.Semantic.DeepEqual(uids, now) {
		t.Errorf("the works are not those of the beginning: %v, were %v", now, uids)
	}
}

func color(value string) string {
	return configMapFile("manifests/shop/config.yaml", "shop", "color", value)
}

// versions that a ConfigMap on a cluster has gone through are counted by its resourceVersion.
func (f *theFleet) versionOf(cluster, name string) (types.UID, string) {
	f.t.Helper()
	var cm corev1.ConfigMap
	f.on(cluster, &cm, "away", name)
	return cm.UID, cm.ResourceVersion
}

func clusterMissesCommits(f *theFleet) {
	uid, _ := f.versionOf("two", "shop")
	_, other := f.versionOf("two", "other")
	f.agents["two"]()
	f.available("two", false)
	f.expectRow("retail/shop", "two", "Offline Kept", "its works stay until it is back")
	f.push(color("orange"))
	f.expectData("one", "away", "shop", "color", "orange")
	newest := f.push(color("yellow"))
	f.expectData("one", "away", "shop", "color", "yellow")
	f.expectRow("retail/shop", "two", "Offline Kept", "its works stay until it is back")
	f.expectApplication("retail/shop", "Applied", metav1.ConditionFalse, "Offline", "1 of 2 clusters")
	if got := f.data("two", "away", "shop", "color"); got != "red" {
		f.t.Errorf("the cluster that is away has color %q", got)
	}
	f.available("two", true)
	f.startAgent("two")
	f.expectHealthy("retail/shop", newest, 2)
	f.expectData("two", "away", "shop", "color", "yellow")
	f.expectReady("retail/shop")
	if now, _ := f.versionOf("two", "shop"); now != uid {
		f.t.Error("the object was made anew")
	}
	if _, now := f.versionOf("two", "other"); now != other {
		f.t.Error("an object that no commit changed was written")
	}
}

// hubRestartsInPush stops the hub when a commit is applied and not delivered: without the placement controller its placement
// is never decided.
func hubRestartsInPush(f *theFleet) {
	f.stop()
	f.controllers = []string{"fleetrepository", "application", "cluster"}
	f.startHub()
	was := f.repository().Status.Revision
	revision := f.repo.Commit(color("green") + placementFile("edge",
		`{numberOfClusters: 7, predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge}}}}]}`))
	f.expectRepository("Delivered", metav1.ConditionFalse, "Waiting", "placement retail/edge")
	f.eventually(func() string {
		var p clusterv1beta1.Placement
		if err := f.client.Get(f.ctx, client.ObjectKey{Namespace: "retail", Name: "edge"}, &p); err != nil {
			return err.Error()
		}
		if p.Spec.NumberOfClusters == nil {
			return "the placement is not applied"
		}
		return ""
	})
	f.stop()
	if got := f.repository().Status.Revision; got != was {
		f.t.Errorf("%s is delivered, although its placement was not decided", got)
	}
	if got := f.data("one", "away", "shop", "color"); got == "green" {
		f.t.Error("the new content has reached the old placement")
	}
	f.controllers = []string{"*"}
	f.startHub()
	f.expectHealthy("retail/shop", revision, 2)
	f.expectData("two", "away", "shop", "color", "green")
}

func agentRestarts(f *theFleet) {
	f.agents["one"]()
	revision := f.push(color("blue"))
	f.expectData("two", "away", "shop", "color", "blue")
	f.startAgent("one")
	f.expectHealthy("retail/shop", revision, 2)
	f.expectData("one", "away", "shop", "color", "blue")
}

func rewrittenHistory(f *theFleet) {
	f.repo.Git("checkout", "--quiet", "--orphan", "anew")
	f.repo.Commit(color("indigo"))
	f.repo.Git("branch", "--quiet", "--force", "main", "anew")
	f.repo.Git("checkout", "--quiet", "main")
	revision := strings.TrimSpace(f.repo.Git("rev-parse", "HEAD"))
	f.expectHealthy("retail/shop", revision, 2)
	f.expectRepository("Fetched", metav1.ConditionTrue, "HistoryRewritten", "does not follow from the commit before it")
	f.push(color("violet"))
	f.expectReady("retail/shop")
	f.expectRepository("Fetched", metav1.ConditionTrue, "Succeeded")
}

func repositoryVanishes(f *theFleet) {
	away := f.repo.Dir + "-away"
	f.rename(f.repo.Dir, away)
	f.expectRepository("Fetched", metav1.ConditionFalse, "SourceUnavailable", f.repo.Dir)
	f.stop()
	f.startHub()
	// The hub works on without it: what somebody changes on a work is put back.
	before := f.worksOf("retail/shop")
	for _, w := range before {
		changed := w.DeepCopy()
		f.change(changed, func() { changed.Spec.DeleteOption = nil })
	}
	f.eventually(func() string {
		for name, w := range f.worksOf("retail/shop") {
			if !equality.Semantic.DeepEqual(w.Spec, before[name].Spec) {
				return name + " is not put back"
			}
		}
		return ""
	})
	f.expectRepository("Fetched", metav1.ConditionFalse, "SourceUnavailable", f.repo.Dir)
	f.rename(away, f.repo.Dir)
	revision := f.push(color("black"))
	f.expectHealthy("retail/shop", revision, 2)
	f.expectRepository("Ready", metav1.ConditionTrue, "Succeeded")
}

func (f *theFleet) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(from, to); err != nil {
		f.t.Fatal(err)
	}
}

func repositoryEmpties(f *theFleet) {
	good := f.repository().Status.Revision
	files := strings.Fields(f.repo.Git("ls-files"))
	slices.Sort(files)
	var archive strings.Builder
	for _, file := range files {
		fmt.Fprintf(&archive, "-- %s --\n%s", file, deleted)
	}
	f.repo.Commit(archive.String())
	f.expectFault("RepositoryEmpty", "nothing is defined")
	f.expectRepository("Ready", metav1.ConditionFalse, "Waiting", "the last good state stays")
	if got := f.repository().Status.Revision; got != good {
		f.t.Errorf("delivered is %s, want the last good commit %s", got, good)
	}
	if a := f.application("retail/shop"); a.DeletionTimestamp != nil || a.Status.Revision != good {
		f.t.Errorf("the application is at %q, deleted %v", a.Status.Revision, a.DeletionTimestamp)
	}
	f.repo.Git("revert", "--no-edit", "HEAD")
	f.expectReady("retail/shop")
	f.expectRepository("Ready", metav1.ConditionTrue, "Succeeded")
	f.expectData("one", "away", "shop", "color", "black")
}
