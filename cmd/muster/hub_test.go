package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/test"
)

// testHub is an API server with the hub's kinds and no controllers, and how to reach it.
type testHub struct {
	client.Client
	kubeconfig string
}

var installHub sync.Once

func newTestHub(t *testing.T) testHub {
	t.Helper()
	cp := test.Hub(t)
	var err error
	installHub.Do(func() { err = controlplane.Install(t.Context(), cp.Config(), crds.Hub()...) })
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cp.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	data, err := controlplane.Kubeconfig("hub", cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return testHub{c, file}
}

// muster runs the program in this process and wants an exit code.
func (h testHub) muster(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(t.Context(), append(args, "--kubeconfig", h.kubeconfig), &out, &errs); got != code {
		t.Fatalf("muster %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

// make creates an object, with its status, and deletes it when the test ends.
func (h testHub) make(t *testing.T, o client.Object) {
	t.Helper()
	status := statusPatch(t, o)
	if err := h.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.SetFinalizers(nil)
		_ = h.Patch(context.Background(), o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))
		if err := h.Delete(context.Background(), o); client.IgnoreNotFound(err) != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	made := o.DeepCopyObject().(client.Object)
	if err := h.Status().Patch(t.Context(), made, status); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
}

// statusPatch sets an object's status, whatever the hub's controllers have written meanwhile.
func statusPatch(t *testing.T, o client.Object) client.Patch {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]json.RawMessage{"status": json.RawMessage("{}")}
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]json.RawMessage{"status": fields["status"]})
	if err != nil {
		t.Fatal(err)
	}
	return client.RawPatch(types.MergePatchType, body)
}

func (h testHub) namespace(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		err := h.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatal(err)
		}
	}
}

func expect(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func TestApprove(t *testing.T) {
	h := newTestHub(t)
	h.namespace(t, "approve")
	a := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "approve", Name: "web"}}
	a.Spec.PlacementRef.Name, a.Spec.Source.Path = "p", "s"
	a.Status.Held = &musterv1alpha1.Held{Plan: "0123456789abcdef", Deletions: 2, Message: "two would go: approve with muster approve --plan 0123456"}
	a.Status.Left = []musterv1alpha1.LeftObjects{{Cluster: "dev-1", At: metav1.Now(), Objects: []string{"PersistentVolumeClaim shop/data"}}}
	h.make(t, a)

	expect(t, h.muster(t, 0, "status", "approve/web"), "LEFT on dev-1, which the scheduler has replaced", "PersistentVolumeClaim shop/data")
	expect(t, h.muster(t, 0, "status"), "approve/web", "Held: 2 deletions", "muster approve --plan 01234567")
	expect(t, h.muster(t, 1, "approve", "--plan", "ffffff"), "no plan that starts with", "01234567 (Application approve/web)")
	expect(t, h.muster(t, 0, "approve", "--plan", "012345"), "approved plan 01234567 of Application approve/web")
	var now musterv1alpha1.Application
	if err := h.Get(t.Context(), client.ObjectKeyFromObject(a), &now); err != nil {
		t.Fatal(err)
	}
	if got := now.Annotations[musterv1alpha1.ApprovedPlanAnnotation]; got != "0123456789abcdef" {
		t.Errorf("annotation is %q, want the full digest", got)
	}
	expect(t, h.muster(t, 2, "status", "approve/wep"), "did you mean approve/web?")
	expect(t, h.muster(t, 0, "status", "approve/web", "-o", "json"), `"state": "Held: 2 deletions"`)
	expect(t, h.muster(t, 1, "wait", "--revision", "abc", "--timeout", "1ms"), "the hub has no FleetRepository")
	expect(t, h.muster(t, 1, "wait", "--revision", "abc", "--timeout", "1ms", "-o", "json"), `"done": false`, `"the hub has no FleetRepository"`)
}

// TestAcceptUnknown: who accepts a cluster too early is not led to another one.
func TestAcceptUnknown(t *testing.T) {
	h := newTestHub(t)
	h.make(t, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "shop-1"}})
	text := h.muster(t, 1, "accept", "shop-2")
	expect(t, text, `there is no cluster "shop-2" yet: its agent has not asked. muster join shop-2 says how to start it`)
	if strings.Contains(text, "shop-1") {
		t.Errorf("another cluster is named:\n%s", text)
	}
	expect(t, h.muster(t, 2, "status", "cluster", "shop-2"), "did you mean shop-1?")
}

func configMapWork(cluster, name string) *workv1.ManifestWork {
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: cluster, Name: name, Finalizers: []string{workv1.ManifestWorkFinalizer},
		Annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/web"},
	}}
	w.Spec.Workload.Manifests = []workv1.Manifest{{RawExtension: runtime.RawExtension{Raw: []byte(
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"default"},"stringData":{"password":"hunter2"}}`)}}}
	return w
}

func TestDetachKeepsWorkloads(t *testing.T) {
	h := newTestHub(t)
	h.namespace(t, "gone-1", "here-1")
	away := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "gone-1"}}
	here := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "here-1", Finalizers: []string{clusterv1.ManagedClusterFinalizer}}}
	joined := metav1.Condition{Type: clusterv1.ManagedClusterConditionJoined, Status: "True", Reason: "R", LastTransitionTime: metav1.Now()}
	available := metav1.Condition{Type: clusterv1.ManagedClusterConditionAvailable, Status: "True", Reason: "R", LastTransitionTime: metav1.Now()}
	away.Status.Conditions = []metav1.Condition{joined}
	here.Status.Conditions = []metav1.Condition{joined, available}
	h.make(t, away)
	h.make(t, here)
	h.make(t, configMapWork("gone-1", "w"))
	kept := configMapWork("here-1", "w")
	h.make(t, kept)

	expect(t, h.muster(t, 1, "detach", "gone-1"), "--keep-workloads or --clean")
	expect(t, h.muster(t, 1, "detach", "gone-1", "--clean"), "does not answer and cannot clean up")
	expect(t, h.muster(t, 0, "detach", "gone-1", "--keep-workloads"), "its workloads stay (1 work)")
	if err := h.Get(t.Context(), client.ObjectKey{Name: "gone-1"}, &clusterv1.ManagedCluster{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the cluster is still there: %v", err)
	}
	if err := h.Get(t.Context(), client.ObjectKey{Namespace: "gone-1", Name: "w"}, &workv1.ManifestWork{}); err == nil {
		t.Error("the work of a cluster that will not answer waits for its agent")
	}

	h.muster(t, 0, "detach", "here-1", "--keep-workloads")
	var w workv1.ManifestWork
	if err := h.Get(t.Context(), client.ObjectKeyFromObject(kept), &w); err != nil {
		t.Fatal(err)
	}
	if w.DeletionTimestamp == nil || w.Spec.DeleteOption == nil || w.Spec.DeleteOption.PropagationPolicy != workv1.DeletePropagationPolicyTypeOrphan {
		t.Errorf("deleting %v with %v: the agent would remove the workloads", w.DeletionTimestamp, w.Spec.DeleteOption)
	}
}

// TestDiffInWorlds plans a change in the world of a hub on which the base is delivered, and in a file of that world.
func TestDiffInWorlds(t *testing.T) {
	h := newTestHub(t)
	dir := gitFleet(t)
	h.deliver(t, dir)
	h.namespace(t, "muster-system")
	r := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
	r.Spec.URL, r.Spec.Interval.Duration = "file://"+dir, time.Minute
	h.make(t, r)
	file := filepath.Join(t.TempDir(), "world.json")

	text := h.muster(t, 0, "diff", "--repo", dir)
	expect(t, text, "world: hub https://", "nothing changes")
	edit(t, filepath.Join(dir, "placements/shops.yaml"), "env: prod", "env: prd")
	live := h.muster(t, 1, "diff", "--repo", dir)
	expect(t, live, "PLACEMENT retail/shops", "4 → 0 clusters", "HELD retail/web   retail/web would leave 3 of 4 clusters", "ClusterUnreachable: prod-4 does not answer")

	expect(t, h.muster(t, 0, "world", "save", file), "5 clusters", "8 works")
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(saved), "hunter2") {
		t.Error("the file of the world has a value of a Secret")
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"diff", "--repo", dir, "--world", file}, &out, &errs); code != 1 {
		t.Fatalf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
	expect(t, out.String(), "world: file "+file)
	if got, want := tail(out.String()), tail(live); got != want {
		t.Errorf("in the file's world:\n%s\nin the hub's:\n%s", got, want)
	}
	expect(t, h.muster(t, 0, "status", "cluster", "prod-1"), "CLUSTER prod-1   available", "retail/web")
	expect(t, h.muster(t, 0, "top"), "APPLICATION", "retail/web", "CLUSTER", "prod-1", "WAITING")
	expect(t, h.muster(t, 1, "top", "--sort", "name"), "not one of cost, lag")
	expect(t, h.muster(t, 1, "status", "cluster", "prod-4", "--exit-code"), "CLUSTER prod-4   offline")
	expect(t, h.muster(t, 2, "status", "cluster", "prod-5"), "did you mean prod-")
	expect(t, h.muster(t, 0, "status", "muster-system/fleet"), "REPOSITORY muster-system/fleet", "file://"+dir)
	expect(t, h.muster(t, 0, "status", "retail/web"), "APPLICATION retail/web")
	expect(t, h.muster(t, 2, "status", "muster-system/flet"), "did you mean muster-system/fleet")
	expect(t, h.muster(t, 0, "why", "retail/web", "dev-1"), "dev-1", "no", "env=dev")
	expect(t, h.muster(t, 0, "drift"), "nothing has drifted")
}

// tail is a text without its first line, which tells the age of the world.
func tail(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}

func edit(t *testing.T, file, before, after string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(data, []byte(before), []byte(after)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func gitFleet(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/fleet")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "base"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// deliver puts onto the hub what it has once the commit is delivered; prod-4 does not answer.
func (h testHub) deliver(t *testing.T, dir string) {
	t.Helper()
	s, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Repository = defaultRepository
	planner := &plan.Planner{Renderer: render.New(1 << 20)}
	p, err := planner.Build(t.Context(), s, fleet.World{FromRepository: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Definitions.All {
		d := p.Definitions.All[i].Object.DeepCopyObject().(client.Object)
		d.SetAnnotations(map[string]string{musterv1alpha1.RepositoryAnnotation: defaultRepository})
		if m, ok := d.(*clusterv1.ManagedCluster); ok {
			h.namespace(t, m.Name)
			joined := metav1.Condition{Type: clusterv1.ManagedClusterConditionJoined, Status: "True", Reason: "R", LastTransitionTime: metav1.Now()}
			m.Status.Conditions = []metav1.Condition{joined}
			if m.Name != "prod-4" {
				joined.Type = clusterv1.ManagedClusterConditionAvailable
				m.Status.Conditions = append(m.Status.Conditions, joined)
			}
		}
		if p.Definitions.All[i].Key.Kind == "Namespace" {
			h.namespace(t, d.GetName())
			continue
		}
		h.make(t, d)
	}
	for _, set := range p.Works() {
		for _, w := range set.Works {
			h.make(t, w)
		}
	}
}

// TestJSONOfStatus holds that programs get the overview whole.
func TestJSONOfStatus(t *testing.T) {
	h := newTestHub(t)
	var o overview.Fleet
	if err := json.Unmarshal([]byte(h.muster(t, 0, "status", "-o", "json")), &o); err != nil {
		t.Fatal(err)
	}
	if o.Hub.State != overview.HubNever || len(o.NeedsYou) == 0 || o.NeedsYou[0].Who != "hub" {
		t.Errorf("no hub runs here, and it says %+v %+v", o.Hub, o.NeedsYou)
	}
	h.muster(t, 1, "status", "--exit-code")
}

// TestHeartbeatIsRead: the hub's Lease is what tells whether the status is of now.
func TestHeartbeatIsRead(t *testing.T) {
	h := newTestHub(t)
	h.namespace(t, hub.HeartbeatKey.Namespace)
	seconds, now := int32(30), time.Now()
	beat := func(at time.Time) *coordinationv1.Lease {
		return &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: hub.HeartbeatKey.Namespace, Name: hub.HeartbeatKey.Name},
			Spec:       coordinationv1.LeaseSpec{LeaseDurationSeconds: &seconds, RenewTime: &metav1.MicroTime{Time: at}},
		}
	}
	lease := beat(now.Add(-3 * time.Minute))
	h.make(t, lease)
	expect(t, h.muster(t, 0, "status"), "HUB last seen 3m ago: what is shown may be old", "muster up")
	update := beat(now.Add(time.Hour))
	update.Annotations = map[string]string{musterv1alpha1.HubClusterAnnotation: "local"}
	update.ResourceVersion = lease.ResourceVersion
	if err := h.Update(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	if text := h.muster(t, 0, "status"); strings.Contains(text, "HUB") {
		t.Errorf("the hub runs:\n%s", text)
	}
	h.muster(t, 1, "approve", "--silence") // nothing is silent
	h.muster(t, 1, "approve")
	since, away := now.Add(-time.Hour).UTC().Truncate(time.Second), now.Add(-3*time.Hour).UTC()
	report, err := json.Marshal(hub.Hearing{
		Away: &hub.Away{From: away, To: away.Add(time.Hour)}, Silence: &hub.Silence{Since: since, Counted: since.Add(time.Minute), Clusters: 260}, Heard: 40, Of: 300,
	})
	if err != nil {
		t.Fatal(err)
	}
	update.Annotations[musterv1alpha1.HearingAnnotation] = string(report)
	if err := h.Update(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	expect(t, h.muster(t, 0, "status"), "HUB was away from ", ", clusters are being heard again: 40 of 300",
		"HUB 260 of 300 clusters are silent at once, since ", "nothing is tainted or moved", "muster approve --silence")
	expect(t, h.muster(t, 0, "approve", "--silence"), "260 clusters are really away")
	if err := h.Get(t.Context(), hub.HeartbeatKey, update); err != nil {
		t.Fatal(err)
	}
	if got := update.Annotations[musterv1alpha1.ApprovedSilenceAnnotation]; got != since.Format(time.RFC3339)+" "+since.Add(time.Minute).Format(time.RFC3339) {
		t.Errorf("approved is %q, want the silence since %s", got, since)
	}
	file := filepath.Join(t.TempDir(), "world.json") // plans depend on which cluster the hub is
	h.muster(t, 0, "world", "save", file)
	w, err := readWorld(file)
	if err != nil || w.HubCluster != "local" {
		t.Errorf("the saved world says that the hub is %q (%v)", w.HubCluster, err)
	}
}

// TestWatch: what is watched is printed again when it has changed, and only then.
func TestWatch(t *testing.T) {
	h := newTestHub(t)
	var out bytes.Buffer
	c := &cli{out: &out, now: time.Now, output: "table"}
	looks := 0
	err := c.follow(t.Context(), func(ctx context.Context) (answer, error) { return c.overview(ctx, h) }, func() bool {
		looks++
		if looks == 2 { // the first look is followed by one at which nothing has changed
			h.make(t, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "watched"}})
		}
		return looks < 4
	})
	if err != nil {
		t.Fatal(err)
	}
	printed := strings.Split(out.String(), "---\n")
	if len(printed) != 2 || strings.Contains(printed[0], "watched") || !strings.Contains(printed[1], "muster accept watched") {
		t.Errorf("printed %d times in %d looks:\n%s", len(printed), looks, out.String())
	}
}

// TestWaitEndsEarly: a person's move is said, and not waited for.
func TestWaitEndsEarly(t *testing.T) {
	const revision = "abc1230000000000000000000000000000000000"
	h := newTestHub(t)
	h.namespace(t, "early")
	r := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "early", Name: "fleet"}}
	r.Spec.URL, r.Spec.Interval.Duration = "https://git.example.com/fleet", time.Minute
	r.Status.Revision = revision
	r.Status.ObservedGeneration = 1
	h.make(t, r)
	a := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{
		Namespace: "early", Name: "web", Annotations: map[string]string{musterv1alpha1.RepositoryAnnotation: "early/fleet"},
	}}
	a.Spec.PlacementRef.Name, a.Spec.Source.Path = "p", "s"
	a.Status.Revision, a.Status.ObservedGeneration = revision, 1
	a.Status.Conditions = []metav1.Condition{{Type: "Planned", Status: "True", Reason: "Succeeded", LastTransitionTime: metav1.Now()}}
	a.Status.Held = &musterv1alpha1.Held{Plan: "0123456789abcdef", Deletions: 2, Message: "two would go: approve with muster approve --plan 0123456"}
	h.make(t, a)

	var out, errs bytes.Buffer
	c := &cli{out: &out, errs: &errs, now: time.Now}
	err := c.wait(t.Context(), h, asked{revision: "abc123"}, time.Minute, 0)
	var exit exitError
	if !errors.As(err, &exit) || exit.code != 1 {
		t.Fatalf("ended with %v, want exit code 1:\n%s", err, errs.String())
	}
	expect(t, exit.message, "waits for you", "muster approve --plan 0123456")
	expect(t, errs.String(), "two would go")
	expect(t, h.muster(t, 1, "wait", "--revision", "abc123", "--timeout", "1ms"), "muster approve --plan 0123456")
	expect(t, h.muster(t, 2, "wait", "--revision", "abc123", "--application", "early/wep"), "did you mean early/web?")
	expect(t, h.muster(t, 1, "wait", "--revision", "fff999", "--application", "early/new", "--timeout", "1ms"), "fff999 is not everywhere", "early/fleet is at abc123")
}
