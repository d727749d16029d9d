package source

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/muster-io/muster/internal/fleet"
)

// Hosts are servers that do not answer, or ask for patience: none of the addresses on one is asked before its time. Nil knows of none. It is
// safe for concurrent use, and shared by all who fetch.
type Hosts struct {
	mu sync.Mutex
	by map[string]*host
}

type host struct {
	failures int
	until    time.Time
}

// longestBackOff is how long a host is left in peace that does not say for how long.
const longestBackOff = time.Minute

// patience is how long a host is to be left in peace.
func (h *Hosts) patience(name string) time.Duration {
	if h == nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if known := h.by[name]; known != nil {
		return max(time.Until(known.until), 0)
	}
	return 0
}

// note remembers how a host has answered: with no error, with one that says nothing of the host, or with a busyError, which gives the time to
// leave it in peace: after each failure longer, and no shorter than it asks for.
func (h *Hosts) note(name string, err error) time.Duration {
	if h == nil || name == "" {
		return 0
	}
	var busy *busyError
	isBusy := errors.As(err, &busy) && !busy.foreign
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		delete(h.by, name)
		return 0
	case !isBusy:
		return 0
	case h.by[name] == nil:
		if h.by == nil {
			h.by = map[string]*host{}
		}
		h.by[name] = &host{}
	}
	known := h.by[name]
	known.failures++
	wait := max(busy.after, min(longestBackOff, 5*time.Second<<min(known.failures-1, 8)))
	if until := time.Now().Add(wait); until.After(known.until) {
		known.until = until
	}
	return time.Until(known.until)
}

// spared is the fault of an address that is not asked, since its host has not answered when it was asked for another one.
func spared(shown, name string) error {
	return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf(
		"%s: %s has no answer now, as it had none for another address, and is not asked for each: it is asked again later; what was fetched stays", shown, name))
}

// busy says whether a fetch failed because of the host, and makes it a busyError then.
func busy(err error) error {
	var unexpected *plumbing.UnexpectedError
	if errors.As(err, &unexpected) {
		err = errors.Join(err, unexpected.Err) // it does not unwrap
	}
	var answer *githttp.Err
	var resolve *net.DNSError
	var dial *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &answer) && answer.Response != nil:
		if isBusy(answer.Response.StatusCode) {
			return &busyError{after: retryAfter(answer.Response.Header), err: err}
		}
		return err
	case errors.As(err, &resolve), errors.As(err, &dial), errors.As(err, &timeout) && timeout.Timeout():
		return &busyError{err: err}
	}
	return err
}

// isBusy: answers that are of a host, and not of what it was asked for.
func isBusy(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
