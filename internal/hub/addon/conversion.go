package addon

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/cert"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/addon"
)

// Converted are the kinds of which the two versions differ.
var Converted = []string{"clustermanagementaddons.addon.open-cluster-management.io", "managedclusteraddons.addon.open-cluster-management.io"}

const (
	// certificateLife is how long a certificate of the conversion counts at most before it is replaced.
	certificateLife = 30 * 24 * time.Hour
	// lookInterval is the time between two looks whether the definitions still name the hub: who installs them again resets that.
	lookInterval = 10 * time.Second
)

// Conversion answers the API server's questions for the other version of an object, over TLS on a port of its own.
//
// v1alpha1 is stored, so that the hub's own controllers, which read it, work without a conversion. Only the hub that leads answers, with a
// certificate that it makes itself, keeps in memory and writes into the definitions: no Secret has to be kept or restored. A new
// certificate is first trusted beside the old one, and then used.
type Conversion struct {
	// Client writes the definitions.
	Client client.Client
	// Reader reads them past the cache.
	Reader client.Reader
	// Address to listen on. With port 0 a free one is taken, which the definitions then name.
	Address string
	// Service of the hub, as namespace/name, by which the API server reaches it at port 443; empty is at Address.
	Service string
	// Life of a certificate; zero is 30 days.
	Life time.Duration

	mu   sync.Mutex
	used *tls.Certificate
}

// NeedLeaderElection is true: the definitions name one certificate.
func (*Conversion) NeedLeaderElection() bool { return true }

// Start answers until the context ends.
func (c *Conversion) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Address)
	if err != nil {
		return fmt.Errorf("--conversion-address %s: %w", c.Address, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /convert", answer)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate() },
	}}
	go c.keepTrusted(ctx, listener.Addr().String())
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the conversion of add-ons: %w", err)
	}
	return nil
}

func (c *Conversion) certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used == nil {
		return nil, errors.New("the certificate is not made yet")
	}
	return c.used, nil
}

// keepTrusted writes the certificate into the definitions and replaces it when a third of its life is left.
func (c *Conversion) keepTrusted(ctx context.Context, address string) {
	var bundle []byte // the newest certificate first, then the one before it
	var renewAt time.Time
	life := c.Life
	if life == 0 {
		life = certificateLife
	}
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		log := ctrl.LoggerFrom(ctx).WithName("addon-conversion")
		var next *tls.Certificate
		if now := time.Now(); !now.Before(renewAt) {
			made, pem, err := c.makeCertificate(address)
			if err != nil {
				log.Error(err, "make a certificate for the conversion of add-ons")
				return
			}
			next, renewAt = made, now.Add(life*2/3)
			c.use(next, false)
			bundle = firstTwo(append(slices.Clone(pem), bundle...))
		}
		for _, name := range Converted {
			if err := c.trust(ctx, name, address, bundle); err != nil {
				log.Error(err, "write who converts add-ons into the definition", "definition", name)
				if next != nil {
					renewAt = time.Time{} // it is not trusted everywhere: the old one stays in use
					return
				}
			}
		}
		if next != nil {
			c.use(next, true)
		}
	}, min(lookInterval, life/6))
}

// use serves a certificate; one that is not trusted yet only where there is no other.
func (c *Conversion) use(certificate *tls.Certificate, trusted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used == nil || trusted {
		c.used = certificate
	}
}

// firstTwo certificates of a bundle.
func firstTwo(bundle []byte) []byte {
	const end = "-----END CERTIFICATE-----\n"
	parts := strings.SplitAfterN(string(bundle), end, 3)
	return []byte(strings.Join(parts[:min(2, len(parts))], ""))
}

// makeCertificate makes a certificate that vouches for itself, and its PEM.
func (c *Conversion) makeCertificate(address string) (*tls.Certificate, []byte, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, err
	}
	names := []string{}
	if namespace, name, ok := strings.Cut(c.Service, "/"); ok {
		host = name + "." + namespace + ".svc"
		names = append(names, host+".cluster.local")
	}
	pem, key, err := cert.GenerateSelfSignedCertKey(host, nil, names)
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(pem, key)
	if err != nil {
		return nil, nil, err
	}
	return &pair, pem, nil
}

// trust makes a definition name the hub and its certificates.
func (c *Conversion) trust(ctx context.Context, name, address string, bundle []byte) error {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := c.Reader.Get(ctx, types.NamespacedName{Name: name}, crd); err != nil {
		return client.IgnoreNotFound(err)
	}
	if has := crd.Spec.Conversion; has != nil && has.Webhook != nil && has.Webhook.ClientConfig != nil && bytes.Equal(has.Webhook.ClientConfig.CABundle, bundle) {
		return nil
	}
	was := crd.DeepCopy()
	config := &apiextensionsv1.WebhookClientConfig{CABundle: bundle}
	if namespace, service, ok := strings.Cut(c.Service, "/"); ok {
		path := "/convert"
		config.Service = &apiextensionsv1.ServiceReference{Namespace: namespace, Name: service, Path: &path}
	} else {
		url := "https://" + address + "/convert"
		config.URL = &url
	}
	crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{ClientConfig: config, ConversionReviewVersions: []string{"v1"}},
	}
	return c.Client.Patch(ctx, crd, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{}))
}

// maxReview is how large a question of the API server may be: it asks for whole lists.
const maxReview = 256 << 20

// answer converts the objects of one question.
func answer(w http.ResponseWriter, request *http.Request) {
	review := &apiextensionsv1.ConversionReview{}
	data, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxReview))
	if err == nil {
		err = json.Unmarshal(data, review)
	}
	if err != nil || review.Request == nil {
		http.Error(w, "a ConversionReview with a request is wanted", http.StatusBadRequest)
		return
	}
	response := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, o := range review.Request.Objects {
		converted, err := addon.Convert(o.Raw, review.Request.DesiredAPIVersion)
		if err != nil {
			response.ConvertedObjects, response.Result = nil, metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
			break
		}
		response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Raw: converted})
	}
	review.Request, review.Response = nil, response
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review) // the API server went away: it asks again
}
