package main

import (
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
	klusterlet "github.com/muster-io/muster/klusterlet/registration"
)

// joinsByRequest: with its own rights alone the hub takes in a cluster that Git names, from the request for a certificate to
// the works; the agent is the klusterlet's.
func joinsByRequest(f *theFleet) {
	f.push(`
-- clusters/three.yaml --
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata:
  name: three
  labels: {cluster.open-cluster-management.io/clusterset: edge, tier: edge}
  annotations: {muster.dev/join-identity: joiner}
spec: {hubAcceptsClient: true}
`)
	joiner, err := f.cp.User("joiner")
	if err != nil {
		f.t.Fatal(err)
	}
	f.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "joiner"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: registration.BootstrapRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "joiner"}},
	})
	kubeconfig, err := controlplane.Kubeconfig("hub", joiner)
	if err != nil {
		f.t.Fatal(err)
	}
	file := filepath.Join(f.state, "joiner")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		f.t.Fatal(err)
	}
	agent := &klusterlet.Agent{
		Cluster: f.spokes["one"].Config(), BootstrapKubeconfig: file, HubDir: f.t.TempDir(), ClusterName: "three", AgentName: "a1",
		Periods: klusterlet.Periods{Health: time.Second, Retry: 100 * time.Millisecond},
	}
	stop := f.inBackground("the agent of three", agent.Run)
	defer stop()
	f.eventually(func() string {
		c := f.cluster("three")
		if !meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable) {
			return "three has not joined"
		}
		if len(f.works("three")) == 0 {
			return "three has no work"
		}
		return ""
	})
}

// isNoAdministrator: what the hub does not need, its account may not do.
func isNoAdministrator(f *theFleet) {
	c, err := client.New(f.hubConfig(), client.Options{Scheme: Scheme()})
	if err != nil {
		f.t.Fatal(err)
	}
	as := func(user string) client.Client {
		config := f.hubConfig()
		config.Impersonate = rest.ImpersonationConfig{UserName: user}
		c, err := client.New(config, client.Options{Scheme: Scheme(), Mapper: c.RESTMapper()})
		if err != nil {
			f.t.Fatal(err)
		}
		return c
	}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	account := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: registration.SystemNamespace, Name: hub.Account}}
	bound := func(role string) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{
			ObjectMeta: named("more"), Subjects: account, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}
	}
	ctx := f.ctx
	for what, err := range map[string]error{
		"read a Secret of a team":         c.Get(ctx, client.ObjectKey{Namespace: "retail", Name: "any"}, &corev1.Secret{}),
		"list Secrets":                    c.List(ctx, &corev1.SecretList{}, client.InNamespace(registration.SystemNamespace)),
		"act as an account of a team":     as("system:serviceaccount:retail:default").Get(ctx, client.ObjectKey{Name: "retail"}, &corev1.Namespace{}),
		"act as a controller":             as("system:serviceaccount:kube-system:namespace-controller").Get(ctx, client.ObjectKey{Name: "retail"}, &corev1.Namespace{}),
		"act as a person":                 as("admin").Get(ctx, client.ObjectKey{Name: "retail"}, &corev1.Namespace{}),
		"make itself an administrator":    c.Create(ctx, bound("cluster-admin")),
		"read all Secrets by a binding":   c.Create(ctx, bound(hub.RepositoryRole)),
		"grant what it does not hold":     c.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: named("more"), Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}}),
		"run a Pod":                       c.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "x"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}}}),
		"delete a namespace":              c.Delete(ctx, &corev1.Namespace{ObjectMeta: named("retail")}),
		"delete a cluster":                c.Delete(ctx, &clusterv1.ManagedCluster{ObjectMeta: named("one")}),
		"write what a repository defines": c.Create(ctx, &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "x"}}),
		"give itself a token":             c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: registration.SystemNamespace, Name: "root"}}, &authenticationv1.TokenRequest{}),
	} {
		if !apierrors.IsForbidden(err) {
			f.t.Errorf("the hub may %s: %v", what, err)
		}
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Group: certificatesv1.GroupName, Resource: "signers", Verb: "approve", Name: certificatesv1.KubeletServingSignerName,
	}}}
	if err := c.Create(ctx, review); err != nil || review.Status.Allowed {
		f.t.Errorf("the hub may approve the certificates of servers: %v, %v", review.Status.Allowed, err)
	}
	key := client.ObjectKey{Namespace: registration.SystemNamespace, Name: "any"}
	if err := c.Get(ctx, key, &corev1.Secret{}); !apierrors.IsNotFound(err) {
		f.t.Errorf("the hub cannot look for the Secret of a repository in its own namespace: %v", err)
	}
}
