package work

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// deniedError says what the executor of a work may not do.
type deniedError struct {
	user, verb, object string
	cause              error
}

func (d *deniedError) Error() string {
	message := fmt.Sprintf("not allowed to apply %s: %s may not %s it", d.object, d.user, d.verb)
	if d.cause != nil {
		message += ": " + d.cause.Error()
	}
	return message
}

func (d *deniedError) Unwrap() error { return d.cause }

func isDenied(err error) bool {
	var denied *deniedError
	return errors.As(err, &denied)
}

// applyVerbs are what applying means.
func applyVerbs(t target) []string {
	verbs := []string{"create", "update", "patch", "get"}
	if !t.orphan {
		verbs = append(verbs, "delete")
	}
	return verbs
}

// authorize asks the cluster whether the executor of the work may do all of this; the agent itself may do everything that
// its own rights allow.
func (p *reconciliation) authorize(ctx context.Context, t target, verbs ...string) error {
	if p.work.Spec.Executor == nil {
		if p.ExecutorOnly {
			return &deniedError{user: "this agent, which acts as the accounts that works name (serviceAccountName of an application),", verb: verbs[0], object: t.meta.Resource + " " + nameIn(t.entry(""))}
		}
		return nil
	}
	account := p.work.Spec.Executor.Subject.ServiceAccount
	if p.work.Spec.Executor.Subject.Type != workv1.ExecutorSubjectTypeServiceAccount || account == nil {
		return errors.New("the executor of the work is no service account")
	}
	user := executorOf(p.work)
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + account.Namespace, "system:authenticated"}
	for _, verb := range verbs {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: t.meta.Group, Version: t.meta.Version,
				Resource: t.meta.Resource, Namespace: t.meta.Namespace, Name: t.meta.Name}}}
		if err := p.spoke.Create(ctx, review); err != nil {
			return fmt.Errorf("ask whether %s may %s %s: %w", user, verb, t, err)
		}
		if !review.Status.Allowed {
			return &deniedError{user: user, verb: verb, object: t.meta.Resource + " " + nameIn(t.entry(""))}
		}
	}
	if t.meta.Group != "rbac.authorization.k8s.io" || !slices.Contains(verbs, "create") || p.ExecutorOnly { // then the API server sees who grants rights
		return nil
	}
	return p.escalates(ctx, t, rest.ImpersonationConfig{UserName: user, Groups: groups})
}

// escalates tries the apply of a role or binding as the executor would: the API server refuses rights that the
// executor does not have itself.
func (p *reconciliation) escalates(ctx context.Context, t target, as rest.ImpersonationConfig) error {
	config := configured(p.Spoke)
	config.Impersonate = as
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect as %s: %w", as.UserName, err)
	}
	force := true
	_, err = objects.Resource(t.gvr()).Namespace(t.meta.Namespace).Patch(ctx, t.meta.Name, types.ApplyPatchType, must(t.object.MarshalJSON()),
		metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, Force: &force, FieldManager: t.serverSide().FieldManager})
	switch {
	case apierrors.IsForbidden(err):
		return &deniedError{user: as.UserName, verb: "grant the rights of", object: t.meta.Resource + " " + nameIn(t.entry("")), cause: err}
	case err != nil:
		return fmt.Errorf("try %s as %s: %w", t, as.UserName, err)
	}
	return nil
}
