package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/expression"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// postOf says what is changed after rendering, nil for nothing.
func postOf(in Input, resolved *Resolved) (*engine.Post, error) {
	spec := &resolved.Application.Spec
	p := &engine.Post{File: in.File, Labels: spec.CommonMetadata.Labels, Annotations: spec.CommonMetadata.Annotations}
	if _, problem := fleet.WrongMetadata("", "", map[string]any{"name": "x", "labels": anyOf(p.Labels), "annotations": anyOf(p.Annotations)}); problem != "" {
		return nil, in.faultOf(fleet.DefinitionInvalid, resolved.fieldOf("commonMetadata"), problem)
	}
	if k := spec.Kustomize; k.ChangesObjects() {
		p.Line = in.lineOf(resolved.fieldOf("kustomize"))
		for i, name := range k.Components {
			field := resolved.fieldOf(fmt.Sprintf("kustomize.components[%d]", i))
			dir, err := inTree(path.Join(path.Dir(in.File), name))
			if err != nil {
				return nil, in.faultOf(fleet.ContentMissing, field, err.Error())
			}
			if !engine.IsOverlay(in.Tree, dir) {
				return nil, in.faultOf(fleet.ContentMissing, field, fmt.Sprintf("%s holds no kustomization.yaml: name a folder beside the application that does", dir))
			}
			p.Components = append(p.Components, dir)
		}
		var err error
		if p.Kustomization, err = fleet.CanonicalJSON(musterv1alpha1.Kustomize{Images: k.Images, Replicas: k.Replicas, Patches: patchesOf(k.Patches)}); err != nil {
			return nil, fmt.Errorf("spec.kustomize: %w", err)
		}
	}
	if p.Kustomization == nil && len(p.Labels)+len(p.Annotations) == 0 {
		return nil, nil
	}
	return p, nil
}

// patchesOf are patches as Kustomize reads them: a list of operations that begins with a bracket has to be JSON there, and of documents that
// nothing separates it would read the first one only.
func patchesOf(patches []musterv1alpha1.KustomizePatch) []musterv1alpha1.KustomizePatch {
	patches = slices.Clone(patches)
	for i, p := range patches {
		documents, err := fleet.ReadYAML(p.Patch)
		if err != nil || len(documents) < 2 && !strings.HasPrefix(strings.TrimSpace(p.Patch), "[") {
			continue // Kustomize says what is wrong with it
		}
		texts := make([]string, len(documents))
		for k, document := range documents {
			texts[k] = string(document.JSON)
		}
		patches[i].Patch = strings.Join(texts, "\n---\n")
	}
	return patches
}

func anyOf(pairs map[string]string) map[string]any {
	out := map[string]any{}
	for key, value := range pairs {
		out[key] = value
	}
	return out
}

// mergeObjects merges what an override says of the objects and of where they go: maps merge, lists replace.
func (r *Resolved) mergeObjects(override *musterv1alpha1.Override, field string) {
	spec := &r.Application.Spec
	set := func(path string) { r.fields[path] = field + "." + path }
	if k := override.Kustomize; k != nil {
		if spec.Kustomize == nil {
			spec.Kustomize = &musterv1alpha1.Kustomize{}
			set("kustomize")
		}
		k, into := k.DeepCopy(), spec.Kustomize
		replaceText(&into.Path, k.Path, func() { set("kustomize.path") })
		replaceList(&into.Components, k.Components, func() { set("kustomize.components") })
		replaceList(&into.Images, k.Images, func() { set("kustomize.images") })
		replaceList(&into.Replicas, k.Replicas, func() { set("kustomize.replicas") })
		replaceList(&into.Patches, k.Patches, func() { set("kustomize.patches") })
	}
	if y := override.YAML; y != nil {
		if spec.YAML == nil {
			spec.YAML = &musterv1alpha1.YAML{}
		}
		y, into := y.DeepCopy(), spec.YAML
		replaceList(&into.Include, y.Include, func() { set("yaml.include") })
		replaceList(&into.Exclude, y.Exclude, func() { set("yaml.exclude") })
		if y.Recurse != nil {
			into.Recurse = y.Recurse
		}
	}
	mergePairs(&spec.CommonMetadata.Labels, override.CommonMetadata.Labels, func(key string) { set("commonMetadata.labels." + key) })
	mergePairs(&spec.CommonMetadata.Annotations, override.CommonMetadata.Annotations, func(key string) { set("commonMetadata.annotations." + key) })
	if d := override.Destination; d != nil {
		replaceText(&spec.Destination.Namespace, d.Namespace, func() { set("destination.namespace") })
		spec.Destination.CreateNamespace = spec.Destination.CreateNamespace || d.CreateNamespace
	}
}

func replaceText(into *string, with string, replaced func()) {
	if with != "" {
		*into = with
		replaced()
	}
}

// replaceList replaces a list by one that is set, also by an empty one.
func replaceList[T any](into *[]T, with []T, replaced func()) {
	if with != nil {
		*into = with
		replaced()
	}
}

func mergePairs(into *map[string]string, with map[string]string, replaced func(key string)) {
	for _, key := range slices.Sorted(maps.Keys(with)) {
		if *into == nil {
			*into = map[string]string{}
		}
		(*into)[key] = with[key]
		replaced(key)
	}
}

// evaluateIn evaluates the expressions in all texts of a part of the application.
func evaluateIn[T any](r *Resolved, in Input, scope *expression.Scope, path string, part *T) error {
	if part == nil {
		return nil
	}
	data, err := json.Marshal(part)
	if err != nil {
		return fmt.Errorf("spec.%s: %w", path, err)
	}
	if !bytes.Contains(data, []byte(expression.Open)) {
		return nil
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return fmt.Errorf("spec.%s: %w", path, err)
	}
	if value, err = r.evaluateValue(in, scope, path, value); err != nil {
		return err
	}
	if data, err = json.Marshal(value); err != nil {
		return fmt.Errorf("spec.%s: %w", path, err)
	}
	var fresh T
	if err := json.Unmarshal(data, &fresh); err != nil {
		return in.faultOf(fleet.ExpressionFailed, r.fieldOf(path), "an expression gives another type than the field has: a text is wanted")
	}
	*part = fresh
	return nil
}
