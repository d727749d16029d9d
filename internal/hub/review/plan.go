package review

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/review"
	"github.com/muster-io/muster/internal/source"
)

// basis is all that a review depends on.
type basis struct {
	head, tip string // of the pull request; of the branch
	changes   uint64 // of what its plans read
	policies  string
	about     string // what policies read of the pull request itself
}

// planned is a review and what its publication needs.
type planned struct {
	review *review.Review
	base   string // the commit that the head was compared with
	held   []musterv1alpha1.HeldPlan
	// files whose definitions are held, for code owners.
	files []string
	reads *hub.Reads
}

// review plans a pull request when its basis changed, and publishes.
func (t *task) review(ctx context.Context, pr githost.PullRequest, m *request, was *musterv1alpha1.PullRequestStatus) (*musterv1alpha1.PullRequestStatus, error) {
	if pr.Head == "" || t.repo.Status.FetchedRevision == "" {
		return was, nil // nothing of the branch has been fetched yet
	}
	policies, err := t.policies(ctx)
	if err != nil {
		return nil, err
	}
	count := countKey(client.ObjectKeyFromObject(t.repo), pr.Number)
	now := basis{
		head: pr.Head, tip: t.repo.Status.FetchedRevision, changes: t.changes.Count(count).Plan, policies: digestOf(policies),
		about: fmt.Sprintf("%q", []any{pr.Author, pr.Title, pr.Labels, pr.BaseBranch, pr.HeadBranch}),
	}
	if m.planned == nil || m.basis != now {
		if wait := t.ReplanInterval - t.Now().Sub(m.plannedAt); m.plannedFor == pr.Head && wait > 0 {
			t.soon(wait)
			if m.planned == nil {
				return was, nil // what was wrong may not last
			}
		} else {
			if m.plannedFor != pr.Head && (was == nil || was.Head != pr.Head) {
				if err := t.check(ctx, pr, m, githost.Check{State: githost.Pending, Description: "planning"}); err != nil {
					return nil, err
				}
			}
			m.plannedAt, m.plannedFor = t.Now(), pr.Head
			now.changes = t.changes.Begin(count).Plan
			if m.planned, err = t.plan(ctx, pr, policies); err != nil {
				return nil, err
			}
			if err := t.confirm(ctx, pr); err != nil {
				m.planned = nil
				return nil, err
			}
			t.changes.Settle(count, m.planned.reads)
			m.basis = now
		}
	}
	return t.tell(ctx, pr, m, was)
}

// plan fetches what is missing and plans both sides in the same world.
func (t *task) plan(ctx context.Context, pr githost.PullRequest, onHub []musterv1alpha1.ReviewPolicy) (*planned, error) {
	credentials, err := t.Repositories.Credentials(ctx, t.repo)
	if err != nil {
		return nil, err
	}
	url := t.repo.Spec.URL
	if _, err := t.Store.Fetch(ctx, source.Remote{URL: url, Ref: source.Ref{Commit: pr.Head}, Credentials: credentials}); err != nil {
		return nil, err
	}
	base, err := t.Store.MergeBase(url, t.repo.Status.FetchedRevision, pr.Head)
	if err != nil {
		return nil, err
	}
	sources := t.Repositories.Sources.World
	if pr.Fork { // what anybody may write makes the hub fetch nothing
		sources = t.Repositories.Sources.Known
	}
	c, err := t.sides(ctx, base, pr.Head, sources())
	if err != nil {
		return nil, err
	}
	was, is := c.Base, c.Head
	if !pr.Fork {
		t.Repositories.Sources.Use(sourceUser(countKey(client.ObjectKeyFromObject(t.repo), pr.Number)), fleet.SortSources(slices.Concat(was.Sources(), is.Sources())))
	}
	change := review.Change{Author: pr.Author, Title: pr.Title, Base: pr.BaseBranch, Head: pr.HeadBranch, Labels: pr.Labels, Fork: pr.Fork}
	// The rules are those of the branch as it is: where a change left it, its author chose.
	rules := c.definitions
	if tip := t.repo.Status.FetchedRevision; tip != base {
		branch, err := t.open(ctx, tip)
		if err != nil {
			return nil, err
		}
		rules = branch.defs
	}
	if rules, err = t.permitted(ctx, rules); err != nil {
		return nil, err
	}
	c.Policies = review.Policies(rules, onHub, client.ObjectKeyFromObject(t.repo).String())
	if len(c.Policies) > 0 {
		if change.Teams, err = t.teamsOf(ctx, pr.Author); err != nil {
			return nil, err
		}
	}
	c.Change = change
	result, err := review.Of(ctx, c.Input)
	if err != nil {
		return nil, err
	}
	return &planned{review: result, base: base, held: heldBy(result, t.repo), files: filesOf(result), reads: hub.ReadsOf(is, nil)}, nil
}

// permitted are the definitions of the branch without the policies that the repository may not write: the hub does not apply those, and they
// must not stand in for the hub's own of the same name.
func (t *task) permitted(ctx context.Context, defs *fleet.Definitions) (*fleet.Definitions, error) {
	var try []fleet.Definition
	for _, d := range defs.All {
		if _, ok := d.Object.(*musterv1alpha1.ReviewPolicy); ok {
			try = append(try, d)
		}
	}
	refused, err := t.Repositories.Try(ctx, t.repo, try)
	if err != nil {
		return nil, err
	}
	branch := &side{defs: defs}
	branch.without(func(key fleet.ObjectKey) bool { _, ok := refused[key]; return ok })
	return branch.defs, nil
}

// comparison is a review to be, and what its base says.
type comparison struct {
	review.Input
	definitions *fleet.Definitions // of the base
}

// sides plans two commits in the same live world, within the rights of the repository.
func (t *task) sides(ctx context.Context, base, head string, sources fleet.Sources) (*comparison, error) {
	world, err := t.Works.Observe(ctx, t.Client, t.Now())
	if err != nil {
		return nil, err
	}
	world.HubCluster, world.Sources = t.HubCluster, fleet.Masked(sources, &t.redact)
	before, err := t.open(ctx, base)
	if err != nil {
		return nil, err
	}
	after, err := t.open(ctx, head)
	if err != nil {
		return nil, err
	}
	c := &comparison{Input: review.Input{Redact: t.redact, Tenant: t.tenant()}, definitions: before.defs}
	if c.Faults, err = t.withinRights(ctx, before, after); err != nil {
		return nil, err
	}
	if c.Base, err = t.Planner.LoadedAfter(ctx, t.delivered(), before.snapshot, before.defs, *world); err != nil {
		return nil, err
	}
	c.Head, err = t.Planner.LoadedAfter(ctx, c.Base, after.snapshot, after.defs, *world)
	return c, err
}

// delivered is the plan of the commit that is delivered, if it is remembered: the base of a pull request is mostly that commit.
func (t *task) delivered() *plan.Plan {
	if d := t.Deliveries.Delivered(client.ObjectKeyFromObject(t.repo)); d != nil {
		return d.Plan
	}
	return nil
}

// tenant is true for a repository of a team: it must not learn of the clusters of others.
func (t *task) tenant() bool { return t.repo.Namespace != registration.SystemNamespace }

// side is one commit, loaded.
type side struct {
	snapshot fleet.Snapshot
	defs     *fleet.Definitions
}

func (t *task) open(ctx context.Context, revision string) (*side, error) {
	snapshot, err := t.Store.Snapshot(t.repo.Spec.URL, revision, t.repo.Spec.Path)
	if err != nil {
		return nil, err
	}
	snapshot.Repository = client.ObjectKeyFromObject(t.repo).String()
	defs, err := fleet.Load(ctx, snapshot.Tree)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", fleet.ShortRevision(revision), err)
	}
	return &side{snapshot, defs}, nil
}

// withinRights takes out of both sides what the repository's account may not write, and gives the faults of the head: a plan assumes
// that all definitions are accepted, and a pull request must not show what its repository has no right to. Definitions that change
// are tried, and of a team's repository those that bind it to clusters.
func (t *task) withinRights(ctx context.Context, before, after *side) ([]fleet.Fault, error) {
	same := map[fleet.ObjectKey]*fleet.Definition{}
	for i := range before.defs.All {
		same[before.defs.All[i].Key] = &before.defs.All[i]
	}
	var try []fleet.Definition
	for _, d := range after.defs.All {
		if old := same[d.Key]; old == nil || !equal(old, &d) || t.tenant() && reaches(d.Key) {
			try = append(try, d)
		}
	}
	faults, err := t.Repositories.Try(ctx, t.repo, try)
	if err != nil {
		return nil, err
	}
	refused := map[fleet.ObjectKey]bool{}
	var list []fleet.Fault
	for key, f := range faults {
		refused[key] = true
		list = append(list, f)
	}
	if t.tenant() {
		try = slices.DeleteFunc(slices.Clone(before.defs.All), func(d fleet.Definition) bool { return !reaches(d.Key) })
		old, err := t.Repositories.Try(ctx, t.repo, try)
		if err != nil {
			return nil, err
		}
		before.without(func(key fleet.ObjectKey) bool { _, ok := old[key]; return ok })
	}
	after.without(func(key fleet.ObjectKey) bool { return refused[key] })
	return list, nil
}

// reaches: definitions that decide which clusters a repository sees.
func reaches(key fleet.ObjectKey) bool {
	return strings.HasPrefix(key.Kind, "ManagedCluster")
}

// without leaves definitions out. They stay named: what is named and cannot be used is not removed.
func (s *side) without(drop func(fleet.ObjectKey) bool) {
	defs := *s.defs
	defs.All = slices.DeleteFunc(slices.Clone(defs.All), func(d fleet.Definition) bool { return drop(d.Key) })
	s.defs = &defs
}

func equal(a, b *fleet.Definition) bool {
	x, err := fleet.CanonicalJSON(a.Source.Object)
	y, err2 := fleet.CanonicalJSON(b.Source.Object)
	return err == nil && err2 == nil && string(x) == string(y)
}

// heldBy are the objects of the hub that would hold something: applications, and the repository for what leaves it.
func heldBy(r *review.Review, repo *musterv1alpha1.FleetRepository) []musterv1alpha1.HeldPlan {
	var list []musterv1alpha1.HeldPlan
	for _, h := range r.Held {
		if h.Plan == "" || len(list) == maxHeld {
			continue
		}
		p := musterv1alpha1.HeldPlan{Kind: "FleetRepository", Namespace: repo.Namespace, Name: repo.Name, Plan: h.Plan}
		if h.Application != "" && h.Plan != r.Head.Plan {
			p.Kind = "Application"
			p.Namespace, p.Name, _ = strings.Cut(h.Application, "/")
		}
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// maxHeld is how many an approval can be for: as many as the status has room for.
const maxHeld = 100

// filesOf are the files that define what is held.
func filesOf(r *review.Review) []string {
	files := map[string]string{}
	for _, a := range r.Applications {
		files[a.Application] = a.File
	}
	for _, d := range r.Definitions {
		files[d.Object.String()] = d.File
	}
	var list []string
	for _, h := range r.Held {
		if h.Plan == "" {
			continue
		}
		file := files[h.Application]
		if h.Application == "" {
			file = files[h.Definition]
		}
		if !slices.Contains(list, file) {
			list = append(list, file)
		}
	}
	return list
}

// policies of the hub that hold for the repository.
func (t *task) policies(ctx context.Context) ([]musterv1alpha1.ReviewPolicy, error) {
	var list musterv1alpha1.ReviewPolicyList
	if err := t.Client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list review policies: %w", err)
	}
	return list.Items, nil
}

func digestOf(policies []musterv1alpha1.ReviewPolicy) string {
	var b strings.Builder
	for i := range policies {
		fmt.Fprintf(&b, "%s %d\n", policies[i].UID, policies[i].Generation)
	}
	return b.String()
}
