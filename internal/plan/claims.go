package plan

import (
	"cmp"
	"fmt"
	"maps"
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
	claimants := map[string][]work.Claimant{}
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			claimants[c.Name] = append(claimants[c.Name], work.Claimant{Application: a.Key(), Objects: claimedObjects(c)})
		}
	}
	claims := work.NewClaims(p.World.Works, p.World.Applications)
	moving := p.handovers(claims)
	circles := moving.circles()
	faults := resolve(claims, claimants, moving)
	// Who has a fault keeps its works, and so gives nothing: who was to get it has a fault as well then, and may have been to give.
	for {
		given := slices.DeleteFunc(slices.Clone(moving), func(h handover) bool { _, stays := faults[h.from][h.cluster]; return stays })
		if len(given) == len(moving) {
			break
		}
		moving, claims = given, work.NewClaims(p.World.Works, p.World.Applications)
		faults = resolve(claims, claimants, moving)
	}
	for _, f := range circles { // they say more than that another one has the object
		if _, ok := faults[f.Application][f.Cluster]; ok {
			faults[f.Application][f.Cluster] = f
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

// resolve says, by application and cluster, which claimants cannot have what they want once the objects in moving are let go.
func resolve(claims *work.Claims, claimants map[string][]work.Claimant, moving handovers) map[string]map[string]fleet.Fault {
	for _, h := range moving {
		claims.Release(h.cluster, h.object)
	}
	faults := map[string]map[string]fleet.Fault{}
	note := func(f fleet.Fault) {
		if faults[f.Application] == nil {
			faults[f.Application] = map[string]fleet.Fault{}
		}
		faults[f.Application][f.Cluster] = f
	}
	for cluster, list := range claimants {
		for _, f := range claims.Resolve(cluster, list) {
			note(f)
		}
	}
	for _, f := range moving.circles() {
		note(f)
	}
	return faults
}

// handover is an object that goes from one application of a plan to another on a cluster.
type handover struct {
	cluster  string
	object   fleet.ObjectKey
	from, to string
	begun    bool // the object is in a work of the gaining application already: nothing has to come before it
}

type handovers []handover

// handovers are the objects that their holder does not want any more and another application of the plan does.
func (p *Plan) handovers(claims *work.Claims) handovers {
	var list handovers
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			for _, o := range claimedObjects(c) {
				lw := claims.Holder(c.Name, o)
				if lw == nil || lw.Application == a.Key() || !p.Yields(lw.Application, c.Name, o) {
					continue
				}
				list = append(list, handover{c.Name, o.Identity(), lw.Application, a.Key(), a.holds(c.Name)[o.Identity()]})
			}
		}
	}
	return list
}

// circles are faults of applications that give each other objects on a cluster: each would wait for the other, since what
// gives an object away changes only when the other one has it.
func (l handovers) circles() []fleet.Fault {
	to := map[[2]string][]handover{} // by cluster and giver
	for _, h := range l {
		if h.begun {
			continue
		}
		to[[2]string{h.cluster, h.from}] = append(to[[2]string{h.cluster, h.from}], h)
	}
	var faults []fleet.Fault
	for giver, first := range to {
		reached, next := map[string]bool{}, slices.Clone(first)
		for len(next) > 0 && !reached[giver[1]] {
			h := next[0]
			if next = next[1:]; !reached[h.to] {
				reached[h.to] = true
				next = append(next, to[[2]string{h.cluster, h.to}]...)
			}
		}
		if reached[giver[1]] {
			h := first[0]
			faults = append(faults, fleet.Fault{
				Reason: fleet.ObjectClaimed, ActionRequiredBy: fleet.User, Application: h.from, Cluster: h.cluster, Object: h.object.String(),
				Message: fmt.Sprintf("goes to application %s, which gives objects in return: move them in one direction first, and back in the next commit", h.to),
			})
		}
	}
	return faults
}

// Yields says that an application of the plan, which was planned for the cluster or is not meant for it, does not want an object.
func (p *Plan) Yields(application, cluster string, object fleet.ObjectKey) bool {
	a := p.Find(application)
	if a == nil {
		return false
	}
	if faulty, all := a.Faulty(); all || faulty[cluster] {
		return false
	}
	return !a.wants(cluster, object)
}

// wants says that the commit asks for an object in an application's content on a cluster, also where it was refused.
func (a *Application) wants(cluster string, object fleet.ObjectKey) bool {
	c := a.On(cluster)
	return isAmong(object, a.refused[cluster]) || c != nil && isAmong(object, claimedObjects(*c))
}

func isAmong(object fleet.ObjectKey, keys []fleet.ObjectKey) bool {
	return slices.ContainsFunc(keys, func(k fleet.ObjectKey) bool { return k.Identity() == object.Identity() })
}

// Wanted is another application of the plan whose content has the object on the cluster, or "".
func (p *Plan) Wanted(cluster string, object fleet.ObjectKey, except string) string {
	for _, a := range p.Applications {
		if a.Key() != except && a.wants(cluster, object) {
			return a.Key()
		}
	}
	return ""
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

// Settled says that nothing is wrong with the plan and that no object goes from one of its applications to another: works that
// become what it says do not change it.
func (p *Plan) Settled() bool {
	return len(p.Faults) == 0 && len(p.Moves) == 0 && !slices.ContainsFunc(p.Applications, func(a *Application) bool {
		return len(a.awaited)+len(a.elsewhere)+len(a.refused) > 0
	})
}

// leave says of every application what becomes of the objects that it lets go.
func (p *Plan) leave() {
	at := map[objectOn][]fleet.LiveWork{} // made when it is needed
	works := func(cluster string, object fleet.ObjectKey) []fleet.LiveWork {
		if len(at) == 0 {
			for _, lw := range p.World.Works {
				for _, o := range lw.Objects {
					key := objectOn{lw.Cluster, o.Identity()}
					at[key] = append(at[key], lw)
				}
			}
		}
		return at[objectOn{cluster, object.Identity()}]
	}
	for _, a := range p.Applications {
		a.Leave(func(cluster string, object fleet.ObjectKey) string { return p.Wanted(cluster, object, a.Key()) }, works)
	}
}

type objectOn struct {
	cluster string
	object  fleet.ObjectKey
}

// Leave notes what becomes of objects in the application's live works that it does not want any more: which application of the
// commit wants them, and which of its works have them.
func (a *Application) Leave(wanted func(cluster string, object fleet.ObjectKey) string, works func(cluster string, object fleet.ObjectKey) []fleet.LiveWork) {
	a.awaited = map[string]map[fleet.ObjectKey]string{}
	faulty, all := a.Faulty()
	if all {
		return // its works stay
	}
	noted := map[string]bool{}
	for _, cluster := range slices.Sorted(maps.Keys(a.live)) {
		if faulty[cluster] {
			continue
		}
		for o := range a.leaves(cluster) {
			gainer := wanted(cluster, o)
			if gainer == "" {
				continue
			}
			if a.awaited[cluster] == nil {
				a.awaited[cluster] = map[fleet.ObjectKey]string{}
			}
			a.awaited[cluster][o] = gainer
			for _, other := range works(cluster, o) {
				if at := cluster + "/" + other.Name; other.Application == gainer && !noted[at] {
					noted[at] = true
					a.elsewhere = append(a.elsewhere, other)
				}
			}
		}
	}
}

// Awaiting are the clusters on which another application is to have what this one lets go, sorted.
func (a *Application) Awaiting() []string { return slices.Sorted(maps.Keys(a.awaited)) }

// leaves are the objects of the application's live works on a cluster that are not in its content.
func (a *Application) leaves(cluster string) map[fleet.ObjectKey]bool {
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
		if c != nil && isAmong(object, claimedObjects(*c)) {
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
		if a.refused == nil {
			a.refused = map[string][]fleet.ObjectKey{}
		}
		a.refused[c.Name] = claimedObjects(c)
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
// But what its holder lets go of in the same commit, which the plan then gives to this application, is no fault.
func (a *Application) Claim(holder func(cluster string, object fleet.ObjectKey) *fleet.LiveWork, planned func(cluster string, object fleet.ObjectKey) string,
	yields func(application, cluster string, object fleet.ObjectKey) bool) {
	a.refuse(holder, func(c Cluster) *fleet.Fault {
		for _, o := range claimedObjects(c) {
			other := ""
			if lw := holder(c.Name, o); lw != nil && !(lw.Application != a.Key() && yields(lw.Application, c.Name, o)) {
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
