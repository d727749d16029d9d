package analysis

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/work"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, musterv1alpha1.AddToScheme, workv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// measured is an application whose step canary is measured on two clusters.
func measured(metrics ...musterv1alpha1.RolloutMetric) *musterv1alpha1.Application {
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web", UID: "app"}}
	app.Spec.Destination.Namespace = "shop"
	app.Spec.Rollout = &musterv1alpha1.Rollout{Steps: []musterv1alpha1.RolloutStep{{Name: "canary", Analysis: &musterv1alpha1.RolloutAnalysis{Metrics: metrics}}}}
	app.Status.Rollout = &musterv1alpha1.RolloutStatus{
		Revision: "41aa9d0", StartedAt: metav1.NewTime(now.Add(-time.Hour)),
		Analysis: &musterv1alpha1.AnalysisStatus{Step: "canary", Phase: musterv1alpha1.AnalysisRunning, Clusters: []string{"one", "two"}},
	}
	return app
}

type world struct {
	*Analyses
	t   *testing.T
	app *musterv1alpha1.Application
	now time.Time
}

func newWorld(t *testing.T, app *musterv1alpha1.Application, objects ...client.Object) *world {
	w := &world{t: t, app: app, now: now}
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithStatusSubresource(&workv1.ManifestWork{}).WithObjects(append(objects, app)...).
		WithInterceptorFuncs(interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			o.SetUID(types.UID(o.GetNamespace() + "/" + o.GetName()))
			o.SetGeneration(1)
			return c.Create(ctx, o, opts...)
		}, Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if err := c.Patch(ctx, o, patch, opts...); err != nil {
				return err
			}
			var patched workv1.ManifestWork
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), &patched); err != nil {
				return err
			}
			patched.Generation++
			return c.Update(ctx, &patched)
		}}).Build()
	w.Analyses = &Analyses{Client: api, Reader: api, Works: hub.NewWorks(), Now: func() time.Time { return w.now }}
	return w
}

// reconcile measures, and returns the result of a metric and when the next look is.
func (w *world) reconcile(metric string) (musterv1alpha1.MetricResult, time.Duration) {
	w.t.Helper()
	var works workv1.ManifestWorkList
	if err := w.Client.List(context.Background(), &works); err != nil {
		w.t.Fatal(err)
	}
	for i := range works.Items {
		if err := w.Works.Set(&works.Items[i]); err != nil {
			w.t.Fatal(err)
		}
	}
	again, err := w.Reconcile(context.Background(), w.app)
	if err != nil {
		w.t.Fatal(err)
	}
	var h musterv1alpha1.RolloutHistory
	if err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(w.app), &h); client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	for _, run := range h.Analyses {
		for _, r := range run.Metrics {
			if r.Name == metric && run.Revision == "41aa9d0" && run.Step == "canary" {
				return r, again.RequeueAfter
			}
		}
	}
	return musterv1alpha1.MetricResult{}, again.RequeueAfter
}

// TestPrometheus asks a server that speaks Prometheus' API.
func TestPrometheus(t *testing.T) {
	vector := func(values ...string) string {
		var list []string
		for _, v := range values {
			list = append(list, `{"metric":{"job":"web"},"value":[1764504000,"`+v+`"]}`)
		}
		return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(list, ",") + `]}}`
	}
	for name, c := range map[string]struct {
		answer string
		code   int
		secret map[string]string
		want   musterv1alpha1.AnalysisPhase
		value  string
		says   string
	}{
		"low":       {answer: vector("0.01"), want: "Successful", value: "[0.01]"},
		"high":      {answer: vector("0.5"), want: "Failed", value: "[0.5]", says: "[0.5] is the result; successCondition is false: result[0] < 0.05"},
		"empty":     {answer: vector(), want: "Inconclusive", value: "[]", says: "index out of bounds"},
		"no number": {answer: vector("NaN"), want: "Inconclusive", says: "gives NaN"},
		"wrong":     {answer: `{"status":"error","errorType":"bad_data","error":"parse error"}`, code: 400, want: "Inconclusive", says: "parse error"},
		"down":      {answer: "no", code: 503, want: "Inconclusive", says: "does not answer the query"},
		"no page":   {answer: "<html>", want: "Inconclusive", says: "does not answer the query"},
		"token":     {answer: vector("0.01"), secret: map[string]string{"bearerToken": "t0ken\n"}, want: "Successful", value: "[0.01]"},
		"password":  {answer: vector("0.01"), secret: map[string]string{"username": "u", "password": "p4ss"}, want: "Successful", value: "[0.01]"},
	} {
		t.Run(name, func(t *testing.T) {
			var query, authorization string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				query, authorization = r.FormValue("query"), r.Header.Get("Authorization")
				if r.URL.Path != "/prom/api/v1/query" {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				if c.code != 0 {
					w.WriteHeader(c.code)
				}
				fmt.Fprint(w, c.answer)
			}))
			defer server.Close()
			m := musterv1alpha1.RolloutMetric{Name: "errors", SuccessCondition: "result[0] < 0.05", Prometheus: &musterv1alpha1.PrometheusMetric{
				Address: server.URL + "/prom", Query: `rate(errors{cluster=~"${{ clusters }}",version="${{ revision }}"}[5m])`,
			}}
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "prom"}, Data: map[string][]byte{}}
			if c.secret != nil {
				m.Prometheus.SecretRef = &musterv1alpha1.LocalReference{Name: "prom"}
			}
			for k, v := range c.secret {
				secret.Data[k] = []byte(v)
			}
			got, again := newWorld(t, measured(m), secret).reconcile("errors")
			if got.Outcome != c.want || got.Value != c.value || !strings.Contains(got.Message, c.says) {
				t.Errorf("got %+v, want %s %s that says %q", got, c.want, c.value, c.says)
			}
			if again != time.Minute {
				t.Errorf("looks again after %s", again)
			}
			if want := `rate(errors{cluster=~"one|two",version="41aa9d0"}[5m])`; query != want {
				t.Errorf("asked %s, want %s", query, want)
			}
			for k, v := range c.secret {
				if k == "bearerToken" && authorization != "Bearer t0ken" || k == "password" && !strings.HasPrefix(authorization, "Basic ") {
					t.Errorf("authorization %q", authorization)
				}
				if strings.Contains(got.Message+got.Value, strings.TrimSpace(v)) && len(v) > 3 {
					t.Errorf("the secret is shown: %+v", got)
				}
			}
		})
	}
}

// TestProviderAway: a Secret or a server that is not there is inconclusive, and says what to do.
func TestProviderAway(t *testing.T) {
	m := musterv1alpha1.RolloutMetric{Name: "errors", SuccessCondition: "true", Prometheus: &musterv1alpha1.PrometheusMetric{
		Address: "http://127.0.0.1:1", Query: "up", SecretRef: &musterv1alpha1.LocalReference{Name: "prom"},
	}}
	if got, _ := newWorld(t, measured(m)).reconcile("errors"); got.Outcome != musterv1alpha1.AnalysisInconclusive || !strings.Contains(got.Message, "read Secret retail/prom") {
		t.Errorf("got %+v", got)
	}
	m.Prometheus.SecretRef = nil
	if got, _ := newWorld(t, measured(m)).reconcile("errors"); got.Inconclusive != 1 || !strings.Contains(got.Message, "connection refused") || strings.Contains(got.Message, "query=") {
		t.Errorf("got %+v", got)
	}
}

// TestMeasuresInterval: measurements come an interval apart, also of a hub that starts over, and each rollout has its own.
func TestMeasuresInterval(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprint(w, `{"ok": true}`)
	}))
	defer server.Close()
	app := measured(musterv1alpha1.RolloutMetric{Name: "probe", Interval: &metav1.Duration{Duration: 10 * time.Second}, SuccessCondition: "result.json.ok && result.status == 200",
		HTTP: &musterv1alpha1.HTTPMetric{URL: server.URL}})
	w := newWorld(t, app)
	if r, _ := w.reconcile("probe"); asked != 1 || r.Successful != 1 || r.Value != "200 OK" {
		t.Fatalf("asked %d times: %+v", asked, r)
	}
	w.now = w.now.Add(4 * time.Second)
	w.Analyses = &Analyses{Client: w.Client, Reader: w.Reader, Works: w.Works, Now: w.Now} // another hub
	if _, again := w.reconcile("probe"); asked != 1 || again != 6*time.Second {
		t.Errorf("asked %d times, looks again after %s", asked, again)
	}
	w.now = w.now.Add(6 * time.Second)
	if r, _ := w.reconcile("probe"); asked != 2 || r.Successful != 2 {
		t.Errorf("asked %d times: %+v", asked, r)
	}
	app.Status.Rollout.StartedAt = metav1.NewTime(w.now) // once more
	if r, _ := w.reconcile("probe"); asked != 3 || r.Successful != 1 {
		t.Errorf("asked %d times: %+v", asked, r)
	}
	app.Status.Rollout.Analysis = nil
	w.now = w.now.Add(time.Hour)
	if w.reconcile("probe"); asked != 3 {
		t.Errorf("measures a step that is through")
	}
}

// workOf is a work of the application on a cluster.
func workOf(cluster string) *workv1.ManifestWork {
	ready := int64(2)
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: cluster, Name: "web-0123456789-0", UID: "u-" + "web", Generation: 1, Labels: map[string]string{musterv1alpha1.OwnerLabel: fleet.ApplicationOwner("retail", "web").Digest()},
		Annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/web"},
	}}
	w.Spec.Executor = &workv1.ManifestWorkExecutor{Subject: workv1.ManifestWorkExecutorSubject{
		Type: workv1.ExecutorSubjectTypeServiceAccount, ServiceAccount: &workv1.ManifestWorkSubjectServiceAccount{Namespace: "shop", Name: "deployer"},
	}}
	w.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{{
		ResourceMeta:    workv1.ManifestResourceMeta{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		StatusFeedbacks: workv1.StatusFeedbackResult{Values: []workv1.FeedbackValue{{Name: "ReadyReplicas", Value: workv1.FieldValue{Type: workv1.Integer, Integer: &ready}}}},
	}}
	return w
}

// TestClusters reads what clusters report.
func TestClusters(t *testing.T) {
	m := musterv1alpha1.RolloutMetric{Name: "ready", Clusters: &musterv1alpha1.ClustersMetric{},
		SuccessCondition: "result.all(c, !c.drifted && c.feedback.exists(f, f.kind == 'Deployment' && f.values.ReadyReplicas >= 2)) && result.map(c, c.name) == ['one', 'two']"}
	if got, _ := newWorld(t, measured(m), workOf("one"), workOf("two")).reconcile("ready"); got.Outcome != musterv1alpha1.AnalysisSuccessful {
		t.Errorf("got %+v", got)
	}
	other := workOf("two")
	*other.Status.ResourceStatus.Manifests[0].StatusFeedbacks.Values[0].Value.Integer = 1
	if got, _ := newWorld(t, measured(m), workOf("one"), other).reconcile("ready"); got.Outcome != musterv1alpha1.AnalysisFailed {
		t.Errorf("got %+v", got)
	}
}

// TestJob runs a Job on each cluster as the application's account, another one for each measurement, and removes them at the end.
func TestJob(t *testing.T) {
	m := musterv1alpha1.RolloutMetric{Name: "smoke", Interval: &metav1.Duration{Duration: time.Minute}, Job: &musterv1alpha1.JobMetric{
		Spec: runtime.RawExtension{Raw: []byte(`{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"t","image":"example.com/t"}]}}}`)},
	}}
	w := newWorld(t, measured(m), workOf("one"), workOf("two"))
	ctx := context.Background()
	jobs := func() map[string]*workv1.ManifestWork {
		var list workv1.ManifestWorkList
		if err := w.Client.List(ctx, &list); err != nil {
			t.Fatal(err)
		}
		of := map[string]*workv1.ManifestWork{}
		for i := range list.Items {
			if work.OwnerOf(&list.Items[i]).Kind == jobOwner {
				of[list.Items[i].Namespace] = &list.Items[i]
			}
		}
		return of
	}
	if got, again := w.reconcile("smoke"); got.Outcome != "" || again != jobPeriod {
		t.Fatalf("a Job that has just begun has a result: %+v, again %s", got, again)
	}
	of := jobs()
	if len(of) != 2 || of["one"].Spec.Executor == nil || of["one"].Spec.Executor.Subject.ServiceAccount.Name != "deployer" {
		t.Fatalf("works %+v", of)
	}
	first := string(of["one"].Spec.Workload.Manifests[0].Raw)
	if !strings.Contains(first, `"kind":"Job"`) || !strings.Contains(first, `"namespace":"shop"`) {
		t.Errorf("the manifest is %s", first)
	}
	ends := func(cluster, progressing, degraded string) {
		j := jobs()[cluster]
		j.Status.Conditions = []metav1.Condition{{Type: workv1.WorkApplied, Status: metav1.ConditionTrue, ObservedGeneration: j.Generation}}
		j.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{{
			ResourceMeta: workv1.ManifestResourceMeta{Group: "batch", Version: "v1", Kind: "Job", Resource: "jobs", Namespace: "shop", Name: nameIn(t, j)},
			Conditions: []metav1.Condition{
				{Type: workv1.ManifestApplied, Status: metav1.ConditionTrue, ObservedGeneration: j.Generation},
				{Type: workv1.ManifestAvailable, Status: metav1.ConditionTrue, ObservedGeneration: j.Generation},
				{Type: workv1.ManifestProgressing, Status: metav1.ConditionStatus(progressing), ObservedGeneration: j.Generation},
				{Type: workv1.ManifestDegraded, Status: metav1.ConditionStatus(degraded), ObservedGeneration: j.Generation},
			},
		}}
		if err := w.Client.Status().Update(ctx, j); err != nil {
			t.Fatal(err)
		}
	}
	ends("one", "False", "False")
	if got, _ := w.reconcile("smoke"); got.Outcome != "" {
		t.Fatalf("one of two has ended: %+v", got)
	}
	ends("two", "False", "False")
	if got, _ := w.reconcile("smoke"); got.Successful != 1 || got.Value != "2 of 2 Jobs succeeded, 0 failed" {
		t.Fatalf("got %+v", got)
	}
	w.now = w.now.Add(time.Minute)
	if got, _ := w.reconcile("smoke"); got.Successful != 1 {
		t.Fatalf("the Job of the measurement before counts again: %+v", got)
	}
	if again := string(jobs()["one"].Spec.Workload.Manifests[0].Raw); again == first {
		t.Errorf("the second measurement has the Job of the first")
	}
	ends("one", "True", "True")
	if got, _ := w.reconcile("smoke"); got.Failed != 1 || !strings.Contains(got.Message, "1 failed") {
		t.Fatalf("got %+v", got)
	}
	w.app.Status.Rollout = nil
	w.reconcile("smoke")
	if left := jobs(); len(left) > 0 {
		t.Errorf("left %+v", left)
	}
}

func nameIn(t *testing.T, w *workv1.ManifestWork) string {
	t.Helper()
	_, after, _ := strings.Cut(string(w.Spec.Workload.Manifests[0].Raw), `"name":"web-smoke-`)
	name, _, ok := strings.Cut(after, `"`)
	if !ok {
		t.Fatalf("no name in %s", w.Spec.Workload.Manifests[0].Raw)
	}
	return "web-smoke-" + name
}
