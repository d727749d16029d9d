package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/addon"
)

// TestRoleAddOnAlone: an agent with no other role, under the folder that another registration agent keeps, gives an add-on its credential of the
// hub, which works, and tells the hub of its lease.
func TestRoleAddOnAlone(t *testing.T) {
	cp := test.Clusters(t, 1)[0]
	a := newAgents(t, cp)
	c, err := client.New(cp.Config(), client.Options{Scheme: addon.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	cluster := a.options.ClusterName
	now := metav1.NewMicroTime(time.Now())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: rules.AddOnAgent("metrics")}}
	mca := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: "metrics"}, Spec: addonv1alpha1.ManagedClusterAddOnSpec{InstallNamespace: cluster}}
	for _, o := range []client.Object{
		account, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: "metrics"}, Spec: coordinationv1.LeaseSpec{RenewTime: &now}}, mca,
	} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	mca.Status.Registrations = []addonv1alpha1.RegistrationConfig{{SignerName: addonv1alpha1.KubeClientSigner}}
	mca.Status.Conditions = []metav1.Condition{rules.TokenReady(cluster, "metrics", account.UID)}
	mca.Status.Conditions[0].LastTransitionTime = metav1.Now()
	if err := c.Status().Update(t.Context(), mca); err != nil {
		t.Fatal(err)
	}
	stop, _ := a.start(func(o *Options) {
		o.Roles, o.LeaderElection, o.AddonAuth, o.AddonTokenSeconds, o.serving = []string{roleAddon}, false, rules.DriverToken, 600, nil
	})
	defer stop()
	secret := &corev1.Secret{}
	eventually(t, "the credential of the add-on", func() error {
		err := c.Get(t.Context(), client.ObjectKey{Namespace: cluster, Name: "metrics-hub-kubeconfig"}, secret)
		if err == nil && len(secret.Data["token"]) == 0 {
			err = errors.New("there is no token in it")
		}
		return err
	})
	if string(secret.Data["cluster-name"]) != cluster || len(secret.Data["kubeconfig"]) == 0 {
		t.Errorf("the Secret has cluster %q and a kubeconfig of %d bytes", secret.Data["cluster-name"], len(secret.Data["kubeconfig"]))
	}
	dir := t.TempDir() // mounted, as an add-on has it
	for key, value := range secret.Data {
		if err := os.WriteFile(filepath.Join(dir, key), value, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	as, err := client.New(config, client.Options{Scheme: addon.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	if err := as.Get(t.Context(), client.ObjectKeyFromObject(secret), secret.DeepCopy()); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), rules.AddOnTokenUser(cluster, "metrics")) {
		t.Errorf("with the credential: %v", err) // the hub knows the account, and has given it nothing
	}
	eventually(t, "the health of the add-on", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(mca), mca); err != nil {
			return err
		}
		for condition, reason := range map[string]string{
			addonv1alpha1.ConditionAvailable: addonv1alpha1.ReasonLeaseUpdated, addonv1alpha1.ConditionTokenRefreshed: addonv1alpha1.ReasonAddonTokenRefreshed,
		} {
			if c := meta.FindStatusCondition(mca.Status.Conditions, condition); c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason {
				return fmt.Errorf("%s is %+v", condition, c)
			}
		}
		return nil
	})
}
