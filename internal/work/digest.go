package work

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// SpecDigest identifies the spec of a work, however an API server writes it: the manifests by what they say and not by
// their bytes, everything else by its fields.
func SpecDigest(w *workv1.ManifestWork) string {
	sums := make([]string, len(w.Spec.Workload.Manifests))
	for i, m := range w.Spec.Workload.Manifests {
		sums[i] = manifestDigest(m.Raw)
	}
	return specDigest(w, sums)
}

// specDigest is SpecDigest for manifests whose digests are known.
func specDigest(w *workv1.ManifestWork, manifests []string) string {
	h := sha256.New()
	for _, sum := range manifests {
		fmt.Fprintln(h, sum)
	}
	rest := w.Spec
	rest.Workload = workv1.ManifestsTemplate{}
	data, err := json.Marshal(rest)
	if err != nil {
		panic(fmt.Sprintf("encode a work's spec: %v", err)) // strings, numbers and lists: there is nothing to fail on
	}
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// manifestDigest reads numbers as an API server does, which stores 1.0 as 1. Bytes that are no JSON count as they are.
func manifestDigest(raw []byte) string {
	var plain any
	if err := utiljson.Unmarshal(raw, &plain); err == nil {
		if data, err := encode(plain); err == nil {
			raw = data
		}
	}
	return digestOfBytes(raw)
}

func digestOfBytes(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// encode writes JSON with sorted keys, without insignificant space.
func encode(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}

// IsSet tells whether live works are, by their actual specs, the complete set with a digest.
func IsSet(live []fleet.LiveWork, digest string) bool {
	h := sha256.New()
	for _, lw := range slices.SortedFunc(slices.Values(live), func(a, b fleet.LiveWork) int { return cmp.Compare(a.Part, b.Part) }) {
		fmt.Fprintln(h, lw.Name, lw.SpecDigest)
	}
	return len(live) > 0 && hex.EncodeToString(h.Sum(nil)) == digest
}

// ownAnnotations are those that a planned work carries. Others on it are not ours and do not count.
var ownAnnotations = []string{
	musterv1alpha1.ApplicationAnnotation,
	musterv1alpha1.OwnerAnnotation,
	musterv1alpha1.PartAnnotation,
	musterv1alpha1.RevisionAnnotation,
	musterv1alpha1.SetDigestAnnotation,
	musterv1alpha1.SetSizeAnnotation,
	musterv1alpha1.ContentDigestAnnotation,
	musterv1alpha1.ObjectsAnnotation,
	musterv1alpha1.DriftAnnotation,
	musterv1alpha1.OnImmutableAnnotation,
	musterv1alpha1.CanaryAnnotation,
}

// Unset are the annotations of ours that a planned work does not carry.
func Unset(w *workv1.ManifestWork) []string {
	var unset []string
	for _, key := range ownAnnotations {
		if _, set := w.Annotations[key]; !set {
			unset = append(unset, key)
		}
	}
	return unset
}

// MetaDigest identifies our label and annotations of a work.
func MetaDigest(w *workv1.ManifestWork) string {
	own := map[string]string{musterv1alpha1.OwnerLabel: w.Labels[musterv1alpha1.OwnerLabel]}
	for _, key := range ownAnnotations {
		own[key] = w.Annotations[key]
	}
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(own)) {
		fmt.Fprintf(h, "%s=%q\n", key, own[key])
	}
	return hex.EncodeToString(h.Sum(nil))
}
