// Package githubapp exchanges the private key of a GitHub App for tokens of its installation.
//
// What goes in is what GitHub gives with an App: its ID, that of the installation, and a key in PEM. What comes out is a token that opens the
// installation's repositories and their API for an hour. It is asked for once and shared until shortly before its end; who waits for one
// keeps nobody else from waiting less.
package githubapp

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/singleflight"
)

// The keys of a Secret for a GitHub App, as Flux has them.
const (
	KeyID           = "githubAppID"
	KeyInstallation = "githubAppInstallationID"
	KeyPrivateKey   = "githubAppPrivateKey"
	KeyBaseURL      = "githubAppBaseURL"
)

// API of github.com.
const API = "https://api.github.com"

// left is how much of a token's life must be left for it to be used: a fetch may take minutes.
const left = 10 * time.Minute

// patience is how long an answer of GitHub may take.
const patience = time.Minute

// Identity is an App that is installed somewhere.
type Identity struct {
	ID, Installation string
	Key              *rsa.PrivateKey
}

// IdentityOf reads the keys of a Secret. An error names the key to correct and never its value.
func IdentityOf(id, installation, privateKey string) (*Identity, error) {
	for key, value := range map[string]string{KeyID: id, KeyInstallation: installation} {
		if value == "" || strings.Trim(value, "0123456789") != "" {
			return nil, fmt.Errorf("the Secret's key %q is no number: GitHub shows it in the settings of the App and of its installation", key)
		}
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(privateKey))
	if err != nil {
		return nil, fmt.Errorf("the Secret's key %q is no RSA key: it wants the PEM that GitHub gives", KeyPrivateKey)
	}
	return &Identity{id, installation, key}, nil
}

// App gets tokens. Its methods may be called at the same time.
type App struct {
	Identity
	// API is the address of GitHub's API, such as https://github.example.com/api/v3.
	API string
	// Transport of the requests.
	Transport http.RoundTripper

	token  atomic.Pointer[token]
	flight singleflight.Group
}

type token struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires_at"`
}

// JWT is what GitHub takes from the App itself: signed with its key, for ten minutes at most.
func (a *App) JWT(now time.Time) (string, error) {
	claims := jwt.RegisteredClaims{Issuer: a.ID, IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(5 * time.Minute))}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(a.Key)
	if err != nil {
		return "", errors.New("the GitHub App's key cannot sign")
	}
	return signed, nil
}

// Token of the installation. All who ask at the same time get the answer to one request, and none waits longer than its own context.
func (a *App) Token(ctx context.Context) (string, error) {
	if t := a.token.Load(); t != nil && time.Until(t.Expires) >= left {
		return t.Token, nil
	}
	answer := a.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		t, err := a.ask(ctx)
		if err != nil {
			return "", err
		}
		a.token.Store(t)
		return t.Token, nil
	})
	select {
	case <-ctx.Done():
		return "", fmt.Errorf("wait for a token of the GitHub App: %w", ctx.Err())
	case result := <-answer:
		return result.Val.(string), result.Err
	}
}

// ask asks GitHub for a token.
func (a *App) ask(ctx context.Context) (*token, error) {
	signed, err := a.JWT(time.Now())
	if err != nil {
		return nil, err
	}
	address := strings.TrimRight(a.API, "/") + "/app/installations/" + url.PathEscape(a.Installation) + "/access_tokens"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return nil, errors.New("the address of GitHub's API is no address")
	}
	request.Header.Set("Authorization", "Bearer "+signed)
	request.Header.Set("Accept", "application/vnd.github+json")
	client := &http.Client{Transport: a.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // the address is said already
		}
		return nil, fmt.Errorf("ask %s for a token of the GitHub App: %w", request.URL.Host, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusCreated:
	case http.StatusUnauthorized:
		return nil, fmt.Errorf("%s does not accept the key of GitHub App %s (HTTP 401): correct %s and %s of the Secret", request.URL.Host, a.ID, KeyID, KeyPrivateKey)
	case http.StatusNotFound:
		return nil, fmt.Errorf("GitHub App %s has no installation %s (HTTP 404): correct %s of the Secret, or install the App", a.ID, a.Installation, KeyInstallation)
	default:
		return nil, fmt.Errorf("%s gives no token of the GitHub App (HTTP %d)", request.URL.Host, response.StatusCode)
	}
	t := &token{}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(t); err != nil || t.Token == "" {
		return nil, fmt.Errorf("%s gives no token of the GitHub App that can be read", request.URL.Host)
	}
	return t, nil
}

// Installed signs requests as the installation.
func (a *App) Installed() http.RoundTripper { return signed{a, a.Token} }

// AsApp signs requests as the App itself.
func (a *App) AsApp() http.RoundTripper {
	return signed{a, func(context.Context) (string, error) { return a.JWT(time.Now()) }}
}

type signed struct {
	app   *App
	token func(context.Context) (string, error)
}

func (s signed) RoundTrip(request *http.Request) (*http.Response, error) {
	token, err := s.token(request.Context())
	if err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+token)
	return s.app.Transport.RoundTrip(request)
}
