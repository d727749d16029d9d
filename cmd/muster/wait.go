package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// progress is how far the hub is with one revision.
type progress struct {
	Revision string   `json:"revision"`
	Done     bool     `json:"done"`
	Ready    []string `json:"ready"`
	// Missing says, a line each, what is not there yet.
	Missing []string `json:"missing"`
	// Offline clusters are not waited for.
	Offline int           `json:"offline"`
	Took    time.Duration `json:"tookNanoseconds"`
}

func waitCommand(c *cli) *cobra.Command {
	var (
		revision, application string
		timeout               time.Duration
	)
	cmd := &cobra.Command{
		Use:   "wait --revision REV",
		Short: "Wait until every application runs a commit, but for clusters that are offline",
		Long: "REV is a commit, its first characters, or, in a Git repository, what git rev-parse takes. Exits 1 when the time is up and\n" +
			"names what is missing.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			return c.wait(cmd.Context(), hub, resolved(revision), application, timeout)
		},
	}
	cmd.Flags().StringVar(&revision, "revision", "", "the commit")
	cmd.Flags().StringVar(&application, "application", "", "wait for this one only, namespace/name")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long")
	if err := cmd.MarkFlagRequired("revision"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// resolved is the full commit, if this folder is in a repository that knows it.
func resolved(revision string) string {
	r, err := openRepository(".", ".")
	if err != nil {
		return revision
	}
	if full, err := r.commit(revision); err == nil {
		return full
	}
	return revision
}

// waitPeriod is how often wait looks.
const waitPeriod = 500 * time.Millisecond

func (c *cli) wait(ctx context.Context, hub client.Client, revision, application string, timeout time.Duration) error {
	if application != "" {
		if _, err := getApplication(ctx, hub, application); err != nil {
			return err
		}
	}
	start := c.now()
	last := ""
	var p progress
	for {
		facts, err := gather(ctx, hub)
		if err != nil {
			return err
		}
		p = progressOf(facts, revision, application)
		p.Took = c.now().Sub(start).Round(time.Millisecond)
		if p.Done {
			return c.print(p, func(out *printer) { printProgress(out, p) })
		}
		if now := strings.Join(p.Missing, "; "); now != last {
			fmt.Fprintf(c.errs, "%4s  %s\n", age(p.Took), shorten(oneLine(now), 160))
			last = now
		}
		if p.Took >= timeout {
			return fmt.Errorf("%s is not everywhere after %s:\n  %s", fleet.ShortRevision(revision), timeout, strings.Join(p.Missing, "\n  "))
		}
		if !pause(ctx, waitPeriod) {
			return fmt.Errorf("interrupted; missing:\n  %s", strings.Join(p.Missing, "\n  "))
		}
	}
}

// progressOf is pure. A revision is there when its repository has delivered it and each of its applications is planned at it
// and healthy on every cluster that answers.
func progressOf(f hubFacts, revision, application string) progress {
	p := progress{Revision: revision, Ready: []string{}, Missing: []string{}}
	delivered := map[string]bool{}
	for i := range f.repositories {
		r := &f.repositories[i]
		if strings.HasPrefix(r.Status.Revision, revision) && r.Status.ObservedGeneration == r.Generation {
			delivered[r.Namespace+"/"+r.Name] = true
			p.Revision = r.Status.Revision
		}
	}
	if len(delivered) == 0 {
		p.Missing = append(p.Missing, undelivered(f.repositories, revision)...)
		return p
	}
	for i := range f.applications {
		a := &f.applications[i]
		key := a.Namespace + "/" + a.Name
		if application != "" && key != application || application == "" && !delivered[a.Annotations[musterv1alpha1.RepositoryAnnotation]] {
			continue
		}
		if lacks := lacking(a, revision); lacks != "" {
			p.Missing = append(p.Missing, key+": "+lacks)
			continue
		}
		p.Ready = append(p.Ready, key)
		p.Offline += int(a.Status.Summary.Offline)
	}
	slices.Sort(p.Ready)
	slices.Sort(p.Missing)
	p.Done = len(p.Missing) == 0
	return p
}

// undelivered says why no repository has delivered a revision.
func undelivered(repositories []musterv1alpha1.FleetRepository, revision string) []string {
	var missing []string
	for i := range repositories {
		r := &repositories[i]
		text := fmt.Sprintf("repository %s/%s is at %s", r.Namespace, r.Name, orNone(fleet.ShortRevision(r.Status.Revision)))
		if strings.HasPrefix(r.Status.FetchedRevision, revision) {
			text = fmt.Sprintf("repository %s/%s has fetched it and not delivered it", r.Namespace, r.Name)
		}
		if c := meta.FindStatusCondition(r.Status.Conditions, "Delivered"); c != nil && c.Status != "True" {
			text += ": " + c.Message
		}
		missing = append(missing, text)
	}
	if len(missing) == 0 {
		return []string{"the hub has no FleetRepository"}
	}
	slices.Sort(missing)
	return missing
}

// lacking says what an application lacks at a revision, "" for nothing.
func lacking(a *musterv1alpha1.Application, revision string) string {
	s := a.Status.Summary
	planned := meta.FindStatusCondition(a.Status.Conditions, "Planned")
	switch {
	case !strings.HasPrefix(a.Status.Revision, revision):
		return "is planned at " + orNone(fleet.ShortRevision(a.Status.Revision))
	case a.Status.ObservedGeneration != a.Generation || planned == nil:
		return "waits for the hub to see it"
	case planned.Status != "True":
		return planned.Message
	case a.Status.Held != nil:
		return a.Status.Held.Message
	case s.Faulty > 0:
		return fmt.Sprintf("failed on %s", count(int(s.Faulty), "cluster"))
	case unhealthy(a.Status):
		return fmt.Sprintf("healthy on %d of %s", s.Healthy, count(int(s.Clusters), "cluster"))
	}
	return ""
}

// unhealthy says that a cluster which answers is not there yet. The rows name the twenty worst; an offline cluster may count
// as healthy too, so that the sums alone do not tell.
func unhealthy(s musterv1alpha1.ApplicationStatus) bool {
	if s.Summary.Healthy+s.Summary.Offline < s.Summary.Clusters {
		return true
	}
	return slices.ContainsFunc(s.Clusters, func(r musterv1alpha1.ClusterStatus) bool {
		return r.State != "Offline" && r.State != "Drifted"
	})
}

func printProgress(p *printer, x progress) {
	text := fmt.Sprintf("%s runs everywhere: %s", fleet.ShortRevision(x.Revision), count(len(x.Ready), "application"))
	if x.Offline > 0 {
		text += fmt.Sprintf(", but for clusters that are offline (%d)", x.Offline)
	}
	p.linef("%s, after %s", text, x.Took)
}
