package addonregistration_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/controlplane"
	musterhub "github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/install"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/addon"
)

// reader is a registration whose agent reads ConfigMaps in its cluster's namespace on the hub.
func (f *fleet) reader() addonv1alpha1.RegistrationSpec {
	f.Helper()
	role := f.name + "-reader"
	f.create(f.hub, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: role, Labels: map[string]string{musterhub.PermissionLabel: "true"}},
		Rules:      []rbacv1.PolicyRule{rules.Rule("", "configmaps", "get", "list")},
	})
	return addonv1alpha1.RegistrationSpec{
		Type: addonv1alpha1.RegistrationKubeClient,
		KubeClient: &addonv1alpha1.KubeClientRegistrationConfig{HubPermissions: []addonv1alpha1.HubPermissionConfig{{
			Type:           addonv1alpha1.HubPermissionCurrentCluster,
			CurrentCluster: &addonv1alpha1.CurrentClusterBindingConfig{ClusterRoleName: role},
		}}},
	}
}

// reads waits until a client can read what its RBAC lets it, and makes sure that it can read nothing else.
func (f *fleet) reads(c client.Client) {
	f.Helper()
	f.eventually(func() string {
		return text(c.List(f.Context(), &corev1.ConfigMapList{}, client.InNamespace(f.name)))
	})
	if err := c.List(f.Context(), &corev1.ConfigMapList{}, client.InNamespace("default")); !apierrors.IsForbidden(err) {
		f.Errorf("the add-on's agent reads another namespace of the hub: %v", err)
	}
	if err := c.List(f.Context(), &corev1.SecretList{}, client.InNamespace(f.name)); !apierrors.IsForbidden(err) {
		f.Errorf("the add-on's agent reads Secrets of its cluster: %v", err)
	}
}

// TestKubeClient: an add-on that asks for a client of the hub has a Secret with one as long as it asks, and the client may what the
// template says.
func TestKubeClient(t *testing.T) {
	f := started(t)
	f.addOn("metrics", f.reader())
	stop := f.agent()
	secret := f.secret("metrics-hub-kubeconfig", "tls.crt")
	for key, want := range map[string]string{"cluster-name": f.name, "agent-name": "a1"} {
		if got := string(secret.Data[key]); got != want {
			t.Errorf("%s of the Secret is %q, not %q", key, got, want)
		}
	}
	f.reads(f.with(secret))
	f.expect("metrics", addonv1alpha1.ConditionClusterCertificateRotated, metav1.ConditionTrue, clusterv1.ReasonCertificateUpdated)
	f.expect("metrics", addonv1alpha1.ConditionRegistrationApplied, metav1.ConditionTrue, addonv1alpha1.ReasonSetPermissionApplied)
	if a := f.get("metrics"); a.Status.KubeClientDriver != rules.DriverCSR || a.Status.Namespace != f.name {
		t.Errorf("driver %q, namespace %q", a.Status.KubeClientDriver, a.Status.Namespace)
	}

	f.must(f.cluster.Delete(t.Context(), secret))
	again := f.secret("metrics-hub-kubeconfig", "tls.crt")
	if bytes.Equal(again.Data["tls.crt"], secret.Data["tls.crt"]) {
		t.Error("the Secret is the old one")
	}

	f.change("metrics", func(a *addonv1alpha1.ManagedClusterAddOn) {
		a.Status.ConfigReferences, a.Status.Registrations = nil, nil
	})
	f.gone(f.cluster, again)
	f.gone(f.hub, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "open-cluster-management:metrics:clusterrole:agent"}})

	f.addOn("plain")
	f.expect("plain", addonv1alpha1.ConditionRegistrationApplied, metav1.ConditionTrue, addonv1alpha1.ReasonNilRegistration)

	// While an add-on is being deleted its agent may have to clean up on the hub: it keeps its credential, and gets it back.
	f.addOn("leaving", withoutRights)
	f.eventually(func() string {
		a := f.get("leaving")
		a.Finalizers = []string{"example.com/cleans-up"}
		return text(f.hub.Update(t.Context(), a))
	})
	leaving := f.secret("leaving-hub-kubeconfig", "tls.crt")
	f.must(f.hub.Delete(t.Context(), f.get("leaving")))
	f.must(f.cluster.Delete(t.Context(), leaving))
	leaving = f.secret("leaving-hub-kubeconfig", "tls.crt")
	f.eventually(func() string {
		a := f.get("leaving")
		a.Finalizers = nil
		return text(f.hub.Update(t.Context(), a))
	})
	f.gone(f.cluster, leaving)

	// An add-on that goes while the agent is away.
	f.addOn("logs", withoutRights)
	logs := f.secret("logs-hub-kubeconfig", "tls.crt")
	stop()
	f.must(f.hub.Delete(t.Context(), f.get("logs")))
	f.agent()
	f.gone(f.cluster, logs)
}

// withoutRights is a registration whose agent may do nothing.
var withoutRights = addonv1alpha1.RegistrationSpec{Type: addonv1alpha1.RegistrationKubeClient}

// TestToken: an agent that authenticates by token has one of its service account; driver after driver, the Secret has what the new one
// needs, and the hub keeps nothing of the old one.
func TestToken(t *testing.T) {
	f := started(t)
	f.addOn("metrics", f.reader())
	f.change("metrics", func(a *addonv1alpha1.ManagedClusterAddOn) { a.Status.KubeClientDriver = rules.DriverToken })
	f.expect("metrics", addonv1alpha1.ConditionRegistrationApplied, metav1.ConditionFalse, addonv1alpha1.ReasonPermissionConfigPending) // until the agent says who it is
	byToken := func(seconds int64) func(*addon.Agent) {
		return func(a *addon.Agent) { a.Driver, a.TokenSeconds = rules.DriverToken, seconds }
	}
	stop := f.agent(byToken(1)) // for which no API server issues a token
	f.expect("metrics", addonv1alpha1.ConditionTokenInfrastructureReady, metav1.ConditionFalse, addonv1alpha1.ReasonTokenInfrastructureApplyFailed)
	role := &rbacv1.ClusterRole{}
	f.must(f.hub.Get(t.Context(), client.ObjectKey{Name: musterhub.TokenRole}, role))
	f.create(f.hub, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: f.name + "-tokens", Labels: map[string]string{musterhub.PermissionLabel: "true"}}, Rules: role.Rules,
	})
	f.expect("metrics", addonv1alpha1.ConditionTokenInfrastructureReady, metav1.ConditionTrue, addonv1alpha1.ReasonTokenInfrastructureReady)
	f.expect("metrics", addonv1alpha1.ConditionTokenRefreshed, metav1.ConditionFalse, addonv1alpha1.ReasonTokenCreationFailed)
	f.expect("metrics", addonv1alpha1.ConditionRegistrationApplied, metav1.ConditionTrue, addonv1alpha1.ReasonSetPermissionApplied)
	stop()
	stop = f.agent(byToken(0))
	secret := f.secret("metrics-hub-kubeconfig", "token")
	f.reads(f.with(secret))
	f.expect("metrics", addonv1alpha1.ConditionTokenRefreshed, metav1.ConditionTrue, addonv1alpha1.ReasonAddonTokenRefreshed)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "metrics-agent"}}
	for _, o := range []client.Object{account.DeepCopy(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "metrics-token-role"}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "metrics-token-role"}}} {
		f.must(f.hub.Get(t.Context(), client.ObjectKeyFromObject(o), o))
		if l := o.GetLabels(); l[addonv1alpha1.TokenInfrastructureLabel] != "true" || l[addonv1alpha1.TokenInfrastructureNameLabel] != "metrics" {
			t.Errorf("%T %s has the labels %v", o, o.GetName(), l)
		}
	}

	// Another account of the name makes the old token worthless.
	f.must(f.hub.Delete(t.Context(), account))
	f.eventually(func() string {
		return unless(!bytes.Equal(f.secret("metrics-hub-kubeconfig", "token").Data["token"], secret.Data["token"]), "the token is that of the old account")
	})
	f.reads(f.with(f.secret("metrics-hub-kubeconfig", "token")))

	// The clock comes to the last fifth of its life.
	secret = f.secret("metrics-hub-kubeconfig", "token")
	f.ahead.Store(int64(300 * 24 * time.Hour))
	f.eventually(func() string {
		return unless(!bytes.Equal(f.secret("metrics-hub-kubeconfig", "token").Data["token"], secret.Data["token"]), "the token is not refreshed")
	})
	stop()
	f.ahead.Store(0)

	f.agent()
	secret = f.secret("metrics-hub-kubeconfig", "tls.crt")
	if secret.Data["token"] != nil {
		t.Error("the token is still in the Secret")
	}
	f.reads(f.with(secret))
	f.gone(f.hub, account)
	f.gone(f.hub, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "metrics-token-role"}})
}

// TestLease: the hub hears of the lease whether the agent of an add-on lives.
func TestLease(t *testing.T) {
	f := started(t)
	f.addOn("metrics", withoutRights)
	f.agent()
	f.expect("metrics", addonv1alpha1.ConditionAvailable, metav1.ConditionUnknown, addonv1alpha1.ReasonLeaseNotFound)
	now := metav1.NewMicroTime(time.Now())
	f.create(f.cluster, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "metrics"}, Spec: coordinationv1.LeaseSpec{RenewTime: &now}})
	f.expect("metrics", addonv1alpha1.ConditionAvailable, metav1.ConditionTrue, addonv1alpha1.ReasonLeaseUpdated)
	f.ahead.Store(int64(6 * time.Minute))
	f.expect("metrics", addonv1alpha1.ConditionAvailable, metav1.ConditionFalse, addonv1alpha1.ReasonLeaseUpdateStopped)
	f.ahead.Store(0)
	f.expect("metrics", addonv1alpha1.ConditionAvailable, metav1.ConditionTrue, addonv1alpha1.ReasonLeaseUpdated)
}

// TestRotation: the certificate of a client of the hub, of 30 seconds, is renewed again and again before it expires, and each one works.
func TestRotation(t *testing.T) {
	t.Parallel()
	cp := test.ControlPlane(t, controlplane.Options{Name: "rotation", Controllers: true, CertificateLife: 30 * time.Second})
	if err := install.Hub(t.Context(), cp.Config()); err != nil {
		t.Fatal(err)
	}
	f := startedOn(t, cp)
	f.addOn("metrics", f.reader())
	f.agent()
	secret := f.secret("metrics-hub-kubeconfig", "tls.crt")
	for range 3 {
		f.reads(f.with(secret))
		leaf := leafOf(t, secret)
		if left := time.Until(leaf.NotAfter); left > 30*time.Second {
			t.Fatalf("the certificate lasts %s more", left)
		}
		f.eventually(func() string {
			now := f.secret(secret.Name, "tls.crt")
			return unless(!bytes.Equal(now.Data["tls.crt"], secret.Data["tls.crt"]), "the certificate is not renewed")
		})
		secret = f.secret(secret.Name, "tls.crt")
		made := leafOf(t, secret).NotBefore.Add(5 * time.Minute) // kube-controller-manager lets it begin earlier
		if made.Before(leaf.NotAfter.Add(-15 * time.Second)) {
			t.Errorf("the certificate expires at %s, and the next one was made at %s already", leaf.NotAfter, made)
		}
	}
}

// TestInstallNamespace: of several configurations the last one that names a namespace counts, for the agent's Secret as for its works.
func TestInstallNamespace(t *testing.T) {
	f := started(t)
	elsewhere := f.name + "-elsewhere"
	f.create(f.cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}})
	names := map[string]string{"first": elsewhere, "second": ""}
	for name, namespace := range names {
		config := &unstructured.Unstructured{Object: map[string]any{ // a text that is there and empty
			"apiVersion": addonv1alpha1.GroupVersion.String(), "kind": "AddOnDeploymentConfig", "metadata": map[string]any{"namespace": f.name, "name": name},
			"spec": map[string]any{"agentInstallNamespace": namespace},
		}}
		f.create(f.hub, config)
	}
	f.addOn("metrics", withoutRights)
	f.change("metrics", func(a *addonv1alpha1.ManagedClusterAddOn) {
		for _, name := range []string{"first", "second"} {
			referent := addonv1alpha1.ConfigReferent{Namespace: f.name, Name: name}
			a.Status.ConfigReferences = append(a.Status.ConfigReferences, addonv1alpha1.ConfigReference{
				ConfigGroupResource: addonv1alpha1.ConfigGroupResource{Group: addonv1alpha1.GroupName, Resource: "addondeploymentconfigs"},
				ConfigReferent:      referent, DesiredConfig: &addonv1alpha1.ConfigSpecHash{ConfigReferent: referent, SpecHash: "hash"},
			})
		}
	})
	f.agent()
	f.eventually(func() string {
		return unless(f.get("metrics").Status.Namespace == elsewhere, "the agent is to run in "+f.get("metrics").Status.Namespace)
	})
	f.eventually(func() string {
		return text(f.cluster.Get(t.Context(), client.ObjectKey{Namespace: elsewhere, Name: "metrics-hub-kubeconfig"}, &corev1.Secret{}))
	})
}

// TestNobodySigns: an add-on that asks for a certificate of a signer that nobody serves says so, and what else it asks for it has.
func TestNobodySigns(t *testing.T) {
	f := started(t)
	f.addOn("metrics", withoutRights, addonv1alpha1.RegistrationSpec{
		Type: addonv1alpha1.RegistrationCustomSigner,
		CustomSigner: &addonv1alpha1.CustomSignerRegistrationConfig{
			RegistrationConfig: addonv1alpha1.RegistrationConfig{SignerName: "example.com/nobody", Subject: addonv1alpha1.Subject{User: "collector"}},
			SigningCA:          addonv1alpha1.SigningCARef{Name: "nowhere"},
		},
	})
	f.agent()
	f.secret("metrics-hub-kubeconfig", "tls.crt")
	f.ahead.Store(int64(2 * time.Minute))
	f.expect("metrics", addonv1alpha1.ConditionClusterCertificateRotated, metav1.ConditionFalse, clusterv1.ReasonCertificateUpdateFailed)
	if c := meta.FindStatusCondition(f.get("metrics").Status.Conditions, addonv1alpha1.ConditionClusterCertificateRotated); !strings.Contains(c.Message, "signer example.com/nobody: nobody has answered request") || !strings.Contains(c.Message, "kubectl describe csr") {
		t.Errorf("the add-on says %q", c.Message)
	}
}
