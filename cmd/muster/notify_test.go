package main

import (
	"context"
	"regexp"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// answer does what the hub does: it writes the result of each test that is asked for.
func (h testHub) answer(t *testing.T, of client.ObjectKey, problem string) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			n := &musterv1alpha1.Notification{}
			if h.Get(ctx, of, n) != nil {
				return false, nil
			}
			id := n.Annotations[musterv1alpha1.TestNotificationAnnotation]
			if id == "" || n.Status.Test != nil && n.Status.Test.ID == id {
				return false, nil
			}
			n.Status.Test = &musterv1alpha1.NotificationTest{ID: id, Error: problem}
			_ = h.Status().Update(ctx, n) // it looks again
			return false, nil
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// TestNotify: the test of a Notification ends with what the hub says of it, not with an older answer, and with 2 where no hub answers.
func TestNotify(t *testing.T) {
	h := newTestHub(t)
	h.namespace(t, "notify", "muster-system")
	notification := func(namespace, name string, status musterv1alpha1.NotificationStatus) {
		n := &musterv1alpha1.Notification{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		n.Spec.Type, n.Spec.URL, n.Status = musterv1alpha1.NotifyWebhook, "https://chat.example.com", status
		h.make(t, n)
	}
	expect(t, h.muster(t, 0, "notify"), "there are no Notifications")
	sent := metav1.NewTime(time.Now().Add(-2 * time.Hour))
	notification("notify", "well", musterv1alpha1.NotificationStatus{Sent: 7, LastSentAt: &sent, Test: &musterv1alpha1.NotificationTest{ID: "older", Error: "it was away"}})
	notification("notify", "gave-up", musterv1alpha1.NotificationStatus{Dead: 3, DeadLetters: []musterv1alpha1.DeadLetter{{At: sent, Title: "Held: retail/web", Error: "the receiver answers 403"}}})
	notification("muster-system", "wrong", musterv1alpha1.NotificationStatus{Conditions: []metav1.Condition{
		{Type: "Ready", Status: "False", Reason: "Invalid", Message: "spec.filter: column 7", LastTransitionTime: sent},
	}})
	list := h.muster(t, 0, "notify")
	for _, want := range []string{
		`NOTIFICATION +TYPE +SENT +LAST +DEAD +SAYS`, `notify/well +Webhook +7 +2h`, `notify/gave-up +Webhook +0 +3 +gave up "Held: retail/web" 2h`,
		`muster-system/wrong +Webhook .*spec.filter: column 7`,
	} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("%s is not in\n%s", want, list)
		}
	}

	expect(t, h.muster(t, 2, "notify", "--test", "notify/lost"), "ask the hub for Notification notify/lost", "not found")
	expect(t, h.muster(t, 2, "notify", "--test", "notify/well", "--request-timeout", "1s"), "the hub has not answered within 1s")
	h.answer(t, client.ObjectKey{Namespace: "notify", Name: "well"}, "")
	expect(t, h.muster(t, 0, "notify", "--test", "notify/well"), "notify/well: the receiver took it")
	h.answer(t, client.ObjectKey{Namespace: "muster-system", Name: "wrong"}, "the receiver answers 404")
	expect(t, h.muster(t, 1, "notify", "--test", "wrong"), "muster-system/wrong: the receiver answers 404")
}
