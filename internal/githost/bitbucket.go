package githost

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// bitbucket is a repository of Bitbucket Cloud. People are known there by their account ID, since a nickname is anybody's to choose.
type bitbucket struct {
	rest
	repository string   // workspace/name
	commits    sync.Map // short hash -> hash: pull requests have short ones
}

func newBitbucket(o Options, client *http.Client, owner, name string) Host {
	h := &bitbucket{rest: rest{client: client, base: o.API, token: o.Token}, repository: url.PathEscape(owner) + "/" + url.PathEscape(name)}
	if !strings.HasPrefix(o.Username, "x-token-auth") { // how Git signs in with an access token, which is a bearer's
		h.username = o.Username
	}
	return h
}

func (h *bitbucket) CommentLimit() int { return 32768 }
func (h *bitbucket) ShowsTags() bool   { return true }

func (h *bitbucket) in(format string, args ...any) string {
	return "/repositories/" + h.repository + fmt.Sprintf(format, args...)
}

// The answers of the API, as far as they are read.
type (
	bitbucketUser struct {
		AccountID string `json:"account_id"`
		UUID      string `json:"uuid"`
	}
	bitbucketSide struct {
		Branch     struct{ Name string }
		Commit     struct{ Hash string }
		Repository struct {
			FullName string `json:"full_name"`
		}
	}
	bitbucketLinks struct {
		HTML struct{ Href string }
	}
	bitbucketPullRequest struct {
		ID           int64
		Title        string
		State        string // OPEN, MERGED, DECLINED, SUPERSEDED
		Author       bitbucketUser
		Source       bitbucketSide
		Destination  bitbucketSide
		MergeCommit  struct{ Hash string } `json:"merge_commit"`
		Updated      time.Time             `json:"updated_on"`
		Links        bitbucketLinks
		Participants []struct {
			User     bitbucketUser
			Approved bool
		}
	}
	bitbucketComment struct {
		ID      int64
		Content struct{ Raw string }
		User    bitbucketUser
		Created time.Time `json:"created_on"`
		Updated time.Time `json:"updated_on"`
		Deleted bool
		Links   bitbucketLinks
	}
	bitbucketActivity struct {
		Approval *struct {
			Date time.Time
			User bitbucketUser
		}
	}
	bitbucketPage[T any] struct {
		Values []T
		Next   string
	}
)

func (u bitbucketUser) login() string { return cmp.Or(u.AccountID, u.UUID) }

// bitbucketAll reads the pages of a list, so many at most.
func bitbucketAll[T any](ctx context.Context, h *bitbucket, path string, pages int) ([]T, error) {
	var all []T
	for range pages {
		var page bitbucketPage[T]
		if _, err := h.do(ctx, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Values...)
		if path = page.Next; path == "" {
			break
		}
	}
	return all, nil
}

func (h *bitbucket) Open(ctx context.Context, branch string) ([]PullRequest, error) {
	query := `state="OPEN"`
	if branch != "" {
		query += fmt.Sprintf(" AND destination.branch.name=%q", branch)
	}
	list, err := bitbucketAll[bitbucketPullRequest](ctx, h, h.in("/pullrequests?%s", url.Values{"q": {query}, "sort": {"-updated_on"}, "pagelen": {"50"}}.Encode()), maxOpen/50)
	if err != nil {
		return nil, err
	}
	var all []PullRequest
	for i := range list {
		pr, err := h.pullRequest(ctx, &list[i])
		if err != nil {
			return nil, err
		}
		all = append(all, pr)
	}
	return all, nil
}

func (h *bitbucket) get(ctx context.Context, number int64) (*bitbucketPullRequest, error) {
	p := &bitbucketPullRequest{}
	_, err := h.do(ctx, http.MethodGet, h.in("/pullrequests/%d", number), nil, p)
	return p, err
}

func (h *bitbucket) Get(ctx context.Context, number int64) (PullRequest, error) {
	p, err := h.get(ctx, number)
	if err != nil {
		return PullRequest{}, err
	}
	return h.pullRequest(ctx, p)
}

func (h *bitbucket) pullRequest(ctx context.Context, p *bitbucketPullRequest) (PullRequest, error) {
	out := PullRequest{
		Number: p.ID, Title: p.Title, Author: p.Author.login(), URL: p.Links.HTML.Href, BaseBranch: p.Destination.Branch.Name,
		HeadBranch: p.Source.Branch.Name, Head: p.Source.Commit.Hash, Updated: p.Updated, Open: p.State == "OPEN",
		Fork: p.Source.Repository.FullName != p.Destination.Repository.FullName,
	}
	var err error
	if !out.Fork {
		if out.Head, err = h.fullHash(ctx, out.Head); err != nil {
			return out, err
		}
	}
	if p.State == "MERGED" {
		out.Merged, err = h.fullHash(ctx, p.MergeCommit.Hash)
	}
	return out, err
}

// fullHash is the hash of a commit, of which a pull request has the beginning.
func (h *bitbucket) fullHash(ctx context.Context, short string) (string, error) {
	if len(short) == 40 || short == "" {
		return short, nil
	}
	if known, ok := h.commits.Load(short); ok {
		return known.(string), nil
	}
	var commit struct{ Hash string }
	if _, err := h.do(ctx, http.MethodGet, h.in("/commit/%s", url.PathEscape(short)), nil, &commit); err != nil {
		return "", err
	}
	h.commits.Store(short, commit.Hash)
	return commit.Hash, nil
}

func (h *bitbucket) DefaultBranch(ctx context.Context) (string, error) {
	var repository struct {
		MainBranch struct{ Name string } `json:"mainbranch"`
	}
	_, err := h.do(ctx, http.MethodGet, h.in(""), nil, &repository)
	return repository.MainBranch.Name, err
}

// buildStates are how both Bitbuckets call the states of a check.
var buildStates = map[State]string{Pending: "INPROGRESS", Success: "SUCCESSFUL", Failure: "FAILED"}

// maxKey is how long the key of a status may be on Bitbucket Cloud.
const maxKey = 40

// keyOf is the name of a check as a key: a longer one ends in a digest.
func keyOf(name string) string {
	if len(name) <= maxKey {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.ToValidUTF8(name[:maxKey-9], "") + "-" + hex.EncodeToString(sum[:4])
}

func (h *bitbucket) SetCheck(ctx context.Context, commit string, c Check) error {
	_, err := h.do(ctx, http.MethodPost, h.in("/commit/%s/statuses/build", url.PathEscape(commit)), map[string]string{
		"key": keyOf(c.Name), "name": c.Name, "state": buildStates[c.State], "description": c.Description,
		"url": cmp.Or(c.URL, "https://bitbucket.org/"+h.repository), // it wants one
	}, nil)
	return err
}

func (h *bitbucket) Comments(ctx context.Context, number int64) ([]Comment, error) {
	list, err := bitbucketAll[bitbucketComment](ctx, h, h.in("/pullrequests/%d/comments?pagelen=100", number), 20)
	if err != nil {
		return nil, err
	}
	var all []Comment
	for i := range list {
		if !list[i].Deleted { // it stays in the list
			all = append(all, list[i].comment())
		}
	}
	return all, nil
}

func (c *bitbucketComment) comment() Comment {
	return Comment{
		ID: c.ID, Author: c.User.login(), Body: shown(c.Content.Raw), URL: c.Links.HTML.Href, Created: c.Created,
		Edited: c.Updated.After(c.Created.Add(time.Second)), // both are written with the comment
	}
}

type bitbucketText struct {
	Content struct {
		Raw string `json:"raw"`
	} `json:"content"`
}

func textOf(body string) *bitbucketText {
	t := &bitbucketText{}
	t.Content.Raw = hidden(body)
	return t
}

func (h *bitbucket) CreateComment(ctx context.Context, number int64, body string) (Comment, error) {
	made := &bitbucketComment{}
	if _, err := h.do(ctx, http.MethodPost, h.in("/pullrequests/%d/comments", number), textOf(body), made); err != nil {
		return Comment{}, err
	}
	return made.comment(), nil
}

func (h *bitbucket) EditComment(ctx context.Context, number, id int64, body string) error {
	_, err := h.do(ctx, http.MethodPut, h.in("/pullrequests/%d/comments/%d", number, id), textOf(body), nil)
	return err
}

// Approvals are of the pull request, whatever its head was then; what has happened to it says when. Who takes one back is no participant that
// approves any more.
func (h *bitbucket) Approvals(ctx context.Context, number int64) ([]Approval, error) {
	p, err := h.get(ctx, number)
	if err != nil {
		return nil, err
	}
	approves := map[string]bool{}
	for _, one := range p.Participants {
		if one.Approved {
			approves[one.User.login()] = true
		}
	}
	if len(approves) == 0 {
		return nil, nil
	}
	list, err := bitbucketAll[bitbucketActivity](ctx, h, h.in("/pullrequests/%d/activity?pagelen=50", number), 20)
	if err != nil {
		return nil, err
	}
	last := lastWords{}
	for i := len(list) - 1; i >= 0; i-- { // the newest comes first
		if a := list[i].Approval; a != nil && approves[a.User.login()] {
			last.say(Approval{User: a.User.login(), At: a.Date}, true)
		}
	}
	return last.approvals(), nil
}

func (h *bitbucket) IsMember(_ context.Context, team, _ string) (bool, error) {
	return false, unseen(team) // nobody is told who is in a group
}

func (h *bitbucket) Self(ctx context.Context) (string, error) {
	var me bitbucketUser
	_, err := h.do(ctx, http.MethodGet, "/user", nil, &me)
	return me.login(), err
}
