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
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/authority"
)

// Converted are the kinds of which the two versions differ.
var Converted = []string{"clustermanagementaddons.addon.open-cluster-management.io", "managedclusteraddons.addon.open-cluster-management.io"}

// lookInterval is the time between two looks whether the definitions still name the hub: who installs them again resets that.
const lookInterval = 10 * time.Second

// Conversion answers the API server's questions for the other version of an object, over TLS on a port of its own.
//
// v1alpha1 is stored, so that the hub's own controllers, which read it, work without a conversion. v1beta1 is served only from when the
// definitions name who converts: without, the API server would hand out objects without the fields that the versions name differently.
//
// Behind a Service every replica answers, each with a certificate of its own that the one authority in hub.ConversionSecret signs. An
// authority that is replaced is first trusted beside the one before it, and then used. Without a Service the leader alone answers, as
// the definitions can name one address.
type Conversion struct {
	// Client writes the definitions, and the authority.
	Client client.Client
	// Reader reads them past the cache.
	Reader client.Reader
	// Address to listen on. With port 0 a free one is taken, which the definitions then name.
	Address string
	// Service of the hub, as namespace/name, by which the API server reaches it at port 443; empty is at Address.
	Service string
	// Life of a certificate; zero is 90 days.
	Life time.Duration

	mu   sync.Mutex
	used *authority.Authority
}

// NeedLeaderElection is true where the definitions name one address.
func (c *Conversion) NeedLeaderElection() bool { return c.Service == "" }

// Start answers until the context ends.
func (c *Conversion) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Address)
	if err != nil {
		return fmt.Errorf("--conversion-address %s: %w", c.Address, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /convert", answer)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: c.certificate,
	}}
	go c.keepTrusted(ctx, listener.Addr().String())
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the conversion of add-ons: %w", err)
	}
	return nil
}

func (c *Conversion) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used == nil {
		return nil, errors.New("the certificate is not made yet")
	}
	return c.used.GetCertificate(hello)
}

// keepTrusted has the definitions name the hub and its authority.
func (c *Conversion) keepTrusted(ctx context.Context, address string) {
	log := ctrl.LoggerFrom(ctx).WithName("addon-conversion")
	interval := lookInterval
	if c.Life > 0 {
		interval = min(interval, c.Life/6)
	}
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		switch err := c.look(ctx, address); {
		case apierrors.IsConflict(err): // another replica was faster: the next look sees what it wrote
		case err != nil:
			log.Error(err, "Name in the definitions of add-ons who converts them; v1beta1 is not to be had meanwhile")
		}
	}, interval)
}

func (c *Conversion) look(ctx context.Context, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if namespace, name, ok := strings.Cut(c.Service, "/"); ok {
		host = name + "." + namespace + ".svc"
	}
	signer, err := authority.Load(ctx, c.Reader, c.Client, authority.Options{Secret: hub.ConversionSecret, Host: host, Life: c.Life})
	if err != nil {
		return err
	}
	c.use(signer, false)
	for _, name := range Converted {
		if err := c.trust(ctx, name, address, signer.CA); err != nil {
			return fmt.Errorf("definition %s: %w", name, err)
		}
	}
	c.use(signer, true)
	return nil
}

// use takes another authority; one that is not trusted yet only where there is none.
func (c *Conversion) use(signer *authority.Authority, trusted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used == nil || trusted && !bytes.Equal(c.used.CA, signer.CA) {
		c.used = signer
	}
}

// trust makes a definition name the hub and its authority, and serve both versions.
func (c *Conversion) trust(ctx context.Context, name, address string, ca []byte) error {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := c.Reader.Get(ctx, types.NamespacedName{Name: name}, crd); err != nil {
		return client.IgnoreNotFound(err)
	}
	was := crd.DeepCopy()
	config := &apiextensionsv1.WebhookClientConfig{CABundle: ca}
	if has := crd.Spec.Conversion; has != nil && has.Webhook != nil && has.Webhook.ClientConfig != nil {
		config.CABundle = withAuthority(has.Webhook.ClientConfig.CABundle, ca)
	}
	if namespace, service, ok := strings.Cut(c.Service, "/"); ok {
		path, port := "/convert", int32(443)
		config.Service = &apiextensionsv1.ServiceReference{Namespace: namespace, Name: service, Path: &path, Port: &port}
	} else {
		url := "https://" + address + "/convert"
		config.URL = &url
	}
	crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{ClientConfig: config, ConversionReviewVersions: []string{"v1"}},
	}
	for i := range crd.Spec.Versions {
		crd.Spec.Versions[i].Served = true
	}
	if equality.Semantic.DeepEqual(was.Spec, crd.Spec) {
		return nil
	}
	return c.Client.Patch(ctx, crd, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{}))
}

// withAuthority adds a certificate to a bundle, which keeps the one before it.
func withAuthority(bundle, ca []byte) []byte {
	if bytes.Contains(bundle, bytes.TrimSpace(ca)) {
		return bundle
	}
	const end = "-----END CERTIFICATE-----\n"
	before, _, found := strings.Cut(string(bundle), end)
	if !found {
		return ca
	}
	return append(slices.Clone(ca), before+end...)
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
