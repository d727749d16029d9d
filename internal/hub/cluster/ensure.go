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

// ensureAll creates or corrects each object. One that fails does not stop the others.
func (r *clusters) ensureAll(ctx context.Context, wanted []client.Object) error {
	var errs []error
	for _, w := range wanted {
		if err := r.ensure(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("write %T %s: %w", w, w.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// ensure creates an object, or gives it the wanted rights. Labels and annotations of others stay. A binding to another role is
// replaced, since its role cannot be changed.
func (r *clusters) ensure(ctx context.Context, wanted client.Object) error {
	c, key := r.client, client.ObjectKeyFromObject(wanted)
	live := wanted.DeepCopyObject().(client.Object)
	err := c.Get(ctx, key, live)
	if apierrors.IsNotFound(err) {
		r.Precedence.Wait(ctx)
		if err = c.Create(ctx, wanted); !apierrors.IsAlreadyExists(err) {
			return err
		}
		err = r.live.Get(ctx, key, live) // the cache is stale
	}
	if err != nil || !live.GetDeletionTimestamp().IsZero() {
		return err
	}
	was := live.DeepCopyObject()
	live.SetLabels(merged(live.GetLabels(), wanted.GetLabels()))
	live.SetAnnotations(merged(live.GetAnnotations(), wanted.GetAnnotations()))
	if !copyRights(live, wanted) {
		return errors.Join(c.Delete(ctx, live), errors.New("it is bound to another role, and is created again"))
	}
	if equality.Semantic.DeepEqual(was, live) {
		return nil
	}
	return c.Update(ctx, live)
}

// copyRights gives live the rights of wanted. It is false when the API server allows no such change.
func copyRights(live, wanted client.Object) bool {
	switch w := wanted.(type) {
	case *rbacv1.ClusterRole:
		l := live.(*rbacv1.ClusterRole)
		l.AggregationRule = w.AggregationRule
		if w.AggregationRule == nil { // else Kubernetes collects them
			l.Rules = w.Rules
		}
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
