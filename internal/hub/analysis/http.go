package analysis

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheusv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/source"
)

// errNaN is no result: mostly nothing divided by nothing, where nobody has asked for anything yet.
var errNaN = errors.New("the query gives NaN, which is no number to compare")

// prometheus evaluates a query.
func (a *Analyses) prometheus(ctx context.Context, s *subject, m *musterv1alpha1.PrometheusMetric) *look {
	via, err := a.signIn(ctx, s, m.SecretRef)
	if err != nil {
		return &look{err: err}
	}
	c, err := api.NewClient(api.Config{Address: m.Address, Client: &http.Client{Transport: via, CheckRedirect: stay}})
	if err != nil {
		return &look{err: fmt.Errorf("prometheus.address: %w", plain(err))}
	}
	value, _, err := prometheusv1.NewAPI(c).Query(ctx, s.fill(m.Query, "|"), time.Time{})
	if err != nil {
		return &look{err: fmt.Errorf("prometheus does not answer the query: %w", plain(err))}
	}
	switch v := value.(type) {
	case *model.Scalar:
		if math.IsNaN(float64(v.Value)) {
			return &look{err: errNaN}
		}
		return &look{result: float64(v.Value), value: v.Value.String()}
	case model.Vector:
		list, texts := make([]any, len(v)), make([]string, len(v))
		for i, sample := range v {
			if math.IsNaN(float64(sample.Value)) {
				return &look{err: errNaN}
			}
			list[i], texts[i] = float64(sample.Value), sample.Value.String()
		}
		return &look{result: list, value: "[" + strings.Join(texts, ", ") + "]"}
	}
	return &look{err: fmt.Errorf("the query gives a %s, not a vector or a scalar", value.Type())}
}

// maxBody is how much of an answer is read.
const maxBody = 1 << 20

// http reads a URL. What it answers is not shown: it may be meant for the conditions only.
func (a *Analyses) http(ctx context.Context, s *subject, m *musterv1alpha1.HTTPMetric) *look {
	via, err := a.signIn(ctx, s, m.SecretRef)
	if err != nil {
		return &look{err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.fill(m.URL, ","), nil)
	if err != nil {
		return &look{err: fmt.Errorf("http.url: %w", plain(err))}
	}
	answer, err := (&http.Client{Transport: via, CheckRedirect: stay}).Do(request)
	if err != nil {
		return &look{err: fmt.Errorf("the URL cannot be read: %w", plain(err))}
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		return &look{err: fmt.Errorf("the answer cannot be read: %w", plain(err))}
	}
	result := map[string]any{"status": answer.StatusCode, "body": string(body)}
	var parsed any
	if json.Unmarshal(body, &parsed) == nil {
		result["json"] = parsed
	}
	return &look{result: result, standing: answer.StatusCode < 300, value: answer.Status}
}

// stay follows no redirect: it may lead elsewhere with the credentials.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// plain is an error without the URL, in which people put passwords.
func plain(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// fill puts what is measured into a query or a URL.
func (s *subject) fill(text, between string) string {
	return strings.NewReplacer(
		"${{ clusters }}", strings.Join(s.clusters, between), "${{ revision }}", s.revision, "${{ step }}", rollout.StepOf(s.step.Name),
	).Replace(text)
}

// signIn is a transport whose requests carry what a Secret of the application's namespace holds.
func (a *Analyses) signIn(ctx context.Context, s *subject, ref *musterv1alpha1.LocalReference) (http.RoundTripper, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if ref == nil {
		return t, nil
	}
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: s.app.Namespace, Name: ref.Name}
	if err := a.Client.Get(ctx, key, &secret); err != nil {
		return nil, fmt.Errorf("read Secret %s, which secretRef names: %w", key, err)
	}
	if ca := slices.Concat(secret.Data["ca.crt"], secret.Data["caFile"]); len(ca) > 0 {
		roots, ok := source.RootsWith(ca)
		if !ok {
			return nil, fmt.Errorf("key ca.crt or caFile of Secret %s holds no certificate: it wants PEM", key)
		}
		t.TLSClientConfig.RootCAs = roots
	}
	if token := source.TrimLine(secret.Data["bearerToken"]); token != "" {
		return transport.NewBearerAuthRoundTripper(token, t), nil
	}
	if username := source.TrimLine(secret.Data["username"]); username != "" {
		return transport.NewBasicAuthRoundTripper(username, source.TrimLine(secret.Data["password"]), t), nil
	}
	return t, nil
}
