package addon

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// Variables that every template has. An AddOnDeploymentConfig gives more, and other values of HUB_KUBECONFIG.
const (
	ClusterName      = "CLUSTER_NAME"
	InstallNamespace = "INSTALL_NAMESPACE"
	HubKubeconfig    = "HUB_KUBECONFIG"
	HTTPProxy        = "HTTP_PROXY"
	HTTPSProxy       = "HTTPS_PROXY"
	NoProxy          = "NO_PROXY"
)

// hubKubeconfigPath is where the agent finds its kubeconfig.
const hubKubeconfigPath = "/managed/hub-kubeconfig/kubeconfig"

// variable in a template. Anything else between braces is the content's own, such as a Go template in a ConfigMap.
var variable = regexp.MustCompile(`\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}`)

// InstallNamespaceOf is where the agent of an add-on runs: where an AddOnDeploymentConfig says, else where the ManagedClusterAddOn does.
func InstallNamespaceOf(mca *addonv1alpha1.ManagedClusterAddOn, configs []*addonv1alpha1.AddOnDeploymentConfig) string {
	namespace := cmp.Or(mca.Spec.InstallNamespace, mca.Annotations[addonv1alpha1.InstallNamespaceAnnotation])
	for _, c := range configs {
		if c.Spec.AgentInstallNamespace != "" {
			namespace = c.Spec.AgentInstallNamespace
		}
	}
	return cmp.Or(namespace, addonv1alpha1.DefaultInstallNamespace)
}

// replace puts the values of variables into the texts of an object. An unknown variable is an error.
func replace(value any, variables map[string]string) (any, error) {
	switch v := value.(type) {
	case string:
		return replaceText(v, variables)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = replace(item, variables); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			name, err := replaceText(key, variables)
			if err != nil {
				return nil, err
			}
			if out[name], err = replace(v[key], variables); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return value, nil
}

func replaceText(text string, variables map[string]string) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	var unknown []string
	out := variable.ReplaceAllStringFunc(text, func(found string) string {
		name := found[2 : len(found)-2]
		value, ok := variables[name]
		if !ok {
			unknown = append(unknown, name)
		}
		return value
	})
	if len(unknown) > 0 {
		return "", fmt.Errorf("there is no variable %s: set it in customizedVariables of the cluster's AddOnDeploymentConfig", strings.Join(unknown, ", "))
	}
	return out, nil
}
