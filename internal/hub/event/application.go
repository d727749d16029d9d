package event

import (
	"fmt"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/rollout"
)

func ofApplication(before, after *musterv1alpha1.ApplicationStatus) []Event {
	var all []Event
	if wasApplied(before, after) {
		all = append(all, normal("Applied", "Apply", "%s is applied on %s", fleet.ShortRevision(after.Revision), clusters(after.Summary.Clusters)))
	}
	all = append(all, ofHeld(before.Held, after.Held)...)
	all = append(all, ofHolds(before.OnHold, after.OnHold)...)
	all = append(all, ofRollout(before, after)...)
	type key struct{ cluster, reason string }
	of := func(r musterv1alpha1.ClusterStatus) key { return key{r.Cluster, r.Reason} }
	cause := func(r musterv1alpha1.ClusterStatus) map[string]string {
		return map[string]string{"cluster": r.Cluster, "reason": r.Reason}
	}
	all = append(all, changed(rowsIn(before, "Faulty", "Failed"), rowsIn(after, "Faulty", "Failed"), of, "faults",
		func(r musterv1alpha1.ClusterStatus) Event {
			return warning(r.Reason, "Apply", "%s: %s%s", r.Cluster, position(r), r.Message).of(cause(r))
		},
		func(r musterv1alpha1.ClusterStatus) Event {
			return normal("FaultResolved", "Apply", "%s: %s is resolved", r.Cluster, r.Reason).of(cause(r))
		})...)
	all = append(all, changed(rowsIn(before, "Degraded"), rowsIn(after, "Degraded"), of, "degraded clusters",
		func(r musterv1alpha1.ClusterStatus) Event {
			return warning("Degraded", "Watch", "%s: %s", r.Cluster, r.Message).of(cause(r))
		},
		func(r musterv1alpha1.ClusterStatus) Event {
			return normal("Recovered", "Watch", "%s: is not degraded any more", r.Cluster).of(cause(r))
		})...)
	return append(all, changed(rowsIn(before, "Drifted"), rowsIn(after, "Drifted"), of, "clusters with drift",
		func(r musterv1alpha1.ClusterStatus) Event {
			return warning("DriftFound", "Compare", "%s: %s", r.Cluster, r.Message).of(map[string]string{"cluster": r.Cluster})
		}, nil)...) // OfCorrections tells of its end
}

// ofRollout tells of a rollout that began, stopped, ended or went on, of its approvals, and of a change that was taken back.
func ofRollout(before, after *musterv1alpha1.ApplicationStatus) []Event {
	all := append(ofPhase(before, after), ofApprovals(before.Rollout, after.Rollout)...)
	all = append(all, ofAnalysis(before, after)...)
	if back := after.RolledBack; back != nil && (before.RolledBack == nil || before.RolledBack.At != back.At) {
		all = append(all, warning("RollingBack", "Rollout", "%s is taken back to %s: %s",
			fleet.ShortRevision(back.Revision), fleet.ShortRevision(back.To), back.Message))
	}
	return all
}

// ofHolds tells of a hold that began or ended, and not of how many clusters wait for it.
func ofHolds(before, after []musterv1alpha1.OnHold) []Event {
	return changed(before, after, rollout.HoldText, "holds",
		func(h musterv1alpha1.OnHold) Event { return normal("OnHold", "Hold", "%s", rollout.HoldText(h)) },
		func(h musterv1alpha1.OnHold) Event {
			return normal("HoldEnded", "Hold", "no longer %s", rollout.HoldText(h))
		})
}

func ofPhase(before, after *musterv1alpha1.ApplicationStatus) []Event {
	phase := func(s *musterv1alpha1.ApplicationStatus) string {
		if s.Rollout == nil {
			return ""
		}
		return s.Rollout.Phase
	}
	was, is := phase(before), phase(after)
	switch {
	case was == is:
		return nil
	case is == musterv1alpha1.RolloutProgressing && was == musterv1alpha1.RolloutStopped:
		return []Event{normal("RolloutResumed", "Rollout", "the rollout goes on with %s", fleet.ShortRevision(after.Revision))}
	case is == musterv1alpha1.RolloutProgressing:
		return []Event{normal("RolloutStarted", "Rollout", "%s is rolled out to %s", fleet.ShortRevision(after.Revision), clusters(after.Rollout.Clusters))}
	case is == musterv1alpha1.RolloutStopped:
		return []Event{warning("RolloutStopped", "Rollout", "%s", after.Rollout.Message)}
	case is == "" && was == musterv1alpha1.RolloutReturning:
		return []Event{normal("RolledBack", "Rollout", "every cluster that answers is asked to have %s again", fleet.ShortRevision(after.Revision))}
	case is == "" && was == musterv1alpha1.RolloutProgressing && after.RolledBack == nil:
		return []Event{normal("RolloutCompleted", "Rollout", "%s is rolled out to %s", fleet.ShortRevision(after.Revision), clusters(after.Summary.Clusters))}
	}
	return nil
}

// ofAnalysis tells of a step that begins to be measured, of results on which it does not go on, and of a step that is proved.
func ofAnalysis(before, after *musterv1alpha1.ApplicationStatus) []Event {
	of := func(s *musterv1alpha1.ApplicationStatus) musterv1alpha1.AnalysisStatus {
		if s.Rollout == nil || s.Rollout.Analysis == nil {
			return musterv1alpha1.AnalysisStatus{}
		}
		return *s.Rollout.Analysis
	}
	was, is := of(before), of(after)
	var all []Event
	if was.Step != "" && was.Step != is.Step && was.Phase != musterv1alpha1.AnalysisFailed && after.RolledBack == nil && before.Revision == after.Revision {
		all = append(all, normal("AnalysisSucceeded", "Rollout", "the analysis of step %s of %s has ended well", was.Step, fleet.ShortRevision(before.Rollout.Revision)))
	}
	if was.Step == is.Step && was.Phase == is.Phase {
		return all
	}
	switch is.Phase {
	case musterv1alpha1.AnalysisInconclusive:
		return append(all, warning("AnalysisInconclusive", "Rollout", "%s", after.Rollout.Message))
	case "", musterv1alpha1.AnalysisFailed: // the end of the rollout says it
		return all
	}
	if was.Step != is.Step {
		return append(all, normal("AnalysisStarted", "Rollout", "step %s of %s is measured on %s", is.Step, fleet.ShortRevision(after.Rollout.Revision), clusters(int32(len(is.Clusters)))))
	}
	if was.Phase == musterv1alpha1.AnalysisInconclusive {
		return append(all, normal("AnalysisResumed", "Rollout", "step %s: the measurements say something again", is.Step))
	}
	return all
}

func ofApprovals(before, after *musterv1alpha1.RolloutStatus) []Event {
	if after == nil {
		return nil
	}
	var all []Event
	canary := func(s *musterv1alpha1.RolloutStatus) string {
		if s == nil || s.Canary == nil {
			return ""
		}
		return s.Canary.WaitsForApproval
	}
	if after.WaitsForApproval && (before == nil || !before.WaitsForApproval || before.Group != after.Group || canary(before) != canary(after)) {
		all = append(all, normal("ApprovalNeeded", "Rollout", "%s", after.Message))
	}
	for _, a := range after.Approvals {
		if before == nil || !slices.Contains(before.Approvals, a) {
			all = append(all, normal("StepApproved", "Rollout", "step %s of %s is approved by %s", a.Step, fleet.ShortRevision(after.Revision), a.By))
		}
	}
	return all
}

// wasApplied says whether every cluster has applied the revision, and had not before.
func wasApplied(before, after *musterv1alpha1.ApplicationStatus) bool {
	applied := func(s *musterv1alpha1.ApplicationStatus) bool {
		return s.Revision != "" && s.Summary.Clusters > 0 && s.Summary.Current == s.Summary.Clusters
	}
	return applied(after) && (!applied(before) || before.Revision != after.Revision)
}

func rowsIn(status *musterv1alpha1.ApplicationStatus, states ...string) []musterv1alpha1.ClusterStatus {
	var rows []musterv1alpha1.ClusterStatus
	for _, r := range status.Clusters {
		if slices.Contains(states, r.State) {
			rows = append(rows, r)
		}
	}
	return rows
}

func position(r musterv1alpha1.ClusterStatus) string {
	switch {
	case r.File == "":
		return ""
	case r.Line > 0:
		return fmt.Sprintf("%s:%d: ", r.File, r.Line)
	}
	return r.File + ": "
}

func clusters(n int32) string {
	if n == 1 {
		return "1 cluster"
	}
	return fmt.Sprintf("%d clusters", n)
}
