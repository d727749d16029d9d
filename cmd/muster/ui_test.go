package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/onsi/gomega/gbytes"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/fleet"
	muster "github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/review"
	"github.com/muster-io/muster/internal/ui"
	"github.com/muster-io/muster/internal/work"
	coordinationv1 "k8s.io/api/coordination/v1"
)

// browserPrograms are the names under which Chromium is installed.
var browserPrograms = []string{"chromium", "chromium-browser", "google-chrome", "chrome"}

// browser starts Chromium. Without one the test is skipped, unless MUSTER_BROWSER=required, as .ci/run says.
func browser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range browserPrograms {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		if os.Getenv("MUSTER_BROWSER") == "required" {
			t.Fatal("there is no Chromium, and MUSTER_BROWSER=required: install Debian's package chromium")
		}
		t.Skip("there is no Chromium: install Debian's package chromium to run the page in a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, 10*time.Minute)
	t.Cleanup(stop)
	return ctx
}

// uiFleet puts a fleet of clusters with one application on the hub, as the hub's controllers and agents leave it.
func uiFleet(t *testing.T, hub testHub) {
	t.Helper()
	create := func(o client.Object, status func()) {
		t.Helper()
		if err := hub.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = hub.Delete(context.Background(), o) })
		if status != nil {
			status()
			if err := hub.Status().Update(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ui-shop"}}, nil)
	set := &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "ui"}}
	create(set, nil)
	binding := &clusterv1beta2.ManagedClusterSetBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "ui-shop", Name: "ui"}}
	binding.Spec.ClusterSet = "ui"
	create(binding, nil)
	now := metav1.Now()
	state := func(kind, status string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: "Reported", LastTransitionTime: now}
	}
	var decisions []clusterv1beta1.ClusterDecision
	for i := range 60 {
		name := fmt.Sprintf("ui-%s-%02d", []string{"eu", "us", "ap"}[i%3], i)
		m := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			clusterv1beta2.ClusterSetLabel: "ui", "region": []string{"eu", "us", "ap"}[i%3], "env": []string{"dev", "prod"}[i%2],
		}}}
		m.Spec.HubAcceptsClient = true
		create(m, func() {
			available := "True"
			if i%13 == 5 {
				available = "Unknown"
			}
			m.Status.Version.Kubernetes = "v1.36.3"
			m.Status.Conditions = []metav1.Condition{state(clusterv1.ManagedClusterConditionHubAccepted, "True"),
				state(clusterv1.ManagedClusterConditionJoined, "True"), state(clusterv1.ManagedClusterConditionAvailable, available)}
		})
		if i%2 == 1 {
			decisions = append(decisions, clusterv1beta1.ClusterDecision{ClusterName: name})
		}
	}
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "ui-shop", Name: "prod"}}
	p.Spec.Predicates = []clusterv1beta1.ClusterPredicate{{RequiredClusterSelector: clusterv1beta1.ClusterSelector{
		LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}},
	}}}
	create(p, func() {
		p.Status.NumberOfSelectedClusters = int32(len(decisions))
		p.Status.Conditions = []metav1.Condition{state(clusterv1beta1.PlacementConditionSatisfied, "True")}
	})
	d := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "ui-shop", Name: "prod-decision-1", Labels: map[string]string{
		clusterv1beta1.PlacementLabel: "prod", clusterv1beta1.DecisionGroupIndexLabel: "0",
	}}}
	create(d, func() { d.Status.Decisions = decisions })
	a := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "ui-shop", Name: "storefront"}}
	a.Spec.PlacementRef.Name, a.Spec.Source.Path = "prod", "charts/storefront"
	create(a, func() {
		a.Status.Revision = "4f0c6b1d2e"
		a.Status.ObservedGeneration = a.Generation
		a.Status.Summary = musterv1alpha1.Summary{Clusters: 30, Current: 26, Healthy: 22, Offline: 2, Faulty: 1, Drifted: 1}
		a.Status.Held = &musterv1alpha1.Held{Plan: "0123456789abcdef", Deletions: 4, Items: []string{"ui-us-01", "ui-us-07"}, Message: "would leave 2 of 30 clusters"}
		a.Status.Conditions = []metav1.Condition{state("Planned", "True"), {Type: "Ready", Status: "False", Reason: "Held", Message: "4 deletions wait", LastTransitionTime: now}}
		a.Status.Clusters = []musterv1alpha1.ClusterStatus{{Cluster: "ui-us-01", State: "Failed", Reason: "ApplyFailed", Message: "the cluster refuses Deployment shop/storefront: quota", Since: &now}}
	})
	repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "ui-shop", Name: "fleet"}}
	repo.Spec.URL, repo.Spec.ServiceAccountName, repo.Spec.Interval.Duration = "https://git.example.com/acme/fleet.git", "fleet", time.Minute
	create(repo, func() {
		repo.Status.Revision, repo.Status.FetchedRevision = "4f0c6b1d2e", "4f0c6b1d2e"
		repo.Status.Review = &musterv1alpha1.ReviewStatus{Reason: "Succeeded", PullRequests: []musterv1alpha1.PullRequestStatus{
			{Number: 8, Head: "9a8b7c6d5e", Base: "4f0c6b1d2e", State: "Success", Summary: "1 of 1 application, +0 −0 clusters, 30 updates"},
			{Number: 7, Head: "1b2c3d4e5f", Base: "4f0c6b1d2e", State: "Failure", Summary: "1 of 1 application, +0 −2 clusters, 2 held"},
		}}
	})
	for i, decision := range decisions {
		create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: decision.ClusterName}}, nil)
		w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: decision.ClusterName, Name: "storefront-1", Labels: overview.OwnedBy(a), Annotations: map[string]string{
			musterv1alpha1.ApplicationAnnotation: "ui-shop/storefront", musterv1alpha1.RevisionAnnotation: "4f0c6b1d2e",
		}}}
		w.Spec.Workload.Manifests = []workv1.Manifest{{}}
		w.Spec.Workload.Manifests[0].Raw = []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"page","namespace":"shop"},"data":{"color":"blue"}}`)
		create(w, func() {
			applied, available := state(workv1.WorkApplied, "True"), state(workv1.WorkAvailable, "True")
			applied.ObservedGeneration, available.ObservedGeneration = w.Generation, w.Generation
			if i%10 < 8 {
				w.Status.Conditions = []metav1.Condition{applied, available}
			}
			meta := workv1.ManifestResourceMeta{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "shop", Name: "page"}
			one := workv1.ManifestCondition{ResourceMeta: meta, Conditions: []metav1.Condition{state(workv1.ManifestApplied, "True"), state(workv1.ManifestAvailable, "True")}}
			if decision.ClusterName == "ui-us-01" {
				one.Conditions[0].Status, one.Conditions[0].Message = "False", "quota of namespace shop exceeded"
				changed, told := drift.Format(drift.NewReport([]drift.Record{
					{Path: "data.color", Was: `"blue"`, Is: `"purple"`, Manager: "kubectl-edit", Operation: "Update", Time: now.Add(-90 * time.Minute).UTC()},
					{Path: "spec.template.spec.containers[name=web].image", Was: `"web:1"`, Is: `"web:2"`, Manager: "argocd", Time: now.Add(-time.Hour).UTC()},
				}), w.Generation)
				changed.LastTransitionTime = now
				one.Conditions, one.StatusFeedbacks.Values = append(one.Conditions, changed), []workv1.FeedbackValue{told}
			}
			w.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{one}
		})
	}
	if os.Getenv("MUSTER_SCREENSHOTS") != "" { // in pictures the hub runs; other tests of this binary count on none
		soon := metav1.NowMicro()
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: muster.HeartbeatKey.Namespace, Name: muster.HeartbeatKey.Name}}
		hour := int32(3600)
		lease.Spec.RenewTime, lease.Spec.LeaseDurationSeconds = &soon, &hour
		_ = hub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: muster.HeartbeatKey.Namespace}}) // another test may have made it
		create(lease, nil)
	}
}

// uiAgent answers what the page asks a cluster, as the cluster's agent does.
func uiAgent(t *testing.T, hub testHub, cluster string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { stop(); <-ended })
	go func() {
		defer close(ended)
		for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			var asked musterv1alpha1.InspectionList
			if err := hub.List(ctx, &asked, client.InNamespace(cluster)); err != nil {
				continue
			}
			for i := range asked.Items {
				q := &asked.Items[i]
				if len(q.Status.Conditions) > 0 {
					continue
				}
				uiAnswer(q)
				_ = hub.Status().Update(ctx, q) // who asked has gone
			}
		}
	}()
}

func uiAnswer(q *musterv1alpha1.Inspection) {
	if q.Spec.Object != nil {
		q.Status.Conditions = []metav1.Condition{{Type: musterv1alpha1.ConditionAnswered, Status: metav1.ConditionTrue, Reason: musterv1alpha1.ReasonAnswered, LastTransitionTime: metav1.Now()}}
		q.Status.Live = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"page","namespace":"shop","uid":"6c1f6b0e-8d0a","creationTimestamp":"2026-11-01T09:12:44Z"},"data":{"color":"purple","edited":"by hand"}}`
		return
	}
	now := metav1.Now()
	ago := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(-d)} }
	q.Status.Conditions = []metav1.Condition{{Type: musterv1alpha1.ConditionAnswered, Status: "True", Reason: musterv1alpha1.ReasonAnswered, LastTransitionTime: now}}
	if q.Spec.Logs != nil {
		text := ""
		for i := range 40 {
			text += now.Add(time.Duration(i-40)*time.Second).UTC().Format(time.RFC3339) + " GET /cart 200 12ms request=7f3a9c\n"
		}
		q.Status.Log = &musterv1alpha1.InspectedLog{Namespace: "shop", Pod: "storefront-6c9d7-x2b4q", Container: "web", Text: text + "panic: no connection to payments:8443\n"}
		return
	}
	container := func(state string, ready bool, restarts int32) *musterv1alpha1.InspectedPod {
		return &musterv1alpha1.InspectedPod{Node: "node-1", Containers: []musterv1alpha1.InspectedContainer{{Name: "web", State: state, Ready: ready, Restarts: restarts}}}
	}
	q.Status.Objects = []musterv1alpha1.InspectedObject{
		{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "storefront", UID: "d", Health: "Progressing", Message: "2 of 3 replicas are available", Created: ago(50 * time.Hour)},
		{Group: "apps", Kind: "ReplicaSet", Namespace: "shop", Name: "storefront-6c9d7", UID: "r", Owner: "d", Health: "Progressing", Created: ago(9 * time.Minute)},
		{Kind: "Pod", Namespace: "shop", Name: "storefront-6c9d7-x2b4q", UID: "p1", Owner: "r", Health: "Degraded", Message: "container web waits: CrashLoopBackOff", Created: ago(9 * time.Minute), Pod: container("CrashLoopBackOff", false, 6)},
		{Kind: "Pod", Namespace: "shop", Name: "storefront-6c9d7-8kd2l", UID: "p2", Owner: "r", Health: "Healthy", Created: ago(8 * time.Minute), Pod: container("Running", true, 0)},
		{Kind: "Pod", Namespace: "shop", Name: "storefront-6c9d7-zz7m5", UID: "p3", Owner: "r", Health: "Healthy", Created: ago(8 * time.Minute), Pod: container("Running", true, 0)},
		{Kind: "Service", Namespace: "shop", Name: "storefront", UID: "s", Health: "Healthy", Created: ago(50 * time.Hour)},
		{Kind: "ConfigMap", Namespace: "shop", Name: "page", UID: "c", Health: "Healthy", Created: ago(50 * time.Hour)},
	}
	q.Status.Events = []musterv1alpha1.InspectedEvent{
		{Object: "p1", Type: "Warning", Reason: "BackOff", Message: "Back-off restarting failed container web", Count: 23, Last: *ago(20 * time.Second)},
		{Object: "d", Type: "Normal", Reason: "ScalingReplicaSet", Message: "Scaled up replica set storefront-6c9d7 to 3", Count: 1, Last: *ago(9 * time.Minute)},
	}
}

// plannedReviews is what a hub has in its memory: the review of pull request 7.
type plannedReviews struct{}

func (plannedReviews) Request(_ types.NamespacedName, number int64) *review.Request {
	if number != 7 {
		return nil
	}
	gone := []plan.ClusterGroup{{Clusters: []string{"ui-us-01", "ui-us-07"}, Reason: "label site=a is missing"}}
	color := work.FieldChange{Path: "data.color", Before: "blue", After: "green"}
	return &review.Request{Number: 7, Title: "Leave site b", Author: "alice", URL: "https://git.example.com/acme/fleet/pulls/7", Head: "1b2c3d4e5f", PlannedAt: time.Now(), Review: &review.Review{
		Difference: &plan.Difference{
			Summary:    plan.Summary{Applications: 1, ChangedApplications: 1, Lost: 2, Updated: 28, Held: 2, NewFaults: 1},
			Placements: []plan.PlacementDifference{{Placement: "ui-shop/prod", Edit: plan.Changed, File: "placements/prod.yaml", Line: 4, Before: 30, After: 28, Lost: gone}},
			Applications: []plan.ApplicationDifference{{Application: "ui-shop/storefront", Edit: plan.Changed, File: "applications/storefront.yaml", Line: 9, Before: 30, After: 28, Lost: gone, Changes: []plan.ChangeGroup{{
				Clusters: []string{"ui-us-13", "ui-us-19"}, Label: "region=us",
				Objects: []plan.ObjectChange{{Object: fleet.ObjectKey{Kind: "ConfigMap", Namespace: "shop", Name: "page"}, Edit: plan.Changed, Fields: []plan.FieldChange{{FieldChange: color, Layer: "values.yaml:3"}}}},
			}}}},
			Held:      []plan.Hold{{Application: "ui-shop/storefront", Reason: "ApprovalNeeded", Clusters: gone[0].Clusters, Message: "would leave 2 of 30 clusters", Deletions: 2, Plan: "0123456789abcdef"}},
			NewFaults: []fleet.Fault{{Reason: fleet.PlacementMissing, File: "applications/broken.yaml", Line: 4, Application: "ui-shop/broken", Message: "placement missing is not in namespace ui-shop"}},
		},
		Findings: []review.Finding{{Policy: "muster-system/prod", Deny: true, Message: "at most a fifth of prod at once", File: "placements/policy.yaml", Line: 7}},
	}}
}

func (plannedReviews) Compare(context.Context, types.NamespacedName, string, string) (*review.Review, error) {
	return nil, errors.New("no commit is known")
}

func (plannedReviews) Layers(types.NamespacedName, string, string) map[string]string { return nil }

// pageWithPlan is the page as a hub serves it that has planned pull requests, and lets the browser in.
func pageWithPlan(t *testing.T, hub testHub, c *cli, config *rest.Config) string {
	t.Helper()
	me, err := c.person(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	server := &ui.Server{Access: anybody{me}, Plans: plannedReviews{}, Version: version, Now: time.Now, Log: ctrl.Log, Reader: hub}
	handler, err := server.Handler()
	if err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(handler)
	t.Cleanup(func() { // those who watch hold their connections
		served.CloseClientConnections()
		served.Close()
	})
	return served.URL
}

// pageWithLogin is the page as a hub serves it: people log in with tokens of the hub's API server. The token is one of an account that may
// list clusters and nothing else.
func pageWithLogin(t *testing.T, hub testHub, config *rest.Config) (server *ui.Server, address, token string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ui-shop", Name: "looker"}}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "ui-looker"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{clusterv1.GroupName}, Resources: []string{"managedclusters"}, Verbs: []string{"list"},
	}}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "ui-looker"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "ui-looker"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "ui-shop", Name: "looker"}},
	}
	for _, o := range []client.Object{account, role, binding} {
		if err := hub.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = hub.Delete(context.Background(), o) })
	}
	request := &authenticationv1.TokenRequest{}
	if err := hub.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	server = &ui.Server{Access: &ui.Tokens{Config: config, Scheme: scheme, Now: time.Now}, Version: version, Now: time.Now, Log: ctrl.Log, Reader: hub, Works: noWorks{}}
	handler, err := server.Handler()
	if err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(handler)
	t.Cleanup(func() {
		served.CloseClientConnections()
		served.Close()
	})
	return server, served.URL, request.Status.Token
}

// noWorks is an index without works.
type noWorks struct{}

func (noWorks) Of(fleet.Owner) []fleet.LiveWork   { return nil }
func (noWorks) OnCluster(string) []fleet.LiveWork { return nil }

// anybody is let in as one person.
type anybody struct{ person *ui.Person }

func (a anybody) Person(http.ResponseWriter, *http.Request) (*ui.Person, error) { return a.person, nil }

// inScheme is light on a large screen and dark on a phone, so that both are looked at; pictures are light.
func inScheme(width int64) chromedp.Action {
	scheme := "light"
	if width < 600 && os.Getenv("MUSTER_SCREENSHOTS") == "" {
		scheme = "dark"
	}
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}})
}

// TestPageInBrowser runs muster ui against a real API server and looks at every page with Chromium: no error on the console, nothing
// that axe finds serious, no sideways scrolling on a phone, a change that comes by itself, keys, a what-if, an approval.
func TestPageInBrowser(t *testing.T) {
	hub := newTestHub(t)
	tab := browser(t)
	uiFleet(t, hub)
	uiAgent(t, hub, "ui-us-01")
	config, err := clientcmd.BuildConfigFromFlags("", hub.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	out := gbytes.NewBuffer()
	c := &cli{out: out, errs: gbytes.NewBuffer(), now: time.Now, kubeconfig: hub.kubeconfig, output: "json"}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.serveUI(ctx, config, "127.0.0.1:0", false) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("the page ended with %v", err)
		}
	})
	var printed struct{ URL string }
	for json.Unmarshal(out.Contents(), &printed) != nil {
		select {
		case err := <-served:
			t.Fatalf("the page does not start: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	base := strings.TrimSuffix(printed.URL[:strings.Index(printed.URL, "?")], "/")

	var mu sync.Mutex
	var complaints []string
	chromedp.ListenTarget(tab, func(e any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError {
				complaints = append(complaints, e.Entry.Text+" "+e.Entry.URL)
			}
		case *page.EventJavascriptDialogOpening:
			go func() { _ = chromedp.Run(tab, page.HandleJavaScriptDialog(true)) }()
		}
	})
	run := func(what string, actions ...chromedp.Action) {
		t.Helper()
		if err := chromedp.Run(tab, actions...); err != nil {
			t.Fatalf("%s: %v\nthe console says %q", what, err, complaints)
		}
	}
	// submit is run for a form, whose answer is another page: a page that is asked for while that loads takes its place or is aborted.
	submit := func(what string, actions ...chromedp.Action) {
		t.Helper()
		if _, err := chromedp.RunResponse(tab, actions...); err != nil {
			t.Fatalf("%s: %v\nthe console says %q", what, err, complaints)
		}
	}
	axe, err := os.ReadFile("testdata/ui/axe-4.14.1.min.js")
	if err != nil {
		t.Fatal(err)
	}
	run("log in", chromedp.Navigate(printed.URL), chromedp.WaitVisible("#main h1"))
	pages := map[string]string{
		"fleet": "/", "applications": "/applications", "application": "/applications/ui-shop/storefront",
		"target": "/applications/ui-shop/storefront/clusters/ui-us-01", "live": "/applications/ui-shop/storefront/clusters/ui-us-01/live",
		"logs":   "/applications/ui-shop/storefront/clusters/ui-us-01/logs?pod=shop/storefront-6c9d7-x2b4q",
		"object": "/applications/ui-shop/storefront/clusters/ui-us-01/object?in=shop&kind=ConfigMap&object=page", "cluster": "/clusters/ui-us-01", "placements": "/placements",
		"placement": "/placements/ui-shop/prod", "drift": "/drift", "rollouts": "/rollouts", "activity": "/activity", "repositories": "/repositories",
		"repository": "/repositories/ui-shop/fleet", "reviews": "/reviews", "elsewhere": "/reviews/ui-shop/fleet/8",
	}
	for name, path := range pages {
		pages[name] = base + path
	}
	pages["plan"] = pageWithPlan(t, hub, c, config) + "/reviews/ui-shop/fleet/7"
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range pages {
			if !yield(name) {
				return
			}
		}
	}) {
		for _, width := range []int64{1280, 390} {
			var wide bool
			var found []struct{ ID, Impact, Help string }
			var image []byte
			run("look at "+name, inScheme(width),
				emulation.SetDeviceMetricsOverride(width, 900, 1, width < 600), chromedp.Navigate(pages[name]), chromedp.WaitVisible("#main h1"),
				chromedp.WaitVisible("#live.on"),
				chromedp.Evaluate("document.documentElement.scrollWidth > window.innerWidth", &wide),
				chromedp.Evaluate(string(axe)+";0", nil),
				chromedp.Evaluate(`axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).then((r) => r.violations.map((v) => ({ID: v.id, Impact: v.impact, Help: v.help + ": " + v.nodes[0].html})))`,
					&found, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }),
			)
			if wide {
				t.Errorf("page %s scrolls sideways at %d pixels", name, width)
			}
			for _, f := range found {
				if f.Impact == "serious" || f.Impact == "critical" {
					t.Errorf("page %s at %d pixels: %s (%s): %s", name, width, f.ID, f.Impact, f.Help)
				}
			}
			if dir := os.Getenv("MUSTER_SCREENSHOTS"); dir != "" {
				run("keep a picture", chromedp.CaptureScreenshot(&image))
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, width)), image, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}

	// Who has no token is asked for one, comes to where they wanted to go, and sees what their own rights let them.
	server, login, token := pageWithLogin(t, hub, config)
	var denied, who string
	run("log in with a token", emulation.SetDeviceMetricsOverride(390, 900, 1, true), chromedp.Navigate(login+"/clusters/ui-us-01"),
		chromedp.SendKeys(`input[name="token"]`, token, chromedp.NodeVisible), chromedp.Submit(`input[name="token"]`),
		chromedp.WaitVisible(`form[action="/logout"]`), chromedp.Text(".who", &who), chromedp.Navigate(login+"/applications/ui-shop/storefront"), chromedp.Text("#main .problem", &denied, chromedp.NodeVisible))
	if !strings.Contains(who, "system:serviceaccount:ui-shop:looker") || !strings.Contains(denied, "you have no right to list muster.dev/applications") {
		t.Errorf("who has logged in is %q, and is told %q", who, denied)
	}

	// A problem is shown to who follows a link or sends a form, too: the page is not loaded as a whole then.
	problem := func(text string) chromedp.Action {
		return chromedp.WaitVisible(fmt.Sprintf(`//main//p[@class="problem"][contains(., %q)]`, text))
	}
	var whole bool
	run("follow links to problems", chromedp.Navigate(login+"/clusters/ui-us-01"), chromedp.WaitVisible("#live.on"), chromedp.Evaluate("window.same = true; 0", nil),
		chromedp.Evaluate(`document.querySelector('.top nav a[href="/"]').insertAdjacentHTML("afterend", '<a href="/nowhere">nowhere</a> <a href="/placements/ui-shop/prod">denied</a>'); htmx.process(document.querySelector(".top nav")); 0`, nil),
		chromedp.Evaluate(`document.querySelector('.top nav a[href="/nowhere"]').click()`, nil), problem("there is no page /nowhere"),
		chromedp.Evaluate(`document.querySelector('.top nav a[href="/placements/ui-shop/prod"]').click()`, nil), problem("you have no right to list"),
		chromedp.Evaluate("window.same !== true || location.pathname !== '/placements/ui-shop/prod'", &whole))
	if whole {
		t.Error("a link to a problem was not followed on the page")
	}
	run("compare what cannot be compared", chromedp.Navigate(strings.TrimSuffix(pages["plan"], "/reviews/ui-shop/fleet/7")+"/repositories/ui-shop/fleet/plan"),
		chromedp.SendKeys(`input[name="base"]`, "1111111", chromedp.NodeVisible), chromedp.Click(`#main form.filters button`), problem("no commit is known"))

	// Who is logged out elsewhere is asked to log in when the page next follows the fleet.
	run("log out elsewhere", chromedp.Navigate(login+"/clusters/ui-us-01"), chromedp.WaitVisible("#live.on"),
		chromedp.Evaluate(`fetch("/logout", {method: "POST"}).then(() => 0)`, nil, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	server.Changed()
	run("be asked to log in", chromedp.WaitVisible(`input[name="token"]`))
	mu.Lock()
	complaints = slices.DeleteFunc(complaints, func(text string) bool {
		return strings.HasPrefix(text, "Failed to load resource: the server responded with a status of 4") && !strings.Contains(text, "/static/")
	})
	mu.Unlock()

	// A change comes by itself: the page is not loaded again.
	run("go to the fleet", emulation.SetDeviceMetricsOverride(1280, 900, 1, false), chromedp.Navigate(base+"/?q=ui-new"), chromedp.WaitVisible("#live.on"), chromedp.Evaluate("window.same = true; 0", nil))
	late := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "ui-new"}}
	if err := hub.Create(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Delete(context.Background(), late) })
	var same bool
	run("see the new cluster", chromedp.WaitVisible(`main a[href="/clusters/ui-new"][data-row]`), chromedp.Evaluate("window.same === true", &same))
	if !same {
		t.Error("the page was loaded again")
	}

	// Keys.
	var focused, open string
	run("keys", chromedp.Navigate(base+"/applications"), chromedp.WaitVisible("#live.on"),
		chromedp.KeyEvent("j"), chromedp.Evaluate("document.activeElement.getAttribute('href')", &focused),
		chromedp.KeyEvent("?"), chromedp.Evaluate("String(document.getElementById('help').open)", &open), chromedp.KeyEvent(kb.Escape))
	if focused != "/applications/ui-shop/storefront" || open != "true" {
		t.Errorf("after j the focus is on %q, and after ? the help is open: %s", focused, open)
	}
	run("open the row", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`#main section.held`))

	// What the cluster says now: from the application down to the log of the pod that does not run.
	var log string
	run("ask the cluster", chromedp.Navigate(base+"/applications/ui-shop/storefront/clusters/ui-us-01"), chromedp.Click(`a.button[href$="/live"]`, chromedp.NodeVisible),
		chromedp.Click(`main tbody a[href*="logs?pod="][href$="x2b4q"]`, chromedp.NodeVisible), chromedp.Text("pre.log", &log, chromedp.NodeVisible))
	if !strings.Contains(log, "panic: no connection to payments:8443") {
		t.Errorf("the log is %q", log)
	}
	var left musterv1alpha1.InspectionList
	if err := hub.List(t.Context(), &left, client.InNamespace("ui-us-01")); err != nil || len(left.Items) > 0 {
		t.Errorf("%d questions stay on the hub: %v", len(left.Items), err)
	}

	// A drifted field comes with its rule.
	var rule string
	run("look at a rule", chromedp.Navigate(base+"/drift"), chromedp.Click("details.rule summary", chromedp.NodeVisible), chromedp.Text("details.rule pre + p + pre", &rule, chromedp.NodeVisible))
	if !strings.Contains(rule, "- /data/color") {
		t.Errorf("the rule is %q", rule)
	}

	// A pause says why, asks first, and is then on the hub; its end too.
	hold := func(there bool) {
		t.Helper()
		for {
			err := hub.Get(t.Context(), client.ObjectKey{Namespace: "ui-shop", Name: "pause-storefront"}, &musterv1alpha1.Hold{})
			if (err == nil) == there {
				return
			}
			if tab.Err() != nil {
				t.Fatalf("the hold is there: %v, want %v", err, there)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	run("open the actions", chromedp.Navigate(base+"/applications/ui-shop/storefront"), chromedp.Click("details.actions summary", chromedp.NodeVisible),
		chromedp.SendKeys(`details.actions input[name="reason"]`, "call centre is down", chromedp.NodeVisible))
	submit("pause", chromedp.Click("details.actions button.act"))
	hold(true)
	var paused musterv1alpha1.Application
	if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "ui-shop", Name: "storefront"}, &paused); err != nil {
		t.Fatal(err)
	}
	paused.Status.OnHold = []musterv1alpha1.OnHold{{Name: "ui-shop/pause-storefront", By: "admin", Reason: "call centre is down", Clusters: 4}} // as the hub's controller says it
	if err := hub.Status().Update(t.Context(), &paused); err != nil {
		t.Fatal(err)
	}
	submit("resume", chromedp.Click(`form[action="/resume"] button`, chromedp.NodeVisible))
	hold(false)

	// A what-if saves nothing.
	var outcome string
	run("try another placement", chromedp.Navigate(base+"/placements/ui-shop/prod"), chromedp.WaitVisible("#spec"),
		chromedp.SetValue("#spec", "predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {env: dev}}}}]"),
		chromedp.Click(".whatif button"), chromedp.WaitVisible(".outcome"), chromedp.Text(".outcome p", &outcome))
	if outcome != "30 gained, 30 lost, 0 stay." {
		t.Errorf("the outcome is %q", outcome)
	}

	// An approval asks first, and is then on the hub.
	run("show the plan", chromedp.Navigate(base+"/applications/ui-shop/storefront"))
	submit("approve", chromedp.Click(`form[action="/approve"] button`, chromedp.NodeVisible))
	var app musterv1alpha1.Application
	for app.Annotations[musterv1alpha1.ApprovedPlanAnnotation] != "0123456789abcdef" {
		if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "ui-shop", Name: "storefront"}, &app); err != nil {
			t.Fatal(err)
		}
		if tab.Err() != nil {
			t.Fatalf("the plan is not approved: %v", tab.Err())
		}
		time.Sleep(50 * time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(complaints) > 0 {
		t.Errorf("the console has errors: %q", complaints)
	}
}
