package githost

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-github/v74/github"
)

// gitHub is a repository of GitHub, or of GitHub Enterprise.
type gitHub struct {
	sdk         *github.Client
	app         *appAuth
	owner, name string
}

func newGitHub(o Options, client *http.Client, owner, name string) (Host, error) {
	h := &gitHub{owner: owner, name: name}
	if o.App != nil {
		app, err := newAppAuth(o, client)
		if err != nil {
			return nil, err
		}
		h.app = app
		client = &http.Client{Transport: app, Timeout: client.Timeout}
	}
	h.sdk = github.NewClient(client)
	if o.App == nil {
		h.sdk = h.sdk.WithAuthToken(o.Token)
	}
	return h, setAPI(h.sdk, o.API)
}

func setAPI(sdk *github.Client, api string) error {
	base, err := sdk.BaseURL.Parse(strings.TrimSuffix(api, "/") + "/")
	if err != nil {
		return fmt.Errorf("spec.review.apiURL: %w", err)
	}
	sdk.BaseURL = base
	return nil
}

func (h *gitHub) CommentLimit() int { return 65536 }

func (h *gitHub) Open(ctx context.Context, branch string) ([]PullRequest, error) {
	list, _, err := h.sdk.PullRequests.List(ctx, h.owner, h.name, &github.PullRequestListOptions{
		State: "open", Base: branch, Sort: "updated", Direction: "desc", ListOptions: github.ListOptions{PerPage: maxOpen},
	})
	if err != nil {
		return nil, h.plain(err)
	}
	var all []PullRequest
	for _, p := range list {
		all = append(all, gitHubPullRequest(p))
	}
	return all, nil
}

func (h *gitHub) Get(ctx context.Context, number int64) (PullRequest, error) {
	p, _, err := h.sdk.PullRequests.Get(ctx, h.owner, h.name, int(number))
	if err != nil {
		return PullRequest{}, h.plain(err)
	}
	return gitHubPullRequest(p), nil
}

// plain makes an Error of the one that the SDK has of its own: it asks nothing while it knows of a limit.
func (h *gitHub) plain(err error) error {
	var limit *github.RateLimitError
	var secondary *github.AbuseRateLimitError
	switch {
	case errors.As(err, &limit):
		return &Error{Kind: RateLimited, Status: http.StatusForbidden, Message: limit.Message, RetryAt: limit.Rate.Reset.Time, Request: "requests"}
	case errors.As(err, &secondary):
		retry := time.Now().Add(time.Minute)
		if secondary.RetryAfter != nil {
			retry = time.Now().Add(*secondary.RetryAfter)
		}
		return &Error{Kind: RateLimited, Status: http.StatusForbidden, Message: secondary.Message, RetryAt: retry, Request: "requests"}
	}
	return err
}

func gitHubPullRequest(p *github.PullRequest) PullRequest {
	out := PullRequest{
		Number: int64(p.GetNumber()), Title: p.GetTitle(), Author: p.GetUser().GetLogin(), URL: p.GetHTMLURL(),
		BaseBranch: p.GetBase().GetRef(), HeadBranch: p.GetHead().GetRef(), Head: p.GetHead().GetSHA(),
		Fork:    p.GetHead().GetRepo().GetID() == 0 || p.GetHead().GetRepo().GetID() != p.GetBase().GetRepo().GetID(),
		Updated: p.GetUpdatedAt().Time, Open: p.GetState() == "open",
	}
	for _, l := range p.Labels {
		out.Labels = append(out.Labels, l.GetName())
	}
	if p.GetMerged() {
		out.Merged = p.GetMergeCommitSHA()
	}
	return out
}

func (h *gitHub) SetCheck(ctx context.Context, commit string, c Check) error {
	state := map[State]string{Pending: "pending", Success: "success", Failure: "failure"}[c.State]
	status := &github.RepoStatus{State: &state, Description: &c.Description, Context: &c.Name}
	if c.URL != "" {
		status.TargetURL = &c.URL
	}
	_, _, err := h.sdk.Repositories.CreateStatus(ctx, h.owner, h.name, commit, status)
	return h.plain(err)
}

func (h *gitHub) Comments(ctx context.Context, number int64) ([]Comment, error) {
	var all []Comment
	options := &github.IssueListCommentsOptions{ListOptions: github.ListOptions{PerPage: 100}}
	for range 20 {
		list, answer, err := h.sdk.Issues.ListComments(ctx, h.owner, h.name, int(number), options)
		if err != nil {
			return nil, h.plain(err)
		}
		for _, c := range list {
			all = append(all, gitHubComment(c))
		}
		if answer.NextPage == 0 {
			break
		}
		options.Page = answer.NextPage
	}
	return all, nil
}

func gitHubComment(c *github.IssueComment) Comment {
	return Comment{
		ID: c.GetID(), Author: c.GetUser().GetLogin(), Body: c.GetBody(), URL: c.GetHTMLURL(), Created: c.GetCreatedAt().Time,
		Edited: c.GetUpdatedAt().After(c.GetCreatedAt().Time),
	}
}

func (h *gitHub) CreateComment(ctx context.Context, number int64, body string) (Comment, error) {
	c, _, err := h.sdk.Issues.CreateComment(ctx, h.owner, h.name, int(number), &github.IssueComment{Body: &body})
	if err != nil {
		return Comment{}, h.plain(err)
	}
	return gitHubComment(c), nil
}

func (h *gitHub) EditComment(ctx context.Context, _, id int64, body string) error {
	_, _, err := h.sdk.Issues.EditComment(ctx, h.owner, h.name, id, &github.IssueComment{Body: &body})
	return h.plain(err)
}

func (h *gitHub) Approvals(ctx context.Context, number int64) ([]Approval, error) {
	last := lastWords{}
	options := &github.ListOptions{PerPage: 100}
	for range 20 {
		list, answer, err := h.sdk.PullRequests.ListReviews(ctx, h.owner, h.name, int(number), options)
		if err != nil {
			return nil, h.plain(err)
		}
		for _, r := range list {
			a := Approval{r.GetUser().GetLogin(), r.GetCommitID(), r.GetSubmittedAt().Time}
			switch r.GetState() {
			case "APPROVED":
				last.say(a, true)
			case "CHANGES_REQUESTED", "DISMISSED":
				last.say(a, false)
			}
		}
		if answer.NextPage == 0 {
			break
		}
		options.Page = answer.NextPage
	}
	return last.approvals(), nil
}

func (h *gitHub) IsMember(ctx context.Context, team, user string) (bool, error) {
	organization, slug, _ := strings.Cut(team, "/")
	m, _, err := h.sdk.Teams.GetTeamMembershipBySlug(ctx, organization, slug, user)
	var answer *Error
	if errors.As(err, &answer) && answer.Kind == NotFound {
		return false, nil
	}
	return err == nil && m.GetState() == "active", h.plain(err)
}

func (h *gitHub) Self(ctx context.Context) (string, error) {
	if h.app != nil {
		return h.app.self(ctx)
	}
	u, _, err := h.sdk.Users.Get(ctx, "")
	if err != nil {
		return "", h.plain(err)
	}
	return u.GetLogin(), nil
}

// App is a GitHub App that is installed on the repository.
type App struct {
	ID, InstallationID int64
	PrivateKey         []byte // PEM
}

// appAuth signs requests with the token of an installation, and gets a new one before it ends.
type appAuth struct {
	app  *App
	key  *rsa.PrivateKey
	next http.RoundTripper
	sdk  *github.Client // as the App itself
	mu   sync.Mutex
	// token and its end.
	token string
	until time.Time
}

func newAppAuth(o Options, client *http.Client) (*appAuth, error) {
	block, _ := pem.Decode(o.App.PrivateKey)
	if block == nil {
		return nil, errors.New("the Secret's key privateKey holds no private key: it wants PEM")
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		other, ok := parsed.(*rsa.PrivateKey)
		if err != nil || !ok {
			return nil, errors.New("the Secret's key privateKey is not an RSA key")
		}
		key = other
	}
	a := &appAuth{app: o.App, key: key, next: client.Transport}
	a.sdk = github.NewClient(&http.Client{Transport: asApp{a}, Timeout: client.Timeout})
	return a, setAPI(a.sdk, o.API)
}

// asApp signs requests as the App itself.
type asApp struct{ *appAuth }

func (a asApp) RoundTrip(request *http.Request) (*http.Response, error) {
	token, err := a.jwt(time.Now())
	if err != nil {
		return nil, err
	}
	return a.next.RoundTrip(bearing(request, token))
}

func bearing(request *http.Request, token string) *http.Request {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+token)
	return request
}

// jwt is what GitHub takes from an App: signed with its key, for ten minutes at most.
func (a *appAuth) jwt(now time.Time) (string, error) {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." +
		encode(fmt.Appendf(nil, `{"iat":%d,"exp":%d,"iss":"%d"}`, now.Add(-time.Minute).Unix(), now.Add(8*time.Minute).Unix(), a.app.ID))
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign as the GitHub App: %w", err)
	}
	return text + "." + encode(signature), nil
}

func (a *appAuth) RoundTrip(request *http.Request) (*http.Response, error) {
	a.mu.Lock()
	if time.Until(a.until) < 5*time.Minute {
		t, _, err := a.sdk.Apps.CreateInstallationToken(request.Context(), a.app.InstallationID, nil)
		if err != nil {
			a.mu.Unlock()
			return nil, err
		}
		a.token, a.until = t.GetToken(), t.GetExpiresAt().Time
	}
	token := a.token
	a.mu.Unlock()
	return a.next.RoundTrip(bearing(request, token))
}

func (a *appAuth) self(ctx context.Context) (string, error) {
	app, _, err := a.sdk.Apps.Get(ctx, "")
	if err != nil {
		return "", err
	}
	return app.GetSlug() + "[bot]", nil
}

func (h *gitHub) DefaultBranch(ctx context.Context) (string, error) {
	r, _, err := h.sdk.Repositories.Get(ctx, h.owner, h.name)
	if err != nil {
		return "", h.plain(err)
	}
	return r.GetDefaultBranch(), nil
}
