package submariner

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
)

func setWith(annotations ...string) *clusterv1beta2.ManagedClusterSet {
	set := &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "east", Annotations: map[string]string{}}}
	keys := []string{submarinerv1alpha1.GlobalnetAnnotation, submarinerv1alpha1.GlobalnetRangeAnnotation, submarinerv1alpha1.GlobalnetSizeAnnotation}
	for i, value := range annotations {
		set.Annotations[keys[i]] = value
	}
	return set
}

// TestGlobalnetOf: what a set says, and what is wrong with it.
func TestGlobalnetOf(t *testing.T) {
	for name, row := range map[string]struct {
		set  *clusterv1beta2.ManagedClusterSet
		want string
	}{
		"nothing":    {setWith(), ""},
		"off":        {setWith("false", "nonsense"), ""},
		"defaults":   {setWith("true"), "242.0.0.0/8 /16"},
		"its own":    {setWith("true", "10.1.2.3/16", "1000"), "10.1.0.0/16 /22"},
		"no boolean": {setWith("yes"), "takes true or false"},
		"no range":   {setWith("true", "242.0.0.0"), "range of IPv4 addresses"},
		"IPv6":       {setWith("true", "fd00::/8"), "range of IPv4 addresses"},
		"too large":  {setWith("true", "10.0.0.0/24", "257"), "how many addresses"},
		"none":       {setWith("true", "10.0.0.0/24", "0"), "how many addresses"},
	} {
		g, err := globalnetOf(row.set)
		got := ""
		if err != nil {
			got = err.Error()
		} else if g != nil {
			got = g.cidr.String() + " /" + strings.TrimPrefix(g.free(nil).String(), g.free(nil).Addr().String()+"/")
		}
		if !strings.Contains(got, row.want) || row.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
}

// TestAllocate: which cluster gets which network.
func TestAllocate(t *testing.T) {
	networks := func(pairs ...string) (out []network) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, network{pairs[i], []string{pairs[i+1]}})
		}
		return out
	}
	for name, row := range map[string]struct {
		why      string
		cidr     string
		have     []network
		clusters []string
		chosen   map[string]string
		want     []network
	}{
		"first":    {"one after the other", "10.0.0.0/22", nil, []string{"b", "a"}, nil, networks("a", "10.0.0.0/24", "b", "10.0.1.0/24")},
		"kept":     {"a network that changes cuts connections", "10.0.0.0/22", networks("b", "10.0.0.0/24"), []string{"a", "b"}, nil, networks("a", "10.0.1.0/24", "b", "10.0.0.0/24")},
		"freed":    {"a cluster that has left has none", "10.0.0.0/24", networks("gone", "10.0.0.0/24"), []string{"a"}, nil, networks("a", "10.0.0.0/24")},
		"chosen":   {"what a person chose comes first", "10.0.0.0/22", networks("a", "10.0.0.0/24"), []string{"a", "b"}, map[string]string{"b": "10.0.0.0/24"}, networks("a", "10.0.1.0/24", "b", "10.0.0.0/24")},
		"outside":  {"a person may choose another range", "10.0.0.0/22", nil, []string{"a", "b"}, map[string]string{"a": "172.16.0.0/20"}, networks("a", "172.16.0.0/20", "b", "10.0.0.0/24")},
		"twice":    {"the second that chose the same has none", "10.0.0.0/22", nil, []string{"a", "b"}, map[string]string{"a": "10.0.2.0/24", "b": "10.0.2.0/23"}, networks("a", "10.0.2.0/24")},
		"used up":  {"there is none for the third", "10.0.0.0/23", nil, []string{"a", "b", "c"}, nil, networks("a", "10.0.0.0/24", "b", "10.0.1.0/24")},
		"re-sized": {"networks of another range are given anew", "10.0.0.0/22", networks("a", "242.0.0.0/16"), []string{"a"}, nil, networks("a", "10.0.0.0/24")},
		"the end":  {"the last addresses that there are", "255.255.255.0/24", nil, []string{"a", "b"}, nil, networks("a", "255.255.255.0/24")},
	} {
		g, err := globalnetOf(setWith("true", row.cidr, "256"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row.want, g.allocate(row.have, row.clusters, row.chosen)); diff != "" {
			t.Errorf("%s: %s (-want +got)\n%s", name, row.why, diff)
		}
	}
}
