package plan

import (
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
	values     *answers  // whether ClusterValues have something at a path
	planned    []Cluster // before claims, sorted by name
}

// inputs are what an application was planned with on one cluster.
type inputs struct {
	facts   string // digest of what the cluster is
	values  string // digest of its ClusterValues
	extra   []musterv1alpha1.APIResource
	sources []fleet.UsedSource
}

// basis of a job; nil for a job that no later plan can use.
func (j *Job) basis() *basis {
	if j.definition == nil || j.facts == nil || j.Cluster != "" {
		return nil
	}
	return &basis{
		definition: j.definition, account: j.World.Accounts[j.Application.Namespace], hubCluster: j.World.HubCluster, limit: j.World.ManifestLimit,
		read: newReads(j.Snapshot.Tree), values: &answers{},
	}
}

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
	if !was.values.hold(func(path string) bool { return j.Values.Has(j.Application.Namespace, path) }) || !b.read.goOn(was.read) {
		return nil
	}
	b.values.goOn(was.values)
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
	is, was := *found, *used.Found
	is.Tree, was.Tree = nil, nil
	return is == was && is.Digest != ""
}

// inputsOn are the inputs for one cluster.
func (j *Job) inputsOn(c *clusterv1.ManagedCluster) inputs {
	return inputs{facts: j.facts.of(c), values: j.Values.Of(j.Application.Namespace, c).Digest(), extra: j.CRDs[c.Name]}
}

// same: whoever needed no kinds of others needs none now.
func (in inputs) same(other inputs) bool {
	return in.facts == other.facts && in.values == other.values && (len(in.extra) == 0 || slices.Equal(in.extra, other.extra))
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
	if !c.from.same(job.inputsOn(t.cluster)) {
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

// answers are questions that were asked, and what the answer was.
type answers struct{ sync.Map }

func (a *answers) ask(question string, find func(string) bool) bool {
	answer := find(question)
	a.Store(question, answer)
	return answer
}

// hold tells whether all answers would be the same now.
func (a *answers) hold(find func(string) bool) bool {
	same := true
	a.Range(func(question, answer any) bool {
		same = find(question.(string)) == answer
		return same
	})
	return same
}

func (a *answers) goOn(earlier *answers) {
	earlier.Range(func(question, answer any) bool {
		a.Store(question, answer)
		return true
	})
}

// reads is a tree that notes what is looked at, and how it looks: whoever read it depends on nothing else of the tree.
type reads struct {
	fleet.Tree
	looks sync.Map // from what is looked at to what was seen
}

// How something is looked at, before its name.
const (
	lookKind    = "k" // whether it is there, and what it is
	lookContent = "c" // what it is, and all below it
)

func newReads(tree fleet.Tree) *reads { return &reads{Tree: tree} }

func (r *reads) note(how, name string) {
	if _, ok := r.looks.Load(how + name); !ok {
		r.looks.Store(how+name, r.look(how, name))
	}
}

func (r *reads) look(how, name string) string {
	if how == lookKind {
		info, err := fs.Stat(r.Tree, name)
		if err != nil {
			return problem(err)
		}
		return info.Mode().String()
	}
	hash, err := r.Tree.Hash(name)
	if err != nil {
		return problem(err)
	}
	return hash
}

// problem is an error as far as it can be compared. One that may pass is like no other.
func problem(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "missing"
	}
	return ""
}

// goOn takes over what was read of another tree, if all of it looks the same in this one; else it does nothing and is false.
func (r *reads) goOn(earlier *reads) bool {
	same := true
	earlier.looks.Range(func(at, saw any) bool {
		same = saw != "" && r.look(at.(string)[:1], at.(string)[1:]) == saw
		return same
	})
	if same {
		earlier.looks.Range(func(at, saw any) bool {
			r.looks.Store(at, saw)
			return true
		})
	}
	return same
}

// forget drops the tree, when nothing is read any more.
func (r *reads) forget() { r.Tree = nil }

// Stat tells whether there is a file or folder.
func (r *reads) Stat(name string) (fs.FileInfo, error) {
	r.note(lookKind, name)
	return fs.Stat(r.Tree, name)
}

// Open opens a file or folder.
func (r *reads) Open(name string) (fs.File, error) {
	r.note(lookContent, name)
	return r.Tree.Open(name)
}

// ReadFile reads a file.
func (r *reads) ReadFile(name string) ([]byte, error) {
	r.note(lookContent, name)
	return r.Tree.ReadFile(name)
}

// ReadDir lists a folder.
func (r *reads) ReadDir(name string) ([]fs.DirEntry, error) {
	r.note(lookContent, name)
	return r.Tree.ReadDir(name)
}

// Hash identifies a file or folder with all below it.
func (r *reads) Hash(name string) (string, error) {
	r.note(lookContent, name)
	return r.Tree.Hash(name)
}

// earlierApplications are those of an earlier plan by namespace/name.
func earlierApplications(p *Plan) map[string]*Application {
	if p == nil {
		return nil
	}
	return applicationsByKey(p)
}
