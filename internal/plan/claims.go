package plan

import (
	"cmp"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// collectCRDs notes the kinds that the plan's own custom resource definitions add to each cluster; true if any is new.
func (p *Plan) collectCRDs() bool {
	found := map[string][]musterv1alpha1.APIResource{}
	added := false
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			found[c.Name] = append(found[c.Name], c.content.defines...)
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
		a.refuse(claims.Holder, func(c Cluster) *fleet.Fault {
			if f, ok := faults[a.Key()][c.Name]; ok {
				return &f
			}
			return nil
		})
	}
}

// claimedObjects are those that only one application may have on a cluster: all but the namespace that it shares.
func claimedObjects(c Cluster) []fleet.ObjectKey {
	keys := make([]fleet.ObjectKey, 0, len(c.content.heads))
	for _, m := range c.content.heads {
		if !c.shares(m.Key) {
			keys = append(keys, m.Key)
		}
	}
	return keys
}

// shares is true for the namespace that createNamespace asks for.
func (c Cluster) shares(key fleet.ObjectKey) bool {
	destination := c.Application.Spec.Destination
	return destination.CreateNamespace && key.Group == "" && key.Kind == "Namespace" &&
		key.Name == cmp.Or(destination.Namespace, c.Application.Namespace)
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

// refuse takes the clusters out for which there is a fault: their works stay as they are. But where the application and the
// holder both have an object, as when two took it in the same moment, this one gives it up: the cluster stays planned, with
// what the application has there and nobody else holds.
func (a *Application) refuse(holder func(cluster string, object fleet.ObjectKey) *fleet.LiveWork, fault func(Cluster) *fleet.Fault) {
	var clusters []Cluster
	for _, c := range a.Clusters {
		f := fault(c)
		if f == nil {
			clusters = append(clusters, c)
			continue
		}
		f.File, f.Line = cmp.Or(f.File, a.File), cmp.Or(f.Line, a.Line)
		a.Faults = append(a.Faults, *f)
		if rest, gives := a.giveUp(c, holder); gives {
			clusters = append(clusters, rest)
		}
	}
	a.Clusters = clusters
}

// giveUp leaves out of a cluster's content what others hold there as well. It is false when the application holds nothing that is
// another's, and when the content has other objects than the live works: what is new would not come, since an application with
// a fault gets nothing more, and what it was to replace would be gone.
func (a *Application) giveUp(c Cluster, holder func(string, fleet.ObjectKey) *fleet.LiveWork) (Cluster, bool) {
	whole, err := c.Content()
	if err != nil {
		return c, false // never: it was kept by this process
	}
	mine := a.holds(c.Name)
	content := fleet.Content{Values: whole.Values}
	var others []fleet.LiveWork
	for _, m := range whole.Manifests {
		if !mine[m.Key.Identity()] {
			return c, false
		}
		delete(mine, m.Key.Identity())
		if !c.shares(m.Key) {
			if other := holder(c.Name, m.Key); other != nil && other.Application != a.Key() {
				others = append(others, *other)
				continue
			}
		}
		content.Manifests = append(content.Manifests, m)
	}
	if len(others) == 0 || len(mine) > 0 {
		return c, false
	}
	set, err := a.works(c, &content)
	if err != nil {
		return c, false // never: all of it has fitted
	}
	contents := newStore()
	defer contents.done()
	if c.content, err = contents.keep(&content); err != nil {
		return c, false
	}
	c.SetDigest = set.Digest
	a.elsewhere = append(a.elsewhere, others...)
	return c, true
}

// holds are the objects in the application's live works on a cluster.
func (a *Application) holds(cluster string) map[fleet.ObjectKey]bool {
	mine := map[fleet.ObjectKey]bool{}
	for _, lw := range a.live[cluster] {
		for _, o := range lw.Objects {
			mine[o.Identity()] = true
		}
	}
	return mine
}

// Claim makes a fault of every cluster on which another application has one of the objects: it is in that one's live work, or
// nobody holds it and it is planned for that one.
func (a *Application) Claim(holder func(cluster string, object fleet.ObjectKey) *fleet.LiveWork, planned func(cluster string, object fleet.ObjectKey) string) {
	a.refuse(holder, func(c Cluster) *fleet.Fault {
		for _, o := range claimedObjects(c) {
			other := ""
			if lw := holder(c.Name, o); lw != nil {
				other = lw.Application
			} else {
				other = planned(c.Name, o)
			}
			if other != "" && other != a.Key() {
				f := work.Claimed(c.Name, a.Key(), other, o)
				return &f
			}
		}
		return nil
	})
}
