package work

import (
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

// Input is what the works of one application on one cluster are made of.
type Input struct {
	// Application: its metadata and spec.sync, spec.serviceAccountName and spec.destination count.
	Application *musterv1alpha1.Application
	Cluster     string
	Content     *fleet.Content
	// Revision is the commit that Content is of.
	Revision string
	// Live works of this application on this cluster: they say where objects are now, and since which commit.
	Live []fleet.LiveWork
}

// Set is the works of one application on one cluster. They are final: nothing is added to them later. Their specs are shared
// between clusters: who wants another one makes a copy.
type Set struct {
	Application string
	Cluster     string
	// Digest over the works' names and specs: equal digests, equal works. The revision is not in it.
	Digest string
	Works  []*workv1.ManifestWork
}

// Wanted makes the works. An error is a fleet.Fault of the author's.
func Wanted(in Input) (Set, error) {
	app := in.Application
	content, err := cache.prepare(app, in.Content)
	if err != nil {
		return Set{}, err
	}
	parts, err := Split(content.manifests, previousParts(in.Live))
	if err != nil {
		return Set{}, err
	}
	set := Set{Application: app.Namespace + "/" + app.Name, Cluster: in.Cluster}
	h := sha256.New()
	for number, manifests := range parts {
		if len(manifests) == 0 {
			continue
		}
		w, digest := planned(in, content, number, manifests)
		fmt.Fprintln(h, w.Name, digest)
		set.Works = append(set.Works, w)
	}
	set.Digest = hex.EncodeToString(h.Sum(nil))
	revision := revisionOf(in, set.Digest)
	for _, w := range set.Works {
		w.Annotations[musterv1alpha1.SetDigestAnnotation] = set.Digest
		w.Annotations[musterv1alpha1.SetSizeAnnotation] = strconv.Itoa(len(set.Works))
		w.Annotations[musterv1alpha1.RevisionAnnotation] = revision
	}
	return set, nil
}

// planned is one work but for what it says of its set, and the digest of its spec.
func planned(in Input, content *prepared, number int, manifests []fleet.Manifest) (*workv1.ManifestWork, string) {
	app := in.Application
	w := &workv1.ManifestWork{
		TypeMeta: metav1.TypeMeta{APIVersion: workv1.GroupVersion.String(), Kind: "ManifestWork"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: in.Cluster,
			Name:      Name(app.Namespace, app.Name, number),
			Labels:    map[string]string{musterv1alpha1.OwnerLabel: Owner("Application", app.Namespace, app.Name)},
		},
	}
	s := content.specOf(app, manifests, keptBefore(in.Live, number))
	w.Spec = s.work
	w.Annotations = map[string]string{
		musterv1alpha1.ApplicationAnnotation:   app.Namespace + "/" + app.Name,
		musterv1alpha1.PartAnnotation:          strconv.Itoa(number),
		musterv1alpha1.ContentDigestAnnotation: s.digest,
		musterv1alpha1.ObjectsAnnotation:       s.objects,
		musterv1alpha1.DriftAnnotation:         string(driftPolicy(app)),
	}
	return w, s.digest
}

func driftPolicy(app *musterv1alpha1.Application) musterv1alpha1.DriftPolicy {
	if app.Spec.Sync.Drift == "" {
		return musterv1alpha1.DriftCorrect
	}
	return app.Spec.Sync.Drift
}

// maxPart is where a part number that a live work claims stops being believed.
const maxPart = 10_000

// previousParts tells where every object is. One that is in two works, because it is being moved, counts for the first.
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

// keptBefore are the objects that the live work of this part leaves behind.
func keptBefore(live []fleet.LiveWork, number int) []fleet.ObjectKey {
	i := slices.IndexFunc(live, func(lw fleet.LiveWork) bool { return lw.Part == number })
	if i < 0 {
		return nil
	}
	return live[i].Kept
}

// revisionOf is the commit at which the set last changed: a commit that leaves it as it is changes no work.
func revisionOf(in Input, digest string) string {
	revision, part := in.Revision, maxPart+1
	for _, lw := range in.Live {
		if lw.SetDigest == digest && lw.Revision != "" && lw.Part < part {
			revision, part = lw.Revision, lw.Part
		}
	}
	return revision
}
