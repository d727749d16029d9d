package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/access"
	"github.com/muster-io/muster/klusterlet/proxy"
)

// TestProxy: people reach a cluster's API server through the hub, with a certificate and with a token of the hub, each with the rights
// that the cluster gives them and no others; hub and agent have the rights of production on the hub.
func TestProxy(t *testing.T) {
	t.Parallel()
	listening := make(chan net.Addr, 1)
	f := newFleet(t, "", func(o *Options) {
		o.Controllers, o.LocalRepositories = []string{"clusterpermission"}, nil
		o.ProxyAddress, o.proxyListening = "127.0.0.1:0", func(a net.Addr) { listening <- a }
	})
	f.create(&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
	spoke := f.join("one")
	admin := kubernetes.NewForConfigOrDie(spoke.Config())
	hub := kubernetes.NewForConfigOrDie(f.cp.Config())

	f.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reach-one"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{clusterv1.GroupName}, Resources: []string{"managedclusters/proxy"}, ResourceNames: []string{"one"}, Verbs: []string{"get"}},
	}})
	f.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reach-one"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reach-one"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "proxy-shop"}, {Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "bot"}},
	})
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "proxy-"}}
	namespace, err := admin.CoreV1().Namespaces().Create(f.ctx, namespace, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	allow(t, admin, namespace.Name)

	agentConfig, err := f.cp.User("system:open-cluster-management:one:a1", "system:open-cluster-management:one", "system:open-cluster-management:managed-clusters")
	if err != nil {
		t.Fatal(err)
	}
	agent := &proxy.Agent{Hub: agentConfig, Spoke: spoke.Config(), Look: 100 * time.Millisecond, Retry: 100 * time.Millisecond}
	stop := f.inBackground("the tunnel of one", agent.Run)
	defer func() { stop() }()

	<-listening
	reach := func(user *rest.Config) kubernetes.Interface {
		t.Helper()
		config := &rest.Config{}
		f.eventually(func() string { // anybody whom the hub knows finds the proxy
			where, err := kubernetes.NewForConfigOrDie(user).CoreV1().ConfigMaps("muster-system").Get(f.ctx, access.ConfigMap, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			config.Host, config.CAData = where.Data[access.URLKey]+"/one", []byte(where.Data[access.CAKey])
			return ""
		})
		config.CertData, config.KeyData, config.BearerToken = user.CertData, user.KeyData, user.BearerToken
		return kubernetes.NewForConfigOrDie(config)
	}
	person := func(name string, groups ...string) *rest.Config {
		config, err := f.cp.User(name, groups...)
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	jane, joe := reach(person("jane", "proxy-shop")), reach(person("joe"))
	f.eventually(func() string {
		_, err := jane.CoreV1().ConfigMaps(namespace.Name).List(f.ctx, metav1.ListOptions{})
		return message(err)
	})

	// A watch tells what happens on the cluster.
	watch, err := jane.CoreV1().ConfigMaps(namespace.Name).Watch(f.ctx, metav1.ListOptions{FieldSelector: "metadata.name=news"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if _, err := jane.CoreV1().ConfigMaps(namespace.Name).Create(f.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "news"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case event := <-watch.ResultChan():
		if news, ok := event.Object.(*corev1.ConfigMap); !ok || news.Name != "news" {
			t.Errorf("%v", event)
		}
	case <-time.After(patience):
		t.Fatal("the watch says nothing")
	}

	for what, refused := range map[string]struct {
		err  error
		says string
	}{
		"jane reads Secrets":      {second(jane.CoreV1().Secrets(namespace.Name).List(f.ctx, metav1.ListOptions{})), `User "jane" cannot list resource "secrets"`},
		"joe reaches the cluster": {second(joe.CoreV1().ConfigMaps(namespace.Name).List(f.ctx, metav1.ListOptions{})), `user "joe" cannot get managedclusters/proxy one on the hub`},
	} {
		if !apierrors.IsForbidden(refused.err) || !strings.Contains(refused.err.Error(), refused.says) {
			t.Errorf("%s: %v", what, refused.err)
		}
	}

	// A service account of the hub is another one than the cluster's of its name.
	f.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bot"}})
	token, err := hub.CoreV1().ServiceAccounts("default").CreateToken(f.ctx, "bot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	botConfig := f.cp.Config()
	botConfig.CertData, botConfig.KeyData, botConfig.BearerToken = nil, nil, token.Status.Token
	bot := reach(botConfig)
	if _, err := bot.CoreV1().ConfigMaps(namespace.Name).List(f.ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `"cluster:hub:system:serviceaccount:default:bot"`) {
		t.Errorf("a service account of the hub: %v", err)
	}

	// An agent that has ended leaves no way; one that comes back opens it again.
	stop()
	f.eventually(func() string {
		if _, err := jane.CoreV1().ConfigMaps(namespace.Name).List(f.ctx, metav1.ListOptions{}); !apierrors.IsServiceUnavailable(err) {
			return "without an agent: " + message(err)
		}
		return ""
	})
	stop = f.inBackground("the tunnel of one", agent.Run)
	f.eventually(func() string {
		_, err := jane.CoreV1().ConfigMaps(namespace.Name).List(f.ctx, metav1.ListOptions{})
		return message(err)
	})
}

// allow gives jane, on the cluster, ConfigMaps of a namespace.
func allow(t *testing.T, admin kubernetes.Interface, namespace string) {
	t.Helper()
	ctx := context.Background()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "jane"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list", "watch", "create"}}}}
	if _, err := admin.RbacV1().Roles(namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "jane"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "jane"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "jane"}},
	}
	if _, err := admin.RbacV1().RoleBindings(namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func message(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func second[T any](_ T, err error) error { return err }
