package registration

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// namespaceLabel marks the namespaces that this hub's cluster sets ask for.
func (s *session) namespaceLabel() string {
	return clusterv1.ManagedNamespaceLabelPrefix + s.hubHash[:63]
}

// asksForNamespaces is true when the hub asks for a namespace of which nothing was found out yet.
func asksForNamespaces(self *clusterv1.ManagedCluster, known facts) bool {
	for _, n := range self.Status.ManagedNamespaces {
		if _, ok := known.namespaces[n.Name]; !ok && known.version != "" {
			return true
		}
	}
	return false
}

// keepNamespaces makes the namespaces that cluster sets ask for, and says of each whether it is there. Of those that are
// no longer asked for the label becomes "false"; no namespace is ever deleted.
func (s *session) keepNamespaces(ctx context.Context, wanted []clusterv1.ClusterSetManagedNamespaceConfig) map[string]metav1.Condition {
	found := map[string]metav1.Condition{}
	for _, n := range wanted {
		if _, done := found[n.Name]; done {
			continue
		}
		condition := metav1.Condition{
			Type: clusterv1.ManagedNamespaceConditionAvailable, Status: metav1.ConditionTrue,
			Reason: clusterv1.ReasonNamespaceApplied, Message: "Namespace successfully applied and managed",
		}
		if err := s.labelNamespace(ctx, n.Name, "true", true); err != nil {
			condition.Status, condition.Reason = metav1.ConditionFalse, clusterv1.ReasonNamespaceApplyFailed
			condition.Message = err.Error()
		}
		found[n.Name] = condition
	}
	if err := s.releaseNamespaces(ctx, found); err != nil && ctx.Err() == nil {
		logr.FromContextOrDiscard(ctx).Info("cannot release namespaces of cluster sets", "why", err.Error())
	}
	return found
}

func (s *session) releaseNamespaces(ctx context.Context, wanted map[string]metav1.Condition) error {
	var list corev1.NamespaceList
	if err := s.local.List(ctx, &list, client.MatchingLabels{s.namespaceLabel(): "true"}); err != nil {
		return err
	}
	var errs []error
	for _, n := range list.Items {
		if _, ok := wanted[n.Name]; !ok {
			errs = append(errs, s.labelNamespace(ctx, n.Name, "false", false))
		}
	}
	return errors.Join(errs...)
}

// labelNamespace sets this hub's label on a namespace, and makes the namespace when it may.
func (s *session) labelNamespace(ctx context.Context, name, value string, create bool) error {
	namespace := &corev1.Namespace{}
	err := s.local.Get(ctx, client.ObjectKey{Name: name}, namespace)
	if apierrors.IsNotFound(err) && create {
		namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{s.namespaceLabel(): value}}}
		return s.local.Create(ctx, namespace)
	}
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if namespace.Labels[s.namespaceLabel()] == value {
		return nil
	}
	base := namespace.DeepCopy()
	metav1.SetMetaDataLabel(&namespace.ObjectMeta, s.namespaceLabel(), value)
	if err := s.local.Patch(ctx, namespace, client.MergeFrom(base)); err != nil {
		return fmt.Errorf("label namespace %s: %w", name, err)
	}
	return nil
}
