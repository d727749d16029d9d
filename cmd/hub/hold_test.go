package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestHolds: what a person pauses stays as it is and says so, also when the hub starts over; a pin gives it an earlier commit, and the
// delivered one comes when it ends. Who writes a Hold has to say who that is, and may pin only with the right to approve.
func TestHolds(t *testing.T) {
	t.Parallel()
	f := newShops(t, "holds", "one: a", "two: b")
	shop := func(version string) string {
		return configMapFile("manifests/shop/config.yaml", "shop", "version", `"`+version+`"`)
	}
	both := func(version string) {
		t.Helper()
		for _, name := range []string{"one", "two"} {
			f.expectData(name, "holds", "shop", "version", version)
		}
	}
	first := f.push(applicationFile("shop", "shops", "manifests/shop", "holds", "") + shop("1"))
	both("1")
	f.expectReady("retail/shop")
	f.expectHistory("retail/shop", first)

	freeze := &musterv1alpha1.Hold{
		ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "freeze"}, Spec: musterv1alpha1.HoldSpec{Reason: "Black Friday", By: "lead"},
	}
	f.giveHolders()
	if err := f.as("dev").Create(f.ctx, freeze.DeepCopy()); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "spec.by has to be dev") {
		t.Errorf("who holds in the name of another: %v", err)
	}
	if err := f.as("lead").Create(f.ctx, freeze); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() string {
		if on := f.application("retail/shop").Status.OnHold; len(on) != 1 || on[0].By != "lead" || on[0].Clusters != 0 {
			return fmt.Sprintf("on hold: %+v", on)
		}
		return ""
	})
	works := f.uidsAndGenerations("one", "two")
	second := f.push(shop("2"))
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "OnHold", "held by lead (Hold retail/freeze): Black Friday; 2 clusters wait", "muster resume")
	f.expectRow("retail/shop", "one", "Pending", "OnHold", "Black Friday")
	f.stop()
	f.startHub()
	third := f.push(applicationFile("shop", "shops", "manifests/shop", "holds", "  deletionGuard: {maxClusterPercent: 100}\n") + shop("3"))
	f.eventually(func() string {
		a := f.application("retail/shop")
		if a.Status.Revision != third || len(a.Status.OnHold) != 1 || a.Status.OnHold[0].Clusters != 2 {
			return fmt.Sprintf("at %s: %+v", a.Status.Revision, a.Status.OnHold)
		}
		return ""
	})
	if now := f.uidsAndGenerations("one", "two"); now != works {
		t.Errorf("works changed on hold:\n was %s\n is %s", works, now)
	}
	// One for a cluster alone takes its place: the other cluster goes on.
	freeze.Spec.ClusterSelector = &musterv1alpha1.ClusterSelector{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"site": "b"}}}
	if err := f.as("lead").Update(f.ctx, freeze); err != nil {
		t.Fatal(err)
	}
	f.expectData("one", "holds", "shop", "version", "3")
	f.expectRow("retail/shop", "two", "Pending", "OnHold")
	f.delete(freeze)
	both("3")
	f.expectReady("retail/shop")

	pin := &musterv1alpha1.Hold{
		ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "pin-shop"},
		Spec:       musterv1alpha1.HoldSpec{Reason: "audit", By: "dev", Pin: &musterv1alpha1.Pin{Revision: second}},
	}
	if err := f.as("dev").Create(f.ctx, pin.DeepCopy()); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "approve applications in namespace retail") {
		t.Errorf("who may not approve pins: %v", err)
	}
	pin.Spec.By = "lead"
	if err := f.as("lead").Create(f.ctx, pin); err != nil {
		t.Fatal(err)
	}
	both("2")
	wider := pin.DeepCopy()
	wider.Spec.By, wider.Spec.Applications.Names = "dev", []string{"shop", "other"}
	if err := f.as("dev").Update(f.ctx, wider); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "approve applications in namespace retail") {
		t.Errorf("who may not approve says for which applications a pin is: %v", err)
	}
	unpinned := pin.DeepCopy()
	unpinned.Spec.By, unpinned.Spec.Pin = "dev", nil
	if err := f.as("dev").Update(f.ctx, unpinned); !apierrors.IsForbidden(err) {
		t.Errorf("who may not approve takes a pin off: %v", err)
	}
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "OnHold", "pinned to "+second[:7]+" by lead", "audit")
	fourth := f.push(shop("4"))
	f.eventually(func() string {
		if r := f.repository().Status.Revision; r != fourth {
			return "delivered " + r
		}
		return ""
	})
	both("2")
	f.delete(pin)
	both("4")
	f.expectReady("retail/shop")
}

// TestWindow: a cluster whose values say that it is maintained at night gets a change then, and says when; the others have it at once.
func TestWindow(t *testing.T) {
	t.Parallel()
	values := func(of string) string {
		return "-- clustervalues/a.yaml --\napiVersion: muster.dev/v1alpha1\nkind: ClusterValues\nmetadata: {name: a, namespace: retail}\nspec:\n" +
			"  selector: {labelSelector: {matchLabels: {site: a}}}\n  values: {maintenance: {window: " + of + "}}\n"
	}
	f := newFleetOfPrograms(t, tenant+clusterFile("one", "tier: edge, site: a")+clusterFile("two", "tier: edge, site: b")+placementFile("shops", byCanary)+values("night"))
	f.deliver()
	for _, name := range []string{"one", "two"} {
		f.join(name)
	}
	opens := time.Now().UTC().Add(3 * time.Hour).Truncate(time.Minute)
	f.push(applicationFile("shop", "shops", "manifests/shop", "windows", fmt.Sprintf(`  rollout:
    windows:
    - name: nights
      schedule: "%d %d * * *"
      duration: 1h
      clusterValue: {key: maintenance.window, value: night}`, opens.Minute(), opens.Hour())) + configMapFile("manifests/shop/config.yaml", "shop", "version", `"1"`))
	f.expectData("two", "windows", "shop", "version", "1")
	f.expectRow("retail/shop", "one", "Pending", "WindowClosed", "waits for its window (nights), from "+opens.Format("2006-01-02 15:04 UTC"))
	f.expectRollout("Progressing", 1, "waits for its window (nights)")
	f.kill()
	f.startHub()
	f.expectRollout("Progressing", 1, "waits for its window (nights)")
	if works := f.uidsAndGenerations("one"); works != "" {
		t.Errorf("one has works outside of its window: %s", works)
	}
	f.push(values("any"))
	f.expectData("one", "windows", "shop", "version", "1")
	f.expectReady("retail/shop")
}

// giveHolders lets dev write Holds in retail, and lead approve too.
func (f *theFleet) giveHolders() {
	for user, verbs := range map[string][]string{"dev": {"get"}, "lead": {"get", "patch", "approve"}} {
		f.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: user}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"muster.dev"}, Resources: []string{"applications"}, Verbs: verbs},
			{APIGroups: []string{"muster.dev"}, Resources: []string{"holds"}, Verbs: []string{"get", "create", "update", "delete"}},
		}})
		f.create(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: user},
			Subjects: []rbacv1.Subject{{Kind: "User", Name: user}},
		})
	}
}

// as is a client of a user.
func (f *theFleet) as(user string) client.Client {
	f.t.Helper()
	config, err := f.cp.User(user)
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: Scheme()})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *theFleet) delete(o client.Object) {
	f.t.Helper()
	if err := f.client.Delete(f.ctx, o); err != nil {
		f.t.Fatal(err)
	}
}
