package plan_test

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

// shop is the fleet that every comparison starts from; a row replaces some of its files.
const shop = `
-- clustersets/shops.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSet
metadata: {name: shops}
-- tenants/retail.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: retail}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: shops, namespace: retail}
spec: {clusterSet: shops}
-- placements/shops.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: shops, namespace: retail}
spec:
  predicates:
  - requiredClusterSelector:
      labelSelector: {matchLabels: {env: prod}}
-- applications/web.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: web, namespace: retail}
spec:
  placementRef: {name: shops}
  source: {path: charts/web}
  helm: {values: {cluster: "${{ cluster.name }}", region: "${{ label(\"region\") }}"}}
-- charts/web/Chart.yaml --
{apiVersion: v2, name: web, version: 1.0.0}
-- charts/web/values.yaml --
replicas: 2
-- charts/web/templates/web.yaml --
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
  annotations: {checksum/config: {{ printf "%s%v" .Values.cluster .Values.replicas | sha256sum }}}
data: {replicas: "{{ .Values.replicas }}", region: {{ .Values.region }}}
`

func shopCluster(name, labels string) string {
	return fmt.Sprintf("-- clusters/%s.yaml --\napiVersion: cluster.open-cluster-management.io/v1\nkind: ManagedCluster\n"+
		"metadata: {name: %s, labels: {cluster.open-cluster-management.io/clusterset: shops, %s}}\nspec: {hubAcceptsClient: true}\n", name, name, labels)
}

var shopClusters = shopCluster("a", "env: prod, region: eu") + shopCluster("b", "env: prod, region: eu") +
	shopCluster("c", "env: prod, region: us") + shopCluster("d", "env: dev, region: us")

func treeOf(archives ...string) fleet.Tree {
	files := fstest.MapFS{}
	for _, a := range archives {
		for _, f := range txtar.Parse([]byte(a)).Files {
			delete(files, f.Name)
			if len(strings.TrimSpace(string(f.Data))) > 0 {
				files[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
			}
		}
	}
	return fleet.TreeOf(fs.FS(files))
}

// compareShops compares the shop with one in which some files are others; an empty file is a file that is gone. The world is
// the repository, or a hub in which the base is delivered and some clusters do not answer.
func compareShops(t *testing.T, changed string, hub bool, offline ...string) *plan.Difference {
	t.Helper()
	return compareIn(t, changed, func(w *fleet.World) {
		if !hub {
			return
		}
		w.FromRepository = false
		for i := range w.Clusters {
			if !slices.Contains(offline, w.Clusters[i].Name) {
				w.Clusters[i].Status.Conditions = []metav1.Condition{{Type: clusterv1.ManagedClusterConditionAvailable, Status: "True"}}
			}
		}
	})
}

// compareIn is compareShops in a world in which the base is delivered, and which is changed then.
func compareIn(t *testing.T, changed string, change func(*fleet.World)) *plan.Difference {
	t.Helper()
	ctx := context.Background()
	planner := &plan.Planner{Renderer: render.New(1 << 20)}
	build := func(revision string, tree fleet.Tree, w fleet.World) *plan.Plan {
		p, err := planner.Build(ctx, fleet.Snapshot{Repository: "muster-system/fleet", Revision: revision, Tree: tree}, w)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	w := fleet.World{Time: time.Unix(0, 0), FromRepository: true}
	head := treeOf(shop, shopClusters, changed)
	base := build("base", treeOf(shop, shopClusters), w)
	next, err := fleet.Load(ctx, head)
	if err != nil {
		t.Fatal(err)
	}
	w = plan.Delivered(w, base, next)
	world := w
	world.Clusters = slices.Clone(base.World.Clusters)
	if change(&world); !world.FromRepository {
		w = world
	}
	d, err := plan.Compare(build("base", treeOf(shop, shopClusters), w), build("head", head, w), fleet.Redactor{Key: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestCompareAddOns: a review shows an add-on that goes with the clusters that have it, and one whose chart changes.
func TestCompareAddOns(t *testing.T) {
	ctx := context.Background()
	addOn := func(version string) string {
		return "-- addons/mirror.yaml --\napiVersion: addon.open-cluster-management.io/v1alpha1\nkind: ClusterManagementAddOn\n" +
			"metadata: {name: mirror, annotations: {muster.dev/addon-content: charts/mirror}}\nspec: {}\n-- charts/mirror/Chart.yaml --\n{apiVersion: v2, name: mirror, version: " + version + "}\n"
	}
	w := fleet.World{Time: time.Unix(0, 0)}
	for _, cluster := range []string{"b", "a"} {
		w.Works = append(w.Works, fleet.LiveWork{Cluster: cluster, Name: "addon-mirror-deploy-0", Owner: fleet.AddonOwner(cluster, "mirror")})
	}
	for name, row := range map[string]struct{ why, head, want string }{
		"gone":     {"it waits for an approval", "", "Removed ClusterManagementAddOn mirror; held ClusterManagementAddOn mirror ApprovalNeeded a,b 1"},
		"changed":  {"a chart is a part of the add-on", addOn("1.1.0"), "Changed ClusterManagementAddOn mirror content of charts/mirror"},
		"the same": {"nothing", addOn("1.0.0"), ""},
		"no chart": {"it stays as it is", strings.Replace(addOn("1.0.0"), "charts/mirror}", "charts/miror}", 1), "Changed ClusterManagementAddOn mirror metadata.annotations[\"muster.dev/addon-content\"]; warning addons/mirror.yaml ContentMissing"},
	} {
		t.Run(name, func(t *testing.T) {
			planner := &plan.Planner{Renderer: render.New(1 << 20)}
			build := func(files string) *plan.Plan {
				p, err := planner.Build(ctx, fleet.Snapshot{Repository: "muster-system/fleet", Revision: "r", Tree: treeOf(shop, files)}, w)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			d, err := plan.Compare(build(addOn("1.0.0")), build(row.head), fleet.Redactor{Key: []byte("k")})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, x := range d.Definitions {
				line := fmt.Sprintf("%s %s", x.Edit, x.Object)
				for _, f := range x.Fields {
					line += " " + f.Path
				}
				got = append(got, line)
			}
			for _, h := range d.Held {
				got = append(got, fmt.Sprintf("held %s %s %s %d", h.Definition, h.Reason, strings.Join(h.Clusters, ","), h.Deletions))
			}
			for _, f := range d.NewWarnings {
				got = append(got, fmt.Sprintf("warning %s %s", f.File, f.Reason))
			}
			if diff := cmp.Diff(row.want, strings.Join(got, "; ")); diff != "" {
				t.Errorf("%s (-want +got)\n%s", row.why, diff)
			}
		})
	}
}

// lines tell a difference in short.
func lines(d *plan.Difference) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	groups := func(sign string, list []plan.ClusterGroup) {
		for _, g := range list {
			say("  %s %s", sign, strings.Join(g.Clusters, ","))
		}
	}
	for _, x := range d.Definitions {
		say("%s %s", x.Edit, x.Object)
	}
	for _, x := range d.Placements {
		say("%s placement %s %d→%d", x.Edit, x.Placement, x.Before, x.After)
		groups("+", x.Gained)
		groups("-", x.Lost)
	}
	for _, x := range d.Applications {
		say("%s application %s %d→%d", x.Edit, x.Application, x.Before, x.After)
		groups("+", x.Gained)
		groups("-", x.Lost)
		if len(x.Recovered) > 0 {
			say("  recovered %s", strings.Join(x.Recovered, ","))
		}
		for _, f := range x.Fields {
			say("  %s: %s→%s", f.Path, f.Before, f.After)
		}
		for _, g := range x.Changes {
			say("  %s (%s) overrides %v", strings.Join(g.Clusters, ","), g.Label, g.Overrides)
			for _, o := range g.Objects {
				say("    %s %s", o.Edit, o.Object)
				for _, f := range o.Fields {
					say("      %s: %s→%s %s %v", f.Path, f.Before, f.After, f.Layer, f.Varies)
				}
			}
			for _, f := range g.Delivery {
				say("    %s: %s→%s", f.Path, f.Before, f.After)
			}
		}
	}
	for _, h := range d.Held {
		say("held %s%s %s %s %d", h.Application, h.Definition, h.Reason, strings.Join(h.Clusters, ","), h.Deletions)
	}
	for _, f := range d.NewFaults {
		say("fault %s %s %s", f.Application, f.Cluster, f.Reason)
	}
	return out
}

func TestCompare(t *testing.T) {
	for name, row := range map[string]struct {
		why     string
		changed string
		hub     bool
		offline []string
		want    []string
	}{
		"nothing": {why: "what is delivered asks for no change", want: nil},
		"a value, for all": {
			why:     "clusters that get the same change are one group, digests that differ between them notwithstanding",
			changed: "-- charts/web/values.yaml --\nreplicas: 3\n",
			want: []string{
				"Changed application retail/web 3→3", "  a,b,c () overrides []", "    Changed ConfigMap retail/web",
				"      data.replicas: 2→3 chart default false",
				`      metadata.annotations["checksum/config"]: <digest>→<digest>  true`,
			},
		},
		"an override of one in the group": {
			why: "the group is not named by what only one of its clusters has",
			changed: "-- charts/web/values.yaml --\nreplicas: 3\n-- applications/web.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: retail}\n" +
				"spec:\n  placementRef: {name: shops}\n  source: {path: charts/web}\n" +
				"  helm: {values: {cluster: \"${{ cluster.name }}\", region: \"${{ label(\\\"region\\\") }}\"}}\n" +
				"  overrides:\n  - name: america\n    clusterSelector: {labelSelector: {matchLabels: {region: us}}}\n    helm: {values: {unused: west}}\n",
			want: []string{
				"Changed application retail/web 3→3", "  a,b,c () overrides []", "    Changed ConfigMap retail/web",
				"      data.replicas: 2→3 chart default false",
				`      metadata.annotations["checksum/config"]: <digest>→<digest>  true`,
			},
		},
		"an override, for one": {
			why: "the group is named by the label that only its clusters have, and by the override",
			changed: "-- applications/web.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: retail}\n" +
				"spec:\n  placementRef: {name: shops}\n  source: {path: charts/web}\n" +
				"  helm: {values: {cluster: \"${{ cluster.name }}\", region: \"${{ label(\\\"region\\\") }}\"}}\n" +
				"  overrides:\n  - name: america\n    clusterSelector: {labelSelector: {matchLabels: {region: us}}}\n    helm: {values: {region: west}}\n",
			want: []string{
				"Changed application retail/web 3→3", "  c (region=us) overrides [america]", "    Changed ConfigMap retail/web",
				"      data.region: us→west override america, web.yaml:11 false",
			},
		},
		"a cluster more": {
			why:     "a label is enough to gain a cluster",
			changed: shopCluster("d", "env: prod, region: us"),
			want: []string{
				"Changed ManagedCluster d", "Changed placement retail/shops 3→4", "  + d", "Changed application retail/web 3→4", "  + d",
			},
		},
		"a typo in the placement": {
			why: "losing more than the guard allows is held",
			changed: "-- placements/shops.yaml --\napiVersion: cluster.open-cluster-management.io/v1beta1\nkind: Placement\n" +
				"metadata: {name: shops, namespace: retail}\nspec:\n  predicates:\n  - requiredClusterSelector:\n      labelSelector: {matchLabels: {env: prd}}\n",
			want: []string{
				"Changed placement retail/shops 3→0", "  - a,b,c", "Changed application retail/web 3→0", "  - a,b,c",
				"held retail/web ApprovalNeeded a,b,c 3",
			},
		},
		"a typo while a cluster is offline": {
			why: "what cannot hear a deletion is held for that reason, and does not count for the guard", hub: true, offline: []string{"b"},
			changed: "-- placements/shops.yaml --\napiVersion: cluster.open-cluster-management.io/v1beta1\nkind: Placement\n" +
				"metadata: {name: shops, namespace: retail}\nspec:\n  predicates:\n  - requiredClusterSelector:\n      labelSelector: {matchLabels: {env: prd}}\n",
			want: []string{
				"Changed placement retail/shops 3→0", "  - a,b,c", "Changed application retail/web 3→0", "  - a,b,c",
				"held retail/web ApprovalNeeded a,c 2", "held retail/web ClusterUnreachable b 0",
			},
		},
		"a cluster file gone": {
			why: "a commit never removes a cluster", changed: "-- clusters/c.yaml --\n",
			want: []string{"Removed ManagedCluster c", "held ManagedCluster c Released  0"},
		},
		"an application gone": {
			why: "it runs on clusters, so it waits for an approval", changed: "-- applications/web.yaml --\n",
			want: []string{"Removed application retail/web 3→0", "  - a,b,c", "held retail/web ApprovalNeeded a,b,c 1"},
		},
		"an application that is wrong": {
			why:     "what is named and cannot be used is not gone",
			changed: "-- applications/web.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: retail}\nspec: {plaecmentRef: {name: shops}}\n",
			want:    []string{"fault   DefinitionInvalid"},
		},
		"a file that does not parse": {
			why:     "absence is unproven: the application that was in it is not gone, nor is anything else",
			changed: "-- applications/web.yaml --\nkind: [\n",
			want:    []string{"fault   FileMalformed"},
		},
		"a fault on one cluster": {
			why:     "the cluster keeps what it has and counts as one that stays; the others, which is all that are planned, change",
			changed: "-- charts/web/templates/web.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {region: {{ if eq .Values.region \"us\" }}{{ fail \"no\" }}{{ end }}{{ .Values.region }}}\n",
			want: []string{
				"Changed application retail/web 3→3", "  a,b () overrides []", "    Changed ConfigMap retail/web",
				"      data.replicas: 2→ chart default false", `      metadata.annotations: {"checksum/config":"<digest>"}→  true`,
				"fault retail/web c RenderFailed",
			},
		},
		"how it is applied": {
			why: "a drift policy changes no object and no digest of them, and is a change",
			changed: "-- applications/web.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: retail}\n" +
				"spec:\n  placementRef: {name: shops}\n  source: {path: charts/web}\n  sync: {drift: Report}\n  deletion: {cluster: Orphan}\n" +
				"  helm: {values: {cluster: \"${{ cluster.name }}\", region: \"${{ label(\\\"region\\\") }}\"}}\n",
			want: []string{
				"Changed application retail/web 3→3", "  deletion.cluster: Delete→Orphan", "  a,b,c () overrides []", "    drift: Correct→Report",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := compareShops(t, row.changed, row.hub, row.offline...)
			if diff := cmp.Diff(row.want, lines(d)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
			if d.Empty() != (row.want == nil) {
				t.Errorf("Empty is %v", d.Empty())
			}
		})
	}
}

// TestCompareReasons holds that clusters are told with the requirement that decides, before and after.
func TestCompareReasons(t *testing.T) {
	d := compareShops(t, shopCluster("d", "env: prod, region: us")+shopCluster("a", "env: old, region: eu"), false)
	if len(d.Applications) != 1 || len(d.Applications[0].Gained) != 1 || len(d.Applications[0].Lost) != 1 {
		t.Fatalf("got %v", lines(d))
	}
	gained, lost := d.Applications[0].Gained[0], d.Applications[0].Lost[0]
	if !strings.Contains(gained.Was, "env=dev") || !strings.Contains(gained.Reason, "env=prod") {
		t.Errorf("gained because %q, was %q", gained.Reason, gained.Was)
	}
	if !strings.Contains(lost.Reason, "env=old") {
		t.Errorf("lost because %q", lost.Reason)
	}
}

// TestCompareBothWays holds that what one direction gains the other loses.
func TestCompareBothWays(t *testing.T) {
	planner := &plan.Planner{Renderer: render.New(1 << 20)}
	build := func(extra string) *plan.Plan {
		p, err := planner.Build(context.Background(), fleet.Snapshot{Tree: treeOf(shop, shopClusters, extra)}, fleet.World{FromRepository: true})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	one, other := build(""), build(shopCluster("d", "env: prod, region: us")+"-- charts/web/templates/more.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n")
	there, err := plan.Compare(one, other, fleet.Redactor{})
	if err != nil {
		t.Fatal(err)
	}
	back, err := plan.Compare(other, one, fleet.Redactor{})
	if err != nil {
		t.Fatal(err)
	}
	if there.Summary.Gained != 1 || back.Summary.Lost != there.Summary.Gained || back.Summary.DeletedObjects != 3 || there.Summary.DeletedObjects != 0 {
		t.Errorf("there %+v\nback %+v", there.Summary, back.Summary)
	}
}

// TestCompareMoves holds that an object which changes its work is told as moved, and not as removed and added.
func TestCompareMoves(t *testing.T) {
	big := strings.Repeat("x", 300<<10)
	objects := func(sizes ...string) string {
		var b strings.Builder
		for i, size := range sizes {
			fmt.Fprintf(&b, "-- charts/web/templates/%d.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: m%d}\ndata: {x: %q}\n", i, i, size)
		}
		return b.String()
	}
	planner := &plan.Planner{Renderer: render.New(8 << 20)}
	build := func(extra string, w fleet.World) *plan.Plan {
		p, err := planner.Build(context.Background(), fleet.Snapshot{Tree: treeOf(shop, shopClusters, extra)}, w)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	w := fleet.World{FromRepository: true}
	base := build(objects("a", "b"), w)
	w = plan.Delivered(w, base, base.Definitions)
	d, err := plan.Compare(base, build(objects(big, big), w), fleet.Redactor{})
	if err != nil {
		t.Fatal(err)
	}
	moved := false
	for _, o := range d.Applications[0].Changes[0].Objects {
		if o.Edit == plan.Removed || o.Edit == plan.Added {
			t.Errorf("%s %s", o.Edit, o.Object)
		}
		moved = moved || o.From != "" && o.To != "" && o.From != o.To
	}
	if !moved {
		t.Errorf("nothing moves: %v", d.Applications[0].Changes[0].Objects)
	}
	if len(d.Held) > 0 {
		t.Errorf("a move is held: %v", d.Held)
	}
}

// TestDifferenceKnowsWhatKeepsBack: a review says what a Hold keeps as it is, and what waits for an application that is followed.
func TestDifferenceKnowsWhatKeepsBack(t *testing.T) {
	const edit = "-- charts/web/values.yaml --\nreplicas: 3\n"
	hold := func(change func(*musterv1alpha1.HoldSpec)) musterv1alpha1.Hold {
		h := musterv1alpha1.Hold{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "christmas"}}
		h.Spec.Reason, h.Spec.By = "Christmas", "ann"
		if change != nil {
			change(&h.Spec)
		}
		return h
	}
	follows := strings.Replace(applicationOf(shop), "  placementRef:", "  follows: {environment: staging, minSuccessTime: 1h}\n  placementRef:", 1) + edit
	for name, c := range map[string]struct {
		changed string
		holds   []musterv1alpha1.Hold
		want    []string
	}{
		"nothing":   {edit, nil, nil},
		"paused":    {edit, []musterv1alpha1.Hold{hold(nil)}, []string{"retail/web OnHold [a b c] held by ann (Hold retail/christmas): Christmas"}},
		"no change": {"", []musterv1alpha1.Hold{hold(nil)}, nil},
		"others":    {edit, []musterv1alpha1.Hold{hold(func(s *musterv1alpha1.HoldSpec) { s.Applications.Names = []string{"api"} })}, nil},
		"some clusters": {edit, []musterv1alpha1.Hold{hold(func(s *musterv1alpha1.HoldSpec) {
			s.ClusterSelector = &musterv1alpha1.ClusterSelector{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"region": "us"}}}
		})}, []string{"retail/web OnHold [c] held by ann (Hold retail/christmas): Christmas"}},
		"pinned": {edit, []musterv1alpha1.Hold{hold(func(s *musterv1alpha1.HoldSpec) { s.Pin = &musterv1alpha1.Pin{Revision: "41aa9d0"} })},
			[]string{"retail/web OnHold [a b c] pinned to 41aa9d0 by ann (Hold retail/christmas): Christmas"}},
		"follows": {follows, nil, []string{"retail/web FollowsPending [a b c] retail/web gets this when the applications of environment staging have proved it for 1h0m0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := compareIn(t, c.changed, func(w *fleet.World) { w.FromRepository, w.Holds = false, c.holds })
			var got []string
			for _, h := range d.Held {
				got = append(got, fmt.Sprintf("%s %s %v %s", h.Application, h.Reason, h.Clusters, h.Message))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// applicationOf is the file of the application in an archive.
func applicationOf(archive string) string {
	_, rest, _ := strings.Cut(archive, "-- applications/web.yaml --")
	text, _, _ := strings.Cut(rest, "-- charts/")
	return "-- applications/web.yaml --" + text
}
