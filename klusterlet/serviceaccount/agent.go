// Package serviceaccount makes the service accounts of ManagedServiceAccounts and reports their tokens to the hub, as OCM's
// managed-serviceaccount does.
//
// In go the ManagedServiceAccounts in the cluster's namespace on the hub. Out come, on the cluster, a service account of the same name in
// the namespace of add-ons, without any rights; and on the hub a Secret beside the ManagedServiceAccount, which owns it, with a token of
// the account and the certificates of the cluster's API server. The token is renewed when 80 % of its life is over, and when the
// cluster no longer takes it. The account goes with the ManagedServiceAccount, and with it every token.
package serviceaccount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	authv1beta1 "github.com/muster-io/muster/api/authentication/v1beta1"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/registration"
)

// Namespace of the service accounts on a cluster: OCM's namespace of add-ons.
const Namespace = addonv1alpha1.DefaultInstallNamespace

// Agent serves the ManagedServiceAccounts of one cluster.
type Agent struct {
	// Hub and Spoke are how the hub and the managed cluster are reached.
	Hub, Spoke *rest.Config
	// Cluster is the name of the cluster, and its namespace on the hub.
	Cluster string
	// Retry is the time between two tries while the agent may not read ManagedServiceAccounts; zero is a minute.
	Retry time.Duration
	// Now is the clock; nil is the real one.
	Now func() time.Time
	// Serving is called when the agent begins, Alive again and again while it serves; nil is nothing.
	Serving, Alive func()

	hub, spoke client.Client
	live       client.Reader // of the hub, past the cache
	hash       string        // of the hub, for labels
	ca         []byte
}

// Run serves until the context ends.
func (a *Agent) Run(ctx context.Context) error {
	if a.Now == nil {
		a.Now = time.Now
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), authv1beta1.AddToScheme(scheme)); err != nil {
		return err
	}
	reached := rest.CopyConfig(a.Spoke)
	if err := rest.LoadTLSFiles(reached); err != nil {
		return fmt.Errorf("read the certificates of the managed cluster: %w", err)
	}
	a.ca = reached.CAData
	var err error
	if a.spoke, err = client.New(a.Spoke, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("reach the managed cluster: %w", err)
	}
	mgr, err := ctrl.NewManager(a.Hub, manager.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Logger: logr.FromContextOrDiscard(ctx),
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{a.Cluster: {}}},
		Client:     client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)}, // several agents in one process, as in tests
	})
	if err != nil {
		return fmt.Errorf("reach the hub: %w", err)
	}
	if err := a.mayServe(ctx, mgr.GetAPIReader()); err != nil {
		return nil // the end
	}
	a.hub, a.live, a.hash = mgr.GetClient(), mgr.GetAPIReader(), registration.ShortHash(registration.HubHash(a.Hub.Host))
	if err := ctrl.NewControllerManagedBy(mgr).Named("managedserviceaccount").For(&authv1beta1.ManagedServiceAccount{}).Complete(a); err != nil {
		return err
	}
	if err := mgr.Add(manager.RunnableFunc(a.sweep)); err != nil {
		return err
	}
	if err := mgr.Add(manager.RunnableFunc(a.beat)); err != nil {
		return err
	}
	if a.Serving != nil {
		a.Serving()
	}
	return mgr.Start(ctx)
}

// mayServe waits until the hub has the kind and lets the agent read it: other roles of the agent go on meanwhile.
func (a *Agent) mayServe(ctx context.Context, hub client.Reader) error {
	retry := cmp.Or(a.Retry, time.Minute)
	for said := ""; ; {
		err := hub.List(ctx, &authv1beta1.ManagedServiceAccountList{}, client.InNamespace(a.Cluster), client.Limit(1))
		if err == nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			logr.FromContextOrDiscard(ctx).Info("no ManagedServiceAccount is served yet", "reason", said, "next", fmt.Sprintf(
				"on the hub: kubectl create rolebinding managed-serviceaccount -n %s --clusterrole=%s --group=%s", a.Cluster, rules.ServiceAccountRole, rules.Group(a.Cluster)))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retry):
		}
	}
}

// beat says that the agent serves, while the hub lets it: not when its rights were taken.
func (a *Agent) beat(ctx context.Context) error {
	if a.Alive == nil {
		return nil
	}
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		if a.live.List(ctx, &authv1beta1.ManagedServiceAccountList{}, client.InNamespace(a.Cluster), client.Limit(1)) == nil {
			a.Alive()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// sweep deletes the accounts of this hub whose ManagedServiceAccount went while no agent ran.
func (a *Agent) sweep(ctx context.Context) error {
	var accounts corev1.ServiceAccountList
	if err := a.spoke.List(ctx, &accounts, client.InNamespace(Namespace), client.MatchingLabels(a.labels())); err != nil {
		return fmt.Errorf("list the service accounts of ManagedServiceAccounts: %w", err)
	}
	for i := range accounts.Items {
		request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: a.Cluster, Name: accounts.Items[i].Name}}
		if _, err := a.Reconcile(ctx, request); err != nil {
			logr.FromContextOrDiscard(ctx).Error(err, "look at a service account that was there", "account", accounts.Items[i].Name)
		}
	}
	return nil
}

// Reconcile serves one ManagedServiceAccount.
func (a *Agent) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	m := &authv1beta1.ManagedServiceAccount{}
	err := a.hub.Get(ctx, request.NamespacedName, m)
	if apierrors.IsNotFound(err) {
		err = a.live.Get(ctx, request.NamespacedName, m) // an account that goes takes its tokens with it: the cache alone does not decide
	}
	if apierrors.IsNotFound(err) || err == nil && !m.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, a.remove(ctx, request.Name)
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("read ManagedServiceAccount %s: %w", request, err)
	}
	if left, limited := timeLeft(m, a.Now()); limited && left <= 0 {
		if err := a.hub.Delete(ctx, m, client.Preconditions{UID: &m.UID}); client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("delete ManagedServiceAccount %s, whose time to live is over: %w", request, err)
		}
		return ctrl.Result{}, a.remove(ctx, request.Name)
	}
	was := m.DeepCopy()
	err = a.report(ctx, m)
	condition := metav1.Condition{
		Type: authv1beta1.ConditionTypeTokenReported, Status: metav1.ConditionTrue, Reason: authv1beta1.ReasonTokenReported, ObservedGeneration: m.Generation,
	}
	if err != nil {
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, authv1beta1.ReasonTokenReportFailed, err.Error()
	}
	meta.SetStatusCondition(&m.Status.Conditions, condition)
	if !apiequality.Semantic.DeepEqual(was.Status, m.Status) {
		err = errors.Join(err, client.IgnoreNotFound(a.hub.Status().Patch(ctx, m, client.MergeFrom(was))))
	}
	return ctrl.Result{RequeueAfter: nextLook(m, a.Now())}, err
}

// remove deletes the account; those of others, and of other hubs, stay.
func (a *Agent) remove(ctx context.Context, name string) error {
	account := &corev1.ServiceAccount{}
	err := a.spoke.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: name}, account)
	if err == nil && account.DeletionTimestamp.IsZero() && ours(account) && account.Labels[registration.AddOnHubLabel] == a.hash {
		err = a.spoke.Delete(ctx, account, client.Preconditions{UID: &account.UID})
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete service account %s/%s: %w", Namespace, name, err)
	}
	return nil
}

// labels are those of this hub's accounts.
func (a *Agent) labels() map[string]string {
	return map[string]string{authv1beta1.LabelKeyIsManagedServiceAccount: "true", registration.AddOnHubLabel: a.hash}
}

func ours(o client.Object) bool {
	return o.GetLabels()[authv1beta1.LabelKeyIsManagedServiceAccount] == "true"
}

// report makes the account, and a token of it where the one on the hub is no longer good.
func (a *Agent) report(ctx context.Context, m *authv1beta1.ManagedServiceAccount) error {
	account, err := a.account(ctx, m.Name)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{}
	err = a.hub.Get(ctx, client.ObjectKeyFromObject(m), secret)
	switch {
	case apierrors.IsNotFound(err):
		secret = nil
	case err != nil:
		return fmt.Errorf("read Secret %s/%s: %w", m.Namespace, m.Name, err)
	case !ours(secret):
		return fmt.Errorf("secret %s/%s is there already and belongs to somebody else: delete it, or give the ManagedServiceAccount another name", m.Namespace, m.Name)
	}
	review, err := a.review(ctx, secret)
	if err != nil {
		return err
	}
	user := authenticationv1.UserInfo{Username: "system:serviceaccount:" + Namespace + ":" + m.Name, UID: string(account.UID)}
	if why := outdated(m, secret, review, user, a.Now()); why != "" {
		if err := a.renew(ctx, m, account, secret); err != nil {
			return err
		}
		logr.FromContextOrDiscard(ctx).Info("reported a new token", "account", m.Name, "reason", why)
	}
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
		Type: authv1beta1.ConditionTypeSecretCreated, Status: metav1.ConditionTrue, Reason: authv1beta1.ReasonSecretCreated, ObservedGeneration: m.Generation,
	})
	return nil
}

// account is the service account, made when it is not there. One that an agent of OCM has made names no hub, and is taken over.
func (a *Agent) account(ctx context.Context, name string) (*corev1.ServiceAccount, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: Namespace, Name: name, Labels: a.labels(),
	}}
	err := a.spoke.Create(ctx, account)
	if apierrors.IsNotFound(err) { // the namespace
		if err = client.IgnoreAlreadyExists(a.spoke.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}})); err == nil {
			err = a.spoke.Create(ctx, account)
		}
	}
	if apierrors.IsAlreadyExists(err) {
		err = a.spoke.Get(ctx, client.ObjectKeyFromObject(account), account)
		switch hub := account.Labels[registration.AddOnHubLabel]; {
		case err != nil:
		case !account.DeletionTimestamp.IsZero():
			err = errors.New("it is being deleted; it is made again when it is gone")
		case !ours(account) || hub != "" && hub != a.hash:
			err = errors.New("it is there already and belongs to somebody else, or to another hub: give the ManagedServiceAccount another name")
		case hub == "":
			was := account.DeepCopy()
			account.Labels[registration.AddOnHubLabel] = a.hash
			err = a.spoke.Patch(ctx, account, client.MergeFrom(was))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make service account %s/%s: %w", Namespace, name, err)
	}
	return account, nil
}

// review asks the cluster about the token in a Secret; nil when there is none.
func (a *Agent) review(ctx context.Context, secret *corev1.Secret) (*authenticationv1.TokenReviewStatus, error) {
	if secret == nil || len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
		return nil, nil
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: string(secret.Data[corev1.ServiceAccountTokenKey])}}
	if err := a.spoke.Create(ctx, review); err != nil {
		return nil, fmt.Errorf("ask the cluster whether it takes the token: %w", err)
	}
	return &review.Status, nil
}

// renew puts a new token into the Secret.
func (a *Agent) renew(ctx context.Context, m *authv1beta1.ManagedServiceAccount, account *corev1.ServiceAccount, secret *corev1.Secret) error {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(validity(m).Seconds()))}}
	now := metav1.NewTime(a.Now())
	if err := a.spoke.SubResource("token").Create(ctx, account, request); err != nil {
		return fmt.Errorf("ask for a token of service account %s/%s: %w", account.Namespace, account.Name, err)
	}
	wanted := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name}, Type: corev1.SecretTypeOpaque}
	if secret != nil {
		wanted = secret
	}
	if wanted.Labels == nil {
		wanted.Labels = map[string]string{}
	}
	wanted.Labels[authv1beta1.LabelKeyIsManagedServiceAccount] = "true"
	wanted.Data = map[string][]byte{corev1.ServiceAccountTokenKey: []byte(request.Status.Token), corev1.ServiceAccountRootCAKey: a.ca}
	if err := controllerutil.SetOwnerReference(m, wanted, a.hub.Scheme()); err != nil {
		return err
	}
	write := func() error { return a.hub.Update(ctx, wanted) }
	if secret == nil {
		write = func() error { return a.hub.Create(ctx, wanted) }
	}
	if err := write(); err != nil {
		return fmt.Errorf("write Secret %s/%s on the hub: %w", m.Namespace, m.Name, err)
	}
	m.Status.ExpirationTimestamp = &request.Status.ExpirationTimestamp
	m.Status.TokenSecretRef = &authv1beta1.SecretRef{Name: m.Name, LastRefreshTimestamp: now}
	return nil
}
