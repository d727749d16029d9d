// Package work makes a managed cluster equal to the ManifestWorks that a hub holds for it.
//
// The agent needs two connections: to the hub, where it may read the works of its cluster's namespace, write their
// finalizer and their status; and to its own cluster, where it applies. Both may be one API server. Everything that
// it must not forget lives on its own cluster, in one AppliedManifestWork per work: a hub that is away changes
// nothing, a restarted agent goes on where the old one stopped.
//
// For every work, in this order:
//
//  1. The finalizer cluster.open-cluster-management.io/manifest-work-cleanup is put on the work; nothing is applied before. A new
//     generation is applied only when the hub has no newer one: after an outage the agent goes straight to the newest.
//  2. The AppliedManifestWork <hub hash>-<work name> is made, with its own finalizer. It owns what is applied.
//  3. Observe: objects that a watch reported, or that are due, are read. A change of uid, generation or of the fields
//     that we hold is a suspicion of drift; a dry run of the apply confirms it.
//  4. Report: drift that is going to be corrected is told to the hub first, since the correction erases who did it.
//  5. Record before apply: what is about to be applied is in AppliedManifestWork.status before it is applied.
//  6. Apply: wave by wave, by rank of the kind, concurrently within a rank, as each manifest's update strategy and the work's
//     executor say. A failing manifest does not stop the others. What is unchanged is not written. What the executor may
//     not apply is not read for it either, but that it is not there is told.
//  7. Prune: only when every manifest was applied, in the reverse order of an installation. An object is deleted only if this
//     AppliedManifestWork owns it, no other does, and no other work of the hub wants it; with its UID as precondition. Else only our own
//     ownerReference goes, as from what the work's deletion option leaves on the cluster; and of an object that is another
//     application's now, the fields that nobody but this one has set.
//  8. Report: conditions, feedback and drift, at once when a condition flips, paced otherwise. The work speaks for a
//     generation when every manifest of it was applied or refused. Nothing that is told quotes a Secret.
//
// A deleted work: condition Deleting, AppliedManifestWork deleted, objects deleted in the background, finalizers
// removed, the work's last. Orphaned objects lose our ownerReference first.
//
// Where a work names the steps of a canary, a changed pod template of a Deployment goes through them first: the Deployment keeps its own, and
// the agent applies a companion beside it, which is an object of the work like any other. Where the canary is stands in an annotation of the
// AppliedManifestWork; what waits for a person or a measurement waits for an annotation of the work.
//
// An AppliedManifestWork without a work is evicted after a grace period.
//
// While somebody holds a work on the cluster nothing of it is applied, corrected or deleted.
//
// What the annotation muster.dev/drift of a work says about drift:
//
//	Correct  reported, then applied again
//	Report   reported, left until the manifest changes
//	Ignore   not looked for
//	none     as OCM does: looked for and corrected at the resync, every four to six minutes
//
// Where drift is left, an annotation of the AppliedManifestWork holds short hashes of the manifests that were applied last: an
// agent that was away during a commit applies what the commit changed and nothing else.
//
// An object that two works claim, as in the middle of a move from one to the other, is applied when its manifest in
// either changes and never corrected, so that the two do not fight; it is deleted by neither. Once one of them lets go it is
// the other's, and corrected at once.
package work
