package ui

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/overview"
)

// action does one thing for a person, with the person's rights. It returns what it has done, and where to go on.
type action func(ctx context.Context, p *Person, form url.Values) (done, next string, err error)

// actions by their path. Each is a form with a button that says what happens.
var actions = map[string]action{
	"/approve":  approve,
	"/accept":   accept,
	"/sync":     syncNow,
	"/retry":    say(overview.Retry),
	"/abort":    say(overview.Abort),
	"/step":     approveStep,
	"/pause":    pause,
	"/rollback": rollback,
	"/resume":   resume,
}

// say takes the rollout of an application in hand, as muster rollout does. The person has seen a revision: when another one is rolled out
// meanwhile, nothing is said.
func say(of func(*musterv1alpha1.Application) (overview.Hand, error)) action {
	return func(ctx context.Context, p *Person, form url.Values) (string, string, error) {
		var app musterv1alpha1.Application
		key := client.ObjectKey{Namespace: form.Get("namespace"), Name: form.Get("name")}
		if err := p.Client.Get(ctx, key, &app); err != nil {
			return "", "", fmt.Errorf("read application %s: %w", key, err)
		}
		if seen := form.Get("revision"); seen != rolledOut(&app) {
			return "", "", apiError{http.StatusConflict, fmt.Sprintf("%s is at %s meanwhile: look at it again", key, fleet.ShortRevision(rolledOut(&app)))}
		}
		h, err := of(&app)
		if err != nil {
			return "", "", apiError{http.StatusConflict, err.Error()}
		}
		if err := overview.Say(ctx, p.Client, &app, h); err != nil {
			return "", "", err
		}
		return h.Said, linkTo("applications", key.Namespace, key.Name), nil
	}
}

// rolledOut is the revision that is rolled out, or was taken back.
func rolledOut(app *musterv1alpha1.Application) string {
	switch {
	case app.Status.Rollout != nil:
		return app.Status.Rollout.Revision
	case app.Status.RolledBack != nil:
		return app.Status.RolledBack.Refused
	}
	return ""
}

func approveStep(ctx context.Context, p *Person, form url.Values) (string, string, error) {
	step := form.Get("step")
	return say(func(app *musterv1alpha1.Application) (overview.Hand, error) { return overview.ApproveStep(app, step) })(ctx, p, form)
}

// holdOf is what a person says of a Hold, in their own name.
func holdOf(ctx context.Context, p *Person, h *musterv1alpha1.Hold, form url.Values) (err error) {
	if h.Spec.Reason = strings.TrimSpace(form.Get("reason")); h.Spec.Reason == "" {
		return apiError{http.StatusUnprocessableEntity, "say why, for others to read"}
	}
	if text := form.Get("for"); text != "" {
		lasts, err := time.ParseDuration(text)
		if err != nil || lasts <= 0 {
			return apiError{http.StatusUnprocessableEntity, fmt.Sprintf("%q is no time that it can last", text)}
		}
		h.Spec.Until = &metav1.Time{Time: time.Now().Add(lasts).Truncate(time.Second)}
	}
	if h.Spec.By, err = overview.WhoAmI(ctx, p.Client); err != nil {
		return err
	}
	return overview.WriteHold(ctx, p.Client, h)
}

// pause keeps an application as it is on its clusters.
func pause(ctx context.Context, p *Person, form url.Values) (string, string, error) {
	namespace, name := form.Get("namespace"), form.Get("name")
	if err := holdOf(ctx, p, overview.PauseOf(namespace, name), form); err != nil {
		return "", "", err
	}
	return fmt.Sprintf("paused %s/%s", namespace, name), linkTo("applications", namespace, name), nil
}

// rollback returns an application to a revision, and keeps it there. The person has seen what that changes from the revision that it has:
// when it has another one meanwhile, nothing is done.
func rollback(ctx context.Context, p *Person, form url.Values) (string, string, error) {
	var app musterv1alpha1.Application
	key := client.ObjectKey{Namespace: form.Get("namespace"), Name: form.Get("name")}
	if err := p.Client.Get(ctx, key, &app); err != nil {
		return "", "", fmt.Errorf("read application %s: %w", key, err)
	}
	if seen := form.Get("revision"); seen != app.Status.Revision {
		return "", "", apiError{http.StatusConflict, fmt.Sprintf("%s is at %s meanwhile: look again at what going back changes", key, fleet.ShortRevision(app.Status.Revision))}
	}
	to := form.Get("to")
	if err := holdOf(ctx, p, overview.PinOf(key.Namespace, key.Name, to, true), form); err != nil {
		return "", "", err
	}
	return fmt.Sprintf("%s goes back to %s", key, fleet.ShortRevision(to)), linkTo("applications", key.Namespace, key.Name), nil
}

// resume ends a Hold.
func resume(ctx context.Context, p *Person, form url.Values) (string, string, error) {
	namespace, name, _ := strings.Cut(form.Get("hold"), "/")
	var h musterv1alpha1.Hold
	if err := p.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &h); err != nil {
		return "", "", fmt.Errorf("read Hold %s: %w", form.Get("hold"), err)
	}
	if err := overview.EndHold(ctx, p.Client, &h); err != nil {
		return "", "", err
	}
	return "ended Hold " + form.Get("hold"), form.Get("next"), nil
}

// syncNow lets the hub look at the remote of a repository now.
func syncNow(ctx context.Context, p *Person, form url.Values) (string, string, error) {
	repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: form.Get("namespace"), Name: form.Get("name")}}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{musterv1alpha1.SyncRequestedAnnotation: time.Now().UTC().Format(time.RFC3339Nano)},
	}})
	if err != nil {
		return "", "", err
	}
	if err := p.Client.Patch(ctx, repo, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return "", "", fmt.Errorf("ask for a look at %s/%s: %w", repo.Namespace, repo.Name, err)
	}
	return fmt.Sprintf("asked for a look at %s/%s", repo.Namespace, repo.Name), linkTo("repositories", repo.Namespace, repo.Name), nil
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
	return u.RequestURI()
}
