package v1alpha1

// AddOnMeta describes an add-on to people.
type AddOnMeta struct {
	// DisplayName is its name for people.
	// +optional
	DisplayName string `json:"displayName,omitempty"`

	// Description says what it does.
	// +optional
	Description string `json:"description,omitempty"`
}

// ConfigGroupResource names a kind of configuration.
type ConfigGroupResource struct {
	// Group of the kind.
	// +optional
	// +kubebuilder:default=""
	Group string `json:"group"`

	// Resource of the kind, in the plural.
	// +required
	// +kubebuilder:validation:MinLength=1
	Resource string `json:"resource"`
}

// ConfigReferent names a configuration of a kind.
type ConfigReferent struct {
	// Namespace of the configuration, if its kind has namespaces.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Name of the configuration.
	// +required
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// AddOnConfig names a configuration.
type AddOnConfig struct {
	ConfigGroupResource `json:",inline"`
	ConfigReferent      `json:",inline"`
}

// ConfigSpecHash names a configuration as it was at one time.
type ConfigSpecHash struct {
	ConfigReferent `json:",inline"`

	// SpecHash is the SHA-256 of everything in the configuration but its metadata and status.
	// +optional
	SpecHash string `json:"specHash,omitempty"`
}

// ConfigCoordinates names the configuration of an add-on by its definition and name. It is deprecated.
type ConfigCoordinates struct {
	// CRDName is the name of the definition.
	// +optional
	CRDName string `json:"crdName,omitempty"`

	// CRName is the name of the object.
	// +optional
	CRName string `json:"crName,omitempty"`

	// LastObservedGeneration of the object.
	// +optional
	LastObservedGeneration int64 `json:"lastObservedGeneration,omitempty"`
}
