package event

import (
	"fmt"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

func ofRepository(before, after *musterv1alpha1.FleetRepositoryStatus) []Event {
	var all []Event
	if after.Revision != "" && after.Revision != before.Revision {
		e := normal("Delivered", "Deliver", "delivered %s", fleet.ShortRevision(after.Revision))
		if before.Revision != "" {
			e.Note += ", after " + fleet.ShortRevision(before.Revision)
		}
		all = append(all, e)
	}
	all = append(all, ofHeld(before.Held, after.Held)...)
	type key struct{ reason, application, file string }
	return append(all, changed(before.Faults, after.Faults, func(f musterv1alpha1.Fault) key {
		return key{f.Reason, f.Application, f.File}
	}, "faults", func(f musterv1alpha1.Fault) Event {
		return warning(f.Reason, "Plan", "%s%s", placeOf(f), f.Message)
	}, func(f musterv1alpha1.Fault) Event {
		return normal("FaultResolved", "Plan", "%s%s is resolved", placeOf(f), f.Reason)
	})...)
}

// placeOf says where a fault is: "retail/web on k3s-edge-1: charts/web/values.yaml:3: ".
func placeOf(f musterv1alpha1.Fault) string {
	text := ""
	if f.Application != "" {
		text = f.Application
		switch {
		case f.Clusters > 1:
			text += fmt.Sprintf(" on %d clusters", f.Clusters)
		case f.Cluster != "":
			text += " on " + f.Cluster
		}
		text += ": "
	}
	switch {
	case f.File != "" && f.Line > 0:
		text += fmt.Sprintf("%s:%d: ", f.File, f.Line)
	case f.File != "":
		text += f.File + ": "
	}
	return text
}
