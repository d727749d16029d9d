package event

import (
	"testing"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
)

func TestOfWork(t *testing.T) {
	web := fleet.ObjectKey{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: "web"}
	at := func(owner fleet.Owner, corrected ...fleet.Correction) *fleet.LiveWork {
		return &fleet.LiveWork{Cluster: "k3s", Owner: owner, Status: fleet.WorkStatus{Corrected: corrected}}
	}
	shop := fleet.ApplicationOwner("retail", "shop")
	scaled := fleet.Correction{Object: web, Message: "spec.replicas was 3, is 5, by kubectl at 10:00; corrected"}
	again := fleet.Correction{Object: web, Message: "spec.replicas was 3, is 5, by kubectl at 10:07; corrected"}
	deleted := fleet.Correction{Object: web, Message: "Deployment shop/web was present, is absent, by unknown at 10:00; corrected"}
	const told = "Normal DriftCorrected: k3s: Deployment shop/web: spec.replicas was 3, is 5, by kubectl at 10:00; corrected"
	for name, row := range map[string]struct {
		why           string
		before, after *fleet.LiveWork
		want          []string
	}{
		"corrected":          {"what it was, and by whom", at(shop), at(shop, scaled), []string{told}},
		"reported again":     {"it was told", at(shop, scaled), at(shop, scaled), nil},
		"a second time":      {"another time is another drift", at(shop, scaled), at(shop, again), []string{"Normal DriftCorrected: k3s: Deployment shop/web: spec.replicas was 3, is 5, by kubectl at 10:07; corrected"}},
		"object made anew":   {"the object is named once", at(shop), at(shop, deleted), []string{"Normal DriftCorrected: k3s: Deployment shop/web was present, is absent, by unknown at 10:00; corrected"}},
		"first look":         {"a hub that starts finds old reports", nil, at(shop, scaled), nil},
		"work gone":          {"with all that it reported", at(shop, scaled), nil, nil},
		"work of nobody":     {"there is no object to tell it on", at(fleet.Owner{}), at(fleet.Owner{}, scaled), nil},
		"withdrawn manifest": {"the report about it goes", at(shop, scaled), at(shop), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var events []Event
			for _, c := range ofWork(hub.WorkEvent{Before: row.before, After: row.after}) {
				if c.cluster != "k3s" {
					t.Errorf("it is about cluster %q", c.cluster)
				}
				events = append(events, c.Event)
			}
			expect(t, row.why, events, row.want...)
		})
	}
}
