// Package review tells on pull requests what they do to the fleet, and on merged ones what became of it.
//
// It looks at a repository's open pull requests when a webhook announces something, and at each interval. Head and merge base are
// planned in the same live world, within the rights of the repository's account; a commit status and one comment say what differs.
// Nothing of a pull request is believed: what a webhook says only makes the hub look, and what it finds is planned in bounded
// processes as every commit is.
//
// status.review of the FleetRepository is the record: what was planned, what is held, who approved it. A hub that starts over goes on
// from there, and finds its comment again by a marker that names the hub and the repository.
package review

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/fleetrepository"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/source"
)

// ReplanInterval is the least time between two plans of one pull request while its head stays.
const ReplanInterval = time.Minute

// Reviews reconciles the pull requests of FleetRepositories.
type Reviews struct {
	// Client reads from the hub's cache and writes status.
	Client client.Client
	// Works is the index of live works.
	Works *hub.Works
	// Store of mirrors.
	Store *source.Store
	// Deliveries shared with the controllers that plan.
	Deliveries *hub.Deliveries
	// Planner shared with the other controllers.
	Planner *plan.Planner
	// Repositories reads credentials, and tries definitions with the rights of a repository.
	Repositories *fleetrepository.Repositories
	// HubCluster is the name of the cluster that is the hub itself, if it is managed.
	HubCluster string
	// UserAgent of requests to hosts.
	UserAgent string
	// Now is the clock.
	Now func() time.Time
	// PageURL is where people find the hub's page; empty is nowhere.
	PageURL string
	// ReplanInterval as the constant, unless a test has less patience.
	ReplanInterval time.Duration

	changes hub.Changes
	redact  fleet.Redactor
	wake    wakeUp
	shown   shown

	comparing sync.Mutex // one comparison that a person asks for

	mu    sync.Mutex
	hubID string
	known map[types.NamespacedName]*state
}

// state is what the hub remembers of a repository between two looks. Losing it costs requests and no more.
type state struct {
	triggered bool
	looked    time.Time
	from      string // the spec that it was made with
	host      githost.Host
	self      string
	failures  int
	retryAt   time.Time
	open      []githost.PullRequest
	requests  map[int64]*request
	told      map[string]told  // statuses of the delivered commit, by name
	asked     map[int64]string // what was said on merged pull requests about steps that wait for an approval
	measured  measure
}

// request is what is remembered of one pull request.
type request struct {
	basis basis
	// plannedAt is when the head plannedFor was planned last, with or without success.
	plannedAt  time.Time
	plannedFor string
	seen       time.Time // when its comments were read
	updated    time.Time // of the host, then
	body       string    // of the comment, as the host has it
	check      githost.Check
	checked    string   // the commit that has the check
	annotated  string   // what its lines were given
	notes      []string // on an approval that counts no more
	teams      string   // that the host does not show
	planned    *planned
}

// Reconcile looks at the pull requests of one repository.
func (r *Reviews) Reconcile(ctx context.Context, repo *musterv1alpha1.FleetRepository) (reconcile.Result, error) {
	key := client.ObjectKeyFromObject(repo)
	if !repo.DeletionTimestamp.IsZero() || repo.Spec.Review == nil {
		r.forget(key)
		return reconcile.Result{}, r.publish(ctx, repo, nil)
	}
	s := r.stateOf(repo)
	if wait := s.retryAt.Sub(r.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	t := &task{Reviews: r, repo: repo, state: s, status: &musterv1alpha1.ReviewStatus{}, next: repo.Spec.Interval.Duration}
	t.resume()
	err := t.look(ctx)
	s.note(err, r.Now())
	t.conclude(err)
	if perr := r.publish(ctx, repo, t.status); perr != nil {
		return reconcile.Result{}, perr
	}
	if err != nil {
		ctrl.LoggerFrom(ctx).Info("Pull requests cannot be looked at", "reason", err.Error(), "retryAt", s.retryAt)
		return reconcile.Result{RequeueAfter: max(s.retryAt.Sub(r.Now()), time.Second)}, nil
	}
	return reconcile.Result{RequeueAfter: max(t.next, time.Second)}, nil
}

// stateOf is what is remembered of a repository; a changed spec begins anew.
func (r *Reviews) stateOf(repo *musterv1alpha1.FleetRepository) *state {
	key := client.ObjectKeyFromObject(repo)
	from := fmt.Sprint(repo.UID, repo.Generation)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[types.NamespacedName]*state{}
	}
	s := r.known[key]
	if s == nil || s.from != from {
		s = &state{from: from, requests: map[int64]*request{}}
		r.known[key] = s
	}
	return s
}

func (r *Reviews) forget(key types.NamespacedName) {
	r.mu.Lock()
	s := r.known[key]
	delete(r.known, key)
	r.mu.Unlock()
	if s != nil {
		for number := range s.requests {
			r.drop(countKey(key, number))
		}
	}
}

// drop forgets what the plan of a pull request reads.
func (r *Reviews) drop(count types.NamespacedName) {
	r.shown.drop(count)
	r.changes.Forget(count)
	r.Repositories.Sources.Use(sourceUser(count), nil)
}

// countKey is what the changes of a pull request's plan are counted under.
func countKey(repo types.NamespacedName, number int64) types.NamespacedName {
	return types.NamespacedName{Namespace: repo.Namespace, Name: fmt.Sprintf("%s#%d", repo.Name, number)}
}

// note remembers how a look ended: a host in trouble is asked again later and later, a limited one when its limit ends.
func (s *state) note(err error, now time.Time) {
	if err == nil {
		s.failures, s.retryAt = 0, time.Time{}
		return
	}
	s.failures++
	s.retryAt = now.Add(5 * time.Second << min(s.failures-1, 6))
	var answer *githost.Error
	if errors.As(err, &answer) && answer.Kind == githost.RateLimited && answer.RetryAt.After(now) {
		s.retryAt = answer.RetryAt
	}
	if errors.As(err, &answer) && slices.Contains([]githost.Kind{githost.Unauthorized, githost.Forbidden, githost.NotFound}, answer.Kind) {
		s.host = nil // the Secret may hold another token next time, with other rights
	}
}

// messageOf leaves the address out of an error of the host, which says it already.
func messageOf(err error) string {
	var at *url.Error
	if errors.As(err, &at) {
		return strings.Replace(err.Error(), at.Error(), at.Err.Error(), 1)
	}
	return err.Error()
}

// conclude says how it went. What was known of pull requests stays known while the host does not answer.
func (t *task) conclude(err error) {
	t.status.Reason, t.status.Message = "Succeeded", ""
	if err != nil {
		t.status.Reason, t.status.Message = reasonOf(err), messageOf(err)
		if t.repo.Status.Review != nil {
			done := map[int64]bool{}
			for _, p := range t.status.PullRequests {
				done[p.Number] = true
			}
			for _, p := range t.repo.Status.Review.PullRequests {
				if !done[p.Number] {
					t.status.PullRequests = append(t.status.PullRequests, p)
				}
			}
		}
	} else if t.refused != nil {
		t.state.host = nil // the Secret may hold another token next time, with other rights
		t.status.Reason, t.status.Message = reasonOf(t.refused), messageOf(t.refused)
	} else if t.changed != "" {
		t.status.Reason, t.status.Message = "PlanChangedSinceReview", t.changed
	} else if unknown := t.unknownTeams(); unknown != "" {
		t.status.Reason, t.status.Message = "TeamUnknown", unknown
	} else if t.left > 0 {
		t.status.Message = fmt.Sprintf("%d open pull requests are left out: at most %d are planned, the newest first; close or merge some", t.left, maxRequests)
	}
	t.status.PullRequests = fitting(t.status.PullRequests)
	t.status.Underway = t.state.underway()
}

// fitting are the pull requests that the status has room for, the newest first: of those that are merged and not through half of it at
// least, and what somebody has approved before the others.
func fitting(all []musterv1alpha1.PullRequestStatus) []musterv1alpha1.PullRequestStatus {
	newest := func(a, b musterv1alpha1.PullRequestStatus) int { return cmp.Compare(b.Number, a.Number) }
	var merged, open []musterv1alpha1.PullRequestStatus
	for _, p := range all {
		if p.Merged != "" {
			merged = append(merged, p)
		} else {
			open = append(open, p)
		}
	}
	waits := func(p musterv1alpha1.PullRequestStatus) int { return min(len(p.ApprovedBy), 1) }
	slices.SortFunc(merged, func(a, b musterv1alpha1.PullRequestStatus) int { return cmp.Or(waits(b)-waits(a), newest(a, b)) })
	slices.SortFunc(open, newest)
	merged = merged[:min(len(merged), max(maxRequests/2, maxRequests-len(open)))]
	fit := append(merged, open[:min(len(open), maxRequests-len(merged))]...)
	slices.SortFunc(fit, newest)
	return fit
}

// maxRequests is how many pull requests of a repository are planned and kept in its status.
const maxRequests = 50

func reasonOf(err error) string {
	var answer *githost.Error
	if errors.As(err, &answer) {
		return string(answer.Kind)
	}
	if f, ok := fleet.AsFault(err); ok {
		return string(f.Reason)
	}
	var wrong *specError
	if errors.As(err, &wrong) {
		return string(githost.Invalid)
	}
	return string(githost.Unavailable)
}

// publish writes status.review, and nothing else of the status.
func (r *Reviews) publish(ctx context.Context, repo *musterv1alpha1.FleetRepository, status *musterv1alpha1.ReviewStatus) error {
	if equality.Semantic.DeepEqual(repo.Status.Review, status) {
		return nil
	}
	var value any // null, or an object that says of each field what it is: a merge patch leaves what it does not name
	if status != nil {
		value = map[string]any{"reason": status.Reason, "message": status.Message, "pullRequests": status.PullRequests, "underway": status.Underway}
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"review": value}})
	if err != nil {
		return fmt.Errorf("encode the status of reviews: %w", err)
	}
	target := &musterv1alpha1.FleetRepository{}
	target.Namespace, target.Name = repo.Namespace, repo.Name
	err = r.Client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of reviews of %s/%s: %w", repo.Namespace, repo.Name, err)
	}
	return nil
}

// Trigger makes the next look at a repository due now.
func (r *Reviews) Trigger(namespace, name string) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	r.mu.Lock()
	if s := r.known[key]; s != nil {
		s.triggered = true
	}
	r.mu.Unlock()
	r.wake.send(key)
}

// due says whether the host is to be asked, and takes note that it is.
func (r *Reviews) due(s *state, interval time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now()
	if !s.triggered && !s.looked.IsZero() && now.Before(s.looked.Add(interval)) {
		return false
	}
	s.triggered = false
	return true
}

// checkName is the context of the commit status.
func checkName(repo *musterv1alpha1.FleetRepository) string {
	if repo.Spec.Review.Name != "" {
		return "muster/" + repo.Spec.Review.Name
	}
	return "muster/" + repo.Namespace + "/" + repo.Name
}

// marker is how our comment is found again: it names this hub and this repository, so that two hubs have a comment each.
func (r *Reviews) marker(ctx context.Context, repo *musterv1alpha1.FleetRepository, what string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hubID == "" {
		var namespace corev1.Namespace
		if err := r.Client.Get(ctx, types.NamespacedName{Name: "kube-system"}, &namespace); err != nil {
			return "", fmt.Errorf("identify this hub: %w", err)
		}
		r.hubID = string(namespace.UID)
	}
	return fmt.Sprintf("<!-- muster:%s hub=%s repository=%s/%s -->", what, r.hubID, repo.Namespace, repo.Name), nil
}

func isOurs(c githost.Comment, marker, self string) bool {
	return strings.HasPrefix(c.Body, marker) && c.Author == self
}
