package chart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/muster-io/muster/internal/hub/install"
)

// fieldManager owns what Install applies.
const fieldManager = "muster-install"

// Install renders a release with the facts of a cluster and applies it there by server-side apply: the kinds first, and the
// rest when the API server serves them. It can be done again, and then upgrades. Helm can take the release over later: the
// objects have the marks by which it knows its own. A release that Helm has installed is left to Helm.
func Install(ctx context.Context, config *rest.Config, r Release, progress func(string)) (Rendering, error) {
	i, err := newInstaller(config, r, progress)
	if err != nil {
		return Rendering{}, err
	}
	if err := i.leaveToHelm(ctx); err != nil {
		return Rendering{}, err
	}
	before, err := i.render()
	if err != nil {
		return Rendering{}, err
	}
	if err := i.namespace(ctx); err != nil {
		return Rendering{}, err
	}
	if err := i.kinds(ctx, before.Objects); err != nil {
		return Rendering{}, err
	}
	rendering, err := i.render() // again, now that the kinds are there
	if err != nil {
		return Rendering{}, err
	}
	applied := 0
	for _, o := range rendering.Objects {
		if o.GetKind() == "CustomResourceDefinition" {
			continue
		}
		if err := i.apply(ctx, o); err != nil {
			return Rendering{}, err
		}
		applied++
	}
	progress(fmt.Sprintf("%d objects applied in namespace %s", applied, r.Namespace))
	return rendering, nil
}

type installer struct {
	Release
	config    *rest.Config
	clients   kubernetes.Interface
	objects   dynamic.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	progress  func(string)
}

func newInstaller(config *rest.Config, r Release, progress func(string)) (*installer, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	cached := memory.NewMemCacheClient(clients.Discovery())
	return &installer{
		Release: r, config: config, clients: clients, objects: objects, discovery: cached,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(cached), progress: progress,
	}, nil
}

// leaveToHelm refuses to change what a release of Helm has: the next `helm upgrade` would fail or undo it.
func (i *installer) leaveToHelm(ctx context.Context) error {
	secrets, err := i.clients.CoreV1().Secrets(i.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm,status=deployed,name=" + i.Name})
	if err != nil {
		return fmt.Errorf("look for a release of Helm: %w", err)
	}
	if len(secrets.Items) > 0 {
		return fmt.Errorf("release %s in namespace %s was installed with Helm: upgrade it with helm upgrade %s --reuse-values", i.Name, i.Namespace, i.Name)
	}
	return nil
}

func (i *installer) render() (Rendering, error) {
	i.discovery.Invalidate()
	version, err := i.discovery.ServerVersion()
	if err != nil {
		return Rendering{}, fmt.Errorf("ask the cluster for its version: %w", err)
	}
	groups, err := i.discovery.ServerGroups()
	if err != nil {
		return Rendering{}, fmt.Errorf("ask the cluster for its kinds: %w", err)
	}
	facts := Facts{KubernetesVersion: version.GitVersion, Lookup: i.config}
	for _, group := range groups.Groups {
		for _, v := range group.Versions {
			facts.APIVersions = append(facts.APIVersions, v.GroupVersion)
		}
	}
	return Render(i.Release, facts)
}

func (i *installer) namespace(ctx context.Context) error {
	_, err := i.clients.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: i.Namespace}}, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", i.Namespace, err)
	}
	return nil
}

// kinds applies the CustomResourceDefinitions and waits until they are served.
func (i *installer) kinds(ctx context.Context, objects []*unstructured.Unstructured) error {
	definitions := slices.Collect(func(yield func(*unstructured.Unstructured) bool) {
		for _, o := range objects {
			if o.GetKind() == "CustomResourceDefinition" && !yield(o) {
				return
			}
		}
	})
	if err := i.mayReplace(ctx, definitions); err != nil {
		return err
	}
	for _, d := range definitions {
		if err := i.apply(ctx, d); err != nil {
			return err
		}
	}
	for _, d := range definitions {
		if err := i.served(ctx, d); err != nil {
			return err
		}
	}
	if len(definitions) > 0 {
		i.progress(fmt.Sprintf("%d kinds are served", len(definitions)))
	}
	return nil
}

// mayReplace refuses where kinds of OCM are there that are newer than the chart's.
func (i *installer) mayReplace(ctx context.Context, definitions []*unstructured.Unstructured) error {
	var kinds []*apiextensionsv1.CustomResourceDefinition
	for _, d := range definitions {
		kind := &apiextensionsv1.CustomResourceDefinition{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object, kind); err != nil {
			return fmt.Errorf("read the chart's kind %s: %w", d.GetName(), err)
		}
		kinds = append(kinds, kind)
	}
	return install.MayReplaceKinds(ctx, i.config, kinds)
}

// served waits until a definition is Established and its group is discovered.
func (i *installer) served(ctx context.Context, d *unstructured.Unstructured) error {
	group, _, _ := unstructured.NestedString(d.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(d.Object, "spec", "names", "kind")
	for {
		i.mapper.Reset()
		_, err := i.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the API server serves %s: %w", d.GetName(), errors.Join(ctx.Err(), err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// apply applies one object with the marks of a release.
func (i *installer) apply(ctx context.Context, o *unstructured.Unstructured) error {
	mapping, err := i.mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("the cluster does not serve %s of %s: install what brings this kind, or set the value off that asks for it", o.GetKind(), o.GetAPIVersion())
	}
	if err != nil {
		return fmt.Errorf("find kind %s: %w", o.GetKind(), err)
	}
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations["meta.helm.sh/release-name"], annotations["meta.helm.sh/release-namespace"] = i.Name, i.Namespace
	o.SetAnnotations(annotations)
	var resource dynamic.ResourceInterface = i.objects.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if o.GetNamespace() == "" {
			o.SetNamespace(i.Namespace)
		}
		resource = i.objects.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	_, err = resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("apply %s %s: %w; installing needs the rights of an administrator of the cluster", o.GetKind(), o.GetName(), err)
	}
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}
