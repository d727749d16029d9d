// Package registration decides how clusters join a hub.
//
// In go facts: a certificate signing request, a ManagedCluster, a lease, the sets, the time. Out come verdicts: whether
// to approve, which rights, conditions, taints and members there are. Hub and agent share it. The rules are those of Open
// Cluster Management, with one more: Git accepts a name and an identity, so that a request to join under a cluster's
// name is approved without a person only for the first agent whose identity the ManagedCluster names, and from then on
// only for the holder of that agent's key.
package registration
