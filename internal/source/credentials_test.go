package source

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestCredentialsFromSecret(t *testing.T) {
	_, key := newKey(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("hunter2"))
	must(t, err)
	locked := string(pem.EncodeToMemory(block))
	cases := map[string]struct {
		data map[string]string
		kind string // or what the error says
		ok   bool
		why  string
	}{
		"nothing":           {nil, "anonymous", true, "a public repository"},
		"basic":             {map[string]string{"username": "a", "password": "hunter2"}, "basic", true, ""},
		"bearer":            {map[string]string{"bearerToken": "hunter2"}, "bearer token", true, ""},
		"ssh":               {map[string]string{"identity": string(key), "known_hosts": "h ssh-ed25519 AAAA"}, "ssh key", true, ""},
		"ssh, locked":       {map[string]string{"identity": locked, "identity.password": "hunter2", "known_hosts": "x"}, "ssh key", true, ""},
		"ssh, of Flux":      {map[string]string{"identity": string(key), "identity.pub": "ssh-ed25519 AAAA", "known_hosts": "x"}, "ssh key", true, "as flux create secret git writes it"},
		"locked, of Flux":   {map[string]string{"identity": locked, "identity.pub": "ssh-ed25519 AAAA", "known_hosts": "x", "password": "hunter2"}, "ssh key", true, "as with --password"},
		"locked, two words": {map[string]string{"identity": locked, "identity.password": "hunter2", "password": "hunter3"}, `"password" needs "username"`, false, "which one would win?"},
		"webhook only":      {map[string]string{"webhookToken": "hunter2"}, "anonymous", true, "a public repository with a webhook"},
		"unknown key":       {map[string]string{"passwrod": "hunter2"}, `"passwrod" is unknown`, false, "a typo would be anonymous"},
		"no password":       {map[string]string{"username": "a"}, `"username" needs "password"`, false, ""},
		"no username":       {map[string]string{"password": "hunter2"}, `"password" needs "username"`, false, ""},
		"two ways":          {map[string]string{"username": "a", "password": "hunter2", "bearerToken": "b"}, `"bearerToken" and "password" exclude`, false, "which one would win?"},
		"ssh and basic":     {map[string]string{"username": "a", "password": "hunter2", "identity": string(key)}, `"identity" and "password" exclude`, false, ""},
		"known_hosts alone": {map[string]string{"known_hosts": "x"}, `"known_hosts" needs "identity"`, false, ""},
		"no key in PEM":     {map[string]string{"identity": "hunter2"}, `"identity" is not a private key`, false, ""},
		"locked, no word":   {map[string]string{"identity": locked}, `put its passphrase into "identity.password"`, false, ""},
		"locked, wrong":     {map[string]string{"identity": locked, "identity.password": "hunter3"}, `"identity.password" does not open`, false, ""},
		"word without key":  {map[string]string{"identity.password": "hunter2"}, `"identity.password" needs "identity"`, false, ""},
		"no certificate":    {map[string]string{"caFile": "hunter2"}, `"caFile" holds no certificate`, false, ""},
		"empty":             {map[string]string{"bearerToken": "\n"}, `"bearerToken" is empty`, false, "it would be anonymous"},
	}
	for name, c := range cases {
		data := map[string][]byte{}
		for k, v := range c.data {
			data[k] = []byte(v)
		}
		got, err := CredentialsFromSecret(data)
		if c.ok {
			if err != nil || got.String() != c.kind {
				t.Errorf("%s: %v, %v: %s", name, got, err, c.why)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.kind) {
			t.Errorf("%s: %v does not say %q: %s", name, err, c.kind, c.why)
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			if shown := fmt.Sprintf(format, []any{got, &got, Remote{Credentials: got}, err}); strings.Contains(shown, "hunter") {
				t.Errorf("%s: %s shows a secret: %s", name, format, shown)
			}
		}
	}
}

func TestParseAddress(t *testing.T) {
	cases := map[string]struct {
		url  string
		want address
	}{
		"scp":          {"git@github.com:org/fleet.git", address{scheme: "ssh", user: "git", host: "github.com", path: "org/fleet.git"}},
		"scp, no user": {"github.com:org/fleet.git", address{scheme: "ssh", user: "git", host: "github.com", path: "org/fleet.git"}},
		"ssh":          {"ssh://ann@h:2222/srv/fleet.git", address{scheme: "ssh", user: "ann", host: "h:2222", path: "/srv/fleet.git"}},
		"https":        {"https://h/org/fleet.git", address{scheme: "https", host: "h", path: "/org/fleet.git"}},
		"file":         {"file:///srv/fleet.git", address{scheme: "file", path: "/srv/fleet.git"}},
	}
	for name, c := range cases {
		got, err := parseAddress(c.url)
		must(t, err)
		if c.want.url, c.want.shown = got.url, got.shown; got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, url := range []string{"", "fleet.git", "./fleet", "https://", "ssh://h", "file://host/x", "C:"} {
		if a, err := parseAddress(url); err == nil {
			t.Errorf("%q is taken as %+v", url, a)
		}
	}
}

// TestEntriesOfOneHost: docker login writes several entries of Docker's registry, and people add one for a path.
func TestEntriesOfOneHost(t *testing.T) {
	config := `{"auths": {"ghcr.io/team": {"username": "path"}, "ghcr.io": {"username": "host"},
		"https://index.docker.io/v1/access-token": {"username": "token"}, "https://index.docker.io/v1/": {"username": "hub"}}}`
	c, err := CredentialsFromSecret(map[string][]byte{".dockerconfigjson": []byte(config)})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"ghcr.io": "host", "docker.io": "hub", "registry-1.docker.io": "hub", "other.example.com": ""} {
		if got := c.registry(host).Username; got != want {
			t.Errorf("at %s it is %q, want %q", host, got, want)
		}
	}
}
