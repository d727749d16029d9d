package addon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/registration"
)

// The keys of an add-on's Secret.
const (
	kubeconfigKey  = "kubeconfig"
	certificateKey = "tls.crt"
	keyKey         = "tls.key"
	tokenKey       = "token"
	clusterNameKey = "cluster-name"
	agentNameKey   = "agent-name"
)

// registrations keeps the Secrets of the add-ons.
type registrations struct {
	*Agent
	hubClient
	clusters map[bool]client.Client // by place.hosted
	cluster  string
	requests pending

	mu sync.Mutex
	// owned are the Secrets of each add-on that lie somewhere.
	owned map[string][]place
}

// outcome of one look at one credential.
type outcome struct {
	// data of the Secret that is new, nil when nothing is; drop are keys that go with it.
	data map[string][]byte
	drop []string
	// stored is called when the data lies in the Secret; it may be nil.
	stored     func()
	conditions []metav1.Condition
	// next is when to look again, 0 when a change of the add-on tells.
	next time.Duration
	err  error
}

// Reconcile does everything for one add-on.
func (r *registrations) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var addon addonv1alpha1.ManagedClusterAddOn
	err := r.Get(ctx, request.NamespacedName, &addon)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, r.forget(ctx, request.Name)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if changed, err := r.drive(ctx, &addon); changed || err != nil {
		return reconcile.Result{}, err // the change wakes us
	}
	wanted := needsOf(&addon, r.cluster, r.Hub.Agent)
	for i := range wanted {
		wanted[i].secret.hosted = r.isOnManagement(wanted[i].secret.hosted)
	}
	errs := []error{r.release(ctx, &addon, wanted)}
	next := r.Periods.Resync
	var conditions []metav1.Condition
	for _, reg := range wanted {
		o := r.renew(ctx, &addon, reg)
		if o.err != nil {
			errs = append(errs, fmt.Errorf("add-on %s, Secret %s: %w", addon.Name, reg.secret.ObjectKey, o.err))
		}
		if o.next > 0 {
			next = min(next, o.next)
		}
		conditions = merge(conditions, o.conditions)
	}
	errs = append(errs, r.report(ctx, request.NamespacedName, func(status *addonv1alpha1.ManagedClusterAddOnStatus) {
		for _, c := range conditions {
			meta.SetStatusCondition(&status.Conditions, c)
		}
	}))
	if err := errors.Join(errs...); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: next}, nil
}

// merge adds conditions. Of two of one type, which two registrations of one add-on have, the bad one stays.
func merge(into, from []metav1.Condition) []metav1.Condition {
	for _, c := range from {
		if have := meta.FindStatusCondition(into, c.Type); have == nil || have.Status == metav1.ConditionTrue {
			meta.SetStatusCondition(&into, c)
		}
	}
	return into
}

// drive says in the status how the agent of the add-on authenticates. It returns whether that was another way.
func (r *registrations) drive(ctx context.Context, addon *addonv1alpha1.ManagedClusterAddOn) (bool, error) {
	driven := func(status *addonv1alpha1.ManagedClusterAddOnStatus) {
		kubeClient := rules.KubeClient(&addonv1alpha1.ManagedClusterAddOn{Status: *status})
		if kubeClient == nil {
			return
		}
		status.KubeClientDriver = r.Driver
		account := addonv1alpha1.Subject{User: rules.AddOnTokenUser(r.cluster, addon.Name)}
		switch {
		case r.Driver == rules.DriverToken:
			kubeClient.Subject = account
		case kubeClient.Subject.User == account.User:
			kubeClient.Subject = addonv1alpha1.Subject{} // the hub says whose certificate it wants
		}
	}
	wanted := addon.Status.DeepCopy()
	if driven(wanted); equality.Semantic.DeepEqual(wanted, &addon.Status) || !addon.DeletionTimestamp.IsZero() {
		return false, nil
	}
	return true, r.report(ctx, client.ObjectKeyFromObject(addon), driven)
}

// renew looks at one credential, and stores a new one when it is due.
func (r *registrations) renew(ctx context.Context, addon *addonv1alpha1.ManagedClusterAddOn, reg need) outcome {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: reg.secret.Namespace, Name: reg.secret.Name}}
	err := r.clusters[reg.secret.hosted].Get(ctx, reg.secret.ObjectKey, secret)
	if client.IgnoreNotFound(err) != nil {
		return outcome{err: err}
	}
	r.own(reg.addon, reg.secret)
	var o outcome
	if reg.kubeClient && r.Driver == rules.DriverToken {
		o = r.token(ctx, addon, reg, secret)
	} else {
		o = r.certificate(ctx, reg, secret)
	}
	if o.data == nil || o.err != nil {
		return o
	}
	if err := r.store(ctx, reg, secret, o); err != nil {
		return outcome{err: err}
	}
	if o.stored != nil {
		o.stored()
	}
	logr.FromContextOrDiscard(ctx).Info("stored a credential of an add-on", "addon", addon.Name, "secret", reg.secret.ObjectKey.String(), "signer", reg.signer)
	return o
}

// store writes a new credential into its Secret.
func (r *registrations) store(ctx context.Context, reg need, secret *corev1.Secret, o outcome) error {
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	maps.Copy(secret.Data, o.data)
	for _, key := range o.drop {
		delete(secret.Data, key)
	}
	for key, value := range r.labels(reg.addon) {
		metav1.SetMetaDataLabel(&secret.ObjectMeta, key, value)
	}
	c := r.clusters[reg.secret.hosted]
	if secret.ResourceVersion != "" {
		return c.Update(ctx, secret)
	}
	err := c.Create(ctx, secret.DeepCopy())
	if !apierrors.IsNotFound(err) {
		return err
	}
	if secret.Namespace != addonv1alpha1.DefaultInstallNamespace {
		return fmt.Errorf("namespace %s: %w", secret.Namespace, errNoNamespace) // the add-on's own work makes it
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: secret.Namespace}}
	if err := c.Create(ctx, namespace); client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("create namespace %s: %w", secret.Namespace, err)
	}
	return c.Create(ctx, secret)
}

func (r *registrations) labels(addon string) map[string]string {
	return map[string]string{addonv1alpha1.AddonNameLabel: addon, clusterv1.ClusterNameLabelKey: r.cluster, registration.AddOnHubLabel: registration.ShortHash(r.Hub.Hash)}
}

// extra is what a Secret holds beside the credential.
func (r *registrations) extra(token bool) (map[string][]byte, error) {
	user := clientcmdapi.AuthInfo{ClientCertificate: certificateKey, ClientKey: keyKey}
	if token {
		user = clientcmdapi.AuthInfo{TokenFile: tokenKey}
	}
	kubeconfig, err := registration.KubeconfigFor(r.Hub.Kubeconfig, user)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{kubeconfigKey: kubeconfig, clusterNameKey: []byte(r.cluster), agentNameKey: []byte(r.Hub.Agent)}, nil
}

func holds(secret *corev1.Secret, data map[string][]byte) bool {
	for key, value := range data {
		if !bytes.Equal(secret.Data[key], value) {
			return false
		}
	}
	return true
}

// own notes that a Secret lies somewhere, or is about to.
func (r *registrations) own(addon string, at place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.owned[addon], at) {
		r.owned[addon] = append(r.owned[addon], at)
	}
}

// release deletes the Secrets that an add-on no longer asks for.
func (r *registrations) release(ctx context.Context, addon *addonv1alpha1.ManagedClusterAddOn, wanted []need) error {
	if !addon.DeletionTimestamp.IsZero() {
		return nil
	}
	return r.drop(ctx, addon.Name, func(at place) bool {
		return !slices.ContainsFunc(wanted, func(reg need) bool { return reg.secret == at })
	})
}

// forget deletes the Secrets of an add-on that is gone. Should it come back, they are made anew.
func (r *registrations) forget(ctx context.Context, addon string) error {
	return r.drop(ctx, addon, func(place) bool { return true })
}

// drop deletes those Secrets of an add-on that unwanted names.
func (r *registrations) drop(ctx context.Context, addon string, unwanted func(place) bool) error {
	r.mu.Lock()
	owned := slices.Clone(r.owned[addon])
	r.mu.Unlock()
	var errs []error
	for _, at := range owned {
		if !unwanted(at) {
			continue
		}
		r.requests.set(at, nil)
		if err := r.deleteSecret(ctx, addon, at); err != nil {
			errs = append(errs, fmt.Errorf("delete Secret %s of add-on %s: %w", at.ObjectKey, addon, err))
			continue
		}
		r.mu.Lock()
		r.owned[addon] = slices.DeleteFunc(r.owned[addon], func(other place) bool { return other == at })
		if len(r.owned[addon]) == 0 {
			delete(r.owned, addon)
		}
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}

// deleteSecret deletes a Secret that this package has written.
func (r *registrations) deleteSecret(ctx context.Context, addon string, at place) error {
	var secret corev1.Secret
	err := r.clusters[at.hosted].Get(ctx, at.ObjectKey, &secret)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	for key, value := range r.labels(addon) {
		if secret.Labels[key] != value {
			return nil
		}
	}
	logr.FromContextOrDiscard(ctx).Info("deleting a credential that no add-on asks for any more", "addon", addon, "secret", at.ObjectKey.String())
	return client.IgnoreNotFound(r.clusters[at.hosted].Delete(ctx, &secret, client.Preconditions{UID: &secret.UID}))
}

// find notes which Secrets lie somewhere since an earlier run of the agent.
func (r *registrations) find(ctx context.Context) error {
	for hosted, c := range r.clusters {
		var secrets metav1.PartialObjectMetadataList
		secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
		ours := client.MatchingLabels{clusterv1.ClusterNameLabelKey: r.cluster, registration.AddOnHubLabel: registration.ShortHash(r.Hub.Hash)}
		err := c.List(ctx, &secrets, ours)
		if apierrors.IsForbidden(err) { // the agent may have rights in the namespaces of add-ons alone
			err = c.List(ctx, &secrets, ours, client.InNamespace(addonv1alpha1.DefaultInstallNamespace))
		}
		if apierrors.IsForbidden(err) {
			logr.FromContextOrDiscard(ctx).Info("cannot look for Secrets of add-ons that went while the agent was away", "why", err.Error())
			continue
		}
		if err != nil {
			return fmt.Errorf("look for Secrets of add-ons: %w", err)
		}
		for _, secret := range secrets.Items {
			r.own(secret.Labels[addonv1alpha1.AddonNameLabel], place{hosted: hosted, ObjectKey: client.ObjectKeyFromObject(&secret)})
		}
	}
	return nil
}
