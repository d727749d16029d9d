package addon

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

func TestNeedsOf(t *testing.T) {
	kube := addonv1alpha1.RegistrationConfig{SignerName: addonv1alpha1.KubeClientSigner}
	custom := addonv1alpha1.RegistrationConfig{SignerName: "example.com/sub/signer", Subject: addonv1alpha1.Subject{User: "u", OrganizationUnits: []string{"unit"}}}
	for name, test := range map[string]struct {
		addon addonv1alpha1.ManagedClusterAddOn
		want  []string // namespace/name of the Secret, whether hosted, common name, organizations
	}{
		"nothing": {},
		"defaults": {
			addon: addonv1alpha1.ManagedClusterAddOn{Status: addonv1alpha1.ManagedClusterAddOnStatus{Registrations: []addonv1alpha1.RegistrationConfig{kube}}},
			want:  []string{"open-cluster-management-agent-addon/m-hub-kubeconfig system:open-cluster-management:cluster:c:addon:m:agent:a [system:open-cluster-management:cluster:c:addon:m system:open-cluster-management:addon:m]"},
		},
		"both, in the namespace of the status": {
			addon: addonv1alpha1.ManagedClusterAddOn{
				Spec:   addonv1alpha1.ManagedClusterAddOnSpec{InstallNamespace: "spec"},
				Status: addonv1alpha1.ManagedClusterAddOnStatus{Namespace: "status", Registrations: []addonv1alpha1.RegistrationConfig{custom, kube, kube}},
			},
			want: []string{
				"status/m-example.com-sub-signer-client-cert u []",
				"status/m-hub-kubeconfig system:open-cluster-management:cluster:c:addon:m:agent:a [system:open-cluster-management:cluster:c:addon:m system:open-cluster-management:addon:m]",
			},
		},
		"the annotation of v1beta1, hosted": {
			addon: addonv1alpha1.ManagedClusterAddOn{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
					"addon.open-cluster-management.io/v1alpha1-install-namespace": "annotated", "addon.open-cluster-management.io/hosting-cluster-name": "host",
				}},
				Status: addonv1alpha1.ManagedClusterAddOnStatus{Registrations: []addonv1alpha1.RegistrationConfig{custom}},
			},
			want: []string{"annotated/m-example.com-sub-signer-client-cert u [] hosted"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.addon.Name = "m"
			var got []string
			for _, n := range needsOf(&test.addon, "c", "a") {
				text := n.secret.String() + " " + n.subject.CommonName + " ["
				for i, o := range n.subject.Organization {
					if i > 0 {
						text += " "
					}
					text += o
				}
				text += "]"
				if n.secret.hosted {
					text += " hosted"
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAvailability(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	renewed := func(ago time.Duration) *coordinationv1.Lease {
		at := metav1.NewMicroTime(now.Add(-ago))
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &at}}
	}
	for name, test := range map[string]struct {
		lease  *coordinationv1.Lease
		status metav1.ConditionStatus
		reason string
	}{
		"none":          {nil, metav1.ConditionUnknown, "ManagedClusterAddOnLeaseNotFound"},
		"fresh":         {renewed(0), metav1.ConditionTrue, "ManagedClusterAddOnLeaseUpdated"},
		"just in time":  {renewed(5*time.Minute - time.Second), metav1.ConditionTrue, "ManagedClusterAddOnLeaseUpdated"},
		"stale":         {renewed(5 * time.Minute), metav1.ConditionFalse, "ManagedClusterAddOnLeaseUpdateStopped"},
		"never renewed": {&coordinationv1.Lease{}, metav1.ConditionFalse, "ManagedClusterAddOnLeaseUpdateStopped"},
	} {
		t.Run(name, func(t *testing.T) {
			c := availability("m", client.ObjectKey{Namespace: "n", Name: "m"}, test.lease, now)
			if c.Type != "Available" || c.Status != test.status || c.Reason != test.reason {
				t.Errorf("got %s=%s, %s", c.Type, c.Status, c.Reason)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	token := func(payload string) []byte {
		return []byte("h." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".s")
	}
	c, err := claimsOf(token(`{"iat":1000,"exp":2000,"kubernetes.io":{"serviceaccount":{"uid":"u"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.due(); !got.Equal(time.Unix(1800, 0)) || c.Kubernetes.ServiceAccount.UID != "u" {
		t.Errorf("due at %s for %q", got, c.Kubernetes.ServiceAccount.UID)
	}
	for _, bad := range [][]byte{nil, []byte("a.b"), []byte("a.!.c"), token(`{`), token(`{"exp":5}`), token(`{"iat":5,"exp":5}`)} {
		if _, err := claimsOf(bad); err == nil {
			t.Errorf("%q is taken for a token", bad)
		}
	}
}
