package source

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
)

// webhookBody is the largest request that a webhook reads, in bytes.
const webhookBody = 1 << 20

// Webhook lets a Git host say that a repository changed: POST /webhook/<namespace>/<name>, signed with the repository's
// webhookToken. It only triggers a fetch: nothing of the body is believed.
//
//	GitHub          X-Hub-Signature-256: sha256=<hex HMAC-SHA256 of the body>
//	Gitea, Forgejo  X-Gitea-Signature: <hex HMAC-SHA256 of the body>
//	GitLab          X-Gitlab-Token: <the token>
//
// An unknown repository, one without a token and a wrong signature give the same answer.
type Webhook struct {
	// Secret gives the repository's webhookToken; false when there is no such repository or it has none.
	Secret func(ctx context.Context, namespace, name string) (secret []byte, ok bool)
	// Trigger asks for a fetch. It must not wait for it.
	Trigger func(namespace, name string)
}

// decoy stands in for the token of a repository that has none, so that its answer takes the same work.
var decoy = rand.Text()

// ServeHTTP answers 202 when a fetch was triggered, else 404, 405, 413 or 401.
func (w Webhook) ServeHTTP(out http.ResponseWriter, request *http.Request) {
	namespace, name, ok := webhookTarget(request.URL.Path)
	if !ok {
		http.Error(out, "not found", http.StatusNotFound)
		return
	}
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
	secret, known := w.Secret(request.Context(), namespace, name)
	known = known && len(secret) > 0
	if !known {
		secret = []byte(decoy)
	}
	if signed := signatureHolds(request.Header, body, secret); !signed || !known {
		http.Error(out, "unknown repository or wrong signature", http.StatusUnauthorized)
		return
	}
	w.Trigger(namespace, name)
	out.WriteHeader(http.StatusAccepted)
}

func webhookTarget(path string) (namespace, name string, ok bool) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 || parts[0] != "" || parts[1] != "webhook" || parts[2] == "" || parts[3] == "" {
		return "", "", false
	}
	return parts[2], parts[3], true
}

// signatureHolds compares in constant time whichever signature the request carries.
func signatureHolds(header http.Header, body, secret []byte) bool {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	want := mac.Sum(nil)
	matches := func(signature string) bool {
		got, err := hex.DecodeString(signature)
		return err == nil && hmac.Equal(got, want)
	}
	if value, ok := strings.CutPrefix(header.Get("X-Hub-Signature-256"), "sha256="); ok {
		return matches(value)
	}
	if value := header.Get("X-Gitea-Signature"); value != "" {
		return matches(value)
	}
	given, expected := sha256.Sum256([]byte(header.Get("X-Gitlab-Token"))), sha256.Sum256(secret)
	return subtle.ConstantTimeCompare(given[:], expected[:]) == 1
}
