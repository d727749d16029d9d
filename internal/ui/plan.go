package ui

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/review"
)

// Plans says what changes do to the fleet, and what values are made of. A hub that leads has it in its memory.
type Plans interface {
	// Request is the review of an open pull request, nil for none that is known.
	Request(repository types.NamespacedName, number int64) *review.Request
	// Compare says what changes from one commit of a repository to another.
	Compare(ctx context.Context, repository types.NamespacedName, base, head string) (*review.Review, error)
	// Layers say which layer set each value of the chart of a delivered application, namespace/name, on a cluster; nil when it is not known.
	Layers(repository types.NamespacedName, application, cluster string) map[string]string
}

// reviewRow is an open pull request in a list.
type reviewRow struct {
	Repository string `json:"repository"`
	Number     int64  `json:"number"`
	Title      string `json:"title,omitempty"`
	Head       string `json:"head"`
	State      string `json:"state,omitempty"`
	Summary    string `json:"summary,omitempty"`
	Merged     string `json:"merged,omitempty"`
	ApprovedBy string `json:"approvedBy,omitempty"`

	namespace, name string
}

// Link is the address of the review's page.
func (r reviewRow) Link() string {
	return linkTo("reviews", r.namespace, r.name, strconv.FormatInt(r.Number, 10))
}

func (s *Server) reviews(ctx context.Context, p *Person, r *http.Request) (any, error) {
	var all musterv1alpha1.FleetRepositoryList
	if err := s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	rows := []reviewRow{}
	for _, repo := range only(ctx, p, "fleetrepositories", all.Items) {
		if repo.Status.Review == nil {
			continue
		}
		for i := range repo.Status.Review.PullRequests {
			row := s.reviewRowOf(&repo, &repo.Status.Review.PullRequests[i])
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b reviewRow) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), -cmp.Compare(a.Number, b.Number))
	})
	query := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("q")))
	return part(r, rows, func(x *reviewRow) bool {
		return contains(fmt.Sprintf("%s #%d %s %s %s", x.Repository, x.Number, x.Title, x.Summary, x.Head), query)
	}), nil
}

func (s *Server) reviewRowOf(repo *musterv1alpha1.FleetRepository, pr *musterv1alpha1.PullRequestStatus) reviewRow {
	row := reviewRow{
		Repository: repo.Namespace + "/" + repo.Name, Number: pr.Number, Head: pr.Head, State: pr.State, Summary: pr.Summary, Merged: pr.Merged, ApprovedBy: pr.ApprovedBy,
		namespace: repo.Namespace, name: repo.Name,
	}
	if s.Plans != nil {
		if known := s.Plans.Request(client.ObjectKeyFromObject(repo), pr.Number); known != nil {
			row.Title = known.Title
		}
	}
	return row
}

// planView is the page of a plan: of a pull request, or from one commit to another.
type planView struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Request is a pull request without its review; nil for two commits.
	Request *reviewRow `json:"request,omitempty"`
	Author  string     `json:"author,omitempty"`
	URL     string     `json:"url,omitempty"`
	Base    string     `json:"base,omitempty"`
	Head    string     `json:"head,omitempty"`
	// Application is the only one that is shown; empty is all.
	Application string         `json:"application,omitempty"`
	PlannedAt   time.Time      `json:"plannedAt,omitzero"`
	Verdict     review.Verdict `json:"verdict"`
	Review      *review.Review `json:"review,omitempty"`
	Map         []mapRow       `json:"-"`
	// GroupBy is the label, or set, that the map is grouped by.
	GroupBy   string   `json:"-"`
	Groupings []string `json:"-"`
	// Elsewhere says where the plan is, when this server does not have it.
	Elsewhere string `json:"elsewhere,omitempty"`
	// Return is set where the head is a commit that the application could go back to from what it has, the base.
	Return *returnTo `json:"-"`
	// Approvable are held plans that can be approved here: those of what is delivered.
	Approvable map[string]*musterv1alpha1.Held `json:"-"`
}

// returnTo is an application that may go back to a commit.
type returnTo struct {
	Namespace, Name, From, To string
	Clusters                  int32
}

// returnOf says whether a comparison is the plan of going back: from what an application has to something else.
func (s *Server) returnOf(ctx context.Context, p *Person, v *planView) *returnTo {
	namespace, name, ok := strings.Cut(v.Application, "/")
	var app musterv1alpha1.Application
	if !ok || v.Base == v.Head || !p.May(ctx, musterv1alpha1.GroupVersion.Group, "applications", namespace) ||
		s.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &app) != nil ||
		app.Status.Revision != v.Base || app.Annotations[musterv1alpha1.RepositoryAnnotation] != v.Namespace+"/"+v.Name {
		return nil
	}
	return &returnTo{namespace, name, v.Base, v.Head, app.Status.Summary.Clusters}
}

// mapRow is a placement on the map of a plan: clusters that stay, come and go.
type mapRow struct {
	plan.PlacementDifference
	Stay, Come, Go int
	Bar            []slice
	// Groups are its clusters on the map, by set or by a label; Folded ones are too many for one dot each.
	Groups []clusterGroup
	Folded bool
}

func (s *Server) review(ctx context.Context, p *Person, r *http.Request) (any, error) {
	key := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	number, err := strconv.ParseInt(r.PathValue("number"), 10, 64)
	var repo musterv1alpha1.FleetRepository
	if err == nil {
		err = s.Reader.Get(ctx, key, &repo)
	}
	if err != nil {
		return nil, notFound("there is no pull request %s of repository %s", r.PathValue("number"), key)
	}
	v := planView{Namespace: key.Namespace, Name: key.Name}
	if repo.Status.Review != nil {
		for i := range repo.Status.Review.PullRequests {
			if pr := &repo.Status.Review.PullRequests[i]; pr.Number == number {
				row := s.reviewRowOf(&repo, pr)
				v.Request, v.Base, v.Head = &row, pr.Base, pr.Head
			}
		}
	}
	if v.Request == nil {
		return nil, notFound("pull request %d of %s is not open, or the hub has not looked at it yet", number, key)
	}
	var known *review.Request
	if s.Plans != nil {
		known = s.Plans.Request(key, number)
	}
	if known == nil {
		v.Elsewhere = fmt.Sprintf("muster diff %s...%s -o markdown --full", fleet.ShortRevision(v.Base), fleet.ShortRevision(v.Head))
		return v, nil
	}
	v.Author, v.URL, v.PlannedAt = known.Author, known.URL, known.PlannedAt
	v.Verdict = known.Review.Verdict(failuresOf(&repo)...)
	return v, s.showPlan(ctx, p, &v, known.Review, r.URL.Query().Get("group"))
}

func failuresOf(repo *musterv1alpha1.FleetRepository) []review.Failure {
	if repo.Spec.Review == nil {
		return nil
	}
	return review.FailuresOf(repo.Spec.Review)
}

// comparison is the page of what changes from one commit to another: base= and head=, of one application with application=.
func (s *Server) comparison(ctx context.Context, p *Person, r *http.Request) (any, error) {
	key := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	query := r.URL.Query()
	v := planView{Namespace: key.Namespace, Name: key.Name, Base: query.Get("base"), Head: query.Get("head"), Application: query.Get("application")}
	var repo musterv1alpha1.FleetRepository
	if err := s.Reader.Get(ctx, key, &repo); err != nil {
		return nil, notFound("there is no repository %s", key)
	}
	v.Head = cmp.Or(v.Head, repo.Status.Revision)
	if v.Base == "" || v.Head == "" {
		return v, nil // the form asks
	}
	if s.Plans == nil {
		v.Elsewhere = fmt.Sprintf("muster diff %s..%s", v.Base, v.Head)
		return v, nil
	}
	v.Return = s.returnOf(ctx, p, &v)
	result, err := s.Plans.Compare(ctx, key, v.Base, v.Head)
	if err != nil {
		return nil, apiError{http.StatusUnprocessableEntity, err.Error()}
	}
	v.PlannedAt = s.Now()
	v.Verdict = result.Verdict()
	if v.Application != "" {
		result = result.Only(v.Application)
	}
	if v.Head == repo.Status.Revision {
		v.Approvable = map[string]*musterv1alpha1.Held{}
		if h := repo.Status.Held; h != nil {
			v.Approvable[h.Plan] = h
		}
		for _, h := range result.Held {
			namespace, name, _ := strings.Cut(h.Application, "/")
			var app musterv1alpha1.Application
			if s.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &app) == nil && app.Status.Held != nil {
				v.Approvable[app.Status.Held.Plan] = app.Status.Held
			}
		}
	}
	return v, s.showPlan(ctx, p, &v, result, query.Get("group"))
}

// showPlan puts a review on the page, for who may list the applications that it is about.
func (s *Server) showPlan(ctx context.Context, p *Person, v *planView, of *review.Review, group string) error {
	asked := map[string]bool{}
	for _, a := range of.Applications {
		namespace, _, _ := strings.Cut(a.Application, "/")
		if asked[namespace] {
			continue
		}
		asked[namespace] = true
		if !p.May(ctx, musterv1alpha1.GroupVersion.Group, "applications", namespace) {
			return apiError{http.StatusForbidden, fmt.Sprintf("the plan changes applications of namespace %s, which you have no right to list; whoever runs the hub can give it to you", namespace)}
		}
	}
	v.Review = of
	var clusters clusterv1.ManagedClusterList
	if len(of.Placements) > 0 {
		if err := s.Reader.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
	}
	rows := make([]clusterRow, 0, len(clusters.Items))
	for i := range clusters.Items {
		rows = append(rows, clusterRowOf(&clusters.Items[i]))
	}
	slices.SortFunc(rows, func(a, b clusterRow) int { return cmp.Compare(a.Name, b.Name) })
	v.GroupBy, v.Groupings = groupings(rows, group)
	for _, d := range of.Placements {
		row := mapRow{PlacementDifference: d, Come: clustersIn(d.Gained), Go: clustersIn(d.Lost)}
		row.Stay = max(0, d.Before-row.Go)
		parts := []stateCount{{planStays, row.Stay}, {planComes, row.Come}, {planGoes, row.Go}}
		row.Bar = bar(slices.DeleteFunc(parts, func(s stateCount) bool { return s.Count == 0 }))
		outcomes, err := s.outcomes(ctx, d)
		if err != nil {
			return err
		}
		row.Groups, row.Folded = mapGroups(rows, v.GroupBy, outcomes)
		v.Map = append(v.Map, row)
	}
	return nil
}

// outcomes say what becomes of the clusters of a placement, by their name: of those that it has now, and of those that it gains.
func (s *Server) outcomes(ctx context.Context, d plan.PlacementDifference) (map[string]string, error) {
	namespace, name, _ := strings.Cut(d.Placement, "/")
	var decisions clusterv1beta1.PlacementDecisionList
	err := s.Reader.List(ctx, &decisions, client.InNamespace(namespace), client.MatchingLabels{clusterv1beta1.PlacementLabel: name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	outcomes := map[string]string{}
	for i := range decisions.Items {
		for _, chosen := range decisions.Items[i].Status.Decisions {
			outcomes[chosen.ClusterName] = planStays
		}
	}
	for outcome, groups := range map[string][]plan.ClusterGroup{planComes: d.Gained, planGoes: d.Lost} {
		for _, g := range groups {
			for _, cluster := range g.Clusters {
				outcomes[cluster] = outcome
			}
		}
	}
	return outcomes, nil
}

// mapGroups puts clusters on the map of a plan, each with what becomes of it.
func mapGroups(rows []clusterRow, by string, outcomes map[string]string) (groups []clusterGroup, folded bool) {
	var shown []clusterRow
	for _, row := range rows {
		if outcome := outcomes[row.Name]; outcome != "" {
			row.State = outcome
			shown = append(shown, row)
		}
	}
	folded = len(shown) > mapRoom
	return grouped(shown, by, folded, []string{planStays, planComes, planGoes}), folded
}

// What becomes of clusters, on the map.
const (
	planStays = "stay"
	planComes = "gained"
	planGoes  = "lost"
)

func clustersIn(groups []plan.ClusterGroup) int {
	n := 0
	for _, g := range groups {
		n += len(g.Clusters)
	}
	return n
}
