package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/drift"
)

func condition(kind string, ok bool) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: "R", Message: "m"}
}

func managed(name string, accepted bool, conditions ...metav1.Condition) clusterv1.ManagedCluster {
	m := clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	m.Spec.HubAcceptsClient = accepted
	m.Status.Conditions = conditions
	return m
}

func TestClusterState(t *testing.T) {
	joined, available := condition(clusterv1.ManagedClusterConditionJoined, true), condition(clusterv1.ManagedClusterConditionAvailable, true)
	hubAccepted := condition(clusterv1.ManagedClusterConditionHubAccepted, true)
	released := managed("released", true, joined, available)
	released.Annotations = map[string]string{musterv1alpha1.ReleasedAnnotation: "its file left"}
	leaving := managed("leaving", true, joined, available)
	leaving.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	for want, row := range map[string]struct {
		why     string
		cluster clusterv1.ManagedCluster
	}{
		clusterAvailable: {"it joined and answers", managed("a", true, joined, available)},
		clusterOffline:   {"it joined and does not answer", managed("a", true, joined, condition(clusterv1.ManagedClusterConditionAvailable, false))},
		clusterJoining:   {"it is accepted and was never there", managed("a", true)},
		clusterWaiting:   {"nobody accepted it yet", managed("a", false)},
		clusterDenied:    {"it was accepted and is not any more", managed("a", false, hubAccepted)},
		clusterReleased:  {"its file left Git: it waits for a person, however well it is", released},
		clusterLeaving:   {"it is being deleted", leaving},
	} {
		t.Run(want, func(t *testing.T) {
			if got, _ := clusterState(&row.cluster); got != want {
				t.Errorf("%s: got %s", row.why, got)
			}
		})
	}
}

func app(name, revision string, s musterv1alpha1.Summary, rows ...musterv1alpha1.ClusterStatus) musterv1alpha1.Application {
	a := musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{
		Namespace: "retail", Name: name, Annotations: map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet"},
	}}
	a.Status.Revision, a.Status.Summary, a.Status.Clusters = revision, s, rows
	a.Status.Conditions = []metav1.Condition{condition("Planned", true), condition("Ready", true)}
	return a
}

func delivered(revision string) musterv1alpha1.FleetRepository {
	r := musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
	r.Status.Revision, r.Status.FetchedRevision = revision, revision
	return r
}

func TestOverview(t *testing.T) {
	held := app("web", "aaaaaaaaaa", musterv1alpha1.Summary{Clusters: 3, Current: 2, Held: 1})
	held.Status.Held = &musterv1alpha1.Held{Plan: "7c1e04aa11", Deletions: 3, Message: "retail/web would leave 3 of 4 clusters: approve with muster approve --plan 7c1e04a"}
	repository := delivered("aaaaaaaaaa")
	repository.Status.FaultCount = 1
	repository.Status.Faults = []musterv1alpha1.Fault{{Reason: "RenderFailed", Application: "retail/web", Cluster: "a", File: "values.yaml", Line: 12, Message: "no label", Move: "Author"}}
	facts := hubFacts{
		clusters:     []clusterv1.ManagedCluster{managed("new", false)},
		applications: []musterv1alpha1.Application{held, app("cart", "aaaaaaaaaa", musterv1alpha1.Summary{Clusters: 1, Current: 1, Healthy: 1})},
		repositories: []musterv1alpha1.FleetRepository{repository},
		drift: []driftRow{
			{Application: "platform/ledger", Cluster: "b", Record: drift.Record{Path: "spec.replicas", Was: "3", Is: "5", Manager: "kubectl-edit", Time: time.Unix(0, 0)}},
			{Application: "platform/ledger", Cluster: "c", Record: drift.Record{Path: "spec.replicas", Was: "3", Is: "5", Healed: true}},
		},
	}
	p := &printer{}
	printOverview(p, overviewOf(facts, time.Unix(720, 0)))
	want := []string{
		"CLUSTERS 1   waiting 1",
		"APPLICATION  REVISION  CURRENT  OFFLINE  FAILED  DRIFT  STATE",
		"retail/cart  aaaaaaa   1/1      0        0       0      Ready",
		"retail/web   aaaaaaa   2/3      0        0       0      Held: 3 deletions",
		"NEEDS YOU",
		"  retail               3 deletions held: retail/web would leave 3 of 4 clusters  muster approve --plan 7c1e04aa",
		"  muster-system/fleet  retail/web on a: RenderFailed: no label                   values.yaml:12",
		"  platform             ledger @ b                                                spec.replicas 3→5 by kubectl-edit, 12m, Report mode",
		"  new                  waits to be accepted                                      muster accept new",
	}
	got := strings.Split(strings.TrimSpace(p.b.String()), "\n")
	got = append(got[:1], got[3:]...) // without the repositories
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestProgress(t *testing.T) {
	done := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Current: 2, Healthy: 2})
	offline := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Current: 1, Healthy: 1, Offline: 1}, musterv1alpha1.ClusterStatus{Cluster: "b", State: "Offline"})
	// The offline cluster counts as healthy, from before it went away; the other one is not there yet.
	both := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Healthy: 1, Offline: 1}, musterv1alpha1.ClusterStatus{Cluster: "a", State: "Pending"})
	held := done
	held.Status.Held = &musterv1alpha1.Held{Message: "waits for an approval"}
	faulty := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Healthy: 1, Faulty: 1})
	unplanned := app("web", "abc123", musterv1alpha1.Summary{})
	unplanned.Status.Conditions = []metav1.Condition{condition("Planned", false)}
	hand := app("hand", "generation-1", musterv1alpha1.Summary{})
	hand.Annotations = nil
	for name, row := range map[string]struct {
		why     string
		at      string
		apps    []musterv1alpha1.Application
		missing string // "" when it is done
	}{
		"everywhere":             {"all are healthy at the commit", "abc123", []musterv1alpha1.Application{done}, ""},
		"but offline":            {"a cluster that does not answer is not waited for", "abc123", []musterv1alpha1.Application{offline}, ""},
		"offline counts healthy": {"an offline cluster must not hide one that is not there yet", "abc123", []musterv1alpha1.Application{both}, "healthy on 1 of 2 clusters"},
		"held":                   {"what is held is not done", "abc123", []musterv1alpha1.Application{held}, "waits for an approval"},
		"faulty":                 {"a cluster failed", "abc123", []musterv1alpha1.Application{faulty}, "failed on 1 cluster"},
		"unplanned":              {"no cluster is no proof when nothing could be planned", "abc123", []musterv1alpha1.Application{unplanned}, "m"},
		"older":                  {"the application is at another commit", "abc123", []musterv1alpha1.Application{app("web", "fff", musterv1alpha1.Summary{})}, "planned at fff"},
		"not delivered":          {"the repository is not there", "fff", []musterv1alpha1.Application{done}, "muster-system/fleet is at fff"},
		"by hand":                {"an application of no repository is at no commit", "abc123", []musterv1alpha1.Application{done, hand}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := hubFacts{repositories: []musterv1alpha1.FleetRepository{delivered(row.at)}, applications: row.apps}
			p := progressOf(f, "abc1", "")
			if p.Done != (row.missing == "") || !strings.Contains(strings.Join(p.Missing, ";"), row.missing) {
				t.Errorf("%s: done %v, missing %q", row.why, p.Done, p.Missing)
			}
		})
	}
}

func TestHeldBy(t *testing.T) {
	of := func(plans ...string) []heldObject {
		var list []heldObject
		for _, p := range plans {
			list = append(list, heldObject{Kind: "Application", Name: "retail/" + p, Held: &musterv1alpha1.Held{Plan: p}})
		}
		return list
	}
	for name, row := range map[string]struct {
		held   []heldObject
		prefix string
		want   int
		err    string
	}{
		"one":         {of("aaaaaa11", "bbbbbb22"), "aaaaaa", 1, ""},
		"same plan":   {of("aaaaaa11", "aaaaaa11"), "aaaaaa1", 2, ""},
		"ambiguous":   {of("aaaaaa11", "aaaaaa22"), "aaaaaa", 0, "2 plans"},
		"none so":     {of("aaaaaa11"), "cccccc", 0, "held are aaaaaa11 (Application retail/aaaaaa11)"},
		"none at all": {nil, "cccccc", 0, "nothing is held"},
		"too short":   {of("aaaaaa11"), "a", 0, "at least 6"},
		"empty":       {of("aaaaaa11"), "", 0, "at least 6"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := heldBy(row.held, row.prefix)
			if len(got) != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestDetachable(t *testing.T) {
	joined := condition(clusterv1.ManagedClusterConditionJoined, true)
	there, away := managed("a", true, joined, condition(clusterv1.ManagedClusterConditionAvailable, true)), managed("a", true, joined)
	git := there
	git.Annotations = map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet"}
	released := there
	released.Annotations = map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet", musterv1alpha1.ReleasedAnnotation: "x"}
	for name, row := range map[string]struct {
		why     string
		cluster clusterv1.ManagedCluster
		keep    bool
		err     string
	}{
		"there, clean":  {"its agent cleans up", there, false, ""},
		"away, clean":   {"nobody would clean up, and it would never end", away, false, "does not answer"},
		"away, keep":    {"nothing is asked of it", away, true, ""},
		"in Git":        {"Git would bring it back", git, true, "remove its file there first"},
		"left Git":      {"it was released", released, false, ""},
		"never arrived": {"nothing was ever applied there", managed("a", true), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := detachable(&row.cluster, row.keep)
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("%s: got %v", row.why, err)
			}
		})
	}
}

func TestMatchingRepository(t *testing.T) {
	repositories := []repositoryName{
		{Name: "muster-system/fleet", URL: "https://git.example.com/acme/fleet.git"},
		{Name: "retail/shop", URL: "ssh://git@git.example.com/acme/mono", Path: "fleet"},
		{Name: "local/disk", URL: "file:///srv/fleet.git"},
	}
	for name, row := range map[string]struct{ url, path, want string }{
		"same host and path, fetched otherwise": {"git@git.example.com:acme/fleet", ".", "muster-system/fleet"},
		"with credentials":                      {"https://me:secret@git.example.com/acme/fleet", "", "muster-system/fleet"},
		"a folder of it":                        {"https://git.example.com/acme/mono.git", "fleet", "retail/shop"},
		"another folder of it":                  {"https://git.example.com/acme/mono.git", "other", defaultRepository},
		"on this disk":                          {"file:///srv/fleet", ".", "local/disk"},
		"another":                               {"https://git.example.com/acme/else", "", defaultRepository},
	} {
		t.Run(name, func(t *testing.T) {
			if got := matching(repositories, []string{row.url}, row.path); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

// TestPrintedText holds that what comes from elsewhere cannot steer a terminal.
func TestPrintedText(t *testing.T) {
	if got := oneLine("a\x1b[2Jb\nc\u009bd"); got != "a[2Jb cd" {
		t.Errorf("got %q", got)
	}
	if got := shorten("äöüß", 3); got != "äö…" {
		t.Errorf("got %q", got)
	}
}
