package fleetrepository

import (
	"testing"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestWhoWakesLooksAgain: a placement that was decided, or a definition that somebody changed, is counted before its repository
// wakes.
func TestWhoWakesLooksAgain(t *testing.T) {
	mine := metav1.ObjectMeta{Annotations: map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet"}}
	for _, o := range []client.Object{&clusterv1beta1.Placement{ObjectMeta: mine}, &metav1.PartialObjectMetadata{ObjectMeta: mine}} {
		r := &Repositories{}
		repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
		key := client.ObjectKeyFromObject(repo)
		r.remember(repo, r.changes.Begin(key), delivered(report{delivered: true}))
		if woken := r.touched(t.Context(), o); len(woken) != 1 || woken[0].NamespacedName != key {
			t.Errorf("%T: woken is %v", o, woken)
		}
		if same, _ := r.unchanged(t.Context(), repo, "one", &report{}); same != nil {
			t.Errorf("%T: the repository finds the world as it was", o)
		}
	}
}

// delivered is a report of an empty plan at commit one.
func delivered(out report) *report {
	out.plan = &plan.Plan{Definitions: &fleet.Definitions{}, World: &fleet.World{}}
	out.delivery = &hub.Delivery{Snapshot: fleet.Snapshot{Revision: "one"}, Definitions: out.plan.Definitions, Plan: out.plan}
	return &out
}

// TestUnchanged: a reconciliation that left nothing to do stands for the next as long as nothing that it depends on has changed.
func TestUnchanged(t *testing.T) {
	for name, row := range map[string]struct {
		out    report
		change func(*Repositories, *musterv1alpha1.FleetRepository) (revision string)
		again  bool
	}{
		"nothing": {report{delivered: true}, nil, false},
		"commit":  {report{delivered: true}, func(*Repositories, *musterv1alpha1.FleetRepository) string { return "two" }, true},
		"spec":    {report{delivered: true}, func(_ *Repositories, repo *musterv1alpha1.FleetRepository) string { repo.Generation++; return "one" }, true},
		"approval": {report{delivered: true}, func(_ *Repositories, repo *musterv1alpha1.FleetRepository) string {
			repo.Annotations = map[string]string{musterv1alpha1.ApprovedPlanAnnotation: "plan"}
			return "one"
		}, true},
		"world": {report{delivered: true}, func(r *Repositories, repo *musterv1alpha1.FleetRepository) string {
			r.changes.Add(client.ObjectKeyFromObject(repo))
			return "one"
		}, true},
		"waiting":    {report{}, nil, true},
		"refused":    {report{delivered: true, refused: true}, nil, true},
		"on its way": {report{delivered: true, deleting: 1}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Repositories{}
			repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet", Generation: 1}}
			r.remember(repo, r.changes.Begin(client.ObjectKeyFromObject(repo)), delivered(row.out))
			revision := "one"
			if row.change != nil {
				revision = row.change(r, repo)
			}
			same, err := r.unchanged(t.Context(), repo, revision, &report{fetched: revision, requeueAfter: 7})
			if err != nil {
				t.Fatal(err)
			}
			if (same == nil) != row.again {
				t.Fatalf("plans again: %v, want %v", same == nil, row.again)
			}
			if same != nil && (!same.delivered || same.fetched != revision || same.requeueAfter != 7) {
				t.Errorf("the report is %+v: what was fetched now belongs in it", same)
			}
		})
	}
}
