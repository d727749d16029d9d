package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/muster-io/muster/internal/test/charts"
)

// cart is a chart whose ConfigMap says its version and what values say.
const cart = `
-- values.yaml --
size: small
-- templates/config.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: cart}
data: {version: "{{ .Chart.Version }}", size: {{ .Values.size }}}
`

// TestSources runs the program on a fleet that takes a chart from a repository that the test serves, over TLS and with a password.
func TestSources(t *testing.T) {
	type key struct{}
	repository := func(ts *testscript.TestScript) *charts.Repository { return ts.Value(key{}).(*charts.Repository) }
	testscript.Run(t, testscript.Params{
		Dir: "testdata/sources", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			repo := charts.New(t)
			repo.Change(func(s *charts.State) { s.User, s.Password = "ann", "hunter2" })
			env.Values[key{}] = repo
			env.Vars = append(env.Vars, "CHARTS="+repo.URL)
			secret := fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: charts, namespace: retail}\nstringData: {username: ann, password: hunter2}\ndata: {ca.crt: %s}\n",
				base64.StdEncoding.EncodeToString(repo.CA()))
			for name, text := range map[string]string{"secrets.yaml": secret, "values.yaml": "size: large\n"} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(text), 0o600); err != nil {
					return err
				}
			}
			return setupFleet(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "replace": replace, "commit": commit,
			"publish": func(ts *testscript.TestScript, _ bool, args []string) { repository(ts).Publish(args[0], args[1], cart) },
			"away": func(ts *testscript.TestScript, _ bool, _ []string) {
				repository(ts).Change(func(s *charts.State) { s.Status = http.StatusServiceUnavailable })
			},
		},
	})
}
