package registration_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/registration"
)

func TestAdmit(t *testing.T) {
	const token, git, evil = "system:bootstrap:abcdef", "system:serviceaccount:muster-system:join-edge-1", "system:serviceaccount:evil:x"
	const approved, denied, waits = certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, ""
	named := map[string]string{musterv1alpha1.JoinIdentityAnnotation: git}
	joined := map[string]string{registration.JoinedAgentAnnotation: "a1", registration.JoinedKeyAnnotation: "k1"}
	type asked struct {
		user, agent string
		answer      certificatesv1.RequestConditionType
	}
	for name, test := range map[string]struct {
		why     string
		cluster *clusterv1.ManagedCluster
		asked   []asked // oldest first: r0, r1, …
		users   []string
		agent   string
		want    []string
		err     error
		says    string
	}{
		"nobody asked": {why: "accepted for when its agent comes", cluster: managed(false, nil)},
		"one waits": {
			why: "the plain case", cluster: managed(false, nil), asked: []asked{{token, "a1", waits}}, want: []string{"r0"},
		},
		"the same agent twice": {
			why:     "it lost its key in between; the newest counts and comes last",
			cluster: managed(false, nil), asked: []asked{{token, "a1", waits}, {token, "a1", waits}}, want: []string{"r0", "r1"},
		},
		"two agents": {
			why:     "one of them is not the cluster",
			cluster: managed(false, nil), asked: []asked{{token, "a1", waits}, {token, "a2", waits}},
			err: registration.ErrSeveralAgents, says: "agent a1 as " + token + ", agent a2 as " + token + "; say whose counts with --agent",
		},
		"two agents, one chosen": {
			why:     "a person says which",
			cluster: managed(false, nil), asked: []asked{{token, "a1", waits}, {token, "a2", waits}}, agent: "a2", want: []string{"r1"},
		},
		"one agent's name from two users": {
			why:     "whoever knows the name must not slip in along",
			cluster: managed(false, nil), asked: []asked{{token, "a1", waits}, {git, "a1", waits}}, err: registration.ErrSeveralAgents, says: git,
		},
		"two users, one chosen": {
			why:     "a person says which",
			cluster: managed(false, nil), asked: []asked{{token, "a1", waits}, {git, "a1", waits}}, users: []string{git}, want: []string{"r1"},
		},
		"a stranger": {
			why:     "a user that agents do not join with",
			cluster: managed(false, nil), asked: []asked{{evil, "a1", waits}}, err: registration.ErrForeignRequester, says: evil + "; if it is the right one",
		},
		"a stranger beside the right one": {
			why:     "the stranger is not let in along",
			cluster: managed(false, nil), asked: []asked{{evil, "a1", waits}, {token, "a1", waits}}, want: []string{"r1"},
		},
		"not whom Git names": {
			why:     "a bootstrap token is good for clusters that nobody named only",
			cluster: managed(true, named), asked: []asked{{token, "a1", waits}}, err: registration.ErrForeignRequester, says: "names " + git,
		},
		"not whom Git names, chosen": {
			why:     "a person overrides by name",
			cluster: managed(true, named), asked: []asked{{token, "a1", waits}}, users: []string{token}, want: []string{"r0"},
		},
		"whom Git names": {
			why:     "not accepted by itself when another agent had joined",
			cluster: managed(true, named), asked: []asked{{git, "a2", waits}}, want: []string{"r0"},
		},
		"joined": {
			why: "nothing waits, and that is fine", cluster: managed(true, joined), asked: []asked{{token, "a1", approved}},
		},
		"denied": {
			why:     "an API server keeps a denial; to say that the agent has not asked would be wrong",
			cluster: managed(false, nil), asked: []asked{{token, "a1", denied}}, err: registration.ErrRequestDenied, says: "request r0 of agent a1",
		},
		"denied, then asked again": {
			why:     "the newest counts",
			cluster: managed(false, nil), asked: []asked{{token, "a1", denied}, {token, "a1", waits}}, want: []string{"r1"},
		},
		"denied, then approved": {
			why:     "it is in",
			cluster: managed(true, joined), asked: []asked{{token, "a1", denied}, {token, "a1", approved}},
		},
		"another agent was denied": {
			why:     "the one that joined is in",
			cluster: managed(true, joined), asked: []asked{{token, "a2", denied}},
		},
		"the agent that joined asks with a new key and is denied": {
			why:     "it waits for ever",
			cluster: managed(true, joined), asked: []asked{{token, "a1", approved}, {token, "a1", denied}}, err: registration.ErrRequestDenied,
		},
		"no agent's request": {
			why:     "what no agent would ask for is named, not passed over",
			cluster: managed(false, nil), asked: []asked{{token, "", waits}}, err: registration.ErrInvalidRequest, says: "request r0 of " + token,
		},
		"a name of the hub's": {
			why:     "the agent would have rights where the hub's leases are",
			cluster: called("muster-system", managed(false, nil)), asked: []asked{{token, "a1", waits}}, err: registration.ErrReservedName, says: "under another name",
		},
		"being detached": {
			why:     "what is let in now would go with the cluster",
			cluster: deleting(managed(true, joined)), asked: []asked{{token, "a1", waits}}, err: registration.ErrLeaving, says: "muster join edge-1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var all []certificatesv1.CertificateSigningRequest
			for i, a := range test.asked {
				subject := registration.UserName("edge-1", a.agent)
				csr := signingRequest(t, subject, registration.Organizations("edge-1")...)
				csr.Spec.Username = a.user
				csr.Name, csr.CreationTimestamp = fmt.Sprintf("r%d", i), metav1.NewTime(time.Unix(int64(i), 0))
				if a.answer != waits {
					csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: a.answer, Status: corev1.ConditionTrue}}
				}
				all = append([]certificatesv1.CertificateSigningRequest{*csr}, all...) // a list has no order
			}
			requests, err := registration.Admit(test.cluster, all, test.users, test.agent)
			if !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Fatalf("%s: %v, want %v that says %q", test.why, err, test.err, test.says)
			}
			var got []string
			for _, r := range requests {
				got = append(got, r.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.why, diff)
			}
		})
	}
}

func called(name string, c *clusterv1.ManagedCluster) *clusterv1.ManagedCluster {
	c.Name = name
	return c
}

func deleting(c *clusterv1.ManagedCluster) *clusterv1.ManagedCluster {
	c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	return c
}
