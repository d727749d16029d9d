package registration

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// SystemNamespace is where Muster itself lives on a hub, with the service accounts that agents join with.
const SystemNamespace = "muster-system"

// Why accepting a cluster does not let an agent in. The message of each error names the next step.
var (
	ErrLeaving          = errors.New("the cluster is being detached")
	ErrReservedName     = errors.New("no cluster may have the name")
	ErrSeveralAgents    = errors.New("several agents ask to join under one name")
	ErrForeignRequester = errors.New("the requester is not one that joins under this name")
	ErrRequestDenied    = errors.New("the agent's request was denied")
	ErrInvalidRequest   = errors.New("what waits is nothing that an agent asks for")
)

// Admit chooses which requests are approved when a person accepts a cluster, from all requests under its name, the newest last. Users
// and agent, where given, restrict whose requests count.
//
//	the cluster is being deleted                   ErrLeaving
//	its name is that of a namespace of the hub     ErrReservedName
//	those who may ask wait, all as one agent       their requests
//	those who may ask wait, as several agents      ErrSeveralAgents
//	only others wait                               ErrForeignRequester
//	only requests wait that no agent makes         ErrInvalidRequest
//	nothing waits, the newest request was denied   ErrRequestDenied, unless another agent has joined
//	nothing waits                                  none, and no error: the cluster is accepted for when its agent asks
func Admit(cluster *clusterv1.ManagedCluster, all []certificatesv1.CertificateSigningRequest, users []string, agent string) ([]Request, error) {
	if !cluster.DeletionTimestamp.IsZero() {
		return nil, fmt.Errorf("%w: when it is gone, give its agent a new bootstrap kubeconfig (muster join %s)", ErrLeaving, cluster.Name)
	}
	if reserved := fleet.ReservedName(cluster.Name); reserved != "" {
		return nil, fmt.Errorf("%w: %s: %s; let its agent join under another name", ErrReservedName, cluster.Name, reserved)
	}
	found := classify(cluster, all, users, agent)
	who := requesters(found.waiting)
	switch {
	case len(who) > 1:
		return nil, fmt.Errorf("%w: %s; say whose counts with --agent or --requesters", ErrSeveralAgents, strings.Join(who, ", "))
	case len(who) > 0:
		return found.waiting, nil
	case len(found.strangers) > 0:
		return nil, foreign(cluster, found.strangers)
	case len(found.invalid) > 0:
		return nil, fmt.Errorf("%w: %s", ErrInvalidRequest, strings.Join(found.invalid, "; "))
	case found.denied != "":
		return nil, fmt.Errorf("%w: %s; a denial stays, so delete that CertificateSigningRequest, and accept when the agent has asked again",
			ErrRequestDenied, found.denied)
	}
	return nil, nil
}

// classified are the requests under one name, for the person who accepts.
type classified struct {
	waiting   []Request // of those who may ask, the newest last
	strangers []string  // users of others that wait
	invalid   []string  // requests that wait and that no agent makes, described
	denied    string    // the newest of those who may ask, when it was refused
}

func classify(cluster *clusterv1.ManagedCluster, all []certificatesv1.CertificateSigningRequest, users []string, agent string) classified {
	var s classified
	joined := cluster.Annotations[JoinedAgentAnnotation]
	for _, csr := range oldestFirst(all) {
		r, err := ParseRequest(&csr)
		pending := Unanswered(&csr)
		switch {
		case err != nil && pending:
			s.invalid = append(s.invalid, fmt.Sprintf("request %s of %s: %v", r.Name, r.User, err))
		case err != nil || agent != "" && r.Agent != agent:
		case !mayAsk(r, cluster, users) && pending:
			s.strangers = append(s.strangers, r.User)
		case !mayAsk(r, cluster, users):
		case pending:
			s.waiting = append(s.waiting, r)
		case !Denied(&csr):
			s.denied = ""
		case joined == "" || joined == r.Agent:
			s.denied = fmt.Sprintf("request %s of agent %s", r.Name, r.Agent)
		}
	}
	return s
}

func oldestFirst(all []certificatesv1.CertificateSigningRequest) []certificatesv1.CertificateSigningRequest {
	return slices.SortedStableFunc(slices.Values(all), func(a, b certificatesv1.CertificateSigningRequest) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
}

// requesters names who asks. One agent name that two users give counts as two.
func requesters(requests []Request) []string {
	var who []string
	for _, r := range requests {
		who = append(who, fmt.Sprintf("agent %s as %s", r.Agent, r.User))
	}
	return sortedOnce(who)
}

func sortedOnce(all []string) []string { return slices.Compact(slices.Sorted(slices.Values(all))) }

// mayAsk says whether a user's requests count without being named: the agents themselves do, and the identity that may join
// under the name. Where nobody said which that is, it is whoever agents join with: bootstrap tokens, OCM's bootstrap service
// account, the service accounts in Muster's namespace.
func mayAsk(r Request, cluster *clusterv1.ManagedCluster, users []string) bool {
	identity := cluster.Annotations[musterv1alpha1.JoinIdentityAnnotation]
	switch {
	case len(users) > 0:
		return slices.Contains(users, r.User)
	case r.Renewal():
		return true
	case identity != "":
		return r.User == identity
	}
	return strings.HasPrefix(r.User, "system:bootstrap:") ||
		strings.HasPrefix(r.User, "system:serviceaccount:"+SystemNamespace+":") ||
		r.User == "system:serviceaccount:open-cluster-management:agent-registration-bootstrap"
}

func foreign(cluster *clusterv1.ManagedCluster, users []string) error {
	who := strings.Join(sortedOnce(users), ", ")
	if identity := cluster.Annotations[musterv1alpha1.JoinIdentityAnnotation]; identity != "" {
		return fmt.Errorf("%w: %s asks, and annotation %s names %s; change the annotation, or let it in with --requesters",
			ErrForeignRequester, who, musterv1alpha1.JoinIdentityAnnotation, identity)
	}
	return fmt.Errorf("%w: %s; if it is the right one, let it in with --requesters", ErrForeignRequester, who)
}
