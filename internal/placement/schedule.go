package placement

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/fleet"
)

// Names of the steps, as fleet.Decision.Step has them.
const (
	StepSets       = "Sets"
	StepPredicates = "Predicates"
	StepTaints     = "Taints"
	StepScores     = "Scores"
	StepSpread     = "Spread"
	StepChosen     = "Chosen"
)

// Result is what a placement selects in one world, and why.
type Result struct {
	// Decisions, by cluster name: every cluster of the bound sets, and those that were chosen before and have left them.
	Decisions []fleet.Decision
	// Chosen clusters by name.
	Chosen []string
	// Groups that divide the chosen clusters; at least one, which is empty when nothing is chosen.
	Groups []Group
	// Conditions PlacementMisconfigured and PlacementSatisfied in OCM's reasons, at the placement's generation, without
	// times.
	Conditions []metav1.Condition
	// RequeueAt is when the result may change by itself: a toleration or a score expires. Zero for never.
	RequeueAt time.Time
	// Warnings are what did not stop the scheduling, such as expired scores.
	Warnings []Warning
	// Filters are the clusters that remained after each filtering step, as in OCM's debug answer.
	Filters []Filter
	// Candidates are the clusters that were ranked, by name; Scores of the prioritizers and Totals are parallel to it.
	Candidates   []string
	Prioritizers []Prioritizer
	Totals       []int64

	now     time.Time
	chosen  []clusterv1beta1.ClusterDecision // parallel to Chosen, with reason and score
	wrong   *misconfigured
	missing int // clusters that were asked for and not found
	grounds grounds
}

// Group is a decision group: a part of the chosen clusters.
type Group struct {
	Name     string // empty for the groups made by size
	Index    int    // from 0
	Clusters []string
}

// Filter is the result of one filtering step.
type Filter struct {
	Name     string // OCM's names: Predicate, then Predicate,TaintToleration
	Clusters []string
}

// Warning is a problem that did not stop a plugin.
type Warning struct{ Plugin, Message string }

// Prioritizer is one score of every candidate with its weight.
type Prioritizer struct {
	Name   string // Balance, Steady, …, or AddOn/<resource>/<score>
	Weight int32
	Scores []int64 // -100 to 100
}

// Misconfigured is what is wrong with the placement itself, "" when nothing is.
func (r *Result) Misconfigured() string {
	if r.wrong == nil {
		return ""
	}
	return r.wrong.Error()
}

// Problem is what is wrong with the placement itself, for people: the field of the placement in which it stands, and what it
// is, on one line and without values. Both are empty when nothing is wrong.
func (r *Result) Problem() (field, message string) {
	if r.wrong == nil {
		return "", ""
	}
	return r.wrong.field, fleet.ShortRule(cmp.Or(r.wrong.plain, r.wrong.message))
}

// problem is Problem as one text, "" when nothing is wrong.
func (r *Result) problem() string {
	field, message := r.Problem()
	return strings.TrimPrefix(field+": "+message, ": ")
}

// Schedule decides which clusters a placement selects in a world.
func Schedule(p *clusterv1beta1.Placement, w *fleet.World) Result { return NewIndex(w).Schedule(p) }

// pipeline is the scheduler: each step filters, ranks or divides the result of the step before it.
var pipeline = []struct {
	name string
	step func(*run) error
}{
	{StepSets, boundSets},          // ManagedClusterSetBindings, spec.clusterSets
	{StepSets, usable},             // metadata.name, spec.scoreRateLimit
	{StepPredicates, predicates},   // spec.predicates
	{StepTaints, taints},           // spec.tolerations
	{StepScores, prioritize},       // spec.prioritizerPolicy
	{StepSpread, choose},           // spec.spreadPolicy, spec.numberOfClusters
	{StepChosen, divideIntoGroups}, // spec.decisionStrategy
}

// Schedule decides which clusters a placement selects.
func (x *Index) Schedule(p *clusterv1beta1.Placement) Result { return x.ScheduleAt(p, x.now, nil) }

// ScheduleAt is Schedule at another time than the world's: clusters, scores and taints are the same, what has expired differs.
// The trace is called for each plugin; it may be nil.
func (x *Index) ScheduleAt(p *clusterv1beta1.Placement, now time.Time, trace Trace) Result {
	return x.run(p, now, trace).result
}

// Trace is called when a plugin begins, with OCM's names, and returns a function that is called when it ends.
type Trace func(kind PluginKind, name string) (end func())

// PluginKind is what a plugin does.
type PluginKind string

// The kinds of plugins, as OCM's metrics name them.
const (
	FilterPlugin      PluginKind = "filter"
	PrioritizerPlugin PluginKind = "prioritizer"
)

func (x *Index) run(p *clusterv1beta1.Placement, now time.Time, trace Trace) *run {
	if trace == nil {
		trace = func(PluginKind, string) func() { return func() {} }
	}
	r := &run{placement: p, index: x, now: now, trace: trace, previous: x.history.of(p), inSet: map[string]string{}, unevaluated: map[int]bool{}}
	r.result.now = now
	for _, s := range pipeline {
		if err := s.step(r); err != nil {
			r.refuse(s.name, err)
			break
		}
	}
	r.finish()
	return r
}

// Explain is the decision about one cluster, also about one that no bound set holds.
func (x *Index) Explain(p *clusterv1beta1.Placement, result *Result, cluster string) fleet.Decision {
	i, found := slices.BinarySearchFunc(result.Decisions, cluster, func(d fleet.Decision, name string) int {
		return cmp.Compare(d.Cluster, name)
	})
	if found {
		return result.Decisions[i]
	}
	r := &run{placement: p, index: x, sets: x.setsOf(p)}
	return r.outside(cluster)
}

// run is the state of one placement in the pipeline.
type run struct {
	placement *clusterv1beta1.Placement
	index     *Index
	now       time.Time
	trace     Trace
	previous  map[string]bool // clusters that the placement has chosen before

	sets        setFacts
	candidates  []candidate // not removed yet, by name
	selectors   []clusterSelector
	inSets      int
	inSet       map[string]string // "in set …" by set
	unmatched   int
	unevaluated map[int]bool // clusters, by index, that no expression was evaluated for, because the budget was exceeded
	tainted     int
	order       []int            // candidates by rank
	picked      []int            // candidates that are chosen, by name
	extra       []fleet.Decision // about clusters that are in no eligible set
	conflicts   []string         // between decision groups
	result      Result
}

// candidate is a cluster that no step has removed yet.
type candidate struct {
	cluster     *clusterv1.ManagedCluster
	index       int  // in the Index
	predicate   int  // the first predicate that it matches, -1 when there are none
	slot        int  // in the result's decisions
	unevaluated bool // no predicate was evaluated for it
	avoid       bool // it has a taint PreferNoSelect that is not tolerated
}

// drop records why a candidate is removed, and returns its decision for further details.
func (r *run) drop(c *candidate, step, reason string) *fleet.Decision {
	d := &r.result.Decisions[c.slot]
	*d = fleet.Decision{Cluster: c.cluster.Name, Step: step, Reason: clip(reason, maxExplanation)}
	return d
}

func (r *run) requeueAt(t time.Time) {
	if r.result.RequeueAt.IsZero() || t.Before(r.result.RequeueAt) {
		r.result.RequeueAt = t
	}
}

// misconfigured is an error in the placement itself, with OCM's message: the plugin that found it, and the problem.
type misconfigured struct {
	// field of the placement in which it stands, such as spec.predicates[0]; empty when it is not in one.
	field string
	// plain is the message without values and line breaks, where OCM's has some.
	plain   string
	plugin  string
	message string
}

func (m *misconfigured) Error() string { return m.plugin + ":" + m.message }

// refuse ends a run whose placement is wrong: nothing is chosen, as in OCM.
func (r *run) refuse(step string, err error) {
	wrong := &misconfigured{}
	if !errors.As(err, &wrong) {
		wrong = &misconfigured{plugin: step, message: err.Error()}
	}
	r.result.wrong = wrong
	r.result.Chosen, r.result.Groups, r.result.RequeueAt = nil, nil, time.Time{}
	r.result.chosen, r.picked = nil, nil
	_, problem := r.result.Problem()
	reason := "the placement is misconfigured: " + problem
	for i := range r.candidates {
		r.drop(&r.candidates[i], step, reason)
	}
	r.candidates = nil
}

// finish sorts the decisions of the steps and computes the conditions.
func (r *run) finish() {
	if len(r.extra) > 0 {
		r.result.Decisions = append(r.result.Decisions, r.extra...)
		slices.SortFunc(r.result.Decisions, func(a, b fleet.Decision) int { return cmp.Compare(a.Cluster, b.Cluster) })
	}
	if len(r.result.Groups) == 0 {
		r.result.Groups = []Group{{}}
	}
	r.result.Conditions = r.conditions()
	r.result.grounds = r.groundsOf()
}

func (r *run) names() []string {
	names := make([]string, len(r.candidates))
	for i := range r.candidates {
		names[i] = r.candidates[i].cluster.Name
	}
	return names
}

// appendOrdinal writes 1st, 2nd, 3rd, 4th and so on.
func appendOrdinal(b []byte, n int) []byte {
	suffix := "th"
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return append(strconv.AppendInt(b, int64(n), 10), suffix...)
}
