package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

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
	claimants := map[string][]work.Claimant{}
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			claimants[c.Name] = append(claimants[c.Name], work.Claimant{Owner: a.Owner(), Objects: claimedObjects(c)})
		}
	}
	created := map[fleet.Owner]time.Time{}
	for i := range p.World.Applications {
		app := &p.World.Applications[i]
		created[fleet.OwnerOf(app)] = app.CreationTimestamp.Time
	}
	claims := work.NewClaims(p.World.Works, created)
	handovers := p.handovers(claims)
	circles := handovers.circles()
	faults := resolve(claims, claimants, handovers)
	// An application with a fault keeps its works, and so hands nothing over. The application that was to get the object then
	// has a fault as well, and may itself have been about to hand something over.
	for {
		possible := slices.DeleteFunc(slices.Clone(handovers), func(h handover) bool { _, stays := faults[ownerOn{h.from, h.cluster}]; return stays })
		if len(possible) == len(handovers) {
			break
		}
		handovers, claims = possible, work.NewClaims(p.World.Works, created)
		faults = resolve(claims, claimants, handovers)
	}
	for key, f := range circles { // they say more than that another owner has the object
		if _, ok := faults[key]; ok {
			faults[key] = f
		}
	}
	for _, a := range p.Applications {
		a.refuse(claims.Holder, func(c Cluster) *fleet.Fault {
			if f, ok := faults[ownerOn{a.Owner(), c.Name}]; ok {
				return &f
			}
			return nil
		})
	}
}

type ownerOn struct {
	owner   fleet.Owner
	cluster string
}

// resolve says which claimants cannot have what they want on a cluster once the objects in handovers are given up.
func resolve(claims *work.Claims, claimants map[string][]work.Claimant, handovers handovers) map[ownerOn]fleet.Fault {
	for _, h := range handovers {
		claims.Release(h.cluster, h.object)
	}
	faults := map[ownerOn]fleet.Fault{}
	for cluster, list := range claimants {
		for owner, f := range claims.Resolve(cluster, list) {
			faults[ownerOn{owner, cluster}] = f
		}
	}
	maps.Copy(faults, handovers.circles())
	return faults
}

// handover is an object that goes from one application of a plan to another on a cluster.
type handover struct {
	cluster  string
	object   fleet.ObjectKey
	from, to fleet.Owner
	begun    bool // the object is in a work of the gaining application already, so that nothing has to come before
}

type handovers []handover

// handovers are the objects that their holder does not want any more and another application of the plan does.
func (p *Plan) handovers(claims *work.Claims) handovers {
	var list handovers
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			for _, o := range claimedObjects(c) {
				lw := claims.Holder(c.Name, o)
				if lw == nil || lw.Owner == a.Owner() || !p.GivesUp(lw.Owner, c.Name, o) {
					continue
				}
				list = append(list, handover{c.Name, o.Identity(), lw.Owner, a.Owner(), a.holds(c.Name)[o.Identity()]})
			}
		}
	}
	return list
}

// circles are faults of owners that hand objects to each other on a cluster: each would wait for the other, since the work
// that gives an object up changes only when the other owner's work has it.
func (l handovers) circles() map[ownerOn]fleet.Fault {
	given := map[ownerOn][]handover{}
	for _, h := range l {
		if h.begun {
			continue
		}
		giver := ownerOn{h.from, h.cluster}
		given[giver] = append(given[giver], h)
	}
	faults := map[ownerOn]fleet.Fault{}
	for giver, first := range given {
		reached, next := map[fleet.Owner]bool{}, slices.Clone(first)
		for len(next) > 0 && !reached[giver.owner] {
			h := next[0]
			if next = next[1:]; !reached[h.to] {
				reached[h.to] = true
				next = append(next, given[ownerOn{h.to, h.cluster}]...)
			}
		}
		if reached[giver.owner] {
			h := first[0]
			faults[giver] = fleet.Fault{
				Reason: fleet.ObjectClaimed, ActionRequiredBy: fleet.User, Application: h.from.String(), Cluster: h.cluster, Object: h.object.String(),
				Message: fmt.Sprintf("goes to %s, which gives objects in return: hand them over in one direction first, and back in the next commit", h.to.WithKind()),
			}
		}
	}
	return faults
}

// GivesUp is true when an owner is an application of the plan that does not want an object on a cluster: it was planned there
// without the object, or does not belong there.
func (p *Plan) GivesUp(owner fleet.Owner, cluster string, object fleet.ObjectKey) bool {
	a := p.Find(owner.String())
	if a == nil {
		return false
	}
	if faulty, all := a.Faulty(); all || faulty[cluster] {
		return false
	}
	return !a.wants(cluster, object)
}

// wants is true when the application's content has an object on a cluster, even if claims refused it.
func (a *Application) wants(cluster string, object fleet.ObjectKey) bool {
	c := a.On(cluster)
	return isAmong(object, a.refused[cluster]) || c != nil && isAmong(object, claimedObjects(*c))
}

func isAmong(object fleet.ObjectKey, keys []fleet.ObjectKey) bool {
	return slices.ContainsFunc(keys, func(k fleet.ObjectKey) bool { return k.Identity() == object.Identity() })
}

// Wanted is another owner of the plan whose content has the object on the cluster, or the zero Owner.
func (p *Plan) Wanted(cluster string, object fleet.ObjectKey, except fleet.Owner) fleet.Owner {
	for _, a := range p.Applications {
		if owner := a.Owner(); owner != except && a.wants(cluster, object) {
			return owner
		}
	}
	return fleet.Owner{}
}

// Objects are those that the plan's applications want on some cluster, or have there.
func (p *Plan) Objects() map[fleet.ObjectKey]bool {
	objects := map[fleet.ObjectKey]bool{}
	lists := map[*fleet.Manifest]bool{} // clusters share them
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			if heads := c.content.heads; len(heads) > 0 && !lists[&heads[0]] {
				lists[&heads[0]] = true
				for _, m := range heads {
					objects[m.Key.Identity()] = true
				}
			}
		}
		for _, keys := range a.refused {
			for _, key := range keys {
				objects[key.Identity()] = true
			}
		}
		for _, works := range a.live {
			for _, lw := range works {
				for _, key := range lw.Objects {
					objects[key.Identity()] = true
				}
			}
		}
	}
	return objects
}

// Settled is true when nothing is wrong with the plan and no object goes from one of its applications to another: works that
// become what it says do not change it.
func (p *Plan) Settled() bool {
	return len(p.Faults) == 0 && len(p.Renames) == 0 && !slices.ContainsFunc(p.Applications, func(a *Application) bool {
		return len(a.wantedBy)+len(a.otherHolders)+len(a.refused) > 0
	})
}

// noteHandovers says of every application what becomes of the objects that it gives up.
func (p *Plan) noteHandovers() {
	holders := map[objectOn][]fleet.LiveWork{} // filled at the first question
	holding := func(cluster string, object fleet.ObjectKey) []fleet.LiveWork {
		if len(holders) == 0 {
			for _, lw := range p.World.Works {
				for _, o := range lw.Objects {
					key := objectOn{lw.Cluster, o.Identity()}
					holders[key] = append(holders[key], lw)
				}
			}
		}
		return holders[objectOn{cluster, object.Identity()}]
	}
	for _, a := range p.Applications {
		a.NoteHandovers(func(cluster string, object fleet.ObjectKey) fleet.Owner { return p.Wanted(cluster, object, a.Owner()) }, holding)
	}
}

type objectOn struct {
	cluster string
	object  fleet.ObjectKey
}

// NoteHandovers notes what becomes of objects in the application's live works that it does not want any more: wanted says
// which owner wants an object, and holding which works have it.
func (a *Application) NoteHandovers(wanted func(cluster string, object fleet.ObjectKey) fleet.Owner, holding func(cluster string, object fleet.ObjectKey) []fleet.LiveWork) {
	a.wantedBy = map[string]map[fleet.ObjectKey]fleet.Owner{}
	faulty, all := a.Faulty()
	if all {
		return // its works stay
	}
	noted := map[string]bool{}
	keepsAll := a.keeping()
	for _, cluster := range slices.Sorted(maps.Keys(a.live)) {
		if faulty[cluster] || keepsAll(cluster) {
			continue
		}
		for o := range a.givenUp(cluster) {
			gainer := wanted(cluster, o)
			if gainer.IsZero() {
				continue
			}
			if a.wantedBy[cluster] == nil {
				a.wantedBy[cluster] = map[fleet.ObjectKey]fleet.Owner{}
			}
			a.wantedBy[cluster][o] = gainer
			for _, other := range holding(cluster, o) {
				if key := cluster + "/" + other.Name; other.Owner == gainer && !noted[key] {
					noted[key] = true
					a.otherHolders = append(a.otherHolders, other)
				}
			}
		}
	}
}

// keeping returns a function that says whether the content of a cluster has all objects of its live works. Clusters share lists of objects.
func (a *Application) keeping() func(cluster string) bool {
	lists := map[*fleet.Manifest]map[fleet.ObjectKey]bool{}
	return func(cluster string) bool {
		c := a.On(cluster)
		if c == nil || len(c.content.heads) == 0 {
			return false
		}
		heads := c.content.heads
		there, ok := lists[&heads[0]]
		if !ok {
			there = make(map[fleet.ObjectKey]bool, len(heads))
			for _, m := range heads {
				there[m.Key.Identity()] = true
			}
			lists[&heads[0]] = there
		}
		for _, lw := range a.live[cluster] {
			for _, o := range lw.Objects {
				if !there[o.Identity()] {
					return false
				}
			}
		}
		return true
	}
}

// HandoverClusters are the clusters on which another owner is to have what this application gives up, sorted.
func (a *Application) HandoverClusters() []string { return slices.Sorted(maps.Keys(a.wantedBy)) }

// givenUp are the objects of the application's live works on a cluster that are not in its content.
func (a *Application) givenUp(cluster string) map[fleet.ObjectKey]bool {
	left := a.holds(cluster)
	if c := a.On(cluster); c != nil {
		for _, m := range c.content.heads {
			delete(left, m.Key.Identity())
		}
	}
	for _, o := range a.refused[cluster] {
		delete(left, o.Identity())
	}
	return left
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
	return c.Options.CreateNamespace && key.Group == "" && key.Kind == "Namespace" && key.Name == c.Options.Namespace
}

// Claimed is another owner of the plan that gets the object on the cluster, or the zero Owner.
func (p *Plan) Claimed(cluster string, object fleet.ObjectKey, except fleet.Owner) fleet.Owner {
	for _, a := range p.Applications {
		if a.Owner() == except {
			continue
		}
		c := a.On(cluster)
		if c != nil && isAmong(object, claimedObjects(*c)) {
			return a.Owner()
		}
	}
	return fleet.Owner{}
}

// refuse removes the clusters for which there is a fault: their works stay as they are. But where the application and the
// holder both have an object, as when two applied it in the same moment, this one gives it up: the cluster stays planned, with
// what the application has there and nobody else holds.
func (a *Application) refuse(holder func(cluster string, object fleet.ObjectKey) *fleet.LiveWork, fault func(Cluster) *fleet.Fault) {
	var clusters []Cluster // only where there is a fault: an earlier plan shares the list
	for i, c := range a.Clusters {
		f := fault(c)
		if f == nil {
			if a.refused != nil {
				clusters = append(clusters, c)
			}
			continue
		}
		f.File, f.Line = cmp.Or(f.File, a.File), cmp.Or(f.Line, a.Line)
		a.Faults = append(a.Faults, *f)
		if a.refused == nil {
			a.refused = map[string][]fleet.ObjectKey{}
			clusters = slices.Clone(a.Clusters[:i])
		}
		a.refused[c.Name] = claimedObjects(c)
		if rest, gives := a.giveUp(c, holder); gives {
			clusters = append(clusters, rest)
		}
	}
	if a.refused != nil {
		a.Clusters = clusters
	}
}

// giveUp removes from a cluster's content what others hold there as well. It is false when the application holds nothing that belongs to
// another one. It is false too when the content has other objects than the live works: an application with a fault gets no new objects,
// and the objects that these were to replace would be deleted.
func (a *Application) giveUp(c Cluster, holder func(string, fleet.ObjectKey) *fleet.LiveWork) (Cluster, bool) {
	complete, err := c.Content()
	if err != nil {
		return c, false // never: it was kept by this process
	}
	mine := a.holds(c.Name)
	content := fleet.Content{Values: complete.Values}
	var others []fleet.LiveWork
	for _, m := range complete.Manifests {
		if !mine[m.Key.Identity()] {
			return c, false
		}
		delete(mine, m.Key.Identity())
		if !c.shares(m.Key) {
			if other := holder(c.Name, m.Key); other != nil && other.Owner != a.Owner() {
				others = append(others, *other)
				continue
			}
		}
		content.Manifests = append(content.Manifests, m)
	}
	content.Defines = slices.DeleteFunc(slices.Clone(complete.Defines), func(kind musterv1alpha1.APIResource) bool {
		return !slices.ContainsFunc(content.Manifests, func(m fleet.Manifest) bool { return m.Key.Name == kind.Resource+"."+kind.Group })
	})
	if len(others) == 0 || len(mine) > 0 {
		return c, false
	}
	set, err := a.works(c, &content)
	if err != nil {
		return c, false // never: the complete content fits
	}
	contents := newStore()
	defer contents.done()
	if c.content, err = contents.keep(&content); err != nil {
		return c, false
	}
	c.SetDigest = set.Digest
	a.otherHolders = append(a.otherHolders, others...)
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

// Claim makes a fault of every cluster on which another owner has one of the objects: a live work of that one holds it, or
// no work holds it and the plan gives it to that one. An object that its holder gives up in the same commit, and that the plan
// then gives to this application, is no fault.
func (a *Application) Claim(holder func(cluster string, object fleet.ObjectKey) *fleet.LiveWork, planned func(cluster string, object fleet.ObjectKey) fleet.Owner,
	givesUp func(owner fleet.Owner, cluster string, object fleet.ObjectKey) bool) {
	a.refuse(holder, func(c Cluster) *fleet.Fault {
		for _, o := range claimedObjects(c) {
			var other fleet.Owner
			if lw := holder(c.Name, o); lw != nil && (lw.Owner == a.Owner() || !givesUp(lw.Owner, c.Name, o)) {
				other = lw.Owner
			} else {
				other = planned(c.Name, o)
			}
			if !other.IsZero() && other != a.Owner() {
				f := work.Claimed(c.Name, a.Owner(), other, o)
				return &f
			}
		}
		return nil
	})
}
