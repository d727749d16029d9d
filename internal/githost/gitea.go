package githost

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"code.gitea.io/sdk/gitea"
)

// giteaHost is a repository of Gitea or Forgejo.
type giteaHost struct {
	o           Options
	client      *http.Client
	owner, name string
}

func newGitea(o Options, client *http.Client, owner, name string) (Host, error) {
	return &giteaHost{o, client, owner, name}, nil
}

// sdk gives a client for one call: the SDK's has one context for all.
func (h *giteaHost) sdk(ctx context.Context) (*gitea.Client, error) {
	return gitea.NewClient(strings.TrimSuffix(h.o.API, "/api/v1"), gitea.SetHTTPClient(h.client), gitea.SetContext(ctx),
		gitea.SetToken(h.o.Token), gitea.SetGiteaVersion("")) // it asks for the version otherwise, each time
}

func (h *giteaHost) CommentLimit() int { return 65535 } // a TEXT column of MySQL, which Gitea may have
func (h *giteaHost) ShowsTags() bool   { return false }

func (h *giteaHost) Open(ctx context.Context, branch string) ([]PullRequest, error) {
	c, err := h.sdk(ctx)
	if err != nil {
		return nil, err
	}
	var all []PullRequest
	for page := 1; page <= 4; page++ { // a page has at most 50, whatever is asked for
		list, _, err := c.ListRepoPullRequests(h.owner, h.name, gitea.ListPullRequestsOptions{
			ListOptions: gitea.ListOptions{Page: page, PageSize: 50}, State: gitea.StateOpen, Sort: "recentupdate",
		})
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			if pr := giteaPullRequest(p); branch == "" || pr.BaseBranch == branch {
				all = append(all, pr)
			}
		}
		if len(list) < 50 {
			break
		}
	}
	return all[:min(len(all), maxOpen)], nil
}

// maxOpen bounds the open pull requests that are looked at.
const maxOpen = 100

func (h *giteaHost) Get(ctx context.Context, number int64) (PullRequest, error) {
	c, err := h.sdk(ctx)
	if err != nil {
		return PullRequest{}, err
	}
	p, _, err := c.GetPullRequest(h.owner, h.name, number)
	if err != nil {
		return PullRequest{}, err
	}
	return giteaPullRequest(p), nil
}

func giteaPullRequest(p *gitea.PullRequest) PullRequest {
	out := PullRequest{Number: p.Index, Title: p.Title, URL: p.HTMLURL, Open: p.State == gitea.StateOpen && !p.HasMerged, Fork: true}
	if p.Poster != nil {
		out.Author = p.Poster.UserName
	}
	for _, l := range p.Labels {
		out.Labels = append(out.Labels, l.Name)
	}
	if p.Base != nil {
		out.BaseBranch = p.Base.Ref
	}
	if p.Head != nil {
		out.HeadBranch, out.Head = p.Head.Ref, p.Head.Sha
		out.Fork = p.Base == nil || p.Head.RepoID != p.Base.RepoID
	}
	if p.Updated != nil {
		out.Updated = *p.Updated
	}
	if p.HasMerged && p.MergedCommitID != nil {
		out.Merged = *p.MergedCommitID
	}
	return out
}

func (h *giteaHost) SetCheck(ctx context.Context, commit string, check Check) error {
	c, err := h.sdk(ctx)
	if err != nil {
		return err
	}
	state := map[State]gitea.StatusState{Pending: gitea.StatusPending, Success: gitea.StatusSuccess, Failure: gitea.StatusFailure}[check.State]
	_, _, err = c.CreateStatus(h.owner, h.name, commit, gitea.CreateStatusOption{
		State: state, TargetURL: check.URL, Description: check.Description, Context: check.Name,
	})
	return err
}

func (h *giteaHost) Comments(ctx context.Context, number int64) ([]Comment, error) {
	c, err := h.sdk(ctx)
	if err != nil {
		return nil, err
	}
	list, _, err := c.ListIssueComments(h.owner, h.name, number, gitea.ListIssueCommentOptions{}) // has no pages
	if err != nil {
		return nil, err
	}
	var all []Comment
	for _, one := range list {
		all = append(all, giteaComment(one))
	}
	return all, nil
}

func giteaComment(c *gitea.Comment) Comment {
	out := Comment{ID: c.ID, Body: c.Body, URL: c.HTMLURL, Created: c.Created, Edited: c.Updated.After(c.Created)}
	if c.Poster != nil {
		out.Author = c.Poster.UserName
	}
	return out
}

func (h *giteaHost) CreateComment(ctx context.Context, number int64, body string) (Comment, error) {
	c, err := h.sdk(ctx)
	if err != nil {
		return Comment{}, err
	}
	made, _, err := c.CreateIssueComment(h.owner, h.name, number, gitea.CreateIssueCommentOption{Body: body})
	if err != nil {
		return Comment{}, err
	}
	return giteaComment(made), nil
}

func (h *giteaHost) EditComment(ctx context.Context, _, id int64, body string) error {
	c, err := h.sdk(ctx)
	if err != nil {
		return err
	}
	_, _, err = c.EditIssueComment(h.owner, h.name, id, gitea.EditIssueCommentOption{Body: body})
	return err
}

func (h *giteaHost) Approvals(ctx context.Context, number int64) ([]Approval, error) {
	c, err := h.sdk(ctx)
	if err != nil {
		return nil, err
	}
	last := lastWords{}
	for page := 1; page <= 20; page++ {
		list, _, err := c.ListPullReviews(h.owner, h.name, number, gitea.ListPullReviewsOptions{ListOptions: gitea.ListOptions{Page: page, PageSize: 50}})
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if r.Reviewer == nil {
				continue
			}
			switch r.State {
			case gitea.ReviewStateApproved:
				last.say(Approval{r.Reviewer.UserName, r.CommitID, r.Submitted}, !r.Dismissed)
			case gitea.ReviewStateRequestChanges:
				last.say(Approval{User: r.Reviewer.UserName}, false)
			}
		}
		if len(list) < 50 {
			break
		}
	}
	return last.approvals(), nil
}

func (h *giteaHost) IsMember(ctx context.Context, team, user string) (bool, error) {
	c, err := h.sdk(ctx)
	if err != nil {
		return false, err
	}
	organization, name, _ := strings.Cut(team, "/")
	teams, _, err := c.SearchOrgTeams(organization, &gitea.SearchTeamsOptions{Query: name})
	if err != nil {
		return false, err
	}
	for _, t := range teams {
		if !strings.EqualFold(t.Name, name) {
			continue
		}
		_, _, err := c.GetTeamMember(t.ID, user)
		var answer *Error
		if errors.As(err, &answer) && answer.Kind == NotFound {
			return false, nil
		}
		return err == nil, err
	}
	return false, unseen(team) // only a member of it, or an owner of the organization, is told
}

func (h *giteaHost) Self(ctx context.Context) (string, error) {
	c, err := h.sdk(ctx)
	if err != nil {
		return "", err
	}
	me, _, err := c.GetMyUserInfo()
	if err != nil {
		return "", err
	}
	return me.UserName, nil
}

// lastWords are the reviews that count: of each user the last that says yes or no.
type lastWords struct {
	order []string
	of    map[string]Approval
	yes   map[string]bool
}

func (l *lastWords) say(a Approval, approves bool) {
	if l.of == nil {
		l.of, l.yes = map[string]Approval{}, map[string]bool{}
	}
	if _, known := l.of[a.User]; !known {
		l.order = append(l.order, a.User)
	}
	l.of[a.User], l.yes[a.User] = a, approves
}

func (l *lastWords) approvals() []Approval {
	var list []Approval
	for _, user := range l.order {
		if l.yes[user] {
			list = append(list, l.of[user])
		}
	}
	return list
}

func (h *giteaHost) DefaultBranch(ctx context.Context) (string, error) {
	c, err := h.sdk(ctx)
	if err != nil {
		return "", err
	}
	r, _, err := c.GetRepo(h.owner, h.name)
	if err != nil {
		return "", err
	}
	return r.DefaultBranch, nil
}
