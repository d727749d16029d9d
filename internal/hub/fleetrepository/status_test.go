package fleetrepository

import (
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func delivery(revision string) *hub.Delivery {
	return &hub.Delivery{Snapshot: fleet.Snapshot{Revision: revision}}
}

func TestStatusOf(t *testing.T) {
	unavailable := fleet.Fail(fleet.SourceUnavailable, errors.New("the host does not answer: check spec.url"))
	cases := map[string]struct {
		why      string
		before   musterv1alpha1.FleetRepositoryStatus
		out      *report
		err      error
		revision string
		ready    metav1.ConditionStatus
		reason   string
	}{
		"Delivered": {
			why: "a commit went the whole way", out: &report{fetched: "new", delivery: delivery("new"), plan: &plan.Plan{Digest: "d"}, delivered: true},
			revision: "new", ready: "True", reason: ReasonSucceeded,
		},
		"Waiting": {
			why:      "placements are not decided yet: the last good commit stays",
			before:   musterv1alpha1.FleetRepositoryStatus{Revision: "old"},
			out:      &report{fetched: "new", delivery: delivery("new"), plan: &plan.Plan{}, waiting: "placement x"},
			revision: "old", ready: "False", reason: ReasonWaiting,
		},
		"Unreachable": {
			why:      "the remote does not answer: what is delivered stays delivered, and the fault says so",
			before:   musterv1alpha1.FleetRepositoryStatus{Revision: "old"},
			out:      &report{fetched: "old", fetchErr: unavailable, delivery: delivery("old"), plan: &plan.Plan{}, delivered: true},
			revision: "old", ready: "False", reason: string(fleet.SourceUnavailable),
		},
		"Faults": {
			why:      "a bad application is said; the commit is delivered",
			out:      &report{fetched: "new", delivery: delivery("new"), plan: &plan.Plan{}, delivered: true, faults: []fleet.Fault{{Reason: fleet.RenderFailed, Message: "x"}}},
			revision: "new", ready: "False", reason: ReasonFaults,
		},
		"Held": {
			why:      "deletions wait for an approval",
			out:      &report{fetched: "new", delivery: delivery("new"), plan: &plan.Plan{}, delivered: true, held: &musterv1alpha1.Held{Message: "approve"}},
			revision: "new", ready: "False", reason: ReasonHeld,
		},
		"Failed": {
			why:    "the hub's own trouble",
			before: musterv1alpha1.FleetRepositoryStatus{Revision: "old"},
			out:    &report{fetched: "new"}, err: errors.New("timeout"),
			revision: "old", ready: "False", reason: ReasonFailed,
		},
		"Nothing": {
			why: "nothing was ever fetched", out: &report{fetchErr: unavailable}, ready: "False", reason: string(fleet.SourceUnavailable),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			repo := &musterv1alpha1.FleetRepository{Status: tc.before}
			status := statusOf(repo, tc.out, tc.err, now)
			ready := meta.FindStatusCondition(status.Conditions, ConditionReady)
			if status.Revision != tc.revision || ready.Status != tc.ready || ready.Reason != tc.reason || ready.Message == "" {
				t.Errorf("%s: revision %q, Ready %s %s %q; want %q %s %s",
					tc.why, status.Revision, ready.Status, ready.Reason, ready.Message, tc.revision, tc.ready, tc.reason)
			}
		})
	}
}

func TestFaultsAreFolded(t *testing.T) {
	var faults []fleet.Fault
	for _, cluster := range []string{"a", "b", "c"} {
		faults = append(faults, fleet.Fault{Reason: fleet.RenderFailed, Application: "x/y", Cluster: cluster, File: "f", Line: 3, Message: "same"})
	}
	for i := range 40 {
		faults = append(faults, fleet.Fault{Reason: fleet.RenderFailed, Application: "x/y", File: "g", Line: i + 1, Message: "other"})
	}
	list := hubFaults(faults)
	if len(list) != 20 || list[0].Clusters != 3 || list[0].Line != 3 {
		t.Errorf("%d faults, the first %+v; want 20, the first on 3 clusters", len(list), list[0])
	}
}
