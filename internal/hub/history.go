package hub

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// RolloutHistory is the history of an application as the API server has it, or a new one. Read it past the cache: a stale one would lead
// past the last good revision.
func RolloutHistory(ctx context.Context, reader client.Reader, app *musterv1alpha1.Application) (*musterv1alpha1.RolloutHistory, error) {
	history := &musterv1alpha1.RolloutHistory{}
	err := reader.Get(ctx, client.ObjectKeyFromObject(app), history)
	if apierrors.IsNotFound(err) {
		history = &musterv1alpha1.RolloutHistory{ObjectMeta: metav1.ObjectMeta{
			Namespace: app.Namespace, Name: app.Name, OwnerReferences: []metav1.OwnerReference{{
				APIVersion: musterv1alpha1.GroupVersion.String(), Kind: "Application", Name: app.Name, UID: app.UID,
			}},
		}}
		return history, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the rollout history of %s/%s: %w", app.Namespace, app.Name, err)
	}
	return history, nil
}

// WriteRolloutHistory creates or updates a history. It fails when somebody else has written it since it was read.
func WriteRolloutHistory(ctx context.Context, c client.Client, history *musterv1alpha1.RolloutHistory) error {
	if history.ResourceVersion == "" {
		return c.Create(ctx, history)
	}
	return c.Update(ctx, history)
}
