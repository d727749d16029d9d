package ui

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/overview"
)

// eventRow is something that happened.
type eventRow struct {
	Time      time.Time `json:"time"`
	Namespace string    `json:"namespace"`
	Kind      string    `json:"kind"`
	Name      string    `json:"name"`
	Type      string    `json:"type"` // Normal or Warning
	Reason    string    `json:"reason"`
	Message   string    `json:"message"`
	Count     int32     `json:"count,omitempty"`
}

// Link is the page of what the event is about, "" where it has none.
func (e eventRow) Link() string {
	switch e.Kind {
	case "Application":
		return linkTo("applications", e.Namespace, e.Name)
	case "FleetRepository":
		return linkTo("repositories", e.Namespace, e.Name)
	case "ManagedCluster":
		return linkTo("clusters", e.Name)
	case "Placement":
		return linkTo("placements", e.Namespace, e.Name)
	}
	return ""
}

// activity is everything that happened, the newest first: the Events that the hub's and the agents' programs wrote.
func (s *Server) activity(ctx context.Context, p *Person, r *http.Request) (any, error) {
	rows, err := s.events(ctx)
	if err != nil {
		return nil, err
	}
	query, state := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("q"))), r.URL.Query().Get("state")
	rows = slices.DeleteFunc(rows, func(e eventRow) bool { return !p.May(ctx, "events.k8s.io", "events", e.Namespace) })
	return part(r, rows, func(e *eventRow) bool {
		return (state == "" || e.Type == state) &&
			(contains(e.Namespace+"/"+e.Name, query) || contains(e.Reason, query) || contains(e.Message, query) || contains(e.Kind, query))
	}), nil
}

func (s *Server) eventsOf(ctx context.Context, namespace, kind, name string) ([]eventRow, error) {
	rows, err := s.events(ctx)
	rows = slices.DeleteFunc(rows, func(e eventRow) bool {
		return e.Kind != kind || e.Name != name || namespace != "" && e.Namespace != namespace
	})
	return rows[:min(len(rows), 30)], err
}

func (s *Server) events(ctx context.Context) ([]eventRow, error) {
	var all eventsv1.EventList
	if err := s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	rows := []eventRow{}
	for i := range all.Items {
		e := &all.Items[i]
		if !strings.HasPrefix(e.ReportingController, "muster-") && !strings.HasPrefix(e.ReportingController, "klusterlet") {
			continue
		}
		row := eventRow{
			Time: e.EventTime.Time, Namespace: e.Namespace, Kind: e.Regarding.Kind, Name: e.Regarding.Name, Type: e.Type, Reason: e.Reason, Message: e.Note,
		}
		if e.Series != nil {
			row.Time, row.Count = e.Series.LastObservedTime.Time, e.Series.Count
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b eventRow) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason))
	})
	return rows, nil
}

// driftView is what on clusters is not, or was not, what Muster applied.
type driftView struct {
	list[overview.Drift]
	// Applications that have drifted, by how many clusters.
	Applications []applicationRow `json:"applications"`
	// Unread is how many applications were left out, so that the page comes soon.
	Unread int `json:"unread,omitempty"`
	// Problems say of which applications the person may not read the works.
	Problems []string `json:"problems,omitempty"`
}

// driftedApplications is of how many applications the page reads the works.
const driftedApplications = 20

func (s *Server) drift(ctx context.Context, p *Person, r *http.Request) (any, error) {
	var all musterv1alpha1.ApplicationList
	if err := s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	v := driftView{Applications: []applicationRow{}}
	wanted := r.URL.Query().Get("application")
	var records []overview.Drift
	for _, a := range only(ctx, p, "applications", all.Items) {
		if wanted != "" && a.Namespace+"/"+a.Name != wanted || wanted == "" && a.Status.Summary.Drifted == 0 {
			continue
		}
		v.Applications = append(v.Applications, applicationRowOf(&a))
		if len(v.Applications) > driftedApplications {
			v.Unread++
			continue
		}
		rows, err := overview.DriftOf(ctx, p.Client, &a)
		if apierrors.IsForbidden(err) {
			v.Problems = append(v.Problems, fmt.Sprintf("The drift of %s/%s is not shown: %v", a.Namespace, a.Name, err))
			continue
		}
		if err != nil {
			return nil, err
		}
		records = append(records, rows...)
	}
	query := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("q")))
	v.list = part(r, records, func(d *overview.Drift) bool {
		return contains(d.Application, query) || contains(d.Cluster, query) || contains(d.Object, query) || contains(d.Path, query) || contains(d.Manager, query)
	})
	return v, nil
}

// repositoryView is the page of a repository.
type repositoryView struct {
	overview.Repository
	Namespace string                               `json:"namespace"`
	Name      string                               `json:"name"`
	Path      string                               `json:"path,omitempty"`
	Status    musterv1alpha1.FleetRepositoryStatus `json:"status"`
	NeedsYou  []overview.Need                      `json:"needsYou,omitempty"`
	Events    []eventRow                           `json:"events,omitempty"`
}

func (s *Server) repositories(ctx context.Context, p *Person, r *http.Request) (any, error) {
	var all musterv1alpha1.FleetRepositoryList
	if err := s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	rows := []overview.Repository{}
	for _, x := range only(ctx, p, "fleetrepositories", all.Items) {
		rows = append(rows, overview.RepositoryOf(&x))
	}
	slices.SortFunc(rows, func(a, b overview.Repository) int { return cmp.Compare(a.Repository, b.Repository) })
	return part(r, rows, func(*overview.Repository) bool { return true }), nil
}

func (s *Server) repository(ctx context.Context, _ *Person, r *http.Request) (any, error) {
	key := client.ObjectKey{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	var repository musterv1alpha1.FleetRepository
	if err := s.Reader.Get(ctx, key, &repository); err != nil {
		return nil, err
	}
	v := repositoryView{
		Repository: overview.RepositoryOf(&repository), Namespace: key.Namespace, Name: key.Name, Path: repository.Spec.Path, Status: repository.Status,
		NeedsYou: overview.NeedsOf(overview.Facts{Hub: overview.Hub{State: overview.HubRuns}, Repositories: []musterv1alpha1.FleetRepository{repository}}, s.Now()),
	}
	var err error
	v.Events, err = s.eventsOf(ctx, key.Namespace, "FleetRepository", key.Name)
	return v, err
}
