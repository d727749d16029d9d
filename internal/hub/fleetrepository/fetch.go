package fleetrepository

import (
	"context"
	"fmt"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/metric"
	"github.com/muster-io/muster/internal/source"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fetch is the result of the last fetch from a remote.
type fetch struct {
	time     time.Time
	revision string
	from     string // the spec that it was made with
	asked    string // by a person
	err      error
	failures int // in a row
}

// due is when to fetch next: after the interval, and earlier after a failure. A webhook is not repeated when its fetch fails, and the
// hub does not watch Secrets that are corrected.
func (f fetch) due(repo *musterv1alpha1.FleetRepository) time.Time {
	interval := repo.Spec.Interval.Duration
	if f.failures > 0 {
		interval = min(interval, 5*time.Second<<min(f.failures-1, 6))
	}
	return f.time.Add(interval)
}

// fetch fetches when it is due: after the interval, after a webhook, after a change of the spec, when a person asks. It returns the commit to
// deliver; when the fetch fails, that is the commit that was fetched last.
func (r *Repositories) fetch(ctx context.Context, repo *musterv1alpha1.FleetRepository, out *report) string {
	last := r.lookup(ctx, repo)
	out.fetchErr, out.fetched = last.err, last.revision
	out.requeueAfter = max(time.Second, last.due(repo).Sub(r.Now()))
	if out.fetched == "" {
		out.fetched = repo.Status.FetchedRevision
	}
	delivered := repo.Status.Revision
	if out.fetchErr == nil && delivered != "" && delivered != out.fetched {
		if ancestor, err := r.Store.IsAncestor(repo.Spec.URL, delivered, out.fetched); err == nil && !ancestor {
			out.rewritten = rewrittenMessage(delivered, out.fetched)
		}
	}
	if out.fetchErr == nil && delivered == out.fetched {
		// The condition keeps saying that the history was rewritten until the next commit.
		if c := meta.FindStatusCondition(repo.Status.Conditions, ConditionFetched); c != nil && c.Reason == string(fleet.HistoryRewritten) {
			out.rewritten = c.Message
		}
	}
	return out.fetched
}

// lookup fetches, or returns the last fetch until the next one is due.
func (r *Repositories) lookup(ctx context.Context, repo *musterv1alpha1.FleetRepository) fetch {
	key := client.ObjectKeyFromObject(repo)
	from := fmt.Sprint(repo.Spec.URL, repo.Spec.Ref, repo.Spec.SecretRef, repo.Generation)
	r.mu.Lock()
	last, known := r.fetched[key]
	triggered := r.triggers[key]
	delete(r.triggers, key)
	r.mu.Unlock()
	asked := repo.Annotations[musterv1alpha1.SyncRequestedAnnotation]
	if known && !triggered && last.from == from && last.asked == asked && r.Now().Before(last.due(repo)) {
		return last
	}
	next := fetch{from: from, asked: asked}
	next.revision, next.err = r.fetchRemote(ctx, repo)
	next.time = r.Now()
	if next.err != nil {
		next.failures = last.failures + 1
		if last.from == from {
			next.revision = last.revision
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fetched == nil {
		r.fetched = map[types.NamespacedName]fetch{}
	}
	r.fetched[key] = next
	return next
}

func (r *Repositories) fetchRemote(ctx context.Context, repo *musterv1alpha1.FleetRepository) (string, error) {
	credentials, err := r.Credentials(ctx, repo)
	if err != nil {
		return "", err
	}
	remote := source.Remote{
		URL:         repo.Spec.URL,
		Ref:         source.Ref{Branch: repo.Spec.Ref.Branch, Tag: repo.Spec.Ref.Tag, Commit: repo.Spec.Ref.Commit},
		Credentials: credentials,
		Owner:       string(repo.UID),
		Path:        repo.Spec.Path,
	}
	if verify := repo.Spec.Verify; verify != nil {
		remote.VerifyTag = verify.Mode == musterv1alpha1.VerifyTag
		if remote.Verify, err = r.signers(ctx, repo); err != nil {
			return "", err
		}
	}
	began := time.Now()
	revision, err := r.Store.Fetch(ctx, remote)
	metric.Looked(metric.Repository, time.Since(began), err)
	return revision, err
}

// signers are the keys, one of which has to have signed what is delivered.
func (r *Repositories) signers(ctx context.Context, repo *musterv1alpha1.FleetRepository) (*source.Signers, error) {
	var secret corev1.Secret
	if ref := repo.Spec.Verify.SecretRef; ref != nil {
		key := types.NamespacedName{Namespace: repo.Namespace, Name: ref.Name}
		if err := r.Client.Get(ctx, key, &secret); err != nil {
			return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("read Secret %s, which spec.verify.secretRef names: %w", key, err))
		}
	}
	signers, err := source.SignersFrom(secret.Data, repo.Spec.Verify.Keys)
	if err != nil {
		return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("spec.verify: %w", err))
	}
	return signers, nil
}

// Credentials are those that a repository's Secret holds.
func (r *Repositories) Credentials(ctx context.Context, repo *musterv1alpha1.FleetRepository) (source.Credentials, error) {
	if repo.Spec.SecretRef == nil {
		return source.Credentials{}, nil
	}
	var secret corev1.Secret
	key := types.NamespacedName{Namespace: repo.Namespace, Name: repo.Spec.SecretRef.Name}
	if err := r.Client.Get(ctx, key, &secret); err != nil {
		return source.Credentials{}, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("read Secret %s, which spec.secretRef names: %w", key, err))
	}
	credentials, err := source.CredentialsFromSecret(secret.Data)
	if err != nil {
		return source.Credentials{}, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("secret %s: %w", key, err))
	}
	return credentials, nil
}

// collectMirrors removes the mirrors of URLs that no repository has. A repository that is being deleted does not count.
func (r *Repositories) collectMirrors(ctx context.Context, deleted types.UID) error {
	var repos musterv1alpha1.FleetRepositoryList
	if err := r.Reader.List(ctx, &repos); err != nil { // a stale cache proves no absence
		return fmt.Errorf("list repositories: %w", err)
	}
	var urls []string
	for i := range repos.Items {
		if repos.Items[i].UID != deleted {
			urls = append(urls, repos.Items[i].Spec.URL)
		}
	}
	return r.Store.Retain(urls)
}

// WebhookKey proves that a webhook is about a repository.
func (r *Repositories) WebhookKey(ctx context.Context, namespace, name string) (source.WebhookKey, bool) {
	var repo musterv1alpha1.FleetRepository
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &repo); err != nil {
		return source.WebhookKey{}, false
	}
	credentials, err := r.Credentials(ctx, &repo)
	if err != nil {
		return source.WebhookKey{}, false
	}
	return credentials.WebhookKey()
}

// Trigger makes the next fetch of a repository due now.
func (r *Repositories) Trigger(namespace, name string) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	r.mu.Lock()
	if r.triggers == nil {
		r.triggers = map[types.NamespacedName]bool{}
	}
	r.triggers[key] = true
	r.mu.Unlock()
	r.wake.send(key)
}
