package plan

import (
	"strings"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestDependencyFault: what nobody could wait for is a fault that names the way out.
func TestDependencyFault(t *testing.T) {
	apps := map[string]*musterv1alpha1.Application{}
	for name, text := range map[string]string{
		"retail/web": "db", "retail/db": "platform/operator", "platform/operator": "", "retail/a": "b", "retail/b": "c", "retail/c": "a", "retail/self": "self",
		"retail/lost": "nosuch", "retail/nosy": "platform/private", "platform/private": "", "retail/before": "a",
	} {
		namespace, n, _ := strings.Cut(name, "/")
		app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: n}}
		if text != "" {
			d := musterv1alpha1.Dependency{Name: text}
			if ns, other, ok := strings.Cut(text, "/"); ok {
				d = musterv1alpha1.Dependency{Namespace: ns, Name: other}
			}
			app.Spec.DependsOn = []musterv1alpha1.Dependency{d}
		}
		apps[name] = app
	}
	apps["platform/operator"].Spec.DependentNamespaces = []string{"retail"}
	for name, c := range map[string]struct {
		why    string
		reason fleet.Reason
		says   string
	}{
		"retail/web":        {why: "one of the same namespace, which depends on one that allows it"},
		"platform/operator": {why: "none"},
		"retail/lost":       {"there is none of that name", fleet.DependencyMissing, "retail/nosuch"},
		"retail/nosy":       {"the other side does not allow it", fleet.DependencyRefused, "spec.dependentNamespaces has to name retail"},
		"retail/a":          {"each of a circle says which it is", fleet.DependencyCycle, "retail/a -> retail/b -> retail/c -> retail/a"},
		"retail/c":          {"each of a circle says which it is", fleet.DependencyCycle, "retail/c -> retail/a -> retail/b -> retail/c"},
		"retail/self":       {"a circle of one", fleet.DependencyCycle, "retail/self -> retail/self"},
		"retail/before":     {why: "it is in no circle, and waits for one that has a fault"},
	} {
		f := DependencyFault(apps[name], "app.yaml", 3, func(path string) int { return len(path) }, func(key string) *musterv1alpha1.Application { return apps[key] })
		switch {
		case f == nil && c.reason != "":
			t.Errorf("%s: no fault: %s", name, c.why)
		case f != nil && (f.Reason != c.reason || !strings.Contains(f.Message, c.says) || f.File != "app.yaml" || f.Line != len("spec.dependsOn[0]") || f.Application != name):
			t.Errorf("%s: %+v, want %s %q: %s", name, f, c.reason, c.says, c.why)
		}
	}
}

// TestNeeds: an application needs what it depends on, and what that depends on; a circle ends.
func TestNeeds(t *testing.T) {
	all := map[string]*musterv1alpha1.Application{}
	add := func(name string, dependsOn ...string) {
		a := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: name}}
		for _, d := range dependsOn {
			a.Spec.DependsOn = append(a.Spec.DependsOn, musterv1alpha1.Dependency{Name: d})
		}
		all["retail/"+name] = a
	}
	add("shop", "database", "missing")
	add("database", "storage")
	add("storage")
	add("chicken", "egg")
	add("egg", "chicken")
	stranger := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "stranger"}}
	stranger.Spec.DependsOn = []musterv1alpha1.Dependency{{Namespace: "retail", Name: "storage"}}
	if DependsOn(stranger, all["retail/storage"]) || !DependsOn(all["retail/shop"], all["retail/database"]) || DependsOn(all["retail/shop"], all["retail/storage"]) {
		t.Error("one of another namespace depends on what does not allow it, or one of the same does not")
	}
	all["retail/storage"].Spec.DependentNamespaces = []string{"other"}
	if !DependsOn(stranger, all["retail/storage"]) {
		t.Error("one of another namespace does not depend on what allows it")
	}
	for pair, want := range map[[2]string]bool{
		{"shop", "database"}: true, {"shop", "storage"}: true, {"storage", "shop"}: false, {"shop", "shop"}: false,
		{"chicken", "egg"}: true, {"egg", "egg"}: true, {"shop", "egg"}: false,
	} {
		find := func(key string) *musterv1alpha1.Application { return all[key] }
		if got := Needs(all["retail/"+pair[0]], all["retail/"+pair[1]], find); got != want {
			t.Errorf("%s needs %s: %v, want %v", pair[0], pair[1], got, want)
		}
	}
}
