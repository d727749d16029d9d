package source

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/muster-io/muster/internal/githubapp"
)

// apps are the GitHub Apps whose tokens are in use, by the fingerprint of the credentials.
type apps struct {
	mu sync.Mutex
	by map[string]*githubapp.App
}

// login is what a repository takes: the credentials themselves, or for a GitHub App those of its installation.
func (a *apps) login(ctx context.Context, c Credentials) (Credentials, error) {
	if c.app == nil {
		return c, nil
	}
	token, err := a.of(c).Token(ctx)
	if err != nil {
		return c, err
	}
	c.data = maps.Clone(c.data)
	c.data[keyUsername], c.data[keyPassword] = "x-access-token", token
	return c, nil
}

func (a *apps) of(c Credentials) *githubapp.App {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := c.fingerprint()
	if a.by[key] == nil {
		if a.by == nil {
			a.by = map[string]*githubapp.App{}
		}
		api := githubapp.API
		if c.has(githubapp.KeyBaseURL) {
			api = c.data[githubapp.KeyBaseURL]
		}
		transport := c.transport()
		transport.DisableKeepAlives = true // one request an hour
		a.by[key] = &githubapp.App{Identity: *c.app, API: api, Transport: transport}
	}
	return a.by[key]
}

// parseApp reads the keys of a GitHub App.
func (c *Credentials) parseApp() error {
	if base := c.data[githubapp.KeyBaseURL]; base != "" && !strings.HasPrefix(base, "https://") {
		return fmt.Errorf("the Secret's key %q is no https:// address, such as https://github.example.com/api/v3", githubapp.KeyBaseURL)
	}
	var err error
	c.app, err = githubapp.IdentityOf(c.data[githubapp.KeyID], c.data[githubapp.KeyInstallation], c.data[githubapp.KeyPrivateKey])
	return err
}

// App is the GitHub App that the credentials are of; nil when they are of none.
func (c Credentials) App() *githubapp.Identity { return c.app }
