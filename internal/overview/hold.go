package overview

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// PauseOf is the Hold that keeps one application as it is on its clusters. It names the namespace too: in muster-system, one that does not is
// for the applications of all.
func PauseOf(namespace, name string) *musterv1alpha1.Hold {
	h := &musterv1alpha1.Hold{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pause-" + name}}
	h.Spec.Applications = musterv1alpha1.HeldApplications{Namespaces: []string{namespace}, Names: []string{name}}
	return h
}

// PinOf is the Hold that gives one application the content of a commit; back takes it there as a change that failed is taken back.
func PinOf(namespace, name, revision string, back bool) *musterv1alpha1.Hold {
	h := &musterv1alpha1.Hold{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pin-" + name}}
	h.Spec.Applications = musterv1alpha1.HeldApplications{Namespaces: []string{namespace}, Names: []string{name}}
	h.Spec.Pin = &musterv1alpha1.Pin{Revision: revision, Return: back}
	return h
}

// WriteHold makes a Hold, or makes the one of its name what it is.
func WriteHold(ctx context.Context, hub client.Client, h *musterv1alpha1.Hold) error {
	was := &musterv1alpha1.Hold{}
	err := hub.Get(ctx, client.ObjectKeyFromObject(h), was)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("ask the hub: %w", err)
	case err != nil:
		err = hub.Create(ctx, h)
	default:
		was.Spec = h.Spec
		err = hub.Update(ctx, was)
	}
	if err != nil {
		return fmt.Errorf("write Hold %s/%s: %w", h.Namespace, h.Name, err)
	}
	return nil
}

// EndHold deletes a Hold that was read: one that was made anew meanwhile stays.
func EndHold(ctx context.Context, hub client.Client, h *musterv1alpha1.Hold) error {
	if err := hub.Delete(ctx, h, client.Preconditions{UID: &h.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Hold %s/%s: %w", h.Namespace, h.Name, err)
	}
	return nil
}
