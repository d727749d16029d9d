package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The keys of a Secret for a GitHub App, as Flux has them.
const (
	keyAppID           = "githubAppID"
	keyAppInstallation = "githubAppInstallationID"
	keyAppPrivateKey   = "githubAppPrivateKey"
	keyAppBaseURL      = "githubAppBaseURL"
)

// githubAPI is where tokens of github.com come from.
const githubAPI = "https://api.github.com"

// appTokens are the tokens of GitHub Apps: each is good for an hour, and is asked for when less than appTokenLeft of it is left.
type appTokens struct {
	mu sync.Mutex
	by map[string]appToken // by the fingerprint of the credentials
}

const appTokenLeft = 10 * time.Minute

type appToken struct {
	token   string
	expires time.Time
}

// login is what a repository takes: the credentials themselves, or for a GitHub App those of its installation.
func (a *appTokens) login(ctx context.Context, c Credentials) (Credentials, error) {
	if c.appKey == nil {
		return c, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock() // one token serves all
	key := c.fingerprint()
	known := a.by[key]
	if time.Until(known.expires) < appTokenLeft {
		var err error
		if known, err = c.installationToken(ctx); err != nil {
			return c, err
		}
		if a.by == nil {
			a.by = map[string]appToken{}
		}
		a.by[key] = known
	}
	c.data = maps.Clone(c.data)
	c.data[keyUsername], c.data[keyPassword] = "x-access-token", known.token
	return c, nil
}

// installationToken asks GitHub for a token of the App's installation.
func (c Credentials) installationToken(ctx context.Context) (appToken, error) {
	now := time.Now()
	claims := jwt.RegisteredClaims{Issuer: c.data[keyAppID], IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(5 * time.Minute))}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(c.appKey)
	if err != nil {
		return appToken{}, errors.New("the GitHub App's key cannot sign")
	}
	base := githubAPI
	if c.has(keyAppBaseURL) {
		base = strings.TrimRight(c.data[keyAppBaseURL], "/")
	}
	address := base + "/app/installations/" + url.PathEscape(c.data[keyAppInstallation]) + "/access_tokens"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return appToken{}, fmt.Errorf("the Secret's key %q is no address", keyAppBaseURL)
	}
	request.Header.Set("Authorization", "Bearer "+signed)
	request.Header.Set("Accept", "application/vnd.github+json")
	client := &http.Client{Transport: c.transport(), Timeout: fetchTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return appToken{}, fmt.Errorf("ask %s for a token of the GitHub App: %w", request.URL.Host, innermost(err))
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusCreated:
	case http.StatusUnauthorized:
		return appToken{}, fmt.Errorf("%s does not accept the key of GitHub App %s (HTTP 401): correct %s and %s of the Secret", request.URL.Host, c.data[keyAppID], keyAppID, keyAppPrivateKey)
	case http.StatusNotFound:
		return appToken{}, fmt.Errorf("GitHub App %s has no installation %s (HTTP 404): correct %s of the Secret, or install the App", c.data[keyAppID], c.data[keyAppInstallation], keyAppInstallation)
	default:
		return appToken{}, fmt.Errorf("%s gives no token of the GitHub App (HTTP %d)", request.URL.Host, response.StatusCode)
	}
	var answer struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires_at"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer); err != nil || answer.Token == "" {
		return appToken{}, fmt.Errorf("%s gives no token of the GitHub App that can be read", request.URL.Host)
	}
	return appToken{answer.Token, answer.Expires}, nil
}

// parseApp reads the keys of a GitHub App.
func (c *Credentials) parseApp() error {
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(c.data[keyAppPrivateKey]))
	if err != nil {
		return fmt.Errorf("the Secret's key %q is no RSA key: it wants the PEM that GitHub gives", keyAppPrivateKey)
	}
	if base := c.data[keyAppBaseURL]; base != "" && !strings.HasPrefix(base, "https://") {
		return fmt.Errorf("the Secret's key %q is no https:// address, such as https://github.example.com/api/v3", keyAppBaseURL)
	}
	c.appKey = key
	return nil
}
