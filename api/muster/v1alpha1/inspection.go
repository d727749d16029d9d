package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Inspection asks a cluster about one application on it, once. It is in the namespace of the cluster. The cluster's agent answers in the
// status, over its own connection to the hub: with the application's objects, those that they own down to pods, and their events; or
// with the end of a pod's log; or with one of the objects as it is. The hub deletes an Inspection two minutes after it was made.
//
// Who creates one needs the right to get the application on the hub, for logs the right create on inspections/logs, and for an object the
// right create on inspections/objects. Whoever may get an Inspection reads its answer: give nobody the right to list them, and choose
// a name that nobody guesses.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Application",type=string,JSONPath=`.spec.application.name`
// +kubebuilder:printcolumn:name="Answered",type=string,JSONPath=`.status.conditions[?(@.type=="Answered")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Inspection struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an Inspection does not change: make another one"
	Spec InspectionSpec `json:"spec"`
	// +optional
	Status InspectionStatus `json:"status,omitzero"`
}

// InspectionSpec is the question.
// +kubebuilder:validation:XValidation:rule="!(has(self.logs) && has(self.object))",message="an Inspection asks for a log or for an object"
type InspectionSpec struct {
	// Application on the hub.
	Application InspectedApplication `json:"application"`
	// Logs asks for the end of a pod's log. Left out, the question is about the objects.
	// +optional
	Logs *InspectionLogs `json:"logs,omitempty"`
	// Object asks for one of the objects as it is, without the values of a Secret.
	// +optional
	Object *InspectionObject `json:"object,omitempty"`
}

// InspectedApplication names an application.
type InspectedApplication struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// InspectionLogs says whose log, and how much of it.
type InspectionLogs struct {
	// Namespace of the pod on the cluster. Left out, any of the application's.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Pod of the application. Left out, the one that does worst.
	// +optional
	Pod string `json:"pod,omitempty"`
	// Container of the pod. Left out, the one that does worst, else the first.
	// +optional
	Container string `json:"container,omitempty"`
	// Lines from the end.
	// +optional
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2000
	Lines int64 `json:"lines,omitempty"`
	// Previous is the log of the container before it was started anew.
	// +optional
	Previous bool `json:"previous,omitempty"`
}

// InspectionObject names an object of the application, or one that these own.
type InspectionObject struct {
	// +optional
	Group string `json:"group,omitempty"`
	// +kubebuilder:validation:MinLength=1
	Kind string `json:"kind"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// ConditionAnswered of an Inspection: True when the status has the answer, False when there is none, and why. Without it, the agent
// has not answered yet.
const ConditionAnswered = "Answered"

// Reasons of ConditionAnswered.
const (
	ReasonAnswered = "Answered"
	// ReasonNotDelivered: the cluster has no work of the application.
	ReasonNotDelivered = "NotDelivered"
	// ReasonNoPod: the application has no such pod, or the pod no such container.
	ReasonNoPod = "NoPod"
	// ReasonNoObject: the application has no such object.
	ReasonNoObject = "NoObject"
	// ReasonUnreadable: the cluster's API server did not answer the agent.
	ReasonUnreadable = "Unreadable"
)

// InspectionStatus is the answer.
type InspectionStatus struct {
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Objects of the application, each before those that it owns.
	// +optional
	Objects []InspectedObject `json:"objects,omitempty"`
	// OmittedObjects is how many there were beyond what an answer holds.
	// +optional
	OmittedObjects int32 `json:"omittedObjects,omitempty"`
	// Events of these objects, the newest first.
	// +optional
	Events []InspectedEvent `json:"events,omitempty"`
	// Notes say what the agent could not read.
	// +optional
	Notes []string `json:"notes,omitempty"`
	// +optional
	Log *InspectedLog `json:"log,omitempty"`
	// Live is the object that was asked for, as JSON without its managed fields; of a Secret without its values.
	// +optional
	Live string `json:"live,omitempty"`
}

// InspectedObject is an object on the cluster. Nothing of its content is in it.
type InspectedObject struct {
	// +optional
	Group string `json:"group,omitempty"`
	Kind  string `json:"kind"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// UID is empty where the object is missing.
	// +optional
	UID string `json:"uid,omitempty"`
	// Owner is the UID of the object of the list that owns it; empty for what the application applied.
	// +optional
	Owner string `json:"owner,omitempty"`
	// Health is Healthy, Progressing, Degraded, Unknown or Missing.
	Health string `json:"health"`
	// Message says why it is not Healthy.
	// +optional
	Message string `json:"message,omitempty"`
	// +optional
	Created *metav1.Time `json:"created,omitempty"`
	// +optional
	Pod *InspectedPod `json:"pod,omitempty"`
}

// InspectedPod is what is told of a pod beside.
type InspectedPod struct {
	// +optional
	Phase string `json:"phase,omitempty"`
	// +optional
	Node string `json:"node,omitempty"`
	// Containers, init containers first.
	// +optional
	Containers []InspectedContainer `json:"containers,omitempty"`
}

// InspectedContainer is a container of a pod.
type InspectedContainer struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	// +optional
	Restarts int32 `json:"restarts,omitempty"`
	// State is Running, or the reason why it waits or has ended.
	// +optional
	State string `json:"state,omitempty"`
}

// InspectedEvent is what the cluster says has happened to an object.
type InspectedEvent struct {
	// Object is the UID of the object.
	Object string `json:"object"`
	// Type is Normal or Warning.
	// +optional
	Type string `json:"type,omitempty"`
	// +optional
	Reason string `json:"reason,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
	// +optional
	Count int32 `json:"count,omitempty"`
	// Last time that it happened.
	Last metav1.Time `json:"last"`
}

// InspectedLog is the end of a container's log.
type InspectedLog struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
	Text      string `json:"text"`
	// Cut says that lines before these were left out because of their size.
	// +optional
	Cut bool `json:"cut,omitempty"`
}

// InspectionList is a list of Inspection.
// +kubebuilder:object:root=true
type InspectionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Inspection `json:"items"`
}
