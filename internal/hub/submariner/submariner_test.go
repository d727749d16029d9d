package submariner

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
)

func someFacts() facts {
	mca := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "submariner"}}
	mca.Spec.InstallNamespace = addonv1alpha1.DefaultInstallNamespace // as the API server writes it
	return facts{
		addon: mca, cluster: &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, peers: []string{"two"},
		broker: broker{apiServer: "hub:6443", namespace: "east-broker", ca: []byte("ca"), token: []byte("token"), key: []byte("key")},
	}
}

// manifests of a work, by kind and name.
func manifestsOf(t *testing.T, parts []addon.Part, name string) map[string]*unstructured.Unstructured {
	t.Helper()
	out := map[string]*unstructured.Unstructured{}
	for _, part := range parts {
		if part.Name != name {
			continue
		}
		for _, m := range part.Spec.Workload.Manifests {
			o := &unstructured.Unstructured{}
			if err := o.UnmarshalJSON(m.Raw); err != nil {
				t.Fatal(err)
			}
			out[o.GetKind()+" "+o.GetName()] = o
		}
	}
	return out
}

// TestWorks: what a cluster gets, by what it and its configurations say.
func TestWorks(t *testing.T) {
	for name, row := range map[string]struct {
		why       string
		change    func(*facts)
		namespace string
		image     string
		fields    map[string]any // of the Submariner
	}{
		"nothing said": {
			why: "the defaults are Submariner's; OCM's namespace of add-ons is not the operator's, which goes with it", change: func(*facts) {},
			namespace: "submariner-operator", image: "quay.io/submariner/submariner-operator:" + defaultVersion,
			fields: map[string]any{
				"brokerK8sApiServer": "hub:6443", "brokerK8sRemoteNamespace": "east-broker", "brokerK8sSecret": "submariner-broker-secret", "ceIPSecPSKSecret": "submariner-ipsec-psk",
				"clusterID": "one", "cableDriver": "libreswan", "natEnabled": true, "serviceDiscoveryEnabled": true, "ceIPSecNATTPort": int64(4500), "version": defaultVersion, "imageOverrides": nil,
			},
		},
		"a SubmarinerConfig": {
			why: "each field reaches the Submariner",
			change: func(f *facts) {
				f.config = submarinerv1alpha1.SubmarinerConfigSpec{
					CableDriver: "vxlan", GlobalCIDR: "242.0.0.0/16", IPSecNATTPort: 4501, NATTEnable: ptr.To(false), LoadBalancerEnable: true, AirGappedDeployment: true,
					HostedCluster: true, ForceUDPEncaps: true, HaltOnCertificateError: ptr.To(false), InsecureBrokerConnection: true, IPSecDebug: true,
					SubscriptionConfig: submarinerv1alpha1.SubscriptionConfig{StartingCSV: "submariner.v0.19.3"},
					ImagePullSpecs:     submarinerv1alpha1.SubmarinerImagePullSpecs{SubmarinerImagePullSpec: "r/gateway:1"},
				}
			},
			namespace: "submariner-operator", image: "quay.io/submariner/submariner-operator:0.19.3",
			fields: map[string]any{
				"cableDriver": "vxlan", "globalCIDR": "242.0.0.0/16", "ceIPSecNATTPort": int64(4501), "natEnabled": false, "loadBalancerEnabled": true, "airGappedDeployment": true,
				"hostedCluster": true, "ceIPSecForceUDPEncaps": true, "haltOnCertificateError": false, "brokerK8sInsecure": true, "ceIPSecDebug": true, "version": "0.19.3",
				"imageOverrides": map[string]any{"submariner-gateway": "r/gateway:1"},
			},
		},
		"an AddOnDeploymentConfig": {
			why: "registries, variables and the namespace count as for other add-ons",
			change: func(f *facts) {
				c := &addonv1alpha1.AddOnDeploymentConfig{}
				c.Spec.AgentInstallNamespace = "tunnels"
				c.Spec.Registries = []addonv1alpha1.ImageMirror{{Source: "quay.io/submariner", Mirror: "local/submariner"}}
				c.Spec.CustomizedVariables = []addonv1alpha1.CustomizedVariable{{Name: versionVariable, Value: "0.21.0"}}
				f.configs = append(f.configs, c)
			},
			namespace: "tunnels", image: "local/submariner/submariner-operator:0.21.0", fields: map[string]any{"version": "0.21.0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := someFacts()
			row.change(&f)
			parts, err := worksOf(f)
			if err != nil {
				t.Fatal(err)
			}
			operator, resource := manifestsOf(t, parts, "submariner-operator"), manifestsOf(t, parts, "submariner-resource")
			if len(parts) != 2 || operator["Namespace "+row.namespace] == nil {
				t.Errorf("%s: %d works, and no namespace %s", row.why, len(parts), row.namespace)
			}
			containers, _, _ := unstructured.NestedSlice(operator["Deployment submariner-operator"].Object, "spec", "template", "spec", "containers")
			if got := containers[0].(map[string]any)["image"]; got != row.image {
				t.Errorf("%s: the operator's image is %v, want %s", row.why, got, row.image)
			}
			s := resource["Submariner submariner"]
			for field, want := range row.fields {
				if diff := cmp.Diff(want, s.Object["spec"].(map[string]any)[field]); diff != "" {
					t.Errorf("%s: %s (-want +got)\n%s", row.why, field, diff)
				}
			}
			for _, o := range []*unstructured.Unstructured{s, resource["Secret submariner-broker-secret"], resource["Secret submariner-ipsec-psk"], operator["Deployment submariner-operator"]} {
				if o.GetNamespace() != row.namespace {
					t.Errorf("%s: %s %s is in %s", row.why, o.GetKind(), o.GetName(), o.GetNamespace())
				}
			}
			if text, _ := json.Marshal(s); strings.Contains(string(text), "dG9rZW4") { // the token
				t.Errorf("the Submariner has the token: %s", text)
			}
		})
	}
}

// TestNetworkStatus: what the conditions say of a report.
func TestNetworkStatus(t *testing.T) {
	number := func(n int64) workv1.FieldValue { return workv1.FieldValue{Type: workv1.Integer, Integer: &n} }
	text := func(s string) workv1.FieldValue { return workv1.FieldValue{Type: workv1.String, String: &s} }
	for name, row := range map[string]struct {
		why    string
		report report
		wanted int32
		want   string
	}{
		"no report": {"nothing is known yet", nil, 1, "Unknown NotReported; Unknown NotReported; Unknown NotReported"},
		"well": {
			"all peers are connected and all agents ready",
			report{gatewaysValue: number(1), "Connection-two": text("connected"), "Connection-three": text("connected"), agentsReadyValue: number(3), agentsWantedValue: number(3)}, 1,
			"True SubmarinerGatewaysLabeled; False ConnectionsEstablished; False RouteAgentsReady",
		},
		"one peer missing": {
			"a peer of which nothing is said is not connected", report{gatewaysValue: number(1), "Connection-two": text("connected"), agentsReadyValue: number(2), agentsWantedValue: number(3)}, 2,
			"False SubmarinerGatewaysNotLabeled; True ConnectionsNotEstablished: not connected with three (no connection); True RouteAgentsNotReady",
		},
	} {
		t.Run(name, func(t *testing.T) {
			status := &addonv1alpha1.ManagedClusterAddOnStatus{}
			sayNetwork(status, row.report, row.wanted, []string{"three", "two"})
			var got []string
			for _, kind := range []string{"SubmarinerGatewaysLabeled", "SubmarinerConnectionDegraded", "RouteAgentConnectionDegraded"} {
				i := slices.IndexFunc(status.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
				c := status.Conditions[i]
				said := fmt.Sprintf("%s %s", c.Status, c.Reason)
				if c.Reason == reasonNotEstablished {
					said += ": " + c.Message
				}
				got = append(got, said)
			}
			if diff := cmp.Diff(row.want, strings.Join(got, "; ")); diff != "" {
				t.Errorf("%s (-want +got)\n%s", row.why, diff)
			}
		})
	}
}

// TestBrokerNamespace: two sets have two brokers, however long their names are.
func TestBrokerNamespace(t *testing.T) {
	long := strings.Repeat("a", 60)
	if a, b := Namespace(long+"b"), Namespace(long+"c"); a == b || len(a) > 63 || len(b) > 63 || Namespace("east") != "east-broker" {
		t.Errorf("%s and %s", a, b)
	}
}
