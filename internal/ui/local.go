package ui

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
)

// Local is the access of `muster ui`: one person, on their own machine. The program prints an address with a token that is
// good once for each browser: it becomes a cookie, so that no other user of the machine, and no page of another site, gets in.
type Local struct {
	// Me is the person.
	Me *Person
	// Token opens the page.
	Token string
}

// NewLocal makes an access with a token of its own.
func NewLocal(me *Person) *Local { return &Local{Me: me, Token: rand.Text()} }

const sessionCookie = "muster-session"

// Person implements Access.
func (l *Local) Person(w http.ResponseWriter, r *http.Request) (*Person, error) {
	if !loopback(r.Host) { // a name that somebody else lets point here
		return nil, apiError{http.StatusForbidden, fmt.Sprintf("the page answers at a loopback address only, not at %q", r.Host)}
	}
	if cookie, err := r.Cookie(sessionCookie); err == nil && l.is(cookie.Value) {
		return l.Me, nil
	}
	if !l.is(r.URL.Query().Get("token")) {
		return nil, apiError{http.StatusUnauthorized, "open the address that muster ui has printed: it lets your browser in"}
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: l.Token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	query := r.URL.Query()
	query.Del("token")
	target := *r.URL
	target.RawQuery = query.Encode()
	http.Redirect(w, r, target.RequestURI(), http.StatusSeeOther)
	return nil, nil
}

func (l *Local) is(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(l.Token)) == 1
}

func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if name == "localhost" {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}
