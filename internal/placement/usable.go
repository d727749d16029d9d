package placement

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// usable refuses a placement whose decisions could not be written, whatever they are.
func usable(r *run) error {
	p := r.placement
	if !labelable(p.Name) {
		return &misconfigured{field: "metadata.name", message: fmt.Sprintf(
			"the name has %d characters, and the label of its PlacementDecisions that holds it may have %d", len(p.Name), validation.LabelValueMaxLength,
		)}
	}
	if _, err := scoreRateLimit(p); err != nil {
		return &misconfigured{field: "spec.scoreRateLimit", message: fmt.Sprintf("scoreRateLimit %s is no duration", p.Spec.ScoreRateLimit)}
	}
	return nil
}

// labelable says whether a placement's name can be the value of the label that PlacementDecisions carry it in. An object's
// name may be longer than that.
func labelable(name string) bool { return len(name) <= validation.LabelValueMaxLength }

// scoreRateLimit is spec.scoreRateLimit, with the API's default; 0 for a placement that does not show scores.
func scoreRateLimit(p *clusterv1beta1.Placement) (time.Duration, error) {
	switch {
	case p.Spec.SortBy != clusterv1beta1.SortByScore:
		return 0, nil
	case p.Spec.ScoreRateLimit == "":
		return time.Minute, nil
	default:
		return time.ParseDuration(p.Spec.ScoreRateLimit)
	}
}
