package plan

import (
	"fmt"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// ValuesIn indexes ClusterValues; of those that a repository defines, it knows the lines.
func ValuesIn(list []musterv1alpha1.ClusterValues, defs *fleet.Definitions) *fleet.ValuesIndex {
	defined := map[string]*fleet.Definition{}
	for i := range defs.All {
		if d := &defs.All[i]; d.Key.Kind == "ClusterValues" {
			defined[d.Key.Namespace+"/"+d.Key.Name] = d
		}
	}
	return fleet.NewValuesIndex(list, func(o *musterv1alpha1.ClusterValues, field string) (string, int) {
		d := defined[o.Namespace+"/"+o.Name]
		if d == nil {
			return "", 0
		}
		return d.File, d.LineOf(field)
	})
}

// DeliveredValues are the live ClusterValues as a delivered commit has them: those of its own repository count as the commit says,
// so that the values of the next commit never reach the charts of this one.
func DeliveredValues(live []musterv1alpha1.ClusterValues, repository string, defs *fleet.Definitions) []musterv1alpha1.ClusterValues {
	list := make([]musterv1alpha1.ClusterValues, 0, len(live))
	for _, o := range live {
		if o.Annotations[musterv1alpha1.RepositoryAnnotation] != repository {
			list = append(list, o)
			continue
		}
		d := defs.Find(musterv1alpha1.GroupVersion.Group, "ClusterValues", o.Namespace, o.Name)
		switch {
		case d != nil:
			list = append(list, *d.Object.(*musterv1alpha1.ClusterValues))
		case !defs.AbsenceProven || defs.Named[fleet.ObjectKey{Group: musterv1alpha1.GroupVersion.Group, Kind: "ClusterValues", Namespace: o.Namespace, Name: o.Name}]:
			list = append(list, o)
		}
	}
	return list
}

// valuesConflicts are the values that files of the repository set and others of equal priority set otherwise, each once. It does not
// name clusters: a team need not know which there are.
func valuesConflicts(values *fleet.ValuesIndex, w *fleet.World) []fleet.Fault {
	type found struct {
		fleet.ValueConflict
		clusters map[string]bool
	}
	byText := map[string]*found{}
	var order []*found
	for _, namespace := range values.Namespaces() {
		for i := range w.Clusters {
			for _, c := range values.Of(namespace, &w.Clusters[i]).Conflicts() {
				if concerned(c).File == "" {
					continue // others are to resolve it
				}
				text := c.Error()
				if byText[text] == nil {
					byText[text] = &found{c, map[string]bool{}}
					order = append(order, byText[text])
				}
				byText[text].clusters[w.Clusters[i].Name] = true
			}
		}
	}
	var faults []fleet.Fault
	for _, c := range order {
		first := concerned(c.ValueConflict)
		message := c.Error()
		if c.Problem == "" {
			message = fmt.Sprintf("%s (clusters that both match: %d)", message, len(c.clusters))
		}
		faults = append(faults, fleet.Fault{
			Reason: fleet.ValuesConflict, ActionRequiredBy: fleet.User, Object: first.Object, File: first.File, Line: first.Line, Message: message,
		})
	}
	return faults
}

// concerned is the side of a conflict that is to resolve it: a team, where the other side is for all, and else the one with a file.
func concerned(c fleet.ValueConflict) fleet.ValuePlace {
	forAll := func(p fleet.ValuePlace) bool {
		return strings.HasPrefix(p.Object, "ClusterValues "+fleet.SharedNamespace+"/")
	}
	switch {
	case c.Problem != "" || c.B.File == "" && forAll(c.A) == forAll(c.B):
		return c.A
	case forAll(c.B) && !forAll(c.A):
		return c.A
	}
	return c.B
}
