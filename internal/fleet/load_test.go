package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
	"golang.org/x/tools/txtar"
)

func treeOf(archive string) fleet.Tree {
	files := fstest.MapFS{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		files[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	return fleet.TreeOf(files)
}

const cluster = `apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata:
  name: %s
spec:
  hubAcceptsClient: true
`

const addOn = `apiVersion: addon.open-cluster-management.io/v1alpha1
kind: ClusterManagementAddOn
metadata: {name: mirror}
spec:
  installStrategy: {type: Manual}
`

const app = `apiVersion: muster.dev/v1alpha1
kind: Application
metadata:
  name: shop
  namespace: retail
spec:
  placementRef:
    name: all
  source:
    path: %s
`

func TestLoad(t *testing.T) {
	edge1, edge2 := fmt.Sprintf(cluster, "edge-1"), fmt.Sprintf(cluster, "edge-2")
	doubling := "kind: ManagedCluster\nl0: &l0 {a: 1}\n"
	for i := range 40 {
		doubling += fmt.Sprintf("l%[2]d: &l%[2]d {a: *l%[1]d, b: *l%[1]d}\n", i, i+1)
	}
	cases := map[string]struct {
		why      string
		files    string
		defined  []string
		faults   []string // reason file:line
		unproven bool
		named    []string // objects that count as present although they are not defined
	}{
		"Definition": {
			why:     "a document of a fleet kind below a default root is a definition",
			files:   "-- clusters/prod/edge-1.yaml --\n" + edge1,
			defined: []string{"ManagedCluster edge-1"},
		},
		"OtherFolders": {
			why:     "only the roots are read: a manifest elsewhere is content",
			files:   "-- clusters/a.yaml --\n" + edge1 + "-- manifests/x.yaml --\napiVersion: v1\nkind: Pod\nmetadata: {name: x}\n",
			defined: []string{"ManagedCluster edge-1"},
		},
		"NamedRoots": {
			why:     "muster.yaml names other roots",
			files:   "-- muster.yaml --\napiVersion: muster.dev/v1alpha1\nkind: FleetConfiguration\nspec: {paths: [fleet]}\n-- fleet/a.yaml --\n" + edge1 + "-- clusters/b.yaml --\nnot: [closed\n",
			defined: []string{"ManagedCluster edge-1"},
		},
		"UnknownRoot": {
			why:      "a root that is no folder would make everything in it look deleted",
			files:    "-- muster.yaml --\napiVersion: muster.dev/v1alpha1\nkind: FleetConfiguration\nspec: {paths: [flett]}\n-- fleet/a.yaml --\n" + edge1,
			faults:   []string{"FileUnreadable muster.yaml"},
			unproven: true,
		},
		"ConfigurationTypo": {
			why:      "muster.yaml is decoded strictly, and without it the roots are not known for sure",
			files:    "-- muster.yaml --\napiVersion: muster.dev/v1alpha1\nkind: FleetConfiguration\nspec: {path: [x]}\n-- clusters/a.yaml --\n" + edge1,
			defined:  []string{"ManagedCluster edge-1"},
			faults:   []string{"FileMalformed muster.yaml:3"},
			unproven: true,
		},
		"Chart": {
			why:     "a folder with Chart.yaml is content and not descended into",
			files:   "-- applications/web/Chart.yaml --\nname: web\n-- applications/web/templates/x.yaml --\n{{ bad\n-- clusters/a.yaml --\n" + edge1,
			defined: []string{"ManagedCluster edge-1"},
		},
		"Overlay": {
			why:     "so is a folder with a kustomization file",
			files:   "-- applications/web/kustomization.yaml --\nresources: [x.yaml]\n-- applications/web/x.yaml --\nkind: Pod\napiVersion: v1\n-- clusters/a.yaml --\n" + edge1,
			defined: []string{"ManagedCluster edge-1"},
		},
		"SourceInRoot": {
			why:     "a folder that an application's source names is content, up to the first expression",
			files:   "-- applications/shop/app.yaml --\n" + fmt.Sprintf(app, `"applications/shop/files/${{ cluster.name }}"`) + "-- applications/shop/files/a/x.yaml --\n{{ not yaml\n",
			defined: []string{"Application retail/shop"},
		},
		"SourceHoldsItself": {
			why:     "a source that holds the application's own file is said, and the application is still there",
			files:   "-- applications/shop/app.yaml --\n" + fmt.Sprintf(app, "applications/shop"),
			defined: []string{"Application retail/shop"},
			faults:  []string{"DefinitionInvalid applications/shop/app.yaml:10"},
		},
		"Values": {
			why:     "a document without apiVersion and kind is data",
			files:   "-- applications/shop/app.yaml --\n" + fmt.Sprintf(app, "charts/shop") + "-- applications/shop/values.yaml --\nreplicas: 3\n",
			defined: []string{"Application retail/shop"},
		},
		"Malformed": {
			why:      "a file that does not parse leaves absence unproven; the rest is loaded",
			files:    "-- clusters/a.yaml --\n" + edge1 + "-- clusters/b.yaml --\nkind: X\nspec: [1, 2\nfoo: bar\n",
			defined:  []string{"ManagedCluster edge-1"},
			faults:   []string{"FileMalformed clusters/b.yaml:2"},
			unproven: true,
		},
		"MalformedSecondDocument": {
			why:      "the documents before the error count",
			files:    "-- clusters/a.yaml --\n" + edge1 + "---\nspec: [1, 2\n",
			defined:  []string{"ManagedCluster edge-1"},
			faults:   []string{"FileMalformed clusters/a.yaml:8"},
			unproven: true,
		},
		"UnknownField": {
			why:    "a typo blocks its own object and nothing else; the object counts as present",
			files:  "-- clusters/a.yaml --\n" + strings.Replace(edge1, "hubAcceptsClient", "hubAcceptClient", 1),
			faults: []string{"DefinitionInvalid clusters/a.yaml:6"},
			named:  []string{"ManagedCluster edge-1"},
		},
		"WrongType": {
			why:    "a value of the wrong type is a fault at its line",
			files:  "-- clusters/a.yaml --\n" + strings.Replace(edge1, "true", "[]", 1),
			faults: []string{"DefinitionInvalid clusters/a.yaml:6"},
			named:  []string{"ManagedCluster edge-1"},
		},
		"NotInSchema": {
			why:    "what the hub's schema would refuse is a fault before the push",
			files:  "-- applications/a.yaml --\n" + fmt.Sprintf(app, "x") + "  sync: {drift: Maybe}\n",
			faults: []string{"DefinitionInvalid applications/a.yaml:11"},
			named:  []string{"Application retail/shop"},
		},
		"FieldTwice": {
			why:    "a field that stands there twice has no one meaning",
			files:  "-- clusters/a.yaml --\n" + edge1 + "  hubAcceptsClient: false\n",
			faults: []string{"DefinitionInvalid clusters/a.yaml:7"},
			named:  []string{"ManagedCluster edge-1"},
		},
		"KindTwice": {
			why:    "it may be either object, so nothing counts as absent",
			files:  "-- clusters/a.yaml --\n" + edge1 + "metadata: {name: edge-2}\n",
			faults: []string{"DefinitionInvalid clusters/a.yaml:7"},
			named:  []string{"ManagedCluster edge-2"}, unproven: true,
		},
		"BrokenApplication": {
			why: "content of an application whose file cannot be read is not applied to the hub",
			files: "-- applications/mon/app.yaml --\n" + fmt.Sprintf(app, "applications/content/mon") + "  bad: [1\n" +
				"-- applications/content/mon/ns.yaml --\napiVersion: v1\nkind: Namespace\nmetadata: {name: mon}\n" +
				"-- applications/mon/below/ns.yaml --\napiVersion: v1\nkind: Namespace\nmetadata: {name: below}\n",
			faults:   []string{"FileMalformed applications/mon/app.yaml:11"},
			unproven: true,
		},
		"BrokenBeside": {
			why:      "what lies beside a broken file is applied: one bad file stays one",
			files:    "-- clusters/a.yaml --\n" + edge1 + "-- clusters/b.yaml --\nspec: [1\n",
			defined:  []string{"ManagedCluster edge-1"},
			faults:   []string{"FileMalformed clusters/b.yaml:1"},
			unproven: true,
		},
		"Status": {
			why:    "status is the hub's",
			files:  "-- clusters/a.yaml --\n" + edge1 + "status: {}\n",
			faults: []string{"DefinitionInvalid clusters/a.yaml:7"},
			named:  []string{"ManagedCluster edge-1"},
		},
		"AddOn": {
			why: "what an add-on is made of comes before it",
			files: "-- addons/mirror.yaml --\n" + addOn + "---\napiVersion: addon.open-cluster-management.io/v1alpha1\nkind: AddOnTemplate\nmetadata: {name: mirror-1}\n" +
				"spec: {addonName: mirror, agentSpec: {workload: {manifests: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}}]}}}\n" +
				"---\napiVersion: addon.open-cluster-management.io/v1alpha1\nkind: AddOnDeploymentConfig\nmetadata: {name: edge, namespace: muster-system}\nspec: {}\n",
			defined: []string{"AddOnDeploymentConfig muster-system/edge", "AddOnTemplate mirror-1", "ClusterManagementAddOn mirror"},
		},
		"AddOnTypo": {
			why:    "a field that add-ons do not have is said where it stands",
			files:  "-- addons/mirror.yaml --\n" + addOn + "  instalStrategy: {type: Manual}\n",
			faults: []string{"DefinitionInvalid addons/mirror.yaml:6"},
			named:  []string{"ClusterManagementAddOn mirror"},
		},
		"NotAFleetKind": {
			why:     "a Deployment among the definitions is a mistake that is said",
			files:   "-- clusters/a.yaml --\n" + edge1 + "-- clusters/b.yaml --\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, namespace: ns}\n",
			defined: []string{"ManagedCluster edge-1"},
			faults:  []string{"KindNotAllowed clusters/b.yaml:2"},
			named:   []string{"Deployment ns/x"},
		},
		"WrongVersion": {
			why:    "a version that is not served is not a kind of a fleet repository",
			files:  "-- clusters/a.yaml --\n" + strings.Replace(edge1, "io/v1", "io/v2", 1),
			faults: []string{"KindNotAllowed clusters/a.yaml:2"},
			named:  []string{"ManagedCluster edge-1"},
		},
		"Twice": {
			why:    "of two definitions of one object neither is taken, and both are named",
			files:  "-- clusters/a.yaml --\n" + edge1 + "-- clusters/b.yaml --\n" + edge1,
			faults: []string{"DefinitionTwice clusters/a.yaml:1", "DefinitionTwice clusters/b.yaml:1"},
			named:  []string{"ManagedCluster edge-1"},
		},
		"NoNamespace": {
			why:    "the namespace is the tenant and cannot be left out",
			files:  "-- applications/a.yaml --\n" + strings.Replace(fmt.Sprintf(app, "x"), "  namespace: retail\n", "", 1),
			faults: []string{"DefinitionInvalid applications/a.yaml:3"}, unproven: true,
		},
		"NamespaceOnCluster": {
			why:    "a cluster has no namespace",
			files:  "-- clusters/a.yaml --\n" + strings.Replace(edge1, "  name:", "  namespace: x\n  name:", 1),
			faults: []string{"DefinitionInvalid clusters/a.yaml:4"}, unproven: true,
		},
		"BadName": {
			why:    "a name that the API server would refuse is said with its line",
			files:  "-- clusters/a.yaml --\n" + strings.Replace(edge1, "edge-1", "Edge_1", 1),
			faults: []string{"DefinitionInvalid clusters/a.yaml:4"},
		},
		"Aliases": {
			why:      "aliases of aliases would take all memory: the file is as one that does not parse, and a document before it counts",
			files:    "-- clusters/a.yaml --\n" + edge1 + "---\n" + doubling + "-- clusters/b.yaml --\n" + edge2,
			defined:  []string{"ManagedCluster edge-1", "ManagedCluster edge-2"},
			faults:   []string{"FileMalformed clusters/a.yaml:8"},
			unproven: true,
		},
		"LongAlias": {
			why:      "a text that is named again and again is written as often",
			files:    "-- clusters/a.yaml --\nkind: ManagedCluster\na: &a " + strings.Repeat("x", 100_000) + "\nb: [" + strings.Repeat("*a, ", 10_000) + "]\n",
			faults:   []string{"FileMalformed clusters/a.yaml:1"},
			unproven: true,
		},
		"AliasOfItself": {
			why:      "it has no end",
			files:    "-- clusters/a.yaml --\nkind: ManagedCluster\na: &a [*a]\n",
			faults:   []string{"FileMalformed clusters/a.yaml:1"},
			unproven: true,
		},
		"AliasesInData": {
			why:     "what is no definition is not decoded here: whoever reads it has the bound",
			files:   "-- clusters/a.yaml --\n" + edge1 + "-- clusters/values.yaml --\n" + strings.TrimPrefix(doubling, "kind: ManagedCluster\n"),
			defined: []string{"ManagedCluster edge-1"},
		},
		"FewAliases": {
			why:     "an alias is no mistake",
			files:   "-- clusters/a.yaml --\n" + strings.Replace(edge1, "  name: edge-1\n", "  name: edge-1\n  labels: {a: &a x, b: *a}\n", 1),
			defined: []string{"ManagedCluster edge-1"},
		},
		"FieldTwiceAndAgain": {
			why:    "three thousand times is twice",
			files:  "-- clusters/a.yaml --\n" + edge1 + "x:\n" + strings.Repeat("  a: b\n", 3000),
			faults: []string{"DefinitionInvalid clusters/a.yaml:3007"},
			named:  []string{"ManagedCluster edge-1"},
		},
		"LongPaths": {
			why:      "the path of a field repeats those above it",
			files:    "-- clusters/a.yaml --\n" + edge1 + "? " + strings.Repeat("x", 100_000) + "\n: [" + strings.Repeat("1,", 1000) + "]\n",
			faults:   []string{"FileMalformed clusters/a.yaml:1"},
			unproven: true,
		},
		"ConfigurationOfAliases": {
			why:      "muster.yaml is YAML too",
			files:    "-- muster.yaml --\n" + doubling + "-- clusters/a.yaml --\n" + edge1,
			defined:  []string{"ManagedCluster edge-1"},
			faults:   []string{"FileMalformed muster.yaml:1"},
			unproven: true,
		},
		"Empty": {
			why:      "a repository in which nothing is defined is a fault and no order to delete everything",
			files:    "-- README.md --\nhello\n",
			faults:   []string{"RepositoryEmpty muster.yaml"},
			unproven: true,
		},
		"Order": {
			why: "namespaces come first, applications last, whatever the files are called",
			files: "-- applications/a.yaml --\n" + fmt.Sprintf(app, "x") + "-- clusters/z.yaml --\n" + edge1 +
				"-- tenants/retail.yaml --\napiVersion: v1\nkind: Namespace\nmetadata: {name: retail}\n",
			defined: []string{"Namespace retail", "ManagedCluster edge-1", "Application retail/shop"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			defs, err := fleet.Load(context.Background(), treeOf(tc.files))
			if err != nil {
				t.Fatalf("Load: %v", err)
			}
			var defined, faults []string
			for _, d := range defs.All {
				defined = append(defined, d.Key.String())
			}
			for _, f := range defs.Faults {
				faults = append(faults, strings.TrimSpace(fmt.Sprintf("%s %s", f.Reason, f.Position())))
				if f.ActionRequiredBy != fleet.User || f.Message == "" {
					t.Errorf("fault %v: want the author's move and a message", f)
				}
			}
			if diff := cmp.Diff(tc.defined, defined); diff != "" {
				t.Errorf("%s\ndefined (-want +got):\n%s\n%v", tc.why, diff, defs.Faults)
			}
			if diff := cmp.Diff(tc.faults, faults); diff != "" {
				t.Errorf("%s\nfaults (-want +got):\n%s\n%v", tc.why, diff, defs.Faults)
			}
			if defs.AbsenceProven == tc.unproven {
				t.Errorf("%s\nAbsenceProven = %v", tc.why, defs.AbsenceProven)
			}
			for _, want := range tc.named {
				if !slices.ContainsFunc(keys(defs.Named), func(k fleet.ObjectKey) bool { return k.String() == want }) {
					t.Errorf("%s\n%s does not count as present: %v", tc.why, want, defs.Named)
				}
			}
		})
	}
}

func keys(m map[fleet.ObjectKey]bool) []fleet.ObjectKey {
	var out []fleet.ObjectKey
	for k := range m {
		out = append(out, k)
	}
	return out
}

func TestLineOf(t *testing.T) {
	defs, err := fleet.Load(context.Background(), treeOf("-- applications/a.yaml --\n# a comment\n"+fmt.Sprintf(app, "x")))
	if err != nil {
		t.Fatal(err)
	}
	d := defs.Find("muster.dev", "Application", "retail", "shop")
	for path, want := range map[string]int{
		"spec.source.path":      11,
		"spec.helm.values.a[0]": 7, // not written: the nearest parent that is
		"nothing":               2,
	} {
		if got := d.LineOf(path); got != want {
			t.Errorf("LineOf(%q) = %d, want %d", path, got, want)
		}
	}
}

// FuzzLoad holds that no input makes Load panic, and that it is the same twice.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(cluster, "a")))
	f.Add([]byte("a: &a [*a]\napiVersion: v1\nkind: Namespace"))
	f.Add([]byte("apiVersion: muster.dev/v1alpha1\nkind: Application\nspec: {source: {path: ../..}, overrides: [1, {source: 3}]}"))
	f.Add([]byte("apiVersion: 1\nkind: {}\nmetadata: []"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree := fleet.TreeOf(fstest.MapFS{"clusters/a.yaml": {Data: data}})
		one, err := fleet.Load(context.Background(), tree)
		if err != nil {
			t.Fatal(err)
		}
		two, err := fleet.Load(context.Background(), tree)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(one.Faults) != fmt.Sprint(two.Faults) || len(one.All) != len(two.All) {
			t.Fatalf("two loads differ: %v %v", one.Faults, two.Faults)
		}
		if len(one.Faults) > 0 && one.Faults[0].Message == "" {
			t.Fatal("a fault without a message")
		}
	})
}

// TestMarks holds that no file says what the hub or a person writes on live objects: it would come back with every commit.
func TestMarks(t *testing.T) {
	const ocm, muster = "cluster.open-cluster-management.io/v1", "muster.dev/v1alpha1"
	for name, row := range map[string]struct {
		why              string
		apiVersion, kind string
		metadata         string
		says             string
	}{
		"Approval":     {"an approval is for one plan and ends with it", muster, "Application", "annotations: {muster.dev/approved-plan: x}", "metadata.annotations[muster.dev/approved-plan] belongs to the hub: take it out; on kind Application a file may have muster.dev/allow-takeover-by and muster.dev/moved-from"},
		"Repositories": {"nor of a repository's plan", muster, "FleetRepository", "annotations: {muster.dev/approved-plan: x}", "metadata.annotations[muster.dev/approved-plan] belongs to the hub: take it out"},
		"Detach":       {"no commit detaches a cluster", ocm, "ManagedCluster", "annotations: {muster.dev/detach: clean}", "metadata.annotations[muster.dev/detach] belongs to the hub: take it out"},
		"JoinedKey":    {"who joined is the hub's to know", ocm, "ManagedCluster", "annotations: {muster.dev/joined-key: x}", "belongs to the hub: take it out"},
		"FirstPlan":    {"agents evict by it", "v1", "Namespace", "annotations: {muster.dev/first-complete-plan: x}", "belongs to the hub: take it out"},
		"Typo":         {"strict as for unknown fields", muster, "Application", "annotations: {muster.dev/move-from: x}", "a file may have muster.dev/allow-takeover-by and muster.dev/moved-from"},
		"OtherKind":    {"a mark that means nothing there", muster, "Application", "annotations: {muster.dev/join-identity: x}", "belongs to the hub: take it out"},
		"AddOn":        {"the hub labels clusters with their add-ons", ocm, "ManagedCluster", "labels: {feature.open-cluster-management.io/addon-mirror: available}", "metadata.labels[feature.open-cluster-management.io/addon-mirror] belongs to the hub: take it out"},
		"Label":        {"no label under muster.dev is a person's", "v1", "Namespace", "labels: {muster.dev/owner: x}", "metadata.labels[muster.dev/owner] belongs to the hub: take it out"},

		"Moved":    {"a rename is said by the file", muster, "Application", "annotations: {muster.dev/moved-from: x}", ""},
		"TakeOver": {"who owns an object says who may take it over", ocm, "ManagedCluster", "annotations: {muster.dev/allow-takeover-by: a/b, muster.dev/join-identity: x}", ""},
		"Account":  {"what a tenant runs as is Git's", "v1", "Namespace", "annotations: {muster.dev/default-service-account: x}", ""},
		"Others":   {"other prefixes are not the hub's", "v1", "Namespace", "labels: {team.muster.dev/a: x}, annotations: {cluster.open-cluster-management.io/a: x}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			namespace, spec := "", "{}"
			switch row.kind {
			case "Application":
				namespace, spec = "namespace: retail, ", "{placementRef: {name: all}, source: {path: x}}"
			case "FleetRepository":
				namespace, spec = "namespace: retail, ", "{url: https://example.org/x.git, serviceAccountName: fleet}"
			}
			defs, err := fleet.Load(context.Background(), treeOf(fmt.Sprintf("-- tenants/a.yaml --\napiVersion: %s\nkind: %s\nmetadata:\n  {%sname: a,\n  %s}\nspec: %s\n",
				row.apiVersion, row.kind, namespace, row.metadata, spec)))
			if err != nil {
				t.Fatal(err)
			}
			if row.says == "" {
				if len(defs.Faults) > 0 || len(defs.All) != 1 {
					t.Errorf("%s: %v", row.why, defs.Faults)
				}
				return
			}
			if len(defs.Faults) != 1 || len(defs.All) != 0 {
				t.Fatalf("%s: defined %v with faults %v", row.why, defs.All, defs.Faults)
			}
			f := defs.Faults[0]
			if f.Reason != fleet.DefinitionInvalid || f.Position() != "tenants/a.yaml:5" || !strings.Contains(f.Message, row.says) {
				t.Errorf("%s: %s at %s: %s", row.why, f.Reason, f.Position(), f.Message)
			}
		})
	}
}
