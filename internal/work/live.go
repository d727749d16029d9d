package work

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/health"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// maxProblems is how many objects a hub remembers of a work that are not as they should be, or were not.
const maxProblems = 10

// maxCorrection is how many bytes of a correction's message it remembers.
const maxCorrection = 300

// The states of an object that is not as it should be, worst first.
const (
	StateApplyFailed = "ApplyFailed"
	StateDegraded    = "Degraded"
	StateDrifted     = "Drifted"
	StateProgressing = "Progressing"
)

var stateRank = map[string]int{StateApplyFailed: 0, StateDegraded: 1, StateDrifted: 2, StateProgressing: 3}

// Live is what a hub remembers of a work as it is. The digest is of the actual spec, whatever the annotations say, and so
// are the objects, so that an edit of a work is noticed.
func Live(obj *workv1.ManifestWork) fleet.LiveWork {
	annotation := func(key string) string { return obj.Annotations[key] }
	number := func(key string) int {
		n, _ := strconv.Atoi(annotation(key))
		return n
	}
	live := fleet.LiveWork{
		Cluster:     obj.Namespace,
		Name:        obj.Name,
		Owner:       OwnerOf(obj),
		OwnerDigest: OwnerDigest(obj),
		Part:        number(musterv1alpha1.PartAnnotation),
		Revision:    annotation(musterv1alpha1.RevisionAnnotation),
		UID:         string(obj.UID),
		WrittenAt:   writtenAt(obj),
		Generation:  obj.Generation,
		Deleting:    obj.DeletionTimestamp != nil,
		SpecDigest:  SpecDigest(obj),
		MetaDigest:  MetaDigest(obj),
		SetDigest:   annotation(musterv1alpha1.SetDigestAnnotation),
		SetSize:     number(musterv1alpha1.SetSizeAnnotation),
		Objects:     objectsOf(obj),
	}
	if option := obj.Spec.DeleteOption; option != nil {
		live.Orphan = option.PropagationPolicy == workv1.DeletePropagationPolicyTypeOrphan
		live.Kept = keptBy(option)
		live.ExpiresAt = expiryOf(obj, option.TTLSecondsAfterFinished)
	}
	if live.Owner.IsReplicaSet() {
		live.Labels = obj.Labels
	}
	if live.Owner.IsAddon() {
		live.Configs = annotation(addonv1alpha1.ConfigSpecHashAnnotation)
	}
	live.Status = statusOf(obj, live.Objects)
	return live
}

// expiryOf is when a work that is complete has been so for its time to live.
func expiryOf(obj *workv1.ManifestWork, ttl *int64) time.Time {
	complete := meta.FindStatusCondition(obj.Status.Conditions, workv1.WorkComplete)
	if ttl == nil || complete == nil || complete.Status != metav1.ConditionTrue {
		return time.Time{}
	}
	return complete.LastTransitionTime.Add(time.Duration(*ttl) * time.Second)
}

// writtenAt is when a field other than the status changed last: the API server notes it with the owner of the field.
func writtenAt(obj *workv1.ManifestWork) time.Time {
	var last time.Time
	for _, entry := range obj.ManagedFields {
		if entry.Subresource == "" && entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

// objectsOf reads the manifests; plural names come from the annotation, which only a planned work has.
func objectsOf(obj *workv1.ManifestWork) []fleet.ObjectKey {
	noted, err := ParseObjects(obj.Annotations[musterv1alpha1.ObjectsAnnotation])
	if err != nil {
		noted = nil // not written by us: the manifests tell the rest
	}
	plural := map[fleet.ObjectKey]string{}
	for _, key := range noted {
		plural[key.Identity()] = key.Resource
	}
	keys := make([]fleet.ObjectKey, 0, len(obj.Spec.Workload.Manifests))
	for _, m := range obj.Spec.Workload.Manifests {
		var u unstructured.Unstructured
		if err := u.UnmarshalJSON(m.Raw); err != nil {
			keys = append(keys, fleet.ObjectKey{}) // keeps the ordinals of the others
			continue
		}
		gvk := u.GroupVersionKind()
		key := fleet.ObjectKey{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
		key.Resource = plural[key.Identity()]
		keys = append(keys, key)
	}
	return keys
}

func keptBy(option *workv1.DeleteOption) []fleet.ObjectKey {
	if option.PropagationPolicy != workv1.DeletePropagationPolicyTypeSelectivelyOrphan || option.SelectivelyOrphan == nil {
		return nil
	}
	var kept []fleet.ObjectKey
	for _, r := range option.SelectivelyOrphan.OrphaningRules {
		kept = append(kept, fleet.ObjectKey{Group: r.Group, Resource: r.Resource, Namespace: r.Namespace, Name: r.Name})
	}
	return kept
}

// statusOf folds what the agent reported. Of health and problems, nothing counts but what it says of the work's generation.
func statusOf(obj *workv1.ManifestWork, objects []fleet.ObjectKey) fleet.WorkStatus {
	status := fleet.WorkStatus{
		Health: fleet.HealthUnknown, Since: sinceOf(obj.Status.Conditions), Waits: waitsOf(obj), Corrected: correctionsOf(obj), Conditions: conditionsOf(obj),
	}
	applied := meta.FindStatusCondition(obj.Status.Conditions, workv1.WorkApplied)
	status.Observed = applied != nil && applied.ObservedGeneration == obj.Generation
	if !status.Observed {
		return status
	}
	status.Applied = applied.Status == metav1.ConditionTrue
	status.AppliedObjects = make([]bool, len(objects))
	status.Health = fleet.HealthHealthy
	reports := reportsByOrdinal(obj, objects)
	status.Canary = canaryOf(obj, reports)
	for i, key := range objects {
		o := readObject(key, reports[i], obj.Generation)
		status.AppliedObjects[i] = o.applied
		status.Health = health.Worse(status.Health, o.health)
		status.Problems = append(status.Problems, o.problems...)
	}
	slices.SortStableFunc(status.Problems, func(a, b fleet.ObjectProblem) int {
		return cmp.Or(cmp.Compare(stateRank[a.State], stateRank[b.State]), cmp.Compare(a.Object.String(), b.Object.String()))
	})
	if len(status.Problems) > maxProblems {
		status.Problems = status.Problems[:maxProblems]
	}
	return status
}

// canaryOf reads where the agent is with a canary: its Deployments are at one step together.
func canaryOf(obj *workv1.ManifestWork, reports []*workv1.ManifestCondition) *fleet.Canary {
	for _, report := range reports {
		if report == nil {
			continue
		}
		if c, ok := health.CanaryOf(report.StatusFeedbacks.Values); ok {
			c.Passed = CanaryPassed(obj)
			return &c
		}
	}
	return nil
}

// conditionsOf reads what the work says as a whole.
func conditionsOf(obj *workv1.ManifestWork) fleet.WorkConditions {
	read := func(kind string) fleet.Condition {
		c := meta.FindStatusCondition(obj.Status.Conditions, kind)
		if c == nil {
			return 0
		}
		return fleet.ConditionAt(c.Status == metav1.ConditionTrue, c.ObservedGeneration == obj.Generation)
	}
	return fleet.WorkConditions{
		Applied: read(workv1.WorkApplied), Available: read(workv1.WorkAvailable),
		Progressing: read(workv1.WorkProgressing), Degraded: read(workv1.WorkDegraded),
	}
}

// waitsOf reads what the agent waits for. A hold counts whatever generation it is of: nothing is applied while it lasts.
func waitsOf(obj *workv1.ManifestWork) []fleet.Wait {
	var waits []fleet.Wait
	for _, kind := range []struct {
		condition string
		status    metav1.ConditionStatus
	}{
		{musterv1alpha1.ConditionHeld, metav1.ConditionTrue}, {musterv1alpha1.ConditionWaves, metav1.ConditionFalse},
		{musterv1alpha1.ConditionPruned, metav1.ConditionFalse}, {workv1.WorkDeleting, metav1.ConditionTrue},
	} {
		if c := meta.FindStatusCondition(obj.Status.Conditions, kind.condition); c != nil && c.Status == kind.status {
			waits = append(waits, fleet.Wait{Reason: c.Reason, Message: c.Message})
		}
	}
	return waits
}

// correctionsOf reads which objects had drifted and are as applied again. They count whatever generation they are of: a correction
// that was reported stays reported when the next commit changes another object.
func correctionsOf(obj *workv1.ManifestWork) []fleet.Correction {
	var corrections []fleet.Correction
	for _, m := range obj.Status.ResourceStatus.Manifests {
		drift := meta.FindStatusCondition(m.Conditions, musterv1alpha1.ConditionDrift)
		if drift == nil || drift.Status != metav1.ConditionFalse || len(corrections) == maxProblems {
			continue
		}
		r := m.ResourceMeta
		corrections = append(corrections, fleet.Correction{
			Object:  fleet.ObjectKey{Group: r.Group, Version: r.Version, Kind: r.Kind, Resource: r.Resource, Namespace: r.Namespace, Name: r.Name},
			Message: shortened(drift.Message),
		})
	}
	return corrections
}

// shortened bounds what a hub remembers of a correction: the status of the work has the rest.
func shortened(message string) string {
	if len(message) <= maxCorrection {
		return message
	}
	return strings.ToValidUTF8(message[:maxCorrection], "") + "…"
}

// reportsByOrdinal finds the report about each object: the one at its ordinal, if it names the object.
func reportsByOrdinal(obj *workv1.ManifestWork, objects []fleet.ObjectKey) []*workv1.ManifestCondition {
	reports := make([]*workv1.ManifestCondition, len(objects))
	manifests := obj.Status.ResourceStatus.Manifests
	for i := range manifests {
		m := manifests[i].ResourceMeta
		if m.Ordinal < 0 || int(m.Ordinal) >= len(objects) {
			continue
		}
		key := objects[m.Ordinal]
		if m.Group == key.Group && m.Kind == key.Kind && m.Namespace == key.Namespace && m.Name == key.Name {
			reports[m.Ordinal] = &manifests[i]
		}
	}
	return reports
}

type objectReport struct {
	applied  bool
	health   fleet.Health
	problems []fleet.ObjectProblem
}

func readObject(key fleet.ObjectKey, report *workv1.ManifestCondition, generation int64) objectReport {
	if report == nil {
		return objectReport{health: fleet.HealthUnknown}
	}
	out := objectReport{}
	problem := func(state, message string) {
		out.problems = append(out.problems, fleet.ObjectProblem{Object: key, State: state, Message: message})
	}
	var why string
	out.health, why = health.FromManifest(key, report.Conditions, generation)
	applied := atGeneration(report.Conditions, workv1.ManifestApplied, generation)
	out.applied = applied != nil && applied.Status == metav1.ConditionTrue
	switch {
	case applied != nil && applied.Status == metav1.ConditionFalse:
		problem(StateApplyFailed, applied.Message)
	case out.health == fleet.HealthDegraded:
		problem(StateDegraded, why)
	case out.health == fleet.HealthProgressing:
		problem(StateProgressing, why)
	}
	drift := atGeneration(report.Conditions, musterv1alpha1.ConditionDrift, generation)
	if drift != nil && drift.Status == metav1.ConditionTrue {
		problem(StateDrifted, drift.Message)
	}
	return out
}

// atGeneration finds a condition of a manifest that is about this generation.
func atGeneration(conditions []metav1.Condition, kind string, generation int64) *metav1.Condition {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil || c.ObservedGeneration != generation {
		return nil
	}
	return c
}

// sinceOf is when Applied or the health of a work last changed.
func sinceOf(conditions []metav1.Condition) time.Time {
	var since time.Time
	for _, kind := range []string{workv1.WorkApplied, workv1.WorkAvailable, workv1.WorkProgressing, workv1.WorkDegraded} {
		if c := meta.FindStatusCondition(conditions, kind); c != nil && c.LastTransitionTime.After(since) {
			since = c.LastTransitionTime.Time
		}
	}
	return since
}
