package review

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/review"
)

const (
	// maxGroups is how many statuses a commit gets.
	maxGroups = 50
	// countsInterval is the least time between two statuses that differ in nothing but numbers. It doubles with each, up to maxCountsInterval:
	// GitHub takes 1,000 statuses of one name on a commit.
	countsInterval    = time.Minute
	maxCountsInterval = time.Hour
	// measureInterval is the least time between two looks at the works of a commit: reports of clusters come one by one.
	measureInterval = 2 * time.Second
)

// measure is how far a commit was.
type measure struct {
	revision   string
	measuredAt time.Time
	groups     []review.Group
}

// told is the status of a group as the host has it.
type told struct {
	commit    string
	check     githost.Check
	writtenAt time.Time
	writes    int
}

// waits is how long nothing but numbers is not worth another status.
func (s told) waits(now time.Time) time.Duration {
	return min(countsInterval<<min(max(s.writes-1, 0), 10), maxCountsInterval) - now.Sub(s.writtenAt)
}

// after tells of the delivered commit how far it is, and brings what is merged to its end.
func (t *task) after(ctx context.Context) error {
	t.noteApproved() // what a person has approved already waits for nobody
	groups, known, err := t.delivery(ctx)
	if err != nil {
		return err
	}
	var stay []musterv1alpha1.PullRequestStatus
	for i := range t.status.PullRequests {
		p := &t.status.PullRequests[i]
		if p.Merged == "" {
			stay = append(stay, *p)
			continue
		}
		waits := true
		if known {
			waits, err = t.merged(ctx, p, groups)
		}
		if err = t.ofOne(err); err != nil {
			return err
		}
		if waits {
			stay = append(stay, *p)
		}
	}
	t.status.PullRequests = stay
	return nil
}

// noteApproved notes the plans that were approved on merged pull requests: release lets them go ahead.
func (t *task) noteApproved() {
	t.approved = map[string]bool{}
	for _, p := range t.status.PullRequests {
		if p.Merged == "" || p.ApprovedBy == "" {
			continue
		}
		for _, h := range p.Held {
			t.approved[h.Plan] = true
		}
	}
}

// delivery writes the statuses of the delivered commit that changed, and gives the groups: nothing is known while the commit has no plan,
// and there are none where no application is on a cluster.
func (t *task) delivery(ctx context.Context) (groups []review.Group, known bool, err error) {
	revision := t.repo.Status.Revision
	if revision == "" {
		return nil, false, nil
	}
	last := t.state.measured
	if wait := measureInterval - t.Now().Sub(last.measuredAt); last.revision == revision && wait > 0 {
		t.soon(wait)
		return last.groups, true, nil
	}
	delivered, err := t.Deliveries.Read(ctx, t.repo, revision)
	if err != nil || delivered.Plan == nil {
		return nil, false, nil // the repository's controller makes it, and says what is wrong
	}
	environments, err := t.environments(ctx)
	if err != nil {
		return nil, false, err
	}
	groups = review.Delivery(delivered.Plan, t.Works.Of, t.applications(ctx, delivered.Definitions), environments)
	if held := t.repo.Status.Held; held != nil {
		groups = append(groups, review.Removal(held, t.approved[held.Plan] || t.repo.Annotations[musterv1alpha1.ApprovedPlanAnnotation] == held.Plan))
	} else if last := t.state.told[checkName(t.repo)+": "+review.Removals]; last.commit == revision {
		groups = append(groups, review.Removal(nil, true))
	}
	if err := t.supersede(ctx, revision); err != nil {
		return nil, false, err
	}
	t.state.measured = measure{revision, t.Now(), groups}
	for _, g := range groups[:min(len(groups), maxGroups)] {
		check := githost.Check{Name: checkName(t.repo) + ": " + g.Name, Description: g.Line(), URL: t.pageOfGroup(g)}
		check.State = map[review.Progress]githost.State{review.Through: githost.Success, review.Stuck: githost.Failure, review.Underway: githost.Pending}[g.Progress]
		last := t.state.told[check.Name]
		if last.commit == revision && last.check == check {
			continue
		}
		if wait := last.waits(t.Now()); last.commit == revision && last.check.State == check.State && wait > 0 {
			t.soon(wait)
			continue
		}
		if err := t.deliveryCheck(ctx, revision, check); err != nil {
			return nil, false, err
		}
	}
	return groups, true, nil
}

// deliveryCheck writes a status of the delivered commit. One that the host does not take, since there are too many of it, ends nothing: the
// summary on the pull request says how it ended.
func (t *task) deliveryCheck(ctx context.Context, revision string, check githost.Check) error {
	err := t.state.host.SetCheck(ctx, revision, check)
	var answer *githost.Error
	if errors.As(err, &answer) && answer.Kind == githost.Invalid {
		ctrl.LoggerFrom(ctx).Info("The host does not take a status of the delivered commit", "status", check.Name, "reason", err.Error())
		err = nil
	}
	if err != nil {
		return fmt.Errorf("write the status of %s: %w", fleet.ShortRevision(revision), err)
	}
	if t.state.told == nil {
		t.state.told = map[string]told{}
	}
	writes := 1
	if last := t.state.told[check.Name]; last.commit == revision {
		writes += last.writes
	}
	t.state.told[check.Name] = told{revision, check, t.Now(), writes}
	return nil
}

// environments of clusters, by their label; none where the spec names no label.
func (t *task) environments(ctx context.Context) (map[string]string, error) {
	label := t.repo.Spec.Review.EnvironmentLabel
	if label == "" {
		return nil, nil
	}
	var list clusterv1.ManagedClusterList
	if err := t.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	environments := make(map[string]string, len(list.Items))
	for i := range list.Items {
		environments[list.Items[i].Name] = list.Items[i].Labels[label]
	}
	return environments, nil
}

// applications of a repository on the hub, by namespace/name.
func (t *task) applications(ctx context.Context, defs *fleet.Definitions) map[string]*musterv1alpha1.Application {
	all := map[string]*musterv1alpha1.Application{}
	for _, defined := range defs.Applications() {
		var app musterv1alpha1.Application
		if t.Client.Get(ctx, client.ObjectKeyFromObject(defined), &app) == nil {
			if h := app.Status.Held; h != nil && t.approved[h.Plan] { // the annotation may not be in the cache yet
				metav1.SetMetaDataAnnotation(&app.ObjectMeta, musterv1alpha1.ApprovedPlanAnnotation, h.Plan)
			}
			all[app.Namespace+"/"+app.Name] = &app
		}
	}
	return all
}

// merged approves what was approved on a merged pull request, and comments when the commit is through or stuck. It says whether
// something is still to come.
func (t *task) merged(ctx context.Context, p *musterv1alpha1.PullRequestStatus, groups []review.Group) (bool, error) {
	revision := t.repo.Status.Revision
	if revision == "" {
		return true, nil
	}
	if in, err := t.Store.IsAncestor(t.repo.Spec.URL, p.Merged, revision); err != nil || !in {
		return true, nil // it is not fetched, or not delivered yet
	}
	waits, err := t.release(ctx, p)
	if err == nil {
		err = t.approveSteps(ctx, p)
	}
	if err != nil {
		return true, err
	}
	done, well := review.Finished(groups)
	if !done || waits && well { // what is approved is not gone yet
		return true, nil
	}
	state := githost.Failure
	if well {
		state = githost.Success
	}
	if p.Delivery != string(state) {
		if err := t.summarize(ctx, p, review.Summary("", revision, groups)); err != nil {
			return true, err
		}
		p.Delivery = string(state)
	}
	return waits || !well, nil
}

// summarize writes the one comment of a merged pull request, or edits it.
func (t *task) summarize(ctx context.Context, p *musterv1alpha1.PullRequestStatus, text string) error {
	marker, err := t.marker(ctx, t.repo, "delivery")
	if err != nil {
		return err
	}
	text = marker + "\n" + text
	comments, err := t.state.host.Comments(ctx, p.Number)
	var answer *githost.Error
	if errors.As(err, &answer) && answer.Kind == githost.NotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the comments of pull request %d: %w", p.Number, err)
	}
	for _, c := range comments {
		if isOurs(c, marker, t.state.self) {
			err = t.state.host.EditComment(ctx, p.Number, c.ID, text)
			return errorIf("edit the summary on pull request %d: %w", p.Number, err)
		}
	}
	_, err = t.state.host.CreateComment(ctx, p.Number, text)
	return errorIf("write the summary on pull request %d: %w", p.Number, err)
}

func errorIf(format string, number int64, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format, number, err)
}

// resume takes up the statuses that were underway when another hub, or this one before its start, wrote them.
func (t *task) resume() {
	if t.state.told != nil {
		return
	}
	t.state.told = map[string]told{}
	if t.repo.Status.Review == nil {
		return
	}
	for _, u := range t.repo.Status.Review.Underway {
		t.state.told[u.Status] = told{commit: u.Commit, check: githost.Check{Name: u.Status, State: githost.Pending}}
	}
}

// underway are the statuses that are not ended.
func (s *state) underway() []musterv1alpha1.UnderwayStatus {
	var list []musterv1alpha1.UnderwayStatus
	for name, last := range s.told {
		if last.check.State == githost.Pending {
			list = append(list, musterv1alpha1.UnderwayStatus{Commit: last.commit, Status: name})
		}
	}
	slices.SortFunc(list, func(a, b musterv1alpha1.UnderwayStatus) int {
		return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Commit, b.Commit))
	})
	return list[:min(len(list), maxUnderway)]
}

// maxUnderway is how many the status has room for: those of one commit, and as many of another one.
const maxUnderway = 2 * maxGroups

// supersede ends the statuses of earlier commits that were underway: nothing is applied of those commits any more.
func (t *task) supersede(ctx context.Context, revision string) error {
	for name, last := range t.state.told {
		if last.commit == revision {
			continue
		}
		if check := last.check; check.State == githost.Pending {
			check.State, check.Description = githost.Success, "superseded by "+fleet.ShortRevision(revision)
			err := t.state.host.SetCheck(ctx, last.commit, check)
			var answer *githost.Error
			if gone := errors.As(err, &answer) && (answer.Kind == githost.NotFound || answer.Kind == githost.Invalid); err != nil && !gone {
				return fmt.Errorf("end the status of %s: %w", fleet.ShortRevision(last.commit), err)
			}
		}
		delete(t.state.told, name)
	}
	return nil
}
