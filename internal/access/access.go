// Package access decides as whom a user of the hub acts on a managed cluster.
//
// The hub knows who asks, and the cluster's own RBAC says what that user may: the agent carries the request to the cluster as the
// user and with the user's groups. Names that belong to the hub itself do not belong to the cluster: what begins with system: on the
// hub, such as a service account, gets the prefix cluster:hub:, as OCM's cluster-proxy does it for service accounts.
package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// How a cluster is reached through its agent.
const (
	// Prefix of the names on a cluster that stand for something of the hub.
	Prefix = "cluster:hub:"
	// Verb is what a person has to be allowed on the hub, on the subresource of a ManagedCluster, to reach the cluster through the proxy.
	Verb = "get"
	// Subresource of ManagedClusters that the right is for.
	Subresource = "proxy"
	// ConfigMap is the one in Muster's namespace on the hub that says where the proxy is. Agents and people read it.
	ConfigMap = "muster-proxy"
	// URLKey and CAKey of the ConfigMap: the proxy's https URL, and the certificates that it is trusted with; without them those of the
	// system.
	URLKey = "url"
	CAKey  = "ca.crt"
)

// reserved are names that Kubernetes gives to parts of a cluster.
const reserved = "system:"

// implied is the group that an API server adds to everybody whom it knows.
const implied = "system:authenticated"

// Identity is a user with groups, as a managed cluster knows them.
type Identity struct {
	User   string
	Groups []string
}

// OnCluster is whom a user of the hub is on a managed cluster. Different users and groups of the hub stay different.
func OnCluster(user string, groups []string) Identity {
	i := Identity{User: prefixed(user)}
	for _, g := range groups {
		if g != implied {
			i.Groups = append(i.Groups, prefixed(g))
		}
	}
	return i
}

func prefixed(name string) string {
	if strings.HasPrefix(name, reserved) || strings.HasPrefix(name, Prefix) {
		return Prefix + name
	}
	return name
}

// Check refuses an identity that no user of a hub has on a cluster: an agent makes nobody a part of its cluster, such as
// system:masters, whatever the hub says.
func (i Identity) Check() error {
	if i.User == "" {
		return errors.New("the request names no user")
	}
	for _, name := range append([]string{i.User}, i.Groups...) {
		if strings.HasPrefix(name, reserved) {
			return fmt.Errorf("nobody acts as %s through the proxy", name)
		}
	}
	return nil
}

// impersonation begins the headers with which Kubernetes is asked to act as somebody else.
const impersonation = "Impersonate-"

// Impersonates says whether a request asks to act as somebody else.
func Impersonates(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(http.CanonicalHeaderKey(name), impersonation) {
			return true
		}
	}
	return false
}

// Set makes a request one of this identity, with no other credentials in it.
func (i Identity) Set(h http.Header) {
	for name := range h {
		if canonical := http.CanonicalHeaderKey(name); strings.HasPrefix(canonical, impersonation) || canonical == "Authorization" {
			delete(h, name)
		}
	}
	h.Set(impersonation+"User", i.User)
	for _, g := range i.Groups {
		h.Add(impersonation+"Group", g)
	}
	// A browser's and a dashboard's way to show a token, in what a WebSocket is asked for.
	if protocols := h.Values("Sec-Websocket-Protocol"); len(protocols) > 0 {
		var kept []string
		for p := range strings.SplitSeq(strings.Join(protocols, ","), ",") {
			if p = strings.TrimSpace(p); !strings.HasPrefix(p, "base64url.bearer.authorization.k8s.io.") {
				kept = append(kept, p)
			}
		}
		h.Del("Sec-Websocket-Protocol")
		if len(kept) > 0 {
			h.Set("Sec-Websocket-Protocol", strings.Join(kept, ", "))
		}
	}
}

// Of is the identity of a request that the hub has sent.
func Of(h http.Header) (Identity, error) {
	i := Identity{User: h.Get(impersonation + "User"), Groups: slices.Clone(h.Values(impersonation + "Group"))}
	for name := range h {
		if strings.HasPrefix(name, impersonation) && name != impersonation+"User" && name != impersonation+"Group" {
			return i, fmt.Errorf("header %s is none that the hub sends", name)
		}
	}
	return i, i.Check()
}

// Split takes the cluster from the path of a request: /<cluster>/<path of the cluster's API>.
func Split(path string) (cluster, rest string, err error) {
	cluster, rest, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if problems := validation.IsDNS1123Subdomain(cluster); len(problems) > 0 {
		return "", "", fmt.Errorf("the path has to begin with the name of a managed cluster, as in /edge-1/api/v1/namespaces: %s", problems[0])
	}
	return cluster, "/" + rest, nil
}

// Refuse answers as an API server does, so that kubectl prints the message.
func Refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status) // who asked has gone
}
