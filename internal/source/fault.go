package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/muster-io/muster/internal/fleet"
)

// unavailable makes the fault of a fetch that failed: which host failed, and what to do about it. The server's own message comes
// last, shortened and without secrets.
func (s *Store) unavailable(addr address, c Credentials, err error) error {
	switch {
	case errors.Is(err, errTooLarge):
		return fleet.Reject(fleet.ContentRefused, fmt.Errorf("%s: the commits are larger than the %d MiB that one fetch may bring",
			addr.shown, orDefault(s.MaxFetch, DefaultMaxFetch)>>20))
	case errors.Is(err, errNotAllowed):
		return fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s is %w: move it there or serve it over https or ssh", addr.shown, err))
	}
	var strange *packp.ErrUnexpectedData
	if errors.As(err, &strange) && bytes.Contains(strange.Data, []byte("object-format=sha256")) {
		err = errSHA256
	}
	for _, plain := range []error{errSHA256, errBorrows} {
		if errors.Is(err, plain) {
			return fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s %w", addr.shown, plain))
		}
	}
	message := shorten(c.redact(err.Error()))
	said := errors.New(advice(addr, c, err, message))
	var host *busyError
	if errors.As(busy(err), &host) {
		said = &busyError{after: host.after, err: said}
	}
	return fleet.Fail(fleet.SourceUnavailable, said)
}

// advice lists what can go wrong, the most specific cause first.
func advice(addr address, c Credentials, err error, message string) string {
	host := addr.host
	var hostKey *knownhosts.KeyError
	var resolve *net.DNSError
	var dial *net.OpError
	var untrusted *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &hostKey) && len(hostKey.Want) == 0:
		return fmt.Sprintf("%s: known_hosts of the Secret has no key of %s: compare the output of `ssh-keyscan %s` with what the host's owner publishes and add it",
			addr.shown, host, keyscanHost(host))
	case errors.As(err, &hostKey):
		return fmt.Sprintf("%s: %s shows another host key than known_hosts of the Secret has: somebody may be in between; if the host changed its key, replace the line",
			addr.shown, host)
	case errors.Is(err, errRefused):
		return fmt.Sprintf("%s: %s does not accept the Secret's identity: add its public key to the repository's deploy keys", addr.shown, host)
	case errors.As(err, &untrusted), errors.As(err, &authority):
		return fmt.Sprintf("%s: the certificate of %s is not trusted: put the CA into the Secret's caFile (%s)", addr.shown, host, message)
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		return fmt.Sprintf("%s: %s refuses the credentials (%s): correct the repository's Secret", addr.shown, host, c)
	case errors.Is(err, transport.ErrRepositoryNotFound), errors.Is(err, git.ErrRepositoryNotExists), errors.Is(err, os.ErrNotExist):
		return fmt.Sprintf("%s: there is no such repository, or these credentials (%s) may not see it: correct the URL or the Secret; what was delivered stays", addr.shown, c)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("%s: %s did not answer in time: it is tried again; what was delivered stays", addr.shown, host)
	case errors.As(err, &resolve), errors.As(err, &dial):
		return fmt.Sprintf("%s: %s cannot be reached: check the URL, the network and the proxy; it is tried again, what was delivered stays (%s)", addr.shown, host, message)
	}
	return fmt.Sprintf("fetch %s: %s", addr.shown, message)
}

// shorten makes one short line of a server's message, without control characters.
func shorten(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// reasonOf is the reason of the fault when a remote does not have the ref.
func reasonOf(err error) fleet.Reason {
	var empty errEmpty
	if errors.As(err, &empty) {
		return fleet.RepositoryEmpty
	}
	return fleet.SourceUnavailable
}

// isRefused says whether an error is about content that this package refuses to read.
func isRefused(err error) bool {
	fault, ok := fleet.AsFault(err)
	return ok && fault.Reason == fleet.ContentRefused
}
