package doctor

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// TestWay: each thing that keeps one from an API server is told apart from the others, with a next step.
func TestWay(t *testing.T) {
	now := time.Now()
	serve := func(status int, at time.Time) *httptest.Server {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", at.UTC().Format(http.TimeFormat))
			w.WriteHeader(status)
		}))
		s.Config.ErrorLog = nil
		t.Cleanup(s.Close)
		return s
	}
	config := func(s *httptest.Server, change func(*rest.Config)) *rest.Config {
		c := &rest.Config{Host: s.URL}
		if s.Certificate() != nil {
			c.CAData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		}
		if change != nil {
			change(c)
		}
		return c
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	well := serve(http.StatusOK, now)
	for name, row := range map[string]struct {
		config *rest.Config
		check  string // the first problem; none when empty
		says   string
		next   string
	}{
		"all is well":            {config(well, nil), "", "", ""},
		"nobody listens":         {&rest.Config{Host: "https://" + nobody}, "hub: address", "nobody listens at", "the port is right"},
		"a name without address": {&rest.Config{Host: "https://no.such.host.invalid"}, "hub: address", "no.such.host.invalid cannot be resolved", "whether DNS knows it"},
		"a proxy that is away": {
			config(well, func(c *rest.Config) {
				c.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://" + nobody) }
			}), "hub: address", "the proxy on the way", "HTTPS_PROXY",
		},
		"no https": {
			&rest.Config{Host: strings.Replace(plain.URL, "http:", "https:", 1)}, "hub: address", "speaks HTTP", "https port",
		},
		"another authority": {config(well, func(c *rest.Config) { c.CAData = nil }), "hub: certificate", "unknown authority", "--hub-ca-file"},
		"another name": {
			config(well, func(c *rest.Config) { c.ServerName = "hub.other.test" }), "hub: certificate", "hub.other.test", "tls-server-name",
		},
		"a credential that is rejected": {config(serve(http.StatusUnauthorized, now), nil), "hub: credential", "rejected the credential", "muster join NAME"},
		"no API server":                 {config(serve(http.StatusTeapot, now), nil), "hub: credential", "418", "whether it is a Kubernetes API server"},
		"clocks that are apart":         {config(serve(http.StatusOK, now.Add(-time.Hour)), nil), "hub: clock", "1h0m", "NTP"},
	} {
		t.Run(name, func(t *testing.T) {
			found := Problems(reach("hub", row.config.Host, "see the kubeconfig", ask(t.Context(), row.config), now))
			if row.check == "" {
				if len(found) > 0 {
					t.Errorf("problems %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Check != row.check || !strings.Contains(found[0].Message, row.says) || !strings.Contains(found[0].Next, row.next) {
				t.Errorf("%+v, want %s: %q, next %q", found, row.check, row.says, row.next)
			}
		})
	}
}
