package work

import (
	"path"
	"slices"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/health"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// WithHealth adds to the spec of a work that somebody else wrote the rules by which an agent reports how objects of common kinds
// do. A rule of the author for Progressing or Degraded of an object stays the only one. A config that names an object by a wildcard
// stays for the others: the first config that names an object counts, so a copy for this one comes before it.
func WithHealth(spec workv1.ManifestWorkSpec) workv1.ManifestWorkSpec {
	out := *spec.DeepCopy()
	for _, m := range spec.Workload.Manifests {
		key, ok := commonKind(m)
		if !ok {
			continue
		}
		id := workv1.ResourceIdentifier{Group: key.Group, Resource: key.Resource, Namespace: key.Namespace, Name: key.Name}
		i := slices.IndexFunc(out.ManifestConfigs, func(c workv1.ManifestConfigOption) bool {
			named := c.ResourceIdentifier
			return named.Group == id.Group && named.Resource == id.Resource && matches(named.Namespace, id.Namespace) && matches(named.Name, id.Name)
		})
		config := workv1.ManifestConfigOption{FeedbackScrapeType: workv1.FeedbackPollType}
		if i >= 0 {
			config = *out.ManifestConfigs[i].DeepCopy()
		}
		if slices.ContainsFunc(config.ConditionRules, aboutHealth) {
			continue
		}
		config.ConditionRules = append(config.ConditionRules, health.Rules(key)...)
		switch {
		case i < 0:
			config.ResourceIdentifier = id
			out.ManifestConfigs = append(out.ManifestConfigs, config)
		case config.ResourceIdentifier == id:
			out.ManifestConfigs[i] = config
		default:
			config.ResourceIdentifier = id
			out.ManifestConfigs = slices.Insert(out.ManifestConfigs, i, config)
		}
	}
	return out
}

func aboutHealth(r workv1.ConditionRule) bool {
	return r.Condition == workv1.ManifestProgressing || r.Condition == workv1.ManifestDegraded
}

// commonKind reads the key of a manifest of a kind that Kubernetes serves and that has something to report. Its plural is the
// regular one; that of a custom resource cannot be known here.
func commonKind(m workv1.Manifest) (fleet.ObjectKey, bool) {
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(m.Raw); err != nil {
		return fleet.ObjectKey{}, false
	}
	gvk := u.GroupVersionKind()
	plural, _ := meta.UnsafeGuessKindToResource(schema.GroupVersionKind{Kind: gvk.Kind})
	key := fleet.ObjectKey{
		Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Resource: plural.Resource, Namespace: u.GetNamespace(), Name: u.GetName(),
	}
	return key, health.Builtin(key.Group) && health.Reports(key)
}

// matches reads a pattern of a resource identifier, in which * stands for any characters.
func matches(pattern, text string) bool {
	matched, err := path.Match(pattern, text)
	return pattern == text || err == nil && matched
}
