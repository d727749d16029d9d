package work

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// objectKey identifies an object on the cluster, at whatever version.
type objectKey struct{ group, resource, namespace, name string }

func (k objectKey) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.group, Resource: k.resource}
}

func keyOf(r workv1.AppliedManifestResourceMeta) objectKey {
	return objectKey{r.Group, r.Resource, r.Namespace, r.Name}
}

// target is one manifest of a work with everything that says how to treat it.
type target struct {
	meta        workv1.ManifestResourceMeta
	object      *unstructured.Unstructured // nil when the manifest is unreadable
	config      workv1.ManifestConfigOption
	rank        int
	wave        int
	policies    []string // when the object is deleted although it stays in the work
	orphan      bool     // the object does not belong to the AppliedManifestWork
	hash        string   // of all that decides what is written
	rulesDigest string   // a digest of the rules, which decide what is told
	err         error    // why the manifest cannot be applied: unreadable, or a kind that the cluster does not serve

	trial     *trial // of a Deployment whose pod template is tried; nil of all others
	companion bool   // no manifest of the work: the companion of such a Deployment
}

func (t target) key() objectKey {
	if t.object == nil { // known by its place only
		return objectKey{name: "#" + strconv.Itoa(int(t.meta.Ordinal))}
	}
	return objectKey{t.meta.Group, t.meta.Resource, t.meta.Namespace, t.meta.Name}
}

func (t target) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: t.meta.Group, Version: t.meta.Version, Resource: t.meta.Resource}
}

// strategy is the update strategy; Update when the work does not say.
func (t target) strategy() workv1.UpdateStrategyType {
	if t.config.UpdateStrategy == nil || t.config.UpdateStrategy.Type == "" {
		return workv1.UpdateStrategyTypeUpdate
	}
	return t.config.UpdateStrategy.Type
}

// serverSide is how to apply server-side, with the field manager filled in.
func (t target) serverSide() workv1.ServerSideApplyConfig {
	var c workv1.ServerSideApplyConfig
	if t.config.UpdateStrategy != nil && t.config.UpdateStrategy.ServerSideApply != nil {
		c = *t.config.UpdateStrategy.ServerSideApply
	}
	if c.FieldManager == "" {
		c.FieldManager = workv1.DefaultFieldManager
	}
	return c
}

func (t target) isSecret() bool {
	return t.meta.Group == "" && t.meta.Kind == "Secret"
}

// labelled says that the object carries the label of a planned work, so that a metadata watch reports it.
func (t target) labelled() bool {
	return t.object != nil && t.object.GetLabels()[musterv1alpha1.HubLabel] != ""
}

// targetsOf reads the manifests of a work, in the order of the spec. A manifest that cannot be read, or whose kind the
// cluster does not serve, is a target with an error.
func targetsOf(work *workv1.ManifestWork, mapper meta.RESTMapper) []target {
	targets := make([]target, len(work.Spec.Workload.Manifests))
	first := map[objectKey]int{}
	for i, manifest := range work.Spec.Workload.Manifests {
		t := readTarget(i, manifest)
		t.resolve(work, mapper)
		if j, twice := first[t.key()]; twice && t.meta.Resource != "" {
			t.object, t.err = nil, fmt.Errorf("%s is in the work twice, as manifest %d and %d", t, j, i)
		}
		first[t.key()] = i
		targets[i] = t
	}
	return targets
}

func readTarget(ordinal int, manifest workv1.Manifest) target {
	t := target{meta: workv1.ManifestResourceMeta{Ordinal: int32(ordinal)}, rank: rankUnreadable}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(manifest.Raw); err != nil {
		t.err = fmt.Errorf("manifest %d is no object with apiVersion and kind", ordinal) // the cause would quote it
		return t
	}
	gvk := object.GroupVersionKind()
	t.meta.Group, t.meta.Version, t.meta.Kind = gvk.Group, gvk.Version, gvk.Kind
	t.meta.Namespace, t.meta.Name = object.GetNamespace(), object.GetName()
	t.rank = rankOf(gvk.Group, gvk.Kind)
	if t.meta.Name == "" {
		t.err = fmt.Errorf("manifest %d, a %s, has no name", ordinal, gvk.Kind)
		return t
	}
	if t.wave, t.err = waveOf(gvk, object.GetAnnotations()); t.err != nil {
		t.err = fmt.Errorf("manifest %d, %s %s: %w", ordinal, gvk.Kind, t.meta.Name, t.err)
		return t
	}
	if t.policies, t.err = deletePolicies(object.GetAnnotations()); t.err != nil {
		t.err = fmt.Errorf("manifest %d, %s %s: %w", ordinal, gvk.Kind, t.meta.Name, t.err)
		return t
	}
	t.object = clean(object)
	return t
}

// clean removes from a manifest what only an API server writes. The plain values of a Secret are encoded, since the
// server does not keep them as they were written and could not tell a change of them.
func clean(object *unstructured.Unstructured) *unstructured.Unstructured {
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	dropNullTimestamps(object.Object)
	if object.GetKind() != "Secret" || object.GetAPIVersion() != "v1" {
		return object
	}
	plain, found, err := unstructured.NestedStringMap(object.Object, "stringData")
	if !found || err != nil {
		return object
	}
	data, _, err := unstructured.NestedStringMap(object.Object, "data")
	if err != nil {
		return object
	}
	if data == nil {
		data = map[string]string{}
	}
	for key, value := range plain {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	delete(object.Object, "stringData")
	_ = unstructured.SetNestedStringMap(object.Object, data, "data") // fails only below something that is not a map
	return object
}

// dropNullTimestamps removes metadata.creationTimestamp where it is null, at every depth: programs in Go write it into the pod
// templates that they make, and the API server counts a null as a change of what another manager applies.
func dropNullTimestamps(v any) {
	switch node := v.(type) {
	case map[string]any:
		if metadata, ok := node["metadata"].(map[string]any); ok {
			if created, found := metadata["creationTimestamp"]; found && created == nil {
				delete(metadata, "creationTimestamp")
			}
		}
		for _, child := range node {
			dropNullTimestamps(child)
		}
	case []any:
		for _, item := range node {
			dropNullTimestamps(item)
		}
	}
}

// resolve finds the resource of the kind, then what the work says about the object.
func (t *target) resolve(work *workv1.ManifestWork, mapper meta.RESTMapper) {
	if t.object == nil {
		return
	}
	gvk := t.object.GroupVersionKind()
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		t.err = fmt.Errorf("find the resource of %s: %w", gvk, err)
		return
	}
	t.err = nil
	t.meta.Resource = mapping.Resource.Resource
	switch {
	case mapping.Scope.Name() == meta.RESTScopeNameRoot:
		t.meta.Namespace = ""
		t.object.SetNamespace("")
	case t.meta.Namespace == "":
		t.err = fmt.Errorf("%s %s has no namespace", gvk.Kind, t.meta.Name)
		return
	}
	t.config = configFor(work.Spec.ManifestConfigs, t.key())
	t.orphan = orphaned(work.Spec.DeleteOption, t.key())
	t.hash = hashOf(*t, work.Spec.Executor)
	t.rulesDigest = digest([]any{t.config.FeedbackRules, t.config.ConditionRules})
}

func hashOf(t target, as *workv1.ManifestWorkExecutor) string {
	h := sha256.New()
	manifest, _ := t.object.MarshalJSON()                // it was unmarshalled from JSON
	strategy, _ := json.Marshal(t.config.UpdateStrategy) // plain data
	executor, _ := json.Marshal(as)
	fmt.Fprintf(h, "%s\n%s\n%s\n%t", manifest, strategy, executor, t.orphan)
	return hex.EncodeToString(h.Sum(nil))
}

// configFor is the first config that names the object; the empty one if none does. Name and namespace may hold
// wildcards.
func configFor(configs []workv1.ManifestConfigOption, key objectKey) workv1.ManifestConfigOption {
	for _, config := range configs {
		id := config.ResourceIdentifier
		if id.Group == key.group && id.Resource == key.resource && wild(id.Namespace, key.namespace) && wild(id.Name, key.name) {
			return config
		}
	}
	return workv1.ManifestConfigOption{}
}

// wild matches a text with a pattern in which * stands for any characters.
func wild(pattern, s string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == s
	}
	matched, err := path.Match(pattern, s)
	return err == nil && matched
}

// orphaned says whether an object stays when its work goes.
func orphaned(option *workv1.DeleteOption, key objectKey) bool {
	if option == nil {
		return false
	}
	switch option.PropagationPolicy {
	case workv1.DeletePropagationPolicyTypeOrphan:
		return true
	case workv1.DeletePropagationPolicyTypeSelectivelyOrphan:
		return option.SelectivelyOrphan != nil && slices.Contains(option.SelectivelyOrphan.OrphaningRules, workv1.OrphaningRule{
			Group: key.group, Resource: key.resource, Namespace: key.namespace, Name: key.name})
	}
	return false
}
