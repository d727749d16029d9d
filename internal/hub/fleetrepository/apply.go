package fleetrepository

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/registration"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// writes remembers the definitions that were applied for a repository, so that an unchanged definition needs no request.
type writes struct {
	client  dynamic.Interface
	account string

	mu   sync.Mutex
	done map[fleet.ObjectKey]written
	// changed is the time of the last write that changed an object, or the start of this record.
	changed time.Time
}

// written is one applied definition: its digest, and the object that the API server made of it.
type written struct {
	digest      string
	fingerprint string // of the object: see fingerprintOf
	generation  int64
}

// last is what was applied of a definition.
func (w *writes) last(key fleet.ObjectKey) (written, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last, ok := w.done[key]
	return last, ok
}

// note records an applied definition, and the time if that changed its object.
func (w *writes) note(key fleet.ObjectKey, applied written, changed bool, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done[key] = applied
	if changed {
		w.changed = now
	}
}

// applyWriters is how many definitions of one kind are applied at once.
const applyWriters = 8

// applyAll applies the definitions kind by kind, in order of dependency, and returns the error of each.
func (r *Repositories) applyAll(ctx context.Context, repo *musterv1alpha1.FleetRepository, w *writes, definitions []fleet.Definition) []error {
	errs := make([]error, len(definitions))
	for first := 0; first < len(definitions); {
		var group errgroup.Group
		group.SetLimit(applyWriters)
		next := first
		for ; next < len(definitions) && definitions[next].Key.Kind == definitions[first].Key.Kind; next++ {
			i := next
			group.Go(func() error {
				errs[i] = r.applyOne(ctx, repo, w, &definitions[i])
				return nil
			})
		}
		_ = group.Wait() // errs has them
		first = next
	}
	return errs
}

// apply writes the definitions. A definition that the API server rejects becomes a fault and does not stop the others.
func (r *Repositories) apply(ctx context.Context, repo *musterv1alpha1.FleetRepository, out *report) error {
	w, err := r.writer(repo)
	if err != nil {
		return err
	}
	var unanswered error
	out.accepted = map[fleet.ObjectKey]bool{}
	for i, err := range r.applyAll(ctx, repo, w, out.delivery.Definitions.All) {
		d := &out.delivery.Definitions.All[i]
		if err == nil {
			out.accepted[d.Key] = true
			continue
		}
		fault, retry := refusal(err, d, repo)
		if retry {
			if unanswered == nil {
				unanswered = fmt.Errorf("apply %s from %s: %w", d.Key, d.File, err)
			}
			continue
		}
		if fault.ActionRequiredBy == fleet.Controller {
			out.requeueAfter = min(out.requeueAfter, retryRefused)
		}
		out.refuse(fault)
	}
	fleet.SortFaults(out.faults)
	return unanswered
}

// retryRefused is the delay before retrying a definition that failed because of the API server itself.
const retryRefused = 15 * time.Second

// writer is a client that acts as the repository's service account.
func (r *Repositories) writer(repo *musterv1alpha1.FleetRepository) (*writes, error) {
	key := client.ObjectKeyFromObject(repo)
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, ok := r.written[key]; ok && w.account == repo.Spec.ServiceAccountName {
		return w, nil
	}
	config := rest.CopyConfig(r.Config)
	// The API server adds the groups of a service account itself. Naming them would need the right to impersonate groups.
	config.Impersonate = rest.ImpersonationConfig{
		UserName: fmt.Sprintf("system:serviceaccount:%s:%s", repo.Namespace, repo.Spec.ServiceAccountName),
	}
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Impersonate.UserName, err)
	}
	w := &writes{client: c, account: repo.Spec.ServiceAccountName, done: map[fleet.ObjectKey]written{}, changed: r.Now()}
	if r.written == nil {
		r.written = map[types.NamespacedName]*writes{}
	}
	r.written[key] = w
	return w, nil
}

func resourceOf(w *writes, k fleet.ObjectKey) dynamic.ResourceInterface {
	resource := w.client.Resource(schema.GroupVersionResource{Group: k.Group, Version: k.Version, Resource: k.Resource})
	if k.Namespace == "" {
		return resource
	}
	return resource.Namespace(k.Namespace)
}

// applyOne makes one object on the hub equal to its definition.
func (r *Repositories) applyOne(ctx context.Context, repo *musterv1alpha1.FleetRepository, w *writes, d *fleet.Definition) error {
	digest, err := digestOf(d.Source) // complete: of a cluster, the taints too
	if err != nil {
		return err
	}
	if r.asApplied(ctx, w, d, digest) {
		return nil
	}
	resource := resourceOf(w, d.Key)
	live, err := resource.Get(ctx, d.Key.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if apierrors.IsNotFound(err) {
		live = nil
	}
	if err := r.mayWrite(ctx, live, repo, d); err != nil {
		return err
	}
	if live != nil && !live.GetDeletionTimestamp().IsZero() {
		return nil // it is being deleted; a later reconciliation creates it again
	}
	wanted, err := stamped(repo, d)
	if err != nil {
		return err
	}
	if last, _ := w.last(d.Key); live != nil && last.digest == digest && last.fingerprint == fingerprintOf(live) {
		return nil
	}
	before := ""
	if live != nil {
		before = fingerprintOf(live)
	}
	if cluster, ok := d.Object.(*clusterv1.ManagedCluster); ok {
		live, err = r.applyCluster(ctx, resource, live, wanted, cluster)
	} else {
		live, err = applyObject(ctx, resource, wanted)
	}
	if err != nil {
		return err
	}
	fingerprint := fingerprintOf(live)
	w.note(d.Key, written{digest: digest, fingerprint: fingerprint, generation: live.GetGeneration()}, fingerprint != before, r.Now())
	return nil
}

func applyObject(ctx context.Context, resource dynamic.ResourceInterface, wanted *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return resource.Apply(ctx, wanted.GetName(), wanted, metav1.ApplyOptions{FieldManager: plan.FieldManager, Force: true})
}

// ReleasedFromAnnotation says which repository an object was released by: the same repository may take it back.
const ReleasedFromAnnotation = "muster.dev/released-from"

// Owner is the value of label muster.dev/owner on what a repository applies.
func Owner(repo client.Object) string {
	return fleet.Owner{Kind: "FleetRepository", Namespace: repo.GetNamespace(), Name: repo.GetName()}.Digest()
}

// stamped is the definition with the label and annotation that name its repository.
func stamped(repo *musterv1alpha1.FleetRepository, d *fleet.Definition) (*unstructured.Unstructured, error) {
	wanted := d.Source.DeepCopy()
	labels := wanted.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[musterv1alpha1.OwnerLabel] = Owner(repo)
	wanted.SetLabels(labels)
	annotations := wanted.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[musterv1alpha1.RepositoryAnnotation] = repo.Namespace + "/" + repo.Name
	if d.Key.Kind == "ManagedCluster" {
		unstructured.RemoveNestedField(wanted.Object, "spec", "taints")
	}
	wanted.SetAnnotations(annotations)
	return wanted, nil
}

func digestOf(o *unstructured.Unstructured) (string, error) {
	data, err := fleet.CanonicalJSON(o.Object)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// mayWrite rejects an object that another repository or a person owns, unless the owner allows the takeover. Agents create their
// ManagedClusters themselves, and namespaces are shared: both may be adopted while no repository owns them. Marks of a deleted
// repository do not count: they remain where its account had lost its rights.
func (r *Repositories) mayWrite(ctx context.Context, live *unstructured.Unstructured, repo *musterv1alpha1.FleetRepository, d *fleet.Definition) error {
	if live == nil {
		return nil
	}
	me := repo.Namespace + "/" + repo.Name
	owner := live.GetAnnotations()[musterv1alpha1.RepositoryAnnotation]
	adoptable := owner == "" && (d.Key.Kind == "ManagedCluster" || d.Key.Kind == "Namespace" || isBuiltIn(d.Key) ||
		live.GetAnnotations()[ReleasedFromAnnotation] == me)
	if owner == me || adoptable || live.GetAnnotations()[musterv1alpha1.TakeOverAnnotation] == me {
		return nil
	}
	holder := "a person"
	if owner != "" {
		holder = "repository " + owner
		if gone, err := r.gone(ctx, owner); gone || err != nil {
			return err
		}
	}
	return fleet.Fault{
		Reason: fleet.OwnedElsewhere, ActionRequiredBy: fleet.User, File: d.File, Line: d.Line, Object: d.Key.String(),
		Message: fmt.Sprintf("%s has it on the hub: take the definition out, or have its owner annotate it %s=%s",
			holder, musterv1alpha1.TakeOverAnnotation, me),
	}
}

// gone is true when no repository with this namespace/name exists. It asks the API server too, since the cache may be stale.
func (r *Repositories) gone(ctx context.Context, repository string) (bool, error) {
	namespace, name, _ := strings.Cut(repository, "/")
	if namespace == "" || name == "" {
		return false, nil // not written by a repository
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	for _, reader := range []client.Reader{r.Client, r.Reader} {
		err := reader.Get(ctx, key, &musterv1alpha1.FleetRepository{})
		if !apierrors.IsNotFound(err) {
			return false, err
		}
	}
	return true, nil
}

// isBuiltIn is true for objects that Kubernetes or the hub creates by itself.
func isBuiltIn(k fleet.ObjectKey) bool {
	return (k.Kind == "ServiceAccount" && k.Name == "default") ||
		(k.Kind == "ManagedClusterSet" && (k.Name == "default" || k.Name == "global"))
}

// refusal turns a rejection by the API server into a fault. The second result is true when the request failed without an answer
// and has to be retried.
func refusal(err error, d *fleet.Definition, repo *musterv1alpha1.FleetRepository) (fleet.Fault, bool) {
	if f, ok := fleet.AsFault(err); ok {
		return f, false
	}
	f := fleet.Fault{Reason: fleet.Refused, ActionRequiredBy: fleet.User, File: d.File, Line: d.Line, Object: d.Key.String(), Err: err}
	switch {
	case mayNotAct(err, d, repo):
		f.Reason = fleet.Forbidden
		f.Message = fmt.Sprintf("the hub may not act as service account %s/%s of the repository: bind ClusterRole %s to service account %s/%s in namespace %s",
			repo.Namespace, repo.Spec.ServiceAccountName, hub.RepositoryRole, registration.SystemNamespace, hub.Account, repo.Namespace)
	case apierrors.IsForbidden(err):
		f.Reason = fleet.Forbidden
		f.Message = fmt.Sprintf("service account %s/%s of the repository may not write it: %s",
			repo.Namespace, repo.Spec.ServiceAccountName, plainStatus(err))
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		f.Line = d.LineOf(fieldOf(err))
		f.Message = "the API server rejected it: " + plainStatus(err)
	case apierrors.IsInternalError(err), apierrors.IsMethodNotSupported(err):
		f.ActionRequiredBy = fleet.Controller
		f.Message = "the API server failed on it, and the hub retries: " + plainStatus(err)
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
		f.ActionRequiredBy = fleet.Controller
		f.Message = fmt.Sprintf("the hub has no namespace %s, or does not serve the kind: %s", d.Key.Namespace, plainStatus(err))
	default:
		return f, true
	}
	return f, false
}

// mayNotAct is true when the API server did not reject the definition, but acting as the repository's service account.
func mayNotAct(err error, d *fleet.Definition, repo *musterv1alpha1.FleetRepository) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsForbidden(err) || d.Key.Kind == "ServiceAccount" {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "serviceaccounts" && details.Name == repo.Spec.ServiceAccountName
}

func plainStatus(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Message
	}
	return err.Error()
}

// fieldOf is the first field that the API server names in its rejection.
func fieldOf(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return ""
	}
	for _, cause := range status.Status().Details.Causes {
		if cause.Field != "" {
			return strings.TrimPrefix(cause.Field, "<nil>")
		}
	}
	return ""
}
