package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ReservedClusterClaimNames are the claims that stay when a cluster has more claims than its agent reports.
var ReservedClusterClaimNames = [...]string{
	"id.k8s.io",
	"kubeversion.open-cluster-management.io",
	"platform.open-cluster-management.io",
	"product.open-cluster-management.io",
}

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster

// ClusterClaim is a fact that a managed cluster claims about itself. It lives on that cluster; the agent
// copies it into the ManagedCluster's status on the hub.
type ClusterClaim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the claim.
	// +optional
	Spec ClusterClaimSpec `json:"spec"`
}

// ClusterClaimSpec is the claim itself.
type ClusterClaimSpec struct {
	// Value that is claimed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`
}

// +kubebuilder:object:root=true

// ClusterClaimList is a list of claims.
type ClusterClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterClaim `json:"items"`
}
