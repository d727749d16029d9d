package registration

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Annotations on a ManagedCluster that remember which agent joined. They are written before its request is approved, by
// the hub or by who accepts; to change them needs the right to accept clusters.
const (
	// JoinedAgentAnnotation is the name of the agent.
	JoinedAgentAnnotation = "muster.dev/joined-agent"
	// JoinedKeyAnnotation identifies the public key of its newest certificate. An agent whose certificate expired, or
	// that was stopped before it could store it, proves with the key that it is the same one.
	JoinedKeyAnnotation = "muster.dev/joined-key"
)

// ConditionJoinRequest is on a ManagedCluster while a request to join under its name waits for a person: it is False and
// its message names who asks and the next step. It goes when nothing waits.
const ConditionJoinRequest = "JoinRequestAnswered"

// ApprovedReason is the reason in the Approved condition of the requests that the hub approves by itself, as in OCM.
const ApprovedReason = "AutoApprovedByHubCSRApprovingController"

// Reasons of the condition JoinRequestAnswered, and of events about signing requests.
const (
	ReasonInvalidRequest  = "InvalidRequest"   // not what an agent of the cluster would ask for
	ReasonUnknownCluster  = "UnknownCluster"   // no ManagedCluster has the name
	ReasonRenewalDenied   = "RenewalDenied"    // the agent's rights were taken away
	ReasonNotAccepted     = "NotAccepted"      // hubAcceptsClient is false
	ReasonNoIdentity      = "NoJoinIdentity"   // nobody said which identity may join under the name
	ReasonForeignIdentity = "ForeignIdentity"  // somebody else may join under the name
	ReasonSecondAgent     = "SecondAgent"      // another agent, or another key, has joined under the name
	ReasonMayJoin         = "IdentityMayJoin"  // approved: the first agent of the identity
	ReasonSameAgent       = "SameAgentAndKey"  // approved: the agent that has joined, by its key
	ReasonRenewal         = "RenewalBySubject" // approved: the agent asks for itself
)

// Verdict is the answer to one request. A request that is not approved stays pending and waits for a person.
type Verdict struct {
	Request Request
	Approve bool
	Reason  string
	// Message for people, with the next step.
	Message string
	// Record is true when the agent and its key are to be noted on the ManagedCluster before the approval.
	Record bool
}

// Decide answers one request for a certificate. Cluster is the ManagedCluster of the name, nil when there is none;
// mayRenew is whether the user may renew managedclusters/clientcertificates of this name, asked for renewals only.
//
// The checks, in order; the first that holds decides:
//
//	the agent asks for itself        approved when it may renew, as in OCM
//	no ManagedCluster                waits
//	hubAcceptsClient is false        waits
//	no identity is named             waits
//	another identity is named        waits
//	no agent has joined              approved, recorded
//	the agent that joined, its key   approved
//	another agent, or another key    waits
func Decide(r Request, cluster *clusterv1.ManagedCluster, mayRenew bool) Verdict {
	if r.Renewal() {
		return decideRenewal(r, cluster, mayRenew)
	}
	accept := fmt.Sprintf("to let it in: muster accept %s", r.Cluster)
	if cluster == nil {
		return wait(r, ReasonUnknownCluster, "%s asks to join as %s, and there is no such cluster", r.User, r.Cluster)
	}
	identity := cluster.Annotations[musterv1alpha1.JoinIdentityAnnotation]
	agent, key := cluster.Annotations[JoinedAgentAnnotation], cluster.Annotations[JoinedKeyAnnotation]
	switch {
	case !cluster.Spec.HubAcceptsClient:
		return wait(r, ReasonNotAccepted, "%s asks to join as agent %s; %s", r.User, r.Agent, accept)
	case identity == "":
		return wait(r, ReasonNoIdentity, "%s asks to join as agent %s, and annotation %s names nobody; %s",
			r.User, r.Agent, musterv1alpha1.JoinIdentityAnnotation, accept)
	case identity != r.User:
		return wait(r, ReasonForeignIdentity, "%s asks to join under this name, which is for %s; if it is the right one, %s --requesters %s",
			r.User, identity, accept, r.User)
	case agent == "":
		return Verdict{Request: r, Approve: true, Record: true, Reason: ReasonMayJoin,
			Message: fmt.Sprintf("%s may join as %s and is the first agent of it", r.User, r.Cluster)}
	case agent == r.Agent && key == r.Key:
		return Verdict{Request: r, Approve: true, Reason: ReasonSameAgent,
			Message: fmt.Sprintf("agent %s of %s holds the key that it joined with", r.Agent, r.Cluster)}
	case agent == r.Agent:
		return wait(r, ReasonSecondAgent, "%s asks to join as agent %s with another key than the one it joined with; if it lost the key, %s",
			r.User, r.Agent, accept)
	}
	return wait(r, ReasonSecondAgent, "%s asks to join as agent %s, and agent %s has joined under this name; to let the new one in: muster accept %s",
		r.User, r.Agent, agent, r.Cluster)
}

// decideRenewal follows OCM, and remembers the key when the agent is the one that joined.
func decideRenewal(r Request, cluster *clusterv1.ManagedCluster, mayRenew bool) Verdict {
	if !mayRenew {
		return wait(r, ReasonRenewalDenied, "agent %s may not renew its certificate; to allow it again: muster accept %s", r.Agent, r.Cluster)
	}
	known := ""
	if cluster != nil {
		known = cluster.Annotations[JoinedAgentAnnotation]
	}
	return Verdict{Request: r, Approve: true, Reason: ReasonRenewal,
		Message: fmt.Sprintf("agent %s of %s renews its certificate", r.Agent, r.Cluster),
		Record:  cluster != nil && (known == "" || known == r.Agent)}
}

// Refuse is the verdict about a request that could not be read.
func Refuse(r Request, err error) Verdict {
	return wait(r, ReasonInvalidRequest, "%s asks with a request that is never approved: %v", r.User, err)
}

func wait(r Request, reason, format string, args ...any) Verdict {
	return Verdict{Request: r, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Record notes which agent joined. It returns whether the object changed.
func Record(cluster *clusterv1.ManagedCluster, r Request) bool {
	if cluster.Annotations[JoinedAgentAnnotation] == r.Agent && cluster.Annotations[JoinedKeyAnnotation] == r.Key {
		return false
	}
	if cluster.Annotations == nil {
		cluster.Annotations = map[string]string{}
	}
	cluster.Annotations[JoinedAgentAnnotation] = r.Agent
	cluster.Annotations[JoinedKeyAnnotation] = r.Key
	return true
}

// JoinCondition is the condition about the requests that wait, nil when none does.
func JoinCondition(verdicts []Verdict) *metav1.Condition {
	var messages []string
	reason := ""
	for _, v := range verdicts {
		if v.Approve {
			continue
		}
		if reason == "" || v.Reason < reason {
			reason = v.Reason
		}
		messages = append(messages, v.Message)
	}
	if len(messages) == 0 {
		return nil
	}
	slices.Sort(messages)
	messages = slices.Compact(messages)
	if rest := len(messages) - 3; rest > 0 {
		messages = append(messages[:3], fmt.Sprintf("and %d more", rest))
	}
	return &metav1.Condition{Type: ConditionJoinRequest, Status: metav1.ConditionFalse, Reason: reason,
		Message: strings.Join(messages, "; ")}
}
