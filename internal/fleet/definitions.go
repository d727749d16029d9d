package fleet

import (
	"maps"
	"reflect"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Definitions are what one snapshot of a fleet repository says.
type Definitions struct {
	// All valid definitions, in the order in which they are applied, then by namespace and name.
	All []Definition
	// Named are the identities of every object that the repository names, valid or not: none of them may be pruned.
	Named map[ObjectKey]bool
	// Faults of what could not be loaded.
	Faults []Fault
	// AbsenceProven is true when every file could be read: only then does a missing object mean that it is gone.
	AbsenceProven bool
}

// Definition is one object in a fleet repository.
type Definition struct {
	// Object is typed for the kinds that Muster plans with, unstructured for the others.
	Object Object
	// Source is the document as written, without defaults: what is applied to the hub.
	Source *unstructured.Unstructured
	Key    ObjectKey
	File   string
	// Line of the document's first line, from 1.
	Line int
	// lines by field path, such as spec.helm.values.
	lines map[string]int
	// defaulted are the lines in muster.yaml of the fields that it sets, by field path.
	defaulted map[string]int
}

// Defaulted is the line in muster.yaml of a field that it sets and the document does not.
func (d *Definition) Defaulted(path string) (int, bool) {
	for path != "" {
		if line, ok := d.defaulted[path]; ok {
			return line, true
		}
		if _, ok := d.lines[path]; ok {
			return 0, false
		}
		path = ParentPath(path)
	}
	return 0, false
}

// Object is a Kubernetes object.
type Object interface {
	metav1.Object
	runtime.Object
}

// LineOf is the line of a field given by its path (spec.helm.values.replicas, spec.overrides[0].name); of the nearest
// parent that is written down when the field is not.
func (d *Definition) LineOf(path string) int {
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = ParentPath(path)
	}
	return d.Line
}

// Same is true for a definition that says the same in the same place: what is made of either is the same, faults and their lines
// included.
func (d *Definition) Same(other *Definition) bool {
	return d.File == other.File && d.Line == other.Line && maps.Equal(d.lines, other.lines) && maps.Equal(d.defaulted, other.defaulted) &&
		reflect.DeepEqual(d.Object, other.Object)
}

// Find gives the definition with this identity, or nil.
func (d *Definitions) Find(group, kind, namespace, name string) *Definition {
	for i := range d.All {
		k := d.All[i].Key
		if k.Group == group && k.Kind == kind && k.Namespace == namespace && k.Name == name {
			return &d.All[i]
		}
	}
	return nil
}

// Clusters are the clusters that the repository defines.
func (d *Definitions) Clusters() []*clusterv1.ManagedCluster { return of[*clusterv1.ManagedCluster](d) }

// ClusterSets are the cluster sets that the repository defines.
func (d *Definitions) ClusterSets() []*clusterv1beta2.ManagedClusterSet {
	return of[*clusterv1beta2.ManagedClusterSet](d)
}

// Bindings are the set bindings that the repository defines.
func (d *Definitions) Bindings() []*clusterv1beta2.ManagedClusterSetBinding {
	return of[*clusterv1beta2.ManagedClusterSetBinding](d)
}

// Placements are the placements that the repository defines.
func (d *Definitions) Placements() []*clusterv1beta1.Placement {
	return of[*clusterv1beta1.Placement](d)
}

// Applications are the applications that the repository defines.
func (d *Definitions) Applications() []*musterv1alpha1.Application {
	return of[*musterv1alpha1.Application](d)
}

// ClusterValues are those that the repository defines.
func (d *Definitions) ClusterValues() []*musterv1alpha1.ClusterValues {
	return of[*musterv1alpha1.ClusterValues](d)
}

// ReviewPolicies are the review policies that the repository defines.
func (d *Definitions) ReviewPolicies() []*musterv1alpha1.ReviewPolicy {
	return of[*musterv1alpha1.ReviewPolicy](d)
}

func of[T Object](d *Definitions) []T {
	var list []T
	for i := range d.All {
		if o, ok := d.All[i].Object.(T); ok {
			list = append(list, o)
		}
	}
	return list
}
