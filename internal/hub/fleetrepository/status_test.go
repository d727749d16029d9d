package fleetrepository

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/source"
	"github.com/muster-io/muster/internal/test"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func delivery(revision string) *hub.Delivery {
	return &hub.Delivery{Snapshot: fleet.Snapshot{Revision: revision}}
}

func TestStatusOf(t *testing.T) {
	unavailable := fleet.Fail(fleet.SourceUnavailable, errors.New("the host does not answer: check spec.url"))
	cases := map[string]struct {
		why      string
		before   musterv1alpha1.FleetRepositoryStatus
		out      *report
		err      error
		revision string
		ready    metav1.ConditionStatus
		reason   string
	}{
		"Delivered": {
			why: "a commit went the whole way", out: &report{fetched: "new", delivery: delivery("new"), plan: &plan.Plan{Digest: "d"}, delivered: true},
			revision: "new", ready: "True", reason: ReasonSucceeded,
		},
		"Waiting": {
			why:      "placements are not decided yet: the last good commit stays",
			before:   musterv1alpha1.FleetRepositoryStatus{Revision: "old"},
			out:      &report{fetched: "new", delivery: delivery("new"), plan: &plan.Plan{}, waiting: "placement x"},
			revision: "old", ready: "False", reason: ReasonWaiting,
		},
		"Unreachable": {
			why:      "the remote does not answer: what is delivered stays delivered, and the fault says so",
			before:   musterv1alpha1.FleetRepositoryStatus{Revision: "old"},
			out:      &report{fetched: "old", fetchErr: unavailable, delivery: delivery("old"), plan: &plan.Plan{}, delivered: true},
			revision: "old", ready: "False", reason: string(fleet.SourceUnavailable),
		},
		"Faults": {
			why:      "a bad application is said; the commit is delivered",
			out:      &report{fetched: "new", delivery: delivery("new"), plan: &plan.Plan{}, delivered: true, faults: []fleet.Fault{{Reason: fleet.RenderFailed, Message: "x"}}},
			revision: "new", ready: "False", reason: ReasonFaults,
		},
		"Held": {
			why:      "deletions wait for an approval",
			out:      &report{fetched: "new", delivery: delivery("new"), plan: &plan.Plan{}, delivered: true, held: &musterv1alpha1.Held{Message: "approve"}},
			revision: "new", ready: "False", reason: ReasonHeld,
		},
		"Failed": {
			why:    "the hub's own trouble",
			before: musterv1alpha1.FleetRepositoryStatus{Revision: "old"},
			out:    &report{fetched: "new"}, err: errors.New("timeout"),
			revision: "old", ready: "False", reason: ReasonFailed,
		},
		"Nothing": {
			why: "nothing was ever fetched", out: &report{fetchErr: unavailable}, ready: "False", reason: string(fleet.SourceUnavailable),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			repo := &musterv1alpha1.FleetRepository{Status: tc.before}
			status := statusOf(repo, tc.out, tc.err, now)
			ready := meta.FindStatusCondition(status.Conditions, ConditionReady)
			if status.Revision != tc.revision || ready.Status != tc.ready || ready.Reason != tc.reason || ready.Message == "" {
				t.Errorf("%s: revision %q, Ready %s %s %q; want %q %s %s",
					tc.why, status.Revision, ready.Status, ready.Reason, ready.Message, tc.revision, tc.ready, tc.reason)
			}
		})
	}
}

func TestFaultsAreFolded(t *testing.T) {
	var faults []fleet.Fault
	for _, cluster := range []string{"a", "b", "c"} {
		faults = append(faults, fleet.Fault{Reason: fleet.RenderFailed, Application: "x/y", Cluster: cluster, File: "f", Line: 3, Message: "same"})
	}
	for i := range 40 {
		faults = append(faults, fleet.Fault{Reason: fleet.RenderFailed, Application: "x/y", File: "g", Line: i + 1, Message: "other"})
	}
	list := hubFaults(faults)
	if len(list) != 20 || list[0].Clusters != 3 || list[0].Line != 3 {
		t.Errorf("%d faults, the first %+v; want 20, the first on 3 clusters", len(list), list[0])
	}
}

// TestEveryFaultOfASourceIsInTheStatus reads real repositories that are wrong, as a reconciliation does.
func TestEveryFaultOfASourceIsInTheStatus(t *testing.T) {
	const cluster = "-- clusters/a.yaml --\napiVersion: cluster.open-cluster-management.io/v1\nkind: ManagedCluster\nmetadata: {name: a}\n"
	cases := map[string]struct {
		why    string
		spec   func(*musterv1alpha1.FleetRepositorySpec)
		files  func(r *test.Repository)
		ready  string // its reason
		reason fleet.Reason
		file   string
		says   string
	}{
		"gone": {
			why: "nothing is at the URL", spec: func(s *musterv1alpha1.FleetRepositorySpec) { s.URL += "-moved" },
			ready: "SourceUnavailable", reason: fleet.SourceUnavailable, says: "there is no such repository",
		},
		"no branch": {
			why: "the ref is none of the repository's", spec: func(s *musterv1alpha1.FleetRepositorySpec) { s.Ref.Branch = "mian" },
			ready: "SourceUnavailable", reason: fleet.SourceUnavailable, says: "branch mian",
		},
		"wrong path": {
			why: "the folder is not in the commit", spec: func(s *musterv1alpha1.FleetRepositorySpec) { s.Path = "flete" },
			ready: "ContentMissing", reason: fleet.ContentMissing, says: "has no folder flete",
		},
		"nothing defined": {
			why: "an empty repository asks for nothing to be deleted", files: func(r *test.Repository) { r.Commit("-- clusters/a.yaml --\ndeleted\n") },
			ready: "Waiting", reason: fleet.RepositoryEmpty, file: "muster.yaml", says: "nothing is defined",
		},
		"huge file": {
			why: "a file is larger than what is read", files: func(r *test.Repository) { r.Commit("-- clusters/b.yaml --\n# " + strings.Repeat("x", 2000) + "\n") },
			ready: "Faults", reason: fleet.ContentRefused, file: "clusters/b.yaml", says: "make it smaller",
		},
		"binary file": {
			why: "a file is no text", files: func(r *test.Repository) { r.Commit("-- clusters/b.yaml --\n\x00\x01\x02\n") },
			ready: "Faults", reason: fleet.ContentRefused, file: "clusters/b.yaml", says: "it is binary",
		},
		"link that leaves": {
			why: "the hub's disk is not the repository's", files: func(r *test.Repository) {
				if err := os.Symlink("/etc/passwd", filepath.Join(r.Dir, "clusters/b.yaml")); err != nil {
					t.Fatal(err)
				}
				r.Commit("")
			},
			ready: "Faults", reason: fleet.ContentRefused, file: "clusters/b.yaml", says: "leads out of the repository",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			git := test.NewRepository(t, cluster)
			if tc.files != nil {
				tc.files(git)
			}
			repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: musterv1alpha1.FleetRepositorySpec{URL: git.URL()}}
			if tc.spec != nil {
				tc.spec(&repo.Spec)
			}
			store := &source.Store{Dir: t.TempDir(), Local: []string{filepath.Dir(git.Dir)}, MaxFile: 1000}
			r := &Repositories{Store: store, Deliveries: &hub.Deliveries{Store: store}, Now: func() time.Time { return now }}
			out, err := r.readOnly(t, repo)
			status := statusOf(repo, out, err, now)
			if ready := meta.FindStatusCondition(status.Conditions, ConditionReady); ready.Status != "False" || ready.Reason != tc.ready {
				t.Errorf("%s: Ready is %s %s %q, want False %s", tc.why, ready.Status, ready.Reason, ready.Message, tc.ready)
			}
			if len(status.Faults) != 1 {
				t.Fatalf("%s: the faults are %+v, want one", tc.why, status.Faults)
			}
			f := status.Faults[0]
			if f.Reason != string(tc.reason) || f.File != tc.file || !strings.Contains(f.Message, tc.says) || status.FaultCount != 1 {
				t.Errorf("%s: the fault is %+v, want %s %s about %q", tc.why, f, tc.reason, tc.file, tc.says)
			}
		})
	}
}

// readOnly fetches and loads as sync does, up to where the hub is asked.
func (r *Repositories) readOnly(t *testing.T, repo *musterv1alpha1.FleetRepository) (*report, error) {
	t.Helper()
	out := &report{}
	revision := r.fetch(t.Context(), repo, out)
	if revision == "" {
		return out, nil
	}
	delivery, err := r.read(t.Context(), repo, revision, out)
	if err == nil && out.waiting == "" {
		out.faults, out.delivery, out.delivered, out.plan = delivery.Definitions.Faults, delivery, true, &plan.Plan{}
	}
	return out, err
}

func TestRewrittenHistoryNamesBothCommits(t *testing.T) {
	c := fetchedCondition(&report{fetched: "bbbbbbbbbbbb", rewritten: rewrittenMessage("aaaaaaaaaaaa", "bbbbbbbbbbbb")})
	if c.Status != "True" || c.Reason != "HistoryRewritten" || !strings.Contains(c.Message, "bbbbbbb does not follow from the commit before it, aaaaaaa") {
		t.Errorf("%+v", c)
	}
}

// TestFaultsStayWithinRights: a team does not learn the names of clusters by asking for them with what it may not define.
func TestFaultsStayWithinRights(t *testing.T) {
	app := func(namespace, name, placement string) *plan.Application {
		a := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		a.Spec.PlacementRef.Name = placement
		return &plan.Application{Application: a}
	}
	binding := func(namespace, set string) clusterv1beta2.ManagedClusterSetBinding {
		b := clusterv1beta2.ManagedClusterSetBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: set}}
		b.Spec.ClusterSet = set
		return b
	}
	key := func(kind, namespace, name string) fleet.ObjectKey {
		return fleet.ObjectKey{Kind: kind, Namespace: namespace, Name: name}
	}
	p := &plan.Plan{
		Definitions: &fleet.Definitions{All: []fleet.Definition{
			{Key: key("Role", "retail", "reader")}, {Key: key("ManagedClusterSet", "", "edge")}, {Key: key("ManagedClusterSetBinding", "retail", "edge")},
			{Key: key("ManagedCluster", "", "one")}, {Key: key("Placement", "retail", "all")}, {Key: key("Application", "retail", "web")},
			{Key: key("Application", "retail", "shop")}, {Key: key("Application", "payments", "web")},
		}},
		World: &fleet.World{Bindings: []clusterv1beta2.ManagedClusterSetBinding{
			binding("retail", "edge"), binding("payments", "edge"), binding("payments", "cards"), binding("platform", "cards"),
		}},
		Applications: []*plan.Application{
			app("retail", "web", "all"), app("retail", "shop", "others"), app("payments", "web", "theirs"), app("platform", "ingress", "theirs"),
		},
	}
	var faults []fleet.Fault
	for _, f := range []string{"retail/web", "retail/web on one", "retail/web on two", "retail/shop on one", "retail/shop on two", "payments/web on two", "platform/ingress on one", "platform/ingress on two"} {
		app, cluster, _ := strings.Cut(f, " on ")
		faults = append(faults, fleet.Fault{Reason: fleet.ExpressionFailed, Application: app, Cluster: cluster})
	}
	for what, tc := range map[string]struct {
		why  string
		gone []string
	}{
		"":                                     {"everything is taken", nil},
		"Role retail/reader":                   {"a role leads to no cluster", nil},
		"Application payments/web":             {"it is in a namespace with sets that are none of the repository's", []string{"payments/web on two"}},
		"Placement retail/all":                 {"it is for its own applications", []string{"retail/web on one", "retail/web on two"}},
		"ManagedClusterSetBinding retail/edge": {"it brings clusters to a whole namespace", []string{"retail/web on one", "retail/web on two", "retail/shop on one", "retail/shop on two"}},
		"ManagedClusterSet edge": {
			"of another owner, and selecting more than it does: all that are bound to it",
			[]string{"retail/web on one", "retail/web on two", "retail/shop on one", "retail/shop on two", "payments/web on two"},
		},
		"ManagedCluster one": {"of another owner, and with labels that bring it to the repository", []string{"retail/web on one", "retail/shop on one", "platform/ingress on one"}},
	} {
		accepted := map[fleet.ObjectKey]bool{}
		for _, d := range p.Definitions.All {
			accepted[d.Key] = d.Key.String() != what
		}
		var gone []string
		kept := withinRights(faults, p, accepted)
		for _, f := range faults {
			if !slices.ContainsFunc(kept, func(k fleet.Fault) bool { return k.Application == f.Application && k.Cluster == f.Cluster }) {
				gone = append(gone, f.Application+" on "+f.Cluster)
			}
		}
		if diff := cmp.Diff(tc.gone, gone); diff != "" {
			t.Errorf("%s is refused, %s: the faults that are not told (-want +got):\n%s", what, tc.why, diff)
		}
	}
}
