package work

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Input is what the works of one owner on one cluster are made of.
type Input struct {
	Owner   fleet.Owner
	Options Options
	Cluster string
	Content *fleet.Content
	// Revision is the commit that Content is of.
	Revision string
	// Live works of this owner on this cluster: they say where objects are now, and since which commit.
	Live []fleet.LiveWork
	// Canary are the steps through which a changed Deployment goes, see CanarySteps; "" is none.
	Canary string
	// ManifestLimit is how many bytes one manifest may have; less than HardLimit is HardLimit.
	ManifestLimit int
}

// Options say how a cluster applies an owner's objects.
type Options struct {
	// Namespace that the objects go to, and in which a ServiceAccount without a namespace is.
	Namespace string
	// CreateNamespace adds the namespace to the objects. Owners may share it; it is never deleted.
	CreateNamespace bool
	// ServiceAccount, namespace/name or a name, becomes the executor of the works; "" is the agent itself.
	ServiceAccount string
	// Ignore are the fields that others may own.
	Ignore []musterv1alpha1.IgnoreRule
	// Drift says what the agent does about drift; "" is Correct.
	Drift musterv1alpha1.DriftPolicy
	// OnImmutable says what the agent does when a field cannot be changed; "" is Fail.
	OnImmutable musterv1alpha1.ImmutablePolicy
}

// Set is the works of one owner on one cluster. They are final: nothing is added to them later. Clusters share their specs:
// copy a spec before you change it.
type Set struct {
	Owner   fleet.Owner
	Cluster string
	// Digest over the works' names and specs: equal digests, equal works. The revision is not in it.
	Digest string
	Works  []*workv1.ManifestWork
}

// Wanted makes the works. An error is a fleet.Fault that a user resolves.
func Wanted(in Input) (Set, error) {
	content, err := cache.prepare(in.Owner, in.Options, in.Content)
	if err != nil {
		return Set{}, err
	}
	parts, err := Split(content.manifests, previousParts(in.Live), in.ManifestLimit)
	if err != nil {
		return Set{}, err
	}
	set := Set{Owner: in.Owner, Cluster: in.Cluster}
	for number, manifests := range parts {
		if len(manifests) == 0 {
			continue
		}
		set.Works = append(set.Works, planned(in, content, number, manifests))
	}
	set.complete(in.Revision, in.Live)
	return set, nil
}

// complete computes the digest of the set and notes on every work which set it is of, and since which revision.
func (s *Set) complete(revision string, live []fleet.LiveWork) {
	h := sha256.New()
	for _, w := range s.Works {
		fmt.Fprintln(h, w.Name, w.Annotations[musterv1alpha1.ContentDigestAnnotation])
	}
	s.Digest = hex.EncodeToString(h.Sum(nil))
	revision = revisionOf(revision, live, s.Digest)
	for _, w := range s.Works {
		w.Annotations[musterv1alpha1.SetDigestAnnotation] = s.Digest
		w.Annotations[musterv1alpha1.SetSizeAnnotation] = strconv.Itoa(len(s.Works))
		w.Annotations[musterv1alpha1.RevisionAnnotation] = revision
	}
}

// planned is one work, without what it says of its set.
func planned(in Input, content *prepared, number int, manifests []fleet.Manifest) *workv1.ManifestWork {
	w := &workv1.ManifestWork{
		TypeMeta: metav1.TypeMeta{APIVersion: workv1.GroupVersion.String(), Kind: "ManifestWork"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: in.Cluster,
			Name:      Name(in.Owner, number),
			Labels:    map[string]string{musterv1alpha1.OwnerLabel: in.Owner.Digest()},
		},
	}
	s := content.specOf(in.Options, manifests, keptBefore(in.Live, number))
	w.Spec = s.work
	key, value := OwnerAnnotation(in.Owner)
	w.Annotations = map[string]string{
		key:                                    value,
		musterv1alpha1.PartAnnotation:          strconv.Itoa(number),
		musterv1alpha1.ContentDigestAnnotation: s.digest,
		musterv1alpha1.ObjectsAnnotation:       s.objects,
		musterv1alpha1.DriftAnnotation:         string(cmp.Or(in.Options.Drift, musterv1alpha1.DriftCorrect)),
	}
	if in.Options.OnImmutable == musterv1alpha1.ImmutableRecreate {
		w.Annotations[musterv1alpha1.OnImmutableAnnotation] = string(in.Options.OnImmutable)
	}
	if in.Canary != "" && hasDeployment(manifests) {
		w.Annotations[musterv1alpha1.CanaryAnnotation] = in.Canary
	}
	return w
}

// maxPart bounds the part numbers of live works that count.
const maxPart = 10_000

// previousParts tells in which part every object is. One that is in two works, during a handover, counts for the first.
func previousParts(live []fleet.LiveWork) map[fleet.ObjectKey]int {
	previous := map[fleet.ObjectKey]int{}
	for _, lw := range live {
		if lw.Part < 0 || lw.Part > maxPart {
			continue
		}
		for _, key := range lw.Objects {
			if number, ok := previous[key.Identity()]; !ok || lw.Part < number {
				previous[key.Identity()] = lw.Part
			}
		}
	}
	return previous
}

// keptBefore are the objects that the live work of this part leaves on the cluster.
func keptBefore(live []fleet.LiveWork, number int) []fleet.ObjectKey {
	i := slices.IndexFunc(live, func(lw fleet.LiveWork) bool { return lw.Part == number })
	if i < 0 {
		return nil
	}
	return live[i].Kept
}

// revisionOf is the commit at which the set last changed: a commit that leaves it as it is changes no work.
func revisionOf(revision string, live []fleet.LiveWork, digest string) string {
	part := maxPart + 1
	for _, lw := range live {
		if lw.SetDigest == digest && lw.Revision != "" && lw.Part < part {
			revision, part = lw.Revision, lw.Part
		}
	}
	return revision
}
