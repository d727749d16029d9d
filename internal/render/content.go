package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
	"github.com/muster-io/muster/internal/render/memo"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// finish gives each object its place on a cluster: the plural and scope of its kind, and its namespace.
func (r *Renderer) finish(in Input, resolved *Resolved, out *result) (*fleet.Content, error) {
	f := finisher{namespace: namespaceOf(resolved.Application), found: map[schema.GroupVersionKind]musterv1alpha1.APIResource{}}
	parts := []string{out.key, f.namespace}
	if resolved.Application.Spec.Destination.CreateNamespace {
		f.creator = in.File
		parts = append(parts, "create", in.File)
	}
	for _, gvk := range out.rendered.Kinds() {
		resource, ok := in.lookup(gvk, out.rendered.Defines)
		if !ok {
			return nil, in.unknownKind(gvk, out.rendered)
		}
		f.found[gvk] = resource
		parts = append(parts, fmt.Sprint(resource))
	}
	return memo.Remember(r.memo, "content", memo.Digest(parts...), func() (*fleet.Content, int64, error) { return f.finish(out.rendered) })
}

// lookup finds a kind in what the cluster serves, what other applications bring there, and what this one brings.
func (in Input) lookup(gvk schema.GroupVersionKind, defines []musterv1alpha1.APIResource) (musterv1alpha1.APIResource, bool) {
	if resource, ok := in.apis().Lookup(gvk); ok {
		return resource, true
	}
	for _, list := range [][]musterv1alpha1.APIResource{defines, in.Extra} {
		for _, resource := range list {
			if resource.Group == gvk.Group && resource.Version == gvk.Version && resource.Kind == gvk.Kind {
				return resource, true
			}
		}
	}
	return musterv1alpha1.APIResource{}, false
}

func (in Input) unknownKind(gvk schema.GroupVersionKind, out *engine.Rendered) error {
	i := slices.IndexFunc(out.Objects, func(o engine.Object) bool { return o.GVK == gvk })
	o := out.Objects[i]
	message := fmt.Sprintf("cluster %s does not serve kind %s of %s, and no application placed there brings it", in.Cluster.Name, gvk.Kind, gvk.GroupVersion())
	if !in.apis().Known {
		message += " (the cluster has not reported its APIs: only Kubernetes' own kinds are assumed)"
	}
	message += ": place an application with its CustomResourceDefinition there, or correct apiVersion and kind"
	return fleet.Fault{Reason: fleet.UnknownKind, ActionRequiredBy: fleet.User, File: o.File, Line: o.Line, Object: o.Label(), Message: message}
}

// finisher completes objects for all clusters that know the same kinds and get the same namespace.
type finisher struct {
	namespace string
	creator   string // the application's file, when the namespace is to be created
	found     map[schema.GroupVersionKind]musterv1alpha1.APIResource
	seen      map[fleet.ObjectKey]engine.Object
	content   fleet.Content
	size      int64
}

func (f *finisher) finish(out *engine.Rendered) (*fleet.Content, int64, error) {
	f.seen = map[fleet.ObjectKey]engine.Object{}
	if f.creator != "" && !slices.ContainsFunc(out.Objects, func(o engine.Object) bool {
		return o.GVK.GroupKind() == engine.NamespaceKind && o.Name == f.namespace
	}) {
		if err := f.addNamespace(); err != nil {
			return nil, 0, err
		}
	}
	for _, o := range out.Objects {
		if err := f.add(o); err != nil {
			return nil, 0, err
		}
	}
	h := sha256.New()
	for _, manifest := range f.content.Manifests {
		h.Write(manifest.JSON)
		h.Write([]byte{'\n'})
	}
	f.content.Digest = hex.EncodeToString(h.Sum(nil))
	return &f.content, f.size, nil
}

func (f *finisher) addNamespace() error {
	gvk := schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
	f.found[gvk] = musterv1alpha1.APIResource{Version: "v1", Kind: "Namespace", Resource: "namespaces"}
	o, err := engine.NewNamespace(f.creator, f.namespace)
	if err != nil {
		return err
	}
	return f.add(o)
}

func (f *finisher) add(o engine.Object) error {
	resource, data := f.found[o.GVK], o.JSON
	switch {
	case !resource.Namespaced && o.Namespace != "": // charts write it everywhere, and an API server drops it
		o.Namespace, data = "", o.Without(o.Namespace)
	case resource.Namespaced && o.Namespace == "":
		o.Namespace, data = f.namespace, o.In(f.namespace)
	}
	key := fleet.ObjectKey{Group: o.GVK.Group, Version: o.GVK.Version, Kind: o.GVK.Kind, Resource: resource.Resource, Namespace: o.Namespace, Name: o.Name}
	if other, ok := f.seen[key.Identity()]; ok {
		return o.Invalid("is there twice: also in %s", fleet.Position(other.File, other.Line))
	}
	f.seen[key.Identity()] = o
	f.content.Manifests = append(f.content.Manifests, fleet.Manifest{Key: key, JSON: data, File: o.File})
	f.size += int64(len(data)) + 256
	return nil
}
