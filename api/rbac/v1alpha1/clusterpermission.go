package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Condition types of a ClusterPermission.
const (
	// ConditionAppliedRBACManifestWork says whether the work with the rights is applied: the work's own condition Applied.
	ConditionAppliedRBACManifestWork = "AppliedRBACManifestWork"
	// ConditionValidation is False for a ClusterPermission that no work is made of.
	ConditionValidation = "Validation"
	// ConditionValidateRolesExist and ConditionValidateClusterRolesExist say, with spec.validate, whether the roles that
	// bindings name are on the cluster.
	ConditionValidateRolesExist        = "ValidateRolesExist"
	ConditionValidateClusterRolesExist = "ValidateClusterRolesExist"
	// ConditionApplied, of one object in status.resourceStatus, is what the work says of it.
	ConditionApplied = "Applied"
)

// Reasons of those conditions.
const (
	ReasonApplyRBACManifestWorkNotComplete         = "ApplyRBACManifestWorkNotComplete"
	ReasonFailedBuildManifestWork                  = "FailedBuildManifestWork"
	ReasonFailedValidationNoBindingsDefined        = "FailedValidationNoBindingsDefined"
	ReasonFailedValidationNotInManagedClusterSpace = "FailedValidationNotInManagedClusterNamespace"
	ReasonAllRolesFound                            = "AllRolesFound"
	ReasonRolesNotFound                            = "RolesNotFound"
	ReasonAllClusterRolesFound                     = "AllClusterRolesFound"
	ReasonClusterRolesNotFound                     = "ClusterRolesNotFound"
)

// KindManagedServiceAccount is the kind of a subject that is the service account of a ManagedServiceAccount of the cluster.
const KindManagedServiceAccount = "ManagedServiceAccount"

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status
// +kubebuilder:storageversion

// ClusterPermission gives rights on the managed cluster in whose namespace it is.
type ClusterPermission struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the roles and bindings.
	// +optional
	Spec ClusterPermissionSpec `json:"spec,omitzero"`

	// Status is how far they are.
	// +optional
	Status ClusterPermissionStatus `json:"status,omitzero"`
}

// ClusterPermissionSpec is roles and bindings. Their name on the cluster is that of the ClusterPermission, unless a binding
// has its own.
type ClusterPermissionSpec struct {
	// Validate looks whether the roles that the bindings name are on the cluster.
	// +optional
	Validate *bool `json:"validate,omitempty"`

	// ClusterRole to make.
	// +optional
	ClusterRole *ClusterRole `json:"clusterRole,omitempty"`

	// ClusterRoleBinding to make.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.subject) || has(self.subjects)",message="Either subject or subjects has to exist in clusterRoleBinding"
	ClusterRoleBinding *ClusterRoleBinding `json:"clusterRoleBinding,omitempty"`

	// ClusterRoleBindings to make, beside ClusterRoleBinding.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.all(i, has(i.subject) || has(i.subjects))",message="Either subject or subjects has to exist in every clusterRoleBinding"
	ClusterRoleBindings *[]ClusterRoleBinding `json:"clusterRoleBindings,omitempty"`

	// Roles to make.
	// +optional
	Roles *[]Role `json:"roles,omitempty"`

	// RoleBindings to make.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.all(i, has(i.subject) || has(i.subjects))",message="Either subject or subjects has to exist in every roleBinding"
	RoleBindings *[]RoleBinding `json:"roleBindings,omitempty"`
}

// ClusterRole is the rules of a ClusterRole.
type ClusterRole struct {
	// Rules of the role.
	// +required
	Rules []PolicyRule `json:"rules"`
}

// ClusterRoleBinding gives a ClusterRole to subjects.
type ClusterRoleBinding struct {
	// Subject is one subject.
	// +optional
	Subject *Subject `json:"subject,omitempty"`

	// Subjects are several.
	// +optional
	Subjects []Subject `json:"subjects,omitempty"`

	// RoleRef is the role; left out, the one that the ClusterPermission makes.
	// +optional
	RoleRef *RoleReference `json:"roleRef,omitempty"`

	// Name of the binding; left out, that of the ClusterPermission.
	// +optional
	Name string `json:"name,omitempty"`
}

// Role is the rules of a Role in one namespace or in several.
type Role struct {
	// Namespace of the role.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// NamespaceSelector selects namespaces, among those of the hub. It goes before Namespace.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// Rules of the role.
	// +required
	Rules []PolicyRule `json:"rules"`
}

// RoleBinding gives a role to subjects in one namespace or in several.
type RoleBinding struct {
	// Namespace of the binding.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// NamespaceSelector selects namespaces, among those of the hub. It goes before Namespace.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// Subject is one subject.
	// +optional
	Subject *Subject `json:"subject,omitempty"`

	// Subjects are several.
	// +optional
	Subjects []Subject `json:"subjects,omitempty"`

	// RoleRef is the role.
	// +required
	RoleRef RoleRef `json:"roleRef"`

	// Name of the binding; left out, that of the ClusterPermission.
	// +optional
	Name string `json:"name,omitempty"`
}

// RoleRef is a Role or a ClusterRole.
type RoleRef struct {
	// APIGroup of the role; left out, that of Kubernetes' RBAC.
	// +optional
	APIGroup string `json:"apiGroup,omitempty"`

	// Kind is Role or ClusterRole.
	// +required
	Kind string `json:"kind"`

	// Name of the role; left out, that of the ClusterPermission.
	// +optional
	Name string `json:"name,omitempty"`
}

// RoleReference is Kubernetes' RoleRef.
// +structType=atomic
type RoleReference struct {
	// APIGroup of the role.
	// +required
	APIGroup string `json:"apiGroup"`

	// Kind of the role.
	// +required
	Kind string `json:"kind"`

	// Name of the role.
	// +required
	Name string `json:"name"`
}

// Subject is Kubernetes' Subject, or a ManagedServiceAccount.
// +structType=atomic
type Subject struct {
	// Kind of the subject: User, Group, ServiceAccount, ManagedServiceAccount.
	// +required
	Kind string `json:"kind"`

	// APIGroup of the subject.
	// +optional
	APIGroup string `json:"apiGroup,omitempty"`

	// Name of the subject.
	// +required
	Name string `json:"name"`

	// Namespace of a service account.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// PolicyRule is Kubernetes' PolicyRule.
type PolicyRule struct {
	// Verbs that are allowed.
	// +required
	// +listType=atomic
	Verbs []string `json:"verbs"`

	// APIGroups of the resources.
	// +optional
	// +listType=atomic
	APIGroups []string `json:"apiGroups,omitempty"`

	// Resources that the rule is about.
	// +optional
	// +listType=atomic
	Resources []string `json:"resources,omitempty"`

	// ResourceNames narrow the rule to objects.
	// +optional
	// +listType=atomic
	ResourceNames []string `json:"resourceNames,omitempty"`

	// NonResourceURLs that the rule is about.
	// +optional
	// +listType=atomic
	NonResourceURLs []string `json:"nonResourceURLs,omitempty"`
}

// ClusterPermissionStatus is how far the rights are.
type ClusterPermissionStatus struct {
	// Conditions of the object; see the Condition constants.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ResourceStatus says of each object whether it is applied.
	// +optional
	ResourceStatus *ResourceStatus `json:"resourceStatus,omitempty"`
}

// ResourceStatus says of each object whether it is applied.
type ResourceStatus struct {
	// ClusterRoles that were made.
	// +optional
	ClusterRoles []ClusterRoleStatus `json:"clusterRoles,omitempty"`

	// ClusterRoleBindings that were made.
	// +optional
	ClusterRoleBindings []ClusterRoleBindingStatus `json:"clusterRoleBindings,omitempty"`

	// Roles that were made.
	// +optional
	Roles []RoleStatus `json:"roles,omitempty"`

	// RoleBindings that were made.
	// +optional
	RoleBindings []RoleBindingStatus `json:"roleBindings,omitempty"`
}

// ClusterRoleStatus is how a ClusterRole is.
type ClusterRoleStatus struct {
	// Name of the object.
	// +required
	Name string `json:"name"`

	// Conditions of the object.
	// +optional
	Conditions []metav1.Condition `json:"condition,omitempty"`
}

// ClusterRoleBindingStatus is how a ClusterRoleBinding is.
type ClusterRoleBindingStatus struct {
	// Name of the object.
	// +required
	Name string `json:"name"`

	// Conditions of the object.
	// +optional
	Conditions []metav1.Condition `json:"condition,omitempty"`
}

// RoleStatus is how a Role is.
type RoleStatus struct {
	// Name of the object.
	// +required
	Name string `json:"name"`

	// Namespace of the object.
	// +required
	Namespace string `json:"namespace"`

	// Conditions of the object.
	// +optional
	Conditions []metav1.Condition `json:"condition,omitempty"`
}

// RoleBindingStatus is how a RoleBinding is.
type RoleBindingStatus struct {
	// Name of the object.
	// +required
	Name string `json:"name"`

	// Namespace of the object.
	// +required
	Namespace string `json:"namespace"`

	// Conditions of the object.
	// +optional
	Conditions []metav1.Condition `json:"condition,omitempty"`
}

// +kubebuilder:object:root=true

// ClusterPermissionList is a list of ClusterPermissions.
type ClusterPermissionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterPermission `json:"items"`
}
