package work

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// The values of the annotation muster.dev/delete-policy.
const (
	deleteBeforeApply = "BeforeApply"
	deleteWhenReady   = "WhenReady"
	deleteWhenFailed  = "WhenFailed"
)

// deletePolicies reads when an object is deleted.
func deletePolicies(annotations map[string]string) ([]string, error) {
	text := annotations[musterv1alpha1.DeletePolicyAnnotation]
	if text == "" {
		return nil, nil
	}
	all := []string{deleteBeforeApply, deleteWhenReady, deleteWhenFailed}
	policies := strings.Split(text, ",")
	for i, policy := range policies {
		policies[i] = strings.TrimSpace(policy)
		if !slices.Contains(all, policies[i]) {
			return nil, fmt.Errorf("annotation %s is %q, and takes %s", musterv1alpha1.DeletePolicyAnnotation, text, strings.Join(all, ", "))
		}
	}
	return policies, nil
}

// deletes says that an object is deleted at some moment although it stays in the work.
func (t target) deletes(policy string) bool { return slices.Contains(t.policies, policy) }

// deletesAtTheEnd says that the object goes when it is ready, or has failed.
func (t target) deletesAtTheEnd() bool {
	return t.deletes(deleteWhenReady) || t.deletes(deleteWhenFailed)
}

// marksAlways says that the record marks the manifest as soon as it is applied: applied again, it would be another object.
func (t target) marksAlways() bool { return t.deletes(deleteBeforeApply) && !t.deletesAtTheEnd() }

// deleteBefore deletes the object of a manifest that changed, where its policy asks for it.
func (p *reconciliation) deleteBefore(ctx context.Context, t target, s *objectState, n need) error {
	if n != apply || t.err != nil || s.hash == t.hash || !t.deletes(deleteBeforeApply) {
		return nil
	}
	live, err := p.get(ctx, t)
	if err != nil || live == nil || !owns(p.record, live) {
		return err
	}
	return p.deleteToRecreate(ctx, t, live)
}

// endedByPolicy says that an object has reached the state in which its policy deletes it.
func (p *reconciliation) endedByPolicy(t target, s *objectState) bool {
	if t.err != nil || s.state != present || s.hash != t.hash {
		return false
	}
	return s.unready == "" && t.deletes(deleteWhenReady) || s.degraded && t.deletes(deleteWhenFailed)
}

// deleteEnded deletes the objects that have reached the state in which their policy deletes them. The record holds their marks
// already: an agent that restarts does not make them again.
func (p *reconciliation) deleteEnded(ctx context.Context) error {
	var errs []error
	for _, t := range p.targets {
		s := p.memory.about(t.key())
		if !p.endedByPolicy(t, s) || !p.marked(t) {
			continue
		}
		live, err := p.get(ctx, t)
		if err != nil || live == nil || live.GetDeletionTimestamp() != nil || !owns(p.record, live) {
			errs = append(errs, err)
			continue
		}
		logr.FromContextOrDiscard(ctx).Info("Delete, as its policy asks", "object", t.String())
		errs = append(errs, p.deleteLive(ctx, t, live))
		s.stale = true
	}
	return errors.Join(errs...)
}

func (p *reconciliation) deleteLive(ctx context.Context, t target, live *unstructured.Unstructured) error {
	uid, background := live.GetUID(), metav1.DeletePropagationBackground
	err := p.resource(t.gvr(), t.meta.Namespace).Delete(ctx, t.meta.Name,
		metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", t, err)
	}
	deletions.Inc()
	return nil
}
