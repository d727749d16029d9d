package githost

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kind of an error, by what is to be done.
type Kind string

// The kinds.
const (
	Unauthorized Kind = "Unauthorized"    // the token is wrong, or has expired
	Forbidden    Kind = "Forbidden"       // the token may not
	NotFound     Kind = "NotFound"        // it is not there, or the token may not know
	RateLimited  Kind = "RateLimited"     // not before RetryAt
	Unavailable  Kind = "HostUnavailable" // the host itself is in trouble
	Invalid      Kind = "Invalid"         // the host does not take what it was asked
)

// Error is an answer of a host that is none.
type Error struct {
	Kind    Kind
	Status  int
	Message string
	// RetryAt is when a rate limit ends.
	RetryAt time.Time
	// Request is its method and path.
	Request string
}

func (e *Error) Error() string {
	next := map[Kind]string{
		Unauthorized: ": the token is wrong or has expired; put a new one into the Secret",
		Forbidden:    ": the token has no right to it",
		NotFound:     ": it is not there, or the token has no right to see it",
	}[e.Kind]
	return fmt.Sprintf("the Git host answers %s with %d %s%s", e.Request, e.Status, e.Message, next)
}

// unseen is about a team that is not there, or not for us: whoever is in it.
func unseen(team string) error {
	return &Error{Kind: NotFound, Status: http.StatusNotFound, Message: "no such team", Request: "who is in " + team}
}

// maxAnswer is the most of an answer that is read, in bytes.
const maxAnswer = 32 << 20

// plain makes an Error of every answer that says that something went wrong, before an SDK makes one of its own kind.
type plain struct {
	next      http.RoundTripper
	userAgent string
}

func (p *plain) RoundTrip(request *http.Request) (*http.Response, error) {
	if p.userAgent != "" {
		request = request.Clone(request.Context())
		request.Header.Set("User-Agent", p.userAgent)
	}
	answer, err := p.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode < 400 {
		answer.Body = &limited{io.LimitReader(answer.Body, maxAnswer), answer.Body}
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
	return nil, errorOf(request, answer.StatusCode, answer.Header, body, time.Now())
}

type limited struct {
	io.Reader
	io.Closer
}

func errorOf(request *http.Request, status int, header http.Header, body []byte, now time.Time) *Error {
	e := &Error{Status: status, Message: messageOf(body), Request: request.Method + " " + request.URL.Path}
	switch {
	case status == http.StatusTooManyRequests,
		status == http.StatusForbidden && (header.Get("X-RateLimit-Remaining") == "0" || header.Get("Retry-After") != "" || strings.Contains(e.Message, "rate limit")):
		e.Kind, e.RetryAt = RateLimited, retryAt(header, now)
	case status == http.StatusUnauthorized:
		e.Kind = Unauthorized
	case status == http.StatusForbidden:
		e.Kind = Forbidden
	case status == http.StatusNotFound, status == http.StatusGone:
		e.Kind = NotFound
	case status >= 500, status == http.StatusRequestTimeout:
		e.Kind = Unavailable
	default:
		e.Kind = Invalid
	}
	return e
}

// retryAt is when a limit ends, by the headers of GitHub and GitLab: a minute from now where none says, as GitHub asks for.
func retryAt(header http.Header, now time.Time) time.Time {
	if seconds, err := strconv.Atoi(header.Get("Retry-After")); err == nil && seconds >= 0 {
		return now.Add(min(time.Duration(seconds)*time.Second, time.Hour))
	}
	for _, name := range []string{"X-RateLimit-Reset", "RateLimit-Reset"} {
		if unix, err := strconv.ParseInt(header.Get(name), 10, 64); err == nil {
			if reset := time.Unix(unix, 0); reset.After(now) && reset.Before(now.Add(2*time.Hour)) {
				return reset
			}
		}
	}
	return now.Add(time.Minute)
}

// messageOf is what the host says, in a line.
func messageOf(body []byte) string {
	var answer struct {
		Message any   `json:"message"`
		Error   any   `json:"error"`
		Errors  []any `json:"errors"` // of Bitbucket Data Center; GitHub has a message too
	}
	text := ""
	if json.Unmarshal(body, &answer) == nil {
		for _, value := range append([]any{answer.Message, answer.Error}, answer.Errors...) {
			if inner, ok := value.(map[string]any); ok && inner["message"] != nil { // of both Bitbuckets
				value = inner["message"]
			}
			if value != nil && text == "" {
				text = fmt.Sprint(value)
			}
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	return strings.ToValidUTF8(text[:min(len(text), 200)], "")
}
