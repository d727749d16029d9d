package placement

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
)

// TestReadErrorKeepsTheDecisions: whatever cannot be read, the decisions that are there stay, and the next try follows.
func TestReadErrorKeepsTheDecisions(t *testing.T) {
	scheme := clusterScheme(t)
	unread := errors.New("no answer")
	for name, unreadable := range map[string]client.ObjectList{
		"clusters": &clusterv1.ManagedClusterList{}, "sets": &clusterv1beta2.ManagedClusterSetList{},
		"bindings": &clusterv1beta2.ManagedClusterSetBindingList{}, "scores": &clusterv1alpha1.AddOnPlacementScoreList{},
		"decisions": &clusterv1beta1.PlacementDecisionList{},
	} {
		t.Run(name, func(t *testing.T) {
			p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge", Generation: 2}}
			page := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
				Namespace: "retail", Name: "edge-decision-1", Labels: map[string]string{clusterv1beta1.PlacementLabel: "edge"},
			}}
			page.Status.Decisions = []clusterv1beta1.ClusterDecision{{ClusterName: "a"}}
			failing := true
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(p, page).WithStatusSubresource(p, page).
				WithIndex(page, pagesByPlacement, placementsOfPage).
				WithInterceptorFuncs(interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
					if failing && reflect.TypeOf(list) == reflect.TypeOf(unreadable) {
						return unread
					}
					return c.List(ctx, list, o...)
				}}).Build()
			r := &Placements{Client: c, Now: time.Now}
			r.facts.reader = c
			request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(p)}
			if _, err := r.Reconcile(t.Context(), request); !errors.Is(err, unread) {
				t.Fatalf("Reconcile gives %v, want %v", err, unread)
			}
			decisions := func() []clusterv1beta1.ClusterDecision {
				var live clusterv1beta1.PlacementDecision
				if err := c.Get(t.Context(), client.ObjectKeyFromObject(page), &live); err != nil {
					t.Fatal(err)
				}
				return live.Status.Decisions
			}
			if got := decisions(); len(got) != 1 {
				t.Errorf("what could not be read took the decisions away: %v", got)
			}
			failing = false
			if _, err := r.Reconcile(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			if got := decisions(); len(got) != 0 {
				t.Errorf("no set is bound, and the decisions stay: %v", got)
			}
		})
	}
}
