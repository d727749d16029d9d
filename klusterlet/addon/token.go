package addon

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/certificate"
)

// tokenLeft is the share of a token's life that is left when it is renewed, as in OCM.
const tokenLeft = 0.2

// claims are what a token says of itself.
type claims struct {
	Expires    int64 `json:"exp"`
	Issued     int64 `json:"iat"`
	Kubernetes struct {
		ServiceAccount struct {
			UID types.UID `json:"uid"`
		} `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

// claimsOf reads a token. Nobody proves its signature: it came from the hub, and is the hub's to accept.
func claimsOf(token []byte) (claims, error) {
	var c claims
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return c, errors.New("it has not the three parts of a JSON web token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return c, fmt.Errorf("decode its payload: %w", err)
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return c, fmt.Errorf("parse its claims: %w", err)
	}
	if c.Expires <= c.Issued || c.Issued == 0 {
		return c, errors.New("it does not say how long it is good")
	}
	return c, nil
}

// due is when a token is renewed.
func (c claims) due() time.Time {
	return certificate.Due(time.Unix(c.Issued, 0), time.Unix(c.Expires, 0), tokenLeft)
}

// token gets the token of an add-on's agent, when the one in the Secret is not good any more.
func (r *registrations) token(ctx context.Context, addon *addonv1alpha1.ManagedClusterAddOn, reg need, secret *corev1.Secret) outcome {
	uid, ready, err := rules.TokenAccount(addon)
	if err != nil || !ready {
		return outcome{err: err} // a change of the condition wakes us
	}
	extra, err := r.extra(true)
	if err != nil {
		return outcome{err: err}
	}
	have, err := claimsOf(secret.Data[tokenKey])
	good := err == nil && have.Kubernetes.ServiceAccount.UID == uid && holds(secret, extra)
	if left := have.due().Sub(r.now()); good && left > 0 {
		return outcome{next: left}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.cluster, Name: rules.AddOnAgent(addon.Name)}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &r.TokenSeconds}}
	condition := metav1.Condition{
		Type: addonv1alpha1.ConditionTokenRefreshed, Status: metav1.ConditionFalse, Reason: addonv1alpha1.ReasonTokenCreationFailed,
	}
	if err := r.SubResource("token").Create(ctx, account, request); err != nil {
		condition.Message = fmt.Sprintf("ask the hub for a token of service account %s/%s: %v", account.Namespace, account.Name, err)
		return outcome{conditions: []metav1.Condition{condition}, err: errors.New(condition.Message)}
	}
	got, err := claimsOf([]byte(request.Status.Token))
	if err == nil && got.Kubernetes.ServiceAccount.UID != uid {
		err = fmt.Errorf("it is of a service account with UID %s, and the hub has said %s", got.Kubernetes.ServiceAccount.UID, uid)
	}
	if err != nil {
		condition.Message = fmt.Sprintf("the hub's token of service account %s/%s: %v", account.Namespace, account.Name, err)
		return outcome{conditions: []metav1.Condition{condition}, err: errors.New(condition.Message)}
	}
	extra[tokenKey] = []byte(request.Status.Token)
	condition.Status, condition.Reason = metav1.ConditionTrue, addonv1alpha1.ReasonAddonTokenRefreshed
	condition.Message = "Addon token refreshed, expires at " + time.Unix(got.Expires, 0).UTC().Format(time.RFC3339)
	return outcome{data: extra, drop: []string{certificateKey, keyKey}, conditions: []metav1.Condition{condition}, next: got.due().Sub(r.now())}
}
