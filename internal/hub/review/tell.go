package review

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/review"
)

// rereadInterval is how long comments go unread while nothing is said to have changed: one that is deleted by hand is said by no host.
const rereadInterval = 10 * time.Minute

// confirm makes sure that what was planned is still what is open.
func (t *task) confirm(ctx context.Context, pr githost.PullRequest) error {
	now, err := t.state.host.Get(ctx, pr.Number)
	if err == nil && (!now.Open || now.Head != pr.Head) {
		return errMoved
	}
	return err
}

// tell brings comment and check to what the review says.
func (t *task) tell(ctx context.Context, pr githost.PullRequest, m *request, was *musterv1alpha1.PullRequestStatus) (*musterv1alpha1.PullRequestStatus, error) {
	p := m.planned
	is := t.statusOf(pr, p, was)
	marker, err := t.marker(ctx, t.repo, "review")
	if err != nil {
		return nil, err
	}
	comments, read, err := t.read(ctx, pr, m, is)
	if err != nil {
		return nil, err
	}
	if read {
		t.findComment(comments, marker, m, is)
		// The branch's CODEOWNERS as it is: a change makes nobody an owner, however old its base.
		if err := t.approve(ctx, pr, owned{p.files, t.repo.Status.FetchedRevision}, is, comments); err != nil {
			return nil, err
		}
	}
	m.noteApproval(was, is)
	if read {
		m.teams = t.unknownTeams()
	}
	notes := m.notes
	if m.teams != "" && len(is.Held) > 0 && is.ApprovedBy == "" {
		notes = append(slices.Clone(notes), m.teams)
	}
	result := *p.review
	defer func() { t.show(pr, m, is, &result) }()
	if is.ApprovedBy != "" {
		result.Approved = map[string]string{}
		for _, h := range is.Held {
			result.Approved[h.Plan] = is.ApprovedBy
		}
	}
	failOn := review.FailuresOf(t.repo.Spec.Review)
	body := result.Markdown(review.Text{
		Marker: marker, World: "world: hub", Limit: t.state.host.CommentLimit(), Whole: t.pageOf(pr.Number), OnHost: true,
		NoTags: t.state.host.ShowsTags(), FailOn: failOn,
		Approvers: approversOf(t.repo.Spec.Review.Approvers), Notes: notes,
	})
	link := pr.URL
	if body != m.body || is.Comment == 0 {
		link, err = t.write(ctx, pr, m, is, body)
		if err = t.ofOne(err); err != nil { // where a comment may not be written, the check has the verdict all the same
			return nil, err
		}
		link = firstOf(link, pr.URL)
	} else if m.check.URL != "" {
		link = m.check.URL
	}
	verdict := result.Verdict(failOn...)
	is.State, is.Summary = string(githost.Failure), verdict.Line
	if verdict.OK {
		is.State = string(githost.Success)
	}
	if err := t.annotateFaults(ctx, pr, m, &result); err != nil {
		return nil, err
	}
	return is, t.check(ctx, pr, m, githost.Check{State: githost.State(is.State), Description: is.Summary, URL: firstOf(t.pageOf(pr.Number), link)})
}

// annotateFaults brings the faults of a pull request to their lines, where the host shows such notes. A host that does not take them leaves
// them to the comment, which has them too.
func (t *task) annotateFaults(ctx context.Context, pr githost.PullRequest, m *request, result *review.Review) error {
	host, ok := t.state.host.(githost.Annotator)
	if !ok {
		return nil
	}
	var notes []githost.Annotation
	for _, f := range fleet.GroupFaults(result.NewFaults) {
		if f.File != "" {
			notes = append(notes, githost.Annotation{File: path.Join(t.repo.Spec.Path, f.File), Line: max(f.Line, 1), Text: review.FaultText(f)})
		}
	}
	basis := "none" // whatever the head is, there is nothing to take away again
	if len(notes) > 0 {
		basis = fmt.Sprintf("%s %+v", pr.Head, notes)
	}
	if m.annotated == basis {
		return nil
	}
	marker, err := t.marker(ctx, t.repo, "faults")
	if err != nil {
		return err
	}
	err = host.Annotate(ctx, pr.Number, pr.Head, checkName(t.repo)+": faults", marker, notes)
	var answer *githost.Error
	if errors.As(err, &answer) && (answer.Kind == githost.Forbidden || answer.Kind == githost.NotFound || answer.Kind == githost.Invalid) {
		ctrl.LoggerFrom(ctx).Info("The host does not take faults beside the lines; the comment has them", "pullRequest", pr.Number, "reason", err.Error())
		err = nil
	}
	if err != nil {
		return fmt.Errorf("annotate pull request %d: %w", pr.Number, err)
	}
	m.annotated = basis
	return nil
}

// noteApproval keeps in the comment what became of an approval that counts no more, until there is another one or nothing to approve.
func (m *request) noteApproval(was, is *musterv1alpha1.PullRequestStatus) {
	switch {
	case is.ApprovedBy != "" || len(is.Held) == 0:
		m.notes = nil
	case was == nil || was.ApprovedBy == "":
	case slices.Equal(was.Held, is.Held):
		m.notes = []string{"The approval of " + was.ApprovedBy + " counts no more: it is of an older commit, was taken back, or they may not approve any more. Approve again."}
	default:
		m.notes = []string{"PlanChangedSinceReview: " + was.ApprovedBy + " approved deletions that are others now. Approve again."}
	}
}

// approversOf is who may approve, as people are told.
func approversOf(who musterv1alpha1.ReviewApprovers) []string {
	list := slices.Concat(who.Users, who.Teams)
	if who.CodeOwners {
		list = append(list, "CODEOWNERS")
	}
	return list
}

// statusOf begins the status of a pull request: who approved the same deletions before is asked for again when comments are read, and a
// review counts from when this head was known to hold them.
func (t *task) statusOf(pr githost.PullRequest, p *planned, was *musterv1alpha1.PullRequestStatus) *musterv1alpha1.PullRequestStatus {
	is := &musterv1alpha1.PullRequestStatus{Number: pr.Number, Head: pr.Head, Base: p.base, Plan: p.review.Head.Plan, Held: p.held}
	if was != nil {
		is.Comment = was.Comment
	}
	if len(p.held) == 0 {
		return is
	}
	now := metav1.NewTime(t.Now().Truncate(time.Second))
	is.HeldSince = &now
	if was != nil && was.HeldSince != nil && slices.Equal(was.Held, p.held) {
		is.ApprovedBy = was.ApprovedBy
		if was.Head == pr.Head {
			is.HeldSince = was.HeldSince
		}
	}
	return is
}

// read reads the comments when there may be something new in them.
func (t *task) read(ctx context.Context, pr githost.PullRequest, m *request, is *musterv1alpha1.PullRequestStatus) ([]githost.Comment, bool, error) {
	waits := len(is.Held) > 0 && !m.seen.Equal(t.state.looked) // for an approval, or for its end
	if !waits && m.body != "" && is.Comment != 0 && m.updated.Equal(pr.Updated) && t.Now().Before(m.seen.Add(rereadInterval)) {
		return nil, false, nil
	}
	comments, err := t.state.host.Comments(ctx, pr.Number)
	if err != nil {
		return nil, false, err
	}
	m.seen, m.updated = t.state.looked, pr.Updated
	return comments, true, nil
}

// findComment finds our comment: by its number in the status, else by its marker and its author. One that is gone is written anew.
func (t *task) findComment(comments []githost.Comment, marker string, m *request, is *musterv1alpha1.PullRequestStatus) {
	for _, byNumber := range []bool{true, false} {
		for _, c := range comments {
			if isOurs(c, marker, t.state.self) && (!byNumber || c.ID == is.Comment) {
				is.Comment, m.body = c.ID, c.Body
				if m.check.URL == "" {
					m.check.URL = c.URL
				}
				return
			}
		}
	}
	is.Comment, m.body = 0, ""
}

// write edits our comment, or writes the first. It gives the link to it.
func (t *task) write(ctx context.Context, pr githost.PullRequest, m *request, is *musterv1alpha1.PullRequestStatus, body string) (string, error) {
	if is.Comment != 0 {
		err := t.state.host.EditComment(ctx, pr.Number, is.Comment, body)
		var answer *githost.Error
		if err == nil {
			m.body = body
			return firstOf(m.check.URL, pr.URL), nil
		}
		if !errors.As(err, &answer) || answer.Kind != githost.NotFound {
			return "", fmt.Errorf("edit the comment on pull request %d: %w", pr.Number, err)
		}
	}
	c, err := t.state.host.CreateComment(ctx, pr.Number, body)
	if err != nil {
		return "", fmt.Errorf("comment on pull request %d: %w", pr.Number, err)
	}
	is.Comment, m.body = c.ID, body
	return firstOf(c.URL, pr.URL), nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// check writes the commit status, if the host has another one.
func (t *task) check(ctx context.Context, pr githost.PullRequest, m *request, c githost.Check) error {
	c.Name = checkName(t.repo)
	if details := t.repo.Spec.Review.DetailsURL; details != "" {
		c.URL = details
	}
	if c.URL == "" {
		c.URL = m.check.URL
	}
	c.Description = shorten(c.Description)
	if m.check == c && m.checked == pr.Head {
		return nil
	}
	if was := t.known(pr.Number); m.checked == "" && was != nil && was.Head == pr.Head && was.State == string(c.State) && shorten(was.Summary) == c.Description {
		m.check, m.checked = c, pr.Head // from before this hub started
		return nil
	}
	if err := t.state.host.SetCheck(ctx, pr.Head, c); err != nil {
		return fmt.Errorf("write the check of %s: %w", fleet.ShortRevision(pr.Head), err)
	}
	m.check, m.checked = c, pr.Head
	return nil
}

// shorten cuts a text to what the description of a commit status has room for.
func shorten(text string) string {
	runes := []rune(text)
	if len(runes) <= 140 {
		return text
	}
	return string(runes[:139]) + "…"
}
