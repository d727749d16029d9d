package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

const installTimeout = time.Minute

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Install applies CustomResourceDefinitions, given as YAML of one or more documents each, and returns when the API server
// serves all of their versions. Definitions that exist are updated. What the API server warns about old versions is not told.
func Install(ctx context.Context, cfg *rest.Config, manifests ...[]byte) error {
	cfg = rest.CopyConfig(cfg)
	cfg.WarningHandler = rest.NoWarnings{}
	clients, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	var definitions []*unstructured.Unstructured
	for _, manifest := range manifests {
		parsed, err := parseDefinitions(manifest)
		if err != nil {
			return err
		}
		definitions = append(definitions, parsed...)
	}
	for _, d := range definitions { // apply all of them before waiting for the first
		options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
		if _, err := clients.Resource(crds).Apply(ctx, d.GetName(), d, options); err != nil {
			return fmt.Errorf("apply CustomResourceDefinition %s: %w", d.GetName(), err)
		}
	}
	for _, d := range definitions {
		if err := awaitServed(ctx, clients, d); err != nil {
			return fmt.Errorf("wait for CustomResourceDefinition %s: %w", d.GetName(), err)
		}
	}
	return nil
}

func parseDefinitions(manifest []byte) ([]*unstructured.Unstructured, error) {
	var parsed []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		var object map[string]any
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return parsed, nil
		} else if err != nil {
			return nil, fmt.Errorf("read CustomResourceDefinitions: %w", err)
		}
		if len(object) == 0 {
			continue
		}
		d := &unstructured.Unstructured{Object: object}
		if d.GetKind() != "CustomResourceDefinition" {
			return nil, fmt.Errorf("read CustomResourceDefinitions: found a %s %q", d.GetKind(), d.GetName())
		}
		parsed = append(parsed, d)
	}
}

// awaitServed polls until the definition is Established and a list of each of its served versions succeeds: the server
// serves a version a moment after it has set the condition.
func awaitServed(ctx context.Context, clients dynamic.Interface, d *unstructured.Unstructured) error {
	for {
		err := served(ctx, clients, d)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(pollInterval):
		}
	}
}

func served(ctx context.Context, clients dynamic.Interface, d *unstructured.Unstructured) error {
	live, err := clients.Resource(crds).Get(ctx, d.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !hasCondition(live, "Established") {
		return errors.New("not Established")
	}
	for _, resource := range servedResources(live) {
		if _, err := clients.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			return err
		}
	}
	return nil
}

func servedResources(d *unstructured.Unstructured) []schema.GroupVersionResource {
	group, _, _ := unstructured.NestedString(d.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(d.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(d.Object, "spec", "versions")
	var resources []schema.GroupVersionResource
	for _, v := range versions {
		version, _ := v.(map[string]any)
		if version["served"] == true {
			name, _ := version["name"].(string)
			resources = append(resources, schema.GroupVersionResource{Group: group, Version: name, Resource: plural})
		}
	}
	return resources
}
