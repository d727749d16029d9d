package ui

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// listed is a cache in memory that shares its objects, as an informer's does where no copy is asked for.
type listed struct{ byType map[string][]runtime.Object }

func newListed(objects []client.Object) *listed {
	l := &listed{byType: map[string][]runtime.Object{}}
	for _, o := range objects {
		name := fmt.Sprintf("%T", o)
		l.byType[name] = append(l.byType[name], o)
	}
	return l
}

func (l *listed) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	for _, o := range l.byType[fmt.Sprintf("%T", into)] {
		if client.ObjectKeyFromObject(o.(client.Object)) == key {
			return runtimeSet(into, o)
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.String())
}

func runtimeSet(into client.Object, from runtime.Object) error {
	data, err := runtime.DefaultUnstructuredConverter.ToUnstructured(from)
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(data, into)
}

func (l *listed) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	var kept []runtime.Object
	for _, x := range l.byType[fmt.Sprintf("%T", list)[:len(fmt.Sprintf("%T", list))-len("List")]] {
		accessor := x.(client.Object)
		if (o.Namespace == "" || accessor.GetNamespace() == o.Namespace) && (o.LabelSelector == nil || o.LabelSelector.Matches(labelsOf(accessor))) {
			kept = append(kept, x)
		}
	}
	return meta.SetList(list, kept)
}

func labelsOf(o client.Object) labels.Set { return o.GetLabels() }
