package fleetrepository

import (
	"context"
	"fmt"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/registration"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
)

// applyCluster writes the parts of a ManagedCluster that Git owns. It merges the taints with the hub's own and writes them with an
// optimistic update. It does not accept a cluster that a person has denied.
func (r *Repositories) applyCluster(
	ctx context.Context, resource dynamic.ResourceInterface, live, wanted *unstructured.Unstructured, declared *clusterv1.ManagedCluster,
) (*unstructured.Unstructured, error) {
	if live == nil {
		var err error
		if live, err = r.reserve(ctx, resource, declared); err != nil {
			return nil, err
		}
	}
	was, err := asCluster(live)
	if err != nil {
		return nil, err
	}
	var denied error
	if declared.Spec.HubAcceptsClient && deniedByPerson(was) {
		unstructured.RemoveNestedField(wanted.Object, "spec", "hubAcceptsClient")
		denied = fleet.Fault{
			Reason: fleet.OwnedElsewhere, ActionRequiredBy: fleet.User, Object: "ManagedCluster " + was.Name,
			Message: fmt.Sprintf("a person has denied the cluster on the hub, which a commit does not reverse: run muster accept %s, or set hubAcceptsClient: false here", was.Name),
		}
	}
	// Write taints before labels: otherwise a placement could select the cluster in between.
	if _, err := r.applyTaints(ctx, resource, live, declared); err != nil {
		return nil, err
	}
	applied, err := applyObject(ctx, resource, wanted)
	if err != nil {
		return nil, err
	}
	if denied != nil {
		return nil, denied
	}
	return applied, nil
}

// reserve creates a cluster with its taints only, the hub's own taint for unreachable clusters among them: the agent has not
// connected yet, and a placement must not choose the cluster before the hub has reconciled it.
func (r *Repositories) reserve(ctx context.Context, resource dynamic.ResourceInterface, declared *clusterv1.ManagedCluster) (*unstructured.Unstructured, error) {
	now := r.Now()
	first := &clusterv1.ManagedCluster{}
	first.APIVersion, first.Kind = clusterv1.GroupVersion.String(), "ManagedCluster"
	first.Name, first.Annotations = declared.Name, map[string]string{plan.GitTaintsAnnotation: plan.GitTaints(declared.Spec.Taints)}
	first.Spec.Taints = plan.MergeTaints(registration.WantTaints(first, registration.NoDoubt, now), declared.Spec.Taints, "")
	for i := range first.Spec.Taints {
		if first.Spec.Taints[i].TimeAdded.IsZero() {
			first.Spec.Taints[i].TimeAdded = clusterv1.NewTaintTime(now)
		}
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(first)
	if err != nil {
		return nil, err
	}
	created, err := resource.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldManager: plan.FieldManager + "-taints"})
	if apierrors.IsAlreadyExists(err) { // its agent has created it meanwhile
		return resource.Get(ctx, declared.Name, metav1.GetOptions{})
	}
	return created, err
}

// applyTaints writes the taints that Git declares together with the annotation that lists them, in one update. It replaces the
// complete list; the resource version makes sure that a taint added meanwhile is not lost.
func (r *Repositories) applyTaints(
	ctx context.Context, resource dynamic.ResourceInterface, live *unstructured.Unstructured, declared *clusterv1.ManagedCluster,
) (*unstructured.Unstructured, error) {
	was, err := asCluster(live)
	if err != nil {
		return nil, err
	}
	note := plan.GitTaints(declared.Spec.Taints)
	taints := plan.MergeTaints(was.Spec.Taints, declared.Spec.Taints, was.Annotations[plan.GitTaintsAnnotation])
	_, released := was.Annotations[musterv1alpha1.ReleasedAnnotation]
	if equality.Semantic.DeepEqual(taints, was.Spec.Taints) && was.Annotations[plan.GitTaintsAnnotation] == note && !released {
		return live, nil
	}
	list := make([]any, 0, len(taints))
	for i := range taints {
		if taints[i].TimeAdded.IsZero() {
			taints[i].TimeAdded = clusterv1.NewTaintTime(r.Now())
		}
		t, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&taints[i])
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	next := live.DeepCopy()
	if err := unstructured.SetNestedSlice(next.Object, list, "spec", "taints"); err != nil {
		return nil, err
	}
	annotations := next.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[plan.GitTaintsAnnotation] = note
	delete(annotations, musterv1alpha1.ReleasedAnnotation)
	delete(annotations, ReleasedFromAnnotation)
	next.SetAnnotations(annotations)
	return resource.Update(ctx, next, metav1.UpdateOptions{FieldManager: plan.FieldManager + "-taints"})
}

// deniedByPerson is true when the cluster was accepted once (the condition exists, with any status) and a person, not Git, has
// denied it since.
func deniedByPerson(c *clusterv1.ManagedCluster) bool {
	return !c.Spec.HubAcceptsClient && !plan.GitOwns(c, "spec", "hubAcceptsClient") &&
		meta.FindStatusCondition(c.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) != nil
}

func asCluster(u *unstructured.Unstructured) (*clusterv1.ManagedCluster, error) {
	var c clusterv1.ManagedCluster
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &c); err != nil {
		return nil, fmt.Errorf("read ManagedCluster %s: %w", u.GetName(), err)
	}
	return &c, nil
}
