package v1alpha1

import (
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ClusterValues are values for the clusters that a selector matches: what labels are too small for. Those in the namespace
// muster-system are for the applications of all namespaces, others for the applications of their own.
//
// Of several that match a cluster, one of higher priority goes over one of lower: maps merge, lists replace, null deletes. Two of
// equal priority that say different things about one value are a fault.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,shortName=cvals
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterValues struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ClusterValuesSpec `json:"spec"`
}

// ClusterValuesSpec is which clusters have which values.
type ClusterValuesSpec struct {
	// Selector says which clusters, by label and claim. Left out, all.
	// +optional
	Selector clusterv1beta1.GroupClusterSelector `json:"selector,omitzero"`
	// Priority over others that match the same cluster: the higher one wins.
	// +optional
	Priority int32 `json:"priority,omitempty"`
	// Values are read as cluster.values in expressions of applications, and as a layer of a chart's values by helm.clusterValues.
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Values runtime.RawExtension `json:"values"`
}

// ClusterValuesList is a list of ClusterValues.
// +kubebuilder:object:root=true
type ClusterValuesList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterValues `json:"items"`
}
