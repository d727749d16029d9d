package ui

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/overview"
)

// action does one thing for a person, with the person's rights. It returns what it has done, and where to go on.
type action func(ctx context.Context, p *Person, form url.Values) (done, next string, err error)

// actions by their path. Each is a form with a button that says what happens.
var actions = map[string]action{
	"/approve": approve,
	"/accept":  accept,
}

// approve lets the held deletions of one plan go ahead. The person has seen that plan: another one that was made meanwhile is
// not approved.
func approve(ctx context.Context, p *Person, form url.Values) (string, string, error) {
	done, err := overview.Approve(ctx, p.Client, form.Get("plan"))
	if err != nil {
		return "", "", err
	}
	total := 0
	for _, h := range done {
		total += int(h.Held.Deletions)
	}
	return fmt.Sprintf("approved plan %s: %s", overview.Short(form.Get("plan")), overview.Count(total, "deletion")), form.Get("next"), nil
}

// accept lets a cluster in, with the agent whose request the person has seen.
func accept(ctx context.Context, p *Person, form url.Values) (string, string, error) {
	name := form.Get("cluster")
	if _, err := cluster.Accept(ctx, p.Client, name, cluster.AcceptOptions{}); err != nil {
		return "", "", err
	}
	return "accepted cluster " + name, linkTo("clusters", name), nil
}

func (s *Server) act(do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		person, err := s.Access.Person(w, r)
		if err == nil && person == nil {
			return
		}
		if err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
			err = r.ParseForm()
		}
		if err != nil {
			s.fail(w, r, person, err)
			return
		}
		done, next, err := do(r.Context(), person, r.PostForm)
		if err != nil {
			s.fail(w, r, person, err)
			return
		}
		s.Log.Info("a person acted on the page", "person", person.Name, "done", done)
		http.Redirect(w, r, ours(next), http.StatusSeeOther)
	}
}

// ours is a path of this page: a form cannot send a person elsewhere.
func ours(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || len(u.Path) < 1 || u.Path[0] != '/' || len(u.Path) > 1 && (u.Path[1] == '/' || u.Path[1] == '\\') {
		return "/"
	}
	return u.Path
}
