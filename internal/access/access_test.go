package access_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/access"
)

func TestOnCluster(t *testing.T) {
	tests := map[string]struct {
		why    string
		user   string
		groups []string
		want   access.Identity
	}{
		"a person": {"the same person with the same groups", "jane@example.com", []string{"shop", "system:authenticated"}, access.Identity{User: "jane@example.com", Groups: []string{"shop"}}},
		"a service account": {
			"another one than the cluster's of that name, as in OCM; its groups too", "system:serviceaccount:ci:bot", []string{"system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"},
			access.Identity{User: "cluster:hub:system:serviceaccount:ci:bot", Groups: []string{"cluster:hub:system:serviceaccounts", "cluster:hub:system:serviceaccounts:ci"}},
		},
		"an administrator of the hub": {"the hub's administrators are not the cluster's", "admin", []string{"system:masters"}, access.Identity{User: "admin", Groups: []string{"cluster:hub:system:masters"}}},
		"a name with our prefix":      {"it is not the service account that it looks like", "cluster:hub:system:serviceaccount:ci:bot", nil, access.Identity{User: "cluster:hub:cluster:hub:system:serviceaccount:ci:bot"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := access.OnCluster(tc.user, tc.groups)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.why, diff)
			}
			if err := got.Check(); err != nil {
				t.Errorf("the agent refuses what the hub sends: %v", err)
			}
			h := http.Header{"Authorization": {"Bearer secret"}, "Impersonate-Uid": {"0"}, "Sec-Websocket-Protocol": {"base64url.bearer.authorization.k8s.io.c2VjcmV0, v5.channel.k8s.io"}}
			got.Set(h)
			if again, err := access.Of(h); err != nil || !cmp.Equal(again, got) {
				t.Errorf("the agent reads %v, %v", again, err)
			}
			if h.Get("Authorization") != "" || h.Get("Sec-Websocket-Protocol") != "v5.channel.k8s.io" {
				t.Errorf("the user's credentials go to the cluster: %v", h)
			}
		})
	}
}

func TestAgentsRefuse(t *testing.T) {
	for name, h := range map[string]http.Header{
		"nobody":                 {},
		"an administrator":       {"Impersonate-User": {"jane"}, "Impersonate-Group": {"system:masters"}},
		"a part of the cluster":  {"Impersonate-User": {"system:kube-controller-manager"}},
		"more than the hub says": {"Impersonate-User": {"jane"}, "Impersonate-Extra-Scopes": {"all"}},
	} {
		if _, err := access.Of(h); err == nil {
			t.Errorf("the agent lets %s act", name)
		}
	}
}

func TestSplit(t *testing.T) {
	tests := map[string]struct{ path, cluster, rest string }{
		"a path":       {"/edge-1/api/v1/pods", "edge-1", "/api/v1/pods"},
		"the root":     {"/edge-1", "edge-1", "/"},
		"no cluster":   {"/", "", ""},
		"a host":       {"/evil.example.com:443/x", "", ""},
		"a upper case": {"/AgentService/Connect", "", ""},
		"dots":         {"/../x", "", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			cluster, rest, err := access.Split(tc.path)
			if cluster != tc.cluster || rest != tc.rest || (err == nil) != (tc.cluster != "") {
				t.Errorf("%q %q %v, want %q %q", cluster, rest, err, tc.cluster, tc.rest)
			}
		})
	}
}
