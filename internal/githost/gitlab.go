package githost

import (
	"context"
	"net/http"
	"strings"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

// gitLab is a project of GitLab; its merge requests are pull requests here.
type gitLab struct {
	sdk     *gitlab.Client
	project string
}

func newGitLab(o Options, client *http.Client) (Host, error) {
	sdk, err := gitlab.NewClient(o.Token, gitlab.WithBaseURL(o.API), gitlab.WithHTTPClient(client), gitlab.WithoutRetries())
	if err != nil {
		return nil, err
	}
	return &gitLab{sdk, o.Repository}, nil
}

func (h *gitLab) CommentLimit() int { return 1_000_000 }
func (h *gitLab) ShowsTags() bool   { return false }

func (h *gitLab) Open(ctx context.Context, branch string) ([]PullRequest, error) {
	options := &gitlab.ListProjectMergeRequestsOptions{
		ListOptions: gitlab.ListOptions{PerPage: maxOpen},
		State:       gitlab.Ptr("opened"), OrderBy: gitlab.Ptr("updated_at"), Sort: gitlab.Ptr("desc"),
	}
	if branch != "" {
		options.TargetBranch = &branch
	}
	list, _, err := h.sdk.MergeRequests.ListProjectMergeRequests(h.project, options, gitlab.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	var all []PullRequest
	for _, m := range list {
		all = append(all, gitLabPullRequest(m))
	}
	return all, nil
}

func (h *gitLab) Get(ctx context.Context, number int64) (PullRequest, error) {
	m, _, err := h.sdk.MergeRequests.GetMergeRequest(h.project, number, nil, gitlab.WithContext(ctx))
	if err != nil {
		return PullRequest{}, err
	}
	return gitLabPullRequest(&m.BasicMergeRequest), nil
}

func gitLabPullRequest(m *gitlab.BasicMergeRequest) PullRequest {
	out := PullRequest{
		Number: m.IID, Title: m.Title, Labels: m.Labels, URL: m.WebURL, BaseBranch: m.TargetBranch, HeadBranch: m.SourceBranch,
		Head: m.SHA, Fork: m.SourceProjectID != m.TargetProjectID, Open: m.State == "opened",
	}
	if m.Author != nil {
		out.Author = m.Author.Username
	}
	if m.UpdatedAt != nil {
		out.Updated = *m.UpdatedAt
	}
	if m.State == "merged" {
		for _, commit := range []string{m.MergeCommitSHA, m.SquashCommitSHA, m.SHA} { // the last of a fast-forward
			if out.Merged == "" {
				out.Merged = commit
			}
		}
	}
	return out
}

func (h *gitLab) SetCheck(ctx context.Context, commit string, c Check) error {
	state := map[State]gitlab.BuildStateValue{Pending: gitlab.Pending, Success: gitlab.Success, Failure: gitlab.Failed}[c.State]
	options := &gitlab.SetCommitStatusOptions{State: state, Name: &c.Name, Description: &c.Description}
	if c.URL != "" {
		options.TargetURL = &c.URL
	}
	_, _, err := h.sdk.Commits.SetCommitStatus(h.project, commit, options, gitlab.WithContext(ctx))
	if err != nil && strings.Contains(err.Error(), "Cannot transition status") { // it is in this state already
		return nil
	}
	return err
}

func (h *gitLab) Comments(ctx context.Context, number int64) ([]Comment, error) {
	notes, err := h.notes(ctx, number)
	var all []Comment
	for _, n := range notes {
		if !n.System {
			all = append(all, gitLabComment(n))
		}
	}
	return all, err
}

// notes are comments, and what GitLab itself notes of a merge request.
func (h *gitLab) notes(ctx context.Context, number int64) ([]*gitlab.Note, error) {
	var all []*gitlab.Note
	options := &gitlab.ListMergeRequestNotesOptions{ListOptions: gitlab.ListOptions{PerPage: 100}, Sort: gitlab.Ptr("asc"), OrderBy: gitlab.Ptr("created_at")}
	for range 20 {
		list, answer, err := h.sdk.Notes.ListMergeRequestNotes(h.project, number, options, gitlab.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
		if answer.NextPage == 0 {
			break
		}
		options.Page = answer.NextPage
	}
	return all, nil
}

func gitLabComment(n *gitlab.Note) Comment {
	c := Comment{ID: n.ID, Author: n.Author.Username, Body: n.Body}
	if n.CreatedAt != nil {
		c.Created = *n.CreatedAt
		c.Edited = n.UpdatedAt != nil && n.UpdatedAt.After(c.Created)
	}
	return c
}

func (h *gitLab) CreateComment(ctx context.Context, number int64, body string) (Comment, error) {
	n, _, err := h.sdk.Notes.CreateMergeRequestNote(h.project, number, &gitlab.CreateMergeRequestNoteOptions{Body: &body}, gitlab.WithContext(ctx))
	if err != nil {
		return Comment{}, err
	}
	return gitLabComment(n), nil
}

func (h *gitLab) EditComment(ctx context.Context, number, id int64, body string) error {
	_, _, err := h.sdk.Notes.UpdateMergeRequestNote(h.project, number, id, &gitlab.UpdateMergeRequestNoteOptions{Body: &body}, gitlab.WithContext(ctx))
	return err
}

// Approvals of GitLab are of the merge request and have no time: the note of it has. Whether a push takes them away is a setting of
// the project.
func (h *gitLab) Approvals(ctx context.Context, number int64) ([]Approval, error) {
	state, _, err := h.sdk.MergeRequestApprovals.GetConfiguration(h.project, number, gitlab.WithContext(ctx))
	if err != nil || len(state.ApprovedBy) == 0 {
		return nil, err
	}
	notes, err := h.notes(ctx, number)
	if err != nil {
		return nil, err
	}
	times := map[string]time.Time{}
	for _, n := range notes {
		if n.System && n.Body == "approved this merge request" && n.CreatedAt != nil {
			times[n.Author.Username] = *n.CreatedAt
		}
	}
	var all []Approval
	for _, a := range state.ApprovedBy {
		if a.User != nil && !times[a.User.Username].IsZero() {
			all = append(all, Approval{User: a.User.Username, At: times[a.User.Username]})
		}
	}
	return all, nil
}

// IsMember asks for those whose names hold the user's, who may be on several pages.
func (h *gitLab) IsMember(ctx context.Context, group, user string) (bool, error) {
	options := &gitlab.ListGroupMembersOptions{ListOptions: gitlab.ListOptions{PerPage: 100}, Query: &user}
	for range 20 {
		list, answer, err := h.sdk.Groups.ListAllGroupMembers(group, options, gitlab.WithContext(ctx))
		if err != nil {
			return false, err
		}
		for _, m := range list {
			if m.Username == user && m.State == "active" {
				return true, nil
			}
		}
		if answer.NextPage == 0 {
			break
		}
		options.Page = answer.NextPage
	}
	return false, nil
}

func (h *gitLab) Self(ctx context.Context) (string, error) {
	u, _, err := h.sdk.Users.CurrentUser(gitlab.WithContext(ctx))
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

func (h *gitLab) DefaultBranch(ctx context.Context) (string, error) {
	p, _, err := h.sdk.Projects.GetProject(h.project, nil, gitlab.WithContext(ctx))
	if err != nil {
		return "", err
	}
	return p.DefaultBranch, nil
}
