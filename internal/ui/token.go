package ui

import (
	"context"
	"crypto/sha256"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/overview"
)

// Tokens is the access of the page that a hub serves: people log in with a bearer token that the hub's API server accepts, such
// as that of a service account or of an OIDC provider. A proxy in front that logs people in, such as oauth2-proxy, passes the
// token in the header Authorization, and nobody sees the form.
//
// The token stays in the browser, in a cookie that no script reads; the hub keeps none of it, so that every replica serves
// everybody. Each request reads and acts with the person's own token; what lists show is cut to what the API server says that
// the person may list.
type Tokens struct {
	// Config of the API server. Its credentials are not used.
	Config *rest.Config
	// Scheme of the kinds that pages read.
	Scheme *runtime.Scheme
	// Now is the time.
	Now func() time.Time
	// OIDC is where people may log in too; nil is nowhere.
	OIDC *OIDC

	mu     sync.Mutex
	people map[[sha256.Size]byte]*known
}

// known is a person whose token was accepted a short time ago, and what they may list.
type known struct {
	person *Person
	until  time.Time
	may    map[string]bool
}

// trustPeriod is how long the answers of the API server about a token are used: so late an end of rights is noticed.
const trustPeriod = 30 * time.Second

// tokenCookie holds the token.
const tokenCookie = "muster-token"

// Person implements Access.
func (t *Tokens) Person(w http.ResponseWriter, r *http.Request) (*Person, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if cookie, err := r.Cookie(tokenCookie); !ok && err == nil {
		token = cookie.Value
	}
	if token != "" {
		person, err := t.know(r.Context(), token)
		if err == nil || !apierrors.IsUnauthorized(err) {
			return person, err
		}
	}
	if strings.HasPrefix(r.URL.Path, "/api/") || r.Method != http.MethodGet {
		return nil, apiError{http.StatusUnauthorized, "send a token that the hub's API server accepts, in the header Authorization: Bearer TOKEN"}
	}
	http.Redirect(w, r, "/login?next="+template.URLQueryEscaper(r.URL.RequestURI()), http.StatusSeeOther)
	return nil, nil
}

// know asks the API server who has a token, at most once per period.
func (t *Tokens) know(ctx context.Context, token string) (*Person, error) {
	key := sha256.Sum256([]byte(token))
	now := t.Now()
	t.mu.Lock()
	for k, v := range t.people {
		if now.After(v.until) {
			delete(t.people, k)
		}
	}
	if k := t.people[key]; k != nil {
		t.mu.Unlock()
		return k.person, nil
	}
	t.mu.Unlock()
	config := rest.AnonymousClientConfig(t.Config)
	config.BearerToken = token
	c, err := client.New(config, client.Options{Scheme: t.Scheme})
	if err != nil {
		return nil, fmt.Errorf("reach the hub's API server: %w", err)
	}
	name, err := overview.WhoAmI(ctx, c)
	if err != nil {
		return nil, err
	}
	k := &known{until: now.Add(trustPeriod), may: map[string]bool{}}
	k.person = &Person{Name: name, Client: c, May: func(ctx context.Context, group, resource, namespace string) bool {
		return t.may(ctx, c, k, group, resource, namespace)
	}}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.people == nil {
		t.people = map[[sha256.Size]byte]*known{}
	}
	t.people[key] = k
	return k.person, nil
}

// may asks the API server with the person's own token. Who cannot be asked about may not.
func (t *Tokens) may(ctx context.Context, c client.Client, k *known, group, resource, namespace string) bool {
	key := group + "/" + resource + "/" + namespace
	t.mu.Lock()
	allowed, asked := k.may[key]
	t.mu.Unlock()
	if asked {
		return allowed
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Group: group, Resource: resource, Namespace: namespace},
	}}
	if err := c.Create(ctx, review); err != nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k.may[key] = review.Status.Allowed
	return review.Status.Allowed
}

// login shows the form, or takes a token from it.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	tokens, ok := s.Access.(*Tokens)
	if !ok {
		s.fail(w, r, nil, notFound("there is no page %s", r.URL.Path))
		return
	}
	if r.Method == http.MethodGet {
		s.render(w, r, "login", s.loginLayout(r.URL.Query().Get("next"), ""), http.StatusOK)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	token := strings.TrimSpace(r.PostFormValue("token"))
	if problem := s.refused(r.Context(), tokens, token); problem != "" {
		s.refuseLogin(w, r, problem, r.PostFormValue("next"), http.StatusUnauthorized)
		return
	}
	s.enter(w, r, token)
	http.Redirect(w, r, ours(r.PostFormValue("next")), http.StatusSeeOther)
}

// refused says why nobody can log in with a token; "" when they can.
func (s *Server) refused(ctx context.Context, tokens *Tokens, token string) string {
	if len(token) > maxCookie {
		return "The token is too long for a cookie: ask for one with fewer claims."
	}
	_, err := tokens.know(ctx, token)
	switch {
	case token == "" || apierrors.IsUnauthorized(err):
		return "The hub's API server does not accept this token."
	case err != nil:
		s.Log.Error(err, "log a person in")
		return "The hub's API server cannot be asked now; the log of the hub says why."
	}
	return ""
}

// maxCookie is what all browsers keep of one.
const maxCookie = 4000

// enter keeps the token in the browser. The cookie is a lax one, so that a link from another site, such as that of a check of a pull request,
// opens the page; what other sites post is refused by its origin.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, token string) {
	http.SetCookie(w, &http.Cookie{Name: tokenCookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: overTLS(r)})
}

// overTLS says whether cookies are for TLS alone, which may end in front of this server.
func overTLS(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" || !loopback(r.Host)
}

func (s *Server) refuseLogin(w http.ResponseWriter, r *http.Request, problem, next string, status int) {
	s.render(w, r, "login", s.loginLayout(next, problem), status)
}

// loginView is the form; Provider says that people can log in at one.
type loginView struct {
	Next     string
	Provider string
}

func (s *Server) loginLayout(next, problem string) layout {
	v := loginView{Next: next}
	if tokens, ok := s.withProvider(); ok {
		v.Provider = tokens.OIDC.Issuer
	}
	return layout{Title: "Log in", Data: v, Problem: problem}
}

// logout forgets the token.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: tokenCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}
