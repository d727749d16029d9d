package demo

import (
	"strings"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestUnsettled: the demo does not end well when one application, whichever it is, is not.
func TestUnsettled(t *testing.T) {
	well := musterv1alpha1.Summary{Clusters: 2, Current: 2, Healthy: 2}
	rows := func() []applicationRow {
		var all []applicationRow
		for _, name := range applications {
			all = append(all, applicationRow{Application: name, Revision: "new", Summary: well, Ready: true, State: "Ready"})
		}
		return all
	}
	if err := unsettled(rows(), applications, "new"); err != nil {
		t.Errorf("all is well: %v", err)
	}
	away := rows()
	away[0].Summary, away[0].Ready = musterv1alpha1.Summary{Clusters: 2, Current: 1, Healthy: 1, Offline: 1}, false
	if err := unsettled(away, applications, "new"); err != nil {
		t.Errorf("a cluster that is offline is not waited for: %v", err)
	}
	for name, spoil := range map[string]func(*applicationRow){
		"old":         func(r *applicationRow) { r.Revision = "old" },
		"unhealthy":   func(r *applicationRow) { r.Healthy = 1 },
		"not ready":   func(r *applicationRow) { r.Ready = false },
		"faulty":      func(r *applicationRow) { r.Faulty = 1 },
		"nowhere":     func(r *applicationRow) { r.Summary = musterv1alpha1.Summary{} },
		"all offline": func(r *applicationRow) { r.Offline = 2 },
		"not there":   func(r *applicationRow) { r.Application = "another" },
	} {
		for i, application := range applications {
			all := rows()
			spoil(&all[i])
			if err := unsettled(all, applications, "new"); err == nil || !strings.Contains(err.Error(), application) {
				t.Errorf("%s, %s: %v", application, name, err)
			}
		}
	}
}
