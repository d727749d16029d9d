package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/muster-io/muster/internal/fleet"
)

// fetchTimeout bounds one request with its answer.
const fetchTimeout = 2 * time.Minute

// clients are the HTTP clients by the certificates that they trust and show, so that connections are reused.
type clients struct {
	mu sync.Mutex
	by map[[32]byte]*http.Client
}

func (s *clients) of(c Credentials, insecure bool) *http.Client {
	key := c.tlsKey(insecure)
	s.mu.Lock()
	defer s.mu.Unlock()
	if client, ok := s.by[key]; ok {
		return client
	}
	t := c.transport()
	t.TLSClientConfig.InsecureSkipVerify = insecure
	t.ForceAttemptHTTP2 = true
	client := &http.Client{Transport: t, CheckRedirect: func(next *http.Request, before []*http.Request) error {
		if len(before) >= 5 {
			return errors.New("it redirects more than 5 times")
		}
		if !insecure && next.URL.Scheme != "https" {
			return errors.New("it redirects to plain HTTP")
		}
		// The client itself keeps the header for other ports and for subdomains. Of a request that has lost it none gets it back.
		last := before[len(before)-1]
		if next.URL.Host != last.URL.Host || next.URL.Scheme != last.URL.Scheme || last.Header.Get("Authorization") == "" {
			next.Header.Del("Authorization")
		}
		return nil
	}}
	if s.by == nil {
		s.by = map[[32]byte]*http.Client{}
	}
	s.by[key] = client
	return client
}

// web asks a chart repository.
type web struct {
	client      *http.Client
	credentials Credentials
	home        *url.URL
}

type webAnswer struct {
	status int
	header http.Header
	body   []byte
}

// busyError is a server that does not answer, or asks for patience.
type busyError struct {
	after time.Duration
	err   error
	// foreign: it is not the host of the source. An index may name archives anywhere, and who writes it must not have the source's host, which
	// others use, left in peace.
	foreign bool
}

func (e *busyError) Error() string { return e.err.Error() }
func (e *busyError) Unwrap() error { return e.err }

// nothingError is a server that says that there is nothing at an address.
type nothingError struct{ error }

// shown is an address for people: a query may hold a token.
func (w *web) shown(u *url.URL) string {
	plain := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return plain.String()
}

// get reads all that an address gives, of at most so many bytes.
func (w *web) get(ctx context.Context, address *url.URL, header http.Header, most int64) (*webAnswer, error) {
	return w.do(ctx, http.MethodGet, address, header, nil, most)
}

// do reads all that an address answers. The credentials go to the repository's own host only, and not where the header has others.
func (w *web) do(ctx context.Context, method string, address *url.URL, header http.Header, body []byte, most int64) (*webAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fleet.Reject(fleet.SourceUnavailable, err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if address.Scheme == w.home.Scheme && address.Host == w.home.Host && request.Header.Get("Authorization") == "" {
		w.credentials.authorize(request)
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, w.of(asked(address, err), unreachable(w.shown(address), address.Host, w.credentials, err))
	}
	defer response.Body.Close()
	from := response.Request.URL // after redirects
	if err := refusal(w.shown(address), address.Host, w.credentials, response); err != nil {
		return nil, w.of(from, err)
	}
	all, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case err != nil:
		return nil, w.of(from, unreachable(w.shown(address), address.Host, w.credentials, fmt.Errorf("the answer broke off: %w", err)))
	case int64(len(all)) > most && most < 1<<20:
		return nil, fleet.Reject(fleet.ContentRefused, fmt.Errorf("%s has more than the %d bytes that are expected", w.shown(address), most))
	case int64(len(all)) > most:
		return nil, fleet.Reject(fleet.ContentRefused, fmt.Errorf("%s has more than the %d MiB that are fetched", w.shown(address), most>>20))
	}
	return &webAnswer{response.StatusCode, response.Header, all}, nil
}

// asked is the address that a request has failed at, after redirects.
func asked(address *url.URL, err error) *url.URL {
	var failed *url.Error
	if errors.As(err, &failed) {
		if at, err := url.Parse(failed.URL); err == nil && at.Host != "" {
			return at
		}
	}
	return address
}

// of notes at an error whether it says something of the source's own host.
func (w *web) of(from *url.URL, err error) error {
	var busy *busyError
	if errors.As(err, &busy) {
		busy.foreign = from.Host != w.home.Host
	}
	return err
}

func (c Credentials) authorize(request *http.Request) {
	switch {
	case c.has(keyBearerToken):
		request.Header.Set("Authorization", "Bearer "+c.data[keyBearerToken])
	case c.has(keyPassword):
		request.SetBasicAuth(c.data[keyUsername], c.data[keyPassword])
	}
}

// refusal is the fault of an answer that is none.
func refusal(what, host string, c Credentials, response *http.Response) error {
	switch status := response.StatusCode; {
	case status == http.StatusOK, status == http.StatusNotModified:
		return nil
	case (status == http.StatusUnauthorized || status == http.StatusForbidden) && c.String() == "anonymous":
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: %s wants credentials (HTTP %d): name a Secret in the source's secretRef, for a dependency in chartRepositories; what was fetched stays", what, host, status))
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: %s refuses the credentials (%s, HTTP %d): correct the source's Secret; what was fetched stays", what, host, c, status))
	case status == http.StatusNotFound, status == http.StatusGone:
		return fleet.Fail(fleet.SourceUnavailable, nothingError{fmt.Errorf("%s: there is nothing (HTTP %d): correct the address; what was fetched stays", what, status)})
	case isBusy(status), status >= http.StatusInternalServerError:
		err := fmt.Errorf("%s: %s has no answer now (HTTP %d): it is asked again later; what was fetched stays", what, host, status)
		if isBusy(status) {
			err = &busyError{after: retryAfter(response.Header), err: err}
		}
		return fleet.Fail(fleet.SourceUnavailable, err)
	default:
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: %s answers HTTP %d", what, host, status))
	}
}

// maxPatience bounds how long a server may have us wait.
const maxPatience = time.Hour

func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, maxPatience)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), maxPatience)
	}
	return 0
}

// unreachable is the fault of a request that failed.
func unreachable(what, host string, c Credentials, err error) error {
	var untrusted *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var timeout net.Error
	message := shorten(c.redact(innermost(err).Error()))
	switch {
	case errors.As(err, &untrusted), errors.As(err, &authority):
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: the certificate of %s is not trusted: put the CA into the Secret's ca.crt (%s)", what, host, message))
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		err = fmt.Errorf("%s: %s did not answer in time: it is asked again; what was fetched stays", what, host)
	default:
		cannot := fmt.Errorf("%s: %s cannot be read: check the address, the network and the proxy; it is asked again, what was fetched stays (%s)", what, host, message)
		if !ofNetwork(err) {
			return fleet.Fail(fleet.SourceUnavailable, cannot)
		}
		err = cannot
	}
	return fleet.Fail(fleet.SourceUnavailable, &busyError{err: err})
}

// ofNetwork: errors that any other address of the host would give as well. A redirect that is refused, a certificate that the server wants
// and a list that is too long are of one address or one Secret.
func ofNetwork(err error) bool {
	var network net.Error
	var said *net.OpError
	if errors.As(err, &said) && said.Op == "remote error" {
		return false // an alert of TLS
	}
	inner := innermost(err) // *url.Error is a net.Error itself
	return errors.As(inner, &network) || errors.Is(inner, io.EOF) || errors.Is(inner, io.ErrUnexpectedEOF)
}

// innermost leaves the address out of an error: it is said already, and may hold a token.
func innermost(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
