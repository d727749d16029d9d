package plan

import (
	"fmt"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// DependencyKey is the application that a dependency of another one names, as namespace/name.
func DependencyKey(app *musterv1alpha1.Application, d musterv1alpha1.Dependency) string {
	if d.Namespace == "" {
		return app.Namespace + "/" + d.Name
	}
	return d.Namespace + "/" + d.Name
}

// DependencyFault is the first thing that is wrong with what an application depends on, or nil. Find gives the application of a
// namespace/name, or nil.
func DependencyFault(app *musterv1alpha1.Application, file string, line int, lineOf func(string) int, find func(key string) *musterv1alpha1.Application) *fleet.Fault {
	for i, d := range app.Spec.DependsOn {
		key := DependencyKey(app, d)
		f := &fleet.Fault{ActionRequiredBy: fleet.User, Application: app.Namespace + "/" + app.Name, File: file, Line: line}
		if lineOf != nil {
			f.Line = lineOf(fmt.Sprintf("spec.dependsOn[%d]", i))
		}
		other := find(key)
		switch {
		case other == nil:
			f.Reason, f.Message = fleet.DependencyMissing, fmt.Sprintf("depends on %s, which does not exist: correct the name, or take the dependency out", key)
			return f
		case other.Namespace != app.Namespace && !allowsDependents(other, app.Namespace):
			f.Reason = fleet.DependencyRefused
			f.Message = fmt.Sprintf("depends on %s, which does not allow it: its spec.dependentNamespaces has to name %s", key, app.Namespace)
			return f
		}
		if path := pathBack(app, other, find, map[string]bool{}); path != nil {
			f.Reason = fleet.DependencyCycle
			f.Message = fmt.Sprintf("would wait for itself: %s; take one of these out of spec.dependsOn", strings.Join(append([]string{f.Application}, path...), " -> "))
			return f
		}
	}
	return followFault(app, file, line, lineOf, find)
}

// followFault is what is wrong with what an application follows, as far as it names it, or nil.
func followFault(app *musterv1alpha1.Application, file string, line int, lineOf func(string) int, find func(key string) *musterv1alpha1.Application) *fleet.Fault {
	if app.Spec.Follows == nil || app.Spec.Follows.Application == "" {
		return nil
	}
	f := &fleet.Fault{ActionRequiredBy: fleet.User, Application: app.Namespace + "/" + app.Name, File: file, Line: line}
	if lineOf != nil {
		f.Line = lineOf("spec.follows")
	}
	path := []string{f.Application}
	for follower := app; follower.Spec.Follows != nil && follower.Spec.Follows.Application != ""; {
		key := follower.Namespace + "/" + follower.Spec.Follows.Application
		path = append(path, key)
		next := find(key)
		switch {
		case next == nil && follower == app:
			f.Reason, f.Message = fleet.DependencyMissing, fmt.Sprintf("follows %s, which does not exist: correct the name, or take spec.follows out", key)
			return f
		case next == nil:
			return nil
		case slices.Contains(path[:len(path)-1], key):
			f.Reason = fleet.DependencyCycle
			f.Message = fmt.Sprintf("would wait for itself: %s; take spec.follows out of one of these", strings.Join(path, " -> "))
			return f
		}
		follower = next
	}
	return nil
}

func allowsDependents(app *musterv1alpha1.Application, namespace string) bool {
	return slices.Contains(app.Spec.DependentNamespaces, namespace) || slices.Contains(app.Spec.DependentNamespaces, "*")
}

// pathBack is a way from an application along dependencies to the one that is looked for, or nil.
func pathBack(to, from *musterv1alpha1.Application, find func(string) *musterv1alpha1.Application, seen map[string]bool) []string {
	key := from.Namespace + "/" + from.Name
	if key == to.Namespace+"/"+to.Name {
		return []string{key}
	}
	if seen[key] {
		return nil
	}
	seen[key] = true
	for _, d := range from.Spec.DependsOn {
		if next := find(DependencyKey(from, d)); next != nil {
			if path := pathBack(to, next, find, seen); path != nil {
				return append([]string{key}, path...)
			}
		}
	}
	return nil
}

// DependsOn says that an application names another one in its dependsOn, and may.
func DependsOn(app, on *musterv1alpha1.Application) bool {
	key := on.Namespace + "/" + on.Name
	return (app.Namespace == on.Namespace || allowsDependents(on, app.Namespace)) &&
		slices.ContainsFunc(app.Spec.DependsOn, func(d musterv1alpha1.Dependency) bool { return DependencyKey(app, d) == key })
}

// Needs says that an application depends on another one, itself or through others.
func Needs(app, other *musterv1alpha1.Application, find func(key string) *musterv1alpha1.Application) bool {
	return slices.ContainsFunc(app.Spec.DependsOn, func(d musterv1alpha1.Dependency) bool {
		next := find(DependencyKey(app, d))
		return next != nil && pathBack(other, next, find, map[string]bool{}) != nil
	})
}

// finder finds applications as a commit defines them, and those of other repositories as the world has them.
func (p *Plan) finder() func(key string) *musterv1alpha1.Application {
	all := map[string]*musterv1alpha1.Application{}
	for i := range p.World.Applications {
		a := &p.World.Applications[i]
		all[a.Namespace+"/"+a.Name] = a
	}
	for i := range p.Definitions.All {
		if a, ok := p.Definitions.All[i].Object.(*musterv1alpha1.Application); ok {
			all[a.Namespace+"/"+a.Name] = a
		}
	}
	return func(key string) *musterv1alpha1.Application { return all[key] }
}
