package source

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// The bounds of a web server's answers other than packs, in bytes.
const (
	maxErrorBody = 4 << 10
	maxRefsBody  = 64 << 20
)

// webClients keeps one client per set of trusted certificates, so that connections are reused.
type webClients struct {
	mu      sync.Mutex
	clients map[[32]byte]transport.Transport
}

func (w *webClients) session(addr address, c Credentials, insecure bool) (uploader, error) {
	endpoint, err := transport.NewEndpoint(addr.url)
	if err != nil {
		return nil, err
	}
	return w.client(c, insecure).NewUploadPackSession(endpoint, c.http())
}

func (w *webClients) client(c Credentials, insecure bool) transport.Transport {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := c.tlsKey(insecure)
	if client, ok := w.clients[key]; ok {
		return client
	}
	t := c.transport()
	t.TLSClientConfig.InsecureSkipVerify = insecure
	client := githttp.NewClient(&http.Client{Transport: bounded{t}})
	if w.clients == nil {
		w.clients = map[[32]byte]transport.Transport{}
	}
	w.clients[key] = client
	return client
}

// tlsKey is equal for credentials that can share connections.
func (c Credentials) tlsKey(insecure bool) [32]byte {
	return sha256.Sum256([]byte(strings.Join([]string{c.data[keyCAFile], c.data[keyCACert], c.data[keyClientCert], c.data[keyClientKey], c.data[keyProxy], fmt.Sprint(insecure)}, "\x00")))
}

// transport trusts and shows the certificates of the credentials, and uses their proxy, else that of the environment.
func (c Credentials) transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12}
	if c.client != nil {
		t.TLSClientConfig.Certificates = []tls.Certificate{*c.client}
	}
	if c.proxy != nil {
		t.Proxy = http.ProxyURL(c.proxy)
	}
	t.ResponseHeaderTimeout = time.Minute
	return t
}

// http authenticates requests; nil is anonymous.
func (c Credentials) http() transport.AuthMethod {
	switch {
	case c.has(keyBearerToken):
		return &githttp.TokenAuth{Token: c.data[keyBearerToken]}
	case c.has(keyPassword):
		return &githttp.BasicAuth{Username: c.data[keyUsername], Password: c.data[keyPassword]}
	}
	return nil
}

// bounded bounds error pages and lists of refs, so that a server cannot fill the memory.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	limit := int64(0)
	if strings.HasSuffix(request.URL.Path, "/info/refs") {
		limit = maxRefsBody
	}
	if response.StatusCode >= http.StatusBadRequest {
		limit = maxErrorBody
	}
	if limit > 0 {
		response.Body = limitedBody{io.LimitReader(response.Body, limit), response.Body}
	}
	return response, nil
}

type limitedBody struct {
	io.Reader
	io.Closer
}
