package review

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
)

// statuses is a host that notes which commit gets which status, and has lost the commit gone.
type statuses struct {
	githost.Host
	set []string
}

func (h *statuses) SetCheck(_ context.Context, commit string, c githost.Check) error {
	h.set = append(h.set, commit+" "+c.Name+" "+string(c.State)+" "+c.Description)
	if commit == "gone" {
		return &githost.Error{Kind: githost.NotFound}
	}
	return nil
}

// TestUnderwayIsResumed: a hub that has started over ends the statuses that were underway before, and notes those that are.
func TestUnderwayIsResumed(t *testing.T) {
	const older, newer = "1111111aaa", "2222222bbb"
	repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
	repo.Spec.Review, repo.Status.Revision = &musterv1alpha1.ReviewSpec{}, newer
	repo.Status.Review = &musterv1alpha1.ReviewStatus{Underway: []musterv1alpha1.UnderwayStatus{{Commit: older, Status: "a"}, {Commit: newer, Status: "b"}}}
	deliveries := &hub.Deliveries{}
	deliveries.Remember(repo, &hub.Delivery{Snapshot: fleet.Snapshot{Revision: newer}, Definitions: &fleet.Definitions{}, Plan: &plan.Plan{Revision: newer}})
	host := &statuses{}
	look := &task{
		Reviews: &Reviews{Now: time.Now, Deliveries: deliveries, Works: &hub.Works{}}, repo: repo,
		state: &state{host: host}, status: &musterv1alpha1.ReviewStatus{}, next: time.Hour,
	}
	look.resume()
	if _, known, err := look.delivery(t.Context()); err != nil || !known {
		t.Fatal(known, err)
	}
	if diff := cmp.Diff([]string{older + " a Success superseded by 2222222"}, host.set); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	look.conclude(nil)
	if diff := cmp.Diff(repo.Status.Review.Underway[1:], look.status.Underway); diff != "" {
		t.Errorf("what is underway (-want +have):\n%s", diff)
	}
}

// TestSuperseded: a commit whose delivery another one overtakes does not stay pending, and is told so once.
func TestSuperseded(t *testing.T) {
	const older, newer = "1111111aaa", "2222222bbb"
	pending := func(name string) githost.Check {
		return githost.Check{Name: name, State: githost.Pending, Description: "applied on 20 of 50"}
	}
	for name, c := range map[string]struct {
		told map[string]told
		want []string
	}{
		"underway":         {map[string]told{"a": {commit: older, check: pending("a")}}, []string{older + " a Success superseded by 2222222"}},
		"through":          {map[string]told{"a": {commit: older, check: githost.Check{Name: "a", State: githost.Success}}}, nil},
		"stuck":            {map[string]told{"a": {commit: older, check: githost.Check{Name: "a", State: githost.Failure}}}, nil},
		"delivered":        {map[string]told{"a": {commit: newer, check: pending("a")}}, nil},
		"a lost commit":    {map[string]told{"a": {commit: "gone", check: pending("a")}}, []string{"gone a Success superseded by 2222222"}},
		"nothing was told": {nil, nil},
	} {
		repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
		repo.Spec.Review, repo.Status.Revision = &musterv1alpha1.ReviewSpec{}, newer
		deliveries := &hub.Deliveries{}
		deliveries.Remember(repo, &hub.Delivery{Snapshot: fleet.Snapshot{Revision: newer}, Definitions: &fleet.Definitions{}, Plan: &plan.Plan{Revision: newer}})
		host := &statuses{}
		look := &task{
			Reviews: &Reviews{Now: time.Now, Deliveries: deliveries, Works: &hub.Works{}}, repo: repo,
			state: &state{host: host, told: c.told}, next: time.Hour,
		}
		for range 2 {
			look.state.measured = measure{} // the second look is a later one
			if _, known, err := look.delivery(t.Context()); err != nil || !known {
				t.Fatalf("%s: %v %v", name, known, err)
			}
		}
		if diff := cmp.Diff(c.want, host.set); diff != "" {
			t.Errorf("%s (-want +have):\n%s", name, diff)
		}
	}
}
