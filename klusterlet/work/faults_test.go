package work_test

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/test"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// TestHubAway: while the hub does not answer, whether the connection is cut or says nothing, the agent keeps what it has as it should
// be, and deletes nothing. When the hub is back it goes straight to the newest revision.
func TestHubAway(t *testing.T) {
	for name, away := range map[string]func(*line){"cut": (*line).cut, "stalled": (*line).stall} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			l := newLine(t, s.agent.Hub)
			s.agent.Hub = l.config
			s.agent.EvictionGracePeriod = time.Second // an hour, in the time of this test
			s.start()
			c := s.configMap("c", map[string]any{"k": "1"})
			s.put("web", objects{c}, serverSide(true), mode("Correct"))
			s.expectApplied("web")
			uid := s.live(c).GetUID()
			values := s.events(s.spoke, &corev1.ConfigMapList{}, client.InNamespace(s.target))
			away(l)
			for revision := 2; revision <= 5; revision++ {
				s.put("web", objects{s.configMap("c", map[string]any{"k": fmt.Sprint(revision)})}, serverSide(true), mode("Correct"))
			}
			s.edit(c, "theirs", "data", "k")
			s.expectValue(c, "1", "data", "k") // without the hub
			l.mend()
			s.expectStraight(values, "c", "5")
			s.expectApplied("web")
			if live := s.live(c); live.GetUID() != uid {
				t.Error("the object was made again")
			}
		})
	}
}

// expectStraight waits until a ConfigMap has a revision, and has had none but the first before.
func (s *site) expectStraight(values <-chan watch.Event, name, newest string) {
	s.Helper()
	s.await(values, name, func(o runtime.Object) bool {
		value := o.(*corev1.ConfigMap).Data["k"]
		if value != "1" && value != "theirs" && value != newest {
			s.Errorf("revision %s was applied when %s was there", value, newest)
		}
		return value == newest
	})
}

// late is a watch whose events, from the first one that holds a text, come one by one as they are let pass.
type late struct {
	io.ReadCloser
	lines *bufio.Reader
	from  string
	pass  <-chan struct{}
	held  bool
	rest  []byte
}

func (l *late) Read(p []byte) (int, error) {
	var err error
	if len(l.rest) == 0 {
		l.rest, err = l.lines.ReadBytes('\n')
		if l.held = l.held || strings.Contains(string(l.rest), l.from); l.held {
			<-l.pass
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, err
}

// TestOvertaken: a revision whose event comes so late that the hub has a newer one is not applied.
func TestOvertaken(t *testing.T) {
	s := newSite(t)
	pass, asked := make(chan struct{}), make(chan struct{}, 100)
	passAll := sync.OnceFunc(func() { close(pass) })
	s.agent.Hub = rest.CopyConfig(s.agent.Hub)
	s.agent.Hub.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			switch {
			case err == nil && r.URL.Query().Get("watch") != "":
				response.Body = &late{ReadCloser: response.Body, lines: bufio.NewReader(response.Body), from: `"k":"2"`, pass: pass}
			case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifestworks/web"):
				asked <- struct{}{}
			}
			return response, err
		})
	})
	revision := func(k string) {
		s.put("web", objects{s.configMap("c", map[string]any{"k": k})}, serverSide(true), mode("Correct"))
	}
	s.start()
	t.Cleanup(passAll)
	revision("1")
	s.expectApplied("web")
	values := s.events(s.spoke, &corev1.ConfigMapList{}, client.InNamespace(s.target))
	for _, k := range []string{"2", "3", "4"} {
		revision(k)
	}
	pass <- struct{}{}
	select {
	case <-asked: // whether revision 2 is the newest
	case <-time.After(patience):
		t.Fatal("the agent does not ask whether revision 2 is the newest")
	}
	passAll()
	s.expectStraight(values, "c", "4")
	s.expectApplied("web")
}

// TestClusterRestarts: an agent outlives its cluster's API server, and works on when that is back.
func TestClusterRestarts(t *testing.T) {
	cp := test.ControlPlane(t, controlplane.Options{Name: "restarts"})
	if err := controlplane.Install(t.Context(), cp.Config(), crds.Agent()...); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, cp)
	s.start()
	c := s.configMap("c", map[string]any{"k": "1"})
	s.put("web", objects{c}, serverSide(true), mode("Correct"))
	s.expectApplied("web")
	if err := cp.Down(); err != nil {
		t.Fatal(err)
	}
	s.put("web", objects{s.configMap("c", map[string]any{"k": "2"}), s.configMap("more", nil)}, serverSide(true), mode("Correct"))
	if err := cp.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expectApplied("web")
	s.expectValue(c, "2", "data", "k")
	s.edit(c, "theirs", "data", "k") // it watches again
	s.expectValue(c, "2", "data", "k")
}

// TestWebhook: a webhook that rejects an object, or does not answer, is a fault of that object which says so, and keeps no other from
// being applied. It is tried again, and passes when the webhook lets it through.
func TestWebhook(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		says   string
	}{
		"rejects": {func(w http.ResponseWriter, r *http.Request) {
			var review admissionv1.AdmissionReview
			if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: "not on a Friday"}}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(review)
		}, "not on a Friday"},
		"times out": {nil, "failed calling webhook"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			ended := make(chan struct{})
			if c.answer == nil {
				c.answer = func(http.ResponseWriter, *http.Request) { <-ended }
			}
			server := httptest.NewTLSServer(http.HandlerFunc(c.answer))
			t.Cleanup(func() { close(ended); server.Close() })
			fail, none, timeout := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, int32(1)
			url := server.URL + "/"
			hook := &admissionregistrationv1.ValidatingWebhookConfiguration{
				ObjectMeta: metav1.ObjectMeta{Name: s.target},
				Webhooks: []admissionregistrationv1.ValidatingWebhook{{
					Name: "fridays.example.com", FailurePolicy: &fail, SideEffects: &none, TimeoutSeconds: &timeout, AdmissionReviewVersions: []string{"v1"},
					ClientConfig: admissionregistrationv1.WebhookClientConfig{
						URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
					},
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.target}},
					Rules: []admissionregistrationv1.RuleWithOperations{{
						Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
						Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"serviceaccounts"}},
					}},
				}},
			}
			if err := s.spoke.Create(t.Context(), hook); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.spoke.Delete(context.Background(), hook) })
			s.eventually("the API server asks the webhook", func() error { // it hears of it a moment later
				account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.target, Name: "probe"}}
				if err := s.spoke.Create(context.Background(), account, client.DryRunAll); err == nil {
					return fmt.Errorf("it does not")
				}
				return nil
			})
			s.start()
			config, account := s.configMap("config", nil), s.configMap("account", nil)
			account["kind"] = "ServiceAccount"
			delete(account, "data")
			s.put("web", objects{account, config}, serverSide(false), mode("Correct"))
			s.expectManifest("web", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, c.says))
			s.expectManifest("web", 1, workv1.ManifestApplied, says("True", ""))
			if err := s.spoke.Delete(t.Context(), hook); err != nil {
				t.Fatal(err)
			}
			s.expectApplied("web")
			if s.live(account) == nil {
				t.Error("the object is not there")
			}
		})
	}
}

// TestManyManifests: 2,000 manifests in 20 works are applied, each is reported, and all go again.
func TestManyManifests(t *testing.T) {
	s := newSite(t)
	s.agent.SyncInterval = time.Second
	const works, each = 20, 100
	name := func(i int) string { return fmt.Sprintf("part-%02d", i) }
	for i := range works {
		var all objects
		for j := range each {
			all = append(all, s.configMap(fmt.Sprintf("c-%02d-%03d", i, j), map[string]any{"k": "1"}))
		}
		s.put(name(i), all, serverSide(false), mode("Correct"))
	}
	s.start()
	count := func() int {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
		if err := s.spoke.List(context.Background(), list, client.InNamespace(s.target)); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, o := range list.Items {
			if strings.HasPrefix(o.Name, "c-") {
				n++
			}
		}
		return n
	}
	for i := range works {
		s.expectApplied(name(i))
		manifests := s.work(name(i)).Status.ResourceStatus.Manifests
		if len(manifests) != each {
			t.Fatalf("%s reports %d manifests", name(i), len(manifests))
		}
		for _, m := range manifests {
			if !meta.IsStatusConditionTrue(m.Conditions, workv1.ManifestApplied) {
				t.Fatalf("%s reports %v", name(i), m)
			}
		}
	}
	if n := count(); n != works*each {
		t.Errorf("%d objects, want %d", n, works*each)
	}
	for i := range works {
		s.deleteWork(name(i))
	}
	for i := range works {
		s.expectWorkGone(name(i))
	}
	if n := count(); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

// TestLargeObject: an object of 900 KiB is applied, corrected and deleted under every strategy that writes.
func TestLargeObject(t *testing.T) {
	for name, how := range map[string]option{"server-side": serverSide(true), "update": strategy(workv1.UpdateStrategyTypeUpdate)} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.start()
			large := map[string]any{"k": "1", "text": strings.Repeat("0123456789abcdef", 900<<10/16)}
			c := s.configMap("large", large)
			s.put("web", objects{c}, how, mode("Correct"))
			s.expectApplied("web")
			s.edit(c, "theirs", "data", "k")
			s.expectValue(c, "1", "data", "k")
			if text, _, _ := unstructured.NestedString(s.live(c).Object, "data", "text"); len(text) != 900<<10 {
				t.Errorf("%d bytes", len(text))
			}
			s.deleteWork("web")
			s.expectWorkGone("web")
			s.expectGone(c)
		})
	}
}

// TestClockSkew: what an agent wrote whose clock was ahead by an hour keeps the next one from nothing: it applies, reports, and a work
// that is gone from the hub is not evicted before its grace period, and not kept when it is back.
func TestClockSkew(t *testing.T) {
	s := newSite(t)
	s.agent.EvictionGracePeriod = time.Hour
	s.start()
	c := s.configMap("c", map[string]any{"k": "1"})
	s.put("web", objects{c}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	s.stop()
	ahead := metav1.NewTime(time.Now().Add(time.Hour))
	s.eventually("write times of an hour ahead", func() error {
		w := s.work("web")
		for i := range w.Status.Conditions {
			w.Status.Conditions[i].LastTransitionTime = ahead
		}
		for i := range w.Status.ResourceStatus.Manifests {
			for j := range w.Status.ResourceStatus.Manifests[i].Conditions {
				w.Status.ResourceStatus.Manifests[i].Conditions[j].LastTransitionTime = ahead
			}
		}
		return s.hub.Status().Update(context.Background(), w)
	})
	s.eventually("begin an eviction an hour ahead", func() error {
		r := s.record("web")
		r.Status.EvictionStartTime = &ahead
		return s.spoke.Status().Update(context.Background(), r)
	})
	s.start()
	s.put("web", objects{s.configMap("c", map[string]any{"k": "2"})}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	s.expectValue(c, "2", "data", "k")
	s.eventually("the eviction ends", func() error {
		if r := s.record("web"); r == nil || r.Status.EvictionStartTime != nil {
			return fmt.Errorf("it goes on")
		}
		return nil
	})
	s.remove(c)
	s.expectValue(c, "2", "data", "k")
}

// TestTerminatingNamespace: while a namespace is stuck in Terminating, its objects have a fault that says so and the others do not;
// when it is gone it is made again with what belongs in it.
func TestTerminatingNamespace(t *testing.T) {
	s := newSite(t)
	s.start()
	name := s.target + "-stuck"
	namespace := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
	inside, outside := s.configMap("inside", nil), s.configMap("outside", nil)
	inside["metadata"].(map[string]any)["namespace"] = name
	s.put("web", objects{namespace, inside, outside}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "held", Finalizers: []string{"example.com/held"}}}
	if err := s.spoke.Create(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	before := s.live(namespace).GetUID()
	if err := s.spoke.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		t.Fatal(err)
	}
	s.expectManifest("web", 1, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "terminated"))
	s.put("web", objects{namespace, inside, s.configMap("outside", map[string]any{"k": "2"})}, serverSide(false), mode("Correct"))
	s.expectValue(outside, "2", "data", "k")
	s.eventually("the finalizer goes", func() error {
		if err := s.spoke.Get(context.Background(), client.ObjectKeyFromObject(held), held); err != nil {
			return client.IgnoreNotFound(err)
		}
		held.Finalizers = nil
		return s.spoke.Update(context.Background(), held)
	})
	s.eventually("another namespace with its object", func() error {
		live := s.live(namespace)
		if live == nil || live.GetUID() == before || s.live(inside) == nil {
			return fmt.Errorf("is not there: %s", told(s.work("web")))
		}
		return nil
	})
	s.expectApplied("web")
}

// writes counts the requests that change something, and those that read an object of the test.
type writes struct {
	next         http.RoundTripper
	reads, wrote *atomic.Int64
}

func (w writes) RoundTrip(r *http.Request) (*http.Response, error) {
	asks := strings.HasSuffix(r.URL.Path, "reviews") || r.URL.Query().Has("dryRun")
	switch {
	case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/configmaps/c-"):
		w.reads.Add(1)
	case r.Method != http.MethodGet && !asks:
		w.wrote.Add(1)
	}
	return w.next.RoundTrip(r)
}

// TestResyncWritesNothing: a resync that finds everything as it should be reads, and writes neither to the hub nor to the cluster.
func TestResyncWritesNothing(t *testing.T) {
	s := newSite(t)
	var reads, wrote atomic.Int64
	counted := func(config *rest.Config) *rest.Config {
		c := rest.CopyConfig(config)
		c.Wrap(func(next http.RoundTripper) http.RoundTripper { return writes{next, &reads, &wrote} })
		return c
	}
	s.agent.Hub, s.agent.Spoke = counted(s.agent.Hub), counted(s.agent.Spoke)
	s.agent.ResyncInterval = 500 * time.Millisecond
	var all objects
	for i := range 10 {
		all = append(all, s.configMap(fmt.Sprintf("c-%d", i), map[string]any{"k": "1"}))
	}
	s.put("planned", all, serverSide(false), mode("Correct"))
	s.start()
	s.expectApplied("planned")
	resyncs := func(n int64) {
		from := reads.Load()
		s.eventually("resyncs", func() error {
			if got := reads.Load() - from; got < n*int64(len(all)) {
				return fmt.Errorf("%d reads", got)
			}
			return nil
		})
	}
	resyncs(3) // what was just applied is reported
	before := wrote.Load()
	resyncs(5)
	if n := wrote.Load() - before; before == 0 || n != 0 {
		t.Errorf("%d writes, and %d at the start", n, before)
	}
}

// TestWaveOfKinds: a wave waits for an APIService, a claim and a DaemonSet until each is ready by the rules of its kind.
func TestWaveOfKinds(t *testing.T) {
	s := newSite(t, test1(t))
	s.start()
	of := func(apiVersion, kind, name string, spec map[string]any) map[string]any {
		o := s.configMap(name, nil)
		delete(o, "data")
		o["apiVersion"], o["kind"], o["spec"] = apiVersion, kind, spec
		return o
	}
	group := strings.ReplaceAll(s.target, "-", "") + ".example.com"
	service := map[string]any{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": "v1." + group},
		"spec": map[string]any{"group": group, "version": "v1", "groupPriorityMinimum": int64(1000), "versionPriority": int64(10),
			"insecureSkipTLSVerify": true, "service": map[string]any{"namespace": s.target, "name": "nobody", "port": int64(443)}}}
	claim := of("v1", "PersistentVolumeClaim", "data", map[string]any{"accessModes": []any{"ReadWriteOnce"}, "storageClassName": "",
		"resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}}})
	labels := map[string]any{"app": "node"}
	daemons := of("apps/v1", "DaemonSet", "node", map[string]any{"selector": map[string]any{"matchLabels": labels}, "template": map[string]any{
		"metadata": map[string]any{"labels": labels}, "spec": map[string]any{"containers": []any{map[string]any{"name": "node", "image": "node:1"}}}}})
	last := inWave(s.configMap("last", nil), "4")
	all := objects{inWave(service, "1"), inWave(claim, "2"), inWave(daemons, "3"), last}
	s.put("web", all, serverSide(false), mode("Correct"))
	waits := func(parts ...string) {
		t.Helper()
		s.eventually("the condition about waves", func() error {
			c := meta.FindStatusCondition(s.work("web").Status.Conditions, musterv1alpha1.ConditionWaves)
			if c == nil {
				return fmt.Errorf("is not there: %s", told(s.work("web")))
			}
			return says("False", "WaitingForWave", parts...)(*c, workv1.ManifestCondition{})
		})
	}
	status := func(o map[string]any, status map[string]any) {
		t.Helper()
		s.eventually("set the status", func() error {
			live := s.live(o)
			if live == nil {
				return fmt.Errorf("it is not there")
			}
			if _, observes := status["observedGeneration"]; observes {
				status["observedGeneration"] = live.GetGeneration()
			}
			live.Object["status"] = status
			return s.spoke.Status().Update(context.Background(), live)
		})
	}
	waits("wave 1 waits for", "APIService v1."+group, "not available")
	if s.live(claim) != nil {
		t.Error("applied before its wave")
	}
	delete(service["spec"].(map[string]any), "service") // the API server answers for itself
	delete(service["spec"].(map[string]any), "insecureSkipTLSVerify")
	s.put("web", all, serverSide(true), mode("Correct"))
	waits("wave 2 waits for", "PersistentVolumeClaim "+s.target+"/data", "not bound")
	status(claim, map[string]any{"phase": "Bound"})
	waits("wave 3 waits for", "DaemonSet "+s.target+"/node", "not observed")
	status(daemons, map[string]any{"observedGeneration": int64(0), "currentNumberScheduled": int64(2), "numberMisscheduled": int64(0),
		"desiredNumberScheduled": int64(2), "numberReady": int64(1), "updatedNumberScheduled": int64(2), "numberAvailable": int64(1)})
	waits("wave 3 waits for", "1 of 2 pods are available")
	status(daemons, map[string]any{"observedGeneration": int64(0), "currentNumberScheduled": int64(2), "numberMisscheduled": int64(0),
		"desiredNumberScheduled": int64(2), "numberReady": int64(2), "updatedNumberScheduled": int64(2), "numberAvailable": int64(2)})
	s.expectApplied("web")
	if s.live(last) == nil {
		t.Error("the last wave is not there")
	}
	t.Cleanup(func() {
		o := &unstructured.Unstructured{Object: service}
		if err := s.spoke.Delete(context.Background(), o); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}
