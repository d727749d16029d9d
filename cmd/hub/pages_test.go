package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// many is how many clusters there are: their decisions take two pages.
const many = 120

// TestPagesOfDecisionsMayShift: the pages of a placement's decisions are written one after the other, and a cluster may
// be on none or on two of them in between. Nothing is concluded from that: no cluster that stays chosen loses its works.
func TestPagesOfDecisionsMayShift(t *testing.T) {
	t.Parallel()
	var clusters strings.Builder
	for i := range many {
		fmt.Fprintf(&clusters, "%s\n", clusterFile(fmt.Sprintf("c%03d", i), fmt.Sprintf("tier: edge, tens: t%d", i/10)))
	}
	f := newFleet(t, tenant+clusters.String()+placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "pages", "  deletionGuard: {maxClusterPercent: 100}")+
		configMapFile("manifests/shop/config.yaml", "shop", "color", "red"))
	f.deliver()
	for i := range many {
		f.available(fmt.Sprintf("c%03d", i), true)
	}
	f.push("")
	f.expectWorks(many)
	if n := f.pages(); n != 2 {
		t.Fatalf("%d pages of decisions, want 2", n)
	}
	gone := f.watchDeletions(f.cp.Config(), works, "")
	without := func(tens ...string) string {
		return placementFile("edge", fmt.Sprintf(`{predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge},
  matchExpressions: [{key: tens, operator: NotIn, values: [%s]}]}}}]}`, strings.Join(tens, ", ")))
	}
	lost := map[string]bool{}
	for _, tens := range [][]string{{"t0"}, {"none"}, {"t0", "t1", "t2"}, {"none"}, {"t11", "t3"}, {"none"}} {
		n := many
		for _, ten := range tens {
			if ten != "none" {
				n -= 10
				lost[strings.TrimPrefix(ten, "t")] = true
			}
		}
		f.push(without(tens...))
		f.expectWorks(n)
	}
	f.shiftByHand()
	for _, name := range gone.list() {
		tens := strings.TrimLeft(name[1:3], "0")
		if tens == "" {
			tens = "0"
		}
		if !lost[tens] {
			t.Errorf("%s was deleted, and its cluster was chosen all the time", name)
		}
	}
}

// shiftByHand moves clusters from one page to the other as an external scheduler may: off the first page first.
func (f *theFleet) shiftByHand() {
	f.t.Helper()
	f.stop()
	f.controllers = []string{"fleetrepository", "application", "cluster"}
	f.startHub()
	f.expectReadyPlan()
	first, second := f.page(1), f.page(2)
	moving := first.Status.Decisions[:30]
	first.Status.Decisions = first.Status.Decisions[30:]
	f.writePage(first)
	f.expectApplication("retail/shop", "Planned", metav1.ConditionFalse, "Faults", "are not complete yet")
	f.eventually(func() string {
		if n := f.application("retail/shop").Status.Summary.Clusters; n != many {
			return fmt.Sprintf("the status counts %d clusters, want all that have works", n)
		}
		return ""
	})
	second.Status.Decisions = append(second.Status.Decisions, moving...)
	f.writePage(second)
	f.expectReadyPlan()
	f.expectWorks(many)
}

func (f *theFleet) expectReadyPlan() {
	f.t.Helper()
	f.expectApplication("retail/shop", "Planned", metav1.ConditionTrue, "Succeeded", fmt.Sprintf("for %d clusters", many))
}

func (f *theFleet) page(n int) *clusterv1beta1.PlacementDecision {
	f.t.Helper()
	var d clusterv1beta1.PlacementDecision
	if err := f.client.Get(f.ctx, client.ObjectKey{Namespace: "retail", Name: fmt.Sprintf("edge-decision-%d", n)}, &d); err != nil {
		f.t.Fatal(err)
	}
	return &d
}

func (f *theFleet) writePage(d *clusterv1beta1.PlacementDecision) {
	f.t.Helper()
	if err := f.client.Status().Update(f.ctx, d); err != nil {
		f.t.Fatal(err)
	}
}

func (f *theFleet) expectWorks(n int) {
	f.t.Helper()
	f.eventually(func() string {
		have := f.worksOf("retail/shop")
		for _, w := range have {
			if w.DeletionTimestamp != nil {
				return w.Namespace + " is still losing its work"
			}
		}
		if len(have) != n {
			return fmt.Sprintf("%d clusters have works, want %d: %v", len(have), n, slices.Sorted(maps.Keys(have)))
		}
		return ""
	})
}

func (f *theFleet) pages() int {
	f.t.Helper()
	var list clusterv1beta1.PlacementDecisionList
	if err := f.client.List(f.ctx, &list, client.InNamespace("retail")); err != nil {
		f.t.Fatal(err)
	}
	return len(list.Items)
}
