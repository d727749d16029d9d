// Package source brings commits of Git repositories to the hub as snapshots.
//
// The input is a Remote: an address, a branch, tag or commit, and the credentials of a Secret. The output is the name of the
// commit, and for any commit that was fetched a fleet.Snapshot: a file tree that reads Git objects directly, without a checkout.
// A commit that was fetched is complete: a fetch in which the server left something out fails.
//
// A Store keeps one bare mirror per repository address below its folder. Fetch moves only the wanted ref and only the
// objects that are missing. Pin keeps the delivered commit under a ref of its own, so that it survives a force-push, the loss
// of the remote and a restart of the hub: Snapshot needs no network. The mirror is an ordinary bare
// repository; the program git is not needed. FleetRepositories of one address share the mirror, and sharing it grants no read
// access: HasFetched says who has fetched a commit with credentials of its own.
//
// Every error is a fleet.Fault whose message names the repository and the next step, and never a secret.
package source
