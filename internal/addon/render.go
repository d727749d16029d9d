package addon

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/work"
)

// ImageRegistriesAnnotation on a ManagedCluster holds mirrors as JSON. Those of an AddOnDeploymentConfig win over it.
const ImageRegistriesAnnotation = "open-cluster-management.io/image-registries"

// Input is what an add-on on a cluster is rendered from.
type Input struct {
	AddOn    *addonv1alpha1.ManagedClusterAddOn
	Cluster  *clusterv1.ManagedCluster
	Template *addonv1alpha1.AddOnTemplate
	// Configs are the AddOnDeploymentConfigs of the cluster; the later ones win.
	Configs []*addonv1alpha1.AddOnDeploymentConfig
	// Rendered are manifests beside the template's that are as they are to be: without variables, and in their namespaces.
	Rendered []workv1.Manifest
}

// Rendered is an add-on on a cluster.
type Rendered struct {
	// InstallNamespace is where its agent runs.
	InstallNamespace string
	// Managed are the manifests for the cluster itself, Hosting those for the cluster that hosts its agent.
	Managed, Hosting Manifests
	// Spec is that of every work, without manifests.
	Spec workv1.ManifestWorkSpec
}

// Manifests of an add-on for one cluster.
type Manifests struct {
	// Deploy are applied as long as the add-on is there, Hooks before it goes.
	Deploy, Hooks []*unstructured.Unstructured
}

// HostingCluster is the cluster that hosts the agent of an add-on; "" when it runs on its own cluster.
func HostingCluster(mca *addonv1alpha1.ManagedClusterAddOn) string {
	return mca.Annotations[addonv1alpha1.HostingClusterAnnotation]
}

// Render makes the manifests of an add-on for one cluster. An error names the manifest, and is the author's to mend.
func Render(in Input) (Rendered, error) {
	config := merged(in.Configs)
	if len(config.Registries) == 0 {
		config.Registries = clusterMirrors(in.Cluster)
	}
	out := Rendered{InstallNamespace: InstallNamespaceOf(in.AddOn, in.Configs), Spec: *in.Template.Spec.AgentSpec.DeepCopy()}
	out.Spec.Workload.Manifests = nil
	variables := variablesOf(in, config, out.InstallNamespace)
	setup := &podSetup{env: environment(variables), volumes: volumesOf(in, config), config: config, mirrors: config.Registries}
	manifests := in.Template.Spec.AgentSpec.Workload.Manifests
	if len(config.ProxyConfig.CABundle) > 0 {
		manifests = append(slices.Clone(manifests), proxyCA(in, config, out.InstallNamespace))
	}
	for i, m := range slices.Concat(manifests, in.Rendered) {
		var o *unstructured.Unstructured
		var err error
		if i < len(manifests) {
			o, err = renderOne(m, variables, setup, config.AgentInstallNamespace)
		} else {
			o, err = setup.rendered(m)
		}
		if err != nil {
			return Rendered{}, fmt.Errorf("manifest %d of AddOnTemplate %s for cluster %s: %w", i, in.Template.Name, in.AddOn.Namespace, err)
		}
		to := &out.Managed
		if HostingCluster(in.AddOn) != "" {
			switch o.GetAnnotations()[addonv1alpha1.HostedManifestLocationAnnotation] {
			case "hosting":
				to = &out.Hosting
			case "none":
				continue
			}
		}
		if isHook(o) {
			to.Hooks = append(to.Hooks, o)
		} else {
			to.Deploy = append(to.Deploy, o)
		}
	}
	return out, nil
}

// variablesOf are the values of a template's variables. Those of the cluster win over customized ones of the same name.
func variablesOf(in Input, config addonv1alpha1.AddOnDeploymentConfigSpec, namespace string) map[string]string {
	variables := map[string]string{HubKubeconfig: ""}
	for _, r := range in.Template.Spec.Registration {
		if r.Type == addonv1alpha1.RegistrationKubeClient {
			variables[HubKubeconfig] = hubKubeconfigPath
		}
	}
	for _, v := range config.CustomizedVariables {
		variables[v.Name] = v.Value
	}
	maps.Copy(variables, map[string]string{
		ClusterName: in.AddOn.Namespace, InstallNamespace: namespace,
		HTTPProxy: config.ProxyConfig.HTTPProxy, HTTPSProxy: config.ProxyConfig.HTTPSProxy, NoProxy: config.ProxyConfig.NoProxy,
	})
	if len(config.ProxyConfig.CABundle) > 0 {
		variables["CA_BUNDLE_FILE_PATH"] = "/managed/proxy-ca/ca-bundle.crt"
	}
	return variables
}

func renderOne(m workv1.Manifest, variables map[string]string, setup *podSetup, namespace string) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(m.Raw); err != nil {
		return nil, err
	}
	replaced, err := replace(o.Object, variables)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
	}
	o.Object = replaced.(map[string]any)
	if namespace != "" {
		moveTo(o, namespace)
	}
	if err := setup.setUp(o); err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return o, nil
}

// rendered sets up the pods of a manifest that needs nothing else.
func (s *podSetup) rendered(m workv1.Manifest) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(m.Raw); err != nil {
		return nil, err
	}
	if err := s.setUp(o); err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return o, nil
}

// moveTo puts an object into the namespace that an AddOnDeploymentConfig names: objects that have one, the namespace itself, and the
// accounts that rights are given to.
func moveTo(o *unstructured.Unstructured, namespace string) {
	if o.GetNamespace() != "" {
		o.SetNamespace(namespace)
	}
	if o.GetKind() == "Namespace" && o.GroupVersionKind().Group == "" {
		o.SetName(namespace)
	}
	if kind := o.GetKind(); kind != "RoleBinding" && kind != "ClusterRoleBinding" {
		return
	}
	subjects, _, _ := unstructured.NestedSlice(o.Object, "subjects")
	for _, s := range subjects {
		if subject, ok := s.(map[string]any); ok && subject["namespace"] != nil {
			subject["namespace"] = namespace
		}
	}
	if len(subjects) > 0 {
		o.Object["subjects"] = subjects
	}
}

// isHook says whether an object is to run before the add-on goes.
func isHook(o *unstructured.Unstructured) bool {
	if kind := o.GetKind(); kind != "Job" && kind != "Pod" {
		return false
	}
	for _, in := range []map[string]string{o.GetAnnotations(), o.GetLabels()} {
		for _, key := range []string{addonv1alpha1.PreDeleteAnnotation, addonv1alpha1.PreDeleteLabel} {
			if _, found := in[key]; found {
				return true
			}
		}
	}
	return false
}

// volumesOf are the Secrets of the agent's certificates, and the CA of its proxy.
func volumesOf(in Input, config addonv1alpha1.AddOnDeploymentConfigSpec) []volume {
	var volumes []volume
	for _, r := range in.Template.Spec.Registration {
		switch {
		case r.Type == addonv1alpha1.RegistrationKubeClient:
			volumes = append(volumes, volume{name: "hub-kubeconfig", secret: in.AddOn.Name + "-hub-kubeconfig", path: "/managed/hub-kubeconfig"})
		case r.CustomSigner != nil:
			signer := strings.ReplaceAll(r.CustomSigner.SignerName, "/", "-")
			volumes = append(volumes, volume{
				name: "cert-" + strings.ReplaceAll(signer, ".", "-"), secret: in.AddOn.Name + "-" + signer + "-client-cert", path: "/managed/" + signer,
			})
		}
	}
	if len(config.ProxyConfig.CABundle) > 0 {
		volumes = append(volumes, volume{name: "proxy-ca", configMap: in.AddOn.Name + "-proxy-ca", path: "/managed/proxy-ca"})
	}
	return volumes
}

func proxyCA(in Input, config addonv1alpha1.AddOnDeploymentConfigSpec, namespace string) workv1.Manifest {
	var m workv1.Manifest
	var err error
	m.Raw, err = json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": in.AddOn.Name + "-proxy-ca", "namespace": namespace},
		"data": map[string]any{"ca-bundle.crt": string(config.ProxyConfig.CABundle)},
	})
	if err != nil {
		panic(err) // maps of strings
	}
	return m
}

func clusterMirrors(cluster *clusterv1.ManagedCluster) []addonv1alpha1.ImageMirror {
	if cluster == nil {
		return nil
	}
	var said struct {
		Registries []addonv1alpha1.ImageMirror `json:"registries"`
	}
	if json.Unmarshal([]byte(cluster.Annotations[ImageRegistriesAnnotation]), &said) != nil {
		return nil // absent, or not ours to judge: another controller writes it
	}
	return said.Registries
}

// Part is one work of an add-on.
type Part struct {
	// Name of the work.
	Name string
	Spec workv1.ManifestWorkSpec
}

// Parts divides manifests over works, in their order; the name of a work is of its index. Rules of health are added for common kinds.
func (r Rendered) Parts(name func(int) string, manifests []*unstructured.Unstructured) ([]Part, error) {
	var parts []Part
	size := 0
	for _, o := range manifests {
		data, err := o.MarshalJSON()
		if err != nil {
			return nil, err
		}
		if len(data) > work.HardLimit {
			return nil, fmt.Errorf("%s %s is %d KiB, and a ManifestWork carries at most %d KiB", o.GetKind(), o.GetName(), len(data)>>10, work.HardLimit>>10)
		}
		if len(parts) == 0 || size+len(data) > work.HardLimit {
			parts = append(parts, Part{Name: name(len(parts)), Spec: *r.Spec.DeepCopy()})
			size = 0
		}
		size += len(data)
		last := &parts[len(parts)-1]
		m := workv1.Manifest{}
		m.Raw = data
		last.Spec.Workload.Manifests = append(last.Spec.Workload.Manifests, m)
		if _, leave := o.GetAnnotations()[addonv1alpha1.DeletionOrphanAnnotation]; leave {
			last.Spec.DeleteOption = leaving(last.Spec.DeleteOption, o)
		}
	}
	for i := range parts {
		parts[i].Spec = work.WithHealth(parts[i].Spec)
	}
	return parts, nil
}

// leaving is a delete option that leaves one more object on the cluster.
func leaving(option *workv1.DeleteOption, o *unstructured.Unstructured) *workv1.DeleteOption {
	if option != nil && option.PropagationPolicy == workv1.DeletePropagationPolicyTypeOrphan {
		return option
	}
	plural, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
	rule := workv1.OrphaningRule{Group: plural.Group, Resource: plural.Resource, Namespace: o.GetNamespace(), Name: o.GetName()}
	out := &workv1.DeleteOption{}
	if option != nil {
		out = option.DeepCopy()
	}
	out.PropagationPolicy = workv1.DeletePropagationPolicyTypeSelectivelyOrphan
	if out.SelectivelyOrphan == nil {
		out.SelectivelyOrphan = &workv1.SelectivelyOrphan{}
	}
	out.SelectivelyOrphan.OrphaningRules = append(out.SelectivelyOrphan.OrphaningRules, rule)
	return out
}

// DeployName is the name of an add-on's work.
func DeployName(name string, part int) string { return fmt.Sprintf("addon-%s-deploy-%d", name, part) }

// HostingName is the name of a work in the namespace of the cluster that hosts the agent.
func HostingName(name, cluster string, part int) string {
	return fmt.Sprintf("addon-%s-deploy-hosting-%s-%d", name, cluster, part)
}

// HookName is the name of the work with the pre-delete hooks of an add-on.
func HookName(name string) string { return "addon-" + name + "-pre-delete" }

// HostingHookName is the same in the namespace of the hosting cluster.
func HostingHookName(name, cluster string) string { return HookName(name) + "-hosting-" + cluster }
