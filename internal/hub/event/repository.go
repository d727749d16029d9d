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
	all = append(all, ofReview(before.Review, after.Review)...)
	type key struct{ reason, application, file string }
	cause := func(f musterv1alpha1.Fault) map[string]string {
		return map[string]string{"reason": f.Reason, "application": f.Application, "file": f.File}
	}
	return append(all, changed(before.Faults, after.Faults, func(f musterv1alpha1.Fault) key {
		return key{f.Reason, f.Application, f.File}
	}, "faults", func(f musterv1alpha1.Fault) Event {
		return warning(f.Reason, "Plan", "%s%s", placeOf(f), f.Message).of(cause(f))
	}, func(f musterv1alpha1.Fault) Event {
		return normal("FaultResolved", "Plan", "%s%s is resolved", placeOf(f), f.Reason).of(cause(f))
	})...)
}

// ofReview: what keeps the hub from reviewing pull requests, and its end. A host that is away for a while, or sets a limit, is no news: it is
// asked again.
func ofReview(before, after *musterv1alpha1.ReviewStatus) []Event {
	wrong := func(s *musterv1alpha1.ReviewStatus) string {
		if s == nil || s.Reason == "Succeeded" || s.Reason == "RateLimited" || s.Reason == "HostUnavailable" {
			return ""
		}
		return s.Reason
	}
	was, is := wrong(before), wrong(after)
	switch {
	case is != "" && is != was:
		return []Event{warning(is, "Review", "pull requests: %s", after.Message)}
	case was != "" && after != nil && after.Reason == "Succeeded":
		return []Event{normal("FaultResolved", "Review", "pull requests: %s is resolved", was)}
	}
	return nil
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
