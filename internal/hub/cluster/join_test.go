package cluster_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
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
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub/cluster"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/registration"
)

// TestJoin: the identity that Git names joins, a stranger and a second agent do not, and a person decides about them.
func TestJoin(t *testing.T) {
	h := started(t)
	joiner, stranger := h.joiner("joiner-a"), h.joiner("stranger-a")
	h.create(named("join-a", joiner), managed("join-b", acceptedCluster))
	h.expect("join-b", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue)
	h.create(work("join-b", "theirs"))
	first := h.agent("join-a", "first", joiner)
	hub := first.hub()
	h.expect("join-a", clusterv1.ManagedClusterConditionJoined, metav1.ConditionTrue)
	h.expect("join-a", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
	eventually(t, func() string {
		return unless(len(h.cluster("join-a").Spec.Taints) == 0, "an available cluster has taints")
	})
	var c *clusterv1.ManagedCluster
	set := &musterv1alpha1.APISet{}
	eventually(t, func() string { // a fact that could not be found out at first comes later than the others
		c = h.cluster("join-a")
		return missing(h, client.ObjectKey{Name: claim(c, musterv1alpha1.APISetClaim)}, set)
	})
	if !strings.HasPrefix(c.Status.Version.Kubernetes, "v1.") {
		t.Errorf("the version is %q", c.Status.Version.Kubernetes)
	}
	if !slices.ContainsFunc(set.Resources, func(r musterv1alpha1.APIResource) bool {
		return r.Kind == "Deployment" && r.Group == "apps" && r.Namespaced
	}) {
		t.Error("the APIs of the cluster lack Deployments")
	}

	h.reach(hub, "join-a", "join-b")

	second := h.agent("join-a", "second", joiner)
	foreign := h.agent("join-a", "first", stranger)
	eventually(t, func() string {
		c := meta.FindStatusCondition(h.cluster("join-a").Status.Conditions, rules.ConditionJoinRequest)
		return unless(c != nil && strings.Contains(c.Message, "second") && strings.Contains(c.Message, "stranger-a") &&
			strings.Contains(c.Message, "muster accept join-a"), "the cluster does not tell who waits")
	})
	for who, waits := range map[string]*agent{"second agent": second, "stranger": foreign} {
		eventually(t, func() string {
			return unless(waits.said("muster accept join-a"), "the "+who+" does not say what it waits for")
		})
		if waits.has("tls.crt") {
			t.Errorf("the %s has a certificate", who)
		}
	}
	strange := clientFor(t, foreign.bootstrap)
	if err := strange.List(t.Context(), &workv1.ManifestWorkList{}, client.InNamespace("join-a")); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger sees works: %v", err)
	}

	// A person lets the second agent in, and the hub, which hears of it, is faster with the approval. The stranger is nobody that
	// joins, and is not let in along.
	done, err := cluster.Accept(t.Context(), &slowApprover{h.Client, h}, "join-a", cluster.AcceptOptions{})
	if err != nil || done.Agent != "second" || len(done.Approved) != 1 {
		t.Fatalf("accepted %+v, %v", done, err)
	}
	second.hub()
	if foreign.has("tls.crt") {
		t.Error("the stranger was let in along")
	}
	if _, err := cluster.Accept(t.Context(), h, "join-a", cluster.AcceptOptions{}); !errors.Is(err, rules.ErrForeignRequester) {
		t.Errorf("only a stranger waits: %v", err)
	}
}

// slowApprover writes an approval when somebody else has already.
type slowApprover struct {
	client.Client
	h *hub
}

func (s *slowApprover) SubResource(name string) client.SubResourceClient {
	return &slowWriter{s.Client.SubResource(name), s.h}
}

type slowWriter struct {
	client.SubResourceClient
	h *hub
}

func (s *slowWriter) Update(ctx context.Context, o client.Object, opts ...client.SubResourceUpdateOption) error {
	eventually(s.h.t, func() string {
		now := &certificatesv1.CertificateSigningRequest{}
		if err := s.h.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
			return err.Error()
		}
		return unless(!rules.Unanswered(now), "the hub does not approve what a person let in")
	})
	return s.SubResourceClient.Update(ctx, o, opts...)
}

// reach makes sure that an agent has its rights, and no others.
func (h *hub) reach(agent client.Client, own, other string) {
	h.t.Helper()
	ctx := h.t.Context()
	h.create(work(own, "ours"))
	eventually(h.t, func() string {
		if err := agent.Get(ctx, client.ObjectKey{Namespace: own, Name: "ours"}, &workv1.ManifestWork{}); err != nil {
			return err.Error()
		}
		return ""
	})
	eventually(h.t, func() string { // another rule than that of its works, which the API server may learn later
		if err := agent.Get(ctx, client.ObjectKey{Name: own}, &corev1.Namespace{}); err != nil {
			return "its own namespace: " + err.Error()
		}
		return ""
	})
	itself := h.cluster(own)
	for what, err := range map[string]error{
		"another cluster's works": agent.List(ctx, &workv1.ManifestWorkList{}, client.InNamespace(other)),
		"another cluster":         agent.Get(ctx, client.ObjectKey{Name: other}, &clusterv1.ManagedCluster{}),
		"all clusters":            agent.List(ctx, &clusterv1.ManagedClusterList{}),
		"its own secrets":         agent.List(ctx, &corev1.SecretList{}, client.InNamespace(own)),
		"its labels":              agent.Update(ctx, changed(itself, func(c *clusterv1.ManagedCluster) { c.Labels["env"] = "prod" })),
		"its taints": agent.Update(ctx, changed(itself, func(c *clusterv1.ManagedCluster) {
			c.Spec.Taints = append(c.Spec.Taints, clusterv1.Taint{Key: "x", Effect: clusterv1.TaintEffectNoSelect})
		})),
		"who may join": agent.Update(ctx, changed(itself, func(c *clusterv1.ManagedCluster) { c.Annotations[musterv1alpha1.JoinIdentityAnnotation] = "me" })),
	} {
		if !apierrors.IsForbidden(err) && !apierrors.IsConflict(err) {
			h.t.Errorf("an agent may not touch %s: %v", what, err)
		}
	}
	eventually(h.t, func() string {
		err := agent.Update(ctx, changed(h.cluster(own), func(c *clusterv1.ManagedCluster) {
			c.Spec.ManagedClusterClientConfigs = []clusterv1.ClientConfig{{URL: "https://edge.example"}}
		}))
		return unless(err == nil, "an agent tells its own address")
	})
}

func changed(c *clusterv1.ManagedCluster, change func(*clusterv1.ManagedCluster)) *clusterv1.ManagedCluster {
	c = c.DeepCopy()
	change(c)
	return c
}

// TestAccept: a cluster that nobody named comes by itself, waits, and is let in by a person; two agents of its name are not
// told apart by themselves.
func TestAccept(t *testing.T) {
	h := started(t)
	token := h.joiner("system:bootstrap:abcdef")
	one := h.agent("walk-in", "one", token)
	eventually(t, func() string { return unless(one.said("muster accept walk-in"), "it does not say what it waits for") })
	h.expect("walk-in", rules.ConditionJoinRequest, metav1.ConditionFalse)
	if h.cluster("walk-in").Spec.HubAcceptsClient {
		t.Error("nobody accepted it")
	}
	two := h.agent("walk-in", "two", token)
	eventually(t, func() string { return unless(two.said("muster accept walk-in"), "the second does not wait") })
	if _, err := cluster.Accept(t.Context(), h, "walk-in", cluster.AcceptOptions{}); !errors.Is(err, rules.ErrSeveralAgents) {
		t.Fatalf("two agents of one name: %v", err)
	}
	two.stop()
	h.dropRequests("walk-in", "two")
	done, err := cluster.Accept(t.Context(), h, "walk-in", cluster.AcceptOptions{})
	if err != nil || done.Agent != "one" || !done.Changed {
		t.Fatalf("accepted %+v, %v", done, err)
	}
	h.expect("walk-in", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
	eventually(t, func() string {
		return unless(meta.FindStatusCondition(h.cluster("walk-in").Status.Conditions, rules.ConditionJoinRequest) == nil, "nothing waits any more")
	})
	if _, err := cluster.Accept(t.Context(), h, "nobody", cluster.AcceptOptions{}); err == nil || !strings.Contains(err.Error(), "no cluster nobody") {
		t.Errorf("a cluster that is not there: %v", err)
	}
}

// TestDenied: a denied cluster loses its rights while its agent runs, and has them again when it is accepted again.
func TestDenied(t *testing.T) {
	h := started(t)
	joiner := h.joiner("joiner-d")
	h.create(named("denied", joiner))
	a := h.agent("denied", "first", joiner)
	hub := a.hub()
	h.expect("denied", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
	h.accept("denied", false)
	eventually(t, func() string {
		err := hub.List(t.Context(), &workv1.ManifestWorkList{}, client.InNamespace("denied"))
		return unless(apierrors.IsForbidden(err), "a denied cluster sees its works")
	})
	h.expect("denied", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionUnknown) // its lease stops
	h.accept("denied", true)
	h.expect("denied", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
}

// TestDetached: a cluster that was taken from the hub stays away with what its agent has, and joins again, though the agent
// runs on and its certificate is good, when the agent is given a new bootstrap kubeconfig.
func TestDetached(t *testing.T) {
	h := started(t)
	joiner := h.joiner("system:bootstrap:detach")
	a := h.agent("detached", "first", joiner)
	h.letIn("detached")
	h.expect("detached", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
	h.mark("detached")
	before := h.cluster("detached").UID
	mustDelete(t, h, managed("detached"))
	eventually(t, func() string {
		err := h.Get(t.Context(), client.ObjectKey{Name: "detached"}, &clusterv1.ManagedCluster{})
		return unless(apierrors.IsNotFound(err), "the cluster is still there")
	})
	eventually(t, func() string {
		return unless(a.said("muster join detached"), "the agent does not say how it may come back")
	})
	if err := h.Get(t.Context(), client.ObjectKey{Name: "detached"}, &clusterv1.ManagedCluster{}); !apierrors.IsNotFound(err) {
		t.Fatalf("the agent came back uninvited: %v", err)
	}
	namespace := &corev1.Namespace{}
	mustGet(t, h, client.ObjectKey{Name: "detached"}, namespace)
	if namespace.Annotations[musterv1alpha1.FirstPlanAnnotation] != "" {
		t.Error("the namespace says that all works are there: a cluster that joins again would lose what was kept")
	}

	again := h.joiner("system:bootstrap:again")
	if err := os.WriteFile(a.BootstrapKubeconfig, bootstrapKubeconfig(t, again), 0o600); err != nil {
		t.Fatal(err)
	}
	h.letIn("detached")
	h.expect("detached", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
	if h.cluster("detached").UID == before {
		t.Error("it is the cluster of before")
	}
}

// letIn accepts a cluster when its agent has asked.
func (h *hub) letIn(name string) {
	h.t.Helper()
	eventually(h.t, func() string {
		done, err := cluster.Accept(h.t.Context(), h, name, cluster.AcceptOptions{})
		switch {
		case err != nil:
			return err.Error()
		case done.Agent == "":
			return "its agent has not asked"
		}
		return ""
	})
}

// mark is what the hub puts on a cluster's namespace after the first complete plan.
func (h *hub) mark(cluster string) {
	h.t.Helper()
	o := namespace(cluster)
	mustGet(h.t, h, client.ObjectKeyFromObject(o), o)
	o.Annotations = map[string]string{musterv1alpha1.FirstPlanAnnotation: "41aa9d0"}
	if err := h.Update(h.t.Context(), o); err != nil {
		h.t.Fatal(err)
	}
}

func bootstrapKubeconfig(t *testing.T, joiner *rest.Config) []byte {
	t.Helper()
	cfg := rest.CopyConfig(joiner)
	cfg.Username = ""
	kubeconfig, err := controlplane.Kubeconfig("hub", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// TestBadCertificate: an agent whose certificate cannot be used joins again by itself, with the key that the hub knows.
func TestBadCertificate(t *testing.T) {
	h := started(t)
	for name, test := range map[string]struct {
		why  string
		cert func(user string) *rest.Config
		says string
	}{
		"expired": {
			why: "a cluster that was switched off for long",
			cert: func(user string) *rest.Config {
				return h.certificate(-time.Hour, user, rules.Organizations("bad-expired")...)
			},
			says: "expired at",
		},
		"foreign": {
			why:  "the hub has another authority than the one that signed",
			cert: func(user string) *rest.Config { return foreignCertificate(t, user) },
			says: "another authority",
		},
		"ageing": {
			why: "less than a fifth of its life is left: renewed, without the bootstrap identity",
			cert: func(user string) *rest.Config {
				return h.certificate(5*time.Minute, user, rules.Organizations("bad-ageing")...)
			},
			says: "the certificate is renewed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hub{Client: h.Client, ControlPlane: h.ControlPlane, t: t}
			cl := "bad-" + name
			cfg := test.cert(rules.UserName(cl, "first"))
			joiner := h.joiner("joiner-" + name)
			c := named(cl, joiner)
			rules.Record(c, rules.Request{Agent: "first", Key: keyOf(t, cfg.CertData)})
			h.create(c)
			dir := t.TempDir()
			h.store(dir, cl, cfg)
			a := h.agentIn(dir, cl, "first", joiner)
			eventually(t, func() string { return unless(a.said(test.says), test.why+": the agent does not say "+test.says) })
			eventually(t, func() string {
				now, err := os.ReadFile(filepath.Join(dir, "tls.crt"))
				return unless(err == nil && string(now) != string(cfg.CertData), test.why+": the certificate is still the bad one")
			})
			h.expect(cl, clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
			renewed := a.hub()
			eventually(t, func() string {
				err := renewed.List(t.Context(), &workv1.ManifestWorkList{}, client.InNamespace(cl))
				return unless(err == nil, test.why+": the new certificate is no good")
			})
		})
	}
}

// joiner makes a user that may join, and returns its configuration.
func (h *hub) joiner(name string) *rest.Config {
	h.t.Helper()
	cfg, err := h.User(name)
	if err != nil {
		h.t.Fatal(err)
	}
	cfg.Username = name // for named; removed before use
	h.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap:" + name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: rules.BootstrapRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
	})
	return cfg
}

// named is a cluster as Git names it: accepted, and with the identity that may join.
func named(name string, joiner *rest.Config) *clusterv1.ManagedCluster {
	return managed(name, acceptedCluster, func(c *clusterv1.ManagedCluster) {
		c.Annotations = map[string]string{musterv1alpha1.JoinIdentityAnnotation: joiner.Username}
		c.Spec.LeaseDurationSeconds = 1
	})
}

// agent is a running klusterlet, registration only, whose cluster is the hub itself.
type agent struct {
	*registration.Agent
	t         *testing.T
	bootstrap *rest.Config
	stop      func()

	mu    sync.Mutex
	lines []string
}

func (h *hub) agent(cluster, name string, joiner *rest.Config) *agent {
	h.t.Helper()
	return h.agentIn(h.t.TempDir(), cluster, name, joiner)
}

func (h *hub) agentIn(dir, cluster, name string, joiner *rest.Config) *agent {
	h.t.Helper()
	cfg := rest.CopyConfig(joiner)
	cfg.Username = ""
	file := filepath.Join(h.t.TempDir(), "bootstrap")
	if err := os.WriteFile(file, bootstrapKubeconfig(h.t, joiner), 0o600); err != nil {
		h.t.Fatal(err)
	}
	a := &agent{t: h.t, bootstrap: cfg, Agent: &registration.Agent{
		Cluster: h.Config(), BootstrapKubeconfig: file, HubDir: dir, ClusterName: cluster, AgentName: name,
		Periods: registration.Periods{
			Health: 500 * time.Millisecond, HealthRetry: 50 * time.Millisecond, HealthGrace: time.Second,
			Certificate: time.Second, Retry: 100 * time.Millisecond,
		},
	}}
	logger := funcr.New(func(_, args string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.lines = append(a.lines, args)
	}, funcr.Options{})
	ctx, cancel := context.WithCancel(logr.NewContext(context.Background(), logger))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("agent %s of %s: %v", name, cluster, err)
		}
		if h.t.Failed() {
			h.t.Logf("agent %s of %s said:\n%s", name, cluster, strings.Join(a.lines, "\n"))
		}
	})
	h.t.Cleanup(func() {
		a.stop()
		h.forget(cluster)
	})
	return a
}

// forget removes the ManagedCluster that an agent may have made, and its requests.
func (h *hub) forget(cluster string) {
	ctx := context.Background()
	_ = h.Delete(ctx, managed(cluster))
	_ = h.DeleteAllOf(ctx, &certificatesv1.CertificateSigningRequest{}, client.MatchingLabels{clusterv1.ClusterNameLabelKey: cluster})
}

func (h *hub) dropRequests(cluster, agent string) {
	h.t.Helper()
	var list certificatesv1.CertificateSigningRequestList
	if err := h.List(h.t.Context(), &list, client.MatchingLabels{clusterv1.ClusterNameLabelKey: cluster}); err != nil {
		h.t.Fatal(err)
	}
	for i := range list.Items {
		if r, err := rules.ParseRequest(&list.Items[i]); err == nil && r.Agent == agent {
			mustDelete(h.t, h, &list.Items[i])
		}
	}
}

// said is whether the agent logged a text.
func (a *agent) said(text string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.lines, func(line string) bool { return strings.Contains(line, text) })
}

func (a *agent) has(file string) bool {
	_, err := os.Stat(filepath.Join(a.HubDir, file))
	return err == nil
}

// hub waits until the agent is in and returns a client with its certificate.
func (a *agent) hub() client.Client {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	hub, err := a.WaitForHubConfig(ctx)
	if err != nil {
		a.t.Fatalf("agent %s never joined: %v\n%s", a.AgentName, err, strings.Join(a.lines, "\n"))
	}
	if hub.Cluster != a.ClusterName || hub.Agent != a.AgentName || hub.Hash != registration.HubHash(hub.Config.Host) {
		a.t.Errorf("the hub's configuration is of %+v", hub)
	}
	return clientFor(a.t, hub.Config)
}

func claim(c *clusterv1.ManagedCluster, name string) string {
	for _, claim := range c.Status.ClusterClaims {
		if claim.Name == name {
			return claim.Value
		}
	}
	return ""
}

func (h *hub) certificate(valid time.Duration, name string, groups ...string) *rest.Config {
	h.t.Helper()
	cfg, err := h.UserFor(valid, name, groups...)
	if err != nil {
		h.t.Fatal(err)
	}
	return cfg
}

// store writes a hub's directory as OCM's agent leaves it, plain files without links.
func (h *hub) store(dir, cluster string, cfg *rest.Config) {
	h.t.Helper()
	kubeconfig := strings.NewReplacer("SERVER", h.URL(), "CADATA", encode(h.CA())).Replace(`
apiVersion: v1
kind: Config
clusters: [{name: hub, cluster: {server: SERVER, certificate-authority-data: CADATA}}]
users: [{name: default-auth, user: {client-certificate: tls.crt, client-key: tls.key}}]
contexts: [{name: default-context, context: {cluster: hub, user: default-auth, namespace: configuration}}]
current-context: default-context
`)
	for name, data := range map[string]string{
		"kubeconfig": kubeconfig, "tls.crt": string(cfg.CertData), "tls.key": string(cfg.KeyData), "cluster-name": cluster, "agent-name": "first",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
}

func keyOf(t *testing.T, cert []byte) string {
	t.Helper()
	block, _ := pem.Decode(cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return rules.KeyOf(leaf.RawSubjectPublicKeyInfo)
}

// foreignCertificate is signed by an authority that the hub does not know.
func foreignCertificate(t *testing.T, user string) *rest.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: user},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{TLSClientConfig: rest.TLSClientConfig{
		CertData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyData:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}),
	}}
}
