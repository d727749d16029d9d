package test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// content is what an API server held at one moment, without status.
type content struct {
	objects   map[objectKey]*unstructured.Unstructured
	discovery discovery.DiscoveryInterface
	clients   dynamic.Interface
	metadata  metadata.Interface
}

type objectKey struct {
	resource        schema.GroupVersionResource
	namespace, name string
}

func (k objectKey) String() string {
	return fmt.Sprintf("%s %s/%s", k.resource.GroupResource(), k.namespace, k.name)
}

const (
	// cleanupTime is how long an API server may take to be as it was.
	cleanupTime = time.Minute
	// cleanupRequests is how many requests run at the same time.
	cleanupRequests = 8
)

var (
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// contentOf reads everything that an API server holds.
func contentOf(ctx context.Context, config *rest.Config) (*content, error) {
	config = rest.CopyConfig(config)
	config.WarningHandler = rest.NoWarnings{} // of kinds that are deprecated
	c := &content{objects: map[objectKey]*unstructured.Unstructured{}}
	var err error
	if c.clients, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.metadata, err = metadata.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.discovery, err = discovery.NewDiscoveryClientForConfig(config); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	err = c.each(ctx, func(ctx context.Context, resource schema.GroupVersionResource) error {
		list, err := c.clients.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i := range list.Items {
			o := &list.Items[i]
			if key := (objectKey{resource, o.GetNamespace(), o.GetName()}); !key.changesByItself() {
				c.objects[key] = o
			}
		}
		return nil
	})
	return c, err
}

// each calls a function for every resource whose objects can be listed and deleted.
func (c *content) each(ctx context.Context, do func(context.Context, schema.GroupVersionResource) error) error {
	lists, err := c.discovery.ServerPreferredResources()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cleanupRequests)
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return err
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") {
				continue
			}
			resource := version.WithResource(r.Name)
			group.Go(func() error {
				if err := do(ctx, resource); err != nil && !apierrors.IsNotFound(err) { // of a kind that goes
					return fmt.Errorf("%s: %w", resource.GroupResource(), err)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// changesByItself: API servers and controllers write it without being asked. What is so in a test's namespace goes with it.
func (k objectKey) changesByItself() bool {
	switch k.resource.Resource {
	case "endpoints", "endpointslices":
		return true
	case "configmaps":
		return k.name == "kube-root-ca.crt"
	case "serviceaccounts":
		return k.name == "default"
	}
	return strings.HasPrefix(k.namespace, "kube-")
}

// restore removes what came since, and restores what was changed or deleted.
func (c *content) restore(ctx context.Context) error {
	for end := time.Now().Add(cleanupTime); ; time.Sleep(20 * time.Millisecond) {
		different, err := c.restoreOnce(ctx)
		switch {
		case err != nil:
			return err
		case len(different) == 0:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("still different after %s: %v", cleanupTime, different)
		}
	}
}

// restoreOnce compares and writes once. It returns what was different: what is deleted may not be gone yet.
func (c *content) restoreOnce(ctx context.Context) (different []objectKey, err error) {
	var mu sync.Mutex
	missing := map[objectKey]bool{}
	for key := range c.objects {
		missing[key] = true
	}
	found := func(key objectKey, same bool) {
		mu.Lock()
		defer mu.Unlock()
		delete(missing, key)
		if !same {
			different = append(different, key)
		}
	}
	err = c.each(ctx, func(ctx context.Context, resource schema.GroupVersionResource) error {
		list, err := c.metadata.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			o := &list.Items[i]
			key := objectKey{resource, o.Namespace, o.Name}
			if key.changesByItself() {
				continue
			}
			same, err := c.restoreObject(ctx, key, o)
			found(key, same)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return different, err
	}
	if err := c.finalizeEmpty(ctx, different); err != nil {
		return different, err
	}
	for key := range missing {
		different = append(different, key)
		if err := c.create(ctx, key); err != nil {
			return different, err
		}
	}
	return different, nil
}

// restoreObject compares one object, and removes or reverts it; same is whether neither was needed.
func (c *content) restoreObject(ctx context.Context, key objectKey, o *metav1.PartialObjectMetadata) (same bool, err error) {
	before := c.objects[key]
	switch {
	case before == nil:
		err = c.remove(ctx, key, o)
	case before.GetResourceVersion() == o.ResourceVersion:
		same = true
	default:
		same, err = c.revert(ctx, key, before)
	}
	return same, unlessChanging(err)
}

// finalizeEmpty ends the new namespaces in which nothing is different any more.
func (c *content) finalizeEmpty(ctx context.Context, different []objectKey) error {
	for _, key := range different {
		full := slices.ContainsFunc(different, func(o objectKey) bool { return o.namespace == key.name })
		if key.resource != namespaces || c.objects[key] != nil || full {
			continue
		}
		if err := unlessChanging(c.finalize(ctx, key)); err != nil {
			return err
		}
	}
	return nil
}

// unlessChanging is the error, but for one that says that the object has changed or gone meanwhile: the next comparison sees that.
func unlessChanging(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func (c *content) of(key objectKey) dynamic.ResourceInterface {
	if key.namespace == "" {
		return c.clients.Resource(key.resource)
	}
	return c.clients.Resource(key.resource).Namespace(key.namespace)
}

// remove deletes an object that was not there, whoever has a finalizer on it.
func (c *content) remove(ctx context.Context, key objectKey, o *metav1.PartialObjectMetadata) error {
	if o.DeletionTimestamp.IsZero() {
		if err := c.of(key).Delete(ctx, key.name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			return err
		}
	}
	if len(o.Finalizers) > 0 && key.resource != definitions { // the API server removes that of a definition when its objects are gone
		if _, err := c.of(key).Patch(ctx, key.name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// finalize ends a namespace that is empty, as a controller does where one runs.
func (c *content) finalize(ctx context.Context, key objectKey) error {
	namespace, err := c.of(key).Get(ctx, key.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	unstructured.RemoveNestedField(namespace.Object, "spec", "finalizers")
	_, err = c.of(key).Update(ctx, namespace, metav1.UpdateOptions{}, "finalize")
	return err
}

// revert gives an object the content that it had; same is whether it has it.
func (c *content) revert(ctx context.Context, key objectKey, before *unstructured.Unstructured) (same bool, err error) {
	now, err := c.of(key).Get(ctx, key.name, metav1.GetOptions{})
	if err != nil {
		return false, err
	}
	if equality.Semantic.DeepEqual(withoutHistory(now), withoutHistory(before)) {
		before.SetResourceVersion(now.GetResourceVersion())
		return true, nil
	}
	if !now.GetDeletionTimestamp().IsZero() {
		return false, nil // it is created when it is gone
	}
	wanted := before.DeepCopy()
	wanted.SetResourceVersion(now.GetResourceVersion())
	wanted.SetUID(now.GetUID())
	_, err = c.of(key).Update(ctx, wanted, metav1.UpdateOptions{})
	return false, err
}

// withoutHistory is an object without what a write changes by itself, and without its status.
func withoutHistory(o *unstructured.Unstructured) map[string]any {
	o = o.DeepCopy()
	delete(o.Object, "status")
	o.SetManagedFields(nil)
	o.SetGeneration(0)
	o.SetResourceVersion("")
	o.SetUID("") // that of an object that was created again is new
	o.SetCreationTimestamp(metav1.Time{})
	return o.Object
}

func (c *content) create(ctx context.Context, key objectKey) error {
	o := c.objects[key].DeepCopy()
	o.SetResourceVersion("")
	o.SetUID("")
	_, err := c.of(key).Create(ctx, o, metav1.CreateOptions{})
	return err
}
