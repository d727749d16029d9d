package source

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/muster-io/muster/internal/githubapp"
)

// The keys of a repository's Secret. They are those that Flux reads, so that a Secret can be carried over, and a few more.
const (
	keyUsername         = "username"
	keyPassword         = "password"
	keyBearerToken      = "bearerToken"
	keyIdentity         = "identity"
	keyIdentityPassword = "identity.password"
	keyIdentityPublic   = "identity.pub"
	keyKnownHosts       = "known_hosts"
	keyCAFile           = "caFile"
	keyCACert           = "ca.crt"
	keyClientCert       = "tls.crt"
	keyClientKey        = "tls.key"
	keyDockerConfig     = ".dockerconfigjson"
	keyProxy            = "proxy"
	keyWebhookToken     = "webhookToken"

	keyWebhookPlainToken = "webhookPlainToken"
)

var knownKeys = []string{
	keyUsername, keyPassword, keyBearerToken, keyIdentity, keyIdentityPassword, keyKnownHosts, keyCAFile, keyCACert,
	keyClientCert, keyClientKey, keyDockerConfig, keyProxy, keyWebhookToken, keyWebhookPlainToken,
	githubapp.KeyID, githubapp.KeyInstallation, githubapp.KeyPrivateKey, githubapp.KeyBaseURL,
}

// Credentials authenticate to a repository. The zero value is anonymous. Printed in any way, it shows its kind only.
type Credentials struct {
	data   map[string]string
	signer ssh.Signer
	roots  *x509.CertPool
	client *tls.Certificate
	docker map[string]dockerAuth // by registry
	app    *githubapp.Identity
	proxy  *url.URL
}

// dockerAuth is what a docker config JSON says of one registry.
type dockerAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// CredentialsFromSecret reads the data of a Secret. An error names the key to correct and never its value.
//
//	username + password              basic authentication over http(s)
//	bearerToken                      a bearer token over http(s)
//	caFile, or ca.crt                PEM certificates that https trusts beside the system's
//	tls.crt + tls.key                a client certificate for https
//	.dockerconfigjson                what docker login writes, for registries
//	githubAppID + githubAppInstallationID + githubAppPrivateKey (+ githubAppBaseURL)  a GitHub App, over https
//	identity (+ identity.password)   a private key for ssh; its passphrase may be in password too, as `flux create secret git` has it
//	identity.pub                     the public key, which is not read
//	known_hosts                      the host keys that ssh accepts; needed with identity
//	proxy                            the proxy of https, as HTTPS_PROXY has it: http://user:password@host:port; in place of the environment's
//	webhookToken                     what signs the webhook's requests; not used to fetch
//	webhookPlainToken                in its place: what a host sends that signs nothing
func CredentialsFromSecret(secret map[string][]byte) (Credentials, error) {
	c := Credentials{data: map[string]string{}}
	for _, key := range slices.Sorted(maps.Keys(secret)) {
		if key == keyIdentityPublic {
			continue
		}
		if !slices.Contains(knownKeys, key) {
			return Credentials{}, fmt.Errorf("the Secret's key %q is unknown: the keys are %s", key, strings.Join(knownKeys, ", "))
		}
		value := secret[key]
		if key == keyUsername || key == keyPassword || key == keyBearerToken || key == keyIdentityPassword || key == keyProxy || strings.HasPrefix(key, "githubApp") {
			value = []byte(TrimLine(value))
		}
		if len(value) == 0 {
			return Credentials{}, fmt.Errorf("the Secret's key %q is empty", key)
		}
		c.data[key] = string(value)
	}
	if c.has(keyIdentity) && c.has(keyPassword) && !c.has(keyUsername) && !c.has(keyIdentityPassword) {
		c.data[keyIdentityPassword] = c.data[keyPassword]
		delete(c.data, keyPassword)
	}
	if err := c.combine(); err != nil {
		return Credentials{}, err
	}
	return c, c.parse()
}

// combine checks which keys need or exclude each other.
func (c Credentials) combine() error {
	needs := [][2]string{
		{keyUsername, keyPassword},
		{keyPassword, keyUsername},
		{keyIdentityPassword, keyIdentity},
		{keyKnownHosts, keyIdentity},
		{keyClientCert, keyClientKey},
		{keyClientKey, keyClientCert},
		{githubapp.KeyID, githubapp.KeyInstallation},
		{githubapp.KeyID, githubapp.KeyPrivateKey},
		{githubapp.KeyInstallation, githubapp.KeyID},
		{githubapp.KeyPrivateKey, githubapp.KeyID},
		{githubapp.KeyBaseURL, githubapp.KeyID},
	}
	for _, n := range needs {
		if c.has(n[0]) && !c.has(n[1]) {
			return fmt.Errorf("the Secret's key %q needs %q beside it", n[0], n[1])
		}
	}
	excludes := [][2]string{
		{keyBearerToken, keyPassword},
		{keyIdentity, keyPassword},
		{keyIdentity, keyBearerToken},
		{keyIdentity, keyCAFile},
		{keyIdentity, keyCACert},
		{keyIdentity, keyClientCert},
		{keyIdentity, keyDockerConfig},
		{keyIdentity, keyProxy},
		{keyCAFile, keyCACert},
		{keyDockerConfig, keyPassword},
		{keyDockerConfig, keyBearerToken},
		{keyWebhookToken, keyWebhookPlainToken},
		{githubapp.KeyID, keyPassword},
		{githubapp.KeyID, keyBearerToken},
		{githubapp.KeyID, keyIdentity},
		{githubapp.KeyID, keyDockerConfig},
	}
	for _, e := range excludes {
		if c.has(e[0]) && c.has(e[1]) {
			return fmt.Errorf("the Secret's keys %q and %q exclude each other: remove one of them", e[0], e[1])
		}
	}
	return nil
}

// RootsWith are the authorities that the system trusts, and those of a text in PEM. It is false where the text holds no certificate.
func RootsWith(pem []byte) (*x509.CertPool, bool) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	return roots, roots.AppendCertsFromPEM(pem)
}

func (c *Credentials) parse() error {
	if c.has(keyIdentity) {
		signer, err := parseIdentity(c.data[keyIdentity], c.data[keyIdentityPassword])
		if err != nil {
			return err
		}
		c.signer = signer
	}
	for _, key := range []string{keyCAFile, keyCACert} {
		if !c.has(key) {
			continue
		}
		var ok bool
		if c.roots, ok = RootsWith([]byte(c.data[key])); !ok {
			return fmt.Errorf("the Secret's key %q holds no certificate: it wants PEM", key)
		}
	}
	if c.has(keyProxy) {
		if err := c.parseProxy(); err != nil {
			return err
		}
	}
	if c.has(keyClientCert) {
		pair, err := tls.X509KeyPair([]byte(c.data[keyClientCert]), []byte(c.data[keyClientKey]))
		if err != nil {
			return fmt.Errorf("the Secret's keys %q and %q are no certificate with its key: they want PEM", keyClientCert, keyClientKey)
		}
		c.client = &pair
	}
	if c.has(githubapp.KeyID) {
		return c.parseApp()
	}
	if c.has(keyDockerConfig) {
		return c.parseDocker()
	}
	return nil
}

func (c *Credentials) parseProxy() error {
	u, err := url.Parse(c.data[keyProxy])
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return fmt.Errorf("the Secret's key %q is no address of a proxy, such as http://user:password@proxy.example.com:3128", keyProxy)
	}
	c.proxy = u
	return nil
}

func (c *Credentials) parseDocker() error {
	var config struct {
		Auths map[string]dockerAuth `json:"auths"`
	}
	wrong := fmt.Errorf("the Secret's key %q is not what docker login writes: it wants {\"auths\": {HOST: {...}}}", keyDockerConfig)
	if err := json.Unmarshal([]byte(c.data[keyDockerConfig]), &config); err != nil || len(config.Auths) == 0 {
		return wrong
	}
	c.docker = map[string]dockerAuth{}
	// docker login writes entries of one host with and without a path (index.docker.io/v1/ and .../v1/access-token): the shortest is the host's.
	hosts := slices.SortedFunc(maps.Keys(config.Auths), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(b, a)) })
	for _, host := range hosts {
		auth := config.Auths[host]
		if auth.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(auth.Auth)
			if err != nil {
				return wrong
			}
			auth.Username, auth.Password, _ = strings.Cut(string(plain), ":")
		}
		_, name, ok := strings.Cut(host, "://")
		if !ok {
			name = host
		}
		name, _, _ = strings.Cut(name, "/")
		c.docker[name] = auth
	}
	return nil
}

func parseIdentity(key, password string) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey([]byte(key))
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		if err != nil {
			return nil, fmt.Errorf("the Secret's key %q is not a private key that ssh can read: it wants PEM", keyIdentity)
		}
		return signer, nil
	}
	if password == "" {
		return nil, fmt.Errorf("the Secret's key %q is encrypted: put its passphrase into %q", keyIdentity, keyIdentityPassword)
	}
	if signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(key), []byte(password)); err != nil {
		return nil, fmt.Errorf("the Secret's key %q does not open %q", keyIdentityPassword, keyIdentity)
	}
	return signer, nil
}

// WebhookKey proves that a webhook is of the host; false when the Secret has none.
func (c Credentials) WebhookKey() (WebhookKey, bool) {
	if c.has(keyWebhookPlainToken) {
		return WebhookKey{Token: []byte(TrimLine([]byte(c.data[keyWebhookPlainToken]))), Plain: true}, true
	}
	return WebhookKey{Token: []byte(c.data[keyWebhookToken])}, c.has(keyWebhookToken)
}

// Token is what the API of a Git host takes: the bearer token, or the password; empty when there is none, or a GitHub App.
func (c Credentials) Token() string {
	if c.has(keyBearerToken) {
		return c.data[keyBearerToken]
	}
	return c.data[keyPassword]
}

// Username goes with the password that Token gives; empty with a bearer token.
func (c Credentials) Username() string { return c.data[keyUsername] }

// Proxy of https; nil is that of the environment.
func (c Credentials) Proxy() *url.URL { return c.proxy }

// route is the name under which Hosts know a host: a proxy of one's own that fails says nothing of the host that others ask.
func (c Credentials) route(host string) string {
	if c.proxy == nil {
		return host
	}
	return host + " through " + c.proxy.Host
}

// Roots are the certificates that https trusts; nil are the system's.
func (c Credentials) Roots() *x509.CertPool { return c.roots }

// TrimLine is a value of a Secret without the newline that an editor may have added.
func TrimLine(value []byte) string { return string(bytes.TrimRight(value, "\r\n")) }

// fit checks that the credentials suit the scheme of the address. The error is about the Secret, not about a commit.
func (c Credentials) fit(a address) error {
	switch a.scheme {
	case "ssh":
		if c.has(githubapp.KeyID) {
			return errors.New("a GitHub App is for https: write the https:// URL of the repository")
		}
		if c.has(keyProxy) {
			return fmt.Errorf("%q is for https: write the https:// URL of the repository", keyProxy)
		}
		if !c.has(keyIdentity) {
			return fmt.Errorf("ssh wants a private key: put %q and %q into the repository's Secret", keyIdentity, keyKnownHosts)
		}
		if !c.has(keyKnownHosts) {
			return fmt.Errorf("the Secret has no %q, and an unknown host key is never accepted: put the output of `ssh-keyscan %s` into it, after comparing it with what the host's owner publishes",
				keyKnownHosts, keyscanHost(a.host))
		}
	case "http", "https":
		if c.has(keyIdentity) {
			return fmt.Errorf("%q is for ssh: use username and password, or bearerToken, or an ssh:// URL", keyIdentity)
		}
	}
	return nil
}

// keyscanHost is the host as an argument of ssh-keyscan.
func keyscanHost(host string) string {
	if name, port, ok := strings.Cut(host, ":"); ok {
		return "-p " + port + " " + name
	}
	return host
}

func (c Credentials) has(key string) bool { return c.data[key] != "" }

// fingerprint is equal for equal credentials, and only for them.
func (c Credentials) fingerprint() string {
	h := sha256.New()
	for _, key := range knownKeys {
		fmt.Fprintf(h, "%d:%s", len(c.data[key]), c.data[key])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// redact replaces every secret in a text, in each form in which it is sent.
func (c Credentials) redact(text string) string {
	if c.has(keyPassword) {
		sent := base64.StdEncoding.EncodeToString([]byte(c.data[keyUsername] + ":" + c.data[keyPassword]))
		text = strings.ReplaceAll(text, sent, "(redacted)")
	}
	for _, key := range []string{keyPassword, keyBearerToken, keyIdentityPassword, keyWebhookToken, keyWebhookPlainToken, keyIdentity, githubapp.KeyPrivateKey} {
		if c.has(key) {
			text = strings.ReplaceAll(text, c.data[key], "(redacted)")
		}
	}
	if c.proxy != nil {
		if password, ok := c.proxy.User.Password(); ok {
			text = strings.ReplaceAll(text, c.data[keyProxy], c.proxy.Redacted())
			text = strings.ReplaceAll(text, password, "(redacted)")
		}
	}
	for _, auth := range c.docker {
		for _, secret := range []string{auth.Auth, auth.Password, auth.IdentityToken, auth.RegistryToken} {
			if secret != "" {
				text = strings.ReplaceAll(text, secret, "(redacted)")
			}
		}
	}
	return text
}

// String is the kind of the credentials.
func (c Credentials) String() string {
	switch {
	case c.has(keyIdentity):
		return "ssh key"
	case c.has(githubapp.KeyID):
		return "GitHub App"
	case c.has(keyBearerToken):
		return "bearer token"
	case c.has(keyPassword):
		return "basic"
	case c.has(keyDockerConfig):
		return "docker config"
	case c.has(keyClientCert):
		return "client certificate"
	}
	return "anonymous"
}

// GoString keeps %#v from printing the secrets.
func (c Credentials) GoString() string { return "source.Credentials(" + c.String() + ")" }
