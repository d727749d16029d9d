// Package addonregistration runs the hub's side of the registration of add-ons.
//
// Its controllers gather the facts about an add-on on a cluster, ask internal/registration what follows, and write that down:
//
//	registration  ManagedClusterAddOn with an AddOnTemplate: what its agent asks for, where it runs, its rights on the hub
//	requests      CertificateSigningRequest of an add-on with a template: approval, and the certificate of a custom signer
//	tokens        ManagedClusterAddOn whose agent authenticates by token: its service account
//
// An add-on without a template has a manager of its own, which does the first two.
package addonregistration

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/addonstatus"
)

// Options of the controllers.
type Options struct {
	// Events about signing requests, by default the manager's.
	Events events.EventRecorder
	// Now is the clock, by default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults(mgr ctrl.Manager) Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Events == nil {
		o.Events = mgr.GetEventRecorder("muster-addon")
	}
	return o
}

// shared is what the controllers have in common.
type shared struct {
	Options
	client client.Client
	live   client.Reader // not cached
}

// Setup adds the controllers of add-ons with a template to a manager. Its scheme must know Kubernetes' own kinds, those of cluster v1
// and of add-ons.
func Setup(mgr ctrl.Manager, o Options) error {
	s := shared{Options: o.withDefaults(mgr), client: mgr.GetClient(), live: mgr.GetAPIReader()}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &certificatesv1.CertificateSigningRequest{}, requestIndex, requestOf); err != nil {
		return fmt.Errorf("index signing requests by add-on: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &addonv1alpha1.ManagedClusterAddOn{}, configIndex, configsOf); err != nil {
		return fmt.Errorf("index add-ons by configuration: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &rbacv1.RoleBinding{}, agentIndex, agentsOf); err != nil {
		return fmt.Errorf("index rights by add-on: %w", err)
	}
	for _, setup := range []func(ctrl.Manager, shared) error{setupRegistrations, setupRequests} {
		if err := setup(mgr, s); err != nil {
			return fmt.Errorf("set up the registration of add-ons: %w", err)
		}
	}
	return nil
}

// SetupTokens adds the controller of add-ons whose agents authenticate by token.
func SetupTokens(mgr ctrl.Manager, o Options) error {
	s := shared{Options: o.withDefaults(mgr), client: mgr.GetClient(), live: mgr.GetAPIReader()}
	if err := setupTokens(mgr, s); err != nil {
		return fmt.Errorf("set up the tokens of add-ons: %w", err)
	}
	return nil
}

// sideBySide is how many add-ons are worked on at once.
const sideBySide = 16

// report changes the status of an add-on.
func (s shared) report(ctx context.Context, key client.ObjectKey, change func(*addonv1alpha1.ManagedClusterAddOnStatus)) error {
	return addonstatus.Change(ctx, s.client, s.live, key, change)
}

// configIndex finds the add-ons that have a configuration.
const configIndex = "muster.config"

func configKey(kind addonv1alpha1.ConfigGroupResource, namespace, name string) string {
	return kind.Resource + "/" + namespace + "/" + name
}

func configsOf(o client.Object) []string {
	var keys []string
	for _, kind := range []addonv1alpha1.ConfigGroupResource{addon.Template, addon.DeploymentConfig} {
		for _, config := range desired(o.(*addonv1alpha1.ManagedClusterAddOn), kind) {
			keys = append(keys, configKey(kind, config.Namespace, config.Name))
		}
	}
	return keys
}

// desired are the configurations of a kind that an add-on is to have now, in their order.
func desired(mca *addonv1alpha1.ManagedClusterAddOn, kind addonv1alpha1.ConfigGroupResource) []addonv1alpha1.ConfigReferent {
	var found []addonv1alpha1.ConfigReferent
	for _, c := range mca.Status.ConfigReferences {
		if c.ConfigGroupResource == kind && c.DesiredConfig != nil {
			found = append(found, c.DesiredConfig.ConfigReferent)
		}
	}
	return found
}

// template is the template of an add-on, nil when it has none. Of several the last one counts, as in OCM.
func (s shared) template(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn) (*addonv1alpha1.AddOnTemplate, error) {
	configs := desired(mca, addon.Template)
	if len(configs) == 0 {
		return nil, nil
	}
	template := &addonv1alpha1.AddOnTemplate{}
	if err := s.client.Get(ctx, client.ObjectKey{Name: configs[len(configs)-1].Name}, template); err != nil {
		return nil, fmt.Errorf("read the template of add-on %s on %s: %w", mca.Name, mca.Namespace, err)
	}
	return template, nil
}

// withConfig enqueues the add-ons that have a configuration.
func (s shared) withConfig(kind addonv1alpha1.ConfigGroupResource) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var list addonv1alpha1.ManagedClusterAddOnList
		key := configKey(kind, o.GetNamespace(), o.GetName())
		if err := s.client.List(ctx, &list, client.MatchingFields{configIndex: key}, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list add-ons")
			return nil
		}
		requests := make([]reconcile.Request, len(list.Items))
		for i := range list.Items {
			requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
		}
		return requests
	})
}

// madeFor enqueues the add-on that an object on the hub was made for, when somebody else changes or deletes it.
func madeFor(label string) (handler.EventHandler, builder.WatchesOption) {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: o.GetLabels()[label]}}}
		}), builder.WithPredicates(predicate.And[client.Object](
			predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetLabels()[label] != "" }),
			predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }},
		))
}

// ensure creates an object, or gives it what is wanted, and returns it. It does not take over an object without the label, which is
// somebody else's.
func (s shared) ensure(ctx context.Context, wanted client.Object, label string) (client.Object, error) {
	live := wanted.DeepCopyObject().(client.Object)
	err := s.client.Get(ctx, client.ObjectKeyFromObject(wanted), live)
	if apierrors.IsNotFound(err) {
		if err = s.client.Create(ctx, wanted); !apierrors.IsAlreadyExists(err) {
			return wanted, err
		}
		err = s.live.Get(ctx, client.ObjectKeyFromObject(wanted), live) // the cache is stale
	}
	if err != nil {
		return nil, err
	}
	if !live.GetDeletionTimestamp().IsZero() {
		return nil, fmt.Errorf("%T %s/%s is being deleted; it is made again when it is gone", wanted, wanted.GetNamespace(), wanted.GetName())
	}
	if _, ours := live.GetLabels()[label]; !ours {
		return nil, fmt.Errorf("%T %s/%s is there already and has no label %s: it is somebody else's; delete it or rename the add-on",
			wanted, wanted.GetNamespace(), wanted.GetName(), label)
	}
	was := live.DeepCopyObject()
	switch w := wanted.(type) {
	case *rbacv1.Role:
		live.(*rbacv1.Role).Rules = w.Rules
	case *rbacv1.RoleBinding:
		if live.(*rbacv1.RoleBinding).RoleRef != w.RoleRef { // which cannot be changed
			if err := s.client.Delete(ctx, live); client.IgnoreNotFound(err) != nil {
				return nil, err
			}
			return wanted, s.client.Create(ctx, wanted)
		}
		live.(*rbacv1.RoleBinding).Subjects = w.Subjects
	}
	if equality.Semantic.DeepEqual(was, live) {
		return live, nil
	}
	return live, s.client.Update(ctx, live)
}
