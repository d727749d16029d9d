package submariner

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
)

// globalnet says which networks the clusters of a set get where their own overlap.
type globalnet struct {
	cidr netip.Prefix // of all clusters together
	size int          // addresses of one cluster
}

// globalnetOf reads it from a set; nil when the set has none.
func globalnetOf(set *clusterv1beta2.ManagedClusterSet) (*globalnet, error) {
	said := set.Annotations[submarinerv1alpha1.GlobalnetAnnotation]
	enabled, err := strconv.ParseBool(orElse(said, "false"))
	if err != nil {
		return nil, fmt.Errorf("annotation %s takes true or false, not %q", submarinerv1alpha1.GlobalnetAnnotation, said)
	}
	if !enabled {
		return nil, nil
	}
	g := &globalnet{}
	text := orElse(set.Annotations[submarinerv1alpha1.GlobalnetRangeAnnotation], "242.0.0.0/8")
	if g.cidr, err = netip.ParsePrefix(text); err != nil || !g.cidr.Addr().Is4() {
		return nil, fmt.Errorf("annotation %s takes a range of IPv4 addresses such as 242.0.0.0/8, not %q", submarinerv1alpha1.GlobalnetRangeAnnotation, text)
	}
	g.cidr = g.cidr.Masked()
	text = orElse(set.Annotations[submarinerv1alpha1.GlobalnetSizeAnnotation], "65536")
	if g.size, err = strconv.Atoi(text); err != nil || g.size < 1 || g.length() < g.cidr.Bits() {
		return nil, fmt.Errorf("annotation %s takes how many addresses of %s a cluster gets, not %q", submarinerv1alpha1.GlobalnetSizeAnnotation, g.cidr, text)
	}
	return g, nil
}

// length is that of the prefix of one cluster.
func (g *globalnet) length() int { return 32 - bits.Len(uint(g.size-1)) }

// network of one cluster, as Submariner's own programs note it in a broker.
type network struct {
	Cluster string   `json:"cluster_id"`
	CIDRs   []string `json:"global_cidr"`
}

// allocate gives each cluster a network. A cluster keeps the one that it has, or has the one that its SubmarinerConfig chose; none overlaps
// with that of another. A cluster for which there is none is left out.
func (g *globalnet) allocate(have []network, clusters []string, chosen map[string]string) []network {
	var out []network
	var taken []netip.Prefix
	give := func(cluster string, p netip.Prefix) {
		if p.IsValid() && !slices.ContainsFunc(taken, p.Overlaps) {
			taken, out = append(taken, p), append(out, network{cluster, []string{p.String()}})
		}
	}
	given := func(cluster string) bool {
		return slices.ContainsFunc(out, func(n network) bool { return n.Cluster == cluster })
	}
	clusters = slices.Sorted(slices.Values(clusters))
	for _, cluster := range clusters { // what people chose comes first
		if p, err := netip.ParsePrefix(chosen[cluster]); err == nil {
			give(cluster, p.Masked())
		}
	}
	for _, n := range have {
		if slices.Contains(clusters, n.Cluster) && chosen[n.Cluster] == "" && len(n.CIDRs) == 1 {
			if p, err := netip.ParsePrefix(n.CIDRs[0]); err == nil && g.cidr.Contains(p.Addr()) && p.Bits() == g.length() {
				give(n.Cluster, p)
			}
		}
	}
	for _, cluster := range clusters {
		if chosen[cluster] == "" && !given(cluster) {
			give(cluster, g.free(taken))
		}
	}
	slices.SortFunc(out, func(a, b network) int { return strings.Compare(a.Cluster, b.Cluster) })
	return out
}

// free is the first network of the range that overlaps with none that is taken; the zero value when there is none.
func (g *globalnet) free(taken []netip.Prefix) netip.Prefix {
	first := g.cidr.Addr().As4()
	step := uint64(1) << (32 - g.length())
	start := uint64(binary.BigEndian.Uint32(first[:]))
	for at := start; at < start+uint64(1)<<(32-g.cidr.Bits()); at += step {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(at))
		if p := netip.PrefixFrom(netip.AddrFrom4(a), g.length()); !slices.ContainsFunc(taken, p.Overlaps) {
			return p
		}
	}
	return netip.Prefix{}
}

// The ConfigMap of a broker in which Submariner's own programs look for its networks too.
const (
	globalnetMap     = "submariner-globalnet-info"
	globalnetEnabled = "globalnetEnabled"
	globalnetRange   = "globalnetCidrRange"
	globalnetSize    = "globalnetClusterSize"
	globalnetInfo    = "clusterinfo"
)

// networksIn are those that a broker has given.
func networksIn(m *corev1.ConfigMap) []network {
	var networks []network
	if err := json.Unmarshal([]byte(orElse(m.Data[globalnetInfo], "[]")), &networks); err != nil {
		return nil // they are given anew
	}
	return networks
}

// dataOf is the ConfigMap's content.
func (g *globalnet) dataOf(networks []network) (map[string]string, error) {
	info, err := json.Marshal(networks)
	cidr := strconv.Quote(g.cidr.String())
	return map[string]string{globalnetEnabled: "true", globalnetRange: cidr, globalnetSize: strconv.Itoa(g.size), globalnetInfo: string(info)}, err
}

// ensureGlobalnet notes in a broker which network each cluster of its set has. A set without Globalnet, or with one that cannot be read, changes
// nothing there: the add-ons say so.
func (r *brokers) ensureGlobalnet(ctx context.Context, set *clusterv1beta2.ManagedClusterSet, clusters []string) error {
	g, err := globalnetOf(set)
	if g == nil || err != nil {
		return nil
	}
	chosen := map[string]string{}
	for _, cluster := range clusters {
		config := &submarinerv1alpha1.SubmarinerConfig{}
		if err := r.client.Get(ctx, client.ObjectKey{Namespace: cluster, Name: submarinerv1alpha1.AddOnName}, config); client.IgnoreNotFound(err) != nil {
			return err
		}
		chosen[cluster] = config.Spec.GlobalCIDR
	}
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace(set.Name), Name: globalnetMap, Labels: map[string]string{"component": "submariner-globalnet"}}}
	err = r.reader.Get(ctx, client.ObjectKeyFromObject(m), m)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return err
	}
	was := m.Data
	if m.Data, err = g.dataOf(g.allocate(networksIn(m), clusters, chosen)); err != nil {
		return err
	}
	switch {
	case missing:
		err = r.client.Create(ctx, m)
	case !equality.Semantic.DeepEqual(was, m.Data):
		err = r.client.Update(ctx, m)
	}
	if err != nil {
		return fmt.Errorf("give the clusters of set %s networks of Globalnet: %w", set.Name, err)
	}
	return nil
}

// network is the one that the broker has given to a cluster; "" without Globalnet.
func (r *agents) network(ctx context.Context, set *clusterv1beta2.ManagedClusterSet, cluster string) (string, error) {
	g, err := globalnetOf(set)
	if err != nil {
		return "", &waits{reasonBrokerNotReady, fmt.Sprintf("set %s: %v", set.Name, err)}
	}
	if g == nil {
		return "", nil
	}
	m := &corev1.ConfigMap{}
	if err := r.reader.Get(ctx, client.ObjectKey{Namespace: Namespace(set.Name), Name: globalnetMap}, m); client.IgnoreNotFound(err) != nil {
		return "", err
	}
	for _, n := range networksIn(m) {
		if n.Cluster == cluster && len(n.CIDRs) == 1 {
			return n.CIDRs[0], nil
		}
	}
	return "", &waits{reasonBrokerNotReady, fmt.Sprintf("cluster %s has no network of Globalnet yet: if it stays so, %s is used up, or globalCIDR of its SubmarinerConfig is that of another cluster", cluster, g.cidr)}
}
