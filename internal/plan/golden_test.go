package plan_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

var update = flag.Bool("update", false, "rewrite the plans in testdata")

// golden is one archive: repo/ is the fleet repository, world.yaml the fleet.World it is planned in, if there is one, and
// plan.yaml what must come of it: the plan's decisions, faults and works.
type golden struct {
	file    string
	archive *txtar.Archive
}

func goldens(t *testing.T) []golden {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no plans in testdata: %v", err)
	}
	var list []golden
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, golden{file, archive})
	}
	return list
}

func (g golden) part(name string) []byte {
	i := slices.IndexFunc(g.archive.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return g.archive.Files[i].Data
}

func (g golden) world(t *testing.T) fleet.World {
	t.Helper()
	w := fleet.World{FromRepository: g.part("world.yaml") == nil}
	if err := yaml.UnmarshalStrict(g.part("world.yaml"), &w); err != nil {
		t.Fatalf("%s: world.yaml: %v", g.file, err)
	}
	return w
}

// build plans with a planner that has seen nothing before.
func (g golden) build(t *testing.T, w fleet.World) *plan.Plan {
	t.Helper()
	files, err := txtar.FS(g.archive)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := fs.Sub(files, "repo")
	if err != nil {
		t.Fatal(err)
	}
	return build(t, repo, w)
}

func build(t *testing.T, repo fs.FS, w fleet.World) *plan.Plan {
	t.Helper()
	planner := &plan.Planner{Renderer: render.New(16 << 20)}
	s := fleet.Snapshot{Repository: "muster-system/fleet", Revision: "0123456789abcdef0123456789abcdef01234567", Tree: fleet.TreeOf(repo)}
	p, err := planner.Build(context.Background(), s, w)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// format is a plan as a person reviews it.
func format(t *testing.T, p *plan.Plan) []byte {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "# plan %s\n", p.Digest)
	for _, pl := range p.Placements {
		for _, d := range pl.Result.Decisions {
			fmt.Fprintf(&b, "# placement %s/%s: %s chosen=%t %s: %s\n", pl.Placement.Namespace, pl.Placement.Name, d.Cluster, d.Chosen, d.Step, d.Reason)
		}
	}
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			fmt.Fprintf(&b, "# application %s on %s: overrides %v kept=%t\n", a.Key(), c.Name, c.Overrides, c.Kept)
		}
	}
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "# fault %s: %s\n", f.Reason, f.Error())
	}
	for _, f := range p.Warnings {
		fmt.Fprintf(&b, "# warning %s: %s\n", f.Reason, f.Error())
	}
	for _, a := range p.Applications {
		changes, err := a.Changes()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range rollout.Next(changes, a.ReviewInput(p.World)).Held {
			fmt.Fprintf(&b, "# held %s of %s on %s: %s: %s\n", h.Change.Action, a.Key(), h.Change.Cluster, h.Reason, h.Message)
		}
	}
	for _, set := range p.Works() {
		for _, w := range set.Works {
			data, err := yaml.Marshal(w)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "---\n%s", data)
		}
	}
	return b.Bytes()
}

func TestPlansAreGolden(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(filepath.Base(g.file), func(t *testing.T) {
			have := format(t, g.build(t, g.world(t)))
			if diff := cmp.Diff(string(g.part("plan.yaml")), string(have)); diff != "" && !*update {
				t.Errorf("the plan differs (-want +have); rewrite it with -update if that is meant:\n%s", diff)
			}
			if *update {
				g.rewrite(t, have)
			}
		})
	}
}

func (g golden) rewrite(t *testing.T, data []byte) {
	t.Helper()
	g.archive.Files = append(slices.DeleteFunc(g.archive.Files, func(f txtar.File) bool { return f.Name == "plan.yaml" }),
		txtar.File{Name: "plan.yaml", Data: data})
	if err := os.WriteFile(g.file, txtar.Format(g.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOrderOfInputsDoesNotMatter: the same facts in another order are the same plan.
func TestOrderOfInputsDoesNotMatter(t *testing.T) {
	for _, g := range goldens(t) {
		want := format(t, g.build(t, withHistory(t, g)))
		for seed := range uint64(5) {
			w := withHistory(t, g)
			random := rand.New(rand.NewPCG(seed, 1))
			shuffle(random, w.Clusters)
			shuffle(random, w.ClusterSets)
			shuffle(random, w.Bindings)
			shuffle(random, w.Placements)
			shuffle(random, w.Decisions)
			shuffle(random, w.Applications)
			shuffle(random, w.Works)
			if diff := cmp.Diff(string(want), string(format(t, g.build(t, w)))); diff != "" {
				t.Errorf("%s, shuffled by seed %d (-sorted +shuffled):\n%s", g.file, seed, diff)
			}
		}
	}
}

func shuffle[T any](random *rand.Rand, list []T) {
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

// withHistory is the world after the plan that is made in it was carried out.
func withHistory(t *testing.T, g golden) fleet.World {
	t.Helper()
	w := g.world(t)
	p := g.build(t, w)
	w = *p.World
	made := map[string]bool{}
	var live []fleet.LiveWork
	for _, set := range p.Works() {
		for _, o := range set.Works {
			o.UID, o.Generation = types.UID(o.Namespace+"/"+o.Name), 1
			made[o.Namespace+"/"+o.Name] = true
			live = append(live, work.Live(o))
		}
	}
	for _, lw := range w.Works {
		if !made[lw.Cluster+"/"+lw.Name] {
			live = append(live, lw)
		}
	}
	w.Works = live
	return w
}

// TestBuildAfterItsOwnResultChangesNothing: what a plan asks for, it does not ask for again.
func TestBuildAfterItsOwnResultChangesNothing(t *testing.T) {
	for _, g := range goldens(t) {
		first := g.build(t, g.world(t))
		w := withHistory(t, g)
		w.Works = slices.DeleteFunc(w.Works, func(lw fleet.LiveWork) bool { // what the plan deletes is gone
			a := first.Find(lw.Owner.String())
			return a.On(lw.Cluster) != nil && a.On(lw.Cluster).Empty && len(lw.SetDigest) == 0
		})
		again := g.build(t, w)
		if first.Digest != again.Digest {
			t.Errorf("%s: the digest is %s, was %s", g.file, again.Digest, first.Digest)
		}
		for _, a := range again.Applications {
			changes, err := a.Changes()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if c.Action != work.Keep {
					t.Errorf("%s: %s: %s work %s/%s", g.file, a.Key(), c.Action, c.Cluster, c.Name)
				}
			}
		}
	}
}

// TestDigestOutlastsAnOutage: a cluster that stops answering keeps its works, so the plan that somebody approved is still the
// plan.
func TestDigestOutlastsAnOutage(t *testing.T) {
	for _, g := range goldens(t) {
		w := withHistory(t, g)
		before := g.build(t, w).Digest
		for i := range w.Clusters {
			c := &w.Clusters[i]
			c.Spec.Taints = []clusterv1.Taint{{Key: clusterv1.ManagedClusterTaintUnreachable, Effect: clusterv1.TaintEffectNoSelect}}
			if after := g.build(t, w).Digest; len(liveOn(w, c.Name)) > 0 && after != before {
				t.Errorf("%s: the plan is %s while %s is away, was %s", g.file, after, c.Name, before)
			}
			c.Spec.Taints = nil
		}
	}
}

func liveOn(w fleet.World, cluster string) []fleet.LiveWork {
	return slices.DeleteFunc(slices.Clone(w.Works), func(lw fleet.LiveWork) bool { return lw.Cluster != cluster })
}

const printPlan = "MUSTER_TEST_PRINT_PLAN"

// TestTwoProcessesGiveEqualBytes: nothing in a plan comes from the process that makes it.
func TestTwoProcessesGiveEqualBytes(t *testing.T) {
	list := goldens(t)
	if number := os.Getenv(printPlan); number != "" {
		i, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stderr.Write(format(t, list[i].build(t, list[i].world(t)))); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i, g := range list {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTwoProcessesGiveEqualBytes$")
		cmd.Env = append(os.Environ(), printPlan+"="+strconv.Itoa(i), "GOMAXPROCS=1", "TZ=Asia/Tokyo")
		var have bytes.Buffer
		cmd.Stderr = &have
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, have.String())
		}
		if diff := cmp.Diff(string(format(t, g.build(t, g.world(t)))), have.String()); diff != "" {
			t.Errorf("%s (-here +in another process):\n%s", g.file, diff)
		}
	}
}
