package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/muster-io/muster/internal/access"
)

// kubeconfigHub is an API server that has nothing but where the proxy is.
func kubeconfigHub(t *testing.T, data map[string]string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/api":
			_ = json.NewEncoder(w).Encode(metav1.APIVersions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIVersions"}, Versions: []string{"v1"}})
		case r.URL.Path == "/apis":
			_ = json.NewEncoder(w).Encode(metav1.APIGroupList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"}})
		case r.URL.Path == "/api/v1":
			_ = json.NewEncoder(w).Encode(metav1.APIResourceList{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: "v1",
				APIResources: []metav1.APIResource{{Name: "configmaps", Namespaced: true, Kind: "ConfigMap", Verbs: metav1.Verbs{"get"}}},
			})
		case r.URL.Path == "/api/v1/namespaces/muster-system/configmaps/muster-proxy" && data != nil:
			_ = json.NewEncoder(w).Encode(corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Data: data})
		default:
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: 404})
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestKubeconfig(t *testing.T) {
	t.Parallel()
	there := map[string]string{access.URLKey: "https://clusters.example.com:8446", access.CAKey: "PEM"}
	tests := map[string]struct {
		why   string
		proxy map[string]string
		user  clientcmdapi.AuthInfo
		token string // what the kubeconfig has then
		fault string
	}{
		"a token":       {"people keep their own credentials", there, clientcmdapi.AuthInfo{Token: "mine"}, "mine", ""},
		"no proxy":      {"the next step is said", nil, clientcmdapi.AuthInfo{Token: "mine"}, "", "start it with --proxy-address"},
		"somebody else": {"it would be refused on each request", there, clientcmdapi.AuthInfo{Token: "mine", Impersonate: "root"}, "", "acts as root"},
		"a password":    {"the proxy cannot check it", there, clientcmdapi.AuthInfo{Username: "jane", Password: "secret"}, "", "neither a token"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub := clientcmdapi.NewConfig()
			hub.Clusters["hub"] = &clientcmdapi.Cluster{Server: kubeconfigHub(t, tc.proxy)}
			hub.AuthInfos["me"] = &tc.user
			hub.Contexts["hub"] = &clientcmdapi.Context{Cluster: "hub", AuthInfo: "me"}
			hub.CurrentContext = "hub"
			dir := t.TempDir()
			file, out := filepath.Join(dir, "hub"), filepath.Join(dir, "edge-1")
			if err := clientcmd.WriteToFile(*hub, file); err != nil {
				t.Fatal(err)
			}
			var told bytes.Buffer
			root := newRoot(&cli{out: io.Discard, errs: &told, now: time.Now})
			root.SetArgs([]string{"kubeconfig", "edge-1", "--kubeconfig", file, "--out", out, "-n", "shop"})
			err := root.ExecuteContext(t.Context())
			if tc.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fault) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: %v, want %q", tc.why, err, tc.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := clientcmd.LoadFromFile(out)
			if err != nil {
				t.Fatal(err)
			}
			context := got.Contexts[got.CurrentContext]
			cluster, who := got.Clusters[context.Cluster], got.AuthInfos[context.AuthInfo]
			if cluster.Server != "https://clusters.example.com:8446/edge-1" || string(cluster.CertificateAuthorityData) != "PEM" || who.Token != tc.token || context.Namespace != "shop" {
				t.Errorf("%s: %+v %+v %+v", tc.why, cluster, who, context)
			}
			if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("others may read it: %v %v", info.Mode(), err)
			}
		})
	}
}
