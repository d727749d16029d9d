// Package githost speaks with the hosts of Git repositories about pull requests: GitHub, GitLab, Gitea, Forgejo and Bitbucket.
//
// Each host is a small file over its own SDK, which the hosts' makers or users keep; Bitbucket, for which there is none, over HTTP. What
// differs between hosts ends here: above it there are pull requests, comments, checks and approvals, and errors that say what to do about them.
package githost

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/muster-io/muster/internal/githubapp"
)

// PullRequest is one, under whatever name the host has for it.
type PullRequest struct {
	Number int64
	Title  string
	Author string // login
	Labels []string
	URL    string
	// BaseBranch and HeadBranch are names; Head is the newest commit.
	BaseBranch, HeadBranch, Head string
	// Fork is true when the head is in another repository, or in one that is gone.
	Fork    bool
	Updated time.Time
	// Open is false for a merged and for a closed one; Merged is the commit that the base got by it.
	Open   bool
	Merged string
}

// State of a check.
type State string

// The states.
const (
	Pending State = "Pending"
	Success State = "Success"
	Failure State = "Failure"
)

// Check is a commit status.
type Check struct {
	Name        string // the context
	State       State
	Description string // at most 140 characters
	URL         string
}

// Comment on a pull request.
type Comment struct {
	ID      int64
	Author  string
	Body    string
	URL     string
	Created time.Time
	// Edited is true when the text is not what was written first.
	Edited bool
}

// Approval is a review that approves, is not dismissed, and is its author's last word.
type Approval struct {
	User string
	// Commit that was reviewed; empty where the host does not say.
	Commit string
	At     time.Time
}

// Host is one repository on a host. Its errors are of type *Error where the host has answered.
type Host interface {
	// Open are the open pull requests into a branch, or into any with "", those first that changed last; not more than 100.
	Open(ctx context.Context, branch string) ([]PullRequest, error)
	Get(ctx context.Context, number int64) (PullRequest, error)
	DefaultBranch(ctx context.Context) (string, error)
	SetCheck(ctx context.Context, commit string, c Check) error
	Comments(ctx context.Context, number int64) ([]Comment, error)
	CreateComment(ctx context.Context, number int64, body string) (Comment, error)
	EditComment(ctx context.Context, number, id int64, body string) error
	Approvals(ctx context.Context, number int64) ([]Approval, error)
	// IsMember of a team: organization/team, or the path of a group. One that the account may not see is NotFound.
	IsMember(ctx context.Context, team, user string) (bool, error)
	// Self is the login that the host knows us by.
	Self(ctx context.Context) (string, error)
	// CommentLimit is how long a comment may be, in bytes.
	CommentLimit() int
	// ShowsTags is true where HTML in a comment is shown as text.
	ShowsTags() bool
}

// Options of a client.
type Options struct {
	Kind string // GitHub, GitLab, Gitea, Forgejo, Bitbucket, BitbucketDataCenter
	// API is its URL, Repository owner/name.
	API, Repository string
	Token           string
	// Username goes with a token that is a password: of an Atlassian account on Bitbucket Cloud, its e-mail address.
	Username string
	// App authenticates as a GitHub App in place of Token.
	App *githubapp.Identity
	// Roots that https trusts; nil is the system's.
	Roots *x509.CertPool
	// Proxy of the requests; nil is that of the environment.
	Proxy     *url.URL
	UserAgent string
	// Transport replaces the network in tests.
	Transport http.RoundTripper
}

// New gives the client of a repository.
func New(o Options) (Host, error) {
	owner, name, ok := strings.Cut(o.Repository, "/")
	if !ok || owner == "" || name == "" {
		return nil, fmt.Errorf("repository %q is not owner/name", o.Repository)
	}
	if o.App != nil && o.Kind != "GitHub" {
		return nil, fmt.Errorf("a GitHub App is no account of %s: put a token into the Secret", o.Kind)
	}
	if o.Token == "" && o.App == nil {
		return nil, fmt.Errorf("there is no token for %s: put it into the Secret under the key token", o.Kind)
	}
	client := &http.Client{Transport: o.transport(), Timeout: 30 * time.Second}
	switch o.Kind {
	case "GitHub":
		return newGitHub(o, client, owner, name)
	case "GitLab":
		return newGitLab(o, client)
	case "Gitea", "Forgejo":
		return newGitea(o, client, owner, name)
	case "Bitbucket":
		return newBitbucket(o, client, owner, name), nil
	case "BitbucketDataCenter":
		return newBitbucketDC(o, client, owner, name), nil
	}
	return nil, fmt.Errorf("host %q is not one of GitHub, GitLab, Gitea, Forgejo, Bitbucket, BitbucketDataCenter", o.Kind)
}

func (o Options) transport() http.RoundTripper {
	next := o.Transport
	if next == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12}
		if o.Proxy != nil {
			t.Proxy = http.ProxyURL(o.Proxy)
		}
		next = t
	}
	return &plain{next: next, userAgent: o.UserAgent}
}

// Locate derives the API and owner/name from the URL of a repository, where they are not given.
func Locate(kind, api, repository, remote string) (string, string, error) {
	server, path := serverOf(remote)
	if repository == "" {
		repository = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
		if kind == "BitbucketDataCenter" { // over http; not over ssh
			repository = strings.TrimPrefix(repository, "scm/")
		}
	}
	if !strings.Contains(repository, "/") {
		return "", "", fmt.Errorf("the repository's name on the host does not follow from its URL: set spec.review.repository to owner/name")
	}
	if api != "" {
		return strings.TrimSuffix(api, "/"), repository, nil
	}
	if server == "" {
		return "", "", fmt.Errorf("the host's API does not follow from the repository's URL: set spec.review.apiURL")
	}
	switch {
	case kind == "GitHub" && strings.HasSuffix(server, "://github.com"):
		return "https://api.github.com", repository, nil
	case kind == "GitHub":
		return server + "/api/v3", repository, nil
	case kind == "GitLab":
		return server + "/api/v4", repository, nil
	case kind == "Bitbucket":
		return "https://api.bitbucket.org/2.0", repository, nil
	case kind == "BitbucketDataCenter":
		return server + "/rest/api/latest", repository, nil
	}
	return server + "/api/v1", repository, nil
}

// serverOf gives the server's web address and the path of a Git URL. An API is asked over https, unless Git itself goes over http.
func serverOf(remote string) (server, path string) {
	if u, err := url.Parse(remote); err == nil && u.Host != "" {
		switch u.Scheme {
		case "http", "https":
			return u.Scheme + "://" + u.Host, u.Path
		case "ssh":
			return "https://" + u.Hostname(), u.Path
		}
		return "", ""
	}
	at, path, ok := strings.Cut(remote, ":") // user@host:path
	if _, host, isUser := strings.Cut(at, "@"); ok && isUser {
		return "https://" + host, path
	}
	return "", ""
}
