package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AddOnName is the name of the add-on, and of the SubmarinerConfig in the namespace of a cluster.
const AddOnName = "submariner"

// Condition types of a SubmarinerConfig.
const (
	// ConditionConfigApplied says that what the cluster gets is as the SubmarinerConfig says.
	ConditionConfigApplied = "SubmarinerConfigApplied"
	// ConditionEnvironmentPrepared says whether the machines of the cluster are as Submariner needs them.
	ConditionEnvironmentPrepared = "SubmarinerClusterEnvironmentPrepared"
)

// Condition types of the ManagedClusterAddOn submariner.
const (
	// ConditionBrokerConfigApplied says whether the cluster knows its broker.
	ConditionBrokerConfigApplied = "SubmarinerBrokerConfigApplied"
	// ConditionGatewaysLabeled says whether as many nodes as wanted are gateways.
	ConditionGatewaysLabeled = "SubmarinerGatewaysLabeled"
	// ConditionConnectionDegraded is False while the cluster is connected with all others of its set.
	ConditionConnectionDegraded = "SubmarinerConnectionDegraded"
	// ConditionRouteAgentConnectionDegraded is False while the route agent is ready on all nodes.
	ConditionRouteAgentConnectionDegraded = "RouteAgentConnectionDegraded"
)

// Names of what submariner-addon makes, which ours has too.
const (
	// BrokerNamespaceAnnotation on a ManagedClusterSet names the namespace of its broker.
	BrokerNamespaceAnnotation = "cluster.open-cluster-management.io/submariner-broker-ns"
	// GlobalnetAnnotation, "true" on a ManagedClusterSet, gives its clusters networks that do not overlap; from a range, with so many
	// addresses each, as the other two annotations say.
	GlobalnetAnnotation      = "cluster.open-cluster-management.io/brokerGlobalnetEnabled"
	GlobalnetRangeAnnotation = "cluster.open-cluster-management.io/brokerGlobalnetCIDRRange"
	GlobalnetSizeAnnotation  = "cluster.open-cluster-management.io/brokerDefaultGlobalnetClusterSize"
	// BrokerFinalizer keeps a ManagedClusterSet until its broker is gone.
	BrokerFinalizer = "cluster.open-cluster-management.io/submariner-cleanup"
	// AddOnFinalizer keeps a ManagedClusterAddOn until Submariner is gone from its cluster.
	AddOnFinalizer = "submarineraddon.open-cluster-management.io/submariner-addon-cleanup"
	// ServiceAccountLabel is on the broker's account of a cluster.
	ServiceAccountLabel = "cluster.open-cluster-management.io/submariner-cluster-sa"
	// OperatorWork and ResourceWork are the works of a cluster.
	OperatorWork = "submariner-operator"
	ResourceWork = "submariner-resource"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status
// +kubebuilder:storageversion

// SubmarinerConfig says how Submariner is set up on the managed cluster in whose namespace it is.
type SubmarinerConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	// +optional
	Spec SubmarinerConfigSpec `json:"spec,omitzero"`

	// Status is how far it is.
	// +optional
	Status SubmarinerConfigStatus `json:"status,omitzero"`
}

// SubmarinerConfigSpec is what is wanted of Submariner on a cluster.
type SubmarinerConfigSpec struct {
	// CableDriver is what tunnels are made of: libreswan, wireguard or vxlan.
	// +optional
	// +kubebuilder:default=libreswan
	CableDriver string `json:"cableDriver,omitempty"`

	// GlobalCIDR is the range of addresses of the cluster among those whose networks overlap.
	// +optional
	GlobalCIDR string `json:"globalCIDR,omitempty"`

	// IPSecIKEPort is the port of IPsec's key exchange.
	// +optional
	// +kubebuilder:default=500
	IPSecIKEPort int32 `json:"IPSecIKEPort,omitempty"`

	// IPSecNATTPort is the port of IPsec through NAT.
	// +optional
	// +kubebuilder:default=4500
	IPSecNATTPort int32 `json:"IPSecNATTPort,omitempty"`

	// NATTDiscoveryPort is the UDP port with which gateways find out about NAT.
	// +optional
	// +kubebuilder:default=4900
	NATTDiscoveryPort int32 `json:"NATTDiscoveryPort,omitempty"`

	// NATTEnable lets gateways reach each other through NAT.
	// +optional
	// +kubebuilder:default=true
	NATTEnable *bool `json:"NATTEnable,omitempty"`

	// AirGappedDeployment says that the cluster reaches no server outside.
	// +optional
	// +kubebuilder:default=false
	AirGappedDeployment bool `json:"airGappedDeployment,omitempty"`

	// LoadBalancerEnable puts a Service of type LoadBalancer before the gateways.
	// +optional
	// +kubebuilder:default=false
	LoadBalancerEnable bool `json:"loadBalancerEnable,omitempty"`

	// InsecureBrokerConnection does not check the certificate of the broker.
	// +optional
	// +kubebuilder:default=false
	InsecureBrokerConnection bool `json:"insecureBrokerConnection,omitempty"`

	// HaltOnCertificateError ends a component that cannot check a certificate, so that it starts anew.
	// +optional
	// +kubebuilder:default=true
	HaltOnCertificateError *bool `json:"haltOnCertificateError,omitempty"`

	// HostedCluster says that the control plane of the cluster runs elsewhere.
	// +optional
	// +kubebuilder:default=false
	HostedCluster bool `json:"hostedCluster,omitempty"`

	// IPSecDebug logs more about IPsec.
	// +optional
	// +kubebuilder:default=false
	IPSecDebug bool `json:"IPSecDebug,omitempty"`

	// ForceUDPEncaps puts IPsec into UDP always.
	// +optional
	// +kubebuilder:default=false
	ForceUDPEncaps bool `json:"forceUDPEncaps,omitempty"`

	// Debug logs more.
	// +optional
	// +kubebuilder:default=false
	Debug bool `json:"Debug,omitempty"`

	// CredentialsSecret names a Secret with which machines would be prepared in a cloud. Muster prepares none: label gateway nodes.
	// +optional
	CredentialsSecret *LocalObjectReference `json:"credentialsSecret,omitempty"`

	// SubscriptionConfig is about the Operator Lifecycle Manager, which Muster does not use. StartingCSV names the version.
	// +optional
	SubscriptionConfig SubscriptionConfig `json:"subscriptionConfig,omitzero"`

	// ImagePullSpecs are images that replace the operator's own choice.
	// +optional
	ImagePullSpecs SubmarinerImagePullSpecs `json:"imagePullSpecs,omitzero"`

	// GatewayConfig is about the gateway nodes.
	// +optional
	GatewayConfig GatewayConfig `json:"gatewayConfig,omitzero"`
}

// LocalObjectReference names an object of the same namespace.
type LocalObjectReference struct {
	// Name of the object.
	// +optional
	Name string `json:"name,omitempty"`
}

// SubscriptionConfig is a subscription of the Operator Lifecycle Manager.
type SubscriptionConfig struct {
	// Source is the catalogue.
	// +optional
	Source string `json:"source,omitempty"`

	// SourceNamespace is where the catalogue is.
	// +optional
	SourceNamespace string `json:"sourceNamespace,omitempty"`

	// Channel of updates.
	// +optional
	Channel string `json:"channel,omitempty"`

	// StartingCSV is the version to begin with, such as submariner.v0.20.1.
	// +optional
	StartingCSV string `json:"startingCSV,omitempty"`

	// InstallPlanApproval is Automatic or Manual.
	// +optional
	InstallPlanApproval string `json:"installPlanApproval,omitempty"`
}

// SubmarinerImagePullSpecs are images of Submariner's components.
type SubmarinerImagePullSpecs struct {
	// SubmarinerImagePullSpec is the image of the gateway.
	// +optional
	SubmarinerImagePullSpec string `json:"submarinerImagePullSpec,omitempty"`

	// LighthouseAgentImagePullSpec is the image of the agent of service discovery.
	// +optional
	LighthouseAgentImagePullSpec string `json:"lighthouseAgentImagePullSpec,omitempty"`

	// LighthouseCoreDNSImagePullSpec is the image of the DNS server of service discovery.
	// +optional
	LighthouseCoreDNSImagePullSpec string `json:"lighthouseCoreDNSImagePullSpec,omitempty"`

	// SubmarinerRouteAgentImagePullSpec is the image of the route agent.
	// +optional
	SubmarinerRouteAgentImagePullSpec string `json:"submarinerRouteAgentImagePullSpec,omitempty"`

	// SubmarinerGlobalnetImagePullSpec is the image of what translates global addresses.
	// +optional
	SubmarinerGlobalnetImagePullSpec string `json:"submarinerGlobalnetImagePullSpec,omitempty"`

	// SubmarinerNetworkPluginSyncerImagePullSpec is the image of what tells network plugins.
	// +optional
	SubmarinerNetworkPluginSyncerImagePullSpec string `json:"submarinerNetworkPluginSyncerImagePullSpec,omitempty"`

	// MetricsProxyImagePullSpec is the image of the proxy of metrics.
	// +optional
	MetricsProxyImagePullSpec string `json:"metricsProxyImagePullSpec,omitempty"`

	// NettestImagePullSpec is the image of the tests of the network.
	// +optional
	NettestImagePullSpec string `json:"nettestImagePullSpec,omitempty"`
}

// GatewayConfig is about the gateway nodes.
type GatewayConfig struct {
	// AWS is about machines of Amazon Web Services.
	// +optional
	AWS InstanceType `json:"aws,omitzero"`

	// GCP is about machines of Google Cloud Platform.
	// +optional
	GCP InstanceType `json:"gcp,omitzero"`

	// Azure is about machines of Azure.
	// +optional
	Azure InstanceType `json:"azure,omitzero"`

	// RHOS is about machines of OpenStack.
	// +optional
	RHOS InstanceType `json:"rhos,omitzero"`

	// Gateways is how many nodes are to be gateways.
	// +optional
	// +kubebuilder:default=1
	Gateways int32 `json:"gateways,omitempty"`
}

// InstanceType is a type of machines.
type InstanceType struct {
	// InstanceType as the cloud names it.
	// +optional
	InstanceType string `json:"instanceType,omitempty"`
}

// SubmarinerConfigStatus is how far a SubmarinerConfig is.
type SubmarinerConfigStatus struct {
	// Conditions of the configuration.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ManagedClusterInfo is what is known of the cluster.
	// +optional
	ManagedClusterInfo ManagedClusterInfo `json:"managedClusterInfo,omitzero"`
}

// ManagedClusterInfo is what a cluster claims of itself.
type ManagedClusterInfo struct {
	// ClusterName is the name of the managed cluster.
	// +optional
	ClusterName string `json:"clusterName,omitempty"`

	// Vendor of its Kubernetes.
	// +optional
	Vendor string `json:"vendor,omitempty"`

	// Platform is the cloud that it runs on.
	// +optional
	Platform string `json:"platform,omitempty"`

	// Region of the cloud.
	// +optional
	Region string `json:"region,omitempty"`

	// InfraID names the cluster in its cloud.
	// +optional
	InfraID string `json:"infraId,omitempty"`

	// VendorVersion is the version of the vendor's Kubernetes.
	// +optional
	VendorVersion string `json:"vendorVersion,omitempty"`

	// NetworkType is the network plugin.
	// +optional
	NetworkType string `json:"networkType,omitempty"`
}

// +kubebuilder:object:root=true

// SubmarinerConfigList is a list of SubmarinerConfigs.
type SubmarinerConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []SubmarinerConfig `json:"items"`
}
