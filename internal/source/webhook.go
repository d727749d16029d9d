package source

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
)

// webhookBody is the largest request that a webhook reads, in bytes.
const webhookBody = 1 << 20

// Webhook lets a Git host announce that a repository changed: POST /webhook/{namespace}/{name}, signed with the repository's
// webhookToken. It only triggers a fetch: the content of the body is not used. At another path it does the same for what
// registries announce, where the name is that of the Secret of the sources. The pattern of the path says where the two are.
//
//	GitHub          X-Hub-Signature-256: sha256=<hex HMAC-SHA256 of the body>
//	Bitbucket       X-Hub-Signature: sha256=<the same>
//	Gitea, Forgejo  X-Gitea-Signature: <hex HMAC-SHA256 of the body>
//	GitLab          webhook-signature: v1,<base64 HMAC-SHA256 of webhook-id.webhook-timestamp.body>
//
// The last is what the specification Standard Webhooks says, with a token of "whsec_" and the key in base64. Hosts that sign nothing, and
// send the secret itself, are believed where the Secret has a webhookPlainToken in place of the other one:
//
//	GitLab, older                X-Gitlab-Token: <token>
//	Azure DevOps, Quay           Authorization: Basic, with any user and the token as the password
//	Harbor, Docker distribution  Authorization: Bearer <token>, or the token alone
//
// The age of a request is not checked: an old request that is sent again only triggers one more fetch.
//
// An unknown repository, one without a token and a wrong signature give the same answer.
type Webhook struct {
	// Key gives what proves that a request is of the host; false when there is no such repository or it has none.
	Key func(ctx context.Context, namespace, name string) (WebhookKey, bool)
	// Trigger asks for a fetch. It must not wait for it.
	Trigger func(namespace, name string)
}

// WebhookKey proves that a request is of the host: either the key signs the request, or it is sent.
type WebhookKey struct {
	Token []byte
	Plain bool
}

// decoy replaces the token of a repository that has none, so that the answer takes the same time.
var decoy = rand.Text()

// ServeHTTP answers 202 when a fetch was triggered, else 405, 413 or 401.
func (w Webhook) ServeHTTP(out http.ResponseWriter, request *http.Request) {
	namespace, name := request.PathValue("namespace"), request.PathValue("name")
	if request.Method != http.MethodPost {
		out.Header().Set("Allow", http.MethodPost)
		http.Error(out, "only POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(out, request.Body, webhookBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		http.Error(out, "the body is larger than 1 MiB", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(out, "the body cannot be read", http.StatusBadRequest)
		return
	}
	key, known := w.Key(request.Context(), namespace, name)
	known = known && len(key.Token) > 0
	if !known {
		key.Token = []byte(decoy)
	}
	proved := signatureHolds(request.Header, body, key.Token)
	if key.Plain {
		proved = sends(request, key.Token)
	}
	if !proved || !known {
		http.Error(out, "unknown repository or wrong signature", http.StatusUnauthorized)
		return
	}
	w.Trigger(namespace, name)
	out.WriteHeader(http.StatusAccepted)
}

// signatureHolds checks, in constant time, the signature that the request carries.
func signatureHolds(header http.Header, body, secret []byte) bool {
	for _, name := range []string{"X-Hub-Signature-256", "X-Hub-Signature"} {
		if value, ok := strings.CutPrefix(header.Get(name), "sha256="); ok {
			got, err := hex.DecodeString(value)
			return err == nil && signs(secret, got, body)
		}
	}
	if value := header.Get("X-Gitea-Signature"); value != "" {
		got, err := hex.DecodeString(value)
		return err == nil && signs(secret, got, body)
	}
	key := standardKey(secret)
	head := header.Get("webhook-id") + "." + header.Get("webhook-timestamp") + "."
	return slices.ContainsFunc(strings.Fields(header.Get("webhook-signature")), func(signature string) bool { // several while a key is changed
		value, ok := strings.CutPrefix(signature, "v1,")
		got, err := base64.StdEncoding.DecodeString(value)
		return ok && err == nil && signs(key, got, []byte(head), body)
	})
}

// sends says, in constant time, whether the request carries the token itself.
func sends(request *http.Request, token []byte) bool {
	header := request.Header.Get("Authorization")
	_, password, _ := request.BasicAuth()
	found := false
	for _, sent := range []string{request.Header.Get("X-Gitlab-Token"), password, strings.TrimPrefix(header, "Bearer ")} {
		same := hmac.Equal([]byte(sent), token)
		found = found || same
	}
	return found
}

// signs says whether a signature is the HMAC-SHA256 of the parts, one after the other.
func signs(key, signature []byte, parts ...[]byte) bool {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return hmac.Equal(signature, mac.Sum(nil))
}

// standardKey is the key in a token of Standard Webhooks; any other token is the key itself.
func standardKey(secret []byte) []byte {
	encoded, ok := bytes.CutPrefix(secret, []byte("whsec_"))
	if key, err := base64.StdEncoding.DecodeString(string(encoded)); ok && err == nil && len(key) > 0 {
		return key
	}
	return secret
}
