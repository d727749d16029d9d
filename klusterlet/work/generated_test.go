package work_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/generated"
	"github.com/muster-io/muster/internal/test"
)

// TestGeneratedValues: the agent makes what the hub leaves to it once, keeps it, and tells nobody.
func TestGeneratedValues(t *testing.T) {
	s := newSite(t)
	s.agent.Namespace = test.Namespace(t, test.Hub(t))
	var reads atomic.Int32
	s.agent.Spoke = rest.CopyConfig(s.agent.Spoke)
	s.agent.Spoke.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/secrets/muster-generated") {
				reads.Add(1)
			}
			return next.RoundTrip(r)
		})
	})
	s.start()
	calls := map[string]generated.Call{}
	call := func(part, function string, args ...string) string {
		c := generated.Call{Function: function, Args: args}
		id := generated.ID("retail/shop", c, 1)
		calls[id] = c
		return generated.Placeholder(id, part)
	}
	of := func(team string) option {
		return func(w *workv1.ManifestWork) {
			metav1.SetMetaDataAnnotation(&w.ObjectMeta, musterv1alpha1.ApplicationAnnotation, team+"/shop")
		}
	}
	encode := func(text string) string {
		value, err := generated.Text{Text: []byte(text), Calls: generated.In(text, calls)}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	password := call(generated.Value, "randAlphaNum", "12")
	ca, caKey := call(generated.Cert, "genCA", "ca", "365"), call(generated.Key, "genCA", "ca", "365")
	cert := call(generated.Cert, "genSignedCert", "shop", "30", "", "shop.svc", ca, caKey)
	secret := func(name string, data map[string]any) map[string]any {
		o := s.secret(name, nil)
		delete(o, "stringData")
		o["data"] = data
		return o
	}
	one := secret("one", map[string]any{
		"password": encode(password), "url": encode("db://ann:" + password + "@db"), "tls.crt": encode(cert), "ca.crt": encode(ca), "plain": "cGxhaW4=",
	})
	if err := s.spoke.Create(context.Background(), &unstructured.Unstructured{Object: runtime.DeepCopyJSON(one)}); err == nil || !strings.Contains(err.Error(), "base64") {
		t.Fatalf("an agent that does not know what this is applies it: %v", err)
	}
	s.put("web", objects{one, s.configMap("a", nil)}, serverSide(false), mode("Correct"), of("retail"))
	s.expectApplied("web")
	read := func(name string) map[string]string {
		t.Helper()
		var found corev1.Secret
		if err := s.spoke.Get(context.Background(), types.NamespacedName{Namespace: s.target, Name: name}, &found); err != nil {
			t.Fatal(err)
		}
		data := map[string]string{}
		for key, value := range found.Data {
			data[key] = string(value)
		}
		return data
	}
	first := read("one")
	if !regexp.MustCompile(`^[a-zA-Z0-9]{12}$`).MatchString(first["password"]) || first["url"] != "db://ann:"+first["password"]+"@db" || first["plain"] != "plain" {
		t.Errorf("the Secret holds %v", first)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(first["ca.crt"]))
	block, _ := pem.Decode([]byte(first["tls.crt"]))
	if block == nil {
		t.Fatalf("no certificate: %q", first["tls.crt"])
	}
	if leaf, err := x509.ParseCertificate(block.Bytes); err != nil {
		t.Error(err)
	} else if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "shop.svc"}); err != nil {
		t.Error(err)
	}

	// Another work of the application has the same values, and so has a later commit and an agent that starts anew.
	s.put("more", objects{secret("two", map[string]any{"password": encode(password)})}, serverSide(false), of("retail"))
	s.expectApplied("more")
	if got := read("two")["password"]; got != first["password"] {
		t.Error("the same value is another one in another Secret")
	}

	// Another team that names the same call, as nothing hinders it, has a value of its own.
	s.put("other", objects{secret("taken", map[string]any{"password": encode(password)})}, serverSide(false), of("others"))
	s.expectApplied("other")
	if got := read("taken")["password"]; got == first["password"] || got == "" {
		t.Errorf("another team reads %q", got)
	}

	// What is known already is not read again at each look.
	before := reads.Load()
	for i := range 5 {
		name := fmt.Sprintf("look-%d", i)
		s.put("more", objects{secret("two", map[string]any{"password": encode(password)}), s.configMap(name, nil)}, serverSide(false), of("retail"))
		s.expectApplied("more")
	}
	if n := reads.Load() - before; n != 0 {
		t.Errorf("the Secret was read %d times for values that were known", n)
	}

	s.stop()
	s.start()
	one["data"].(map[string]any)["new"] = base64.StdEncoding.EncodeToString([]byte("new"))
	s.put("web", objects{one, s.configMap("a", nil)}, serverSide(false), mode("Correct"), of("retail"))
	s.eventually("the new key", func() error {
		if got := read("one")["new"]; got != "new" {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
	if got := read("one"); got["password"] != first["password"] || got["tls.crt"] != first["tls.crt"] {
		t.Error("the values are others after a restart")
	}
	for _, name := range []string{"web", "more"} {
		if text := dump(t, s.work(name)); strings.Contains(text, first["password"]) {
			t.Errorf("work %s tells the password", name)
		}
	}

	// What cannot be made or kept is named, and nobody else waits for it.
	var large strings.Builder
	for i := range 17 {
		large.WriteString(call(generated.Value, "randAlphaNum", fmt.Sprint(64<<10-i))) // more than a Secret holds
	}
	s.put("newer", objects{
		secret("three", map[string]any{"v": encode(call(generated.Value, "randFuture", "1"))}), secret("four", map[string]any{"v": encode(large.String())}),
		secret("five", map[string]any{"v": encode(call(generated.Value, "randAlphaNum", "7"))}), s.configMap("b", nil),
	}, serverSide(false), of("retail"))
	s.expectWork("newer", workv1.WorkApplied, metav1.ConditionFalse)
	reason := func(i int, want string) {
		t.Helper()
		s.eventually("the reason", func() error {
			manifests := s.work("newer").Status.ResourceStatus.Manifests
			if len(manifests) > i {
				if c := meta.FindStatusCondition(manifests[i].Conditions, workv1.ManifestApplied); c != nil && strings.Contains(c.Message, want) {
					return nil
				}
			}
			return fmt.Errorf("the work is %s", dump(t, s.work("newer")))
		})
	}
	reason(0, "randFuture: this agent does not know how to make it: upgrade the agent")
	reason(1, "keep generated values in Secret "+s.agent.Namespace+"/muster-generated: with those of this one it would hold")
	s.expectValue(s.configMap("b", nil), "b", "metadata", "name")
	if got := read("five")["v"]; len(got) != 7 {
		t.Errorf("a Secret beside those that fail holds %q", got)
	}
}

// roundTripper is a function that carries requests.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func dump(t *testing.T, w *workv1.ManifestWork) string {
	t.Helper()
	data, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
