package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ReviewPolicy says what a change of a fleet repository must not do, as CEL over its plan. It is evaluated before the merge: a policy
// in namespace muster-system for every repository, another one for the repositories of its own namespace. What counts is the policy of
// the base: a pull request cannot change the rules that it is held against.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.spec.action`
type ReviewPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ReviewPolicySpec `json:"spec"`
}

// The actions of a ReviewPolicy.
const (
	ReviewDeny = "Deny"
	ReviewWarn = "Warn"
)

// ReviewPolicySpec holds the rules.
type ReviewPolicySpec struct {
	// Action is what becomes of a change that breaks a rule: Deny fails the check, Warn is told and fails nothing.
	// +optional
	// +kubebuilder:default=Deny
	// +kubebuilder:validation:Enum=Deny;Warn
	Action string `json:"action,omitempty"`
	// Validations that must all hold.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Validations []ReviewValidation `json:"validations"`
}

// ReviewValidation is one rule, in the shape of those of a ValidatingAdmissionPolicy.
type ReviewValidation struct {
	// Expression is CEL over plan, clusters and change; see docs/review.md. The change breaks the rule when it is false, or cannot be
	// evaluated.
	// +kubebuilder:validation:MinLength=1
	Expression string `json:"expression"`
	// Message that the author of the change reads. Left out, it quotes the expression.
	// +optional
	Message string `json:"message,omitempty"`
	// MessageExpression is CEL that makes the message, and goes before it.
	// +optional
	MessageExpression string `json:"messageExpression,omitempty"`
}

// ReviewPolicyList is a list of ReviewPolicy.
// +kubebuilder:object:root=true
type ReviewPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ReviewPolicy `json:"items"`
}
