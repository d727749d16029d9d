package plan

import (
	"cmp"
	"fmt"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/work"
)

// collectCRDs notes the kinds that the plan's own custom resource definitions add to each cluster; true if any is new.
func (p *Plan) collectCRDs() bool {
	found := map[string][]musterv1alpha1.APIResource{}
	added := false
	parsed := map[*fleet.Content][]musterv1alpha1.APIResource{}
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			kinds, ok := parsed[c.Content]
			if !ok {
				kinds, _ = render.Defines(c.Content) // one that cannot be read is refused by the API server
				parsed[c.Content] = kinds
			}
			found[c.Name] = append(found[c.Name], kinds...)
		}
	}
	for cluster, kinds := range found {
		sortKinds(kinds)
		kinds = slices.Compact(kinds)
		added = added || !slices.Equal(kinds, p.CRDs[cluster])
		if len(kinds) > 0 {
			p.CRDs[cluster] = kinds
		}
	}
	return added
}

func sortKinds(kinds []musterv1alpha1.APIResource) {
	slices.SortFunc(kinds, func(a, b musterv1alpha1.APIResource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
	})
}

// settleClaims gives every object on a cluster to one application. The others get a fault, and their last good works stay.
func (p *Plan) settleClaims() {
	claims := work.NewClaims(p.World.Works, p.World.Applications)
	claimants := map[string][]work.Claimant{}
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			claimants[c.Name] = append(claimants[c.Name], work.Claimant{Application: a.Key(), Objects: claimedObjects(c)})
		}
	}
	faults := map[string]map[string]fleet.Fault{} // by application and cluster
	for cluster, list := range claimants {
		for app, fault := range claims.Resolve(cluster, list) {
			if faults[app] == nil {
				faults[app] = map[string]fleet.Fault{}
			}
			faults[app][cluster] = fault
		}
	}
	for _, a := range p.Applications {
		a.refuse(func(c Cluster) *fleet.Fault {
			if f, ok := faults[a.Key()][c.Name]; ok {
				return &f
			}
			return nil
		})
	}
}

// claimedObjects are those that only one application may have on a cluster: all but the namespace that it shares.
func claimedObjects(c Cluster) []fleet.ObjectKey {
	keys := make([]fleet.ObjectKey, 0, len(c.Content.Manifests))
	for _, m := range c.Content.Manifests {
		shared := c.Application.Spec.Destination.CreateNamespace && m.Key.Group == "" && m.Key.Kind == "Namespace" &&
			m.Key.Name == cmp.Or(c.Application.Spec.Destination.Namespace, c.Application.Namespace)
		if !shared {
			keys = append(keys, m.Key)
		}
	}
	return keys
}

// Claimed is another application of the plan that has been given the object on the cluster, or "".
func (p *Plan) Claimed(cluster string, object fleet.ObjectKey, except string) string {
	for _, a := range p.Applications {
		if a.Key() == except {
			continue
		}
		c := a.On(cluster)
		if c != nil && slices.ContainsFunc(claimedObjects(*c), func(k fleet.ObjectKey) bool { return k.Identity() == object.Identity() }) {
			return a.Key()
		}
	}
	return ""
}

// refuse takes the clusters out for which there is a fault.
func (a *Application) refuse(fault func(Cluster) *fleet.Fault) {
	a.Clusters = slices.DeleteFunc(a.Clusters, func(c Cluster) bool {
		f := fault(c)
		if f == nil {
			return false
		}
		f.File, f.Line = cmp.Or(f.File, a.File), cmp.Or(f.Line, a.Line)
		a.Faults = append(a.Faults, *f)
		return true
	})
}

// Claim makes a fault of every cluster on which another application holds one of the objects. The holder is asked for each
// object that the application does not hold there itself.
func (a *Application) Claim(holder func(cluster string, object fleet.ObjectKey) string) {
	a.refuse(func(c Cluster) *fleet.Fault {
		mine := map[fleet.ObjectKey]bool{}
		for _, lw := range a.live[c.Name] {
			for _, o := range lw.Objects {
				mine[o.Identity()] = true
			}
		}
		for _, o := range claimedObjects(c) {
			if mine[o.Identity()] {
				continue
			}
			if other := holder(c.Name, o); other != "" && other != a.Key() {
				return &fleet.Fault{
					Reason: fleet.ObjectClaimed, Move: fleet.Author, Application: a.Key(), Cluster: c.Name, Object: o.String(),
					Message: fmt.Sprintf("application %s has it on this cluster: rename the object, or take it out of one of the two", other),
				}
			}
		}
		return nil
	})
}
