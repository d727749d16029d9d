package hub

import (
	"context"
	"fmt"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WithdrawApproval removes the approval of a plan from an object whose deletions are done. It fails when somebody else has
// written the object since it was read: they may have approved another plan.
func WithdrawApproval(ctx context.Context, c client.Client, o client.Object) error {
	patch := fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"annotations":{%q:null}}}`, o.GetResourceVersion(), musterv1alpha1.ApprovedPlanAnnotation)
	target := o.DeepCopyObject().(client.Object)
	err := c.Patch(ctx, target, client.RawPatch(types.MergePatchType, []byte(patch)))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("withdraw the used approval of %s/%s: %w", o.GetNamespace(), o.GetName(), err)
	}
	return nil
}
