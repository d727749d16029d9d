package work

import (
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// merge is what the strategy Update writes over a live object: labels, annotations, owners and finalizers are merged,
// the status is the live one, everything else is the manifest's. Fields that the cluster itself fills in and that
// the manifest leaves open are kept.
func merge(manifest, live *unstructured.Unstructured) *unstructured.Unstructured {
	merged := manifest.DeepCopy()
	metadata, _ := live.DeepCopy().Object["metadata"].(map[string]any)
	merged.Object["metadata"] = metadata
	merged.SetLabels(overlay(live.GetLabels(), manifest.GetLabels()))
	merged.SetAnnotations(overlay(live.GetAnnotations(), manifest.GetAnnotations()))
	merged.SetOwnerReferences(mergeOwners(live.GetOwnerReferences(), manifest.GetOwnerReferences()))
	merged.SetFinalizers(union(live.GetFinalizers(), manifest.GetFinalizers()))
	delete(merged.Object, "status")
	if status, ok := live.Object["status"]; ok {
		merged.Object["status"] = status
	}
	for _, field := range filledIn[live.GroupVersionKind().Group+"/"+live.GetKind()] {
		keep(merged, live, field)
	}
	return merged
}

// filledIn are fields that a cluster fills in once and refuses to lose.
var filledIn = map[string][][]string{
	"/ServiceAccount":        {{"secrets"}, {"imagePullSecrets"}},
	"/PersistentVolumeClaim": {{"spec", "volumeName"}, {"spec", "storageClassName"}, {"spec", "volumeMode"}},
	"/PersistentVolume":      {{"spec", "claimRef"}},
	"batch/Job":              {{"spec", "selector"}, {"spec", "template", "metadata", "labels"}},
}

func keep(merged, live *unstructured.Unstructured, field []string) {
	if _, found, _ := unstructured.NestedFieldNoCopy(merged.Object, field...); found {
		return
	}
	if value, found, _ := unstructured.NestedFieldCopy(live.Object, field...); found {
		_ = unstructured.SetNestedField(merged.Object, value, field...) // a parent that is no map is the manifest's mistake
	}
}

func overlay(below, above map[string]string) map[string]string {
	if len(below)+len(above) == 0 {
		return nil
	}
	all := make(map[string]string, len(below)+len(above))
	for k, v := range below {
		all[k] = v
	}
	for k, v := range above {
		all[k] = v
	}
	return all
}

func union(a, b []string) []string {
	known := map[string]bool{}
	var all []string
	for _, s := range append(append([]string{}, a...), b...) {
		if !known[s] {
			known[s] = true
			all = append(all, s)
		}
	}
	return all
}

// mergeOwners adds owners to those that are there. A reference to an AppliedManifestWork of the same name and another
// UID is one to a predecessor that is gone, and is replaced: with it, the garbage collector could delete the object.
func mergeOwners(have, add []metav1.OwnerReference) []metav1.OwnerReference {
	var all []metav1.OwnerReference
	for _, old := range have {
		replaced := false
		for _, owner := range add {
			replaced = replaced || old.UID == owner.UID || (isRecord(old) && isRecord(owner) && old.Name == owner.Name)
		}
		if !replaced {
			all = append(all, old)
		}
	}
	return append(all, add...)
}

// without removes one owner.
func without(have []metav1.OwnerReference, uid types.UID) []metav1.OwnerReference {
	var rest []metav1.OwnerReference
	for _, owner := range have {
		if owner.UID != uid {
			rest = append(rest, owner)
		}
	}
	return rest
}

// same says that writing merged over live changes nothing that the manifest speaks of.
func same(merged, live *unstructured.Unstructured) bool {
	return equality.Semantic.DeepEqual(merged.Object, live.Object)
}

func isRecord(owner metav1.OwnerReference) bool {
	return owner.Kind == recordKind && owner.APIVersion == workv1.GroupVersion.String()
}

const recordKind = "AppliedManifestWork"

// ownerOf is the reference by which an AppliedManifestWork owns an object. It is no controller's.
func ownerOf(record *workv1.AppliedManifestWork) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: workv1.GroupVersion.String(), Kind: recordKind, Name: record.Name, UID: record.UID}
}

func owns(record *workv1.AppliedManifestWork, object metav1.Object) bool {
	for _, owner := range object.GetOwnerReferences() {
		if owner.UID == record.UID {
			return true
		}
	}
	return false
}
