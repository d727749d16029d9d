package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/registration"
)

// AcceptOptions say whose requests are approved.
type AcceptOptions struct {
	// Requesters are the only users whose requests are approved. None: those that agents join with, which are bootstrap
	// tokens, OCM's bootstrap service account, the service accounts in Muster's namespace, the cluster's own join identity,
	// and the cluster's agents themselves.
	Requesters []string
}

// Acceptance is what Accept did.
type Acceptance struct {
	// Approved names the signing requests.
	Approved []string
	// Agent that was let in, empty when no request waited.
	Agent string
	// Changed is true when the cluster was not accepted before.
	Changed bool
}

// SystemNamespace is where Muster itself lives on a hub, with the service accounts that agents join with.
const SystemNamespace = "muster-system"

// ErrSeveralAgents says that requests for different agents wait under one name.
var ErrSeveralAgents = errors.New("several agents ask to join under one name")

// ErrForeignRequester says that a request waits of a user who is not one that agents join with.
var ErrForeignRequester = errors.New("the requester is not one that agents join with")

// Accept lets a cluster in, as clusteradm accept does: it approves the requests that wait under its name, then sets
// hubAcceptsClient. It does neither when requests for different agents wait and nobody said whose counts, or when
// the only requests are of users who have no business joining. A cluster that did not ask yet is accepted for the time
// when it does.
func Accept(ctx context.Context, c client.Client, name string, o AcceptOptions) (done Acceptance, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		done, err = accept(ctx, c, name, o)
		return err
	})
	return done, err
}

func accept(ctx context.Context, c client.Client, name string, o AcceptOptions) (Acceptance, error) {
	var done Acceptance
	cluster := &clusterv1.ManagedCluster{}
	if err := c.Get(ctx, client.ObjectKey{Name: name}, cluster); apierrors.IsNotFound(err) {
		return done, fmt.Errorf("there is no cluster %s: start its agent first, or name it in the fleet repository", name)
	} else if err != nil {
		return done, fmt.Errorf("accept %s: %w", name, err)
	}
	pending, err := pendingRequests(ctx, c, name)
	if err != nil {
		return done, err
	}
	matching, request, err := acceptable(pending, cluster, o)
	if err != nil {
		return done, fmt.Errorf("accept %s: %w", name, err)
	}
	base := cluster.DeepCopy()
	done.Changed = !cluster.Spec.HubAcceptsClient
	if len(matching) > 0 {
		done.Agent = request.Agent
		registration.Record(cluster, request)
		if err := c.Patch(ctx, cluster, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
			return done, fmt.Errorf("record agent %s of %s: %w", request.Agent, name, err)
		}
		base = cluster.DeepCopy()
	}
	for i := range matching {
		if err := approve(ctx, c, &matching[i], "MusterAccept", "This request was approved by muster accept"); err != nil {
			return done, err
		}
		done.Approved = append(done.Approved, matching[i].Name)
	}
	cluster.Spec.HubAcceptsClient = true
	if err := c.Patch(ctx, cluster, client.MergeFrom(base)); err != nil {
		return done, fmt.Errorf("accept %s: %w", name, err)
	}
	return done, nil
}

// acceptable are the requests to approve, with the one that counts: the newest.
func acceptable(pending []certificatesv1.CertificateSigningRequest, cluster *clusterv1.ManagedCluster, o AcceptOptions) (
	[]certificatesv1.CertificateSigningRequest, registration.Request, error,
) {
	var matching []certificatesv1.CertificateSigningRequest
	var last registration.Request
	names, strangers := map[string]bool{}, map[string]bool{}
	slices.SortStableFunc(pending, func(a, b certificatesv1.CertificateSigningRequest) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	for _, csr := range pending {
		request, err := registration.ParseRequest(&csr)
		if err != nil {
			continue // never approved, by nobody
		}
		if !mayAsk(request, cluster, o) {
			strangers[request.User] = true
			continue
		}
		names[request.CommonName] = true
		matching, last = append(matching, csr), request
	}
	switch {
	case len(names) > 1:
		return nil, last, fmt.Errorf("%w: %s; say whose counts with --requesters, or delete the other's CertificateSigningRequest",
			ErrSeveralAgents, joined(names))
	case len(matching) == 0 && len(strangers) > 0:
		return nil, last, fmt.Errorf("%w: %s; if it is the right one, name it with --requesters", ErrForeignRequester, joined(strangers))
	}
	return matching, last, nil
}

// mayAsk says whether a user is one that agents join with.
func mayAsk(r registration.Request, cluster *clusterv1.ManagedCluster, o AcceptOptions) bool {
	if len(o.Requesters) > 0 {
		return slices.Contains(o.Requesters, r.User)
	}
	return r.Renewal() ||
		r.User == cluster.Annotations[musterv1alpha1.JoinIdentityAnnotation] ||
		strings.HasPrefix(r.User, "system:bootstrap:") ||
		strings.HasPrefix(r.User, "system:serviceaccount:"+SystemNamespace+":") ||
		r.User == "system:serviceaccount:open-cluster-management:agent-registration-bootstrap"
}

func joined(set map[string]bool) string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
