package cluster

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ensureAll makes each object be on the hub as wanted. One that cannot be made does not stop the others.
func ensureAll(ctx context.Context, c client.Client, wanted []client.Object) error {
	var errs []error
	for _, w := range wanted {
		if err := ensure(ctx, c, w); err != nil {
			errs = append(errs, fmt.Errorf("make %T %s: %w", w, w.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// ensure makes one object be as wanted. Labels and annotations of others stay. A binding to another role is replaced,
// since its role cannot be changed.
func ensure(ctx context.Context, c client.Client, wanted client.Object) error {
	live := wanted.DeepCopyObject().(client.Object)
	err := c.Get(ctx, client.ObjectKeyFromObject(wanted), live)
	if apierrors.IsNotFound(err) {
		err = c.Create(ctx, wanted)
		if apierrors.IsAlreadyExists(err) {
			return nil // the cache is behind; its next event comes back here
		}
		return err
	}
	if err != nil || !live.GetDeletionTimestamp().IsZero() {
		return err
	}
	was := live.DeepCopyObject()
	live.SetLabels(merged(live.GetLabels(), wanted.GetLabels()))
	live.SetAnnotations(merged(live.GetAnnotations(), wanted.GetAnnotations()))
	if !copyRights(live, wanted) {
		return errors.Join(c.Delete(ctx, live), errors.New("it is bound to another role, and is made again"))
	}
	if equality.Semantic.DeepEqual(was, live) {
		return nil
	}
	return c.Update(ctx, live)
}

// copyRights makes the rights of live those of wanted. It is false when that cannot be.
func copyRights(live, wanted client.Object) bool {
	switch w := wanted.(type) {
	case *rbacv1.ClusterRole:
		live.(*rbacv1.ClusterRole).Rules = w.Rules
	case *rbacv1.Role:
		live.(*rbacv1.Role).Rules = w.Rules
	case *rbacv1.ClusterRoleBinding:
		l := live.(*rbacv1.ClusterRoleBinding)
		l.Subjects = w.Subjects
		return l.RoleRef == w.RoleRef
	case *rbacv1.RoleBinding:
		l := live.(*rbacv1.RoleBinding)
		l.Subjects, l.Finalizers = w.Subjects, w.Finalizers
		return l.RoleRef == w.RoleRef
	}
	return true
}

func merged(into, from map[string]string) map[string]string {
	if len(from) > 0 && into == nil {
		into = map[string]string{}
	}
	for k, v := range from {
		into[k] = v
	}
	return into
}
