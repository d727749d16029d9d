package review

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/review"
)

// approve notes who approves what is held, on the pull request: with a comment that names the plan, or with a review of this head
// from after it was known what it holds. Its author cannot, and an edited comment may not be its author's any more. What counts is what
// the host says now: an approval that is taken back, dismissed, or of an older head, or whose author may no more, is none.
func (t *task) approve(ctx context.Context, pr githost.PullRequest, o owned, is *musterv1alpha1.PullRequestStatus, comments []githost.Comment) error {
	who, was := t.repo.Spec.Review.Approvers, is.ApprovedBy
	if len(is.Held) == 0 || was == "" && !mayBeApproved(who) {
		return nil
	}
	candidates, err := t.whoApproves(ctx, pr, is, comments)
	if err != nil {
		return err
	}
	if slices.Contains(candidates, was) { // the first remains the one
		candidates = append([]string{was}, candidates...)
	}
	is.ApprovedBy = ""
	for _, user := range candidates {
		if strings.EqualFold(user, pr.Author) || strings.EqualFold(user, t.state.self) {
			continue
		}
		may, err := t.may(ctx, user, o)
		if err != nil {
			return err
		}
		if may {
			is.ApprovedBy = user
			return nil
		}
	}
	return nil
}

func mayBeApproved(who musterv1alpha1.ReviewApprovers) bool {
	return len(who.Users)+len(who.Teams) > 0 || who.CodeOwners
}

// owned are the files whose definitions are held, and the commit whose CODEOWNERS names their owners. Without files, code owners approve
// nothing.
type owned struct {
	files    []string
	revision string
}

// ownedBefore is what a pull request held when it was looked at last, by the branch as it was then: CODEOWNERS may be what was merged since.
func (m *request) ownedBefore() owned {
	if m == nil || m.planned == nil {
		return owned{}
	}
	return owned{m.planned.files, m.basis.tip}
}

// settle decides the last time who has approved, when it is seen that a pull request is merged: since the look before, an approval may have
// come or gone. A hub that has started since does not know what code owners own; the one who has approved stays, if they still say so.
func (t *task) settle(ctx context.Context, pr githost.PullRequest, o owned, is *musterv1alpha1.PullRequestStatus) error {
	if len(is.Held) == 0 {
		return nil
	}
	comments, err := t.state.host.Comments(ctx, pr.Number)
	if err != nil {
		return fmt.Errorf("read the comments of pull request %d: %w", pr.Number, err)
	}
	if who := t.repo.Spec.Review.Approvers; is.ApprovedBy != "" && who.CodeOwners && len(o.files) == 0 {
		candidates, err := t.whoApproves(ctx, pr, is, comments)
		if err != nil || slices.Contains(candidates, is.ApprovedBy) {
			return err
		}
	}
	return t.approve(ctx, pr, o, is, comments)
}

// whoApproves are the users who say that they approve what a pull request holds, whether they may or not.
func (t *task) whoApproves(ctx context.Context, pr githost.PullRequest, is *musterv1alpha1.PullRequestStatus, comments []githost.Comment) ([]string, error) {
	var users []string
	for _, c := range comments {
		if !c.Edited && review.Approves(c.Body, is.Plan) {
			users = append(users, c.Author)
		}
	}
	approvals, err := t.state.host.Approvals(ctx, pr.Number)
	if err != nil {
		return nil, fmt.Errorf("read the reviews of pull request %d: %w", pr.Number, err)
	}
	for _, a := range approvals {
		if is.Head == pr.Head && (a.Commit == "" || a.Commit == pr.Head) && !a.At.Before(is.HeldSince.Time) {
			users = append(users, a.User)
		}
	}
	return users, nil
}

// may says whether a user may approve what a plan holds, which these files define.
func (t *task) may(ctx context.Context, user string, o owned) (bool, error) {
	who := t.repo.Spec.Review.Approvers
	if in, err := t.among(ctx, user, who.Users, who.Teams); in || err != nil || !who.CodeOwners {
		return in, err
	}
	if len(o.files) == 0 {
		return false, nil
	}
	snapshot, err := t.Store.Snapshot(t.repo.Spec.URL, o.revision, "")
	if err != nil {
		return false, err
	}
	owners := review.CodeOwnersOf(snapshot.Tree, t.repo.Spec.Review.Host)
	for _, file := range o.files {
		var users, teams []string
		for _, owner := range owners.Of(path.Join(t.repo.Spec.Path, file)) {
			if strings.Contains(owner, "/") {
				teams = append(teams, owner)
			} else {
				users = append(users, owner)
			}
		}
		if in, err := t.among(ctx, user, users, teams); !in || err != nil {
			return false, err
		}
	}
	return true, nil
}

// among says whether a user is one of the users, or in one of the teams.
func (t *task) among(ctx context.Context, user string, users, teams []string) (bool, error) {
	if slices.ContainsFunc(users, func(u string) bool { return strings.EqualFold(u, user) }) {
		return true, nil
	}
	mine, err := t.memberOf(ctx, user, teams)
	return len(mine) > 0, err
}

// teamsOf are the teams of a user, among those that the spec names.
func (t *task) teamsOf(ctx context.Context, user string) ([]string, error) {
	return t.memberOf(ctx, user, t.repo.Spec.Review.Approvers.Teams)
}

// memberOf are the teams that a user is in. One that the host does not show has no members, and is told as unknown.
func (t *task) memberOf(ctx context.Context, user string, teams []string) ([]string, error) {
	var mine []string
	for _, team := range teams {
		in, err := t.state.host.IsMember(ctx, team, user)
		var answer *githost.Error
		if errors.As(err, &answer) && answer.Kind == githost.NotFound {
			if !slices.Contains(t.unknown, team) {
				t.unknown = append(t.unknown, team)
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask who is in team %s: %w", team, err)
		}
		if in {
			mine = append(mine, team)
		}
	}
	return mine, nil
}

// unknownTeams says of teams that the host does not show why nobody in them may approve; "" when there are none.
func (t *task) unknownTeams() string {
	if len(t.unknown) == 0 {
		return ""
	}
	return fmt.Sprintf("the host shows no team %s to %s, so that nobody in it can approve: correct the name, or give the account what docs/review.md says for teams",
		strings.Join(t.unknown, ", "), t.state.self)
}

// release lets the approved deletions of a merged pull request go ahead, as far as they are what was approved. It says whether
// something is still to come.
func (t *task) release(ctx context.Context, p *musterv1alpha1.PullRequestStatus) (waits bool, err error) {
	if p.ApprovedBy == "" {
		return false, nil
	}
	for _, h := range p.Held {
		object, held, at, err := t.held(ctx, h)
		if err != nil {
			return true, err
		}
		switch {
		case object == nil || held == nil && at == t.repo.Status.Revision:
		case at != t.repo.Status.Revision:
			waits = true // it is not planned at the merged commit yet
		case held.Plan == h.Plan:
			waits = true
			if object.GetAnnotations()[musterv1alpha1.ApprovedPlanAnnotation] != h.Plan {
				if err := t.annotate(ctx, object, h.Plan); err != nil {
					return true, fmt.Errorf("approve plan %s of %s %s/%s as pull request %d says: %w", fleet.ShortRevision(h.Plan), h.Kind, h.Namespace, h.Name, p.Number, err)
				}
			}
		default:
			waits = true
			t.changed = fmt.Sprintf("%s %s/%s holds plan %s, and %s approved %s on pull request %d: look at it, and approve with muster approve --plan %s",
				h.Kind, h.Namespace, h.Name, fleet.ShortRevision(held.Plan), p.ApprovedBy, fleet.ShortRevision(h.Plan), p.Number, fleet.ShortRevision(held.Plan))
		}
	}
	return waits, nil
}

// held is what an object holds now, and the commit that it is planned at.
func (t *task) held(ctx context.Context, h musterv1alpha1.HeldPlan) (client.Object, *musterv1alpha1.Held, string, error) {
	key := types.NamespacedName{Namespace: h.Namespace, Name: h.Name}
	if h.Kind == "FleetRepository" {
		if key != client.ObjectKeyFromObject(t.repo) {
			return nil, nil, "", nil
		}
		return t.repo, t.repo.Status.Held, t.repo.Status.Revision, nil
	}
	var app musterv1alpha1.Application
	if err := t.Client.Get(ctx, key, &app); err != nil {
		return nil, nil, "", client.IgnoreNotFound(err)
	}
	if app.Annotations[musterv1alpha1.RepositoryAnnotation] != client.ObjectKeyFromObject(t.repo).String() {
		return nil, nil, "", nil // another repository's: nothing here approves it
	}
	return &app, app.Status.Held, app.Status.Revision, nil
}

// annotate approves as muster approve does: another plan that was made meanwhile is not approved.
func (t *task) annotate(ctx context.Context, o client.Object, digest string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": o.GetResourceVersion(),
		"annotations":     map[string]string{musterv1alpha1.ApprovedPlanAnnotation: digest},
	}})
	if err != nil {
		return fmt.Errorf("encode the approval: %w", err)
	}
	target := o.DeepCopyObject().(client.Object)
	return t.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch))
}
