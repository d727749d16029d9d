package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
)

// repositoryStatus is the answer about one repository: all that the overview has no room for.
type repositoryStatus struct {
	Hub        overview.Hub                         `json:"hub"`
	Repository string                               `json:"repository"`
	URL        string                               `json:"url"`
	Path       string                               `json:"path,omitempty"`
	State      string                               `json:"state"`
	Status     musterv1alpha1.FleetRepositoryStatus `json:"status"`
	NeedsYou   []overview.Need                      `json:"needsYou"`
}

// named is the answer about what has a name: an application, else a repository.
func (c *cli) named(ctx context.Context, hub client.Client, key string) (answer, error) {
	facts, err := overview.Gather(ctx, hub, c.now())
	if err != nil {
		return answer{}, err
	}
	if a, err := find(facts.Applications, "application", key); err == nil {
		return c.applicationStatus(facts, a), nil
	}
	if r, err := find(facts.Repositories, "repository", key); err == nil {
		return c.repositoryStatus(facts, r), nil
	}
	known := append(namesOf(facts.Applications), namesOf(facts.Repositories)...)
	return answer{}, overview.Unknown("application or repository", key, known)
}

func (c *cli) repositoryStatus(facts overview.Facts, r *musterv1alpha1.FleetRepository) answer {
	v := repositoryStatus{
		Hub: facts.Hub, Repository: r.Namespace + "/" + r.Name, URL: withoutCredentials(r.Spec.URL), Path: r.Spec.Path,
		State: overview.ReadyText(r.Status.Conditions), Status: r.Status,
		NeedsYou: overview.NeedsOf(overview.Facts{Hub: facts.Hub, Repositories: []musterv1alpha1.FleetRepository{*r}}, c.now()),
	}
	well := overview.RepositoryOf(r).Ready && len(v.NeedsYou) == 0
	return answer{v, func(p *printer) { printRepository(p, v, unlisted(r), c.now()) }, well}
}

func printRepository(p *printer, v repositoryStatus, more int, now time.Time) {
	s := v.Status
	printPulse(p, v.Hub, now)
	p.linef("%s %s   %s", p.paint(bold, "REPOSITORY"), v.Repository, v.State)
	from := v.URL
	if v.Path != "" {
		from += ", folder " + v.Path
	}
	p.linef("  %s", from)
	since := ""
	if s.DeliveredAt != nil {
		since = fmt.Sprintf(" %s ago", age(now.Sub(s.DeliveredAt.Time)))
	}
	p.linef("  fetched %s   delivered %s%s   plan %s   %s", orNone(fleet.ShortRevision(s.FetchedRevision)), orNone(fleet.ShortRevision(s.Revision)), since,
		orNone(short(s.Plan)), count(int(s.FaultCount), "fault"))
	p.conditions(s.Conditions)
	if h := s.Held; h != nil {
		p.linef("%s %s", p.paint(yellow, "HELD"), oneLine(h.Message))
		p.linef("  %s", strings.Join(h.Items, ", "))
	}
	for _, f := range s.Faults {
		p.fault("FAULT", red, groupOf(f), max(1, int(f.Clusters)))
	}
	if more > 0 {
		p.linef("      … %d more: muster validate in a clone lists them", more)
	}
	printReviews(p, s.Review)
	printNeeds(p, v.NeedsYou)
}

// printReviews lists the pull requests that the hub knows, those that are merged and not through too.
func printReviews(p *printer, s *musterv1alpha1.ReviewStatus) {
	if s == nil {
		return
	}
	if s.Message != "" {
		p.linef("%s %s: %s", p.paint(yellow, "PULL REQUESTS"), s.Reason, oneLine(s.Message))
	}
	rows := [][]string{{"PULL REQUEST", "HEAD", "CHECK", "SAYS"}}
	for _, pr := range s.PullRequests {
		says := pr.Summary
		if pr.ApprovedBy != "" {
			says += ", approved by " + pr.ApprovedBy
		}
		if pr.Merged != "" {
			says += ", merged as " + fleet.ShortRevision(pr.Merged)
		}
		rows = append(rows, []string{fmt.Sprintf("#%d", pr.Number), fleet.ShortRevision(pr.Head), pr.State, oneLine(says)})
	}
	p.table(rows)
}

// conditions prints them with their messages whole.
func (p *printer) conditions(conditions []metav1.Condition) {
	rows := [][]string{{"CONDITION", "STATUS", "REASON", "MESSAGE"}}
	for _, c := range conditions {
		rows = append(rows, []string{c.Type, string(c.Status), c.Reason, c.Message})
	}
	p.table(rows)
}

// groupOf is a fault of a status, which names one cluster of those that have it.
func groupOf(f musterv1alpha1.Fault) fleet.FaultGroup {
	g := fleet.FaultGroup{Fault: fleet.Fault{
		Reason: fleet.Reason(f.Reason), Application: f.Application, File: f.File, Line: int(f.Line), Message: f.Message,
	}}
	g.Clusters = slices.DeleteFunc([]string{f.Cluster}, func(name string) bool { return name == "" })
	return g
}
