package overview

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// Hand is what a person says of a rollout: annotations, where nil takes one off, and what it means.
type Hand struct {
	annotations map[string]any
	Said        string
}

// WhoAmI asks the hub for the name by which it knows the person.
func WhoAmI(ctx context.Context, hub client.Client) (string, error) {
	me := &authenticationv1.SelfSubjectReview{}
	if err := hub.Create(ctx, me); err != nil {
		return "", fmt.Errorf("ask the hub who you are: %w", err)
	}
	return me.Status.UserInfo.Username, nil
}

// Say writes what a person says of a rollout, under the name by which the hub knows them. It fails when the application has changed since
// it was read.
func Say(ctx context.Context, hub client.Client, app *musterv1alpha1.Application, h Hand) error {
	me, err := WhoAmI(ctx, hub)
	if err != nil {
		return err
	}
	h.annotations[musterv1alpha1.RolloutByAnnotation] = me
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": app.ResourceVersion, "annotations": h.annotations}})
	if err != nil {
		return fmt.Errorf("encode what is said: %w", err)
	}
	name := app.Namespace + "/" + app.Name
	if err := hub.Patch(ctx, app, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("write it on application %s: %w", name, err)
	}
	return nil
}

var errNoRollout = errors.New("no rollout of it goes on: muster rollout status shows what does")

// Retry rolls a change out that was taken back, once more.
func Retry(app *musterv1alpha1.Application) (Hand, error) {
	back := app.Status.RolledBack
	if back == nil {
		return Hand{}, errors.New("nothing of it was taken back")
	}
	return Hand{map[string]any{
		musterv1alpha1.RetryAnnotation: back.At.UTC().Format(time.RFC3339), musterv1alpha1.AbortAnnotation: nil,
	}, "retried: " + fleet.ShortRevision(back.Refused) + " is rolled out once more"}, nil
}

// Abort takes the change that is rolled out back to the last good revision.
func Abort(app *musterv1alpha1.Application) (Hand, error) {
	r := app.Status.Rollout
	if r == nil || r.Phase == musterv1alpha1.RolloutReturning {
		return Hand{}, errNoRollout
	}
	return Hand{map[string]any{musterv1alpha1.AbortAnnotation: r.Revision},
		fmt.Sprintf("aborted: %s is taken back from %d of %d clusters", fleet.ShortRevision(r.Revision), r.Updated, r.Clusters)}, nil
}

// SkipStep lets the next steps begin although one, "" is the present one, is not proved.
func SkipStep(app *musterv1alpha1.Application, step string) (Hand, error) {
	r := app.Status.Rollout
	if r == nil || r.Phase == musterv1alpha1.RolloutReturning {
		return Hand{}, errNoRollout
	}
	if step == "" {
		step = r.Group
	}
	if step == "" && r.Canary != nil {
		step = musterv1alpha1.CanaryStepName(int(r.Canary.Step))
	}
	if err := knownStep(app, step); err != nil {
		return Hand{}, err
	}
	return Hand{map[string]any{musterv1alpha1.SkippedStepsAnnotation: withStep(app, musterv1alpha1.SkippedStepsAnnotation, r.Revision, step)},
		fmt.Sprintf("skipped: the steps after %s do not wait for it, for %s alone", step, fleet.ShortRevision(r.Revision))}, nil
}

// ApproveStep lets a step begin.
func ApproveStep(app *musterv1alpha1.Application, step string) (Hand, error) {
	r := app.Status.Rollout
	if r == nil || r.Phase == musterv1alpha1.RolloutReturning {
		return Hand{}, errNoRollout
	}
	if err := knownStep(app, step); err != nil {
		return Hand{}, err
	}
	said := "approved: %s goes on to step %s"
	if musterv1alpha1.CanaryStepOf(step) > 0 {
		said = "approved: %s goes on after step %s"
	}
	return Hand{map[string]any{musterv1alpha1.ApprovedStepsAnnotation: withStep(app, musterv1alpha1.ApprovedStepsAnnotation, r.Revision, step)},
		fmt.Sprintf(said, fleet.ShortRevision(r.Revision), step)}, nil
}

func knownStep(app *musterv1alpha1.Application, step string) error {
	var names []string
	if app.Spec.Rollout != nil {
		for _, s := range app.Spec.Rollout.Steps {
			if s.Name == step {
				return nil
			}
			names = append(names, s.Name)
		}
		if c := app.Spec.Rollout.Canary; c != nil {
			for n := range c.Steps {
				names = append(names, musterv1alpha1.CanaryStepName(n+1))
			}
			if slices.Contains(names, step) {
				return nil
			}
		}
	}
	if len(names) == 0 {
		return errors.New("its rollout has no steps: spec.rollout.steps, spec.rollout.canary")
	}
	return fmt.Errorf("%q is none of its steps: %s", step, strings.Join(names, ", "))
}

// withStep adds a step to those of a revision in an annotation; those of other revisions go.
func withStep(app *musterv1alpha1.Application, annotation, revision, step string) string {
	entry := revision + "/" + step
	list := []string{entry}
	for _, old := range strings.Split(app.Annotations[annotation], ",") {
		if strings.HasPrefix(old, revision+"/") && old != entry {
			list = append(list, old)
		}
	}
	return strings.Join(list, ",")
}
