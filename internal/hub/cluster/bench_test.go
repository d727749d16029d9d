package cluster_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/controlplane"
	hubrights "github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/registration"
)

const (
	benchWriters = 16  // of the bare client, at once
	benchRatio   = 2.5 // how long the hub may take, of the bare client's time
)

// BenchmarkAccept is a hub that starts where CLUSTERS clusters, 500 by default, wait to be accepted, each with the signing request of
// its agent, until the last one has its namespace, rights, lease, status and approval. The floor is a bare client that writes the same
// objects to the same API server.
func BenchmarkAccept(b *testing.B) {
	n := 500
	if text := os.Getenv("CLUSTERS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	f := newAcceptance(b)
	var bare, hub time.Duration
	rounds := 0
	for b.Loop() {
		rounds++
		hub += f.hub(b, fmt.Sprintf("hub-%d", rounds), n)
		bare += f.bare(b, fmt.Sprintf("bare-%d", rounds), n)
	}
	b.ReportMetric(bare.Seconds()/float64(rounds), "bare-s")
	b.ReportMetric(hub.Seconds()/float64(rounds), "hub-s")
	b.ReportMetric(hub.Seconds()/bare.Seconds(), "hub/bare")
	b.ReportMetric(f.counts.each(n*rounds), "requests/cluster")
	fmt.Fprintf(os.Stderr, "    requests of the hub for each of %d clusters: %s\n", n, f.counts.text(n*rounds))
	if ratio := hub.Seconds() / bare.Seconds(); ratio > benchRatio {
		b.Errorf("the hub takes %.2f times as long as a bare client, it may take %.1f times", ratio, benchRatio)
	}
}

// acceptance is an API server to which clusters ask to be let in.
type acceptance struct {
	cp     *controlplane.ControlPlane
	config *rest.Config // of the hub's own account, whose rights the API server looks at
	admin  client.Client
	user   string // who asks
	counts counts // of the hub's requests
}

// counts are requests by what they do.
type counts struct {
	mu sync.Mutex
	of map[string]int
}

// wrap counts what goes through a transport.
func (c *counts) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		what := r.Method
		for _, resource := range []string{"namespaces", "managedclusters", "leases", "clusterroles", "clusterrolebindings", "rolebindings", "certificatesigningrequests", "managedclustersets", "events"} {
			if slices.Contains(path, resource) {
				what = r.Method + " " + resource // the innermost comes last
			}
		}
		if last := path[len(path)-1]; last == "status" || last == "approval" {
			what += "/" + last
		}
		c.mu.Lock()
		if c.of == nil {
			c.of = map[string]int{}
		}
		c.of[what]++
		c.mu.Unlock()
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (c *counts) each(clusters int) float64 {
	total := 0
	for _, n := range c.of {
		total += n
	}
	return float64(total) / float64(clusters)
}

func (c *counts) text(clusters int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(c.of)) {
		parts = append(parts, fmt.Sprintf("%s %.2f", what, float64(c.of[what])/float64(clusters)))
	}
	return strings.Join(parts, ", ")
}

func newAcceptance(b *testing.B) *acceptance {
	b.Helper()
	f := &acceptance{cp: hubs.Borrow(b)}
	admin := rest.CopyConfig(f.cp.Config())
	admin.QPS = -1
	f.admin = clientForBench(b, admin)
	hubAccount(b, f.cp, f.admin)
	var err error
	if f.config, err = f.cp.User(hubrights.User, hubrights.Groups()...); err != nil {
		b.Fatal(err)
	}
	f.config.QPS = -1
	review := &authenticationv1.SelfSubjectReview{}
	if err := f.admin.Create(b.Context(), review); err != nil {
		b.Fatal(err)
	}
	f.user = review.Status.UserInfo.Username
	return f
}

func clientForBench(b *testing.B, config *rest.Config) client.Client {
	b.Helper()
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// each does something for n clusters, some at once, and says how long it took.
func each(b *testing.B, n int, do func(ctx context.Context, i int) error) time.Duration {
	b.Helper()
	began := time.Now()
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(benchWriters)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// ask creates clusters, and the requests of their agents. It is not measured.
func (f *acceptance) ask(b *testing.B, prefix string, n int) (clusters []*clusterv1.ManagedCluster, requests []*certificatesv1.CertificateSigningRequest) {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	clusters, requests = make([]*clusterv1.ManagedCluster, n), make([]*certificatesv1.CertificateSigningRequest, n)
	each(b, n, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("%s-%04d", prefix, i)
		clusters[i] = managed(name, acceptedCluster, func(c *clusterv1.ManagedCluster) {
			c.Annotations = map[string]string{musterv1alpha1.JoinIdentityAnnotation: f.user}
		})
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{
			CommonName: registration.UserName(name, "agent"), Organization: registration.Organizations(name),
		}}, key)
		if err != nil {
			return err
		}
		requests[i] = &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{clusterv1.ClusterNameLabelKey: name}},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientSignerName,
				Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature},
			},
		}
		if err := f.admin.Create(ctx, requests[i]); err != nil {
			return err
		}
		return f.admin.Create(ctx, clusters[i])
	})
	return clusters, requests
}

// bare writes what the hub would, and nothing more.
func (f *acceptance) bare(b *testing.B, prefix string, n int) time.Duration {
	b.Helper()
	clusters, requests := f.ask(b, prefix, n)
	return each(b, n, func(ctx context.Context, i int) error {
		c := clusters[i]
		objects := []client.Object{
			registration.WantNamespace(c.Name), registration.WantClusterRole(c.Name, true), registration.WantClusterRoleBinding(c.Name),
		}
		for _, binding := range registration.WantRoleBindings(c.Name) {
			objects = append(objects, binding)
		}
		for _, o := range append(objects, registration.WantLease(c, time.Now())) {
			if err := f.admin.Create(ctx, o); err != nil {
				return err
			}
		}
		base := c.DeepCopy()
		c.Annotations[registration.JoinedAgentAnnotation], c.Annotations[registration.JoinedKeyAnnotation] = "agent", "key"
		if err := f.admin.Patch(ctx, c, client.MergeFrom(base)); err != nil {
			return err
		}
		base = c.DeepCopy()
		c.Labels = map[string]string{clusterv1beta2.ClusterSetLabel: clusterv1beta2.DefaultClusterSet}
		controllerutil.AddFinalizer(c, clusterv1.ResourceCleanupFinalizer)
		controllerutil.AddFinalizer(c, clusterv1.ManagedClusterFinalizer)
		c.Spec.Taints = registration.WantTaints(c, registration.NoDoubt, time.Now())
		if err := f.admin.Patch(ctx, c, client.MergeFrom(base)); err != nil {
			return err
		}
		base = c.DeepCopy()
		meta.SetStatusCondition(&c.Status.Conditions, *registration.Accepted(c, nil))
		if err := f.admin.Status().Patch(ctx, c, client.MergeFrom(base)); err != nil {
			return err
		}
		requests[i].Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: registration.ApprovedReason, Message: "bench",
		}}
		return f.admin.SubResource("approval").Update(ctx, requests[i])
	})
}

// hub runs the controllers until all clusters are accepted.
func (f *acceptance) hub(b *testing.B, prefix string, n int) time.Duration {
	b.Helper()
	f.ask(b, prefix, n)
	config := rest.CopyConfig(f.config)
	config.Wrap(f.counts.wrap)
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: server.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: new(true)}})
	if err != nil {
		b.Fatal(err)
	}
	if err := cluster.Setup(mgr, cluster.Options{}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- mgr.Start(ctx) }()
	for f.waiting(b, prefix) > 0 {
		time.Sleep(250 * time.Millisecond)
	}
	took := time.Since(began)
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	return took
}

// waiting counts what is not done yet.
func (f *acceptance) waiting(b *testing.B, prefix string) (n int) {
	b.Helper()
	var clusters clusterv1.ManagedClusterList
	var requests certificatesv1.CertificateSigningRequestList
	var leases coordinationv1.LeaseList
	for _, list := range []client.ObjectList{&clusters, &requests, &leases} {
		if err := f.admin.List(b.Context(), list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}); err != nil {
			b.Fatal(err)
		}
	}
	leased := map[string]bool{}
	for i := range leases.Items {
		leased[leases.Items[i].Namespace] = true
	}
	for i := range clusters.Items {
		c := &clusters.Items[i]
		if !meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) || !leased[c.Name] {
			n++
		}
	}
	for i := range requests.Items {
		if registration.Unanswered(&requests.Items[i]) {
			n++
		}
	}
	return n
}
