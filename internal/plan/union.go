package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// Choice is what one placement decides.
type Choice struct {
	Placement *clusterv1beta1.Placement
	Decisions []fleet.Decision
	// Grounds of the decisions, see placement.ReadGrounds; "" when they are not known.
	Grounds string
}

// Decided is what the placements of an application decide together.
type Decided struct {
	// Decisions, one for each cluster.
	Decisions []fleet.Decision
	// Grounds identify what people have said about the decisions; "" when they are not known.
	Grounds string
	// Filled is how many places the placements have filled: a cluster that several of them choose fills several.
	Filled int
	// Missing is how many places no cluster fills: of the number that is wanted, or where a cluster does not answer.
	Missing int
}

// Union is what several placements decide together: a cluster that one of them chooses is chosen, once, in the group of the first
// that does. The groups of the placements come one after the other.
func Union(choices []Choice, w *fleet.World, app *musterv1alpha1.Application) Decided {
	owner := fleet.OwnerOf(app)
	return unionOf(choices, liveByCluster(w, owner, worksByOwner(w)[owner]))
}

// unionOf is Union where the live works of the application are known by cluster.
func unionOf(choices []Choice, on map[string][]fleet.LiveWork) Decided {
	var out Decided
	all := make([][]fleet.Decision, len(choices))
	for i := range choices {
		filled, missing := choices[i].places(on)
		out.Filled, out.Missing = out.Filled+filled, out.Missing+missing
		all[i] = choices[i].Decisions
	}
	out.Decisions, out.Grounds = union(all), groundsOf(choices, on)
	return out
}

// places are how many the placement has filled, and how many it has not. A cluster that does not answer has its place kept where no
// number is wanted.
func (c *Choice) places(on map[string][]fleet.LiveWork) (filled, missing int) {
	silent := 0
	for _, d := range c.Decisions {
		switch {
		case d.Chosen:
			filled++
		case d.Unreachable && len(on[d.Cluster]) > 0:
			silent++
		}
	}
	if n := c.Placement.Spec.NumberOfClusters; n != nil {
		return filled, max(0, int(*n)-filled)
	}
	return filled, silent
}

// groundsOf are the grounds of what several placements decide together, in any order, "" when those of one are not known.
//
// A placement that chooses all clusters that match has no clusters in its grounds: one that it leaves has been excluded by somebody. Among
// several placements that is not seen any more, since another one may only have ranked the cluster too low. There its clusters
// belong to the grounds, those included that do not answer.
func groundsOf(choices []Choice, on map[string][]fleet.LiveWork) string {
	var each []string
	for i := range choices {
		c := &choices[i]
		if c.Grounds == "" {
			return ""
		}
		text := c.Grounds
		if len(choices) > 1 && !c.exchanges() {
			text += "+" + c.digestOfClusters(on)
		}
		each = append(each, text)
	}
	slices.Sort(each)
	return strings.Join(each, " ")
}

// exchanges is true for a placement whose clusters our scheduler may exchange for others.
func (c *Choice) exchanges() bool {
	spec := &c.Placement.Spec
	return (spec.NumberOfClusters != nil || len(spec.SpreadPolicy.SpreadConstraints) > 0) &&
		c.Placement.Annotations[clusterv1beta1.PlacementDisableAnnotation] != "true"
}

// digestOfClusters is over the clusters that the placement chooses, or would choose if they answered.
func (c *Choice) digestOfClusters(on map[string][]fleet.LiveWork) string {
	var names []string
	for _, d := range c.Decisions {
		if d.Chosen || d.Unreachable && len(on[d.Cluster]) > 0 {
			names = append(names, d.Cluster)
		}
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s/%s %q", c.Placement.Namespace, c.Placement.Name, names)))
	return hex.EncodeToString(sum[:])[:10]
}

func union(all [][]fleet.Decision) []fleet.Decision {
	if len(all) == 1 {
		return all[0]
	}
	byCluster := map[string]fleet.Decision{}
	groups := 0
	for _, decisions := range all {
		last := -1
		for _, d := range decisions {
			if d.Chosen {
				last = max(last, d.GroupIndex)
				d.GroupIndex += groups
			}
			if known, ok := byCluster[d.Cluster]; !ok || weight(d) > weight(known) {
				byCluster[d.Cluster] = d
			}
		}
		groups += last + 1
	}
	list := make([]fleet.Decision, 0, len(byCluster))
	for _, name := range slices.Sorted(maps.Keys(byCluster)) {
		list = append(list, byCluster[name])
	}
	return list
}

// weight orders what several placements decide about one cluster: the one that would choose it if less were against it says why it is
// not chosen. As long as the grounds are the same, the others have never chosen it.
func weight(d fleet.Decision) int {
	switch {
	case d.Chosen:
		return 3
	case d.Unreachable:
		return 2
	case d.Outranked():
		return 1
	}
	return 0
}
