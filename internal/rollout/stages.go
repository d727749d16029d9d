package rollout

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// steps are those of a strategy, ready to be asked.
type steps struct {
	list      []musterv1alpha1.RolloutStep
	selectors []labels.Selector // nil where a step selects by no label
}

// steps of the strategy; nil when it has none.
func (d *decider) steps() (*steps, error) {
	list := d.in.Strategy.Steps
	if len(list) == 0 {
		return nil, nil
	}
	s := &steps{list: list, selectors: make([]labels.Selector, len(list))}
	for i, step := range list {
		if step.ClusterSelector == nil || step.ClusterSelector.LabelSelector == nil {
			continue
		}
		var err error
		if s.selectors[i], err = metav1.LabelSelectorAsSelector(step.ClusterSelector.LabelSelector); err != nil {
			return nil, fmt.Errorf("steps[%d].clusterSelector: %w", i, err)
		}
	}
	return s, nil
}

// of is the step of a cluster, with its name; the one after the last for a cluster that no step selects.
func (s *steps) of(cluster string, of map[string]string, group string) (int, string) {
	for i, step := range s.list {
		all := step.ClusterSelector == nil && len(step.Groups) == 0
		byLabel := step.ClusterSelector != nil && (s.selectors[i] == nil || s.selectors[i].Matches(labels.Set(of)))
		if all || byLabel || group != "" && slices.Contains(step.Groups, group) {
			return i, step.Name
		}
	}
	return len(s.list), ""
}
