package work

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// neverRecreated are kinds whose deletion deletes data.
var neverRecreated = []schema.GroupKind{
	{Kind: "Namespace"}, {Kind: "PersistentVolumeClaim"}, {Kind: "PersistentVolume"},
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"},
}

// immutableError says that a manifest is fine and the live object cannot become it.
type immutableError struct {
	fields []string
	next   string // what a person can do
	cause  error
}

func (e *immutableError) Error() string {
	what := "the API server does not let the live object change"
	if len(e.fields) > 0 {
		what = strings.Join(e.fields, ", ") + " cannot be changed on the live object"
	}
	return fmt.Sprintf("%s: %v; %s", what, e.cause, e.next)
}

func (e *immutableError) Unwrap() error { return e.cause }

// mend tries again what the API server refused because of a field that cannot be changed: the object is deleted and created again where
// the application says so. Else the error names the fields and the next step.
func (p *reconciliation) mend(ctx context.Context, t target, s *objectState, n need, err error) (*unstructured.Unstructured, error) {
	if !apierrors.IsInvalid(err) {
		return nil, err
	}
	live, gerr := p.get(ctx, t)
	if gerr != nil || live == nil || !p.immutable(ctx, t, err) {
		return nil, err
	}
	immutable := &immutableError{fields: fieldsOf(err), cause: err,
		next: "delete the object, or give it another name, or set sync.onImmutable: Recreate on the application"}
	recreate := cmp.Or(t.object.GetAnnotations()[musterv1alpha1.OnImmutableAnnotation], p.work.Annotations[musterv1alpha1.OnImmutableAnnotation])
	switch {
	case slices.Contains(neverRecreated, t.object.GroupVersionKind().GroupKind()):
		immutable.next = "a " + t.meta.Kind + " is never recreated, since its content would go with it: move the content, and delete it by hand"
		return nil, immutable
	case recreate != string(musterv1alpha1.ImmutableRecreate):
		return nil, immutable
	case p.contested(t):
		immutable.next = "it is not recreated, since another work has it too"
		return nil, immutable
	case !t.orphan && !owns(p.record, live):
		immutable.next = "it is not recreated, since it was not applied by this work before"
		return nil, immutable
	}
	if err := p.deleteToRecreate(ctx, t, live); err != nil {
		return nil, err
	}
	return p.write(ctx, t, s, n)
}

// immutable says that the API server refuses not the manifest but the change of the live object: it would accept the manifest under
// another name.
func (p *reconciliation) immutable(ctx context.Context, t target, err error) bool {
	if text := err.Error(); strings.Contains(text, "immutable") || strings.Contains(text, "may not change once set") {
		return true // values that only one object can have, such as node ports, make the other way fail
	}
	another := t.object.DeepCopy()
	another.SetName("")
	another.SetGenerateName("muster-")
	_, err = p.resource(t.gvr(), t.meta.Namespace).Create(ctx, another,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: workv1.DefaultFieldManager})
	return err == nil
}

func fieldsOf(err error) []string {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) || answer.Status().Details == nil {
		return nil
	}
	var fields []string
	for _, cause := range answer.Status().Details.Causes {
		if cause.Field != "" && !slices.Contains(fields, cause.Field) {
			fields = append(fields, cause.Field)
		}
	}
	return fields
}

// errRecreating means that an object which is created again is not gone yet.
var errRecreating = errors.New("it is being deleted, to be created again")

func (p *reconciliation) deleteToRecreate(ctx context.Context, t target, live *unstructured.Unstructured) error {
	logr.FromContextOrDiscard(ctx).Info("Delete, to create it again", "object", t.String())
	uid := live.GetUID()
	if err := p.deleteLive(ctx, t, live); err != nil {
		return err
	}
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		if now, err := p.get(ctx, t); err == nil && (now == nil || now.GetUID() != uid) {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	if finalizers := live.GetFinalizers(); len(finalizers) > 0 {
		return fmt.Errorf("%w: finalizer %s keeps it", errRecreating, strings.Join(finalizers, ", "))
	}
	return errRecreating
}
