package submariner

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // the kinds
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	hubaddon "github.com/muster-io/muster/internal/hub/addon"
	"github.com/muster-io/muster/internal/registration"
)

const (
	// brokerRole is the Role of clusters in the namespace of their broker.
	brokerRole = "submariner-k8s-broker-cluster"
	// keySecret has the key that the clusters of a set share.
	keySecret = "submariner-ipsec-psk"
	keyLength = 48
	// setLabel on the namespace of a broker names its set: a namespace without it is somebody else's.
	setLabel = "muster.dev/submariner-broker"
)

// kinds that a broker's clusters write, made where they are missing.
//
//go:embed broker.yaml
var kinds string

// brokers makes the broker of each set.
type brokers struct {
	client client.Client
	reader client.Reader
	works  *hub.Works
}

func (r *brokers) setup(mgr ctrl.Manager) error {
	every := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request { return r.every(ctx) })
	return ctrl.NewControllerManagedBy(mgr).
		Named("submariner-broker").
		For(&clusterv1beta2.ManagedClusterSet{}, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&addonv1alpha1.ManagedClusterAddOn{}, every, builder.WithPredicates(ofSubmariner, comesOrGoes)).
		Watches(&clusterv1.ManagedCluster{}, every, builder.WithPredicates(setChanged)).
		Watches(&submarinerv1alpha1.SubmarinerConfig{}, every, builder.WithPredicates(ofSubmariner, predicate.GenerationChangedPredicate{})).
		WatchesRawSource(r.works.Source(func(e hub.WorkEvent) []reconcile.Request {
			if e.After == nil && isOurs(e) {
				return r.every(context.Background())
			}
			return nil
		})).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// every set: there are few, and a cluster may have come from any of them.
func (r *brokers) every(ctx context.Context) []reconcile.Request {
	var sets clusterv1beta2.ManagedClusterSetList
	if err := r.client.List(ctx, &sets, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list ManagedClusterSets")
		return nil
	}
	var requests []reconcile.Request
	for i := range sets.Items {
		if hasBroker(&sets.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Name: sets.Items[i].Name}})
		}
	}
	return requests
}

// Reconcile keeps the broker of one set as long as a cluster of the set has the add-on.
func (r *brokers) Reconcile(ctx context.Context, set *clusterv1beta2.ManagedClusterSet) (reconcile.Result, error) {
	if !hasBroker(set) {
		return reconcile.Result{}, nil
	}
	clusters, err := members(ctx, r.client, set.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if len(clusters) == 0 || !set.DeletionTimestamp.IsZero() {
		return r.remove(ctx, set, clusters)
	}
	if err := r.mark(ctx, set); err != nil {
		return again(err)
	}
	if err := r.make(ctx, set.Name, clusters); err != nil {
		return again(err)
	}
	return again(r.ensureGlobalnet(ctx, set, clusters))
}

// again waits for what passes by itself, as a cache that is stale or rights that the API server has not seen yet. What a person must do is in
// the conditions of the add-on.
func again(err error) (reconcile.Result, error) {
	switch {
	case apierrors.IsConflict(err), apierrors.IsForbidden(err), meta.IsNoMatchError(err), errors.As(err, new(*notOurs)):
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	return reconcile.Result{}, err
}

// mark says on the set that it has a broker, and keeps it until the broker is gone.
func (r *brokers) mark(ctx context.Context, set *clusterv1beta2.ManagedClusterSet) error {
	namespace := Namespace(set.Name)
	added := controllerutil.AddFinalizer(set, submarinerv1alpha1.BrokerFinalizer)
	if !added && set.Annotations[submarinerv1alpha1.BrokerNamespaceAnnotation] == namespace {
		return nil
	}
	metav1.SetMetaDataAnnotation(&set.ObjectMeta, submarinerv1alpha1.BrokerNamespaceAnnotation, namespace)
	return r.client.Update(ctx, set)
}

// Namespace is that of the broker of a set.
func Namespace(set string) string {
	name := set + "-broker"
	if len(name) <= 63 {
		return name
	}
	sum := sha256.Sum256([]byte(set))
	return set[:45] + "-" + hex.EncodeToString(sum[:5]) + "-broker"
}

// notOurs is the error of a namespace that is there already and belongs to somebody else.
type notOurs struct{ namespace string }

func (e *notOurs) Error() string {
	return "namespace " + e.namespace + " is there already and is not the broker's: delete it, or give the set another name"
}

// ownNamespace reads the namespace of a broker; nil when there is none.
func ownNamespace(ctx context.Context, c client.Reader, set string) (*corev1.Namespace, error) {
	namespace := &corev1.Namespace{}
	err := c.Get(ctx, client.ObjectKey{Name: Namespace(set)}, namespace)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err == nil && namespace.Labels[setLabel] != set {
		return nil, &notOurs{namespace.Name}
	}
	return namespace, err
}

// make makes the broker, with an account for each cluster, and takes out the accounts of others.
func (r *brokers) make(ctx context.Context, set string, clusters []string) error {
	namespace, err := ownNamespace(ctx, r.reader, set)
	if err != nil {
		return err
	}
	if namespace == nil {
		namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace(set), Labels: map[string]string{setLabel: set}}}
		if err := r.client.Create(ctx, namespace); err != nil {
			return fmt.Errorf("make the broker of set %s: %w", set, err)
		}
	}
	for _, o := range brokerObjects(namespace.Name) {
		if err := r.ensure(ctx, o); err != nil {
			return fmt.Errorf("make the broker of set %s: %w", set, err)
		}
	}
	if err := r.ensureKinds(ctx); err != nil {
		return err
	}
	if err := r.ensureKey(ctx, namespace.Name); err != nil {
		return err
	}
	for _, cluster := range clusters {
		for _, o := range accountObjects(namespace.Name, cluster) {
			if err := r.ensure(ctx, o); err != nil {
				return fmt.Errorf("make the account of cluster %s: %w", cluster, err)
			}
		}
	}
	return r.removeOthers(ctx, namespace.Name, clusters)
}

// brokerObjects are the hub's own rights in the namespace, then those of the clusters, which the hub can give because it has them.
func brokerObjects(namespace string) []client.Object {
	own := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: registration.SystemNamespace, Name: hub.Account}
	return []client.Object{
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: hub.SubmarinerBrokerRole},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: hub.SubmarinerBrokerRole}, Subjects: []rbacv1.Subject{own},
		},
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: brokerRole}, Rules: hub.BrokerRules()},
	}
}

// accountObjects are the account of a cluster, its rights, and the Secret that the API server puts the account's token into.
func accountObjects(namespace, cluster string) []client.Object {
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{submarinerv1alpha1.ServiceAccountLabel: cluster}}
	}
	token := &corev1.Secret{ObjectMeta: named(tokenSecret(cluster)), Type: corev1.SecretTypeServiceAccountToken}
	token.Annotations = map[string]string{corev1.ServiceAccountNameKey: cluster}
	return []client.Object{
		&corev1.ServiceAccount{ObjectMeta: named(cluster)},
		&rbacv1.RoleBinding{
			ObjectMeta: named(brokerRole + "-" + cluster), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: brokerRole},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: cluster}},
		},
		token,
	}
}

func tokenSecret(cluster string) string { return cluster + "-token" }

// ensure makes an object, and makes the rules of a Role and the subjects of a RoleBinding what they are to be.
func (r *brokers) ensure(ctx context.Context, wanted client.Object) error {
	live := wanted.DeepCopyObject().(client.Object)
	err := r.reader.Get(ctx, client.ObjectKeyFromObject(wanted), live)
	if apierrors.IsNotFound(err) {
		return r.client.Create(ctx, wanted)
	}
	if err != nil {
		return err
	}
	switch live := live.(type) {
	case *rbacv1.Role:
		rules := wanted.(*rbacv1.Role).Rules
		if equality.Semantic.DeepEqual(live.Rules, rules) {
			return nil
		}
		live.Rules = rules
		return r.client.Update(ctx, live)
	case *rbacv1.RoleBinding:
		subjects := wanted.(*rbacv1.RoleBinding).Subjects
		if equality.Semantic.DeepEqual(live.Subjects, subjects) {
			return nil
		}
		live.Subjects = subjects
		return r.client.Update(ctx, live)
	}
	return nil
}

// ensureKey makes the key that the clusters of a set share. It stays as long as the broker.
func (r *brokers) ensureKey(ctx context.Context, namespace string) error {
	key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: keySecret}, Data: map[string][]byte{"psk": make([]byte, keyLength)}}
	if _, err := rand.Read(key.Data["psk"]); err != nil {
		return err
	}
	return r.ensure(ctx, key)
}

// ensureKinds makes the kinds that are missing. One that is there is its owner's.
func (r *brokers) ensureKinds(ctx context.Context) error {
	for document := range strings.SplitSeq(kinds, "\n---\n") {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict([]byte(document), crd); err != nil {
			return fmt.Errorf("read the kinds of a broker: %w", err)
		}
		if err := r.ensure(ctx, crd); client.IgnoreAlreadyExists(err) != nil {
			return fmt.Errorf("make kind %s: %w", crd.Name, err)
		}
	}
	return nil
}

// removeOthers takes out the accounts of clusters that are no longer of the set, and what these have left in the broker.
func (r *brokers) removeOthers(ctx context.Context, namespace string, clusters []string) error {
	var accounts corev1.ServiceAccountList
	if err := r.reader.List(ctx, &accounts, client.InNamespace(namespace), client.HasLabels{submarinerv1alpha1.ServiceAccountLabel}); err != nil {
		return fmt.Errorf("list the accounts of broker %s: %w", namespace, err)
	}
	for i := range accounts.Items {
		cluster := accounts.Items[i].Name
		if slices.Contains(clusters, cluster) {
			continue
		}
		if err := r.forget(ctx, namespace, cluster); err != nil {
			return err
		}
		objects := accountObjects(namespace, cluster)
		slices.Reverse(objects) // the account last: it is what says that there is something to remove
		for _, o := range objects {
			if err := r.client.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("remove the account of cluster %s from broker %s: %w", cluster, namespace, err)
			}
		}
	}
	return nil
}

// forget deletes what a cluster has written into a broker, so that the others no longer try to reach it.
func (r *brokers) forget(ctx context.Context, namespace, cluster string) error {
	for _, kind := range []string{"Endpoint", "Cluster"} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: "submariner.io", Version: "v1", Kind: kind + "List"})
		if err := r.reader.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("list what cluster %s has in broker %s: %w", cluster, namespace, err)
		}
		for i := range list.Items {
			if id, _, _ := unstructured.NestedString(list.Items[i].Object, "spec", "cluster_id"); id != cluster {
				continue
			}
			if err := r.client.Delete(ctx, &list.Items[i]); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete %s %s/%s: %w", kind, namespace, list.Items[i].GetName(), err)
			}
		}
	}
	return nil
}

// remove deletes the broker of a set once its clusters have nothing of it any more. A cluster that does not answer, or is gone, is not waited
// for.
func (r *brokers) remove(ctx context.Context, set *clusterv1beta2.ManagedClusterSet, clusters []string) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(set, submarinerv1alpha1.BrokerFinalizer) {
		return reconcile.Result{}, nil
	}
	for _, name := range clusters {
		cluster := &clusterv1.ManagedCluster{}
		err := r.client.Get(ctx, client.ObjectKey{Name: name}, cluster)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return reconcile.Result{}, err
		}
		if r.works.Get(name, submarinerv1alpha1.ResourceWork) != nil && !hubaddon.IsSilent(cluster) {
			return reconcile.Result{RequeueAfter: 5 * time.Second}, nil // a work that is gone wakes us sooner
		}
	}
	namespace, err := ownNamespace(ctx, r.reader, set.Name)
	if err != nil && !errors.As(err, new(*notOurs)) {
		return reconcile.Result{}, err
	}
	if namespace != nil {
		if namespace.DeletionTimestamp.IsZero() {
			if err := r.client.Delete(ctx, namespace, client.Preconditions{UID: &namespace.UID}); client.IgnoreNotFound(err) != nil {
				return again(fmt.Errorf("delete the broker of set %s: %w", set.Name, err))
			}
		}
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	controllerutil.RemoveFinalizer(set, submarinerv1alpha1.BrokerFinalizer)
	delete(set.Annotations, submarinerv1alpha1.BrokerNamespaceAnnotation)
	return again(client.IgnoreNotFound(r.client.Update(ctx, set)))
}
