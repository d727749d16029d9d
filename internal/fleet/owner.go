package fleet

import (
	"crypto/sha256"
	"encoding/hex"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Owner is the object of the hub that works belong to. The zero Owner stands for a work that says of nobody.
type Owner struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// applicationKind is the kind of owner that messages name without its kind.
const applicationKind = "Application"

// OwnerOf is an application as the owner of its works.
func OwnerOf(app *musterv1alpha1.Application) Owner {
	return Owner{Kind: applicationKind, Namespace: app.Namespace, Name: app.Name}
}

// ApplicationOwner is OwnerOf for an application of which the namespace and the name are known.
func ApplicationOwner(namespace, name string) Owner {
	return Owner{Kind: applicationKind, Namespace: namespace, Name: name}
}

// IsApplication is true for an Application.
func (o Owner) IsApplication() bool { return o.Kind == applicationKind }

// replicaSetKind is the kind of owner that OCM's own labels name.
const replicaSetKind = "ManifestWorkReplicaSet"

// ReplicaSetOwner is a ManifestWorkReplicaSet as the owner of its works.
func ReplicaSetOwner(namespace, name string) Owner {
	return Owner{Kind: replicaSetKind, Namespace: namespace, Name: name}
}

// IsReplicaSet is true for a ManifestWorkReplicaSet.
func (o Owner) IsReplicaSet() bool { return o.Kind == replicaSetKind }

// addonKind is the kind of owner that OCM's labels of add-ons name.
const addonKind = "ManagedClusterAddOn"

// AddonOwner is an add-on on a cluster as the owner of its works.
func AddonOwner(cluster, name string) Owner {
	return Owner{Kind: addonKind, Namespace: cluster, Name: name}
}

// IsAddon is true for a ManagedClusterAddOn.
func (o Owner) IsAddon() bool { return o.Kind == addonKind }

// IsZero is true for no owner.
func (o Owner) IsZero() bool { return o == Owner{} }

// String is namespace/name for an Application, and Kind namespace/name for every other owner.
func (o Owner) String() string {
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	if o.Kind == "" || o.IsApplication() {
		return name
	}
	return o.Kind + " " + name
}

// WithKind is the owner in the middle of a sentence: "application retail/web".
func (o Owner) WithKind() string {
	if o.IsApplication() {
		return "application " + o.String()
	}
	return o.String()
}

// Digest is the value of the label muster.dev/owner on what the owner has made.
func (o Owner) Digest() string {
	sum := sha256.Sum256([]byte(o.Kind + "/" + o.Namespace + "/" + o.Name))
	return hex.EncodeToString(sum[:])[:20]
}
