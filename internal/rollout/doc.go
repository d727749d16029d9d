// Package rollout decides which changes may be made now.
//
// In go the changes between what is live and what the plan of an owner wants, and what is known of the clusters, the approvals
// and the time; out comes a Step: the changes to make now, in their order, those that are held, each with its reason, and the
// time at which to look again. A step never plans, and it remembers nothing: the next one starts from what is live then.
package rollout
