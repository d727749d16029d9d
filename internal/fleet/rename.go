package fleet

import (
	"fmt"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Renames are the applications that were renamed: the former namespace/name of each, and the present one.
type Renames map[string]string

// Renames reads the renames of a commit from the annotation muster.dev/moved-from. An application is renamed when the definitions,
// of which every file was read, do not name it any more, and another one of its namespace has its name in the annotation. One
// that was renamed again before its first rename was over is followed through the live applications of the hub. An application
// that another repository or a person applied is not renamed.
func (d *Definitions) Renames(repository string, live []musterv1alpha1.Application) Renames {
	renames := Renames{}
	if !d.AbsenceProven {
		return renames
	}
	onHub := map[string]*musterv1alpha1.Application{}
	for i := range live {
		onHub[live[i].Namespace+"/"+live[i].Name] = &live[i]
	}
	for _, app := range d.Applications() {
		for current := app; current != nil; {
			name := formerName(current)
			old := app.Namespace + "/" + name
			before := onHub[old]
			foreign := before != nil && before.Annotations[musterv1alpha1.RepositoryAnnotation] != repository
			if name == "" || foreign || d.names(app.Namespace, name) || renames[old] != "" { // two that say the same have a fault
				break
			}
			renames[old] = app.Namespace + "/" + app.Name
			current = before
		}
	}
	return renames
}

// names says that the definitions name an application, even if they cannot use it.
func (d *Definitions) names(namespace, name string) bool {
	return d.Named[ObjectKey{Group: musterv1alpha1.GroupVersion.Group, Kind: "Application", Namespace: namespace, Name: name}]
}

// formerName is the name that an application says it had; "" if it is no other name.
func formerName(app *musterv1alpha1.Application) string {
	name := app.Annotations[musterv1alpha1.MovedFromAnnotation]
	if name == app.Name || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return ""
	}
	return name
}

// FormerNames are the namespace/names that an application had, sorted.
func (r Renames) FormerNames(application string) []string {
	var list []string
	for old, now := range r {
		if now == application {
			list = append(list, old)
		}
	}
	slices.Sort(list)
	return list
}

// Works are live works, those of a renamed application as works of its present name. The argument is not changed.
func (r Renames) Works(live []LiveWork) []LiveWork {
	if len(r) == 0 {
		return live
	}
	out := slices.Clone(live)
	for i := range out {
		if now := r[out[i].Owner.String()]; now != "" {
			namespace, name, _ := strings.Cut(now, "/")
			out[i].Owner = ApplicationOwner(namespace, name)
		}
	}
	return out
}

// RecentRemovals are those of an application and of its former names, each once: a rename does not evade the deletion guard.
func (r Renames) RecentRemovals(app *musterv1alpha1.Application, live []musterv1alpha1.Application) []musterv1alpha1.Removal {
	removals := slices.Clip(app.Status.RecentRemovals)
	for _, old := range r.FormerNames(app.Namespace + "/" + app.Name) {
		for i := range live {
			if live[i].Namespace+"/"+live[i].Name != old {
				continue
			}
			for _, removal := range live[i].Status.RecentRemovals {
				if !slices.ContainsFunc(removals, func(have musterv1alpha1.Removal) bool {
					return have.At.Equal(&removal.At) && slices.Equal(have.Clusters, removal.Clusters) && slices.Equal(have.Objects, removal.Objects)
				}) {
					removals = append(removals, removal)
				}
			}
		}
	}
	return removals
}

// Settled is what an application was settled on last, under this name or a former one: a rename does not hide that somebody moves it.
func (r Renames) Settled(app *musterv1alpha1.Application, live []musterv1alpha1.Application) *musterv1alpha1.Settled {
	if app.Status.Settled != nil {
		return app.Status.Settled
	}
	for _, old := range r.FormerNames(app.Namespace + "/" + app.Name) {
		for i := range live {
			if live[i].Namespace+"/"+live[i].Name == old && live[i].Status.Settled != nil {
				return live[i].Status.Settled
			}
		}
	}
	return nil
}

// RenameFault is what is wrong with the rename that a definition of an application asks for, or nil.
func (d *Definitions) RenameFault(definition *Definition) *Fault {
	app, ok := definition.Object.(*musterv1alpha1.Application)
	if !ok {
		return nil
	}
	name := app.Annotations[musterv1alpha1.MovedFromAnnotation]
	if name == "" {
		return nil
	}
	fault := &Fault{
		Reason: RenameInvalid, ActionRequiredBy: User, Application: app.Namespace + "/" + app.Name,
		File: definition.File, Line: definition.LineOf("metadata.annotations." + musterv1alpha1.MovedFromAnnotation),
	}
	text := fmt.Sprintf("annotation %s: %s", musterv1alpha1.MovedFromAnnotation, name)
	if formerName(app) == "" {
		fault.Message = text + " is not the name that it had in its namespace: correct it, or take it out"
		return fault
	}
	if d.names(app.Namespace, name) {
		where := ""
		if old := d.Find(musterv1alpha1.GroupVersion.Group, "Application", app.Namespace, name); old != nil {
			where = " at " + Fault{File: old.File, Line: old.Line}.Position()
		}
		fault.Message = fmt.Sprintf("%s, and that application is still defined%s: take one of the two out", text, where)
		return fault
	}
	for _, other := range d.Applications() {
		if other.Namespace == app.Namespace && other.Name != app.Name && other.Annotations[musterv1alpha1.MovedFromAnnotation] == name {
			fault.Message = fmt.Sprintf("%s, and application %s says so too: only one can have its place", text, other.Name)
			return fault
		}
	}
	return nil
}
