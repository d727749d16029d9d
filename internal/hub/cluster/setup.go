// Package cluster runs the hub's side of registration.
//
// Its controllers gather the facts about a cluster, ask internal/registration what follows, and write that down:
//
//	clusters   ManagedCluster: namespace, rights, lease, conditions, taints, default set, clean-up after deletion
//	joins      CertificateSigningRequest: approval, and word of those who wait
//	sets       ManagedClusterSet: members, the sets default and global
//	bindings   ManagedClusterSetBinding: whether the set exists
//	apisets    APISet: one whose name is not the digest of its content, or that no cluster claims, is deleted
//
// What OCM's webhooks refuse is refused by the ValidatingAdmissionPolicies that Install applies. Accept is what a person
// does who lets a cluster in.
package cluster

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// Options of the controllers. The zero value is right for a hub.
type Options struct {
	// CleanUp are the resources that are deleted from the namespace of a deleted cluster, in this order. Default: addons,
	// then works. A resource that the hub does not serve is passed over.
	CleanUp []schema.GroupResource
	// CheckPeriod is how often a clean-up, or the end of a namespace, is looked for again, by default 5 s.
	CheckPeriod time.Duration
	// Concurrency is how many clusters are worked on at once, by default 32.
	Concurrency int
	// Precedence makes the writes that accept clusters wait for deliveries; nil is none.
	Precedence *hub.Precedence
	// Events about signing requests, by default the manager's.
	Events events.EventRecorder
	// Presence says since when the hub can hear clusters. Default: since the controllers were set up.
	Presence *hub.Presence
	// MassSilence says how many clusters fall silent together when none of them is called silent. Default: DefaultMassSilence.
	MassSilence *registration.SilenceLimit
	// Now is the clock, by default time.Now.
	Now func() time.Time
	// ControllerPrefix goes before the controllers' names, which are unique in a process; for tests with several managers.
	ControllerPrefix string
}

// DefaultMassSilence is the limit of a hub that is told none.
var DefaultMassSilence = registration.SilenceLimit{Clusters: 10, Percent: 30}

var manifestWorks = schema.GroupResource{Group: "work.open-cluster-management.io", Resource: "manifestworks"}

func (o Options) withDefaults() Options {
	if o.CleanUp == nil {
		o.CleanUp = []schema.GroupResource{
			{Group: "addon.open-cluster-management.io", Resource: "managedclusteraddons"},
			manifestWorks,
		}
	}
	if o.CheckPeriod == 0 {
		o.CheckPeriod = 5 * time.Second
	}
	if o.Concurrency == 0 {
		o.Concurrency = 32
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Presence == nil {
		o.Presence = hub.Observing(o.Now())
	}
	if o.MassSilence == nil {
		o.MassSilence = &DefaultMassSilence
	}
	return o
}

// Setup adds the controllers to a manager. Its scheme must know Kubernetes' own kinds, those of cluster v1 and v1beta2, of
// work v1 and of muster.dev.
func Setup(mgr ctrl.Manager, o Options) error {
	o = o.withDefaults()
	if o.Events == nil {
		o.Events = mgr.GetEventRecorder("muster-cluster")
	}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &certificatesv1.CertificateSigningRequest{}, clusterIndex, agentOf); err != nil {
		return fmt.Errorf("index signing requests by cluster: %w", err)
	}
	for _, setup := range []func(ctrl.Manager, Options) error{setupClusters, setupJoins, setupSets, setupBindings, setupAPISets} {
		if err := setup(mgr, o); err != nil {
			return fmt.Errorf("set up the cluster controllers: %w", err)
		}
	}
	return nil
}

// clusterIndex finds the signing requests of a cluster's agents in the cache.
const clusterIndex = "muster.cluster"

func agentOf(o client.Object) []string {
	if !registration.OfAgent(o.GetLabels()) {
		return nil
	}
	return []string{o.GetLabels()[clusterv1.ClusterNameLabelKey]}
}

func (o Options) controller() controller.Options {
	return controller.Options{MaxConcurrentReconciles: o.Concurrency}
}

// retrySoon is the pause before another try at a write that lost against another writer.
const retrySoon = 200 * time.Millisecond

// retryConflict turns a conflict into an early retry: another writer was first, which is no failure.
func retryConflict(result reconcile.Result, err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: retrySoon}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	return result, nil
}
