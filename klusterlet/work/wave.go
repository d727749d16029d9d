package work

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/health"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// Waves, besides those that annotations name.
const (
	foundation = math.MinInt32 // namespaces and definitions without an annotation: all other objects may need them
	allThrough = math.MaxInt32 // no wave is left
)

const (
	defaultWaveTimeout = 5 * time.Minute
	foundationWait     = 30 * time.Second // for the namespaces and definitions of other works; then the API server says what is missing
)

// waveOf is the wave that a manifest is applied in.
func waveOf(gvk schema.GroupVersionKind, annotations map[string]string) (int, error) {
	text, named := annotations[musterv1alpha1.WaveAnnotation]
	switch {
	case !named && (gvk.GroupKind() == schema.GroupKind{Kind: "Namespace"} || gvk.Group == "apiextensions.k8s.io"):
		return foundation, nil
	case !named:
		return 0, nil
	}
	wave, err := strconv.Atoi(text)
	if err != nil || wave < -1_000_000 || wave > 1_000_000 {
		return 0, fmt.Errorf("annotation %s is %q, and has to be a whole number", musterv1alpha1.WaveAnnotation, text)
	}
	return wave, nil
}

// waveTimeout is how long the next wave waits for an object.
func (t target) waveTimeout() time.Duration {
	if d, err := time.ParseDuration(t.object.GetAnnotations()[musterv1alpha1.WaveTimeoutAnnotation]); err == nil && d > 0 {
		return d
	}
	return defaultWaveTimeout
}

// blocker is an object that the next wave waits for.
type blocker struct {
	wave    int
	object  string
	why     string
	failed  bool // it does not become ready by waiting
	timeout time.Duration
}

func (b *blocker) String() string {
	return fmt.Sprintf("wave %d waits for %s: %s", b.wave, b.object, b.why)
}

// blockedBy gives the object of a lower wave that is not ready, nil when all are. Objects of other works of the application count;
// the foundation does only as long as it is likely to come.
func (p *reconciliation) blockedBy(wave int) *blocker {
	for _, t := range p.targets {
		if t.object == nil || t.wave >= wave || t.wave == foundation { // for which apply has waited
			continue
		}
		if b := p.unready(t, p.memory.about(t.key())); b != nil {
			return b
		}
	}
	lowest, work, why := p.waves.lowestOfOthers(p.work)
	if lowest >= wave || (lowest == foundation && p.now.Sub(p.memory.blockedSince(p.work.Generation, lowest, p.now)) > foundationWait) {
		return nil
	}
	if why == "" {
		why = "it is not applied yet"
	}
	return &blocker{wave: lowest, object: "work " + work, why: why, timeout: defaultWaveTimeout}
}

// unready says why an object is not ready for the next wave, nil when it is.
func (p *reconciliation) unready(t target, s *objectState) *blocker {
	b := &blocker{wave: t.wave, object: t.String(), timeout: t.waveTimeout()}
	switch {
	case p.complete(t) || s.collected:
		return nil
	case t.err != nil:
		b.why = t.err.Error()
	case s.failure != nil && s.waits == nil:
		b.why, b.failed = "it could not be applied: "+s.failure.Error(), true
	case s.waits != nil:
		b.why = "it waits itself"
	case s.hash != t.hash:
		b.why = "it is not applied yet"
	case s.state == absent:
		b.why = "it is not there"
	case s.state == unknown:
		b.why = "it was not read yet"
	case t.trial != nil: // which takes as long as its steps do
		b.why, b.failed, b.timeout = t.trial.message, t.trial.Phase == fleet.CanaryFailed, math.MaxInt64
	case s.unready != "":
		b.why, b.failed = s.unready, s.degraded
	default:
		return nil
	}
	return b
}

// noteReady remembers whether an object is ready for the next wave, and why not.
func (p *reconciliation) noteReady(ctx context.Context, t target, s *objectState, live *unstructured.Unstructured) {
	s.unready, s.degraded = "", false
	if !p.waved {
		return
	}
	if expression := t.object.GetAnnotations()[musterv1alpha1.ReadyAnnotation]; expression != "" {
		condition, _ := health.Evaluate(workv1.ConditionRule{Type: workv1.CelConditionExpressionsType, Condition: "Ready", CelExpressions: []string{expression}}, live)
		if condition.Status != metav1.ConditionTrue {
			s.unready = musterv1alpha1.ReadyAnnotation + " is not true"
			if condition.Reason != workv1.ReasonConditionRuleEvaluated {
				s.unready = musterv1alpha1.ReadyAnnotation + ": " + condition.Message
			}
		}
		return
	}
	for _, rule := range health.Rules(fleet.ObjectKey{Group: t.meta.Group, Kind: t.meta.Kind}) {
		condition, _ := health.Evaluate(rule, live)
		switch {
		case condition.Type == workv1.ManifestProgressing && condition.Status == metav1.ConditionTrue && !p.waitsForConsumer(ctx, t, live):
			s.unready = condition.Message
		case condition.Type == workv1.ManifestDegraded:
			s.degraded = condition.Status == metav1.ConditionTrue
		}
	}
}

// waitsForConsumer: a claim of a storage class that binds for the first pod cannot be bound before a later wave brings that pod.
func (p *reconciliation) waitsForConsumer(ctx context.Context, t target, live *unstructured.Unstructured) bool {
	name, _, _ := unstructured.NestedString(live.Object, "spec", "storageClassName")
	if t.meta.Group != "" || t.meta.Kind != "PersistentVolumeClaim" || name == "" {
		return false
	}
	class, err := p.objects.Resource(schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}).
		Get(actAs(ctx, ""), name, metav1.GetOptions{})
	return err == nil && class.Object["volumeBindingMode"] == "WaitForFirstConsumer"
}

// wait keeps the manifests from a wave on from being applied, and makes that a fault when that lasts too long, or cannot end.
func (p *reconciliation) wait(b *blocker, wave int, needs []need) {
	since := p.memory.blockedSince(p.work.Generation, b.wave, p.now)
	p.blocked = b
	for i, t := range p.targets {
		s := p.memory.about(t.key())
		if t.wave < wave || needs[i] != apply {
			continue
		}
		needs[i] = nothing
		if b.failed || p.now.Sub(since) >= b.timeout {
			err := fmt.Errorf("not applied yet: %s", b)
			if s.waits == nil || s.waits.Error() != err.Error() || s.failedAt != p.work.Generation {
				s.fail(p.work.Generation, err, workv1.ReasonAppliedManifestFailed, p.now.Add(p.RetryDelay))
				s.waits = err
			}
		}
	}
}

// blockedSince is when a wave of a generation began to keep the next one waiting.
func (m *memory) blockedSince(generation int64, wave int, now time.Time) time.Time {
	if m.blockedGeneration != generation || m.blockedWave != wave || m.blockedAt.IsZero() {
		m.blockedGeneration, m.blockedWave, m.blockedAt = generation, wave, now
	}
	return m.blockedAt
}

// reportWaves tells the other works of the application how far this one is.
func (p *reconciliation) reportWaves() {
	lowest, why := allThrough, ""
	for _, t := range p.targets {
		if t.object == nil || t.wave >= lowest {
			continue
		}
		if b := p.unready(t, p.memory.about(t.key())); b != nil {
			lowest, why = t.wave, b.object+": "+b.why
		}
	}
	p.wake(p.waves.report(p.work.Name, p.work.Generation, lowest, why))
}

// wavesCondition says in the status of a work how far its waves are; false when it has none.
func (p *reconciliation) wavesCondition() (metav1.Condition, bool) {
	c := metav1.Condition{Type: musterv1alpha1.ConditionWaves, Status: metav1.ConditionTrue, Reason: "AllWavesReady", Message: "Every wave is applied and ready",
		ObservedGeneration: p.work.Generation}
	if p.blocked != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "WaitingForWave", cut(p.blocked.String())
		return c, true
	}
	named := false
	for _, t := range p.targets {
		if t.object == nil || t.object.GetAnnotations()[musterv1alpha1.WaveAnnotation] == "" {
			continue
		}
		named = true
		if b := p.unready(t, p.memory.about(t.key())); b != nil && c.Status == metav1.ConditionTrue {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, "WaitingForWave", cut(fmt.Sprintf("wave %d is not ready: %s: %s", b.wave, b.object, b.why))
		}
	}
	return c, named
}

// setWaves puts the condition about waves into a status, or removes it.
func (p *reconciliation) setWaves(status *workv1.ManifestWorkStatus) {
	if c, waved := p.wavesCondition(); waved {
		set(&status.Conditions, c)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, musterv1alpha1.ConditionWaves)
	}
}

// waveBoard says how far the works of each application are. A work that was not looked at yet counts as not begun.
type waveBoard struct {
	mu    sync.Mutex
	works map[string]*waveState
}

type waveState struct {
	owner, set string
	setSize    int
	generation int64
	lowest     int // wave that is not through
	why        string
}

func newWaveBoard() *waveBoard { return &waveBoard{works: map[string]*waveState{}} }

// set notes what waves a work has, nil that it is gone. It gives the other works of the application when that may concern them.
func (b *waveBoard) set(name string, work *workv1.ManifestWork) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.works[name]
	if work == nil || !work.DeletionTimestamp.IsZero() || work.Labels[musterv1alpha1.OwnerLabel] == "" {
		delete(b.works, name)
	} else {
		size, _ := strconv.Atoi(work.Annotations[musterv1alpha1.SetSizeAnnotation])
		state := &waveState{owner: work.Labels[musterv1alpha1.OwnerLabel], set: work.Annotations[musterv1alpha1.SetDigestAnnotation], setSize: size,
			generation: work.Generation, lowest: lowestWave(work)}
		if old != nil && old.generation == work.Generation {
			state.lowest, state.why = old.lowest, old.why
		}
		b.works[name] = state
	}
	if old == nil {
		return nil // those that wait look again by themselves
	}
	return b.othersOf(name, old.owner)
}

// report notes how far a work is. It gives the other works of the application if that is news.
func (b *waveBoard) report(name string, generation int64, lowest int, why string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	state := b.works[name]
	if state == nil || state.generation != generation || (state.lowest == lowest && state.why == why) {
		return nil
	}
	news := state.lowest != lowest
	state.lowest, state.why = lowest, why
	if !news {
		return nil
	}
	return b.othersOf(name, state.owner)
}

func (b *waveBoard) othersOf(name, owner string) []string {
	var names []string
	for other, state := range b.works {
		if other != name && state.owner == owner {
			names = append(names, other)
		}
	}
	slices.Sort(names)
	return names
}

// lowestOfOthers is the lowest wave that is not through in the other works of an application's plan, with the work and the reason.
func (b *waveBoard) lowestOfOthers(work *workv1.ManifestWork) (lowest int, name, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lowest = allThrough
	self := b.works[work.Name]
	if self == nil || self.setSize == 1 {
		return lowest, "", ""
	}
	arrived := 1
	for _, other := range b.othersOf(work.Name, self.owner) {
		state := b.works[other]
		if state.set != self.set {
			continue
		}
		arrived++
		if state.lowest < lowest {
			lowest, name, why = state.lowest, other, state.why
		}
	}
	if arrived < self.setSize && lowest > foundation { // for what is in the others nobody can tell; they may not come for long
		return foundation, "of the same application", "it has not arrived"
	}
	return lowest, name, why
}

// lowestWave is the lowest wave of a work's manifests.
func lowestWave(work *workv1.ManifestWork) int {
	lowest := allThrough
	for _, manifest := range work.Spec.Workload.Manifests {
		var m metav1.PartialObjectMetadata
		if json.Unmarshal(manifest.Raw, &m) != nil {
			continue
		}
		if wave, err := waveOf(m.GroupVersionKind(), m.Annotations); err == nil {
			lowest = min(lowest, wave)
		}
	}
	return lowest
}

// hasWaves says that it matters of some manifest of a work whether its object is ready.
func hasWaves(work *workv1.ManifestWork) bool {
	return slices.ContainsFunc(work.Spec.Workload.Manifests, func(m workv1.Manifest) bool {
		return bytes.Contains(m.Raw, []byte(musterv1alpha1.WaveAnnotation)) || bytes.Contains(m.Raw, []byte(musterv1alpha1.DeletePolicyAnnotation))
	})
}
