package placement

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
	"strings"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Grounds are what people say about where a placement's clusters are: the fields of its spec that decide it, and what labels,
// claims, sets and taints make of the clusters. Scores, and whether clusters answer, are no part of them. While the grounds of two
// choices are the same, the scheduler has made the difference.
//
// The pages of the decisions carry the grounds on which they were made, so that a reader cannot see one without the other. A
// change of the spec always makes new grounds. A change of what the clusters are does when it comes with another choice: that a
// cluster joins, and is chosen later, is the scheduler's doing.
type grounds struct {
	spec, clusters string
}

// groundsOf are the grounds of a run.
func (r *run) groundsOf() grounds {
	g := grounds{spec: digestOfSpec(r.placement)}
	spread := r.placement.Spec.SpreadPolicy.SpreadConstraints
	if r.placement.Spec.NumberOfClusters == nil && len(spread) == 0 {
		return g // all clusters that match are chosen: there is nothing to exchange
	}
	h := sha256.New()
	for i := range r.result.Decisions {
		d := &r.result.Decisions[i]
		position, exists := r.index.position[d.Cluster]
		if !exists || d.Step == StepSets || d.Step == StepPredicates {
			continue
		}
		cluster := r.index.clusters[position]
		fmt.Fprintln(h, d.Cluster)
		writeTaints(h, cluster)
		for n := range spread {
			value, has := r.index.topologyOf(&spread[n], position)
			fmt.Fprintf(h, " %q %t\n", value, has)
		}
	}
	g.clusters = short(h)
	return g
}

// digestOfSpec is over the fields that decide where a placement's clusters are.
func digestOfSpec(p *clusterv1beta1.Placement) string {
	spec := clusterv1beta1.PlacementSpec{
		ClusterSets: p.Spec.ClusterSets, NumberOfClusters: p.Spec.NumberOfClusters, Predicates: p.Spec.Predicates,
		PrioritizerPolicy: p.Spec.PrioritizerPolicy, SpreadPolicy: p.Spec.SpreadPolicy, Tolerations: p.Spec.Tolerations,
	}
	data, err := json.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("encode the spec of a placement: %v", err)) // strings, numbers and lists: there is nothing to fail on
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s/%s %s", p.Namespace, p.Name, data)
	return short(h)
}

// writeTaints writes the taints that somebody else than the hub has put on a cluster.
func writeTaints(h hash.Hash, c *clusterv1.ManagedCluster) {
	var taints []string
	for _, t := range c.Spec.Taints {
		hubs := t.Key == clusterv1.ManagedClusterTaintUnreachable || t.Key == clusterv1.ManagedClusterTaintUnavailable
		if !hubs || t.Effect != clusterv1.TaintEffectNoSelect {
			taints = append(taints, taintText(&t))
		}
	}
	slices.Sort(taints)
	fmt.Fprintf(h, " %q\n", taints)
}

func short(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil))[:10] }

// GroundsAfter are the grounds of a placement after a result, as its pages carry them: the grounds of the last choice that people
// have changed, and what the clusters are now.
func GroundsAfter(p *clusterv1beta1.Placement, r *Result, existing []clusterv1beta1.PlacementDecision) string {
	now := r.grounds.spec + "-" + r.grounds.clusters
	before, was := readGrounds(p, existing)
	last, clusters, _ := strings.Cut(before, "/")
	spec, _, _ := strings.Cut(last, "-")
	slices.Sort(was)
	if spec == r.grounds.spec && (clusters == r.grounds.clusters || slices.Equal(was, r.Chosen)) {
		return last + "/" + r.grounds.clusters
	}
	return now + "/" + r.grounds.clusters
}

// ReadGrounds are the grounds of the last choice that people have changed, "" when the pages do not say so with one voice.
func ReadGrounds(p *clusterv1beta1.Placement, decisions []clusterv1beta1.PlacementDecision) string {
	text, _ := readGrounds(p, decisions)
	return LastGrounds(text)
}

// readGrounds reads the annotation that all pages of a placement carry, and their clusters.
func readGrounds(p *clusterv1beta1.Placement, decisions []clusterv1beta1.PlacementDecision) (text string, clusters []string) {
	texts := map[string]bool{}
	for i := range decisions {
		if d := &decisions[i]; d.Namespace == p.Namespace && ours(p, d) {
			text = d.Annotations[musterv1alpha1.GroundsAnnotation]
			texts[text] = true
			clusters = append(clusters, clusterNames(d)...)
		}
	}
	if len(texts) > 1 {
		text = ""
	}
	return text, clusters
}

// LastGrounds is the part of the annotation that identifies the last choice that people have changed.
func LastGrounds(annotation string) string {
	last, _, _ := strings.Cut(annotation, "/")
	return last
}
