package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
)

// TestAsLive has a scheduler that would choose a and not b, and a hub on which another one decided.
func TestAsLive(t *testing.T) {
	rows := map[string]struct {
		why    string
		live   []string
		number int32
		want   [][]string // cluster, chosen, reason, change
	}{
		"the same": {"nothing to add", []string{"a"}, 1, [][]string{{"a", "yes", "in set prod", ""}, {"b", "no", "tainted", "tolerate it"}}},
		"the other": {"what is on the hub counts", []string{"b"}, 1, [][]string{
			{"a", "no", "not yet in the decisions on the hub, although: in set prod", "the hub has to schedule the placement"},
			{"b", "yes", "chosen by the decisions on the hub, although: tainted", ""},
		}},
		"incomplete": {"pages that do not add up say nothing", []string{"b"}, 2, [][]string{{"a", "yes", "in set prod", ""}, {"b", "no", "tainted", "tolerate it"}}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shops"}}
			p.Status.NumberOfSelectedClusters = row.number
			page := clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Labels: map[string]string{clusterv1beta1.PlacementLabel: "shops"}}}
			for _, c := range row.live {
				page.Status.Decisions = append(page.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: c})
			}
			decisions := []placement.Explained{
				{Decision: fleet.Decision{Cluster: "a", Chosen: true, Step: placement.StepChosen, Reason: "in set prod"}},
				{Decision: fleet.Decision{Cluster: "b", Step: placement.StepTaints, Reason: "tainted"}, Change: "tolerate it"},
			}
			(&knowledge{world: &fleet.World{Decisions: []clusterv1beta1.PlacementDecision{page}}}).asLive(p, decisions)
			var got [][]string
			for _, d := range decisions {
				got = append(got, []string{d.Cluster, map[bool]string{true: "yes", false: "no"}[d.Chosen], d.Reason, d.Change})
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
		})
	}
}
