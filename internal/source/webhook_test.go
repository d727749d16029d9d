package source

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

// signStandard signs as the specification Standard Webhooks says, with the id m1 and the time 1700000000.
func signStandard(key, body string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("m1.1700000000." + body))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// at serves a webhook where the hub does.
func at(hook Webhook) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/webhook/{namespace}/{name}", hook)
	return mux
}

func TestWebhook(t *testing.T) {
	const body = `{"ref":"refs/heads/main"}`
	huge := strings.Repeat("x", webhookBody+1)
	const retail = "/webhook/retail/fleet"
	cases := map[string]struct {
		method, path, header, value, body string
		want                              int
		why                               string
	}{
		"GitHub":              {"POST", retail, "X-Hub-Signature-256", "sha256=" + sign("s3cret", body), body, 202, ""},
		"Gitea":               {"POST", retail, "X-Gitea-Signature", sign("s3cret", body), body, 202, ""},
		"GitLab":              {"POST", "/webhook/retail/lab", "webhook-signature", signStandard("a key", body), body, 202, ""},
		"GitLab, two keys":    {"POST", "/webhook/retail/lab", "webhook-signature", "v1,AAAA " + signStandard("a key", body), body, 202, "a key is being changed"},
		"GitLab, plain token": {"POST", retail, "webhook-signature", signStandard("s3cret", body), body, 202, "whoever signs may use any token"},
		"no signature":        {"POST", retail, "", "", body, 401, "always required"},
		"wrong secret":        {"POST", retail, "X-Hub-Signature-256", "sha256=" + sign("other", body), body, 401, ""},
		"changed body":        {"POST", retail, "X-Hub-Signature-256", "sha256=" + sign("s3cret", body), body + " ", 401, ""},
		"not hexadecimal":     {"POST", retail, "X-Gitea-Signature", "zz", body, 401, ""},
		"SHA-1 only":          {"POST", retail, "X-Hub-Signature", "sha1=abc", body, 401, "GitHub's old one is not enough"},
		"GitLab, wrong key":   {"POST", "/webhook/retail/lab", "webhook-signature", signStandard("whsec_YSBrZXk=", body), body, 401, "the key is what the token encodes"},
		"GitLab, other body":  {"POST", "/webhook/retail/lab", "webhook-signature", signStandard("a key", body), body + " ", 401, ""},
		"GitLab, no version":  {"POST", "/webhook/retail/lab", "webhook-signature", strings.TrimPrefix(signStandard("a key", body), "v1,"), body, 401, ""},
		"GitLab, not base64":  {"POST", "/webhook/retail/lab", "webhook-signature", "v1,?", body, 401, ""},
		"GitLab's old token":  {"POST", retail, "X-Gitlab-Token", "s3cret", body, 401, "it is no signature"},
		"basic, refused":      {"POST", retail, "Authorization", "Basic OnMzY3JldA==", body, 401, "the Secret allows signatures only"},
		"old GitLab, allowed": {"POST", "/webhook/retail/plain", "X-Gitlab-Token", "s3cret", body, 202, "the Secret has a plain token"},
		"Azure DevOps":        {"POST", "/webhook/retail/plain", "Authorization", "Basic OnMzY3JldA==", body, 202, "the password is the token"},
		"Harbor":              {"POST", "/webhook/retail/plain", "Authorization", "s3cret", body, 202, "as it is written there"},
		"distribution":        {"POST", "/webhook/retail/plain", "Authorization", "Bearer s3cret", body, 202, ""},
		"wrong plain token":   {"POST", "/webhook/retail/plain", "Authorization", "Bearer other", body, 401, ""},
		"no plain token":      {"POST", "/webhook/retail/plain", "", "", body, 401, ""},
		"sources elsewhere":   {"POST", "/sources/retail/fleet", "X-Hub-Signature-256", "sha256=" + sign("s3cret", body), body, 404, "another room"},
		"unknown repository":  {"POST", "/webhook/retail/other", "X-Hub-Signature-256", "sha256=" + sign("s3cret", body), body, 401, "as a wrong signature"},
		"no token":            {"POST", "/webhook/retail/open", "X-Hub-Signature-256", "sha256=" + sign("", body), body, 401, "an empty secret is none"},
		"no token, no header": {"POST", "/webhook/retail/open", "", "", body, 401, "an empty token equals no header"},
		"huge body":           {"POST", retail, "X-Gitea-Signature", "00", huge, 413, ""},
		"huge body, unknown":  {"POST", "/webhook/retail/other", "X-Gitea-Signature", "00", huge, 413, "the size tells nothing about the repository"},
		"GET":                 {"GET", retail, "", "", "", 405, ""},
		"no name":             {"POST", "/webhook/retail", "", "", body, 404, ""},
		"too deep":            {"POST", retail + "/x", "", "", body, 404, ""},
		"empty namespace":     {"POST", "/webhook//fleet", "", "", body, 307, "to a path that is none"},
		"another path":        {"POST", "/hook/retail/fleet", "", "", body, 404, ""},
	}
	refusals := map[string]bool{}
	for name, c := range cases {
		var triggered []string
		hook := Webhook{
			Key: func(_ context.Context, namespace, name string) (WebhookKey, bool) {
				switch namespace + "/" + name {
				case "retail/fleet":
					return WebhookKey{Token: []byte("s3cret")}, true
				case "retail/plain":
					return WebhookKey{Token: []byte("s3cret"), Plain: true}, true
				case "retail/lab":
					return WebhookKey{Token: []byte("whsec_" + base64.StdEncoding.EncodeToString([]byte("a key")))}, true
				case "retail/open":
					return WebhookKey{Plain: true}, true
				}
				return WebhookKey{}, false
			},
			Trigger: func(namespace, name string) { triggered = append(triggered, namespace+"/"+name) },
		}
		request := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		request.Header.Set("webhook-id", "m1")
		request.Header.Set("webhook-timestamp", "1700000000")
		if c.header != "" {
			request.Header.Set(c.header, c.value)
		}
		answer := httptest.NewRecorder()
		at(hook).ServeHTTP(answer, request)
		if answer.Code != c.want {
			t.Errorf("%s: answered %d, want %d: %s", name, answer.Code, c.want, c.why)
		}
		if fired := len(triggered) == 1 && "/webhook/"+triggered[0] == c.path; fired != (c.want == http.StatusAccepted) || len(triggered) > 1 {
			t.Errorf("%s: triggered %v: %s", name, triggered, c.why)
		}
		if answer.Code == http.StatusUnauthorized {
			refusals[answer.Body.String()] = true
		}
	}
	if len(refusals) != 1 {
		t.Errorf("refusals differ: %v", refusals)
	}
}

// TestWebhookReplay sends what hosts send, byte by byte: each is taken, taken once more when it is sent again or after a later one, since
// it only says that there is something to look at, and refused when one byte of it is another or its secret is another repository's.
func TestWebhookReplay(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/webhooks/*.http")
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing is recorded: %v", err)
	}
	hosts := map[string]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ := bytes.Cut(data, []byte("\n\n"))
		lines := strings.Split(string(head), "\n")
		triggered := 0
		hook := Webhook{
			Key: func(_ context.Context, namespace, name string) (WebhookKey, bool) {
				secrets := map[string]string{
					"retail/fleet": "s3cret", "retail/lab": "whsec_" + base64.StdEncoding.EncodeToString([]byte("a key of thirty-two bytes, really")), "retail/else": "another",
				}
				return WebhookKey{Token: []byte(secrets[namespace+"/"+name])}, secrets[namespace+"/"+name] != ""
			},
			Trigger: func(string, string) { triggered++ },
		}
		send := func(path string, body []byte) int {
			request := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			for _, line := range lines[1:] {
				name, value, _ := strings.Cut(line, ": ")
				request.Header.Set(name, value)
			}
			answer := httptest.NewRecorder()
			at(hook).ServeHTTP(answer, request)
			return answer.Code
		}
		path := strings.TrimPrefix(lines[0], "POST ")
		for range 2 {
			if got := send(path, body); got != http.StatusAccepted {
				t.Errorf("%s: %d, want 202", file, got)
			}
		}
		forged := bytes.Replace(body, []byte("fleet"), []byte("flees"), 1)
		if got := send(path, forged); got != http.StatusUnauthorized {
			t.Errorf("%s with another byte: %d, want 401", file, got)
		}
		if got := send("/webhook/retail/else", body); got != http.StatusUnauthorized {
			t.Errorf("%s sent to another repository: %d, want 401", file, got)
		}
		if triggered != 2 {
			t.Errorf("%s: %d looks, want one for each that is taken", file, triggered)
		}
		host, _, _ := strings.Cut(filepath.Base(file), "-")
		hosts[host]++
	}
	for _, host := range []string{"github", "gitlab", "gitea", "bitbucket"} {
		if hosts[host] < 2 {
			t.Errorf("%d recordings of %s", hosts[host], host)
		}
	}
}
