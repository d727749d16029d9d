// Package inspection answers the Inspections of one cluster: questions of people about one application on it.
//
// In go the Inspections in the cluster's namespace on the hub. Out comes the answer in the status of each, once: the objects that the
// works of the application applied, those that they own down to pods, how each does, and their events; or the end of a pod's log; or one of the objects. The
// agent keeps nothing of it, reads nothing before it is asked, and an answer has bounds. Who may ask is the hub's to say; whatever the
// question, only the objects of the named application are read, and of their content only how they do is told, unless one is asked for.
package inspection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Bounds of the work of an agent.
const (
	atOnce     = 2                // questions that are answered at a time
	answerTime = 20 * time.Second // for one
)

// Agent answers the Inspections of one cluster.
type Agent struct {
	// Hub and Spoke are how the hub and the managed cluster are reached.
	Hub, Spoke *rest.Config
	// Cluster is the name of the cluster, and its namespace on the hub; HubHash that of the hub in the names of AppliedManifestWorks.
	Cluster, HubHash string
	// Retry is the time until the next try while the hub has no Inspections for the agent; zero is two seconds. It doubles, up to half an
	// hour: a cluster that has just joined gets its rights in a moment, and another hub than ours may never have any.
	Retry time.Duration
	// Serving is called when the agent begins; nil is nothing.
	Serving func()

	hub     client.Client
	cluster reader
}

// Run answers until the context ends.
func (a *Agent) Run(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := musterv1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	var errs [3]error
	a.cluster.prefix, a.cluster.namespace = a.HubHash+"-", a.Cluster
	a.cluster.works, errs[0] = metadata.NewForConfig(a.Hub)
	a.cluster.objects, errs[1] = dynamic.NewForConfig(a.Spoke)
	a.cluster.clients, errs[2] = kubernetes.NewForConfig(a.Spoke)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("reach the hub and the managed cluster: %w", err)
	}
	mgr, err := ctrl.NewManager(a.Hub, manager.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Logger: logr.FromContextOrDiscard(ctx),
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{a.Cluster: {}}},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)}, // several agents in one process, as in tests
	})
	if err != nil {
		return fmt.Errorf("reach the hub: %w", err)
	}
	if a.Serving != nil {
		a.Serving() // a hub without Inspections keeps no agent from being ready
	}
	if err := a.mayServe(ctx, mgr.GetAPIReader()); err != nil {
		return nil // the end
	}
	a.hub = mgr.GetClient()
	err = ctrl.NewControllerManagedBy(mgr).Named("inspection").For(&musterv1alpha1.Inspection{}).
		WithOptions(ctrlOptions()).Complete(a)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// mayServe waits until the hub has the kind and lets the agent read it: an older hub, or one of OCM, has not.
func (a *Agent) mayServe(ctx context.Context, hub client.Reader) error {
	retry := cmp.Or(a.Retry, 2*time.Second)
	for said := ""; ; retry = min(2*retry, 30*time.Minute) {
		err := hub.List(ctx, &musterv1alpha1.InspectionList{}, client.InNamespace(a.Cluster), client.Limit(1))
		if err == nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			logr.FromContextOrDiscard(ctx).Info("no Inspection is answered yet: the hub has none for this agent", "reason", said)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retry):
		}
	}
}

// Reconcile answers one Inspection, unless that has an answer.
func (a *Agent) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	i := &musterv1alpha1.Inspection{}
	if err := a.hub.Get(ctx, request.NamespacedName, i); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if meta.FindStatusCondition(i.Status.Conditions, musterv1alpha1.ConditionAnswered) != nil {
		return ctrl.Result{}, nil
	}
	was := i.DeepCopy()
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err := a.answer(limited, i)
	condition := metav1.Condition{Type: musterv1alpha1.ConditionAnswered, Status: metav1.ConditionTrue, Reason: musterv1alpha1.ReasonAnswered}
	if err != nil {
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, musterv1alpha1.ReasonUnreadable, shortened(err.Error())
		var none noAnswer
		if errors.As(err, &none) {
			condition.Reason = none.reason
		}
	}
	meta.SetStatusCondition(&i.Status.Conditions, condition)
	if err := a.hub.Status().Patch(ctx, i, client.MergeFrom(was)); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("answer Inspection %s: %w", request, err)
	}
	return ctrl.Result{}, nil
}

// noAnswer says why there is none.
type noAnswer struct{ reason, message string }

func (e noAnswer) Error() string { return e.message }

func none(reason, format string, args ...any) error {
	return noAnswer{reason, fmt.Sprintf(format, args...)}
}

// answer fills the status: it reads the cluster, and arranges what it has read.
func (a *Agent) answer(ctx context.Context, i *musterv1alpha1.Inspection) error {
	f, err := a.cluster.facts(ctx, i.Spec.Application)
	if err != nil {
		return err
	}
	objects, omitted := arrange(f.roots, f.others)
	if i.Spec.Logs != nil {
		asked, err := choose(*i.Spec.Logs, objects)
		if err != nil {
			return err
		}
		i.Status.Log, err = a.cluster.log(ctx, asked)
		return err
	}
	if i.Spec.Object != nil {
		asked, err := find(*i.Spec.Object, objects)
		if err != nil {
			return err
		}
		i.Status.Live, err = a.cluster.live(ctx, f.resources[asked.UID], asked)
		return err
	}
	events, err := a.cluster.events(ctx, objects)
	if err != nil {
		f.notes = append(f.notes, shortened(err.Error()))
	}
	i.Status.Objects, i.Status.OmittedObjects, i.Status.Events, i.Status.Notes = objects, omitted, events, f.notes
	return nil
}
