// Package addon registers the add-ons of a cluster on its hub, and tells the hub whether their agents live.
//
// The hub says in the status of each ManagedClusterAddOn of the cluster's namespace what its agent needs, and the package keeps one
// Secret for each of it, where the agent runs:
//
//	kubeClient    <add-on>-hub-kubeconfig               kubeconfig, cluster-name, agent-name, and tls.crt with tls.key, or token
//	customSigner  <add-on>-<signer, - for />-client-cert  tls.crt, tls.key
//
// For each add-on, in this order:
//
//	driver    status.kubeClientDriver says how its agent authenticates on the hub: csr or token
//	release   Secrets that the add-on no longer asks for are deleted; those of an add-on that is being deleted stay until it is gone,
//	          since its agent may have to clean up on the hub
//	renew     a Secret without a good credential, or with one of which 20 % of the life is left, gets a new one: by a signing
//	          request that the hub approves, or by a token of the service account that the hub has made
//	report    conditions ClusterCertificateRotated and TokenRefreshed; Available from the lease that the agent renews
//
// An add-on of which the klusterlet itself is the agent names one of its roles: the role runs as long as the add-on is there, and renews the
// add-on's Lease as other agents do.
//
// A credential is replaced when its successor is there, never before. Only a Secret that carries the labels of this package is
// deleted.
//
// The key of a request that waits is kept in memory. An agent that restarts asks again: the hub approves the requests of an add-on by
// who asks, and not by the key.
package addon
