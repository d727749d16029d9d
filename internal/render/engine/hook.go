package engine

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	release "helm.sh/helm/v4/pkg/release/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// hookPhase is when a hook runs.
type hookPhase int

const (
	noPhase     hookPhase = iota // at an event that a delivery does not have: a test, a rollback, a deletion
	beforeChart                  // pre-install, pre-upgrade
	afterChart                   // post-install, post-upgrade
)

// chartHook is a hook that runs with every delivery.
type chartHook struct {
	Object
	phase  hookPhase
	weight int
	// onUpgrade hooks run again when the chart gives something else.
	onUpgrade bool
	policy    string
}

var hookPhases = map[string]hookPhase{
	string(release.HookPreInstall): beforeChart, string(release.HookPreUpgrade): beforeChart,
	string(release.HookPostInstall): afterChart, string(release.HookPostUpgrade): afterChart,
}

var hookDeletePolicies = map[string]string{
	string(release.HookBeforeHookCreation): "BeforeApply", string(release.HookSucceeded): "WhenReady", string(release.HookFailed): "WhenFailed",
}

// hooksOfChart are the hooks of one chart: those that run, and those that the policy Refuse is against.
type hooksOfChart struct {
	run     []chartHook
	against []string
	file    string // of the first of these
}

// add does with a hook what the policy says. Tests are left out under every policy, and so is what runs at a rollback or a deletion
// but under the policy Refuse.
func (h *hooksOfChart) add(o Object, policy musterv1alpha1.HookPolicy) error {
	switch {
	case policy == musterv1alpha1.HooksIgnore, testHook(o.hook):
		return nil
	case policy == musterv1alpha1.HooksRefuse:
		h.file = cmp.Or(h.file, o.File)
		h.against = append(h.against, fmt.Sprintf("%s (%s, %s)", o.object().label(), o.hook, o.File))
		return nil
	}
	hook, err := asHook(o)
	if err == nil && hook.phase != noPhase {
		h.run = append(h.run, hook)
	}
	return err
}

// refused is the fault of the policy Refuse, or nil.
func (h *hooksOfChart) refused() error {
	if len(h.against) == 0 {
		return nil
	}
	slices.Sort(h.against)
	return fleet.Fault{Reason: fleet.HookRefused, ActionRequiredBy: fleet.User, File: h.file,
		Message: "the chart has hooks, and spec.helm.hooks is Refuse: " + strings.Join(h.against, "; ") +
			". Set it to Waves to run them in waves before and after the other objects, or to Ignore to deliver the chart without them"}
}

// testHook tells whether every event of a hook is a test.
func testHook(events string) bool {
	for event := range strings.SplitSeq(events, ",") {
		if !strings.HasPrefix(strings.TrimSpace(event), "test") {
			return false
		}
	}
	return true
}

// asHook reads what a hook's annotations say.
func asHook(o Object) (chartHook, error) {
	plain := o.object()
	if err := utiljson.Unmarshal(o.JSON, &plain.value); err != nil {
		return chartHook{}, plain.invalid("cannot be read as JSON")
	}
	text := func(key string) string {
		s, _ := nested(plain.value, "metadata", "annotations", key).(string)
		return s
	}
	hook := chartHook{Object: o}
	if w := text(release.HookWeightAnnotation); w != "" {
		var err error
		if hook.weight, err = strconv.Atoi(w); err != nil {
			return hook, plain.invalid("%s is %q, and has to be a whole number", release.HookWeightAnnotation, w)
		}
	}
	var policies []string
	for policy := range strings.SplitSeq(cmp.Or(text(release.HookDeleteAnnotation), string(release.HookBeforeHookCreation)), ",") {
		ours, ok := hookDeletePolicies[strings.TrimSpace(policy)]
		if !ok {
			return hook, plain.invalid("%s has %q, which Helm does not know", release.HookDeleteAnnotation, policy)
		}
		policies = append(policies, ours)
	}
	hook.policy = strings.Join(policies, ",")
	phases := map[hookPhase]bool{}
	for event := range strings.SplitSeq(o.hook, ",") {
		event = strings.TrimSpace(event)
		phases[hookPhases[event]] = true
		hook.onUpgrade = hook.onUpgrade || strings.HasSuffix(event, "-upgrade")
	}
	if phases[beforeChart] && phases[afterChart] {
		return hook, plain.invalid("is a hook of %s, and cannot run both before and after the other objects: divide it in two, or set spec.helm.hooks to Ignore", o.hook)
	}
	switch {
	case phases[beforeChart]:
		hook.phase = beforeChart
	case phases[afterChart]:
		hook.phase = afterChart
	}
	return hook, nil
}

// inWaves puts hooks into waves around the other objects: those that run before into waves below all others, those that run after
// above, by weight. The agent begins a wave when the one before it is ready, as Helm does with the hooks of a weight.
//
// Helm runs a hook of upgrades at each of them. Here it runs again when its manifest changes, and therefore it carries a digest of
// what the chart gives beside the hooks. A delivery does not know whether a cluster has the chart already: a hook of upgrades runs
// when the chart is installed too, and one of installations runs again only when its own manifest changes.
func inWaves(objects []Object, hooks []chartHook) ([]Object, error) {
	if len(hooks) == 0 {
		return objects, nil
	}
	lowest, highest, err := wavesOf(objects)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	for _, o := range objects {
		h.Write(o.JSON)
	}
	content := hex.EncodeToString(h.Sum(nil))[:16]
	weights := map[hookPhase][]int{}
	for _, hook := range hooks {
		weights[hook.phase] = append(weights[hook.phase], hook.weight)
	}
	for phase, list := range weights {
		slices.Sort(list)
		weights[phase] = slices.Compact(list)
	}
	before := weights[beforeChart]
	for _, hook := range hooks {
		position, _ := slices.BinarySearch(weights[hook.phase], hook.weight)
		wave := highest + 1 + position
		if hook.phase == beforeChart {
			wave = lowest - len(before) + position
		}
		annotations := map[string]string{musterv1alpha1.WaveAnnotation: strconv.Itoa(wave), musterv1alpha1.DeletePolicyAnnotation: hook.policy}
		if hook.onUpgrade {
			annotations[musterv1alpha1.HookContentAnnotation] = content
		}
		o, err := annotated(hook.Object, annotations)
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// wavesOf are the lowest and the highest wave of objects, 0 among them.
func wavesOf(objects []Object) (lowest, highest int, err error) {
	for _, o := range objects {
		if !bytes.Contains(o.JSON, []byte(musterv1alpha1.WaveAnnotation)) {
			continue
		}
		var m struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(o.JSON, &m); err != nil {
			return 0, 0, o.object().invalid("its annotations are not texts")
		}
		wave, err := strconv.Atoi(m.Metadata.Annotations[musterv1alpha1.WaveAnnotation])
		if err != nil {
			continue // it is elsewhere in the object, or the agent says what is wrong with it
		}
		lowest, highest = min(lowest, wave), max(highest, wave)
	}
	return lowest, highest, nil
}

// annotated is an object with more annotations; what the chart says itself stays.
func annotated(o Object, annotations map[string]string) (Object, error) {
	plain := o.object()
	if err := utiljson.Unmarshal(o.JSON, &plain.value); err != nil {
		return Object{}, plain.invalid("cannot be read as JSON")
	}
	metadata, _ := plain.value["metadata"].(map[string]any)
	have, _ := metadata["annotations"].(map[string]any)
	for key, value := range annotations {
		if _, said := have[key]; !said {
			have[key] = value
		}
	}
	return plain.write()
}
