// Package rollout decides which changes may be made now.
//
// In go the changes between what is live and what is wanted, with what is known of the clusters; out comes a Step: the
// changes for now in the order in which to make them, and those that are held, each with its reason. Nothing is remembered
// between steps: the next one starts from what is live then.
package rollout
