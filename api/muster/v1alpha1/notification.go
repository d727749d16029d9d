package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Notification tells somebody what happens to repositories, applications and clusters. One in namespace muster-system hears of
// everything, another one of what is in its own namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Sent",type=integer,JSONPath=`.status.sent`
// +kubebuilder:printcolumn:name="Dead",type=integer,JSONPath=`.status.dead`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
type Notification struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   NotificationSpec   `json:"spec"`
	Status NotificationStatus `json:"status,omitempty"`
}

// The types of receivers.
const (
	NotifySlack        = "Slack"
	NotifyTeams        = "Teams"
	NotifyDiscord      = "Discord"
	NotifyWebhook      = "Webhook"
	NotifyCloudEvents  = "CloudEvents"
	NotifyEmail        = "Email"
	NotifyAlertmanager = "Alertmanager"
)

// NotificationSpec says what is told, to whom, and how.
// +kubebuilder:validation:XValidation:rule="self.type == 'Email' ? has(self.email) && !has(self.url) : !has(self.email)",message="email is for type Email, which has no url"
// +kubebuilder:validation:XValidation:rule="self.type == 'Email' || has(self.url) || has(self.secretRef)",message="set url, or secretRef to a Secret with the key url"
type NotificationSpec struct {
	// Type of the receiver.
	// +kubebuilder:validation:Enum=Slack;Teams;Discord;Webhook;CloudEvents;Email;Alertmanager
	Type string `json:"type"`
	// URL of the receiver. One that is a secret itself, as those of chats are, belongs into the Secret under the key url.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.startsWith('http://') || self.startsWith('https://')",message="use http:// or https://"
	URL string `json:"url,omitempty"`
	// Email of type Email.
	// +optional
	Email *EmailReceiver `json:"email,omitempty"`
	// SecretRef names a Secret of the same namespace: url; token, sent as a bearer token; hmacKey, which signs what a Webhook gets;
	// username and password of the mail server; caFile.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// Events that are told. Left out, all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:Enum=Delivered;Applied;Degraded;Recovered;Held;Released;Drift;DriftCorrected;RolloutStarted;RolloutStopped;RolloutResumed;RolloutCompleted;RolloutReturned;ApprovalNeeded;StepApproved;OnHold;HoldEnded;ClusterLost;ClusterBack;Fault;Resolved
	Events []string `json:"events,omitempty"`
	// Severity is the least that is told: Info, or Warning.
	// +optional
	// +kubebuilder:default=Info
	// +kubebuilder:validation:Enum=Info;Warning
	Severity string `json:"severity,omitempty"`
	// Namespaces whose repositories and applications are told of; clusters have none. Left out, all that it hears of.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Namespaces []string `json:"namespaces,omitempty"`
	// Filter is CEL over event that is true for what is told; see docs/notifications.md.
	// +optional
	Filter string `json:"filter,omitempty"`
	// Template of the message: text with CEL between ${{ and }}, over event, the first of a group, and events.
	// +optional
	Template NotificationTemplate `json:"template,omitempty"`
	// Group makes one message of several events.
	// +optional
	Group NotificationGroup `json:"group,omitempty"`
	// MaxPerHour bounds the messages. What is more waits, and is then told together.
	// +optional
	// +kubebuilder:default=120
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=36000
	MaxPerHour int32 `json:"maxPerHour,omitempty"`
}

// EmailReceiver is a mail server and who gets the mail.
type EmailReceiver struct {
	// Server as host:port. TLS is begun with STARTTLS where the server offers it, and from the start on port 465.
	// +kubebuilder:validation:MinLength=3
	Server string `json:"server"`
	From   string `json:"from"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	To []string `json:"to"`
}

// NotificationTemplate is what a message says.
type NotificationTemplate struct {
	// +optional
	Title string `json:"title,omitempty"`
	// +optional
	Body string `json:"body,omitempty"`
}

// NotificationGroup says which events come in one message.
type NotificationGroup struct {
	// By is what they have in common. Left out, Event and Namespace. None of them: all that come together.
	// +optional
	// +listType=set
	// +kubebuilder:validation:items:Enum=Event;Namespace;Object;None
	By []string `json:"by,omitempty"`
	// Wait for more after the first event.
	// +optional
	// +kubebuilder:default="5s"
	Wait metav1.Duration `json:"wait,omitempty"`
}

// NotificationStatus says how the receiver does.
type NotificationStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Sent messages, and LastSentAt.
	// +optional
	Sent int64 `json:"sent,omitempty"`
	// +optional
	LastSentAt *metav1.Time `json:"lastSentAt,omitempty"`
	// Dead is how many messages were given up.
	// +optional
	Dead int64 `json:"dead,omitempty"`
	// DeadLetters are the last ten of them.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	DeadLetters []DeadLetter `json:"deadLetters,omitempty"`
	// Test is how the last muster notify --test went.
	// +optional
	Test *NotificationTest `json:"test,omitempty"`
	// Conditions: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// DeadLetter is a message that was given up.
type DeadLetter struct {
	At metav1.Time `json:"at"`
	// Title of the message, and the number of events in it.
	Title  string `json:"title"`
	Events int32  `json:"events"`
	// Attempts that were made, and the last error.
	Attempts int32  `json:"attempts"`
	Error    string `json:"error"`
}

// NotificationTest is how a test went.
type NotificationTest struct {
	// ID that asked for it.
	ID string `json:"id"`
	// Error; empty when the receiver took it.
	// +optional
	Error string `json:"error,omitempty"`
}

// NotificationList is a list of Notification.
// +kubebuilder:object:root=true
type NotificationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Notification `json:"items"`
}
