package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

func TestMergeTaints(t *testing.T) {
	taint := func(key string) clusterv1.Taint {
		return clusterv1.Taint{Key: key, Effect: clusterv1.TaintEffectNoSelect}
	}
	cases := map[string]struct {
		why      string
		live     []clusterv1.Taint
		declared []clusterv1.Taint
		before   string
		want     []clusterv1.Taint
	}{
		"HubsOwn": {
			why:  "the hub's unreachable taint is not Git's to take",
			live: []clusterv1.Taint{taint("unreachable")}, declared: []clusterv1.Taint{taint("lab")},
			want: []clusterv1.Taint{taint("lab"), taint("unreachable")},
		},
		"Withdrawn": {
			why:  "what Git declared before and does not any more is gone",
			live: []clusterv1.Taint{taint("lab"), taint("person")}, before: "lab:NoSelect",
			want: []clusterv1.Taint{taint("person")},
		},
		"NeverDeclared": {
			why:  "a person's taint stays, whatever it is called",
			live: []clusterv1.Taint{taint("lab")},
			want: []clusterv1.Taint{taint("lab")},
		},
		"NewValue": {
			why:  "a declared value replaces the live one under the same key and effect",
			live: []clusterv1.Taint{{Key: "lab", Value: "a", Effect: clusterv1.TaintEffectNoSelect}}, before: "lab:NoSelect",
			declared: []clusterv1.Taint{{Key: "lab", Value: "b", Effect: clusterv1.TaintEffectNoSelect}},
			want:     []clusterv1.Taint{{Key: "lab", Value: "b", Effect: clusterv1.TaintEffectNoSelect}},
		},
		"OtherEffect": {
			why:  "a taint is known by key and effect",
			live: []clusterv1.Taint{{Key: "lab", Effect: clusterv1.TaintEffectPreferNoSelect}}, before: "lab:NoSelect",
			want: []clusterv1.Taint{{Key: "lab", Effect: clusterv1.TaintEffectPreferNoSelect}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := MergeTaints(tc.live, tc.declared, tc.before)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.why, diff)
			}
			if diff := cmp.Diff(got, MergeTaints(got, tc.declared, GitTaints(tc.declared))); diff != "" {
				t.Errorf("merging twice changes something (-once +twice):\n%s", diff)
			}
		})
	}
}

func TestOverlay(t *testing.T) {
	fromGit := map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet"}
	owned := []metav1.ManagedFieldsEntry{{
		Manager: FieldManager, FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:tier":{},"f:env":{}}}}`),
	}}
	world := fleet.World{
		Clusters: []clusterv1.ManagedCluster{{
			ObjectMeta: metav1.ObjectMeta{
				Name: "edge", Labels: map[string]string{"tier": "edge", "env": "prod", "person": "x"}, Annotations: fromGit, ManagedFields: owned,
			},
			Status: clusterv1.ManagedClusterStatus{Version: clusterv1.ManagedClusterVersion{Kubernetes: "v1.36.3"}},
		}, {
			ObjectMeta: metav1.ObjectMeta{Name: "released", Annotations: fromGit},
		}},
		Placements: []clusterv1beta1.Placement{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "gone", Annotations: fromGit}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "others"}},
		},
	}
	edge := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "edge", Labels: map[string]string{"tier": "core"}}}
	defs := &fleet.Definitions{All: []fleet.Definition{{Object: edge}}, AbsenceProven: true, Named: map[fleet.ObjectKey]bool{}}

	out := Overlay(world, "muster-system/fleet", defs, nil)
	if diff := cmp.Diff(map[string]string{"tier": "core", "person": "x"}, out.Clusters[0].Labels); diff != "" {
		t.Errorf("Git's labels are replaced, a person's stays (-want +got):\n%s", diff)
	}
	if out.Clusters[0].Status.Version.Kubernetes != "v1.36.3" {
		t.Error("status is the hub's and stays")
	}
	if len(out.Clusters) != 2 {
		t.Errorf("a cluster whose file is gone is released and not removed: %d clusters", len(out.Clusters))
	}
	if len(out.Placements) != 1 || out.Placements[0].Name != "others" {
		t.Errorf("what left the repository is gone, what is not the repository's stays: %v", out.Placements)
	}
	world.Accounts = map[string]string{"retail": "retail/old", "platform": "platform/p", "other": "shops/o"}
	defs.All = append(defs.All, namespaceDefinition("retail", "new"), namespaceDefinition("platform", ""))
	accounts := Overlay(world, "muster-system/fleet", defs, nil).Accounts
	if diff := cmp.Diff(map[string]string{"retail": "retail/new", "other": "shops/o"}, accounts); diff != "" || world.Accounts["retail"] != "retail/old" {
		t.Errorf("what applications run as is what the snapshot says of their namespace (-want +got):\n%s", diff)
	}
	defs.AbsenceProven = false
	if out := Overlay(world, "muster-system/fleet", defs, nil); len(out.Placements) != 2 {
		t.Error("while a file cannot be read, nothing counts as gone")
	}
	if world.Clusters[0].Labels["tier"] != "edge" {
		t.Error("the world that came in was changed")
	}
}

func namespaceDefinition(name, account string) fleet.Definition {
	source := &unstructured.Unstructured{}
	source.SetAnnotations(map[string]string{musterv1alpha1.DefaultServiceAccountAnnotation: account})
	return fleet.Definition{Key: fleet.ObjectKey{Version: "v1", Kind: "Namespace", Name: name}, Source: source}
}
