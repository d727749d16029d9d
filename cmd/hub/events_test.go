package main

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEventsAreWritten: what happens to a commit, an application and a cluster is an Event on that object, once.
func TestEventsAreWritten(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+clusterFile("two", "tier: edge")+placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "events", "  sync: {drift: Report}")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red"))
	f.deliver()
	f.join("one")
	f.join("two")
	first := f.push("-- README.md --\nfirst\n")
	f.expectReady("retail/shop")
	f.expectEvent("FleetRepository/fleet", "Normal", "Delivered", "delivered "+first[:7])
	f.expectEvent("Application/shop", "Normal", "Applied", "on 2 clusters")
	f.expectEvent("ManagedCluster/one", "Normal", "ManagedClusterAccepted", "one: the cluster is accepted")

	f.run("a fault that appears and goes", func(f *theFleet) {
		f.push("-- manifests/shop/unknown.yaml --\napiVersion: example.com/v1\nkind: Unknown\nmetadata: {name: x}\n")
		f.expectEvent("FleetRepository/fleet", "Warning", "UnknownKind", "retail/shop on 2 clusters: manifests/shop/unknown.yaml:1")
		f.expectEvent("Application/shop", "Warning", "UnknownKind", "2 faults: one: manifests/shop/unknown.yaml:1")
		f.push("-- manifests/shop/unknown.yaml --\n" + deleted)
		f.expectEvent("FleetRepository/fleet", "Normal", "FaultResolved", "UnknownKind is resolved")
		f.expectEvent("Application/shop", "Normal", "FaultResolved", "one: UnknownKind is resolved; two: UnknownKind is resolved")
	})
	f.run("deletions that are held, and are not any more", func(f *theFleet) {
		f.push(placementFile("edge", `{clusterSets: [nowhere]}`))
		f.expectEvent("Application/shop", "Warning", "DeletionsHeld", "would leave 2 of 2 clusters")
		f.push(placementFile("edge", everyEdge))
		f.expectEvent("Application/shop", "Normal", "DeletionsReleased")
	})
	f.run("drift that is found and corrected", func(f *theFleet) {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "events", Name: "shop"}}
		f.edit("one", cm, func() { cm.Data["color"] = "pink" })
		f.expectEvent("Application/shop", "Warning", "DriftFound", "one: ConfigMap events/shop", `was "red"`, `is "pink"`, "kubectl-edit")
		f.edit("one", cm, func() { cm.Data["color"] = "red" })
		f.expectEvent("Application/shop", "Normal", "DriftCorrected", "one: ConfigMap events/shop: ", `is "pink"`, "corrected")
	})
	f.run("drift that an agent corrects before it reports it", func(f *theFleet) {
		f.push(applicationFile("shop", "edge", "manifests/shop", "events", "  sync: {drift: Correct}"))
		f.expectReady("retail/shop")
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "events", Name: "shop"}}
		f.edit("two", cm, func() { cm.Data["color"] = "blue" })
		f.expectEvent("Application/shop", "Normal", "DriftCorrected", "two: ConfigMap events/shop: ", `was "red"`, `is "blue"`, "kubectl-edit")
	})
	f.run("a cluster that is lost and comes back", func(f *theFleet) {
		f.available("two", false)
		f.expectEvent("ManagedCluster/two", "Warning", "AvailableUnknown", "two: the cluster does not answer")
		f.available("two", true)
		f.expectEvent("ManagedCluster/two", "Normal", "ManagedClusterAvailable", "two: the cluster answers again")
		f.expectReachable("two")
	})
	f.run("a hub that starts again tells nothing twice", func(f *theFleet) {
		f.expectReady("retail/shop")
		before := f.events()
		f.stop()
		f.startHub()
		last := f.push("-- README.md --\nafter a restart\n")
		f.expectEvent("FleetRepository/fleet", "Normal", "Delivered", "delivered "+last[:7])
		f.expectReady("retail/shop")
		f.expectEvent("Application/shop", "Normal", "Applied", last[:7]+" is applied")
		after := slices.DeleteFunc(f.events(), func(text string) bool { return slices.Contains(before, text) })
		if len(after) != 2 {
			f.t.Errorf("a commit after a restart has the events %q, want that it is delivered and applied", after)
		}
	})
}

// events are all events of ours, as "Kind/name type reason: note, times".
func (f *theFleet) events() []string {
	f.t.Helper()
	var list eventsv1.EventList
	if err := f.client.List(f.ctx, &list); err != nil {
		f.t.Fatal(err)
	}
	var all []string
	for _, e := range list.Items {
		if e.ReportingController == "muster-hub" {
			times := int32(1)
			if e.Series != nil {
				times = e.Series.Count
			}
			all = append(all, fmt.Sprintf("%s/%s %s %s: %s, %d", e.Regarding.Kind, e.Regarding.Name, e.Type, e.Reason, e.Note, times))
		}
	}
	return all
}

// expectEvent waits for an event about an object.
func (f *theFleet) expectEvent(object, kind, reason string, parts ...string) {
	f.t.Helper()
	f.eventually(func() string {
		all := f.events()
		for _, text := range all {
			if has("", text, append(parts, fmt.Sprintf("%s %s %s: ", object, kind, reason))...) == "" {
				return ""
			}
		}
		return fmt.Sprintf("no event %s about %s with %q among\n%q", reason, object, parts, all)
	})
}
