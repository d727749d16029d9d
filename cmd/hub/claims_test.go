package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

func TestObjectsHaveOneOwner(t *testing.T) {
	t.Parallel()
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
	f.expectReachable("one") // the plans of takeAtOnce have no works for a cluster that is not
	f.push("")
	f.run("of two that took an object in one moment the second gives it up, and the object stays", twoTookIt)
	f.run("an object that is handed over to another application in one commit is not made anew", handedOverInOneCommit)
	f.run("an object that is handed over to an application which cannot have another one stays where it is", handedOverToTheFaulty)
	f.run("two applications that give each other objects are told, and lose none", exchange)
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
			Application: a.Application, File: a.File, LineOf: func(string) int { return 0 }, Snapshot: s, Decided: a.Decided, World: p.World,
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
			holders = append(holders, lw.Owner.String())
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

// configMap is the UID of one on cluster one; it must be there.
func (f *theFleet) configMap(name string) types.UID {
	f.t.Helper()
	var cm corev1.ConfigMap
	if !f.on("one", &cm, "claims", name) {
		f.t.Errorf("ConfigMap %s is not there", name)
	}
	return cm.UID
}

func (f *theFleet) watchClaims() *deletions {
	f.t.Helper()
	return f.watchDeletions(f.spokes["one"].Config(), schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "claims")
}

func handedOverInOneCommit(f *theFleet) {
	before, gone := f.configMap("first"), f.watchClaims()
	f.push("-- manifests/a/own.yaml --\n" + deleted + configMapFile("manifests/a/kept.yaml", "kept", "color", "red") +
		configMapFile("manifests/b/first.yaml", "first", "color", "blue"))
	f.expectReady("retail/a-first")
	f.expectReady("retail/b-second")
	f.expectHolder("one", "first", "retail/b-second")
	f.expectData("one", "claims", "first", "color", "blue")
	if now := f.configMap("first"); now != before || len(gone.list()) > 0 {
		f.t.Errorf("the object has UID %s and had %s; deleted: %v", now, before, gone.list())
	}
}

func handedOverToTheFaulty(f *theFleet) {
	before, gone := f.configMap("kept"), f.watchClaims()
	holder := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: "one", Name: "foreign", Annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/foreign"},
	}}
	holder.Spec.Workload.Manifests = []workv1.Manifest{{RawExtension: runtime.RawExtension{
		Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"taken","namespace":"claims"},"data":{"by":"hand"}}`),
	}}}
	f.create(holder)
	f.expectData("one", "claims", "taken", "by", "hand")
	f.push("-- manifests/a/kept.yaml --\n" + deleted + configMapFile("manifests/a/more.yaml", "more", "color", "red") +
		configMapFile("manifests/b/kept.yaml", "kept", "color", "blue") + configMapFile("manifests/b/taken.yaml", "taken", "by", "second"))
	f.expectRow("retail/b-second", "one", "Faulty", "ObjectClaimed", "ConfigMap claims/taken")
	f.eventually(func() string {
		if a, r := f.application("retail/a-first"), f.repository(); a.Status.Revision != r.Status.Revision {
			return "not planned at the commit"
		}
		return ""
	})
	f.expectRow("retail/a-first", "one", "Pending", "HandoverPending", "ConfigMap claims/kept moves to application retail/b-second")
	f.expectHolder("one", "kept", "retail/a-first")
	f.push("-- manifests/b/taken.yaml --\n" + deleted)
	f.expectReady("retail/a-first")
	f.expectReady("retail/b-second")
	f.expectHolder("one", "kept", "retail/b-second")
	if now := f.configMap("kept"); now != before || len(gone.list()) > 0 {
		f.t.Errorf("the object has UID %s and had %s; deleted: %v", now, before, gone.list())
	}
	if err := f.client.Delete(f.ctx, holder); err != nil {
		f.t.Fatal(err)
	}
	f.expectData("one", "claims", "taken", "by", "")
}

func exchange(f *theFleet) {
	uids := map[string]types.UID{"more": f.configMap("more"), "second": f.configMap("second")}
	gone := f.watchClaims()
	f.push("-- manifests/a/more.yaml --\n" + deleted + "-- manifests/b/own.yaml --\n" + deleted +
		configMapFile("manifests/a/second.yaml", "second", "color", "red") + configMapFile("manifests/b/more.yaml", "more", "color", "red"))
	f.expectRow("retail/a-first", "one", "Faulty", "ObjectClaimed", "ConfigMap claims/second")
	f.expectRow("retail/b-second", "one", "Faulty", "ObjectClaimed", "ConfigMap claims/more")
	f.expectFault("ObjectClaimed", "which gives objects in return: hand them over in one direction first")
	f.push("-- manifests/a/second.yaml --\n" + deleted + configMapFile("manifests/a/another.yaml", "another", "color", "red") +
		configMapFile("manifests/b/own.yaml", "second", "color", "red"))
	f.expectReady("retail/a-first")
	f.expectReady("retail/b-second")
	f.push("-- manifests/b/own.yaml --\n" + deleted + configMapFile("manifests/a/second.yaml", "second", "color", "red"))
	f.expectReady("retail/a-first")
	f.expectReady("retail/b-second")
	f.expectHolder("one", "more", "retail/b-second")
	f.expectHolder("one", "second", "retail/a-first")
	for name, uid := range uids {
		if now := f.configMap(name); now != uid {
			f.t.Errorf("%s has UID %s, had %s", name, now, uid)
		}
	}
	if names := gone.list(); len(names) > 0 {
		f.t.Errorf("deleted: %v", names)
	}
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
