package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/registration"
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
		overview.ClusterAvailable: {"it joined and answers", managed("a", true, joined, available)},
		overview.ClusterOffline:   {"it joined and does not answer", managed("a", true, joined, condition(clusterv1.ManagedClusterConditionAvailable, false))},
		overview.ClusterJoining:   {"it is accepted and was never there", managed("a", true)},
		overview.ClusterWaiting:   {"nobody accepted it yet", managed("a", false)},
		overview.ClusterDenied:    {"it was accepted and is not any more", managed("a", false, hubAccepted)},
		overview.ClusterReleased:  {"its file left Git: it waits for a person, however well it is", released},
		overview.ClusterLeaving:   {"it is being deleted", leaving},
	} {
		t.Run(want, func(t *testing.T) {
			if got, _ := overview.ClusterState(&row.cluster); got != want {
				t.Errorf("%s: got %s", row.why, got)
			}
		})
	}
}

func app(name, revision string, s musterv1alpha1.Summary, rows ...musterv1alpha1.ClusterStatus) musterv1alpha1.Application {
	a := musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{
		Namespace: "retail", Name: name, Annotations: map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet"},
	}}
	a.Spec.PlacementRef.Name = name
	a.Status.Revision, a.Status.Summary, a.Status.Clusters = revision, s, rows
	a.Status.Conditions = []metav1.Condition{condition("Planned", true), condition("Ready", true)}
	return a
}

func delivered(revision string) musterv1alpha1.FleetRepository {
	r := musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
	r.Status.Revision, r.Status.FetchedRevision = revision, revision
	return r
}

// fleetFacts has something of everything that a person has to know.
func fleetFacts() overview.Facts {
	held := app("web", "aaaaaaaaaa", musterv1alpha1.Summary{Clusters: 3, Current: 2, Held: 1})
	held.Status.Held = &musterv1alpha1.Held{Plan: "7c1e04aa11", Deletions: 3, Message: "retail/web would leave 3 of 4 clusters: approve with muster approve --plan 7c1e04a"}
	repository := delivered("aaaaaaaaaa")
	repository.Status.FaultCount, repository.Status.DeliveredAt = 1, &metav1.Time{Time: time.Unix(0, 0)}
	repository.Status.Conditions = []metav1.Condition{condition("Fetched", true), condition("Ready", true)}
	repository.Status.Faults = []musterv1alpha1.Fault{{Reason: "RenderFailed", Application: "retail/web", Cluster: "a", File: "values.yaml", Line: 12, Message: "no label", ActionRequiredBy: "User"}}
	joined, available := condition(clusterv1.ManagedClusterConditionJoined, true), condition(clusterv1.ManagedClusterConditionAvailable, true)
	return overview.Facts{
		Hub: overview.Hub{State: overview.HubRuns},
		Clusters: []clusterv1.ManagedCluster{
			managed("new", false), managed("a", true, joined, available), managed("b", true, joined), managed("soon", true),
		},
		Applications: []musterv1alpha1.Application{held, app("cart", "aaaaaaaaaa", musterv1alpha1.Summary{Clusters: 1, Current: 1, Healthy: 1})},
		Repositories: []musterv1alpha1.FleetRepository{repository},
		Drift: []overview.Drift{
			{Application: "platform/ledger", Cluster: "b", Record: drift.Record{Path: "spec.replicas", Was: "3", Is: "5", Manager: "kubectl-edit", Time: time.Unix(0, 0)}},
			{Application: "platform/ledger", Cluster: "c", Record: drift.Record{Path: "spec.replicas", Was: "3", Is: "5", Healed: true}},
		},
	}
}

func overviewText(f overview.Facts) []string {
	p := &printer{}
	now := time.Unix(720, 0)
	printOverview(p, overview.FleetOf(f, now), now)
	return strings.Split(strings.TrimSpace(p.b.String()), "\n")
}

func TestOverview(t *testing.T) {
	want := []string{
		"CLUSTERS 4   available 1   offline 1   joining 1   waiting 1",
		"REPOSITORY           FETCHED  DELIVERED  AGO  PLAN  FAULTS  STATE",
		"muster-system/fleet  aaaaaaa  aaaaaaa    12m  -     1       Ready",
		"APPLICATION  REVISION  CURRENT  OFFLINE  FAILED  DRIFT  STATE",
		"retail/cart  aaaaaaa   1/1      0        0       0      Ready",
		"retail/web   aaaaaaa   2/3      0        0       0      Held: 3 deletions",
		"NEEDS YOU",
		"  retail               3 deletions held: retail/web would leave 3 of 4 clusters         muster approve --plan 7c1e04aa",
		"  muster-system/fleet  retail/web on a: RenderFailed: no label                          correct values.yaml:12",
		"  platform             ledger @ b: spec.replicas 3→5 by kubectl-edit, 12m, Report mode  muster drift platform/ledger",
		"  new                  waits to be accepted                                             muster accept new",
	}
	if diff := cmp.Diff(want, overviewText(fleetFacts())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestTroubleOfHubAndRepository: what is wrong with the hub or a repository is on the screen, for people and for programs, with what
// to do.
func TestTroubleOfHubAndRepository(t *testing.T) {
	at := func(seconds int64) metav1.Time { return metav1.Time{Time: time.Unix(seconds, 0)} }
	fetched := func(status metav1.ConditionStatus, reason, message string) func(*overview.Facts) {
		return func(f *overview.Facts) {
			r := &f.Repositories[0]
			r.Status.Conditions = []metav1.Condition{{Type: "Fetched", Status: status, Reason: reason, Message: message, LastTransitionTime: at(420)}, condition("Ready", true)}
			if status == metav1.ConditionFalse {
				r.Status.Conditions[1] = metav1.Condition{Type: "Ready", Status: status, Reason: reason, Message: message}
				r.Status.Faults = []musterv1alpha1.Fault{{Reason: reason, Message: message, ActionRequiredBy: "Controller"}}
			}
		}
	}
	fault := func(f musterv1alpha1.Fault) func(*overview.Facts) {
		return func(facts *overview.Facts) { facts.Repositories[0].Status.Faults = []musterv1alpha1.Fault{f} }
	}
	seen := time.Unix(540, 0)
	for name, row := range map[string]struct {
		why    string
		change func(*overview.Facts)
		text   []string
		next   string
		json   string
	}{
		"dead hub": {"what a dead hub wrote may be old", func(f *overview.Facts) { f.Hub = overview.Hub{State: overview.HubSilent, LastSeen: &seen} },
			[]string{"HUB last seen 3m ago: what is shown may be old"}, "muster up", `"hub":{"state":"silent","lastSeen":"`},
		"no hub": {"nothing would ever happen", func(f *overview.Facts) { f.Hub = overview.Hub{State: overview.HubNever} },
			[]string{"HUB never seen"}, "muster up", `"hub":{"state":"never"}`},
		"unreachable": {"for how long, and what stays", fetched("False", "SourceUnavailable", "git.example.com cannot be reached"),
			[]string{"aaaaaaa    12m", "for 5m: SourceUnavailable: git.example.com cannot be reached"}, "correct spec.url, spec.ref or its Secret: kubectl -n muster-system edit fleetrepository fleet", `"unreadableSince":"`},
		"rewritten": {"it is delivered, and said until the next push", fetched("True", "HistoryRewritten", "the history was rewritten: b does not follow"),
			[]string{"Ready; its history was rewritten", "the history was rewritten: b does not follow"}, "ask who force-pushed", `"rewritten":"the history was rewritten: b does not follow"`},
		"wrong path": {"it stands in no file", fault(musterv1alpha1.Fault{Reason: "ContentMissing", Message: "commit aaaaaaa has no folder flete", ActionRequiredBy: "User"}),
			[]string{"ContentMissing: commit aaaaaaa has no folder flete"}, "correct spec.path: kubectl -n muster-system edit fleetrepository fleet", `"what":"ContentMissing`},
		"not its right": {"the file is well: who may write it is another matter", fault(musterv1alpha1.Fault{Reason: "Forbidden", File: "applications/new.yaml", Line: 1, Message: "account a may not write it", ActionRequiredBy: "User"}),
			[]string{"Forbidden: account a may not write it"}, "give the account the right that it lacks, or take applications/new.yaml:1 out", `"what":"Forbidden`},
		"unbound": {"nothing is wrong with the Secret", fault(musterv1alpha1.Fault{Reason: "SourceUnavailable", Message: `read Secret a/b: secrets "b" is forbidden: User "h" cannot get resource "secrets" in API group ""`, ActionRequiredBy: "Controller"}),
			nil, "kubectl -n muster-system create rolebinding muster:repositories --clusterrole=muster:repositories --serviceaccount=muster-system:muster-hub", `"what":"SourceUnavailable`},
		"long": {"the cause stands at its end", fault(musterv1alpha1.Fault{Reason: "RenderFailed", Message: strings.Repeat("a template calls a template, ", 20) + "which has no label", ActionRequiredBy: "User"}),
			[]string{"a template, which has no label\n                       → kubectl"}, "describe fleetrepository fleet", `which has no label"`},
		"a name of the hub's": {"accepting it would fail", func(f *overview.Facts) { f.Clusters = []clusterv1.ManagedCluster{managed("kube-system", false)} },
			[]string{"kube-system          asks to join, and never can"}, "kubectl delete managedcluster kube-system", `"who":"kube-system"`},
		"empty": {"nothing was ever pushed", fault(musterv1alpha1.Fault{Reason: "RepositoryEmpty", Message: "it has no commit", ActionRequiredBy: "User"}),
			[]string{"RepositoryEmpty: it has no commit"}, "push the fleet's definitions to it", `"what":"RepositoryEmpty`},
		"refused file": {"a huge or binary file, or a link that leaves", fault(musterv1alpha1.Fault{Reason: "ContentRefused", File: "clusters/b.yaml", Message: "it is binary", ActionRequiredBy: "User"}),
			[]string{"ContentRefused: it is binary"}, "correct clusters/b.yaml", `"what":"ContentRefused`},
		"the hub's own": {"no fault says it", func(f *overview.Facts) {
			f.Repositories[0].Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: "Failed", Message: "the API server is slow"}}
		}, []string{"the hub fails, and tries again: the API server is slow"}, "read the hub's log", `"ready":false`},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleetFacts()
			row.change(&f)
			text := strings.Join(overviewText(f), "\n")
			expect(t, text, append(row.text, row.next)...)
			o := overview.FleetOf(f, time.Unix(720, 0))
			data, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, string(data), row.json)
			for _, n := range o.NeedsYou {
				if n.Next == "" {
					t.Errorf("%s: %q does not say what to do", row.why, n.What)
				}
			}
			if o.InOrder() {
				t.Errorf("%s: all is said to be well", row.why)
			}
		})
	}
}

// TestNarrowTerminal: lines that a terminal would break are broken between words, and the state is what is cut.
func TestNarrowTerminal(t *testing.T) {
	f := fleetFacts()
	f.Repositories[0].Status.Faults[0].Message = "the value of label region is missing on the cluster"
	f.Repositories[0].Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: "Faults", Message: strings.Repeat("long ", 30)}}
	p := &printer{width: 80}
	printOverview(p, overview.FleetOf(f, time.Unix(720, 0)), time.Unix(720, 0))
	expect(t, p.b.String(), "  muster-system/fleet  retail/web on a: RenderFailed: the value of label region",
		"                       is missing on the cluster\n                       → correct values.yaml:12\n", "…\n")
	for line := range strings.Lines(p.b.String()) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > 84 { // a state has 20 characters at least
			t.Errorf("too wide: %q", line)
		}
	}
}

// TestRepositoryStatus: whatever the overview cuts is there whole.
func TestRepositoryStatus(t *testing.T) {
	f := fleetFacts()
	r := &f.Repositories[0]
	r.Spec.URL, r.Spec.Path = "https://me:secret@git.example.com/fleet", "acme"
	r.Status.FaultCount = 4
	r.Status.Conditions = []metav1.Condition{{Type: "Planned", Status: "False", Reason: "Faults", Message: strings.Repeat("long ", 30) + "end"}}
	r.Status.Faults = append(r.Status.Faults, musterv1alpha1.Fault{Reason: "RenderFailed", Application: "retail/cart", Cluster: "a", Clusters: 3, File: "cart.yaml", Message: "no such key", ActionRequiredBy: "User"})
	c := &cli{now: func() time.Time { return time.Unix(720, 0) }}
	a := c.repositoryStatus(f, r)
	p := &printer{}
	a.table(p)
	expect(t, p.b.String(), "REPOSITORY muster-system/fleet   Waiting", "  https://git.example.com/fleet, folder acme\n",
		"fetched aaaaaaa   delivered aaaaaaa 12m ago   plan -   4 faults", "long long end\n",
		"FAULT retail/web on a  values.yaml:12  RenderFailed: no label\n",
		"FAULT retail/cart on 3 clusters, such as a  cart.yaml  RenderFailed: no such key\n", "NEEDS YOU", "correct values.yaml:12")
	if a.well {
		t.Error("it has faults, and is said to be well")
	}
}

// TestWell is what --exit-code answers by.
func TestWell(t *testing.T) {
	good := app("cart", "aaaaaaaaaa", musterv1alpha1.Summary{Clusters: 1, Current: 1, Healthy: 1})
	pending := good
	pending.Status.Conditions = []metav1.Condition{condition("Ready", false)}
	for name, row := range map[string]struct {
		app  musterv1alpha1.Application
		hub  string
		well bool
	}{"all is well": {good, overview.HubRuns, true}, "whether the hub runs may not be asked": {good, overview.HubUnknown, true}, "an application is not ready": {pending, overview.HubRuns, false}, "the hub is dead": {good, overview.HubNever, false}} {
		f := overview.Facts{Hub: overview.Hub{State: row.hub}, Applications: []musterv1alpha1.Application{row.app}}
		if got := overview.FleetOf(f, time.Unix(0, 0)).InOrder(); got != row.well {
			t.Errorf("%s: well is %v", name, got)
		}
	}
}

func TestProgress(t *testing.T) {
	done := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Current: 2, Healthy: 2})
	cart := app("cart", "abc123", musterv1alpha1.Summary{Clusters: 1, Current: 1, Healthy: 1})
	offline := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Current: 1, Healthy: 1, Offline: 1}, musterv1alpha1.ClusterStatus{Cluster: "b", State: "Offline"})
	// The offline cluster counts as healthy, from before it went away; the other one is not there yet.
	both := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Healthy: 1, Offline: 1}, musterv1alpha1.ClusterStatus{Cluster: "a", State: "Pending"})
	dark := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Current: 2, Healthy: 2, Offline: 2}, musterv1alpha1.ClusterStatus{Cluster: "a", State: "Offline"}, musterv1alpha1.ClusterStatus{Cluster: "b", State: "Offline"})
	held := done
	held.Status.Held = &musterv1alpha1.Held{Message: "waits for an approval"}
	refused := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Healthy: 1, Faulty: 1})
	rejected := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Healthy: 1, Faulty: 1},
		musterv1alpha1.ClusterStatus{Cluster: "a", State: "Failed", Reason: "ApplyFailed", Message: "Service x: Invalid value", ActionRequiredBy: "User"})
	waiting := app("web", "fff", musterv1alpha1.Summary{Clusters: 1, Healthy: 1})
	waiting.Status.Conditions = []metav1.Condition{{Type: "Planned", Status: "False", Reason: "Waiting", Message: "cannot be read"}}
	typo := musterv1alpha1.Fault{Reason: "DefinitionInvalid", File: "applications/new.yaml", Line: 6, Message: "Application retail/new: unknown field spec.placmentRef", ActionRequiredBy: "User"}
	forbidden := musterv1alpha1.Fault{Reason: "Forbidden", File: "applications/new.yaml", Line: 1, Message: "Application retail/new: account a may not write it", ActionRequiredBy: "User"}
	malformed := musterv1alpha1.Fault{Reason: "FileMalformed", File: "applications/web.yaml", Line: 3, Message: "did not find expected key", ActionRequiredBy: "User"}
	noNamespace := musterv1alpha1.Fault{Reason: "Refused", File: "applications/new.yaml", Message: "the hub has no namespace retail", ActionRequiredBy: "Controller"}
	oneCluster := musterv1alpha1.Fault{Reason: "RenderFailed", Application: "retail/cart", Cluster: "b", File: "values.yaml", Message: "no label", ActionRequiredBy: "User"}
	unreachable := musterv1alpha1.Fault{Reason: "SourceUnavailable", Message: "no route", ActionRequiredBy: "User"}
	faulty := func(move, reason string) musterv1alpha1.Application {
		a := app("web", "abc123", musterv1alpha1.Summary{Clusters: 2, Healthy: 1, Faulty: 1},
			musterv1alpha1.ClusterStatus{Cluster: "a", State: "Faulty", Reason: reason, ActionRequiredBy: move, File: "values.yaml", Line: 7})
		a.Status.Conditions = []metav1.Condition{{Type: "Planned", Status: "False", Reason: "Faults", Message: "no label"}}
		return a
	}
	nowhere := app("web", "abc123", musterv1alpha1.Summary{})
	hand := app("hand", "generation-1", musterv1alpha1.Summary{})
	hand.Annotations = nil
	chosen := clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web"}}
	chosen.Status.NumberOfSelectedClusters = 3
	gone := &musterv1alpha1.Held{Deletions: 1, Items: []string{"application retail/web, on 1 clusters"}, Message: "1 application left the repository and runs on clusters: muster approve --plan 0123456"}
	later := func(string) (bool, bool) { return true, true }
	elsewhere := func(string) (bool, bool) { return false, true }
	type apps = []musterv1alpha1.Application
	type faults = []musterv1alpha1.Fault
	for name, row := range map[string]struct {
		why      string
		at       string
		fetched  string // "" when it is what is delivered
		apps     apps
		faults   []musterv1alpha1.Fault // of the repository
		removal  *musterv1alpha1.Held   // of the repository
		asked    asked
		missing  string // "" when it is there
		blocked  bool
		unproven bool
		text     string // what is printed when it is there
	}{
		"everywhere":              {why: "all are healthy at the commit", at: "abc123", apps: apps{done, cart}, text: "healthy on 3 of 3 clusters over 2 applications"},
		"but offline":             {why: "a cluster that does not answer is named and not waited for", at: "abc123", apps: apps{offline}, text: "offline, and not waited for: retail/web: b"},
		"offline counts healthy":  {why: "an offline cluster must not hide one that is not there yet", at: "abc123", apps: apps{both}, missing: "healthy on 1 of 2 clusters"},
		"all offline":             {why: "nobody is there to show it, however healthy they were", at: "abc123", apps: apps{dark, cart}, missing: "no cluster of its 2 answers: a b", unproven: true},
		"no cluster has it":       {why: "three were chosen", at: "abc123", apps: apps{nowhere}, missing: "chose 3 clusters, and none has it", unproven: true},
		"no cluster at all":       {why: "one cluster has not joined yet", at: "abc123", apps: apps{app("cart", "abc123", musterv1alpha1.Summary{})}, missing: "nothing runs it (not joined yet: soon)", unproven: true},
		"held":                    {why: "an approval is a person's", at: "abc123", apps: apps{held}, missing: "waits for an approval", blocked: true},
		"faulty":                  {why: "only a commit resolves it", at: "abc123", apps: apps{faulty("User", "RenderFailed")}, missing: "no label; correct values.yaml:7", blocked: true},
		"faulty for now":          {why: "the hub tries again", at: "abc123", apps: apps{faulty("Controller", "DecisionsIncomplete")}, missing: "no label"},
		"claimed for now":         {why: "the other application may let go", at: "abc123", apps: apps{faulty("User", "ObjectClaimed")}, missing: "no label"},
		"refused":                 {why: "a cluster may take it later", at: "abc123", apps: apps{refused}, missing: "failed on 1 cluster"},
		"older":                   {why: "the application is at another commit", at: "abc123", apps: apps{app("web", "fff", musterv1alpha1.Summary{})}, missing: "planned at fff"},
		"not delivered":           {why: "the repository is not there", at: "fff", apps: apps{done}, missing: "muster-system/fleet is at fff, and whether that contains it is not known here"},
		"not contained":           {why: "it is known not to be", at: "fff", apps: apps{done}, asked: asked{contains: elsewhere}, missing: "muster-system/fleet is at fff"},
		"later":                   {why: "a later commit contains it", at: "def456", apps: apps{app("web", "def456", musterv1alpha1.Summary{Clusters: 1, Healthy: 1})}, asked: asked{contains: later}, text: "def456, which contains abc1, runs"},
		"by hand":                 {why: "an application of no repository is at no commit", at: "abc123", apps: apps{done, hand}, text: "over 1 application"},
		"rejected":                {why: "an object that the cluster's API server refuses wants a commit", at: "abc123", apps: apps{rejected}, missing: "failed on 1 cluster: a: Service x: Invalid value", blocked: true},
		"a typo in a new one":     {why: "it is not on the hub, and nobody else tells", at: "abc123", apps: apps{done}, faults: faults{typo}, missing: "repository muster-system/fleet: applications/new.yaml:6: Application retail/new: unknown field", blocked: true},
		"the only one":            {why: "it is not that the commit defines none", at: "abc123", faults: faults{forbidden}, missing: "applications/new.yaml:1: Application retail/new: account a may not write it", blocked: true},
		"asked for another":       {why: "the fault is not about it", at: "abc123", apps: apps{done}, faults: faults{typo}, asked: asked{application: "retail/web"}, text: "healthy on 2 of 2"},
		"asked for it":            {why: "the fault is about it", at: "abc123", faults: faults{typo}, asked: asked{application: "retail/new"}, missing: "unknown field", blocked: true},
		"asked for and not there": {why: "the fault is gone and the application has not come", at: "abc123", apps: apps{done}, asked: asked{application: "retail/new"}, missing: "is not on the hub"},
		"its file is malformed":   {why: "it waits for a commit that can be read", at: "abc123", apps: apps{waiting}, faults: faults{malformed}, asked: asked{application: "retail/web"}, missing: "retail/web: applications/web.yaml:3: did not find", blocked: true},
		"not yet on the hub":      {why: "the hub tries again", at: "abc123", apps: apps{done}, faults: faults{noNamespace}, missing: "the hub has no namespace retail"},
		"told by the application": {why: "it has a row for it, or has got over it", at: "abc123", apps: apps{cart}, faults: faults{oneCluster}, text: "healthy on 1 of 1"},
		"unreachable later":       {why: "the commit is there", at: "abc123", apps: apps{done}, faults: faults{unreachable}, text: "healthy on 2 of 2"},
		"a later one is broken":   {why: "that is another commit", at: "abc123", fetched: "def456", apps: apps{done}, faults: faults{typo}, text: "healthy on 2 of 2"},
		"more than are listed":    {why: "one of them may be an application that is not there", at: "abc123", apps: apps{cart}, faults: slices.Repeat(faults{oneCluster}, 20), missing: "4 faults more", unproven: true},
		"nothing readable":        {why: "only another commit is ever delivered", at: "fff", fetched: "abc123", apps: apps{done}, faults: faults{malformed}, missing: "applications/web.yaml:3: did not find", blocked: true},
		"removal held":            {why: "the commit does not define it, and a person decides", at: "abc123", apps: apps{app("web", "fff", musterv1alpha1.Summary{Clusters: 1, Healthy: 1}), cart}, removal: gone, missing: "retail/web: 1 application left", blocked: true},
		"removal asked for":       {why: "it is the one that is held", at: "abc123", apps: apps{app("web", "fff", musterv1alpha1.Summary{Clusters: 1, Healthy: 1}), cart}, removal: gone, asked: asked{application: "retail/web"}, missing: "muster approve --plan 0123456", blocked: true},
		"removal of another":      {why: "the commit runs, as far as was asked", at: "abc123", apps: apps{app("web", "fff", musterv1alpha1.Summary{Clusters: 1, Healthy: 1}), cart}, removal: gone, asked: asked{application: "retail/cart"}, text: "healthy on 1 of 1"},
		"removals not listed":     {why: "the status names some", at: "abc123", apps: apps{app("web", "fff", musterv1alpha1.Summary{Clusters: 1, Healthy: 1}), cart}, removal: &musterv1alpha1.Held{Deletions: 2, Items: []string{"application retail/webs, on 1 clusters"}, Message: "2 left: muster approve"}, missing: "retail/web: 2 left", blocked: true},
		"new and on its way":      {why: "the push came a moment ago", at: "fff", apps: apps{done}, asked: asked{application: "retail/new"}, missing: "muster-system/fleet is at fff"},
		"none":                    {why: "a repository may define clusters only", at: "abc123", text: "defines no application"},
	} {
		t.Run(name, func(t *testing.T) {
			f := overview.Facts{
				Hub: overview.Hub{State: overview.HubRuns}, Repositories: []musterv1alpha1.FleetRepository{delivered(row.at)}, Applications: row.apps,
				Placements: []clusterv1beta1.Placement{chosen}, Clusters: []clusterv1.ManagedCluster{managed("soon", true)},
			}
			row.asked.revision = "abc1"
			r := &f.Repositories[0]
			r.Status.Held = row.removal
			r.Status.Faults, r.Status.FetchedRevision = row.faults, firstOf(row.fetched, row.at)
			r.Status.FaultCount = 24
			for _, x := range row.faults {
				if x.Reason == "SourceUnavailable" {
					r.Status.Conditions = []metav1.Condition{{Type: "Fetched", Status: "False", Reason: x.Reason, Message: x.Message}}
				}
			}
			p := progressOf(f, row.asked)
			if p.Done != (row.missing == "") || !strings.Contains(strings.Join(p.lacks(), ";"), row.missing) || (len(p.Blocked) > 0) != row.blocked || (len(p.Unproven) > 0) != row.unproven {
				t.Errorf("%s: done %v, missing %q, blocked %q, unproven %q", row.why, p.Done, p.Missing, p.Blocked, p.Unproven)
			}
			if p.undefined != (name == "asked for and not there") {
				t.Errorf("%s: undefined %v", row.why, p.undefined)
			}
			if slices.Sort(p.Missing); len(slices.Compact(slices.Clone(p.Missing))) != len(p.Missing) {
				t.Errorf("%s: said twice: %q", row.why, p.Missing)
			}
			if !p.Done {
				return
			}
			out := &printer{}
			printProgress(out, p)
			expect(t, out.b.String(), row.text)
		})
	}
	dead := overview.Facts{Hub: overview.Hub{State: overview.HubNever}, Repositories: []musterv1alpha1.FleetRepository{delivered("abc123")}, Applications: apps{done}}
	if p := progressOf(dead, asked{revision: "abc1"}); p.Done {
		t.Error("a hub that does not run shows nothing")
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
		"by the port of another way":            {"http://Git.example.com:18080/acme/fleet.git", ".", "muster-system/fleet"},
		"by SSH on a port":                      {"ssh://git@git.example.com:12222/acme/mono.git", "fleet", "retail/shop"},
		"on this disk":                          {"file:///srv/fleet", ".", "local/disk"},
		"another":                               {"https://git.example.com/acme/else", "", defaultRepository},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := repositoryOfFiles(repositories, "", place{[]string{row.url}, row.path})
			if got != row.want || err != nil {
				t.Errorf("got %s %v, want %s", got, err, row.want)
			}
		})
	}
}

// TestStandsFor: a plan for another repository than the files are of looks well, so that a guess is said and a wrong name refused.
func TestStandsFor(t *testing.T) {
	shop := repositoryName{Name: "retail/shop", URL: "https://git.example.com/acme/mono", Path: "fleet"}
	beta := repositoryName{Name: "retail/beta", URL: "https://git.example.com/acme/mono", Path: "fleet"}
	main := repositoryName{Name: defaultRepository, URL: "https://git.example.com/acme/fleet"}
	mono := place{[]string{"git@git.example.com:acme/mono.git"}, "fleet"}
	for name, row := range map[string]struct {
		there  []repositoryName
		named  string
		files  place
		want   string
		guess  string
		errHas string
	}{
		"matches":          {there: []repositoryName{main, shop}, files: mono, want: "retail/shop"},
		"the only one":     {there: []repositoryName{shop}, files: place{}, want: "retail/shop", guess: "no FleetRepository has the URL and the path of these files, so that they stand for retail/shop: --repository"},
		"one of several":   {there: []repositoryName{main, shop}, files: place{}, want: defaultRepository, guess: "stand for muster-system/fleet: --repository"},
		"none is there":    {files: mono, want: defaultRepository, guess: "muster-system/fleet, which is not there"},
		"several match":    {there: []repositoryName{shop, beta}, files: mono, errHas: "the path of retail/beta, retail/shop: say with --repository"},
		"named of several": {there: []repositoryName{shop, beta}, named: "retail/beta", files: mono, want: "retail/beta"},
		"named another":    {there: []repositoryName{main, shop}, named: "retail/shop", files: place{[]string{main.URL}, ""}, want: "retail/shop"},
		"named, not there": {there: []repositoryName{main, shop}, named: "x/y", files: mono, errHas: "there are muster-system/fleet, retail/shop"},
		"named nearly":     {there: []repositoryName{main, shop}, named: "retail/shp", files: mono, errHas: "did you mean retail/shop?"},
	} {
		t.Run(name, func(t *testing.T) {
			got, guess, err := repositoryOfFiles(row.there, row.named, row.files)
			if got != row.want || !strings.Contains(guess, row.guess) || (guess == "") != (row.guess == "") || (err == nil) != (row.errHas == "") {
				t.Errorf("got %q, guess %q, %v", got, guess, err)
			}
			if err != nil {
				expect(t, err.Error(), row.errHas)
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

// TestSecondAgentIsShown: somebody who asks to join under the name of a cluster that has joined is a person's business.
func TestSecondAgentIsShown(t *testing.T) {
	joined, available := condition(clusterv1.ManagedClusterConditionJoined, true), condition(clusterv1.ManagedClusterConditionAvailable, true)
	asks := condition(registration.ConditionJoinRequest, false)
	asks.Message = "x asks to join as agent a2, and agent a1 has joined under this name"
	m := managed("edge-1", true, joined, available, asks)
	needs := overview.NeedsOf(overview.Facts{Hub: overview.Hub{State: overview.HubRuns}, Clusters: []clusterv1.ManagedCluster{m}}, time.Unix(0, 0))
	if len(needs) != 1 || needs[0].Who != "edge-1" || needs[0].What != asks.Message {
		t.Errorf("needs %+v", needs)
	}
	if text := overview.WhoAsks(&m); text != asks.Message {
		t.Errorf("of the cluster is said %q", text)
	}
	if needs := overview.NeedsOf(overview.Facts{Hub: overview.Hub{State: overview.HubRuns}, Clusters: []clusterv1.ManagedCluster{managed("edge-1", true, joined, available)}}, time.Unix(0, 0)); len(needs) > 0 {
		t.Errorf("needs without a request: %+v", needs)
	}
}

func TestPrintedReasons(t *testing.T) {
	p := &printer{}
	row := &musterv1alpha1.ClusterStatus{Cluster: "a", State: "Failed", Reason: "Refused", Message: "the hub refuses the work: too large", ActionRequiredBy: "User"}
	printReasons(p, &overview.Reasons{Subject: "application retail/web on a", Row: row, Waits: []string{"the cluster is offline"}}, "a")
	expect(t, p.b.String(), "WAITS the cluster is offline", "Failed: Refused the hub refuses the work: too large")
}
