package addon

import (
	"context"
	"crypto/x509"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// TestConversionOfReplicas: the API server trusts each replica behind the Service, also while they change to another authority.
func TestConversionOfReplicas(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := definitionsOf(t)
	replicas := []*Conversion{{Client: c, Reader: c, Service: "muster-system/conversion"}, {Client: c, Reader: c, Service: "muster-system/conversion"}}
	see := func(r *Conversion) {
		t.Helper()
		if err := r.look(ctx, "[::]:8447"); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range replicas {
		if r.NeedLeaderElection() {
			t.Fatal("a standby does not convert")
		}
		see(r)
	}
	trusted(t, c, replicas...)
	if err := c.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: registration.SystemNamespace, Name: hub.ConversionSecret}}); err != nil {
		t.Fatal(err)
	}
	before := string(replicas[0].used.CA)
	see(replicas[0])
	if string(replicas[0].used.CA) == before {
		t.Error("it keeps the authority whose Secret is gone")
	}
	trusted(t, c, replicas...)
	see(replicas[1])
	if string(replicas[1].used.CA) != string(replicas[0].used.CA) {
		t.Error("the replicas have different authorities")
	}
	trusted(t, c, replicas...)
	see(replicas[1])
	trusted(t, c, replicas...)
}

// TestConversionIsServed: who installs the definitions again takes the other version out of service until the hub looks.
func TestConversionIsServed(t *testing.T) {
	t.Parallel()
	c := definitionsOf(t)
	conversion := &Conversion{Client: c, Reader: c}
	for range 2 {
		if err := conversion.look(t.Context(), "127.0.0.1:4711"); err != nil {
			t.Fatal(err)
		}
		for _, name := range Converted {
			crd := definitionNamed(t, c, name)
			if !crd.Spec.Versions[1].Served {
				t.Errorf("%s: v1beta1 is not served", name)
			}
			if url := crd.Spec.Conversion.Webhook.ClientConfig.URL; url == nil || *url != "https://127.0.0.1:4711/convert" {
				t.Errorf("%s: converted at %v", name, url)
			}
			crd.Spec.Versions[1].Served, crd.Spec.Conversion = false, &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
			if err := c.Update(t.Context(), crd); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// trusted proves that the definitions' bundles vouch for what each replica shows.
func trusted(t *testing.T, c client.Client, replicas ...*Conversion) {
	t.Helper()
	for _, name := range Converted {
		crd := definitionNamed(t, c, name)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(crd.Spec.Conversion.Webhook.ClientConfig.CABundle)
		for i, r := range replicas {
			shown, err := r.certificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := shown.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "conversion.muster-system.svc"}); err != nil {
				t.Errorf("%s does not trust replica %d: %v", name, i, err)
			}
		}
	}
}

func definitionNamed(t *testing.T, c client.Client, name string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := c.Get(context.Background(), client.ObjectKey{Name: name}, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

// definitionsOf is an API server with the definitions as they are installed.
func definitionsOf(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, name := range Converted {
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}
		crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1alpha1", Served: true, Storage: true}, {Name: "v1beta1"}}
		builder.WithObjects(crd)
	}
	return builder.Build()
}
