package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/embedded"
)

// TestHubUnreachable: whoever asks a hub that is silent, or gone, is not kept waiting, and is told what to do.
func TestHubUnreachable(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	ended := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	t.Cleanup(func() { close(ended); silent.Close() })
	plain := httptest.NewServer(nil)
	t.Cleanup(plain.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, test := range map[string]struct {
		why, url string
		want     string
	}{
		"silent":       {why: "an API server whose etcd is dead takes a request and never answers", url: silent.URL, want: "does not answer in time: see whether its API server and its etcd run"},
		"unresolvable": {why: "nothing has the name", url: "https://hub.invalid:6443", want: "the name of the hub at https://hub.invalid:6443 cannot be resolved"},
		"no hub":       {why: "it speaks no TLS", url: strings.Replace(plain.URL, "http:", "https:", 1), want: "cannot be reached"},
		"gone":         {why: "nothing listens", url: gone.URL, want: "start the hub, or name another with --kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			state := t.TempDir()
			file := embedded.HubKubeconfig(state)
			writeKubeconfig(t, file, test.url)
			for _, command := range []string{"status", "status cluster a", "drift", "why a/b c", "wait --revision abc", "approve --plan 012345",
				"accept a", "detach a --clean", "join a --out " + filepath.Join(state, "a"), "world save " + filepath.Join(state, "w"),
				"status --watch", "validate --world hub testdata/fleet"} {
				expect(t, trouble(t, append(strings.Fields(command), "--request-timeout", "100ms", "--kubeconfig", file)...), test.want)
			}
			if name == "silent" || name == "gone" {
				expect(t, trouble(t, "status", "--request-timeout", "100ms", "--state", state), "muster up starts")
			}
		})
	}
}

func writeKubeconfig(t *testing.T, file, url string) {
	t.Helper()
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q}}],
"contexts":[{"name":"c","context":{"cluster":"c"}}]}`, url)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// trouble runs the program, which is to end with 2, and gives what it says.
func trouble(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, &out, &errs); code != exitTrouble {
		t.Errorf("muster %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, exitTrouble, out.String(), errs.String())
	}
	return errs.String()
}
