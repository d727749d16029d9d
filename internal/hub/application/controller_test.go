package application

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/work"
)

// TestPublishWithStaleCache: a status that is right again before the cache has the wrong one is written all the same.
func TestPublishWithStaleCache(t *testing.T) {
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web", UID: "u"}}
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithStatusSubresource(app).WithObjects(app).Build()
	clock := time.Now()
	r := &Applications{Client: api, Reader: api, Now: func() time.Time { return clock }, StatusInterval: time.Second}
	cached := func() *musterv1alpha1.Application {
		var a musterv1alpha1.Application
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(app), &a); err != nil {
			t.Fatal(err)
		}
		return &a
	}
	publish := func(from *musterv1alpha1.Application, plan string) time.Duration {
		t.Helper()
		again, err := r.publish(t.Context(), from, musterv1alpha1.ApplicationStatus{Plan: plan})
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	if publish(cached(), "good") != 0 {
		t.Fatal("the first status waits")
	}
	clock = clock.Add(time.Minute)
	before := cached()
	if publish(before.DeepCopy(), "incomplete") != 0 || cached().Status.Plan != "incomplete" {
		t.Fatal("the second status waits")
	}
	clock = clock.Add(time.Minute)
	if publish(before.DeepCopy(), "incomplete") != 0 {
		t.Error("what is written already is tried again")
	}
	if publish(before.DeepCopy(), "good") == 0 {
		t.Error("the cache still says good, and nobody looks again")
	}
	if publish(cached(), "good") != 0 || cached().Status.Plan != "good" {
		t.Error("the status stays wrong although the cache is fresh")
	}
	if again := publish(cached(), "next"); again != time.Second {
		t.Errorf("the next status waits for %s, want the interval", again)
	}
}

// TestApprovalIsConsumed: an approval ends when what it approves is done, or when another plan has replaced the approved one.
func TestApprovalIsConsumed(t *testing.T) {
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{musterv1alpha1.ApprovedPlanAnnotation: "abc"}}}
	fault := fleet.Fault{Reason: fleet.DecisionsIncomplete}
	pending := map[string]work.Changes{"one": {{Action: work.Delete}}}
	for name, row := range map[string]struct {
		why      string
		approved string
		out      report
		want     bool
	}{
		"done":       {"nothing is left to do", "abc", report{planned: &plan.Application{Digest: "abc"}}, true},
		"pending":    {"a deletion is not done", "abc", report{planned: &plan.Application{Digest: "abc"}, pending: pending}, false},
		"no plan":    {"while decisions are incomplete nothing is planned", "abc", report{planned: &plan.Application{Digest: "abc", Faults: []fleet.Fault{fault}}, faults: map[string][]fleet.Fault{"": {fault}}}, false},
		"other plan": {"another plan has replaced it", "abc", report{planned: &plan.Application{Digest: "xyz"}, pending: pending}, true},
		"faulty":     {"a fault may be why the plan is another one", "abc", report{planned: &plan.Application{Digest: "xyz", Faults: []fleet.Fault{{Cluster: "one"}}}}, false},
		"none":       {"nothing is approved", "", report{planned: &plan.Application{Digest: "abc"}}, false},
	} {
		app.Annotations[musterv1alpha1.ApprovedPlanAnnotation] = row.approved
		if got := approvalConsumed(app, &row.out); got != row.want {
			t.Errorf("%s: %t, want %t: %s", name, got, row.want, row.why)
		}
	}
}

// TestAbsent: an application that its repository does not define has left it, or was never in it.
func TestAbsent(t *testing.T) {
	repo := types.NamespacedName{Namespace: "muster-system", Name: "fleet"}
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web"}}
	delivery := &hub.Delivery{Definitions: &fleet.Definitions{AbsenceProven: true}}
	if text := absent(app, repo, delivery, nil); !strings.Contains(text, "made by hand") {
		t.Errorf("one that never was in the repository: %s", text)
	}
	app.Labels = map[string]string{musterv1alpha1.OwnerLabel: (fleet.Owner{Kind: "FleetRepository", Namespace: repo.Namespace, Name: repo.Name}).Digest()}
	if text := absent(app, repo, delivery, nil); !strings.Contains(text, "its removal is held") {
		t.Errorf("one that has left it: %s", text)
	}
	if text := absent(app, repo, delivery, fleet.Renames{"retail/web": "retail/site"}); !strings.Contains(text, "calls it retail/site, which takes over its works") {
		t.Errorf("one that was renamed: %s", text)
	}
	delivery.Definitions.AbsenceProven = false
	if text := absent(app, repo, delivery, nil); !strings.Contains(text, "cannot be read") {
		t.Errorf("one of which nobody knows: %s", text)
	}
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, workv1.AddToScheme, musterv1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}
