package work

import (
	"context"
	"net/http"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// An agent with ExecutorOnly has no rights on what works hold. It reads, applies and deletes the objects of a work as the work's
// executor, so that the API server decides; the record of the work names the executor, for the time when the work is gone.

// executorKey is the key of the user in whose name a context's requests for objects are made.
type executorKey struct{}

// actAs makes the requests for objects of a context in a user's name; of the empty one, in the agent's own.
func actAs(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, executorKey{}, user)
}

// impersonator carries requests in the name of their context's user.
type impersonator struct{ next http.RoundTripper }

func (i impersonator) RoundTrip(r *http.Request) (*http.Response, error) {
	if user, _ := r.Context().Value(executorKey{}).(string); user != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Impersonate-User", user) // the groups of a service account are the API server's to know
	}
	return i.next.RoundTrip(r)
}

// impersonating is an HTTP client whose requests are made in the name of their context's user.
func impersonating(web *http.Client) *http.Client {
	next := web.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	return &http.Client{Transport: impersonator{next}, Timeout: web.Timeout}
}

// executorOf is the user name of a work's executor, empty when it names none.
func executorOf(work *workv1.ManifestWork) string {
	if work.Spec.Executor == nil || work.Spec.Executor.Subject.ServiceAccount == nil {
		return ""
	}
	account := work.Spec.Executor.Subject.ServiceAccount
	return "system:serviceaccount:" + account.Namespace + ":" + account.Name
}

// actsAs is the user in whose name the objects of a work are written, empty for the agent's own.
func (e *engine) actsAs(work *workv1.ManifestWork) string {
	if !e.ExecutorOnly {
		return ""
	}
	return executorOf(work)
}

// actedAs is the user in whose name the objects of a record were written.
func actedAs(ctx context.Context, record *workv1.AppliedManifestWork) context.Context {
	return actAs(ctx, record.Annotations[musterv1alpha1.ExecutorAnnotation])
}
