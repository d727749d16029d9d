package engine

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/muster-io/muster/internal/fleet"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
)

// LockProblem says why a Chart.lock is not that of a Chart.yaml, as `helm dependency build` finds it: "" when it is, and when one of them
// cannot be read, which whoever loads the chart says. A lock that somebody wrote by hand, without a digest, is compared with the ranges only.
func LockProblem(manifest, lock []byte) string {
	var wanted struct {
		Dependencies []*chart.Dependency `json:"dependencies"`
	}
	var locked struct {
		Digest       string              `json:"digest"`
		Dependencies []*chart.Dependency `json:"dependencies"`
	}
	if fleet.UnmarshalYAML(manifest, &wanted) != nil || fleet.UnmarshalYAML(lock, &locked) != nil {
		return ""
	}
	for _, l := range locked.Dependencies {
		for _, w := range wanted.Dependencies {
			if l != nil && w != nil && l.Name == w.Name && l.Repository == w.Repository && !chartutil.IsCompatibleRange(w.Version, l.Version) {
				return fmt.Sprintf("has %s %s, and Chart.yaml wants %s", l.Name, l.Version, w.Version)
			}
		}
	}
	data, err := json.Marshal([2][]*chart.Dependency{wanted.Dependencies, locked.Dependencies}) // what Helm's resolver hashes
	if err == nil && locked.Digest != "" && locked.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256(data)) {
		return "is not in step with Chart.yaml, as its digest says"
	}
	return ""
}
