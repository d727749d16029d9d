// Package placement decides which clusters a placement selects.
//
// The input is a Placement with a World: clusters, sets, bindings, the decisions of all placements, scores and the time. The
// output is a Result: every cluster of the bound sets with the step that decided about it and the exact reason, the chosen
// ones in their groups, and OCM's conditions. The functions read only their arguments; the sequence of the inputs does not matter.
//
// The steps are:
//
//	Sets        clusters of the sets that are bound to the namespace and named by the placement, but the deleted ones
//	Predicates  those that match one of the predicates: labels, claims, CEL
//	Taints      those whose taints are tolerated
//	Scores      a rank for each: the weighted sum of the prioritizers
//	Spread      the first so many of them, as the spread constraints allow
//	Chosen      the chosen ones, divided into decision groups
//
// A second run after the first one changes nothing, and a cluster that joins replaces no chosen one while Steady
// outweighs the other prioritizers together and there are no spread constraints. With OCM's default weights, Balance 1 and
// Steady 1, it does not: by OCM's own arithmetic an idle newcomer outranks a chosen cluster that others have chosen most.
//
// Why is the same as a table for people: for each cluster the step, the unmet requirement, scores, rank, topology, group
// and what would have to change for it to be chosen.
//
// Next returns the writes for a result: PlacementDecisions, which change one by one and count only when they are
// complete (Read), then the status. Only a placement with sortBy Score shows scores in its decisions; it follows them once
// in scoreRateLimit, counted from lastScoreUpdateTime. OCM declares these fields and implements none of them.
package placement
