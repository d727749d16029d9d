package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"

	"github.com/muster-io/muster/internal/fleet"
)

func numbered(n int) []clusterv1.ManagedCluster {
	list := make([]clusterv1.ManagedCluster, n)
	for i := range list {
		list[i] = cluster(fmt.Sprintf("c%04d", i), fmt.Sprintf("half=%d", i%2))
	}
	return list
}

func TestObjects(t *testing.T) {
	p := placement(func(s *clusterv1beta1.PlacementSpec) {
		s.DecisionStrategy.GroupStrategy.DecisionGroups = []clusterv1beta1.DecisionGroup{{
			GroupName:       "odd",
			ClusterSelector: clusterv1beta1.GroupClusterSelector{LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{"half": "1"}}},
		}}
	})
	r := Schedule(p, world(numbered(250)...))
	pages := Objects(p, &r, nil)
	var got []string
	for _, page := range pages {
		got = append(got, fmt.Sprintf("%s %d %q %s owner=%s/%t", page.Name, len(page.Status.Decisions),
			page.Labels[clusterv1beta1.DecisionGroupNameLabel], page.Labels[clusterv1beta1.DecisionGroupIndexLabel],
			page.OwnerReferences[0].UID, *page.OwnerReferences[0].Controller))
		if page.Labels[clusterv1beta1.PlacementLabel] != "edge" || page.Namespace != "team" {
			t.Errorf("page %s does not say whose it is", page.Name)
		}
	}
	want := []string{
		`edge-decision-1 100 "odd" 0 owner=u-1/true`,
		`edge-decision-2 25 "odd" 0 owner=u-1/true`,
		`edge-decision-3 100 "" 1 owner=u-1/true`,
		`edge-decision-4 25 "" 1 owner=u-1/true`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages of at most 100, group by group (-want +got):\n%s", diff)
	}
	status := Status(p, &r)
	wantGroups := []clusterv1beta1.DecisionGroupStatus{
		{DecisionGroupIndex: 0, DecisionGroupName: "odd", Decisions: []string{"edge-decision-1", "edge-decision-2"}, ClustersCount: 125},
		{DecisionGroupIndex: 1, Decisions: []string{"edge-decision-3", "edge-decision-4"}, ClustersCount: 125},
	}
	if diff := cmp.Diff(wantGroups, status.DecisionGroups); diff != "" {
		t.Errorf("status names the pages (-want +got):\n%s", diff)
	}
	p.Status = status
	clusters, complete := Read(p, pages)
	if !complete || !slices.Equal(clusters, r.Chosen) {
		t.Errorf("what was written is not what is read: %d clusters, complete %t", len(clusters), complete)
	}
	if diff := cmp.Diff(status, Status(p, &r)); diff != "" {
		t.Errorf("the status of the same result changes: %s", diff)
	}
}

func TestObjectsKeepForeignMetadata(t *testing.T) {
	p := placement()
	r := Schedule(p, world(cluster("a")))
	old := Objects(p, &r, nil)[0]
	old.UID, old.ResourceVersion = "page", "7"
	old.Labels["backup"] = "yes"
	old.Labels[clusterv1beta1.DecisionGroupIndexLabel] = "5"
	page := Objects(p, &r, []clusterv1beta1.PlacementDecision{old})[0]
	if page.UID != "page" || page.Labels["backup"] != "yes" || page.Labels[clusterv1beta1.DecisionGroupIndexLabel] != "0" || len(page.OwnerReferences) != 1 {
		t.Errorf("page %+v", page.ObjectMeta)
	}
	if old.Labels[clusterv1beta1.DecisionGroupIndexLabel] != "5" {
		t.Error("the existing page was changed in place")
	}
}

// TestPageWithoutLabel: a page that has the name of ours and lacks the label is made ours, and no other of its kind is deleted.
func TestPageWithoutLabel(t *testing.T) {
	p := placement()
	r := Schedule(p, world(cluster("a")))
	bare := clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "edge-decision-1", UID: "bare"}}
	other := clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "edge-decision-7", UID: "other"}}
	existing := []clusterv1beta1.PlacementDecision{bare, other}
	writes := Writes(p, existing, Objects(p, &r, existing))
	if len(writes) != 1 || writes[0].Verb != Update || writes[0].Page.UID != "bare" || writes[0].Page.Labels[clusterv1beta1.PlacementLabel] != "edge" {
		t.Errorf("writes %+v", writes)
	}
	for name, want := range map[string]string{
		"edge-decision-1": "edge", "a-decision-b-decision-12": "a-decision-b", "edge-decision-0": "", "edge-decision-x": "", "edge": "",
	} {
		if got := NamedAfter(name); got != want {
			t.Errorf("%s is named after %q, want %q", name, got, want)
		}
	}
}

func TestObjectsNeverNone(t *testing.T) {
	p := placement()
	r := Schedule(p, world())
	pages := Objects(p, &r, nil)
	if len(pages) != 1 || pages[0].Status.Decisions == nil || len(pages[0].Status.Decisions) != 0 {
		t.Fatalf("a placement that selects nothing has one empty page, got %+v", pages)
	}
	p.Status = Status(p, &r)
	if clusters, complete := Read(p, pages); len(clusters) != 0 || !complete {
		t.Errorf("one empty page and the number 0 are a complete set of no clusters")
	}
}

func TestRead(t *testing.T) {
	page := func(placement string, clusters ...string) clusterv1beta1.PlacementDecision {
		return decided(world(), placement, clusters...).Decisions[0]
	}
	rows := map[string]struct {
		why      string
		number   int32
		pages    []clusterv1beta1.PlacementDecision
		want     []string
		complete bool
	}{
		"none":      {"no decision objects is not no clusters", 0, nil, nil, false},
		"equal":     {"the number agrees", 2, []clusterv1beta1.PlacementDecision{page("edge", "b"), page("edge", "a")}, []string{"a", "b"}, true},
		"fewer":     {"a page is missing", 2, []clusterv1beta1.PlacementDecision{page("edge", "b")}, []string{"b"}, false},
		"more":      {"pages are about to change", 1, []clusterv1beta1.PlacementDecision{page("edge", "b"), page("edge", "a")}, []string{"a", "b"}, false},
		"twice":     {"a cluster on its way from one page to another is on both: the number may agree by chance", 2, []clusterv1beta1.PlacementDecision{page("edge", "a"), page("edge", "a")}, []string{"a"}, false},
		"another's": {"pages of other placements are not looked at", 1, []clusterv1beta1.PlacementDecision{page("edge", "a"), page("other", "b")}, []string{"a"}, true},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			p := placement()
			p.Status.NumberOfSelectedClusters = row.number
			got, complete := Read(p, row.pages)
			if !slices.Equal(got, row.want) || complete != row.complete {
				t.Errorf("%s: %v %t, want %v %t", row.why, got, complete, row.want, row.complete)
			}
		})
	}
}

// TestWritesLoseNobody replays every prefix of the writes between random states of the pages: a cluster that is chosen
// before and after is never gone, and the end is what was wanted.
func TestWritesLoseNobody(t *testing.T) {
	p := placement()
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		before, after := randomPages(p, random, 1+round%4), randomPages(p, random, 1+round%5)
		state := map[string][]string{}
		for i := range before {
			state[before[i].Name] = clusterNames(&before[i])
		}
		kept := intersection(before, after)
		for n, w := range Writes(p, before, after) {
			if w.Verb == Delete {
				delete(state, w.Page.Name)
			} else {
				if len(w.Page.Status.Decisions) > clusterv1beta1.MaxClusterDecisions {
					t.Fatalf("a page with %d clusters", len(w.Page.Status.Decisions))
				}
				state[w.Page.Name] = clusterNames(&w.Page)
			}
			for c := range kept {
				if !slices.ContainsFunc(values(state), func(names []string) bool { return slices.Contains(names, c) }) {
					t.Fatalf("round %d: after write %d (%s %s) cluster %s is in no page", round, n, w.Verb, w.Page.Name, c)
				}
			}
		}
		want := map[string][]string{}
		for i := range after {
			want[after[i].Name] = clusterNames(&after[i])
		}
		if diff := cmp.Diff(want, state); diff != "" {
			t.Fatalf("round %d: the pages are not the wanted ones (-want +got):\n%s", round, diff)
		}
	}
}

func TestWritesOfTheSameAreNone(t *testing.T) {
	p := placement()
	r := Schedule(p, world(numbered(250)...))
	pages := Objects(p, &r, nil)
	if writes := Writes(p, pages, Objects(p, &r, pages)); len(writes) != 0 {
		t.Errorf("nothing changed and there are %d writes", len(writes))
	}
}

func randomPages(p *clusterv1beta1.Placement, random *rand.Rand, n int) []clusterv1beta1.PlacementDecision {
	pages := make([]clusterv1beta1.PlacementDecision, n)
	for i := range pages {
		pages[i].Namespace, pages[i].Name = p.Namespace, pageName(p.Name, i+1)
		own(p, Group{}, "", &pages[i])
		pages[i].Status.Decisions = []clusterv1beta1.ClusterDecision{}
	}
	for c := range 30 {
		if at := random.IntN(n + 1); at < n {
			pages[at].Status.Decisions = append(pages[at].Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: fmt.Sprint(c)})
		}
	}
	return pages
}

func intersection(before, after []clusterv1beta1.PlacementDecision) map[string]bool {
	had, kept := map[string]bool{}, map[string]bool{}
	for i := range before {
		for _, c := range clusterNames(&before[i]) {
			had[c] = true
		}
	}
	for i := range after {
		for _, c := range clusterNames(&after[i]) {
			if had[c] {
				kept[c] = true
			}
		}
	}
	return kept
}

func values(m map[string][]string) [][]string {
	var list [][]string
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

// TestOutranked: fleet knows which steps drop a cluster that could have been chosen.
func TestOutranked(t *testing.T) {
	for step, want := range map[string]bool{
		StepSets: false, StepPredicates: false, StepTaints: false, StepScores: true, StepSpread: true,
	} {
		if got := (fleet.Decision{Step: step}).Outranked(); got != want {
			t.Errorf("%s: outranked %v", step, got)
		}
	}
	if (fleet.Decision{Step: StepScores, Chosen: true}).Outranked() {
		t.Error("a chosen cluster is not outranked")
	}
}
