package review

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/review"
)

// shown are the reviews of open pull requests as people see them, by repository and number.
type shown struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*review.Request
}

func (s *shown) put(count types.NamespacedName, r *review.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[types.NamespacedName]*review.Request{}
	}
	s.all[count] = r
}

func (s *shown) drop(count types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, count)
}

// show keeps what a pull request does for the page.
func (t *task) show(pr githost.PullRequest, m *request, is *musterv1alpha1.PullRequestStatus, result *review.Review) {
	t.shown.put(countKey(client.ObjectKeyFromObject(t.repo), pr.Number), &review.Request{
		Number: pr.Number, Title: pr.Title, Author: pr.Author, URL: pr.URL, Head: pr.Head, ApprovedBy: is.ApprovedBy, PlannedAt: m.plannedAt, Review: result,
	})
}

// pageOf is where the whole of a review is: where the repository says, else on the hub's page; empty where there is none.
func (t *task) pageOf(number int64) string {
	if url := t.repo.Spec.Review.DetailsURL; url != "" || t.PageURL == "" {
		return url
	}
	return fmt.Sprintf("%s/reviews/%s/%s/%d", strings.TrimSuffix(t.PageURL, "/"), t.repo.Namespace, t.repo.Name, number)
}

// pageOfGroup is where people see how a group of a delivered commit does: where the repository says, else its applications on the hub's page;
// empty where there is none.
func (t *task) pageOfGroup(g review.Group) string {
	url := t.repo.Spec.Review.DetailsURL
	switch base := strings.TrimSuffix(t.PageURL, "/"); {
	case url != "" || base == "":
		return url
	case g.Namespace == "":
		return fmt.Sprintf("%s/repositories/%s/%s", base, t.repo.Namespace, t.repo.Name)
	default:
		return base + "/applications?q=" + g.Namespace + "/"
	}
}

// Request is the review of an open pull request, or nil: this hub does not lead, has just started, or there is none.
func (r *Reviews) Request(repository types.NamespacedName, number int64) *review.Request {
	r.shown.mu.Lock()
	defer r.shown.mu.Unlock()
	return r.shown.all[countKey(repository, number)]
}

// The comparisons that people ask for are made one at a time, and each is given up after a while: deliveries go first.
const compareTimeout = time.Minute

// errBusy is for a person who may ask again.
var errBusy = errors.New("the hub compares other commits just now: ask again in some seconds")

// Compare says what changes from one commit of a repository to another, in the fleet as it is now. Both are commits that the repository
// has fetched: what others have fetched from the same remote proves no right to read it.
func (r *Reviews) Compare(ctx context.Context, key types.NamespacedName, base, head string) (*review.Review, error) {
	if !r.comparing.TryLock() {
		return nil, errBusy
	}
	defer r.comparing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	var repo musterv1alpha1.FleetRepository
	if err := r.Client.Get(ctx, key, &repo); err != nil {
		return nil, fmt.Errorf("read repository %s: %w", key, err)
	}
	for _, revision := range []string{base, head} {
		fetched, err := r.Store.HasFetched(repo.Spec.URL, string(repo.UID), revision)
		if err != nil {
			return nil, err
		}
		if !fetched {
			return nil, fleet.Fault{
				Reason: fleet.SourceUnavailable, ActionRequiredBy: fleet.User,
				Message: fmt.Sprintf("commit %s is not in the history of what %s has fetched: name one in full", fleet.ShortRevision(revision), key),
			}
		}
	}
	t := &task{Reviews: r, repo: &repo}
	c, err := t.sides(ctx, base, head, t.Repositories.Sources.World())
	if err != nil {
		return nil, err
	}
	ctrl.LoggerFrom(ctx).Info("Compared two commits for a person", "repository", key, "base", base, "head", head)
	return review.Of(ctx, c.Input)
}

// Layers say which layer set each value of the chart of an application, as it was delivered last, on a cluster; nil when that is not known.
func (r *Reviews) Layers(repository types.NamespacedName, application, cluster string) map[string]string {
	delivered := r.Deliveries.Delivered(repository)
	if delivered == nil || delivered.Plan == nil {
		return nil
	}
	a := delivered.Plan.Find(application)
	if a == nil {
		return nil
	}
	on := a.On(cluster)
	if on == nil {
		return nil
	}
	content, err := on.Content()
	if err != nil {
		return nil // never: it was kept by this process
	}
	return content.Values
}
