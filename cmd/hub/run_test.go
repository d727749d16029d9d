package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// TestRefusedOptions: what would be ignored is refused, before anything is reached.
func TestRefusedOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"there is no controller":              {Controllers: []string{"placements"}},
		"application needs fleetrepository":   {Controllers: []string{"placement", "application"}},
		"fleetrepository needs application":   {Controllers: []string{"fleetrepository", "placement", "cluster"}},
		"--webhook-address is an option of":   {Controllers: []string{"placement"}, WebhookAddress: ":0"},
		"--hub-cluster is an option of":       {Controllers: []string{"cluster"}, HubCluster: "local"},
		"--local-repositories is an option":   {Controllers: []string{"placement"}, LocalRepositories: []string{"/srv"}},
		"reach the hub's API server":          {Controllers: []string{"fleetrepository", "application"}, WebhookAddress: ":0", Kubeconfig: "/nowhere"},
		"reach the hub's API server: stat /n": {WebhookAddress: ":0", Kubeconfig: "/nowhere"},
	} {
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

// TestPartsElectApart: hubs that run different controllers do not wait for each other.
func TestPartsElectApart(t *testing.T) {
	var all []string
	for _, selected := range [][]string{{"*"}, {"cluster"}, {"placement"}, {"fleetrepository", "application"}} {
		names, err := selection(selected)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, leaseName(names))
	}
	want := []string{"muster-hub", "muster-hub-cluster", "muster-hub-placement", "muster-hub-application-fleetrepository"}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestLeadersAreElectedByDefault: a second replica must not work beside the first because nobody thought of a flag.
func TestLeadersAreElectedByDefault(t *testing.T) {
	var o Options
	o.flags(pflag.NewFlagSet("hub", pflag.ContinueOnError))
	if !o.LeaderElection {
		t.Error("two hubs would work at the same time")
	}
}
