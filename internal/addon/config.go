package addon

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// Template and DeploymentConfig are the kinds of configuration that Muster itself reads.
var (
	Template         = addonv1alpha1.ConfigGroupResource{Group: addonv1alpha1.GroupName, Resource: "addontemplates"}
	DeploymentConfig = addonv1alpha1.ConfigGroupResource{Group: addonv1alpha1.GroupName, Resource: "addondeploymentconfigs"}
)

// Supported are the kinds of configuration of an add-on.
func Supported(cma *addonv1alpha1.ClusterManagementAddOn) []addonv1alpha1.ConfigGroupResource {
	var kinds []addonv1alpha1.ConfigGroupResource
	for _, c := range cma.Spec.SupportedConfigs {
		kinds = append(kinds, c.ConfigGroupResource)
	}
	return kinds
}

// Defaults are the default configurations of an add-on.
func Defaults(cma *addonv1alpha1.ClusterManagementAddOn) []addonv1alpha1.AddOnConfig {
	var defaults []addonv1alpha1.AddOnConfig
	for _, c := range cma.Spec.SupportedConfigs {
		if c.DefaultConfig != nil && c.DefaultConfig.Name != "" {
			defaults = append(defaults, addonv1alpha1.AddOnConfig{ConfigGroupResource: c.ConfigGroupResource, ConfigReferent: *c.DefaultConfig})
		}
	}
	return defaults
}

// Effective are the configurations that count: of each kind those of the last layer that has some, in the order of that layer. The
// layers are the defaults, the placement's and the cluster's own. The folder that an add-on is made of counts as one more. Unsupported are
// those of kinds that the add-on does not take.
func Effective(cma *addonv1alpha1.ClusterManagementAddOn, layers ...[]addonv1alpha1.AddOnConfig) (configs, unsupported []addonv1alpha1.AddOnConfig) {
	supported := Supported(cma)
	var kinds []addonv1alpha1.ConfigGroupResource
	byKind := map[addonv1alpha1.ConfigGroupResource][]addonv1alpha1.AddOnConfig{}
	for _, layer := range layers {
		seen := map[addonv1alpha1.ConfigGroupResource]bool{}
		for _, c := range layer {
			kind := c.ConfigGroupResource
			if !slices.Contains(supported, kind) {
				unsupported = append(unsupported, c)
				continue
			}
			if !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
			if !seen[kind] {
				seen[kind], byKind[kind] = true, nil
			}
			if !slices.Contains(byKind[kind], c) {
				byKind[kind] = append(byKind[kind], c)
			}
		}
	}
	for _, kind := range kinds {
		configs = append(configs, byKind[kind]...)
	}
	if _, repository, ok := ContentOf(cma); ok {
		configs = append(configs, repository)
	}
	return configs, unsupported
}

// SpecHash identifies what a configuration says: everything but its kind, its metadata and its status.
func SpecHash(object map[string]any) (string, error) {
	said := make(map[string]any, len(object))
	for field, value := range object {
		switch field {
		case "apiVersion", "kind", "metadata", "status":
		default:
			said[field] = value
		}
	}
	data, err := json.Marshal(said)
	if err != nil {
		return "", fmt.Errorf("hash a configuration: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// ConfigHashes is the annotation of a work that tells with which configurations it was rendered.
func ConfigHashes(references []addonv1alpha1.ConfigReference) string {
	hashes := map[string]string{}
	for _, r := range references {
		if d := r.DesiredConfig; d != nil {
			hashes[configKey(r.ConfigGroupResource, d.ConfigReferent)] = d.SpecHash
		}
	}
	if len(hashes) == 0 {
		return ""
	}
	data, err := json.Marshal(hashes)
	if err != nil {
		panic(err) // a map of strings
	}
	return string(data)
}

// HasConfigs says whether a work was rendered with the desired configurations. The annotation of an add-on's own manager may name others
// besides.
func HasConfigs(annotation string, references []addonv1alpha1.ConfigReference) bool {
	hashes := map[string]string{}
	if annotation != "" && json.Unmarshal([]byte(annotation), &hashes) != nil {
		return false
	}
	for _, r := range references {
		if d := r.DesiredConfig; d != nil && hashes[configKey(r.ConfigGroupResource, d.ConfigReferent)] != d.SpecHash {
			return false
		}
	}
	return true
}

// configKey is <resource>.<group>/<namespace>/<name>.
func configKey(kind addonv1alpha1.ConfigGroupResource, name addonv1alpha1.ConfigReferent) string {
	return kind.Resource + "." + kind.Group + "/" + name.Namespace + "/" + name.Name
}

// SameDesired says whether two lists ask for the same configurations.
func SameDesired(a, b []addonv1alpha1.ConfigReference) bool {
	return slices.EqualFunc(a, b, func(a, b addonv1alpha1.ConfigReference) bool {
		return a.ConfigGroupResource == b.ConfigGroupResource && sameConfig(a.DesiredConfig, b.DesiredConfig)
	})
}

func sameConfig(a, b *addonv1alpha1.ConfigSpecHash) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// Applied are the references with what is desired noted as applied.
func Applied(references []addonv1alpha1.ConfigReference) []addonv1alpha1.ConfigReference {
	out := slices.Clone(references)
	for i := range out {
		if d := out[i].DesiredConfig; d != nil {
			out[i].LastAppliedConfig = d.DeepCopy()
		}
	}
	return out
}

// Desire replaces what is desired and keeps what was applied of each configuration's kind, in their order.
func Desire(before, desired []addonv1alpha1.ConfigReference) []addonv1alpha1.ConfigReference {
	out := slices.Clone(desired)
	last := map[addonv1alpha1.ConfigGroupResource][]*addonv1alpha1.ConfigSpecHash{}
	for _, r := range before {
		last[r.ConfigGroupResource] = append(last[r.ConfigGroupResource], r.LastAppliedConfig)
	}
	for i := range out {
		kind := out[i].ConfigGroupResource
		if applied := last[kind]; len(applied) > 0 {
			out[i].LastAppliedConfig, last[kind] = applied[0], applied[1:]
		}
	}
	return out
}
