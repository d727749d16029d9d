package registration

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func clusterClaim(name, value string, labels ...string) clusterv1alpha1.ClusterClaim {
	c := clusterv1alpha1.ClusterClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: clusterv1alpha1.ClusterClaimSpec{Value: value}}
	for _, l := range labels {
		metav1.SetMetaDataLabel(&c.ObjectMeta, l, "")
	}
	return c
}

func TestMergeClaims(t *testing.T) {
	for name, test := range map[string]struct {
		why      string
		declared []clusterv1alpha1.ClusterClaim
		computed map[string]string
		want     []clusterv1.ManagedClusterClaim
		dropped  int
	}{
		"reserved, then reserved by suffix, then custom": {
			why:      "OCM's order",
			declared: []clusterv1alpha1.ClusterClaim{clusterClaim("a", "1"), clusterClaim("z.reserved", "2"), clusterClaim("product.open-cluster-management.io", "3")},
			computed: map[string]string{"id.k8s.io": "4", musterv1alpha1.APISetClaim: "5"},
			want:     []clusterv1.ManagedClusterClaim{{Name: "id.k8s.io", Value: "4"}, {Name: "product.open-cluster-management.io", Value: "3"}, {Name: "apis.muster.dev", Value: "5"}, {Name: "z.reserved", Value: "2"}, {Name: "a", Value: "1"}},
		},
		"declared before computed": {
			why:      "the cluster's own word counts",
			declared: []clusterv1alpha1.ClusterClaim{clusterClaim("id.k8s.io", "mine"), clusterClaim(musterv1alpha1.APISetClaim, "forged")},
			computed: map[string]string{"id.k8s.io": "uid"},
			want:     []clusterv1.ManagedClusterClaim{{Name: "id.k8s.io", Value: "mine"}},
		},
		"too many": {
			why:      "custom ones only, by name",
			declared: []clusterv1alpha1.ClusterClaim{clusterClaim("d", "1"), clusterClaim("c", "1"), clusterClaim("b", "1"), clusterClaim("a.reserved", "1")},
			want:     []clusterv1.ManagedClusterClaim{{Name: "a.reserved", Value: "1"}, {Name: "b", Value: "1"}, {Name: "c", Value: "1"}},
			dropped:  1,
		},
		"spoke only": {
			why:      "whatever the label's value",
			declared: []clusterv1alpha1.ClusterClaim{clusterClaim("a", "1", spokeOnly)},
			want:     []clusterv1.ManagedClusterClaim{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, dropped := mergeClaims(test.declared, test.computed, 2, []string{".reserved"})
			if diff := cmp.Diff(test.want, got); diff != "" || dropped != test.dropped {
				t.Errorf("%s: dropped %d (-want +got):\n%s", test.why, dropped, diff)
			}
		})
	}
}

func TestProductAndPlatform(t *testing.T) {
	for version, want := range map[string]string{
		"v1.34.1-eks-99d6cc0": "EKS", "v1.33.2-gke.1240000": "GKE", "v1.34.1+k3s1": "K3S", "v1.34.1+rke2r1": "RKE2", "v1.36.3": "Other",
	} {
		if got := product(version, false); got != want {
			t.Errorf("product of %s: %s, want %s", version, got, want)
		}
	}
	if got := product("v1.33.2", true); got != "OpenShift" {
		t.Errorf("with OpenShift's APIs: %s", got)
	}
	node := func(id string) []corev1.Node {
		return []corev1.Node{{}, {Spec: corev1.NodeSpec{ProviderID: id}}}
	}
	for id, want := range map[string]string{"aws:///eu-west-1a/i-0": "AWS", "gce://p/z/n": "GCP", "kwok-x": "Other", "": "Other"} {
		if got := platform(node(id)); got != want {
			t.Errorf("platform of %q: %s, want %s", id, got, want)
		}
	}
}

func TestCapacity(t *testing.T) {
	node := func(unschedulable bool, cpu string) corev1.Node {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
		return corev1.Node{Spec: corev1.NodeSpec{Unschedulable: unschedulable}, Status: corev1.NodeStatus{Capacity: list, Allocatable: list}}
	}
	all, allocatable := capacity([]corev1.Node{node(false, "500m"), node(false, "1500m"), node(true, "4")})
	if got := all[clusterv1.ResourceCPU]; got.String() != "6" {
		t.Errorf("all nodes: %s", got.String())
	}
	if got := allocatable[clusterv1.ResourceCPU]; got.String() != "2" {
		t.Errorf("those that take pods: %s", got.String())
	}
}

func TestCreatable(t *testing.T) {
	verbs := metav1.Verbs{"create", "get"}
	got := creatable([]*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods", Kind: "Pod", Namespaced: true, Verbs: verbs}, {Name: "pods/eviction", Kind: "Eviction", Verbs: verbs},
			{Name: "componentstatuses", Kind: "ComponentStatus", Verbs: metav1.Verbs{"get"}}, {Name: "namespaces", Kind: "Namespace", Verbs: verbs},
		}},
		{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{{Name: "deployments", Kind: "Deployment", Namespaced: true, Verbs: verbs}}},
	})
	want := []musterv1alpha1.APIResource{
		{Version: "v1", Kind: "Namespace", Resource: "namespaces"},
		{Version: "v1", Kind: "Pod", Resource: "pods", Namespaced: true},
		{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespaced: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sorted, what can be created, no subresources (-want +got):\n%s", diff)
	}
}

func TestPutFacts(t *testing.T) {
	in := func(conditions ...metav1.Condition) *clusterv1.ManagedCluster {
		return &clusterv1.ManagedCluster{
			Spec:   clusterv1.ManagedClusterSpec{HubAcceptsClient: true},
			Status: clusterv1.ManagedClusterStatus{Conditions: conditions, Capacity: clusterv1.ResourceList{"licences": resource.MustParse("3")}},
		}
	}
	hubAccepted := metav1.Condition{Type: clusterv1.ManagedClusterConditionHubAccepted, Status: metav1.ConditionTrue}
	skewed := metav1.Condition{Type: clusterv1.ManagedClusterConditionClockSynced, Status: metav1.ConditionFalse}
	known := facts{version: "v1.36.3", capacity: clusterv1.ResourceList{"cpu": resource.MustParse("2")}, claims: []clusterv1.ManagedClusterClaim{{Name: "a", Value: "b"}}}
	for name, test := range map[string]struct {
		why     string
		cluster *clusterv1.ManagedCluster
		writes  bool
	}{
		"accepted":     {why: "the plain case", cluster: in(hubAccepted), writes: true},
		"not accepted": {why: "there are no rights to write yet", cluster: in()},
		"clock apart":  {why: "OCM: nothing while the clocks differ", cluster: in(hubAccepted, skewed)},
	} {
		t.Run(name, func(t *testing.T) {
			known.put(test.cluster)
			if got := test.cluster.Status.Version.Kubernetes != ""; got != test.writes {
				t.Errorf("%s: written %v", test.why, got)
			}
			if _, ok := test.cluster.Status.Capacity["licences"]; !ok {
				t.Errorf("%s: what others count is gone", test.why)
			}
		})
	}
	unknown := in(hubAccepted)
	unknown.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: "old", Value: "x"}}
	facts{}.put(unknown)
	if len(unknown.Status.ClusterClaims) != 1 {
		t.Error("what could not be found out stays as it was reported")
	}
}

func TestAnnotations(t *testing.T) {
	got := agentAnnotations(map[string]string{"agent.open-cluster-management.io/x": "1", "muster.dev/join-identity": "me"})
	if diff := cmp.Diff(map[string]string{"agent.open-cluster-management.io/x": "1"}, got); diff != "" {
		t.Errorf("only the agent's own (-want +got):\n%s", diff)
	}
}
