package fleet_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// applicationNamed is a file with an application that says what it was.
func applicationNamed(name, before string) string {
	return fmt.Sprintf(`-- applications/%s.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: %s, namespace: retail, annotations: {muster.dev/moved-from: %q}}
spec: {placementRef: {name: all}, source: {path: shop}}
`, name, name, before)
}

func onHub(name, repository, before string) musterv1alpha1.Application {
	return musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: name, Annotations: map[string]string{
		musterv1alpha1.RepositoryAnnotation: repository, musterv1alpha1.MovedFromAnnotation: before,
	}}}
}

func TestMoves(t *testing.T) {
	shop := applicationNamed("shop", "")
	for name, row := range map[string]struct {
		files string
		live  []musterv1alpha1.Application
		want  fleet.Renames
		fault string // of application store
	}{
		"renamed":              {applicationNamed("store", "shop"), []musterv1alpha1.Application{onHub("shop", "a/fleet", "")}, fleet.Renames{"retail/shop": "retail/store"}, ""},
		"gone from the hub":    {applicationNamed("store", "shop"), nil, fleet.Renames{"retail/shop": "retail/store"}, ""},
		"renamed twice":        {applicationNamed("store", "shop"), []musterv1alpha1.Application{onHub("shop", "a/fleet", "kiosk"), onHub("kiosk", "a/fleet", "")}, fleet.Renames{"retail/shop": "retail/store", "retail/kiosk": "retail/store"}, ""},
		"round in a circle":    {applicationNamed("store", "shop"), []musterv1alpha1.Application{onHub("shop", "a/fleet", "store")}, fleet.Renames{"retail/shop": "retail/store"}, ""},
		"of another's":         {applicationNamed("store", "shop"), []musterv1alpha1.Application{onHub("shop", "b/fleet", "")}, fleet.Renames{}, ""},
		"not said":             {applicationNamed("store", ""), []musterv1alpha1.Application{onHub("shop", "a/fleet", "")}, fleet.Renames{}, ""},
		"still defined":        {applicationNamed("store", "shop") + shop, nil, fleet.Renames{}, "still defined at applications/shop.yaml:1"},
		"defined and wrong":    {applicationNamed("store", "shop") + strings.Replace(shop, "spec:", "spic:", 1), nil, fleet.Renames{}, "still defined: take one"},
		"absence unproven":     {applicationNamed("store", "shop") + "-- applications/broken.yaml --\na: [\n", nil, fleet.Renames{}, ""},
		"itself":               {applicationNamed("store", "store"), nil, fleet.Renames{}, "is not the name that it had"},
		"of another namespace": {applicationNamed("store", "other/shop"), nil, fleet.Renames{}, "is not the name that it had"},
		"said by two":          {applicationNamed("store", "shop") + applicationNamed("market", "shop"), nil, fleet.Renames{"retail/shop": "retail/market"}, "application market says so too"},
	} {
		t.Run(name, func(t *testing.T) {
			defs, err := fleet.Load(context.Background(), treeOf(row.files))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, defs.Renames("a/fleet", row.live)); diff != "" {
				t.Errorf("renames (-want +have):\n%s", diff)
			}
			have := ""
			if f := defs.RenameFault(defs.Find("muster.dev", "Application", "retail", "store")); f != nil {
				have = f.Position() + " " + f.Message
			}
			if !strings.Contains(have, row.fault) || row.fault == "" && have != "" {
				t.Errorf("the fault is %q, want %q in it", have, row.fault)
			}
		})
	}
}

// TestLossesMove: who renames an application does not begin to count its losses anew.
func TestLossesMove(t *testing.T) {
	loss := func(hour int, cluster string) musterv1alpha1.Removal {
		return musterv1alpha1.Removal{At: metav1.NewTime(time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)), Clusters: []string{cluster}}
	}
	store, shop := onHub("store", "a/fleet", "shop"), onHub("shop", "a/fleet", "")
	shop.Status.RecentRemovals = []musterv1alpha1.Removal{loss(1, "one"), loss(2, "two")}
	store.Status.RecentRemovals = []musterv1alpha1.Removal{loss(2, "two"), loss(3, "three")}
	renames := fleet.Renames{"retail/shop": "retail/store"}
	want := []musterv1alpha1.Removal{loss(2, "two"), loss(3, "three"), loss(1, "one")}
	if diff := cmp.Diff(want, renames.RecentRemovals(&store, []musterv1alpha1.Application{shop, store})); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}
