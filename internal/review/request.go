package review

import (
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
)

// Request is an open pull request and what it does.
type Request struct {
	Number     int64     `json:"number"`
	Title      string    `json:"title"`
	Author     string    `json:"author"`
	URL        string    `json:"url"` // on the host
	Head       string    `json:"head"`
	ApprovedBy string    `json:"approvedBy,omitempty"`
	PlannedAt  time.Time `json:"plannedAt"`
	Review     *Review   `json:"review"`
}

// FailuresOf are the reasons for which a repository lets a check fail.
func FailuresOf(spec *musterv1alpha1.ReviewSpec) []Failure {
	if spec.FailOn == nil {
		return []Failure{OnFaults, OnHeld}
	}
	var list []Failure
	for _, name := range spec.FailOn {
		list = append(list, Failure(name))
	}
	return list
}

// Only is the part of a review that is about one application, namespace/name.
func (r *Review) Only(application string) *Review {
	d := *r.Difference
	d.Definitions, d.Placements = nil, nil
	d.Applications = slices.DeleteFunc(slices.Clone(d.Applications), func(a plan.ApplicationDifference) bool { return a.Application != application })
	d.Held = slices.DeleteFunc(slices.Clone(d.Held), func(h plan.Hold) bool { return h.Application != application })
	of := func(faults []fleet.Fault) []fleet.Fault {
		return slices.DeleteFunc(slices.Clone(faults), func(f fleet.Fault) bool { return f.Application != application })
	}
	d.NewFaults, d.ResolvedFaults, d.NewWarnings = of(d.NewFaults), of(d.ResolvedFaults), of(d.NewWarnings)
	return &Review{Difference: &d, Approved: r.Approved}
}
