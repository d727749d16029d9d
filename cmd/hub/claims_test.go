package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

func TestObjectsHaveOneOwner(t *testing.T) {
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+placementFile("edge", everyEdge)+
		applicationFile("a-first", "edge", "manifests/a", "claims", "")+configMapFile("manifests/a/claimed.yaml", "claimed", "by", "first")+
		configMapFile("manifests/a/own.yaml", "first", "color", "red")+
		applicationFile("b-second", "edge", "manifests/b", "claims", "")+configMapFile("manifests/b/claimed.yaml", "claimed", "by", "second")+
		configMapFile("manifests/b/own.yaml", "second", "color", "red"))
	f.stop()
	f.controllers = []string{"fleetrepository", "placement", "cluster"}
	f.startHub()
	f.deliver()
	f.join("one")
	f.push("")
	f.run("of two that took an object in one moment the second gives it up, and the object stays", twoTookIt)
	f.run("who waits for an object gets it when its holder goes, without a hand", waiterIsWoken)
}

// takeAtOnce makes the works of applications as if each had been planned before the other's were there.
func (f *theFleet) takeAtOnce(keys ...string) {
	f.t.Helper()
	world, err := hub.Observe(f.ctx, f.client, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	planner := &plan.Planner{Renderer: render.New(1 << 20)}
	s := fleet.Snapshot{Repository: "muster-system/fleet", Revision: f.repository().Status.Revision, Tree: fleet.TreeOf(os.DirFS(f.repo.Dir))}
	p, err := planner.Build(f.ctx, s, *world)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, key := range keys {
		a := p.Find(key)
		alone, err := planner.Application(f.ctx, plan.Job{
			Application: a.Application, File: a.File, LineOf: func(string) int { return 0 }, Snapshot: s, Decisions: a.Decisions, World: p.World,
		})
		if err != nil || len(alone.Clusters) != 1 {
			f.t.Fatalf("%s is planned for %v: %v %v", key, alone.Clusters, alone.Faults, err)
		}
		set, err := alone.Works(alone.Clusters[0])
		if err != nil {
			f.t.Fatal(err)
		}
		for _, w := range set.Works {
			f.create(w.DeepCopy())
		}
	}
}

// holdersOf are the applications whose works hold a ConfigMap on a cluster, sorted.
func (f *theFleet) holdersOf(cluster, name string) []string {
	f.t.Helper()
	var holders []string
	for _, w := range f.works(cluster) {
		lw := hub.LiveWork(&w)
		if slices.ContainsFunc(lw.Objects, func(o fleet.ObjectKey) bool { return o.Kind == "ConfigMap" && o.Name == name }) {
			holders = append(holders, lw.Application)
		}
	}
	slices.Sort(holders)
	return holders
}

func (f *theFleet) expectHolder(cluster, name, application string) {
	f.t.Helper()
	f.eventually(func() string {
		if holders := f.holdersOf(cluster, name); !slices.Equal(holders, []string{application}) {
			return fmt.Sprintf("%s is held by %v, want %s alone", name, holders, application)
		}
		return ""
	})
}

func twoTookIt(f *theFleet) {
	f.takeAtOnce("retail/a-first", "retail/b-second")
	f.eventually(func() string {
		for _, w := range f.works("one") {
			if lw := hub.LiveWork(&w); !lw.Status.Applied {
				return lw.Name + " is not applied"
			}
		}
		return ""
	})
	if holders := f.holdersOf("one", "claimed"); len(holders) != 2 {
		f.t.Fatalf("the object is held by %v, want both", holders)
	}
	gone := f.watchDeletions(f.spokes["one"].Config(), schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "claims")
	f.stop()
	f.controllers = []string{"*"}
	f.startHub()
	f.expectHolder("one", "claimed", "retail/a-first")
	f.expectRow("retail/b-second", "one", "Faulty", "ObjectClaimed", "ConfigMap claims/claimed", "application retail/a-first has it")
	f.expectReady("retail/a-first")
	f.expectData("one", "claims", "claimed", "by", "first")
	f.expectData("one", "claims", "second", "color", "red")
	if names := gone.list(); len(names) > 0 {
		f.t.Errorf("deleted: %v", names)
	}
	f.push("-- manifests/a/claimed.yaml --\n" + deleted)
	f.expectReady("retail/b-second")
	f.expectReady("retail/a-first")
	f.expectData("one", "claims", "claimed", "by", "second")
}

// waiterIsWoken: the holder is a work that no repository of the hub knows of, and the repository is not looked at meanwhile, so
// that nothing but the work itself wakes anybody.
func waiterIsWoken(f *theFleet) {
	holder := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: "one", Name: "by-hand", Annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/by-hand"},
	}}
	holder.Spec.Workload.Manifests = []workv1.Manifest{{RawExtension: runtime.RawExtension{
		Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"wanted","namespace":"claims"},"data":{"by":"hand"}}`),
	}}}
	f.create(holder)
	f.expectData("one", "claims", "wanted", "by", "hand")
	f.push(configMapFile("manifests/b/wanted.yaml", "wanted", "by", "second"))
	f.expectRow("retail/b-second", "one", "Faulty", "ObjectClaimed", "ConfigMap claims/wanted", "application retail/by-hand has it")
	f.expectData("one", "claims", "wanted", "by", "hand")
	repo := f.repository()
	f.change(repo, func() { repo.Spec.Interval.Duration = time.Hour })
	f.eventually(func() string {
		if r := f.repository(); r.Status.ObservedGeneration != r.Generation {
			return "the repository is not looked at"
		}
		return ""
	})
	if err := f.client.Delete(f.ctx, holder); err != nil {
		f.t.Fatal(err)
	}
	f.expectData("one", "claims", "wanted", "by", "second")
	f.expectReady("retail/b-second")
}
