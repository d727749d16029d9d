package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/retry"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// joins answers the signing requests of agents, all of one cluster at a time, so that two agents of one name cannot both
// be the first.
type joins struct {
	client     client.Client
	live       client.Reader
	events     events.EventRecorder
	precedence *hub.Precedence
}

type joinQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// updateDelay is how long after a cluster has changed its requests are answered anew. Most changes follow from an answer: by then
// the cache has it, and the request is not answered twice.
const updateDelay = 500 * time.Millisecond

func setupJoins(mgr ctrl.Manager, o Options) error {
	r := &joins{client: mgr.GetClient(), live: mgr.GetAPIReader(), events: o.Events, precedence: o.Precedence}
	named := func(o client.Object) reconcile.Request {
		return reconcile.Request{NamespacedName: client.ObjectKey{Name: o.GetName()}}
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(o.ControllerPrefix+"joins").
		Watches(&certificatesv1.CertificateSigningRequest{}, handler.EnqueueRequestsFromMapFunc(ownerCluster),
			builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool { return registration.OfAgent(o.GetLabels()) }))).
		Watches(&clusterv1.ManagedCluster{}, handler.Funcs{
			CreateFunc: func(_ context.Context, e event.CreateEvent, q joinQueue) { q.Add(named(e.Object)) },
			UpdateFunc: func(_ context.Context, e event.UpdateEvent, q joinQueue) { q.AddAfter(named(e.ObjectNew), updateDelay) },
			DeleteFunc: func(_ context.Context, e event.DeleteEvent, q joinQueue) { q.Add(named(e.Object)) },
		}, builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WithOptions(o.controller()).
		Complete(reconcile.Func(r.Reconcile))
}

// Reconcile answers what waits for an answer under one cluster's name.
func (r *joins) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	pending, err := requestsOf(ctx, r.client, client.MatchingFields{clusterIndex: request.Name})
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("list the signing requests of %s: %w", request.Name, err)
	}
	pending = slices.DeleteFunc(pending, func(csr certificatesv1.CertificateSigningRequest) bool { return !registration.Unanswered(&csr) })
	cluster := &clusterv1.ManagedCluster{}
	if len(pending) > 0 {
		err = r.live.Get(ctx, request.NamespacedName, cluster) // an old copy could name no agent where one has joined
	} else {
		err = r.client.Get(ctx, request.NamespacedName, cluster)
	}
	if apierrors.IsNotFound(err) {
		cluster, err = nil, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	verdicts := make([]registration.Verdict, len(pending))
	var errs []error
	for i := range pending {
		verdicts[i], err = r.answer(ctx, &pending[i], cluster)
		errs = append(errs, err)
	}
	if cluster != nil {
		errs = append(errs, r.publish(ctx, cluster, verdicts))
	}
	return retryConflict(reconcile.Result{}, errors.Join(errs...))
}

// answer decides about one request, and approves it when it may be.
func (r *joins) answer(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, cluster *clusterv1.ManagedCluster) (registration.Verdict, error) {
	verdict, err := r.decide(ctx, csr, cluster)
	if err != nil {
		return verdict, err
	}
	if !verdict.Approve {
		if cluster == nil {
			r.events.Eventf(csr, nil, corev1.EventTypeWarning, verdict.Reason, "Wait", "%s", verdict.Message)
		}
		return verdict, nil
	}
	if !verdict.Request.Renewal() { // an agent that renews has works to answer
		r.precedence.Wait(ctx)
	}
	if verdict.Record {
		if err := record(ctx, r.client, cluster, verdict.Request); err != nil {
			return verdict, err
		}
	}
	if err := approve(ctx, r.client, csr, registration.ApprovedReason, verdict.Message); err != nil {
		return verdict, err
	}
	ctrl.LoggerFrom(ctx).Info("approved a certificate", "cluster", verdict.Request.Cluster, "agent", verdict.Request.Agent, "reason", verdict.Reason)
	r.events.Eventf(csr, nil, corev1.EventTypeNormal, verdict.Reason, "Approve", "%s", verdict.Message)
	return verdict, nil
}

func (r *joins) decide(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, cluster *clusterv1.ManagedCluster) (registration.Verdict, error) {
	request, err := registration.ParseRequest(csr)
	if err != nil {
		return registration.Refuse(request, err), nil
	}
	mayRenew := false
	if request.Renewal() {
		if mayRenew, err = r.mayRenew(ctx, csr, request.Cluster); err != nil {
			return registration.Verdict{Request: request}, err
		}
	}
	return registration.Decide(request, cluster, mayRenew), nil
}

// mayRenew asks whether who made the request may renew the certificates of the cluster.
func (r *joins) mayRenew(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, cluster string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range csr.Spec.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: csr.Spec.Username, Groups: csr.Spec.Groups, UID: csr.Spec.UID, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: clusterv1.RegisterGroupName, Resource: "managedclusters", Subresource: "clientcertificates",
			Verb: "renew", Name: cluster,
		},
	}}
	if err := r.client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("ask for the rights of %s: %w", csr.Spec.Username, err)
	}
	return review.Status.Allowed, nil
}

// publish writes the condition about requests that wait.
func (r *joins) publish(ctx context.Context, cluster *clusterv1.ManagedCluster, verdicts []registration.Verdict) error {
	base := cluster.DeepCopy()
	condition := registration.JoinCondition(verdicts)
	changed := false
	if condition == nil {
		changed = meta.RemoveStatusCondition(&cluster.Status.Conditions, registration.ConditionJoinRequest)
	} else {
		changed = meta.SetStatusCondition(&cluster.Status.Conditions, *condition)
	}
	if !changed {
		return nil
	}
	if err := r.client.Status().Patch(ctx, cluster, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("tell of the requests under %s: %w", cluster.Name, err)
	}
	if condition != nil {
		r.events.Eventf(cluster, nil, corev1.EventTypeWarning, condition.Reason, "Wait", "%s", condition.Message)
	}
	return nil
}

// record remembers on the ManagedCluster which agent joined, before its request is approved.
func record(ctx context.Context, c client.Client, cluster *clusterv1.ManagedCluster, request registration.Request) error {
	base := cluster.DeepCopy()
	if !registration.Record(cluster, request) {
		return nil
	}
	if err := c.Patch(ctx, cluster, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("record agent %s of %s: %w", request.Agent, request.Cluster, err)
	}
	return nil
}

// approve approves a signing request; the signer of kube-controller-manager does the rest. It is no error when somebody else approves
// it at the same time, as the hub does after muster accept has recorded an agent.
func approve(ctx context.Context, c client.Client, csr *certificatesv1.CertificateSigningRequest, reason, message string) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if registration.Approved(csr) {
			return nil
		}
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: reason, Message: message,
		})
		err := c.SubResource("approval").Update(ctx, csr)
		if apierrors.IsConflict(err) {
			if err := c.Get(ctx, client.ObjectKeyFromObject(csr), csr); err != nil {
				return fmt.Errorf("approve %s: %w", csr.Name, err)
			}
		}
		if err != nil {
			return fmt.Errorf("approve %s: %w", csr.Name, err)
		}
		return nil
	})
}

// requestsOf are the signing requests of agents, of the cluster that the option selects.
func requestsOf(ctx context.Context, c client.Reader, ofCluster client.ListOption) ([]certificatesv1.CertificateSigningRequest, error) {
	var list certificatesv1.CertificateSigningRequestList
	if err := c.List(ctx, &list, ofCluster); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(csr certificatesv1.CertificateSigningRequest) bool {
		return !registration.OfAgent(csr.Labels)
	}), nil
}

// managedNamespacesChanged lets sets through that ask their clusters for namespaces, or have stopped to.
func managedNamespacesChanged() predicate.Predicate {
	asks := func(o client.Object) bool { return len(namespacesOf(o)) > 0 }
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return asks(e.Object) },
		DeleteFunc:  func(e event.DeleteEvent) bool { return asks(e.Object) },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() && (asks(e.ObjectOld) || asks(e.ObjectNew))
		},
	}
}
