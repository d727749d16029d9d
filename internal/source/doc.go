// Package source brings commits of Git repositories to the hub as snapshots.
//
// What goes in is a Remote: an address, a branch, tag or commit, and the credentials of a Secret. What comes out is the
// full commit it stands for, and for any commit that was fetched a fleet.Snapshot: a file tree that reads Git objects
// directly, without a checkout. A commit that was fetched is whole: a server that leaves something out is refused.
//
// A Store keeps one bare mirror per repository address below its folder. Fetch moves only the wanted ref and only the
// objects that are missing. Pin keeps the delivered commit under a ref of its own, so that a force-push, a vanished
// remote or a restart of the hub takes nothing away: Snapshot needs no network. The mirror is an ordinary bare
// repository; git itself is not needed to make it or to read it. Repositories of one address share the mirror and not their
// rights: Opened says who has fetched a commit itself.
//
// Whatever goes wrong is a fleet.Fault whose message names the repository and the next step, and never a secret.
package source
