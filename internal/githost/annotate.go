package githost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"code.gitea.io/sdk/gitea"
	"github.com/google/go-github/v74/github"
	gitlab "gitlab.com/gitlab-org/api/client-go"
)

// Annotation is a note at a line of a file of a commit.
type Annotation struct {
	File string // in the repository
	Line int    // from 1
	Text string
}

// Annotator is a host that shows notes beside the lines of a pull request.
type Annotator interface {
	// Annotate makes the notes of a pull request's head under a name these, in place of those that it has. Marker identifies our own
	// where people write such notes too.
	Annotate(ctx context.Context, number int64, commit, name, marker string, notes []Annotation) error
}

// maxAnnotations of a pull request: as many as GitHub takes at once. The comment has the others.
const maxAnnotations = 50

func digestOf(commit string, notes []Annotation) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %+v", commit, notes))
	return hex.EncodeToString(sum[:8])
}

// Annotate writes a check run, which only a GitHub App may: with another token nothing is written. A run that has been written is never
// changed, since GitHub adds annotations to those that are there; the newest of a name is what is shown.
func (h *gitHub) Annotate(ctx context.Context, _ int64, commit, name, _ string, notes []Annotation) error {
	if h.app == nil {
		return nil
	}
	app, err := strconv.ParseInt(h.app.ID, 10, 64)
	if err != nil {
		return fmt.Errorf("the ID of the GitHub App: %w", err)
	}
	notes = notes[:min(len(notes), maxAnnotations)]
	latest, _, err := h.sdk.Checks.ListCheckRunsForRef(ctx, h.owner, h.name, commit, &github.ListCheckRunsOptions{
		CheckName: &name, AppID: &app, Filter: github.Ptr("latest"),
	})
	if err != nil {
		return h.plain(err)
	}
	digest := digestOf(commit, notes)
	switch {
	case len(latest.CheckRuns) > 0 && latest.CheckRuns[0].GetExternalID() == digest, len(latest.CheckRuns) == 0 && len(notes) == 0:
		return nil
	}
	conclusion, title := "success", "no new faults"
	if len(notes) > 0 {
		conclusion, title = "failure", fmt.Sprintf("new faults: %d", len(notes))
	}
	run := github.CreateCheckRunOptions{
		Name: name, HeadSHA: commit, ExternalID: &digest, Status: github.Ptr("completed"), Conclusion: &conclusion,
		Output: &github.CheckRunOutput{Title: &title, Summary: &title},
	}
	for _, n := range notes {
		run.Output.Annotations = append(run.Output.Annotations, &github.CheckRunAnnotation{
			Path: &n.File, StartLine: &n.Line, EndLine: &n.Line, AnnotationLevel: github.Ptr("failure"), Message: &n.Text,
		})
	}
	_, _, err = h.sdk.Checks.CreateCheckRun(ctx, h.owner, h.name, run)
	return h.plain(err)
}

// Annotate writes a review with a comment at each line, in place of an earlier one. It neither approves nor refuses.
func (h *giteaHost) Annotate(ctx context.Context, number int64, commit, name, marker string, notes []Annotation) error {
	notes = notes[:min(len(notes), maxAnnotations)]
	c, err := h.sdk(ctx)
	if err != nil {
		return err
	}
	self, err := h.Self(ctx)
	if err != nil {
		return err
	}
	digest, is := "<!-- "+digestOf(commit, notes)+" -->", false
	var old []int64 // deleted when all pages are read: what follows would move to a page that was read
	for page := 1; page <= 20; page++ {
		list, _, err := c.ListPullReviews(h.owner, h.name, number, gitea.ListPullReviewsOptions{ListOptions: gitea.ListOptions{Page: page, PageSize: 50}})
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.Reviewer == nil || r.Reviewer.UserName != self || !strings.HasPrefix(r.Body, marker) {
				continue
			}
			if strings.HasPrefix(r.Body, marker+"\n"+digest) {
				is = true
			} else {
				old = append(old, r.ID)
			}
		}
		if len(list) < 50 {
			break
		}
	}
	for _, id := range old {
		if _, err := c.DeletePullReview(h.owner, h.name, number, id); err != nil {
			return err
		}
	}
	if is || len(notes) == 0 {
		return nil
	}
	review := gitea.CreatePullReviewOptions{State: gitea.ReviewStateComment, CommitID: commit, Body: fmt.Sprintf("%s\n%s\n%s: new faults", marker, digest, name)}
	for _, n := range notes {
		review.Comments = append(review.Comments, gitea.CreatePullReviewComment{Path: n.File, Body: n.Text, NewLineNum: int64(n.Line)})
	}
	_, _, err = c.CreatePullReview(h.owner, h.name, number, review)
	return err
}

// Annotate starts a thread at each line. GitLab takes them at lines that the merge request changes or that are near: the comment has the
// others. A thread whose fault is gone is deleted.
func (h *gitLab) Annotate(ctx context.Context, number int64, commit, _, marker string, notes []Annotation) error {
	wanted := map[string]Annotation{}
	for _, n := range notes[:min(len(notes), maxAnnotations)] {
		wanted["<!-- "+digestOf(commit, []Annotation{n})+" -->"] = n
	}
	self, err := h.Self(ctx)
	if err != nil {
		return err
	}
	threads, err := h.threads(ctx, number, self, marker)
	if err != nil {
		return err
	}
	for _, d := range threads {
		digest, _, _ := strings.Cut(strings.TrimPrefix(d.Notes[0].Body, marker+"\n"), "\n")
		if _, ok := wanted[digest]; ok {
			delete(wanted, digest) // it is there
			continue
		}
		if _, err := h.sdk.Discussions.DeleteMergeRequestDiscussionNote(h.project, number, d.ID, d.Notes[0].ID, gitlab.WithContext(ctx)); err != nil {
			return err
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	m, _, err := h.sdk.MergeRequests.GetMergeRequest(h.project, number, nil, gitlab.WithContext(ctx))
	if err != nil {
		return err
	}
	for _, digest := range slices.Sorted(maps.Keys(wanted)) {
		n := wanted[digest]
		_, _, err := h.sdk.Discussions.CreateMergeRequestDiscussion(h.project, number, &gitlab.CreateMergeRequestDiscussionOptions{
			Body: gitlab.Ptr(marker + "\n" + digest + "\n" + n.Text),
			Position: &gitlab.PositionOptions{
				BaseSHA: &m.DiffRefs.BaseSha, StartSHA: &m.DiffRefs.StartSha, HeadSHA: &m.DiffRefs.HeadSha,
				PositionType: gitlab.Ptr("text"), OldPath: &n.File, NewPath: &n.File, NewLine: gitlab.Ptr(int64(n.Line)),
			},
		}, gitlab.WithContext(ctx))
		var answer *Error
		if errors.As(err, &answer) && answer.Kind == Invalid {
			continue // no line of the merge request
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// threads are those that we started under a marker, from all pages: one that is deleted before the next page is read moves the others to
// pages that were read.
func (h *gitLab) threads(ctx context.Context, number int64, self, marker string) ([]*gitlab.Discussion, error) {
	var ours []*gitlab.Discussion
	for page := int64(1); page <= 20; page++ {
		options := &gitlab.ListMergeRequestDiscussionsOptions{ListOptions: gitlab.ListOptions{Page: page, PerPage: 100}}
		list, _, err := h.sdk.Discussions.ListMergeRequestDiscussions(h.project, number, options, gitlab.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if len(d.Notes) > 0 && d.Notes[0].Author.Username == self && strings.HasPrefix(d.Notes[0].Body, marker+"\n") {
				ours = append(ours, d)
			}
		}
		if len(list) < 100 {
			break
		}
	}
	return ours, nil
}
