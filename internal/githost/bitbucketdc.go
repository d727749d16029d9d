package githost

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// bitbucketDC is a repository of Bitbucket Data Center.
type bitbucketDC struct {
	rest
	server     string // its web address
	repository string // projects/KEY/repos/name
}

func newBitbucketDC(o Options, client *http.Client, project, name string) Host {
	server, _, _ := strings.Cut(o.API, "/rest/")
	return &bitbucketDC{
		rest: rest{client: client, base: o.API, token: o.Token}, server: server,
		repository: "projects/" + url.PathEscape(project) + "/repos/" + url.PathEscape(name),
	}
}

func (h *bitbucketDC) CommentLimit() int { return 32768 }
func (h *bitbucketDC) ShowsTags() bool   { return true }

func (h *bitbucketDC) in(format string, args ...any) string {
	return "/" + h.repository + fmt.Sprintf(format, args...)
}

// The answers of the API, as far as they are read.
type (
	dcUser struct{ Name string }
	dcRef  struct {
		DisplayID    string `json:"displayId"`
		LatestCommit string `json:"latestCommit"`
		Repository   struct{ ID int64 }
	}
	dcParticipant struct {
		User               dcUser
		Approved           bool
		LastReviewedCommit string `json:"lastReviewedCommit"`
	}
	dcPullRequest struct {
		ID          int64
		Title       string
		State       string // OPEN, MERGED, DECLINED
		Author      dcParticipant
		FromRef     dcRef `json:"fromRef"`
		ToRef       dcRef `json:"toRef"`
		UpdatedDate int64 `json:"updatedDate"`
		Reviewers   []dcParticipant
		Properties  struct {
			MergeCommit struct{ ID string } `json:"mergeCommit"`
		}
	}
	dcComment struct {
		ID          int64
		Version     int
		Text        string
		Author      dcUser
		CreatedDate int64 `json:"createdDate"`
		UpdatedDate int64 `json:"updatedDate"`
	}
	dcActivity struct {
		Action        string
		CommentAction string `json:"commentAction"`
		Comment       *dcComment
		User          dcUser
		CreatedDate   int64 `json:"createdDate"`
	}
	dcPage[T any] struct {
		Values []T
		Last   bool `json:"isLastPage"`
		Next   int  `json:"nextPageStart"`
	}
)

// dcAll reads the pages of a list, so many at most. Path ends where more of the query goes.
func dcAll[T any](ctx context.Context, h *bitbucketDC, path string, pages int) ([]T, error) {
	var all []T
	start := 0
	for range pages {
		var page dcPage[T]
		if _, err := h.do(ctx, http.MethodGet, fmt.Sprintf("%s&start=%d", path, start), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Values...)
		if start = page.Next; page.Last {
			break
		}
	}
	return all, nil
}

func (h *bitbucketDC) Open(ctx context.Context, branch string) ([]PullRequest, error) {
	query := url.Values{"state": {"OPEN"}, "order": {"NEWEST"}, "limit": {fmt.Sprint(maxOpen)}}
	if branch != "" {
		query.Set("at", "refs/heads/"+branch)
	}
	list, err := dcAll[dcPullRequest](ctx, h, h.in("/pull-requests?%s", query.Encode()), 1)
	if err != nil {
		return nil, err
	}
	var all []PullRequest
	for i := range list {
		all = append(all, h.pullRequest(&list[i]))
	}
	return all, nil
}

func (h *bitbucketDC) get(ctx context.Context, number int64) (*dcPullRequest, error) {
	p := &dcPullRequest{}
	_, err := h.do(ctx, http.MethodGet, h.in("/pull-requests/%d", number), nil, p)
	return p, err
}

func (h *bitbucketDC) Get(ctx context.Context, number int64) (PullRequest, error) {
	p, err := h.get(ctx, number)
	if err != nil {
		return PullRequest{}, err
	}
	return h.pullRequest(p), nil
}

func (h *bitbucketDC) page(number int64) string {
	return fmt.Sprintf("%s/%s/pull-requests/%d", h.server, h.repository, number)
}

func (h *bitbucketDC) pullRequest(p *dcPullRequest) PullRequest {
	out := PullRequest{
		Number: p.ID, Title: p.Title, Author: p.Author.User.Name, URL: h.page(p.ID), BaseBranch: p.ToRef.DisplayID, HeadBranch: p.FromRef.DisplayID,
		Head: p.FromRef.LatestCommit, Fork: p.FromRef.Repository.ID != p.ToRef.Repository.ID, Updated: millis(p.UpdatedDate), Open: p.State == "OPEN",
	}
	if p.State == "MERGED" {
		out.Merged = p.Properties.MergeCommit.ID
	}
	return out
}

func (h *bitbucketDC) DefaultBranch(ctx context.Context) (string, error) {
	var branch dcRef
	_, err := h.do(ctx, http.MethodGet, h.in("/default-branch"), nil, &branch)
	return branch.DisplayID, err
}

func (h *bitbucketDC) SetCheck(ctx context.Context, commit string, c Check) error {
	_, err := h.do(ctx, http.MethodPost, h.in("/commits/%s/builds", url.PathEscape(commit)), map[string]string{
		"key": c.Name, "name": c.Name, "state": buildStates[c.State], "description": c.Description, "url": cmp.Or(c.URL, h.server+"/"+h.repository), // it wants one
	}, nil)
	return err
}

func (h *bitbucketDC) activities(ctx context.Context, number int64) ([]dcActivity, error) {
	return dcAll[dcActivity](ctx, h, h.in("/pull-requests/%d/activities?limit=500", number), 5)
}

// Comments are among what has happened to a pull request, the newest first.
func (h *bitbucketDC) Comments(ctx context.Context, number int64) ([]Comment, error) {
	list, err := h.activities(ctx, number)
	if err != nil {
		return nil, err
	}
	var all []Comment
	for i := len(list) - 1; i >= 0; i-- {
		if a := list[i]; a.Action == "COMMENTED" && a.Comment != nil && (a.CommentAction == "" || a.CommentAction == "ADDED") {
			all = append(all, h.comment(number, a.Comment))
		}
	}
	return all, nil
}

func (h *bitbucketDC) comment(number int64, c *dcComment) Comment {
	return Comment{
		ID: c.ID, Author: c.Author.Name, Body: shown(c.Text), URL: fmt.Sprintf("%s/overview?commentId=%d", h.page(number), c.ID),
		Created: millis(c.CreatedDate), Edited: c.UpdatedDate > c.CreatedDate,
	}
}

func (h *bitbucketDC) CreateComment(ctx context.Context, number int64, body string) (Comment, error) {
	made := &dcComment{}
	if _, err := h.do(ctx, http.MethodPost, h.in("/pull-requests/%d/comments", number), map[string]string{"text": hidden(body)}, made); err != nil {
		return Comment{}, err
	}
	return h.comment(number, made), nil
}

// EditComment names the version that it edits: Data Center takes no other.
func (h *bitbucketDC) EditComment(ctx context.Context, number, id int64, body string) error {
	var now dcComment
	path := h.in("/pull-requests/%d/comments/%d", number, id)
	if _, err := h.do(ctx, http.MethodGet, path, nil, &now); err != nil {
		return err
	}
	_, err := h.do(ctx, http.MethodPut, path, map[string]any{"text": hidden(body), "version": now.Version}, nil)
	return err
}

func (h *bitbucketDC) Approvals(ctx context.Context, number int64) ([]Approval, error) {
	p, err := h.get(ctx, number)
	if err != nil {
		return nil, err
	}
	commits := map[string]string{}
	for _, one := range p.Reviewers {
		if one.Approved {
			commits[one.User.Name] = one.LastReviewedCommit
		}
	}
	if len(commits) == 0 {
		return nil, nil
	}
	list, err := h.activities(ctx, number)
	if err != nil {
		return nil, err
	}
	last := lastWords{}
	for i := len(list) - 1; i >= 0; i-- {
		commit, approves := commits[list[i].User.Name]
		if list[i].Action == "APPROVED" && approves {
			last.say(Approval{User: list[i].User.Name, Commit: commit, At: millis(list[i].CreatedDate)}, true)
		}
	}
	return last.approvals(), nil
}

func (h *bitbucketDC) IsMember(_ context.Context, team, _ string) (bool, error) {
	return false, unseen(team) // nobody is told who is in a group
}

// Self is in the header of every answer to somebody who has signed in.
func (h *bitbucketDC) Self(ctx context.Context) (string, error) {
	header, err := h.do(ctx, http.MethodGet, h.in(""), nil, nil)
	if err != nil {
		return "", err
	}
	name := header.Get("X-AUSERNAME")
	if unescaped, err := url.QueryUnescape(name); err == nil {
		name = unescaped
	}
	if name == "" {
		return "", &Error{Kind: Unauthorized, Status: http.StatusOK, Message: "without saying who asks", Request: "GET " + h.in("")}
	}
	return name, nil
}
