package plan

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// What a cluster gets of an application is made of
//
//	the definition, the files and sources that were read, accounts and limits of the world      the same for all of its clusters: basis
//	labels, claims and APIs of the cluster, its ClusterValues, kinds that others bring there     of the cluster: inputs
//	where its live works have which objects                                                      Application.live
//
// A plan takes over from an earlier one each cluster for which all three are what they were. Nothing else of an earlier plan is used: its
// placements, claims and digests are made anew.

// basis is what all clusters of an application were planned with.
type basis struct {
	definition *fleet.Definition
	account    string // that it runs as when it names none
	hubCluster string
	limit      int // of one manifest
	read       *reads
	values     noted[string, bool] // whether ClusterValues have something at a path
	planned    []Cluster           // before claims, sorted by name
}

// inputs are what an application was planned with on one cluster.
type inputs struct {
	facts  string  // digest of what the cluster is
	values string  // digest of its ClusterValues
	others *others // nil for most
}

// others are inputs that come from elsewhere.
type others struct {
	kinds   []musterv1alpha1.APIResource // that other applications bring to the cluster
	sources []fleet.UsedSource
}

// orNone is for reading.
func (o *others) orNone() others {
	if o == nil {
		return others{}
	}
	return *o
}

// basis of a job; nil for one that takes nothing over, and of which no later plan takes anything over.
func (j *Job) basis() *basis {
	if j.definition == nil || j.facts == nil || j.Cluster != "" {
		return nil
	}
	return &basis{
		definition: j.definition, account: j.World.Accounts[j.Application.Namespace], hubCluster: j.World.HubCluster, limit: j.World.ManifestLimit,
		read: newReads(j.Snapshot.Tree),
	}
}

// After lets the plan of a job take over what a plan of its repository has for the same clusters. The definition is that of the job's
// application, in the commit that the job is of. Nothing is noted for a later plan.
func (j *Job) After(p *Plan, d *fleet.Definition) {
	if p == nil {
		return
	}
	if j.earlier = p.Find(j.Application.Namespace + "/" + j.Application.Name); j.earlier != nil {
		j.definition, j.facts, j.passing = d, factsOf(j.World, p.facts), true
	}
}

func (j *Job) hasValues(path string) bool { return j.Values.Has(j.Application.Namespace, path) }

// reusable are the applications of earlier plans of which something can be taken over: what is the same for all clusters is what it was.
// The basis then goes on from theirs.
func (j *Job) reusable(b *basis) []*Application {
	if b == nil {
		return nil
	}
	var usable []*Application
	for _, a := range []*Application{j.firstRound, j.earlier} {
		if a != nil && j.goesOn(b, a) {
			usable = append(usable, a)
		}
	}
	return usable
}

// goesOn is true when a basis is that of an earlier plan, and whatever that has read is as it was.
func (j *Job) goesOn(b *basis, earlier *Application) bool {
	was := earlier.basis
	if was == nil || was.account != b.account || was.hubCluster != b.hubCluster || was.limit != b.limit || !was.definition.Same(b.definition) ||
		slices.ContainsFunc(earlier.Sources, func(used fleet.UsedSource) bool { return !j.finds(used) }) {
		return false
	}
	return b.values.goOn(&was.values, j.hasValues) && b.read.goOn(was.read)
}

// finds tells whether a reference leads to what it led to.
func (j *Job) finds(used fleet.UsedSource) bool {
	if used.Found == nil || j.World.Sources == nil {
		return false
	}
	found, err := j.World.Sources.Find(used.Reference)
	if err != nil || found == nil {
		return false
	}
	return found.Same(used.Found) && found.Digest != ""
}

// inputsOn are the inputs for one cluster.
func (j *Job) inputsOn(c *clusterv1.ManagedCluster) inputs {
	return inputs{facts: j.facts.look(c).digest, values: j.Values.Of(j.Application.Namespace, c).Digest()}
}

// sameOn tells whether a job has the inputs for a cluster. Whoever needed no kinds of others needs none now.
func (in inputs) sameOn(c *clusterv1.ManagedCluster, j *Job) bool {
	is, kinds := j.inputsOn(c), in.others.orNone().kinds
	return in.facts == is.facts && in.values == is.values && (len(kinds) == 0 || slices.Equal(kinds, j.CRDs[c.Name]))
}

// takeOver gives what one of the earlier plans has for a cluster, if it is what this one would come to, else nil.
func takeOver(earlier []*Application, job *Job, t target, live []fleet.LiveWork) *Cluster {
	for _, a := range earlier {
		if c := a.takeOver(job, t, live); c != nil {
			return c
		}
	}
	return nil
}

func (a *Application) takeOver(job *Job, t target, live []fleet.LiveWork) *Cluster {
	i, ok := slices.BinarySearchFunc(a.basis.planned, t.cluster.Name, func(c Cluster, name string) int { return compare(c.Name, name) })
	if !ok {
		return nil
	}
	c := a.basis.planned[i]
	if !c.from.sameOn(t.cluster, job) {
		return nil
	}
	// Works that are what was planned stay what is planned: objects stay in their parts.
	if !slices.EqualFunc(a.live[t.cluster.Name], live, sameObjects) && !work.IsSet(live, c.SetDigest) {
		return nil
	}
	c.Kept = t.kept
	return &c
}

// sameObjects: two live works say the same of where objects are.
func sameObjects(a, b fleet.LiveWork) bool {
	return a.Part == b.Part && sameKeys(a.Objects, b.Objects) && sameKeys(a.Kept, b.Kept)
}

// sameKeys compares lists, most of which are one.
func sameKeys(a, b []fleet.ObjectKey) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// clusterFacts are digests of what clusters are to content that is rendered for them. They are safe for concurrent use.
type clusterFacts struct {
	world   *fleet.World
	earlier *clusterFacts // a cluster that is what it was has the digest that it had

	mu sync.RWMutex
	of map[string]*clusterFact
}

// clusterFact is what one cluster is.
type clusterFact struct {
	labels map[string]string
	claims []clusterv1.ManagedClusterClaim
	apis   *fleet.APIs
	digest string
}

func factsOf(w *fleet.World, earlier *clusterFacts) *clusterFacts {
	return &clusterFacts{world: w, earlier: earlier, of: map[string]*clusterFact{}}
}

// forget drops what only looking needs.
func (f *clusterFacts) forget() { f.world, f.earlier = nil, nil }

func (f *clusterFacts) known(name string) *clusterFact {
	if f == nil {
		return nil
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.of[name]
}

func (f *clusterFacts) look(c *clusterv1.ManagedCluster) *clusterFact {
	if fact := f.known(c.Name); fact != nil {
		return fact
	}
	fact := &clusterFact{labels: c.Labels, claims: c.Status.ClusterClaims, apis: f.world.APIsOf(c)}
	if was := f.earlier.known(c.Name); was != nil && was.apis == fact.apis && maps.Equal(was.labels, fact.labels) && slices.Equal(was.claims, fact.claims) {
		fact = was
	} else {
		fact.digest = digestOfFacts(c, fact.apis)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of[c.Name] = fact
	return fact
}

func digestOfFacts(c *clusterv1.ManagedCluster, apis *fleet.APIs) string {
	h := sha256.New()
	for _, facts := range []map[string]string{c.Labels, fleet.ClaimsOf(c)} {
		for _, key := range slices.Sorted(maps.Keys(facts)) {
			fmt.Fprintf(h, "%q %q\n", key, facts[key])
		}
		fmt.Fprintln(h)
	}
	fmt.Fprintf(h, "%s %v", apis.Digest, apis.Known)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// noted is what was asked, and the answer. It is safe for concurrent use.
type noted[K comparable, V comparable] struct {
	mu  sync.RWMutex
	all map[K]V
}

// ask gives the answer that is noted, or finds and notes it.
func (n *noted[K, V]) ask(question K, find func(K) V) V {
	n.mu.RLock()
	answer, ok := n.all[question]
	n.mu.RUnlock()
	if ok {
		return answer
	}
	answer = find(question)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = map[K]V{}
	}
	n.all[question] = answer
	return answer
}

// goOn adds what was noted before, if all answers would be the same now; else it does nothing and is false.
func (n *noted[K, V]) goOn(earlier *noted[K, V], find func(K) V) bool {
	for question, answer := range earlier.all {
		if find(question) != answer {
			return false
		}
	}
	if n.all == nil {
		n.all = make(map[K]V, len(earlier.all))
	}
	maps.Copy(n.all, earlier.all)
	return true
}

// reads is a tree that notes what is read of it, and what was found: a plan depends on nothing else of the tree.
type reads struct {
	fleet.Tree
	looks noted[look, string]
}

// look is a way of looking at a name.
type look struct {
	content bool // what it is, and all below it; else whether it is there, and what it is
	name    string
}

func newReads(tree fleet.Tree) *reads { return &reads{Tree: tree} }

// see tells how something looks.
func (r *reads) see(at look) string {
	if at.content {
		hash, err := r.Tree.Hash(at.name)
		return cmp.Or(hash, problem(err))
	}
	info, err := fs.Stat(r.Tree, at.name)
	if err != nil {
		return problem(err)
	}
	return info.Mode().String()
}

// problem is an error as far as it can be compared. One that may pass is like no other.
func problem(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "missing"
	}
	return rand.Text()
}

// goOn takes over what was read of another tree, if all of it looks the same in this one.
func (r *reads) goOn(earlier *reads) bool { return r.looks.goOn(&earlier.looks, r.see) }

// forget drops the tree, when nothing is read any more.
func (r *reads) forget() { r.Tree = nil }

func (r *reads) note(content bool, name string) { r.looks.ask(look{content, name}, r.see) }

// Stat tells whether there is a file or folder.
func (r *reads) Stat(name string) (fs.FileInfo, error) {
	r.note(false, name)
	return fs.Stat(r.Tree, name)
}

// Open opens a file or folder.
func (r *reads) Open(name string) (fs.File, error) {
	r.note(true, name)
	return r.Tree.Open(name)
}

// ReadFile reads a file.
func (r *reads) ReadFile(name string) ([]byte, error) {
	r.note(true, name)
	return r.Tree.ReadFile(name)
}

// ReadDir lists a folder.
func (r *reads) ReadDir(name string) ([]fs.DirEntry, error) {
	r.note(true, name)
	return r.Tree.ReadDir(name)
}

// Hash identifies a file or folder with all below it.
func (r *reads) Hash(name string) (string, error) {
	r.note(true, name)
	return r.Tree.Hash(name)
}

// earlierApplications are those of an earlier plan by namespace/name.
func earlierApplications(p *Plan) map[string]*Application {
	if p == nil {
		return nil
	}
	return applicationsByKey(p)
}

// clusterFacts are those that an earlier plan was made with; nil is no plan.
func (p *Plan) clusterFacts() *clusterFacts {
	if p == nil {
		return nil
	}
	return p.facts
}
