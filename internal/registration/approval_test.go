package registration_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/registration"
)

func TestDecide(t *testing.T) {
	const joiner = "system:serviceaccount:muster-system:edge-1"
	first := registration.Request{Cluster: "edge-1", Agent: "a1", User: joiner, CommonName: registration.UserName("edge-1", "a1"), Key: "k1"}
	other := func(change func(*registration.Request)) registration.Request {
		r := first
		change(&r)
		return r
	}
	renewal := other(func(r *registration.Request) { r.User = r.CommonName })
	named := map[string]string{musterv1alpha1.JoinIdentityAnnotation: joiner}
	joined := map[string]string{
		musterv1alpha1.JoinIdentityAnnotation: joiner,
		registration.JoinedAgentAnnotation:    "a1", registration.JoinedKeyAnnotation: "k1",
	}
	for name, test := range map[string]struct {
		why      string
		request  registration.Request
		cluster  *clusterv1.ManagedCluster
		mayRenew bool
		approve  bool
		record   bool
		reason   string
	}{
		"first agent of the identity": {
			why:     "Git named the cluster and the identity",
			request: first, cluster: managed(true, named), approve: true, record: true, reason: registration.ReasonMayJoin,
		},
		"stranger": {
			why:     "the name is for somebody else",
			request: other(func(r *registration.Request) { r.User = "system:serviceaccount:evil:x" }), cluster: managed(true, named),
			reason: registration.ReasonForeignIdentity,
		},
		"second agent": {
			why:     "a shared bootstrap identity must not make a second agent of a name that is taken",
			request: other(func(r *registration.Request) { r.Agent, r.Key = "a2", "k2" }), cluster: managed(true, joined),
			reason: registration.ReasonSecondAgent,
		},
		"name of the agent, another key": {
			why:     "names of agents can be seen by all who join; the key is the proof",
			request: other(func(r *registration.Request) { r.Key = "k2" }), cluster: managed(true, joined),
			reason: registration.ReasonSecondAgent,
		},
		"same agent and key": {
			why:     "a certificate that expired, or was never stored, needs no hand",
			request: first, cluster: managed(true, joined), approve: true, reason: registration.ReasonSameAgent,
		},
		"same key, foreign identity": {
			why:     "a stolen key alone is not enough",
			request: other(func(r *registration.Request) { r.User = "mallory" }), cluster: managed(true, joined),
			reason: registration.ReasonForeignIdentity,
		},
		"not accepted": {
			why:     "a denial wins over the identity",
			request: first, cluster: managed(false, named), reason: registration.ReasonNotAccepted,
		},
		"no identity": {
			why:     "accepted by a person, who approves as well",
			request: first, cluster: managed(true, nil), reason: registration.ReasonNoIdentity,
		},
		"unknown cluster": {
			why:     "nobody named it",
			request: first, reason: registration.ReasonUnknownCluster,
		},
		"renewal": {
			why:     "OCM's rule: by the same subject, with the right to renew",
			request: renewal, cluster: managed(true, joined), mayRenew: true, approve: true, record: true, reason: registration.ReasonRenewal,
		},
		"renewal of an agent that a person let in beside another": {
			why: "it stays in, and the record stays that of the one that joined",
			request: other(func(r *registration.Request) {
				r.Agent, r.CommonName = "a2", registration.UserName("edge-1", "a2")
				r.User = r.CommonName
			}), cluster: managed(true, joined), mayRenew: true, approve: true, reason: registration.ReasonRenewal,
		},
		"renewal of a denied cluster": {
			why:     "the denial took the right to renew",
			request: renewal, cluster: managed(false, joined), reason: registration.ReasonRenewalDenied,
		},
		"renewal for another agent": {
			why:     "an agent with a certificate is nobody special under another name",
			request: other(func(r *registration.Request) { r.User = registration.UserName("edge-2", "a1") }), cluster: managed(true, named), mayRenew: true,
			reason: registration.ReasonForeignIdentity,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := registration.Decide(test.request, test.cluster, test.mayRenew)
			want := registration.Verdict{Request: test.request, Approve: test.approve, Record: test.record, Reason: test.reason, Message: got.Message}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.why, diff)
			}
			if !got.Approve && test.cluster != nil && !strings.Contains(got.Message, "muster accept edge-1") {
				t.Errorf("%s: the message does not name the next step: %s", test.why, got.Message)
			}
		})
	}
}

func managed(accepted bool, annotations map[string]string) *clusterv1.ManagedCluster {
	return &clusterv1.ManagedCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "edge-1", Annotations: annotations},
		Spec:       clusterv1.ManagedClusterSpec{HubAcceptsClient: accepted},
	}
}

func TestRecord(t *testing.T) {
	cluster := managed(true, nil)
	request := registration.Request{Agent: "a1", Key: "k1"}
	if !registration.Record(cluster, request) || registration.Record(cluster, request) {
		t.Error("the first record is a change, the second is none")
	}
	got := registration.Decide(registration.Request{Cluster: "edge-1", Agent: "a1", Key: "k1", User: "u"}, func() *clusterv1.ManagedCluster {
		cluster.Annotations[musterv1alpha1.JoinIdentityAnnotation] = "u"
		return cluster
	}(), false)
	if !got.Approve {
		t.Errorf("a hub that stopped between record and approval must go on: %+v", got)
	}
}

func TestParseRequest(t *testing.T) {
	good := func() *certificatesv1.CertificateSigningRequest {
		return signingRequest(t, registration.UserName("edge-1", "a1"), registration.Organizations("edge-1")...)
	}
	for name, test := range map[string]struct {
		why   string
		csr   *certificatesv1.CertificateSigningRequest
		wrong string
	}{
		"as OCM's agent": {why: "the plain case", csr: good()},
		"no shared group": {
			why: "OCM looks at what is left without the shared group",
			csr: signingRequest(t, registration.UserName("edge-1", "a1"), registration.Group("edge-1")),
		},
		"no label": {why: "the label says whose it is", wrong: "label", csr: func() *certificatesv1.CertificateSigningRequest {
			csr := good()
			csr.Labels = nil
			return csr
		}()},
		"another signer": {why: "only this one makes clients of the API server", wrong: "signer", csr: func() *certificatesv1.CertificateSigningRequest {
			csr := good()
			csr.Spec.SignerName = certificatesv1.KubeletServingSignerName
			return csr
		}()},
		"masters": {
			why: "a group more than the cluster's", wrong: "organizations",
			csr: signingRequest(t, registration.UserName("edge-1", "a1"), append(registration.Organizations("edge-1"), "system:masters")...),
		},
		"another cluster's group": {
			why: "label and group must agree", wrong: "organizations",
			csr: signingRequest(t, registration.UserName("edge-1", "a1"), registration.Organizations("edge-2")...),
		},
		"another cluster's name": {
			why: "label and name must agree", wrong: "common name",
			csr: signingRequest(t, registration.UserName("edge-2", "a1"), registration.Organizations("edge-1")...),
		},
		"cluster with a longer name": {
			why: "edge-1 is a prefix of edge-10", wrong: "common name",
			csr: signingRequest(t, "system:open-cluster-management:edge-10:a1", registration.Organizations("edge-1")...),
		},
		"no agent": {
			why: "the common name has three parts", wrong: "common name",
			csr: signingRequest(t, registration.Group("edge-1"), registration.Organizations("edge-1")...),
		},
		"rubbish": {why: "named, not a crash", wrong: "PEM", csr: func() *certificatesv1.CertificateSigningRequest {
			csr := good()
			csr.Spec.Request = []byte("hello")
			return csr
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := registration.ParseRequest(test.csr)
			switch {
			case test.wrong == "" && (err != nil || got.Agent != "a1" || got.Key == ""):
				t.Errorf("%s: got %+v, %v", test.why, got, err)
			case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
				t.Errorf("%s: got %v, want an error about %q", test.why, err, test.wrong)
			}
		})
	}
}

func signingRequest(t *testing.T, name string, orgs ...string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: orgs}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "csr", Labels: map[string]string{clusterv1.ClusterNameLabelKey: "edge-1"}},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientSignerName,
		},
	}
}

func TestJoinCondition(t *testing.T) {
	waits := func(reason, message string) registration.Verdict {
		return registration.Verdict{Reason: reason, Message: message}
	}
	for name, test := range map[string]struct {
		why      string
		verdicts []registration.Verdict
		want     *metav1.Condition
	}{
		"nothing waits": {why: "the condition goes", verdicts: []registration.Verdict{{Approve: true}}},
		"the same in any order": {
			why:      "conditions do not flap",
			verdicts: []registration.Verdict{waits("B", "b"), waits("A", "a"), waits("A", "a"), waits("C", "c"), waits("D", "d"), waits("E", "e")},
			want: &metav1.Condition{
				Type: registration.ConditionJoinRequest, Status: metav1.ConditionFalse, Reason: "A", Message: "a; b; c; and 2 more",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, registration.JoinCondition(test.verdicts)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.why, diff)
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	verdict := registration.Refuse(registration.Request{User: "mallory"}, errors.New("no label"))
	if verdict.Approve || !strings.Contains(verdict.Message, "mallory") || !strings.Contains(verdict.Message, "no label") {
		t.Errorf("a refusal says who and why: %+v", verdict)
	}
}
