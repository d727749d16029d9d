package main

import (
	"strings"
	"testing"
)

// TestRefusedOptions: what would be ignored is refused, before anything is reached.
func TestRefusedOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"there is no controller":              {Controllers: []string{"placements"}},
		"is of controller fleetrepository":    {Controllers: []string{"placement"}, WebhookAddress: ":0"},
		"reach the hub's API server":          {Controllers: []string{"fleetrepository"}, WebhookAddress: ":0", Kubeconfig: "/nowhere"},
		"reach the hub's API server: stat /n": {WebhookAddress: ":0", Kubeconfig: "/nowhere"},
	} {
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}
