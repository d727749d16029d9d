package ui

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// OIDC lets people log in at an OpenID Connect provider, the one whose ID tokens the hub's API server accepts. The page asks for a token
// by the authorization code flow with PKCE, and takes it as it takes one from the form: what it is worth, the API server says.
type OIDC struct {
	// Issuer is the URL of the provider, as the API server's --oidc-issuer-url has it.
	Issuer string
	// ClientID and ClientSecret of the page at the provider; the ID is one of the audiences that the API server accepts. A public client has
	// no secret.
	ClientID, ClientSecret string
	// Scopes to ask for beside openid.
	Scopes []string
	// PageURL is where people find the page: the provider sends them back to it.
	PageURL string
	// Roots vouch for the provider; nil are the system's.
	Roots *x509.CertPool

	mu       sync.Mutex
	endpoint *oauth2.Endpoint
}

const (
	oidcPath     = "/login/oidc"
	callbackPath = oidcPath + "/callback"
	// attemptCookie holds what a login has to come back with.
	attemptCookie = "muster-login"
	// attemptPeriod is how long a person may take at the provider.
	attemptPeriod = 10 * time.Minute
)

// attempt is a login on its way: the state and the verifier of it, and where the person wants to go.
type attempt struct {
	State, Verifier, Next string
}

// withProvider is the access of a page where people log in at a provider.
func (s *Server) withProvider() (*Tokens, bool) {
	tokens, ok := s.Access.(*Tokens)
	return tokens, ok && tokens.OIDC != nil
}

// oidcLogin sends a person to the provider.
func (s *Server) oidcLogin(w http.ResponseWriter, r *http.Request) {
	tokens, ok := s.withProvider()
	if !ok {
		s.fail(w, r, nil, notFound("there is no page %s", r.URL.Path))
		return
	}
	config, err := tokens.OIDC.config(r.Context())
	if err != nil {
		s.Log.Error(err, "begin a login")
		s.refuseLogin(w, r, "The login provider cannot be asked now; the log of the hub says why.", r.URL.Query().Get("next"), http.StatusBadGateway)
		return
	}
	a := attempt{State: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: ours(r.URL.Query().Get("next"))}
	s.setAttempt(w, r, a.encode(), int(attemptPeriod.Seconds()))
	http.Redirect(w, r, config.AuthCodeURL(a.State, oauth2.S256ChallengeOption(a.Verifier)), http.StatusSeeOther)
}

// oidcCallback takes a person back from the provider.
func (s *Server) oidcCallback(w http.ResponseWriter, r *http.Request) {
	tokens, ok := s.withProvider()
	if !ok {
		s.fail(w, r, nil, notFound("there is no page %s", r.URL.Path))
		return
	}
	var a attempt
	if cookie, err := r.Cookie(attemptCookie); err == nil {
		a.decode(cookie.Value)
	}
	s.setAttempt(w, r, "", -1)
	q := r.URL.Query()
	if a.State == "" || subtle.ConstantTimeCompare([]byte(a.State), []byte(q.Get("state"))) != 1 {
		s.refuseLogin(w, r, "This login did not begin in this browser, or took too long: begin again.", a.Next, http.StatusBadRequest)
		return
	}
	if said := q.Get("error"); said != "" {
		s.refuseLogin(w, r, "The login provider says: "+strings.TrimSpace(said+" "+q.Get("error_description")), a.Next, http.StatusUnauthorized)
		return
	}
	token, err := tokens.OIDC.exchange(r.Context(), q.Get("code"), a.Verifier)
	if err != nil {
		s.Log.Error(err, "finish a login")
		s.refuseLogin(w, r, "The login provider gave no ID token; the log of the hub says why.", a.Next, http.StatusBadGateway)
		return
	}
	if problem := s.refused(r.Context(), tokens, token); problem != "" {
		s.refuseLogin(w, r, problem, a.Next, http.StatusUnauthorized)
		return
	}
	s.enter(w, r, token)
	http.Redirect(w, r, a.Next, http.StatusSeeOther)
}

// setAttempt keeps a login in the browser. The way back from the provider begins at another site, so that the cookie is a lax one.
func (s *Server) setAttempt(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: attemptCookie, Value: value, Path: oidcPath, MaxAge: age, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: overTLS(r),
	})
}

func (a attempt) encode() string {
	return url.Values{"state": {a.State}, "verifier": {a.Verifier}, "next": {a.Next}}.Encode()
}

func (a *attempt) decode(text string) {
	values, _ := url.ParseQuery(text) // what does not parse has no state
	a.State, a.Verifier, a.Next = values.Get("state"), values.Get("verifier"), ours(values.Get("next"))
}

// config asks the provider where its endpoints are, once.
func (o *OIDC) config(ctx context.Context) (*oauth2.Config, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.endpoint == nil {
		endpoint, err := o.discover(ctx)
		if err != nil {
			return nil, fmt.Errorf("ask %s for its endpoints: %w", o.Issuer, err)
		}
		o.endpoint = endpoint
	}
	return &oauth2.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret, Endpoint: *o.endpoint,
		RedirectURL: strings.TrimSuffix(o.PageURL, "/") + callbackPath, Scopes: append([]string{"openid"}, o.Scopes...),
	}, nil
}

func (o *OIDC) discover(ctx context.Context) (*oauth2.Endpoint, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(o.Issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return nil, err
	}
	answer, err := o.client().Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var about struct {
		Issuer        string `json:"issuer"`
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&about); err != nil {
		return nil, err
	}
	if about.Issuer != o.Issuer || about.Authorization == "" || about.Token == "" {
		return nil, fmt.Errorf("it says that it is issuer %q, with authorization_endpoint %q and token_endpoint %q", about.Issuer, about.Authorization, about.Token)
	}
	return &oauth2.Endpoint{AuthURL: about.Authorization, TokenURL: about.Token}, nil
}

// exchange gives the ID token for the code that a person came back with.
func (o *OIDC) exchange(ctx context.Context, code, verifier string) (string, error) {
	config, err := o.config(ctx)
	if err != nil {
		return "", err
	}
	token, err := config.Exchange(context.WithValue(ctx, oauth2.HTTPClient, o.client()), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return "", err
	}
	id, _ := token.Extra("id_token").(string)
	if id == "" {
		return "", fmt.Errorf("%s has answered without an ID token", config.Endpoint.TokenURL)
	}
	return id, nil
}

func (o *OIDC) client() *http.Client {
	c := &http.Client{Timeout: 10 * time.Second}
	if o.Roots != nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12}
		c.Transport = transport
	}
	return c
}
