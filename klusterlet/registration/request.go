package registration

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/certificate"
)

// certificateRequest gets one certificate from a hub.
type certificateRequest struct {
	hub            client.Client
	files          *files
	cluster, agent string
	seconds        int32
	periods        Periods

	prepare  func(context.Context) error  // before a request; may be nil
	explain  func(context.Context) string // why a request waits; may be nil
	settled  func(context.Context) bool   // no certificate is needed any more; may be nil
	outdated func() bool                  // the hub is to be asked as somebody else from now on; may be nil
}

// fetch asks for a certificate and waits until the hub issues it, however long that takes. It returns nil without an
// error when it is no longer needed, and errNewBootstrap when it is to be asked for again. The pending key survives a restart, and with it
// the request.
func (o *certificateRequest) fetch(ctx context.Context) (issued, key []byte, err error) {
	log := logr.FromContextOrDiscard(ctx)
	signer, key, err := o.key(ctx)
	if err != nil {
		return nil, nil, err
	}
	said := &reminder{period: o.periods.Reminder}
	for ctx.Err() == nil {
		if o.settled != nil && o.settled(ctx) {
			log.Info("the hub accepts the certificate again")
			return nil, nil, nil
		}
		if o.outdated != nil && o.outdated() {
			return nil, nil, errNewBootstrap
		}
		csr, err := o.request(ctx, signer)
		switch {
		case err != nil:
			if said.due(err.Error()) {
				log.Error(err, "cannot ask the hub for a certificate, trying again", "next", "see that the hub answers and that the identity of the bootstrap kubeconfig may join")
			}
		case len(csr.Status.Certificate) > 0:
			return csr.Status.Certificate, key, nil
		default:
			why := ""
			if o.explain != nil {
				why = o.explain(ctx)
			}
			if said.due(csr.Name + why) {
				log.Info("waiting for the hub to approve", "request", csr.Name, "why", why, "next", "on the hub: muster accept "+o.cluster)
			}
		}
		pause(ctx, o.periods.Retry)
	}
	return nil, nil, ctx.Err()
}

// key is that of the request: the one that was kept, else a new one, which is kept before it is used.
func (o *certificateRequest) key(ctx context.Context) (crypto.Signer, []byte, error) {
	if kept := o.files.get(pendingKeyFile); kept != nil {
		if signer, err := certificate.ParseKey(kept); err == nil {
			return signer, kept, nil
		}
	}
	signer, key, err := certificate.NewKey()
	if err != nil {
		return nil, nil, err
	}
	return signer, key, o.files.put(ctx, map[string][]byte{pendingKeyFile: key})
}

// request is the signing request of the key: the one that lies on the hub, else a new one.
func (o *certificateRequest) request(ctx context.Context, signer crypto.Signer) (*certificatesv1.CertificateSigningRequest, error) {
	if o.prepare != nil {
		if err := o.prepare(ctx); err != nil {
			return nil, err
		}
	}
	var list certificatesv1.CertificateSigningRequestList
	if err := o.hub.List(ctx, &list, client.MatchingLabels{clusterv1.ClusterNameLabelKey: o.cluster}); err != nil {
		return nil, fmt.Errorf("list certificate signing requests: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	requests := slices.DeleteFunc(list.Items, func(csr certificatesv1.CertificateSigningRequest) bool { return !rules.OfAgent(csr.Labels) })
	for i := range requests {
		if !o.ours(&requests[i], rules.KeyOf(public)) {
			continue
		}
		if rules.Denied(&requests[i]) {
			return nil, fmt.Errorf("the hub denied the request %s; the agent asks again when it is gone", requests[i].Name)
		}
		if o.usable(&requests[i], time.Now()) {
			return &requests[i], nil
		}
	}
	if len(requests) >= certificate.MaxRequests {
		return nil, fmt.Errorf("%d certificate signing requests of cluster %s lie on the hub; no more are made until some are gone", len(requests), o.cluster)
	}
	return o.create(ctx, signer)
}

// ours says whether a request is of this key and subject.
func (o *certificateRequest) ours(csr *certificatesv1.CertificateSigningRequest, key string) bool {
	r, err := rules.ParseRequest(csr)
	return err == nil && r.Key == key && r.CommonName == rules.UserName(o.cluster, o.agent)
}

// usable says whether a request waits, or has brought a certificate that is new and good.
func (o *certificateRequest) usable(csr *certificatesv1.CertificateSigningRequest, now time.Time) bool {
	if len(csr.Status.Certificate) == 0 {
		return true
	}
	leaf, err := certificate.Leaf(csr.Status.Certificate)
	return err == nil && now.Before(certificate.RenewalDue(leaf, 0.25)) && !bytes.Equal(csr.Status.Certificate, o.files.get(certificateFile))
}

func (o *certificateRequest) create(ctx context.Context, signer crypto.Signer) (*certificatesv1.CertificateSigningRequest, error) {
	request, err := certificate.Request(pkix.Name{
		CommonName: rules.UserName(o.cluster, o.agent), Organization: rules.Organizations(o.cluster),
	}, nil, signer)
	if err != nil {
		return nil, err
	}
	csr := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: o.cluster + "-", Labels: map[string]string{clusterv1.ClusterNameLabelKey: o.cluster},
		},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: request, SignerName: certificatesv1.KubeAPIServerClientSignerName, Usages: certificate.Usages,
		},
	}
	if o.seconds > 0 {
		csr.Spec.ExpirationSeconds = &o.seconds
	}
	if err := o.hub.Create(ctx, csr); err != nil {
		return nil, fmt.Errorf("create a certificate signing request: %w", err)
	}
	return csr, nil
}

// reminder says a thing when it changes, and again after a while.
type reminder struct {
	period time.Duration
	last   string
	said   time.Time
}

func (r *reminder) due(text string) bool {
	if text == r.last && time.Since(r.said) < r.period {
		return false
	}
	r.last, r.said = text, time.Now()
	return true
}

// unauthorized is true when the hub does not know who asks.
func unauthorized(err error) bool { return apierrors.IsUnauthorized(err) }
