package cluster

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/registration"
)

// AcceptOptions say whose requests are approved.
type AcceptOptions struct {
	// Requesters are the only users whose requests are approved. None: the cluster's own join identity and its agents
	// themselves; without a join identity whoever agents join with, as registration.Admit says.
	Requesters []string
	// Agent is the only agent that is let in. Empty: any, but not several at once.
	Agent string
}

// Acceptance is what Accept did, and what it found.
type Acceptance struct {
	// Approved names the signing requests.
	Approved []string `json:"approved,omitempty"`
	// Agent that was let in, empty when no request waited.
	Agent string `json:"agent,omitempty"`
	// Changed is true when the cluster was not accepted before.
	Changed bool `json:"changed"`
	// Before is the agent that was let in before, if any was.
	Before string `json:"before,omitempty"`
	// Joined is true when an agent has joined before.
	Joined bool `json:"joined"`
	// Identity is who may join under the name without being accepted by a person, empty when nobody said.
	Identity string `json:"identity,omitempty"`
}

// SystemNamespace is where Muster itself lives on a hub, with the service accounts that agents join with.
const SystemNamespace = registration.SystemNamespace

// Accept lets a cluster in, as clusteradm accept does: it approves the requests that wait under its name, then sets
// hubAcceptsClient. It does neither when registration.Admit lets nobody in. A cluster whose agent did not ask yet is
// accepted for the time when it does; one that has joined stays as it is, or has its rights again when it was denied.
func Accept(ctx context.Context, c client.Client, name string, o AcceptOptions) (done Acceptance, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		done, err = accept(ctx, c, name, o)
		return err
	})
	return done, err
}

func accept(ctx context.Context, c client.Client, name string, o AcceptOptions) (Acceptance, error) {
	cluster := &clusterv1.ManagedCluster{}
	if err := c.Get(ctx, client.ObjectKey{Name: name}, cluster); apierrors.IsNotFound(err) {
		return Acceptance{}, fmt.Errorf("there is no cluster %s: start its agent first, or name it in the fleet repository", name)
	} else if err != nil {
		return Acceptance{}, fmt.Errorf("accept %s: %w", name, err)
	}
	all, err := requestsOf(ctx, c, client.MatchingLabels{clusterv1.ClusterNameLabelKey: name})
	if err != nil {
		return Acceptance{}, fmt.Errorf("list the signing requests of %s: %w", name, err)
	}
	admitted, err := registration.Admit(cluster, all, o.Requesters, o.Agent)
	if err != nil {
		return Acceptance{}, fmt.Errorf("accept %s: %w", name, err)
	}
	done := found(cluster)
	if len(admitted) > 0 {
		newest := admitted[len(admitted)-1]
		done.Agent = newest.Agent
		if err := record(ctx, c, cluster, newest); err != nil {
			return done, err
		}
	}
	for _, request := range admitted {
		if err := approve(ctx, c, named(all, request.Name), "MusterAccept", "This request was approved by muster accept"); err != nil {
			return done, err
		}
		done.Approved = append(done.Approved, request.Name)
	}
	base := cluster.DeepCopy()
	cluster.Spec.HubAcceptsClient = true
	if err := c.Patch(ctx, cluster, client.MergeFrom(base)); err != nil {
		return done, fmt.Errorf("accept %s: %w", name, err)
	}
	return done, nil
}

// found is what there is to say about a cluster before it is accepted.
func found(cluster *clusterv1.ManagedCluster) Acceptance {
	return Acceptance{
		Changed:  !cluster.Spec.HubAcceptsClient,
		Before:   cluster.Annotations[registration.JoinedAgentAnnotation],
		Joined:   meta.IsStatusConditionTrue(cluster.Status.Conditions, clusterv1.ManagedClusterConditionJoined),
		Identity: cluster.Annotations[musterv1alpha1.JoinIdentityAnnotation],
	}
}

func named(all []certificatesv1.CertificateSigningRequest, name string) *certificatesv1.CertificateSigningRequest {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}
