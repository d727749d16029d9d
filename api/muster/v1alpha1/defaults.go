package v1alpha1

import (
	"cmp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultMaxClusterPercent is the deletion guard of whoever sets none.
const DefaultMaxClusterPercent int32 = 10

// Default sets what the CRD's schema sets, for applications that were read from a repository and not from an API server.
func (a *Application) Default() {
	a.Spec.Sync.Drift = cmp.Or(a.Spec.Sync.Drift, DriftCorrect)
	a.Spec.Sync.OnImmutable = cmp.Or(a.Spec.Sync.OnImmutable, ImmutableFail)
	a.Spec.Sync.WhenUnreachable = cmp.Or(a.Spec.Sync.WhenUnreachable, UnreachableKeep)
	a.Spec.Deletion.Cluster = cmp.Or(a.Spec.Deletion.Cluster, DeletionDelete)
	a.Spec.Deletion.Application = cmp.Or(a.Spec.Deletion.Application, DeletionDelete)
	a.Spec.DeletionGuard.Default()
}

// Default sets what the CRD's schema sets.
func (r *FleetRepository) Default() {
	r.Spec.Interval.Duration = cmp.Or(r.Spec.Interval, metav1.Duration{Duration: time.Minute}).Duration
	r.Spec.ServiceAccountName = cmp.Or(r.Spec.ServiceAccountName, "default")
	r.Spec.DeletionGuard.Default()
}

// Default sets what the CRD's schema sets.
func (g *DeletionGuard) Default() {
	if g.MaxClusterPercent == nil {
		percent := DefaultMaxClusterPercent
		g.MaxClusterPercent = &percent
	}
}
