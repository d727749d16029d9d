package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub/event"
)

// receiver answers with the next of its codes, and with 200 when there is none.
type receiver struct {
	mu     sync.Mutex
	codes  []int
	bodies []string
	ids    []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies, r.ids = append(r.bodies, string(body)), append(r.ids, request.Header.Get("webhook-id"))
	if len(r.codes) > 0 {
		w.WriteHeader(r.codes[0])
		r.codes = r.codes[1:]
	}
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.bodies)
}

func (r *receiver) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bodies) == 0 {
		return ""
	}
	return r.bodies[len(r.bodies)-1]
}

func eventually(t *testing.T, check func() string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		problem := check()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(problem)
		}
	}
}

// hears starts the notifications of a hub with one that sends to a receiver.
func hears(t *testing.T, r *receiver, change func(*musterv1alpha1.Notification)) (*Notifications, events.EventRecorder, func() *musterv1alpha1.Notification) {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{musterv1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	of := &musterv1alpha1.Notification{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "n"},
		Spec: musterv1alpha1.NotificationSpec{
			Type: musterv1alpha1.NotifyWebhook, URL: server.URL, MaxPerHour: 36000, Group: musterv1alpha1.NotificationGroup{Wait: metav1.Duration{Duration: 20 * time.Millisecond}},
			SecretRef: &musterv1alpha1.LocalReference{Name: "s"},
		},
	}
	if change != nil {
		change(of)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "s"}, Data: map[string][]byte{"hmacKey": []byte("k3y")}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(of, secret).WithStatusSubresource(of).Build()
	n := &Notifications{Client: c, Now: time.Now, FirstRetry: 5 * time.Millisecond, GiveUp: 150 * time.Millisecond, workers: map[client.ObjectKey]*worker{}}
	recorder := n.Hear(discard{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = n.route(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return n, recorder, func() *musterv1alpha1.Notification {
		got := &musterv1alpha1.Notification{}
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(of), got); err != nil {
			t.Fatal(err)
		}
		return got
	}
}

type discard struct{}

func (discard) Eventf(_, _ runtime.Object, _, _, _, _ string, _ ...any) {}

func app(name string) *musterv1alpha1.Application {
	return &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: name}}
}

func TestEventsAreToldTogether(t *testing.T) {
	r := &receiver{}
	_, recorder, get := hears(t, r, nil)
	for i := range 30 {
		recorder.Eventf(app(fmt.Sprint("web-", i)), nil, "Warning", "DeletionsHeld", "Hold", "%s", "would leave")
	}
	recorder.Eventf(app("web"), nil, "Normal", "Scheduled", "X", "%s", "nobody asks for it")
	eventually(t, func() string {
		if got := get().Status; got.Sent == 0 || got.LastSentAt == nil || got.Dead != 0 {
			return fmt.Sprintf("status %+v", got)
		}
		return ""
	})
	total := 0
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, body := range r.bodies {
		var m struct {
			Title  string
			Events []struct{ Event string }
		}
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		total += len(m.Events)
	}
	if total != 30 || len(r.bodies) > 5 {
		t.Errorf("%d events in %d messages, want 30 in a few", total, len(r.bodies))
	}
}

func TestAReceiverInTroubleIsTriedAgain(t *testing.T) {
	r := &receiver{codes: []int{500, 503, 429}}
	_, recorder, get := hears(t, r, nil)
	recorder.Eventf(app("web"), nil, "Normal", "Applied", "Apply", "%s", "is applied")
	eventually(t, func() string {
		if got := get().Status; got.Sent != 1 || got.Dead != 0 {
			return fmt.Sprintf("status %+v after %d attempts", got, r.count())
		}
		return ""
	})
	for _, id := range r.ids {
		if id == "" || id != r.ids[0] {
			t.Errorf("the attempts have the ids %q: a receiver cannot know a message again", r.ids)
		}
	}
}

func TestWhatIsGivenUpIsInTheStatus(t *testing.T) {
	for name, codes := range map[string][]int{"refused": {403}, "too long": {500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500}} {
		r := &receiver{codes: codes}
		_, recorder, get := hears(t, r, nil)
		recorder.Eventf(app("web"), nil, "Warning", "DeletionsHeld", "Hold", "%s", "would leave")
		eventually(t, func() string {
			got := get().Status
			if got.Dead != 1 || len(got.DeadLetters) != 1 {
				return fmt.Sprintf("%s: status %+v", name, got)
			}
			if d := got.DeadLetters[0]; d.Title != "Held: retail/web" || d.Events != 1 || d.Attempts < 1 || !strings.Contains(d.Error, "the receiver answers") {
				return fmt.Sprintf("%s: letter %+v", name, d)
			}
			return ""
		})
		recorder.Eventf(app("shop"), nil, "Warning", "DeletionsHeld", "Hold", "%s", "would leave") // the next one goes
		r.mu.Lock()
		r.codes = nil
		r.mu.Unlock()
		eventually(t, func() string {
			if got := get().Status; got.Sent != 1 {
				return fmt.Sprintf("%s: status %+v", name, got)
			}
			return ""
		})
	}
}

func TestATestIsAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		codes  []int
		change func(*musterv1alpha1.NotificationSpec)
		err    string
		sent   int
	}{
		"taken":            {nil, func(*musterv1alpha1.NotificationSpec) {}, "", 1},
		"refused":          {[]int{404}, func(*musterv1alpha1.NotificationSpec) {}, "404", 1},
		"a wrong filter":   {nil, func(s *musterv1alpha1.NotificationSpec) { s.Filter = "event." }, "spec.filter: column 7: Syntax error", 0},
		"an unknown name":  {nil, func(s *musterv1alpha1.NotificationSpec) { s.Filter = "evnt.name == 'x'" }, "spec.filter: column 1: undeclared reference to 'evnt'", 0},
		"no truth":         {nil, func(s *musterv1alpha1.NotificationSpec) { s.Filter = "event.name" }, "spec.filter gives string", 0},
		"no such label":    {nil, func(s *musterv1alpha1.NotificationSpec) { s.Filter = `event.labels.tier == "prod"` }, `event.labels[?"NAME"]`, 0},
		"of other events":  {nil, func(s *musterv1alpha1.NotificationSpec) { s.Filter, s.Events = "event.", []string{"Drift"} }, "spec.filter", 0},
		"that is not true": {nil, func(s *musterv1alpha1.NotificationSpec) { s.Filter = `event.namespace == "retail"` }, "", 1},
		"no template":      {nil, func(s *musterv1alpha1.NotificationSpec) { s.Template.Title = "${{ event. }}" }, "spec.template", 0},
		"no Secret": {
			nil, func(s *musterv1alpha1.NotificationSpec) { s.SecretRef.Name = "lost" },
			"spec.secretRef names Secret muster-system/lost, which is not there: kubectl create secret generic -n muster-system lost", 0,
		},
		"no address": {nil, func(s *musterv1alpha1.NotificationSpec) { s.URL = "" }, "url", 0},
	} {
		r := &receiver{codes: c.codes}
		n, _, get := hears(t, r, func(of *musterv1alpha1.Notification) {
			of.Annotations = map[string]string{musterv1alpha1.TestNotificationAnnotation: "7"}
			c.change(&of.Spec)
		})
		before := get() // an older test had failed
		before.Status.Test = &musterv1alpha1.NotificationTest{ID: "6", Error: "the receiver was away"}
		if err := n.Client.Status().Update(context.Background(), before); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a second look asks for nothing
			if _, err := n.Reconcile(context.Background(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(get())}); err != nil {
				t.Fatal(err)
			}
		}
		got := get().Status
		if got.Test == nil || got.Test.ID != "7" || !strings.Contains(got.Test.Error, c.err) || (got.Test.Error == "") != (c.err == "") {
			t.Errorf("%s: %+v", name, got.Test)
		}
		if r.count() != c.sent {
			t.Errorf("%s: %d messages, want %d", name, r.count(), c.sent)
		}
		if strings.Contains(c.err, "spec.filter") && (len(got.Conditions) != 1 || got.Conditions[0].Status != metav1.ConditionFalse || !strings.Contains(got.Conditions[0].Message, "spec.filter")) {
			t.Errorf("%s: %+v", name, got.Conditions)
		}
	}
}

// TestPace: what is more than a receiver takes in an hour waits, but for a few that may come at once.
func TestPace(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for per, atOnce := range map[int32]int{1: 1, 12: 1, 120: 10} {
		of := &musterv1alpha1.Notification{Spec: musterv1alpha1.NotificationSpec{MaxPerHour: per}}
		w, n := &worker{}, 0
		for n <= atOnce && w.pace(ctx, of) { // it does not wait for longer than the context lasts
			n++
		}
		if n != atOnce {
			t.Errorf("of %d an hour, %d go at once, want %d", per, n, atOnce)
		}
	}
}

// TestADeletedNotificationIsCreatedAgain: the new one tells, whether the hub has seen that the old one was gone or not, and counts from zero.
func TestADeletedNotificationIsCreatedAgain(t *testing.T) {
	for name, seen := range map[string]bool{"seen": true, "at once": false} {
		t.Run(name, func(t *testing.T) {
			r := &receiver{}
			n, recorder, get := hears(t, r, func(of *musterv1alpha1.Notification) { of.UID = "first" })
			told := func(uid types.UID, app string) {
				t.Helper()
				eventually(t, func() string {
					if got := get(); got.UID != uid || got.Status.Sent != 1 || !strings.Contains(r.last(), app) {
						return fmt.Sprintf("%s has status %+v, and the receiver got %q", got.UID, got.Status, r.last())
					}
					return ""
				})
			}
			recorder.Eventf(app("web"), nil, "Warning", "DeletionsHeld", "Hold", "%s", "would leave")
			told("first", "web")
			old := get()
			if err := n.Client.Delete(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			if seen {
				if _, err := n.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(old)}); err != nil {
					t.Fatal(err)
				}
				n.mu.Lock()
				if len(n.workers) != 0 {
					t.Errorf("%d workers of a Notification that is gone", len(n.workers))
				}
				n.mu.Unlock()
			}
			again := &musterv1alpha1.Notification{ObjectMeta: metav1.ObjectMeta{Namespace: old.Namespace, Name: old.Name, UID: "second"}, Spec: old.Spec}
			if err := n.Client.Create(t.Context(), again); err != nil {
				t.Fatal(err)
			}
			recorder.Eventf(app("shop"), nil, "Warning", "DeletionsHeld", "Hold", "%s", "would leave")
			told("second", "shop")
		})
	}
}

// TestCausesAreHeard: an alert has the cluster of the event that the hub writes.
func TestCausesAreHeard(t *testing.T) {
	r := &receiver{}
	_, recorder, _ := hears(t, r, func(of *musterv1alpha1.Notification) { of.Spec.Type = musterv1alpha1.NotifyAlertmanager })
	of, ok := recorder.(interface {
		Record(regarding, related runtime.Object, e event.Event)
	})
	if !ok {
		t.Fatal("the recorder does not take causes")
	}
	of.Record(app("web"), nil, event.Event{Type: "Warning", Reason: "Degraded", Note: "m", Causes: []map[string]string{{"cluster": "edge-1"}}})
	eventually(t, func() string {
		if got := r.last(); !strings.Contains(got, `"cluster":"edge-1"`) {
			return fmt.Sprintf("the receiver got %q", got)
		}
		return ""
	})
}
