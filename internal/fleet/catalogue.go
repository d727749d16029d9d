package fleet

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// APIs is what one cluster serves: its version and its kinds.
type APIs struct {
	// KubernetesVersion such as v1.36.3.
	KubernetesVersion string
	// Known is true when the set was reported by the cluster, false when it is the built-in kinds.
	Known bool
	// Digest identifies the set: equal digests, equal APIs.
	Digest string

	kinds map[schema.GroupVersionKind]musterv1alpha1.APIResource
	list  []musterv1alpha1.APIResource
}

// DefaultKubernetesVersion is assumed of a cluster that has not reported one.
const DefaultKubernetesVersion = "v1.30.0"

//go:embed builtin.json
var builtinJSON []byte

// builtin are the kinds that Kubernetes itself serves by default, from the oldest supported version on.
var builtin = sync.OnceValue(func() []musterv1alpha1.APIResource {
	var resources []musterv1alpha1.APIResource
	if err := json.Unmarshal(builtinJSON, &resources); err != nil {
		panic(fmt.Sprintf("builtin.json: %v", err)) // embedded data, proven by a test
	}
	return resources
})

// KubernetesAPIs are the kinds of the oldest Kubernetes that is supported.
var KubernetesAPIs = sync.OnceValue(func() *APIs { return NewAPIs("", nil) })

// NewAPIs makes a set of APIs. Without resources it holds the kinds that Kubernetes itself serves.
func NewAPIs(version string, resources []musterv1alpha1.APIResource) *APIs {
	apis := &APIs{KubernetesVersion: version, Known: resources != nil, list: resources}
	if version == "" {
		apis.KubernetesVersion = DefaultKubernetesVersion
	}
	if resources == nil {
		apis.list = builtin()
	}
	apis.kinds = make(map[schema.GroupVersionKind]musterv1alpha1.APIResource, len(apis.list))
	for _, r := range apis.list {
		apis.kinds[schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}] = r
	}
	apis.Digest = APISetDigest(apis.KubernetesVersion, apis.list)
	return apis
}

// APISetDigest is the name of the APISet with this content: resources must be sorted by group, version and kind.
func APISetDigest(version string, resources []musterv1alpha1.APIResource) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", version)
	for _, r := range resources {
		fmt.Fprintf(h, "%q %q %q %q %v\n", r.Group, r.Version, r.Kind, r.Resource, r.Namespaced) // quoted: no two sets are alike
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// Lookup finds a kind.
func (a *APIs) Lookup(gvk schema.GroupVersionKind) (musterv1alpha1.APIResource, bool) {
	r, ok := a.kinds[gvk]
	return r, ok
}

// Resources are all kinds, sorted by group, version and kind.
func (a *APIs) Resources() []musterv1alpha1.APIResource { return a.list }

// APIsOf finds what a cluster serves: what it reported, else what its file assumes, else what is assumed of all, else the
// built-in kinds of its version.
func (w *World) APIsOf(cluster *clusterv1.ManagedCluster) *APIs {
	digest := ""
	for _, claim := range cluster.Status.ClusterClaims {
		if claim.Name == musterv1alpha1.APISetClaim {
			digest = claim.Value
		}
	}
	for i := range w.APISets {
		set := &w.APISets[i]
		if set.Name != digest {
			continue
		}
		if apis := sharedAPIs(set.KubernetesVersion, set.Resources); apis.Digest == digest {
			return apis
		}
	}
	version := strings.TrimSpace(cluster.Status.Version.Kubernetes)
	own := assumptionOf(cluster)
	if own != nil {
		version = cmp.Or(version, own.KubernetesVersion)
	}
	if own != nil && len(own.APIs) > 0 {
		if w.Assumed != nil {
			version = cmp.Or(version, w.Assumed.KubernetesVersion)
		}
		return sharedAPIs(version, own.APIs)
	}
	if w.Assumed == nil {
		return sharedAPIs(version, nil)
	}
	return sharedAPIs(cmp.Or(version, w.Assumed.KubernetesVersion), w.Assumed.Resources)
}

// ReportsAPIs tells whether a cluster has reported what it serves, so that nothing has to be assumed of it.
func (w *World) ReportsAPIs(cluster *clusterv1.ManagedCluster) bool {
	apis := w.APIsOf(cluster)
	return slices.ContainsFunc(cluster.Status.ClusterClaims, func(claim clusterv1.ManagedClusterClaim) bool {
		return claim.Name == musterv1alpha1.APISetClaim && claim.Value == apis.Digest
	})
}

// apisCache holds the sets of APIs that were asked for last: a fleet has few distinct ones and every cluster asks.
var apisCache = struct {
	sync.Mutex
	sets map[apisKey]*APIs
}{sets: map[apisKey]*APIs{}}

// apisKey identifies a list of resources by where it lies: lists are read-only once they are in a World.
type apisKey struct {
	version string
	first   *musterv1alpha1.APIResource
	count   int
}

const apisCacheSize = 256

func sharedAPIs(version string, resources []musterv1alpha1.APIResource) *APIs {
	key := apisKey{version: version, count: len(resources)}
	if len(resources) > 0 {
		key.first = &resources[0]
	}
	apisCache.Lock()
	defer apisCache.Unlock()
	if apis, ok := apisCache.sets[key]; ok {
		return apis
	}
	if len(apisCache.sets) >= apisCacheSize {
		clear(apisCache.sets)
	}
	apis := NewAPIs(version, resources)
	apisCache.sets[key] = apis
	return apis
}
