// Package registration is the agent's half of joining a hub.
//
// Run leads a cluster through these steps, and begins again when its certificate is no longer good:
//
//	identity   cluster and agent get their names, which stay
//	bootstrap  with the bootstrap kubeconfig: create the ManagedCluster, ask for a certificate, wait for the hub
//	store      the hub's kubeconfig with the certificate lies in a directory, and in a Secret where one is named
//	serve      with the certificate: renew the lease, report health, version, capacity, claims, APIs and the namespaces of
//	           cluster sets, renew the certificate at 20 to 25 % of its life
//
// The directory has OCM's layout: kubeconfig, tls.crt, tls.key, cluster-name, agent-name. Certificate and key change together,
// in one rename. The key of a request that waits is kept beside them (pending.key), so that an agent which is stopped in
// between, or whose certificate has expired, asks again with the key that the hub knows.
//
// A cluster that was detached stays away, though its certificate and its bootstrap kubeconfig may still be good: to detach it
// would mean nothing otherwise. Its agent joins again when it is given a new bootstrap kubeconfig, running or not; of the
// present one the hash is kept beside the certificate (bootstrap.hash).
//
// Other roles get the hub's configuration from WaitForHubConfig. It names files, which client-go reads again, so that a
// renewed certificate needs no restart.
package registration
