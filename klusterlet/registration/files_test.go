package registration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/certificate"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// issue makes a self-signed certificate that was valid for an hour at now.
func issue(t *testing.T, user string, notAfter time.Time) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: user}, NotBefore: now.Add(-time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}

func TestValid(t *testing.T) {
	hub := hubEndpoint{name: "hub", server: "https://hub.example:6443", ca: []byte("ca")}
	user := rules.UserName("edge-1", "a1")
	certificate, key := issue(t, user, now.Add(time.Hour))
	_, otherKey := issue(t, user, now.Add(time.Hour))
	expired, expiredKey := issue(t, user, now)
	foreign, foreignKey := issue(t, rules.UserName("edge-2", "a1"), now.Add(time.Hour))
	for name, test := range map[string]struct {
		why              string
		kubeconfigOf     *hubEndpoint
		certificate, key []byte
		wrong            string // empty: valid
	}{
		"good":                 {why: "used as it is", kubeconfigOf: &hub, certificate: certificate, key: key},
		"nothing yet":          {why: "the first start", wrong: "no hub kubeconfig"},
		"no certificate":       {why: "stopped before it came", kubeconfigOf: &hub, wrong: "no certificate"},
		"expired":              {why: "to the second", kubeconfigOf: &hub, certificate: expired, key: expiredKey, wrong: "expired at"},
		"another's key":        {why: "files that were copied one by one", kubeconfigOf: &hub, certificate: certificate, key: otherKey, wrong: "cannot be used"},
		"of another cluster":   {why: "a volume that was cloned", kubeconfigOf: &hub, certificate: foreign, key: foreignKey, wrong: "is of system:open-cluster-management:edge-2:a1"},
		"another hub":          {why: "the bootstrap kubeconfig says where the hub is", kubeconfigOf: &hubEndpoint{name: "hub", server: "https://old.example", ca: hub.ca}, certificate: certificate, key: key, wrong: "leads to https://old.example"},
		"another authority":    {why: "the hub was made again", kubeconfigOf: &hubEndpoint{name: "hub", server: hub.server, ca: []byte("x")}, certificate: certificate, key: key, wrong: "another certificate authority"},
		"another proxy":        {why: "the way to the hub changed", kubeconfigOf: &hubEndpoint{name: "hub", server: hub.server, ca: hub.ca, proxy: "http://p"}, certificate: certificate, key: key, wrong: "proxy"},
		"another cluster name": {why: "OCM compares the kubeconfig's cluster too", kubeconfigOf: &hubEndpoint{name: "x", server: hub.server, ca: hub.ca}, certificate: certificate, key: key, wrong: "its cluster is x"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &files{dir: t.TempDir()}
			content := map[string][]byte{}
			if test.kubeconfigOf != nil {
				data, err := test.kubeconfigOf.kubeconfig(byCertificate)
				if err != nil {
					t.Fatal(err)
				}
				content[kubeconfigFile] = data
			}
			if test.certificate != nil {
				content[certificateFile], content[keyFile] = test.certificate, test.key
			}
			if err := f.put(t.Context(), content); err != nil {
				t.Fatal(err)
			}
			err := valid(f, hub, "edge-1", "a1", now)
			if (test.wrong == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%s: got %v, want an error about %q", test.why, err, test.wrong)
			}
		})
	}
}

// TestPairChangesTogether: after any number of changes certificate and key fit, and nothing of the former ones is left.
func TestPairChangesTogether(t *testing.T) {
	f := &files{dir: t.TempDir()}
	for range 3 {
		pair, key := issue(t, "x", now.Add(time.Hour))
		if err := f.put(t.Context(), map[string][]byte{certificateFile: pair, keyFile: key}); err != nil {
			t.Fatal(err)
		}
		if _, err := certificate.Of(f.get(certificateFile), f.get(keyFile)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 { // two links, the link to the folder, the folder
		t.Errorf("left behind: %v", entries)
	}
	target, err := os.Readlink(filepath.Join(f.dir, certificateFile))
	if err != nil || target != filepath.Join(current, certificateFile) {
		t.Errorf("%s leads to %q, %v", certificateFile, target, err)
	}
}

// TestSecret: the directory of an agent that was moved comes back from the Secret, and what others keep there stays.
func TestSecret(t *testing.T) {
	name := client.ObjectKey{Namespace: "open-cluster-management-agent", Name: "hub-kubeconfig-secret"}
	cluster := fake.NewClientBuilder().WithScheme(Scheme).WithObjects(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Data: map[string][]byte{"other": []byte("o")},
	}).Build()
	certificate, key := issue(t, "x", now.Add(time.Hour))
	first := &files{dir: t.TempDir(), secret: name, cluster: cluster}
	for _, content := range []map[string][]byte{
		{pendingKeyFile: key},
		{kubeconfigFile: []byte("k"), certificateFile: certificate, keyFile: key, agentNameFile: []byte("a1"), pendingKeyFile: nil},
	} {
		if err := first.put(t.Context(), content); err != nil {
			t.Fatal(err)
		}
	}
	second := &files{dir: filepath.Join(t.TempDir(), "new"), secret: name, cluster: cluster}
	if err := second.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, file := range allFiles {
		got[file] = string(second.get(file))
	}
	want := map[string]string{
		kubeconfigFile: "k", certificateFile: string(certificate), keyFile: string(key), agentNameFile: "a1", clusterNameFile: "", pendingKeyFile: "", bootstrapFile: "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	secret := &corev1.Secret{}
	if err := cluster.Get(t.Context(), name, secret); err != nil || string(secret.Data["other"]) != "o" {
		t.Errorf("what others keep is gone: %v", err)
	}
}

func TestRotationDue(t *testing.T) {
	leaf := &x509.Certificate{NotBefore: now, NotAfter: now.Add(100 * time.Hour)}
	if got := certificate.RenewalDue(leaf, 0.25); !got.Equal(now.Add(75 * time.Hour)) {
		t.Errorf("a quarter of its life is left at %s", got)
	}
}

// TestGoesOnWithoutBootstrap: an agent that has joined starts without the bootstrap kubeconfig, as long as its certificate is good.
func TestGoesOnWithoutBootstrap(t *testing.T) {
	user := rules.UserName("edge-1", "a1")
	for name, test := range map[string]struct {
		notAfter time.Time
		want     bool
	}{"good": {time.Now().Add(time.Hour), true}, "expired": {time.Now().Add(-time.Minute), false}} {
		certificate, key := issue(t, user, test.notAfter)
		kubeconfig, err := hubEndpoint{name: "hub", server: "https://hub.example:6443", ca: []byte("ca")}.kubeconfig(byCertificate)
		if err != nil {
			t.Fatal(err)
		}
		f := &files{dir: t.TempDir()}
		if err := f.put(t.Context(), map[string][]byte{kubeconfigFile: kubeconfig, certificateFile: certificate, keyFile: key}); err != nil {
			t.Fatal(err)
		}
		a := &Agent{BootstrapKubeconfig: filepath.Join(t.TempDir(), "gone")}
		a.state.cluster, a.state.agent = "edge-1", "a1"
		if err := a.join(t.Context(), f, nil); (err == nil) != test.want {
			t.Errorf("%s: %v", name, err)
		}
		if err := a.join(t.Context(), f, errRejoin); err == nil {
			t.Errorf("%s: a certificate that the hub does not take is used again", name)
		}
	}
}
