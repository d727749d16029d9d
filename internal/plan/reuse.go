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

// basis of a job; nil for a job that no later plan can use.
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
// application, in the commit that the job is of.
func (j *Job) After(p *Plan, d *fleet.Definition) {
	j.definition, j.facts = d, factsOf(j.World)
	if p != nil {
		j.earlier = p.Find(j.Application.Namespace + "/" + j.Application.Name)
	}
}

func (j *Job) hasValues(path string) bool { return j.Values.Has(j.Application.Namespace, path) }

// reusable is the application of an earlier plan if what is the same for all clusters is what it was, else nil. The basis then goes on
// from the earlier one.
func (j *Job) reusable(b *basis) *Application {
	earlier := j.earlier
	if earlier == nil || b == nil || earlier.basis == nil {
		return nil
	}
	was := earlier.basis
	if was.account != b.account || was.hubCluster != b.hubCluster || was.limit != b.limit || !was.definition.Same(b.definition) {
		return nil
	}
	for _, used := range earlier.Sources {
		if !j.finds(used) {
			return nil
		}
	}
	if !b.values.goOn(&was.values, j.hasValues) || !b.read.goOn(was.read) {
		return nil
	}
	return earlier
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
	return inputs{facts: j.facts.of(c), values: j.Values.Of(j.Application.Namespace, c).Digest()}
}

// sameOn tells whether a job has the inputs for a cluster. Whoever needed no kinds of others needs none now.
func (in inputs) sameOn(c *clusterv1.ManagedCluster, j *Job) bool {
	is, kinds := j.inputsOn(c), in.others.orNone().kinds
	return in.facts == is.facts && in.values == is.values && (len(kinds) == 0 || slices.Equal(kinds, j.CRDs[c.Name]))
}

// takeOver gives what an earlier plan has for a cluster, if it is what this one would come to, else nil. It may be asked on nil.
func (a *Application) takeOver(job *Job, t target, live []fleet.LiveWork) *Cluster {
	if a == nil {
		return nil
	}
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

// clusterFacts are digests of what clusters are to content that is rendered for them.
type clusterFacts struct {
	world *fleet.World

	mu      sync.Mutex
	digests map[string]string
	apis    map[string]*fleet.APIs
}

func factsOf(w *fleet.World) *clusterFacts {
	return &clusterFacts{world: w, digests: map[string]string{}, apis: map[string]*fleet.APIs{}}
}

func (f *clusterFacts) of(c *clusterv1.ManagedCluster) string {
	digest, _ := f.look(c)
	return digest
}

func (f *clusterFacts) apisOf(c *clusterv1.ManagedCluster) *fleet.APIs {
	_, apis := f.look(c)
	return apis
}

func (f *clusterFacts) look(c *clusterv1.ManagedCluster) (string, *fleet.APIs) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if digest, ok := f.digests[c.Name]; ok {
		return digest, f.apis[c.Name]
	}
	apis := f.world.APIsOf(c)
	h := sha256.New()
	for _, facts := range []map[string]string{c.Labels, fleet.ClaimsOf(c)} {
		for _, key := range slices.Sorted(maps.Keys(facts)) {
			fmt.Fprintf(h, "%q %q\n", key, facts[key])
		}
		fmt.Fprintln(h)
	}
	fmt.Fprintf(h, "%s %v", apis.Digest, apis.Known)
	f.digests[c.Name], f.apis[c.Name] = hex.EncodeToString(h.Sum(nil)[:16]), apis
	return f.digests[c.Name], apis
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

// goOn takes over what was noted before, if all answers would be the same now; else it does nothing and is false.
func (n *noted[K, V]) goOn(earlier *noted[K, V], find func(K) V) bool {
	for question, answer := range earlier.all {
		if find(question) != answer {
			return false
		}
	}
	n.all = maps.Clone(earlier.all)
	return true
}

// reads is a tree that notes what is looked at, and how it looks: whoever read it depends on nothing else of the tree.
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
