package work

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// longestName is how much of an owner's name goes into the names of its works.
const longestName = 40

// Name of a part of an owner's works, the same on every cluster: <name cut to 40>-<10 hex>-<part>. It holds no repository,
// commit or placement, so that files can change place without a change on clusters.
func Name(owner fleet.Owner, part int) string {
	prefix := owner.Name
	if len(prefix) > longestName {
		prefix = strings.TrimRight(prefix[:longestName], "-.")
	}
	return fmt.Sprintf("%s-%s-%d", prefix, shortHash(owner), part)
}

// FieldManager under which an owner's objects are applied. Two works that apply one object under one manager
// delete each other's fields without a conflict, so each owner has its own; OCM wants the prefix work-agent.
func FieldManager(owner fleet.Owner) string {
	return "work-agent-" + shortHash(owner)
}

// shortHash tells owners apart in names. That of an Application leaves its kind out, as names always did.
func shortHash(owner fleet.Owner) string {
	text := owner.Namespace + "/" + owner.Name
	if !owner.IsApplication() {
		text = owner.Kind + "/" + text
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:10]
}

// OwnerOf reads whose a work says that it is. Of a ManifestWorkReplicaSet and of an add-on the labels say it that OCM gives their
// works, so that a work that OCM's hub or an add-on's own manager made is the same as one of ours.
func OwnerOf(work metav1.Object) fleet.Owner {
	annotations := work.GetAnnotations()
	if namespace, name, ok := strings.Cut(annotations[musterv1alpha1.ApplicationAnnotation], "/"); ok {
		return fleet.ApplicationOwner(namespace, name)
	}
	if fields := strings.Split(annotations[musterv1alpha1.OwnerAnnotation], "/"); len(fields) == 3 {
		return fleet.Owner{Kind: fields[0], Namespace: fields[1], Name: fields[2]}
	}
	if namespace, name, ok := strings.Cut(work.GetLabels()[workv1alpha1.ManifestWorkReplicaSetLabelKey], "."); ok {
		return fleet.ReplicaSetOwner(namespace, name) // a namespace's name has no dot
	}
	if name := work.GetLabels()[addonv1alpha1.AddonNameLabel]; name != "" {
		return fleet.AddonOwner(cmp.Or(work.GetLabels()[addonv1alpha1.AddonNamespaceLabel], work.GetNamespace()), name)
	}
	return fleet.Owner{}
}

// OwnerDigest is the digest of the owner that the labels of a work name; "" when they name none.
func OwnerDigest(work metav1.Object) string {
	if digest := work.GetLabels()[musterv1alpha1.OwnerLabel]; digest != "" {
		return digest
	}
	if owner := OwnerOf(work); owner.IsReplicaSet() || owner.IsAddon() {
		return owner.Digest()
	}
	return ""
}

// OwnerSelector finds the works of an owner by their labels.
func OwnerSelector(owner fleet.Owner) map[string]string {
	if owner.IsReplicaSet() {
		return map[string]string{workv1alpha1.ManifestWorkReplicaSetLabelKey: owner.Namespace + "." + owner.Name}
	}
	return map[string]string{musterv1alpha1.OwnerLabel: owner.Digest()}
}

// OwnerAnnotation is the key and the value by which a work names its owner.
func OwnerAnnotation(owner fleet.Owner) (key, value string) {
	if owner.IsApplication() {
		return musterv1alpha1.ApplicationAnnotation, owner.Namespace + "/" + owner.Name
	}
	return musterv1alpha1.OwnerAnnotation, owner.Kind + "/" + owner.Namespace + "/" + owner.Name
}
