package rollout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// The sentence of the simulation: no object on a cluster is deleted that any complete plan still holds.
//
// A hub with one cluster and an agent act at random. The hub reads every work as it was at some earlier moment, each
// at another, and makes a random choice of what Next allows in a random order, under the preconditions that work.Change
// names. The agent takes works one by one, fails now and then, prunes after every apply of a work succeeded, and deletes an
// object only when no other work of its own still holds it. Objects that a plan drops never come back, so that a
// deletion that was right cannot turn wrong on its way.
type simulation struct {
	t      *testing.T
	random *rand.Rand
	// wanted makes the works for the current plan in the light of what the hub believes to be live.
	wanted func(s *simulation, live []fleet.LiveWork) []*workv1.ManifestWork
	plan   map[string]int // object -> size
	next   int
	uids   int

	works     map[string]*workv1.ManifestWork
	history   map[string][]*fleet.LiveWork // by work; nil while it does not exist
	cluster   map[string]bool
	applied   map[string]map[string]bool // work -> objects, as AppliedManifestWork has them
	deletes   int
	handovers int
}

func newSimulation(t *testing.T, seed uint64, wanted func(*simulation, []fleet.LiveWork) []*workv1.ManifestWork) *simulation {
	return &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 7)), wanted: wanted, plan: map[string]int{},
		works: map[string]*workv1.ManifestWork{}, history: map[string][]*fleet.LiveWork{},
		cluster: map[string]bool{}, applied: map[string]map[string]bool{},
	}
}

func (s *simulation) run(steps int) {
	for range steps {
		switch s.random.IntN(8) {
		case 0:
			s.changePlan()
		case 1, 2, 3:
			s.hub(s.read(6), true)
		default:
			s.agent(true)
		}
	}
}

// converge stops the changes and lets hub and agent finish, with fresh reads.
func (s *simulation) converge() {
	for range 100 {
		changes := work.Diff(s.read(1), s.wanted(s, s.read(1)))
		rests := !slices.ContainsFunc(changes, func(c work.Change) bool { return c.Action != work.Keep })
		if rests && len(s.cluster) == len(s.plan) {
			return
		}
		s.hub(s.read(1), false)
		for range 2 * len(s.works) {
			s.agent(false)
		}
	}
	for _, c := range work.Diff(s.read(1), s.wanted(s, s.read(1))) {
		if c.Action != work.Keep {
			s.t.Fatalf("does not converge: %s %s", c.Action, c.Name)
		}
	}
	if len(s.cluster) != len(s.plan) {
		s.t.Fatalf("%d objects on the cluster, the plan has %d", len(s.cluster), len(s.plan))
	}
}

func (s *simulation) changePlan() {
	for _, name := range namesIn(s.plan) {
		switch s.random.IntN(6) {
		case 0:
			if len(s.plan) > 1 {
				delete(s.plan, name)
			}
		case 1, 2:
			s.plan[name] = s.size()
		}
	}
	for range s.random.IntN(3) {
		s.next++
		s.plan[fmt.Sprintf("o%03d", s.next)] = s.size()
	}
}

func (s *simulation) size() int { return 1 << (9 + s.random.IntN(10)) }

// read gives each work as it was at one of the last moments.
func (s *simulation) read(depth int) []fleet.LiveWork {
	var live []fleet.LiveWork
	for _, name := range namesIn(s.history) {
		versions := s.history[name]
		back := s.random.IntN(min(depth, len(versions)))
		if lw := versions[len(versions)-1-back]; lw != nil {
			live = append(live, *lw)
		}
	}
	return live
}

// hub plans, decides and writes.
func (s *simulation) hub(live []fleet.LiveWork, partly bool) {
	changes := work.Diff(live, s.wanted(s, live))
	step := Next(changes, Input{Owner: web, Live: live, Complete: true, MaxClusterPercent: 100})
	if partly {
		s.random.Shuffle(len(step.Now), func(i, j int) { step.Now[i], step.Now[j] = step.Now[j], step.Now[i] })
		step.Now = step.Now[:s.random.IntN(len(step.Now)+1)]
	}
	for _, change := range step.Now {
		s.write(change)
	}
}

// write holds the promises of work.Change.
func (s *simulation) write(c work.Change) {
	real := s.works[c.Name]
	if c.Action == work.Create {
		if real == nil {
			s.uids++
			w := c.Wanted.DeepCopy()
			w.UID, w.Generation = types.UID(strconv.Itoa(s.uids)), 1
			s.works[c.Name] = w
			s.record(c.Name)
		}
		return
	}
	if !is(real, c.Live.UID, c.Live.Generation) {
		return
	}
	for _, p := range c.Preconditions {
		s.handovers++
		if !is(s.works[p.Name], p.UID, p.Generation) {
			return
		}
	}
	if c.Action == work.Delete {
		now := metav1.Now()
		real.DeletionTimestamp = &now
	} else {
		if work.SpecDigest(real) != work.SpecDigest(c.Wanted) {
			real.Generation++
		}
		real.Spec, real.Annotations = c.Wanted.DeepCopy().Spec, c.Wanted.Annotations
	}
	s.record(c.Name)
}

func is(w *workv1.ManifestWork, uid string, generation int64) bool {
	return w != nil && w.DeletionTimestamp == nil && string(w.UID) == uid && w.Generation == generation
}

func (s *simulation) record(name string) {
	var lw *fleet.LiveWork
	if w := s.works[name]; w != nil {
		l := work.Live(w)
		lw = &l
	}
	s.history[name] = append(s.history[name], lw)
}

// agent takes one work: apply, prune, report.
func (s *simulation) agent(mayFail bool) {
	names := namesIn(s.works)
	if len(names) == 0 {
		return
	}
	name := names[s.random.IntN(len(names))]
	w := s.works[name]
	if w.DeletionTimestamp != nil {
		s.prune(name, nil)
		delete(s.works, name)
		delete(s.applied, name)
		s.record(name)
		return
	}
	if s.applied[name] == nil {
		s.applied[name] = map[string]bool{}
	}
	keep, all := map[string]bool{}, true
	var done []bool
	for _, key := range objectsOf(w) {
		ok := !mayFail || s.random.IntN(10) > 0
		if ok {
			s.applied[name][key], s.cluster[key] = true, true
		}
		keep[key], all = true, all && ok
		done = append(done, ok)
	}
	if all {
		s.prune(name, keep)
	}
	if !mayFail || s.random.IntN(4) > 0 { // else it dies before it reports
		report(w, done)
		s.record(name)
	}
}

func (s *simulation) prune(name string, keep map[string]bool) {
	for _, key := range namesIn(s.applied[name]) {
		if keep[key] {
			continue
		}
		delete(s.applied[name], key)
		elsewhere := slices.ContainsFunc(namesIn(s.applied), func(other string) bool { return s.applied[other][key] })
		if elsewhere {
			continue
		}
		delete(s.cluster, key)
		s.deletes++
		if _, held := s.plan[key]; held {
			s.t.Fatalf("%s was deleted by work %s although the plan holds it", key, name)
		}
	}
}

func objectsOf(w *workv1.ManifestWork) []string {
	keys, err := work.ParseObjects(w.Annotations[musterv1alpha1.ObjectsAnnotation])
	if err != nil {
		panic(err)
	}
	var names []string
	for _, key := range keys {
		names = append(names, key.Name)
	}
	return names
}

func report(w *workv1.ManifestWork, done []bool) {
	condition := func(ok bool) []metav1.Condition {
		status := metav1.ConditionFalse
		if ok {
			status = metav1.ConditionTrue
		}
		return []metav1.Condition{{Type: workv1.ManifestApplied, Status: status, ObservedGeneration: w.Generation}}
	}
	w.Status.Conditions = condition(!slices.Contains(done, false))
	w.Status.ResourceStatus.Manifests = nil
	for i, name := range objectsOf(w) {
		w.Status.ResourceStatus.Manifests = append(w.Status.ResourceStatus.Manifests, workv1.ManifestCondition{
			ResourceMeta: workv1.ManifestResourceMeta{Ordinal: int32(i), Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: name},
			Conditions:   condition(done[i]),
		})
	}
}

func namesIn[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func configMap(name string, size int) fleet.Manifest {
	return fleet.Manifest{
		Key: fleet.ObjectKey{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "shop", Name: name},
		JSON: fmt.Appendf(nil, `{"apiVersion":"v1","data":{"x":%q},"kind":"ConfigMap","metadata":{"name":%q,"namespace":"shop"}}`,
			strings.Repeat("x", size), name),
	}
}

var web = fleet.ApplicationOwner("retail", "web")

// planned asks work.Wanted, with objects large enough that parts overflow.
func planned(s *simulation, live []fleet.LiveWork) []*workv1.ManifestWork {
	content := &fleet.Content{Digest: fmt.Sprint(s.plan)} // maps print sorted
	for _, name := range namesIn(s.plan) {
		content.Manifests = append(content.Manifests, configMap(name, s.plan[name]))
	}
	set, err := work.Wanted(work.Input{Owner: web, Cluster: "edge-1", Content: content, Revision: "one", Live: live})
	if err != nil {
		s.t.Fatal(err)
	}
	return set.Works
}

// shuffled puts every object into any work at all, another one for every size: no split is so bad.
func shuffled(s *simulation, _ []fleet.LiveWork) []*workv1.ManifestWork {
	parts := map[int][]fleet.ObjectKey{}
	for _, name := range namesIn(s.plan) {
		part := s.plan[name] % 97 % 4
		parts[part] = append(parts[part], configMap(name, 0).Key)
	}
	var works []*workv1.ManifestWork
	for part := range 4 {
		if len(parts[part]) == 0 {
			continue
		}
		w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
			Namespace: "edge-1", Name: work.Name(web, part),
			Labels:      map[string]string{musterv1alpha1.OwnerLabel: web.Digest()},
			Annotations: map[string]string{musterv1alpha1.ObjectsAnnotation: work.FormatObjects(parts[part])},
		}}
		for _, key := range parts[part] {
			w.Spec.Workload.Manifests = append(w.Spec.Workload.Manifests,
				workv1.Manifest{RawExtension: runtime.RawExtension{Raw: configMap(key.Name, s.plan[key.Name]%7).JSON}})
		}
		works = append(works, w)
	}
	return works
}

func TestNothingWantedIsDeleted(t *testing.T) {
	handovers, deletes := 0, 0
	for seed := range uint64(12) {
		s := newSimulation(t, seed, planned)
		s.run(100)
		s.converge()
		handovers, deletes = handovers+s.handovers, deletes+s.deletes
	}
	t.Logf("%d handovers, %d deletions", handovers, deletes)
	if handovers == 0 || deletes == 0 {
		t.Errorf("%d handovers and %d deletions: the simulation tries nothing", handovers, deletes)
	}
}

func TestNothingWantedIsDeletedUnderAnySplit(t *testing.T) {
	handovers := 0
	for seed := range uint64(80) {
		s := newSimulation(t, seed, shuffled)
		s.run(200)
		handovers += s.handovers
	}
	if handovers == 0 {
		t.Error("no handovers: the simulation tries nothing")
	}
}
