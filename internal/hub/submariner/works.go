package submariner

import (
	_ "embed" // the operator
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/work"
)

// What the operator is unless a configuration says otherwise.
const (
	installNamespace  = "submariner-operator"
	defaultVersion    = "0.20.0"
	defaultRepository = "quay.io/submariner"
	versionVariable   = "SUBMARINER_VERSION"
	repoVariable      = "SUBMARINER_REPOSITORY"
	brokerSecret      = "submariner-broker-secret"
)

//go:embed operator.yaml
var operator []byte

// facts are what the works of a cluster are made of.
type facts struct {
	addon   *addonv1alpha1.ManagedClusterAddOn
	cluster *clusterv1.ManagedCluster
	// config is empty when the cluster has none.
	config submarinerv1alpha1.SubmarinerConfigSpec
	// configs are the AddOnDeploymentConfigs; the later ones win.
	configs []*addonv1alpha1.AddOnDeploymentConfig
	// peers are the other clusters of the set.
	peers []string
	broker
}

// broker is what a cluster needs to know to reach its broker.
type broker struct {
	apiServer, namespace string
	network              string // of Globalnet; "" without
	ca, token, key       []byte
}

// namespaceOf is where the operator runs. OCM's default namespace is all add-ons', and would go with the operator's.
func namespaceOf(mca *addonv1alpha1.ManagedClusterAddOn, configs []*addonv1alpha1.AddOnDeploymentConfig) string {
	if namespace := addon.InstallNamespaceOf(mca, configs); namespace != addonv1alpha1.DefaultInstallNamespace {
		return namespace
	}
	return installNamespace
}

// worksOf are the works of a cluster, the operator's first.
func worksOf(f facts) ([]addon.Part, error) {
	namespace := namespaceOf(f.addon, f.configs)
	version := strings.TrimPrefix(f.config.SubscriptionConfig.StartingCSV, "submariner.v")
	defaults := &addonv1alpha1.AddOnDeploymentConfig{}
	defaults.Spec.CustomizedVariables = []addonv1alpha1.CustomizedVariable{{Name: versionVariable, Value: defaultVersion}, {Name: repoVariable, Value: defaultRepository}}
	if version != "" {
		defaults.Spec.CustomizedVariables[0].Value = version
	}
	configs := []*addonv1alpha1.AddOnDeploymentConfig{defaults}
	for _, c := range f.configs {
		c = c.DeepCopy()
		c.Spec.AgentInstallNamespace = namespace
		configs = append(configs, c)
	}
	mca := f.addon.DeepCopy()
	mca.Spec.InstallNamespace = namespace
	template, err := operatorTemplate()
	if err != nil {
		return nil, err
	}
	rendered, err := addon.Render(addon.Input{AddOn: mca, Cluster: f.cluster, Template: template, Configs: configs})
	if err != nil {
		return nil, err
	}
	parts, err := rendered.Parts(func(i int) string {
		if i > 0 {
			return fmt.Sprintf("%s-%d", submarinerv1alpha1.OperatorWork, i)
		}
		return submarinerv1alpha1.OperatorWork
	}, rendered.Managed.Deploy)
	if err != nil {
		return nil, err
	}
	spec, err := resourceSpec(f, namespace, variablesOf(configs))
	return append(parts, addon.Part{Name: submarinerv1alpha1.ResourceWork, Spec: spec}), err
}

// operatorTemplate is the operator as a template of an add-on, so that variables, registries and node placement are what they are for others.
func operatorTemplate() (*addonv1alpha1.AddOnTemplate, error) {
	template := &addonv1alpha1.AddOnTemplate{}
	template.Name = submarinerv1alpha1.OperatorWork
	for document := range strings.SplitSeq(string(operator), "\n---\n") {
		data, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			return nil, fmt.Errorf("read the operator's manifests: %w", err)
		}
		template.Spec.AgentSpec.Workload.Manifests = append(template.Spec.AgentSpec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: data}})
	}
	return template, nil
}

func variablesOf(configs []*addonv1alpha1.AddOnDeploymentConfig) map[string]string {
	out := map[string]string{}
	for _, c := range configs {
		for _, v := range c.Spec.CustomizedVariables {
			out[v.Name] = v.Value
		}
	}
	return out
}

// resourceSpec is the work that tells the operator where the broker is.
func resourceSpec(f facts, namespace string, variables map[string]string) (workv1.ManifestWorkSpec, error) {
	secret := func(name string, data map[string][]byte) *corev1.Secret {
		s := &corev1.Secret{Data: data, Type: corev1.SecretTypeOpaque}
		s.APIVersion, s.Kind, s.Namespace, s.Name = "v1", "Secret", namespace, name
		return s
	}
	var spec workv1.ManifestWorkSpec
	for _, manifest := range []any{
		secret(brokerSecret, map[string][]byte{"token": f.token, corev1.ServiceAccountRootCAKey: f.ca}),
		secret(keySecret, map[string][]byte{"psk": f.key}),
		resource(f, namespace, variables),
	} {
		data, err := json.Marshal(manifest)
		if err != nil {
			return spec, fmt.Errorf("encode a manifest of work %s: %w", submarinerv1alpha1.ResourceWork, err)
		}
		spec.Workload.Manifests = append(spec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: data}})
	}
	spec.ManifestConfigs = []workv1.ManifestConfigOption{{
		ResourceIdentifier: workv1.ResourceIdentifier{Group: "submariner.io", Resource: "submariners", Namespace: namespace, Name: submarinerv1alpha1.AddOnName},
		FeedbackRules:      []workv1.FeedbackRule{{Type: workv1.JSONPathsType, JsonPaths: feedback(f.peers)}},
		FeedbackScrapeType: workv1.FeedbackPollType, // the default, which the API server would add
	}}
	return work.WithHealth(spec), nil
}

// resource is the Submariner, from which the operator makes the rest.
func resource(f facts, namespace string, variables map[string]string) map[string]any {
	c := f.config
	spec := map[string]any{
		"broker": "k8s", "brokerK8sApiServer": f.apiServer, "brokerK8sRemoteNamespace": f.namespace, "brokerK8sSecret": brokerSecret,
		"brokerK8sInsecure": c.InsecureBrokerConnection, "ceIPSecPSKSecret": keySecret, "clusterID": f.cluster.Name,
		"cableDriver": orElse(c.CableDriver, "libreswan"), "ceIPSecIKEPort": orElse(c.IPSecIKEPort, 500), "ceIPSecNATTPort": orElse(c.IPSecNATTPort, 4500),
		"ceIPSecDebug": c.IPSecDebug, "ceIPSecForceUDPEncaps": c.ForceUDPEncaps, "debug": c.Debug, "natEnabled": ptr.Deref(c.NATTEnable, true),
		"globalCIDR": orElse(c.GlobalCIDR, f.network), "clusterCIDR": "", "serviceCIDR": "", "colorCodes": "blue", "serviceDiscoveryEnabled": true,
		"airGappedDeployment": c.AirGappedDeployment, "loadBalancerEnabled": c.LoadBalancerEnable, "hostedCluster": c.HostedCluster,
		"haltOnCertificateError": ptr.Deref(c.HaltOnCertificateError, true), "namespace": namespace,
		"version": variables[versionVariable], "repository": variables[repoVariable],
	}
	images := map[string]any{}
	for name, image := range map[string]string{
		"submariner-gateway": c.ImagePullSpecs.SubmarinerImagePullSpec, "submariner-route-agent": c.ImagePullSpecs.SubmarinerRouteAgentImagePullSpec,
		"submariner-globalnet": c.ImagePullSpecs.SubmarinerGlobalnetImagePullSpec, "submariner-networkplugin-syncer": c.ImagePullSpecs.SubmarinerNetworkPluginSyncerImagePullSpec,
		"submariner-lighthouse-agent": c.ImagePullSpecs.LighthouseAgentImagePullSpec, "submariner-lighthouse-coredns": c.ImagePullSpecs.LighthouseCoreDNSImagePullSpec,
		"submariner-metrics-proxy": c.ImagePullSpecs.MetricsProxyImagePullSpec, "submariner-nettest": c.ImagePullSpecs.NettestImagePullSpec,
	} {
		if image != "" {
			images[name] = image
		}
	}
	if len(images) > 0 {
		spec["imageOverrides"] = images
	}
	return map[string]any{
		"apiVersion": "submariner.io/v1alpha1", "kind": "Submariner",
		"metadata": map[string]any{"name": submarinerv1alpha1.AddOnName, "namespace": namespace}, "spec": spec,
	}
}

func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// The values of feedback. Those of connections are named after the peer.
const (
	gatewaysValue     = "Gateways"
	agentsReadyValue  = "RouteAgentsReady"
	agentsWantedValue = "RouteAgentsWanted"
	connectionPrefix  = "Connection-"
)

// feedback asks for one value a peer, since OCM's agents report no lists: how the active gateway is connected with it.
func feedback(peers []string) []workv1.JsonPath {
	paths := []workv1.JsonPath{
		{Name: gatewaysValue, Path: ".status.gatewayDaemonSetStatus.status.desiredNumberScheduled"},
		{Name: agentsReadyValue, Path: ".status.routeAgentDaemonSetStatus.status.numberReady"},
		{Name: agentsWantedValue, Path: ".status.routeAgentDaemonSetStatus.status.desiredNumberScheduled"},
	}
	for _, peer := range slices.Sorted(slices.Values(peers)) {
		paths = append(paths, workv1.JsonPath{
			Name: connectionPrefix + peer,
			Path: fmt.Sprintf(`.status.gateways[?(@.haStatus=="active")].connections[?(@.endpoint.cluster_id==%q)].status`, peer),
		})
	}
	return paths
}
