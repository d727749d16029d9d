package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:storageversion

// AddOnDeploymentConfig says how the agent of an add-on is deployed. It is a configuration: clusters may have different ones.
type AddOnDeploymentConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec of the configuration.
	// +required
	Spec AddOnDeploymentConfigSpec `json:"spec"`
}

// AddOnDeploymentConfigSpec says how an agent is deployed.
type AddOnDeploymentConfigSpec struct {
	// CustomizedVariables are values of the add-on's variables.
	// +optional
	// +listType=map
	// +listMapKey=name
	CustomizedVariables []CustomizedVariable `json:"customizedVariables,omitempty"`

	// NodePlacement says on which nodes the agent runs.
	// +optional
	NodePlacement *NodePlacement `json:"nodePlacement,omitempty"`

	// Registries are mirrors for the agent's images.
	// +optional
	Registries []ImageMirror `json:"registries,omitempty"`

	// ProxyConfig is the proxy of the agent.
	// +optional
	ProxyConfig ProxyConfig `json:"proxyConfig,omitzero"`

	// AgentInstallNamespace is where the agent runs on the cluster. Empty leaves it to the ManagedClusterAddOn.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	// +kubebuilder:default=open-cluster-management-agent-addon
	AgentInstallNamespace string `json:"agentInstallNamespace,omitempty"`

	// ResourceRequirements of the agent's containers. Of several that match a container the last one counts.
	// +optional
	// +listType=map
	// +listMapKey=containerID
	ResourceRequirements []ContainerResourceRequirements `json:"resourceRequirements,omitempty"`
}

// CustomizedVariable is the value of a variable.
type CustomizedVariable struct {
	// Name of the variable.
	// +required
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[a-zA-Z_][_a-zA-Z0-9]*$`
	Name string `json:"name"`

	// Value of the variable.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value"`
}

// NodePlacement says on which nodes pods run.
type NodePlacement struct {
	// NodeSelector of the pods.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Tolerations of the pods.
	// +optional
	Tolerations []Toleration `json:"tolerations,omitempty"`
}

// Toleration of a pod, as in Kubernetes.
type Toleration struct {
	// Key of the taint; left out, all.
	// +optional
	Key string `json:"key,omitempty"`

	// Operator is Exists or Equal.
	// +optional
	Operator string `json:"operator,omitempty"`

	// Value of the taint.
	// +optional
	Value string `json:"value,omitempty"`

	// Effect of the taint; left out, all.
	// +optional
	Effect string `json:"effect,omitempty"`

	// TolerationSeconds is how long the effect NoExecute is tolerated.
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// ImageMirror is a mirror of a registry.
type ImageMirror struct {
	// Mirror takes the place of the source in the names of images.
	// +required
	Mirror string `json:"mirror"`

	// Source is the registry or the beginning of the name that it takes the place of; left out, all but the image's own name.
	// +optional
	Source string `json:"source"`
}

// ProxyConfig is the proxy of an agent.
type ProxyConfig struct {
	// HTTPProxy is the value of HTTP_PROXY.
	// +optional
	HTTPProxy string `json:"httpProxy,omitempty"`

	// HTTPSProxy is the value of HTTPS_PROXY.
	// +optional
	HTTPSProxy string `json:"httpsProxy,omitempty"`

	// CABundle holds the CA certificates of the proxy.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`

	// NoProxy is the value of NO_PROXY.
	// +optional
	NoProxy string `json:"noProxy,omitempty"`
}

// ContainerResourceRequirements are the resources of containers.
type ContainerResourceRequirements struct {
	// ContainerID is <resource>:<name>:<container>, each of which may be *.
	// +required
	// +kubebuilder:validation:Pattern=`^(deployments|daemonsets|statefulsets|replicasets|jobs|cronjobs|pods|\*):.+:.+$`
	ContainerID string `json:"containerID"`

	// Resources of the containers.
	// +required
	Resources ResourceRequirements `json:"resources"`
}

// ResourceRequirements of a container, as in Kubernetes.
type ResourceRequirements struct {
	// Limits of the container.
	// +optional
	Limits map[string]resource.Quantity `json:"limits,omitempty"`

	// Requests of the container.
	// +optional
	Requests map[string]resource.Quantity `json:"requests,omitempty"`

	// Claims of the container.
	// +optional
	// +listType=map
	// +listMapKey=name
	Claims []ResourceClaim `json:"claims,omitempty"`
}

// ResourceClaim names a claim of the pod.
type ResourceClaim struct {
	// Name of the claim.
	// +required
	Name string `json:"name"`

	// Request of the claim; left out, all.
	// +optional
	Request string `json:"request,omitempty"`
}

// +kubebuilder:object:root=true

// AddOnDeploymentConfigList is a list of configurations.
type AddOnDeploymentConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AddOnDeploymentConfig `json:"items"`
}
