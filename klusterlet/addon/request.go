package addon

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/certificate"
)

// pending are the signing requests that lie on the hub, by the Secret that they are for.
type pending struct {
	mu  sync.Mutex
	all map[place]*waiting
}

// waiting is a signing request with its key. Once it is answered, issued is the certificate, until it lies in the Secret.
type waiting struct {
	need
	name   string // of the request
	made   time.Time
	key    []byte
	issued []byte
}

// longWait is how long a request waits before the hub is told that it does: a hub answers within seconds.
const longWait = time.Minute

func (p *pending) get(at place) *waiting {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[at]
}

func (p *pending) set(at place, w *waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w == nil {
		delete(p.all, at)
		return
	}
	p.all[at] = w
}

// certificate gets the certificate of an add-on's agent, when the one in the Secret is not good any more.
func (r *registrations) certificate(ctx context.Context, reg need, secret *corev1.Secret) outcome {
	extra := map[string][]byte{}
	if reg.kubeClient {
		var err error
		if extra, err = r.extra(false); err != nil {
			return outcome{err: err}
		}
	}
	leaf, err := certificate.Of(secret.Data[certificateKey], secret.Data[keyKey])
	if err == nil && reg.certifies(leaf) && holds(secret, extra) && secret.Data[tokenKey] == nil {
		if left := certificate.RenewalDue(leaf, 0.20+0.05*rand.Float64()).Sub(r.now()); left > 0 {
			return outcome{next: left}
		}
	}
	waits, err := r.issued(ctx, reg)
	failed := func(format string, args ...any) []metav1.Condition {
		return []metav1.Condition{{
			Type: addonv1alpha1.ConditionClusterCertificateRotated, Status: metav1.ConditionFalse, Reason: clusterv1.ReasonCertificateUpdateFailed,
			Message: fmt.Sprintf("signer %s: ", reg.signer) + fmt.Sprintf(format, args...),
		}}
	}
	switch {
	case err != nil:
		return outcome{err: err, conditions: failed("%v", err)}
	case waits.issued == nil && r.now().Sub(waits.made) > longWait:
		return outcome{next: r.Periods.Retry, conditions: failed("nobody has answered request %s; on the hub: kubectl describe csr %s", waits.name, waits.name)}
	case waits.issued == nil:
		return outcome{next: r.Periods.Retry}
	}
	if leaf, err = certificate.Leaf(waits.issued); err != nil {
		return outcome{err: fmt.Errorf("read the certificate of request %s: %w", waits.name, err)}
	}
	extra[certificateKey], extra[keyKey] = waits.issued, waits.key
	return outcome{
		data: extra, drop: []string{tokenKey}, next: certificate.RenewalDue(leaf, 0.25).Sub(r.now()),
		stored: func() { r.requests.set(reg.secret, nil) },
		conditions: []metav1.Condition{{
			Type: addonv1alpha1.ConditionClusterCertificateRotated, Status: metav1.ConditionTrue, Reason: clusterv1.ReasonCertificateUpdated,
			Message: fmt.Sprintf("client certificate rotated starting from %s to %s",
				leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339)),
		}},
	}
}

// issued is the request of a registration, with its certificate when the hub has issued it. It is made when there is none.
func (r *registrations) issued(ctx context.Context, reg need) (*waiting, error) {
	waits := r.requests.get(reg.secret)
	if waits != nil && (waits.signer != reg.signer || !sameSubject(waits.subject, reg.subject)) {
		waits = nil // the hub wants another one now
	}
	if waits == nil {
		return r.request(ctx, reg)
	}
	if waits.issued != nil {
		return waits, nil
	}
	var csr certificatesv1.CertificateSigningRequest
	err := r.Get(ctx, client.ObjectKey{Name: waits.name}, &csr)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return nil, fmt.Errorf("read the certificate signing request %s: %w", waits.name, err)
	case err != nil: // nobody has answered it, and the hub has collected it
		return r.request(ctx, reg)
	case rules.Denied(&csr):
		return nil, fmt.Errorf("the hub denied the request %s; the agent asks again when it is gone", csr.Name)
	case len(csr.Status.Certificate) == 0:
		return waits, nil
	}
	if _, err := certificate.Of(csr.Status.Certificate, waits.key); err != nil {
		r.requests.set(reg.secret, nil)
		return nil, fmt.Errorf("request %s: %w", csr.Name, err)
	}
	answered := *waits
	answered.issued = csr.Status.Certificate
	r.requests.set(reg.secret, &answered)
	return &answered, nil
}

// request makes a signing request for a new key.
func (r *registrations) request(ctx context.Context, reg need) (*waiting, error) {
	named := map[string]string{clusterv1.ClusterNameLabelKey: r.cluster, addonv1alpha1.AddonNameLabel: reg.addon}
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequestList"))
	if err := r.List(ctx, &list, client.MatchingLabelsSelector{Selector: labels.SelectorFromSet(named)}); err != nil {
		return nil, fmt.Errorf("list certificate signing requests: %w", err)
	}
	if len(list.Items) >= certificate.MaxRequests {
		return nil, fmt.Errorf("%d certificate signing requests of the add-on lie on the hub; no more are made until some are gone", len(list.Items))
	}
	signer, key, err := certificate.NewKey()
	if err != nil {
		return nil, err
	}
	request, err := certificate.Request(reg.subject, []string{rules.AddOnDNSName(reg.addon)}, signer)
	if err != nil {
		return nil, err
	}
	csr := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: fmt.Sprintf("%s-%s-%s-", rules.AddOnRequestPrefix, r.cluster, reg.addon), Labels: named},
		Spec:       certificatesv1.CertificateSigningRequestSpec{Request: request, SignerName: reg.signer, Usages: certificate.Usages},
	}
	if r.CertificateSeconds > 0 {
		csr.Spec.ExpirationSeconds = &r.CertificateSeconds
	}
	if err := r.Create(ctx, csr); err != nil {
		return nil, fmt.Errorf("create a certificate signing request: %w", err)
	}
	waits := &waiting{need: reg, name: csr.Name, made: r.now(), key: key}
	r.requests.set(reg.secret, waits)
	return waits, nil
}

var errNoNamespace = errors.New("the namespace is not there yet")
