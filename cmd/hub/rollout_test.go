package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

const byCanary = `
  predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge}}}}]
  decisionStrategy: {groupStrategy: {decisionGroups: [{groupName: canary, groupClusterSelector: {labelSelector: {matchLabels: {site: c}}}}]}}`

const canaryFirst = `  rollout: {type: Progressive, progressive: {maxConcurrency: 1, mandatoryDecisionGroups: [{groupName: canary}]}}`

// TestRolloutGoesByStrategy: a change reaches the canary first, goes no further while the canary is not healthy, survives a
// restart of the hub on its way, and reaches the others one at a time.
func TestRolloutGoesByStrategy(t *testing.T) {
	t.Parallel()
	f := newShops(t, "rolled", "one: a", "two: b", "three: c")
	f.eventually(func() string { // else the first cluster that joins is the first one to be chosen
		var p clusterv1beta1.Placement
		if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: "retail", Name: "shops"}, &p); err != nil {
			return err.Error()
		}
		if p.Status.NumberOfSelectedClusters != 3 {
			return fmt.Sprintf("%d clusters are chosen", p.Status.NumberOfSelectedClusters)
		}
		return ""
	})
	f.push(applicationFile("shop", "shops", "manifests/shop", f.serverIn, canaryFirst) + serverFile("1"))
	f.run("the first delivery goes by the strategy too", firstDelivery)
	f.run("what does not become healthy on the canary stays there", stopsAtCanary)
	f.run("the rollout goes on where it was when the hub starts over", goesOnAfterRestart)
	f.run("what a cluster refuses stops the rollout, and the next commit goes on", stopsAndGoesOn)
}

// TestBadRevisionReturns: a change that fails on the canary is taken back there by itself, the others are never touched, and it is
// refused until a commit brings another one.
func TestBadRevisionReturns(t *testing.T) {
	t.Parallel()
	f := newShopsOfPrograms(t, "returned", "one: a", "two: b", "three: c")
	good := f.push(applicationFile("shop", "shops", "manifests/shop", f.serverIn,
		`  rollout: {type: Progressive, onFailure: Rollback, progressive: {mandatoryDecisionGroups: [{groupName: canary}]}}`) + serverFile("1"))
	for _, name := range []string{"three", "one", "two"} {
		f.runs(name, "1")
	}
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", good)
	works := f.uidsAndGenerations("one", "two")
	for _, name := range []string{"one", "two"} {
		f.agents[name]() // then whoever writes there is the hub
	}
	versions := f.resourceVersions("one", "two")

	bad := f.push(serverFile("bad"))
	f.fails("three", "bad")
	f.eventually(func() string {
		if back := f.application("retail/shop").Status.RolledBack; back == nil || back.Revision != bad || back.To != good {
			return fmt.Sprintf("rolled back: %+v, want %s to %s", back, bad, good)
		}
		return ""
	})
	f.kill() // the return goes on where it was
	f.startHub()
	f.runs("three", "1")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "RolledBack", bad[:7]+" is refused: three failed of group canary", good[:7])
	f.eventually(func() string {
		if r := f.application("retail/shop").Status.Rollout; r != nil {
			return fmt.Sprintf("the return does not end: %+v", r)
		}
		return ""
	})
	if now := f.resourceVersions("one", "two"); now != versions {
		t.Errorf("works of others were written:\n was %s\n is %s", versions, now)
	}
	for _, name := range []string{"one", "two"} {
		f.startAgent(name)
	}

	// Another commit that leaves the application as it is changes nothing, and a cluster that comes gets what is good.
	refused := f.push(clusterFile("four", "tier: edge, site: d"))
	f.join("four")
	f.runs("four", "1")
	f.expectHealthy("retail/shop", good, 4)
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "RolledBack", refused[:7])
	if back := f.application("retail/shop").Status.RolledBack; back == nil || back.Revision != bad {
		t.Errorf("rolled back is %+v, want %s", back, bad)
	}
	if now := f.uidsAndGenerations("one", "two"); now != works {
		f.t.Errorf("works of others changed by a change that failed on the canary:\n was %s\n is %s", works, now)
	}
	f.expectHistory("retail/shop", good)

	better := f.push(serverFile("2"))
	for _, name := range []string{"three", "one", "two", "four"} {
		f.runs(name, "2")
	}
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", better, good)
	if back := f.application("retail/shop").Status.RolledBack; back != nil {
		t.Errorf("still refused: %+v", back)
	}
}

// TestCommitInTheMiddle: a commit that comes while another one is on its way begins with the canary, does not mind what a cluster reports of
// the other, and reaches those that the other has not at once.
func TestCommitInTheMiddle(t *testing.T) {
	t.Parallel()
	f := newShops(t, "midway", "one: a", "two: b", "three: c")
	still := func() {
		t.Helper()
		if got := f.image("two"); got != "1" {
			t.Errorf("two has version %s before its turn", got)
		}
	}
	first := f.push(applicationFile("shop", "shops", "manifests/shop", f.serverIn, canaryFirst) + serverFile("1"))
	for _, name := range []string{"three", "one", "two"} {
		f.runs(name, "1")
	}
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", first)

	f.push(serverFile("2"))
	f.runs("three", "2")
	f.expectImage("one", "2")
	f.expectRollout("Progressing", 2, "waits for one")
	still()
	third := f.push(serverFile("3"))
	f.expectImage("three", "3")
	f.fails("one", "2")
	f.expectRow("retail/shop", "one", "Pending", "Degraded", "exceeded its deadline") // the hub knows
	f.expectRollout("Progressing", 1, "waits for three of group canary")
	f.stop()
	f.startHub()
	f.expectRollout("Progressing", 1, "waits for three of group canary")
	still()
	f.runs("three", "3")
	f.expectImage("one", "3")
	still()
	f.runs("one", "3")
	f.runs("two", "3")
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", third, first)
}

const withinBudget = `  rollout:
    type: Progressive
    maxOffline: %d
    steps:
    - {name: canary, clusterSelector: {labelSelector: {matchLabels: {site: c}}}}
    - {name: prod}`

// TestOfflineBudget: more clusters that do not answer than maxOffline hold the next step, as many do not, and one that comes back gets at
// once what its step has reached.
func TestOfflineBudget(t *testing.T) {
	t.Parallel()
	f := newFleetOfPrograms(t, tenant+clusterFile("one", "tier: edge, site: a")+clusterFile("two", "tier: edge, site: c")+clusterFile("three", "tier: edge, site: c")+
		placementFile("shops", byCanary+"\n  tolerations: [{key: cluster.open-cluster-management.io/unreachable, operator: Exists}]"))
	f.serverIn = "budget"
	f.deliver()
	for _, name := range []string{"one", "two", "three"} {
		f.join(name)
	}
	shop := func(maxOffline int) string {
		return applicationFile("shop", "shops", "manifests/shop", f.serverIn, fmt.Sprintf(withinBudget, maxOffline))
	}
	f.push(shop(0) + serverFile("1"))
	for _, name := range []string{"three", "two", "one"} {
		f.runs(name, "1")
	}
	f.expectReady("retail/shop")
	f.agents["two"]()
	f.available("two", false)
	f.expectRow("retail/shop", "two", "Offline") // the hub has noticed

	f.push(serverFile("2"))
	f.runs("three", "2")
	f.expectRollout("Progressing", 2, "waits until a cluster of group canary answers")
	f.expectRow("retail/shop", "one", "Pending", "RolloutPending")
	f.kill()
	f.startHub()
	f.expectRollout("Progressing", 2, "waits until a cluster of group canary answers")
	if got := f.image("one"); got != "1" {
		t.Errorf("one has version %s while more do not answer than may", got)
	}
	f.push(shop(1))
	f.runs("one", "2")
	f.eventually(func() string {
		if r := f.application("retail/shop").Status.Rollout; r != nil {
			return fmt.Sprintf("the rollout waits for who does not answer: %+v", r)
		}
		return ""
	})
	f.push(serverFile("3"))
	f.runs("three", "3")
	f.runs("one", "3")
	if got := f.image("two"); got != "1" {
		t.Errorf("two has version %s while it is away", got)
	}
	f.available("two", true)
	f.startAgent("two")
	f.runs("two", "3")
	f.expectReady("retail/shop")
}

// expectHistory waits until the good revisions of an application are these.
func (f *theFleet) expectHistory(key string, revisions ...string) {
	f.t.Helper()
	namespace, name, _ := strings.Cut(key, "/")
	f.eventually(func() string {
		var h musterv1alpha1.RolloutHistory
		if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: namespace, Name: name}, &h); err != nil {
			return err.Error()
		}
		var got []string
		for _, r := range h.Revisions {
			got = append(got, r.Revision)
		}
		if !slices.Equal(got, revisions) {
			return fmt.Sprintf("good were %q, want %q", got, revisions)
		}
		return ""
	})
}

// serverFile is a Deployment and a ConfigMap that say a version. Nothing runs Deployments here: the test says whether they do well.
func serverFile(version string) string {
	return configMapFile("manifests/shop/config.yaml", "shop", "version", `"`+version+`"`) + fmt.Sprintf(`-- manifests/shop/server.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 1
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec: {containers: [{name: server, image: "example.com/server:%s"}]}
`, version)
}

// runs says that the Deployment of a cluster is available at its generation, once it has a version.
func (f *theFleet) runs(cluster, version string) {
	f.t.Helper()
	f.report(cluster, version, corev1.ConditionTrue, "NewReplicaSetAvailable")
}

// fails says that the Deployment of a cluster does not get ready, once it has a version.
func (f *theFleet) fails(cluster, version string) {
	f.t.Helper()
	f.report(cluster, version, corev1.ConditionFalse, "ProgressDeadlineExceeded")
}

func (f *theFleet) report(cluster, version string, progressing corev1.ConditionStatus, reason string) {
	f.t.Helper()
	f.reportOf(cluster, "server", version, progressing, reason)
}

// reportOf writes the status of a Deployment, once it has a version.
func (f *theFleet) reportOf(cluster, name, version string, progressing corev1.ConditionStatus, reason string) {
	f.t.Helper()
	f.eventually(func() string {
		var d appsv1.Deployment
		if !f.on(cluster, &d, f.serverIn, name) || versionIn(&d) != version {
			return fmt.Sprintf("%s on %s has version %q, want %q", name, cluster, versionIn(&d), version)
		}
		d.Status = appsv1.DeploymentStatus{
			ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
			Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "Test"},
				{Type: appsv1.DeploymentProgressing, Status: progressing, Reason: reason},
			},
		}
		c, err := client.New(f.spokes[cluster].Config(), client.Options{Scheme: Scheme()})
		if err != nil {
			f.t.Fatal(err)
		}
		if err := c.Status().Update(f.ctx, &d); err != nil {
			return err.Error()
		}
		return ""
	})
}

func (f *theFleet) image(cluster string) string {
	var d appsv1.Deployment
	f.on(cluster, &d, f.serverIn, "server")
	return versionIn(&d)
}

// versionIn is the version of a Deployment, "" of one that is not there.
func versionIn(d *appsv1.Deployment) string {
	if len(d.Spec.Template.Spec.Containers) == 0 {
		return ""
	}
	_, version, _ := strings.Cut(d.Spec.Template.Spec.Containers[0].Image, ":")
	return version
}

func (f *theFleet) expectImage(cluster, version string) {
	f.t.Helper()
	f.eventually(func() string {
		if got := f.image(cluster); got != version {
			return fmt.Sprintf("server on %s has version %q, want %q", cluster, got, version)
		}
		return ""
	})
}

// expectRollout waits until the rollout is at a group with so many clusters updated, and says what it waits for.
func (f *theFleet) expectRollout(phase string, updated int, parts ...string) {
	f.t.Helper()
	f.eventually(func() string {
		r := f.application("retail/shop").Status.Rollout
		if r == nil || r.Phase != phase || int(r.Updated) != updated {
			return fmt.Sprintf("rollout is %+v, want %s with %d updated", r, phase, updated)
		}
		return has("message", r.Message, parts...)
	})
}

func firstDelivery(f *theFleet) {
	f.expectImage("three", "1")
	f.expectRollout("Progressing", 1, "three", "canary")
	for _, name := range []string{"one", "two"} {
		if got := f.image(name); got != "" {
			f.t.Errorf("%s has version %s before the canary is healthy", name, got)
		}
	}
	f.runs("three", "1")
	f.runs("one", "1")
	f.runs("two", "1")
	f.expectReady("retail/shop")
	f.eventually(func() string {
		if r := f.application("retail/shop").Status.Rollout; r != nil {
			return fmt.Sprintf("the rollout does not end: %+v", r)
		}
		return ""
	})
}

func stopsAtCanary(f *theFleet) {
	works := f.uidsAndGenerations("one", "two")
	f.push(serverFile("2"))
	f.expectImage("three", "2")
	f.expectRollout("Progressing", 1, "waits for three of group canary")
	f.expectRow("retail/shop", "one", "Pending", "RolloutPending", "three")
	if now := f.uidsAndGenerations("one", "two"); now != works {
		f.t.Errorf("works of others changed while the canary is not healthy:\n was %s\n is %s", works, now)
	}
}

func (f *theFleet) uidsAndGenerations(clusters ...string) string {
	var text strings.Builder
	for _, cluster := range clusters {
		for _, w := range f.works(cluster) {
			fmt.Fprintf(&text, "%s/%s %s %d; ", cluster, w.Name, w.UID, w.Generation)
		}
	}
	return text.String()
}

func (f *theFleet) resourceVersions(clusters ...string) string {
	var text strings.Builder
	for _, cluster := range clusters {
		for _, w := range f.works(cluster) {
			fmt.Fprintf(&text, "%s/%s %s; ", cluster, w.Name, w.ResourceVersion)
		}
	}
	return text.String()
}

func goesOnAfterRestart(f *theFleet) {
	started := f.application("retail/shop").Status.Rollout.StartedAt
	f.stop()
	f.startHub()
	f.runs("three", "2")
	f.expectImage("one", "2")
	if r := f.application("retail/shop").Status.Rollout; r == nil || !r.StartedAt.Equal(&started) {
		f.t.Errorf("rollout is %+v, want the one that began at %v", r, started)
	}
	if got := f.image("two"); got != "1" {
		f.t.Errorf("two has version %s while one is not healthy", got)
	}
	f.runs("one", "2")
	f.runs("two", "2")
	f.expectReady("retail/shop")
}

func stopsAndGoesOn(f *theFleet) {
	f.push(configMapFile("manifests/shop/config.yaml", "shop", "version", `"3"`) + configMapFile("manifests/shop/refused.yaml", "other", "no/key", "b")) // only an API server minds the key
	f.expectRollout("Stopped", 1, "three failed")
	f.expectRow("retail/shop", "two", "Pending", "RolloutStopped")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "RolloutStopped", "three failed of group canary")
	if got := f.data("one", "rolled", "shop", "version"); got != "2" {
		f.t.Errorf("one has version %s of a rollout that has failed", got)
	}
	f.push(configMapFile("manifests/shop/refused.yaml", "other", "a", "b"))
	for _, name := range []string{"three", "one", "two"} {
		f.expectData(name, "rolled", "shop", "version", "3")
	}
	f.expectReady("retail/shop")
}

const inSteps = `  rollout:
    type: Progressive
    progressive: {minSuccessTime: 0s}
    steps:
    - {name: canary, clusterSelector: {labelSelector: {matchLabels: {site: c}}}}
    - {name: prod, approval: Manual}`

// TestStepWaitsForApproval: a step begins when somebody with the right has approved it, for the one change, also when the hub is
// killed in between; and a person takes back what has begun.
func TestStepWaitsForApproval(t *testing.T) {
	t.Parallel()
	f := newShopsOfPrograms(t, "approved", "one: a", "three: c")
	first := f.push(applicationFile("shop", "shops", "manifests/shop", f.serverIn, inSteps) + serverFile("1"))
	f.runs("three", "1")
	f.expectApprovalNeeded(first)
	if got := f.image("one"); got != "" {
		t.Errorf("one has version %s before prod is approved", got)
	}

	approval := func(revision, by string) map[string]string {
		return map[string]string{musterv1alpha1.ApprovedStepsAnnotation: revision + "/prod", musterv1alpha1.RolloutByAnnotation: by}
	}
	for user, verbs := range map[string][]string{"dev": {"get", "patch"}, "lead": {"get", "patch", "approve"}} {
		f.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: user}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"muster.dev"}, Resources: []string{"applications"}, Verbs: verbs},
		}})
		f.create(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: user},
			Subjects: []rbacv1.Subject{{Kind: "User", Name: user}},
		})
	}
	if err := f.annotateAs("dev", approval(first, "dev")); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "approve applications in namespace retail") {
		t.Errorf("who may not approve: %v", err)
	}
	if err := f.annotateAs("lead", approval(first, "dev")); !apierrors.IsForbidden(err) {
		t.Errorf("who approves in the name of another: %v", err)
	}
	f.kill()
	f.startHub()
	if err := f.annotateAs("lead", approval(first, "lead")); err != nil {
		t.Fatal(err)
	}
	f.runs("one", "1")
	f.expectReady("retail/shop")

	// The next change wants an approval of its own, which a commit may give; other changes of the repository leave that as it is.
	second := f.push(serverFile("2"))
	f.runs("three", "2")
	f.expectApprovalNeeded(second)
	f.push(configMapFile("manifests/other.yaml", "other", "a", "b"))
	f.expectApprovalNeeded(second)
	if got := f.image("one"); got != "1" {
		t.Errorf("one has version %s by the approval of another change", got)
	}
	f.push(applicationFile("shop", "shops", "manifests/shop", f.serverIn, inSteps+"\n    approvals: [{step: prod, revision: "+second[:9]+"}]"))
	f.runs("one", "2")
	f.expectReady("retail/shop")

	third := f.push(serverFile("3"))
	f.runs("three", "3")
	f.expectApprovalNeeded(third)
	if err := f.annotateAs("lead", map[string]string{musterv1alpha1.AbortAnnotation: third, musterv1alpha1.RolloutByAnnotation: "lead"}); err != nil {
		t.Fatal(err)
	}
	f.runs("three", "2")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "RolledBack", third[:7]+" is refused: the rollout was aborted")
	if got := f.image("one"); got != "2" {
		t.Errorf("one has version %s of a rollout that was aborted before its step", got)
	}
}

// expectApprovalNeeded waits until the rollout of a revision waits for an approval of prod.
func (f *theFleet) expectApprovalNeeded(revision string) {
	f.t.Helper()
	f.eventually(func() string {
		a := f.application("retail/shop")
		if r := a.Status.Rollout; r == nil || r.Revision != revision || !r.WaitsForApproval || r.Group != "prod" || a.Status.Revision != f.repository().Status.Revision {
			return fmt.Sprintf("rollout at %s is %+v, want %s to wait for an approval", a.Status.Revision, r, revision)
		}
		return ""
	})
}

// annotateAs annotates the application as a user.
func (f *theFleet) annotateAs(user string, annotations map[string]string) error {
	f.t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		f.t.Fatal(err)
	}
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shop"}}
	return f.as(user).Patch(f.ctx, app, client.RawPatch(types.MergePatchType, patch))
}

// TestNewClusterInTheMiddle: a cluster that comes while a rollout goes on has the last good revision at once, and the new one with its step.
func TestNewClusterInTheMiddle(t *testing.T) {
	t.Parallel()
	f := newShops(t, "newcomer", "one: a", "two: c")
	first := f.push(applicationFile("shop", "shops", "manifests/shop", f.serverIn, canaryFirst) + serverFile("1"))
	f.runs("two", "1")
	f.runs("one", "1")
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", first)

	second := f.push(serverFile("2"))
	f.expectImage("two", "2")
	f.push(clusterFile("three", "tier: edge, site: b")) // asks for nothing else
	f.join("three")
	f.runs("three", "1") // at once, although the canary is not healthy with the new one
	f.expectRow("retail/shop", "three", "Pending", "RolloutPending")
	f.runs("two", "2")
	f.runs("one", "2")
	f.runs("three", "2")
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", second, first)
}

// TestSoakIsHeld: a canary that is healthy holds the others during minSuccessTime, also when the hub is killed; nothing is good meanwhile, and
// what fails then is taken back.
func TestSoakIsHeld(t *testing.T) {
	t.Parallel()
	f := newShopsOfPrograms(t, "soaked", "one: a", "two: c")
	shop := func(rollout string) string {
		return applicationFile("shop", "shops", "manifests/shop", f.serverIn, rollout)
	}
	good := f.push(shop("") + serverFile("1"))
	f.runs("two", "1")
	f.runs("one", "1")
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", good)

	bad := f.push(shop(`  rollout: {type: ProgressivePerGroup, onFailure: Rollback, progressivePerGroup: {minSuccessTime: 1h, mandatoryDecisionGroups: [{groupName: canary}]}}`) + serverFile("2"))
	f.runs("two", "2")
	f.expectRollout("Progressing", 1, "waits for two of group canary")
	f.eventually(func() string {
		if s := f.application("retail/shop").Status.Summary; s.Healthy != 1 {
			return fmt.Sprintf("the canary is not healthy: %+v", s)
		}
		return ""
	})
	f.kill()
	f.startHub()
	f.expectRollout("Progressing", 1, "waits for two of group canary")
	if got := f.image("one"); got != "1" {
		t.Errorf("one has version %s during minSuccessTime of the canary", got)
	}
	f.expectHistory("retail/shop", good)
	f.fails("two", "2")
	f.runs("two", "1")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "RolledBack", bad[:7]+" is refused: two failed of group canary")

	// All clusters are healthy in the last group's minSuccessTime: that is not good yet either.
	late := f.push(shop(`  rollout: {type: Progressive, onFailure: Rollback, progressive: {minSuccessTime: 1h}}`) + serverFile("3"))
	f.runs("one", "3")
	f.runs("two", "3")
	f.eventually(func() string {
		if s := f.application("retail/shop").Status; s.Summary.Healthy != 2 || s.Rollout == nil || s.Revision != late {
			return fmt.Sprintf("not healthy, or not in minSuccessTime: %+v", s)
		}
		return ""
	})
	f.expectHistory("retail/shop", good)
	f.fails("one", "3")
	f.runs("one", "1")
	f.runs("two", "1")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "RolledBack", late[:7]+" is refused: one failed", good[:7])
}
