package submariner

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// Reasons of the conditions.
const (
	reasonBrokerApplied     = "BrokerConfigApplied"
	reasonNoClusterSet      = "NoClusterSet"
	reasonBrokerNotReady    = "BrokerNotReady"
	reasonNotRendered       = "ManifestWorkApplyFailed"
	reasonLabeled           = "SubmarinerGatewaysLabeled"
	reasonNotLabeled        = "SubmarinerGatewaysNotLabeled"
	reasonEstablished       = "ConnectionsEstablished"
	reasonNotEstablished    = "ConnectionsNotEstablished"
	reasonNotReported       = "NotReported"
	reasonNotPrepared       = "SubmarinerClusterEnvPreparationFailed"
	reasonAgentsReady       = "RouteAgentsReady"
	reasonAgentsNotReady    = "RouteAgentsNotReady"
	reasonConfigApplied     = "SubmarinerConfigApplied"
	reasonConfigApplyFailed = "SubmarinerConfigApplyFailed"
)

// Claims of a cluster that the status of its SubmarinerConfig repeats.
const (
	claimProduct            = "product.open-cluster-management.io"
	claimPlatform           = "platform.open-cluster-management.io"
	claimRegion             = "region.open-cluster-management.io"
	claimVersionOfOpenShift = "version.openshift.io"
)

// report is what the cluster reports of its Submariner, by name of the value; empty before it does.
type report map[string]workv1.FieldValue

// reportOf reads the feedback of the resource work; nil without one.
func reportOf(w *workv1.ManifestWork) report {
	if w == nil {
		return nil
	}
	out := report{}
	for _, m := range w.Status.ResourceStatus.Manifests {
		if m.ResourceMeta.Kind != "Submariner" {
			continue
		}
		for _, v := range m.StatusFeedbacks.Values {
			out[v.Name] = v.Value
		}
	}
	return out
}

func (r report) text(name string) string {
	if v := r[name].String; v != nil {
		return *v
	}
	return ""
}

func (r report) number(name string) (int64, bool) {
	if v := r[name].Integer; v != nil {
		return *v, true
	}
	return 0, false
}

// sayNetwork writes into the ManagedClusterAddOn how the network is:
//
//	                            SubmarinerGatewaysLabeled   SubmarinerConnectionDegraded       RouteAgentConnectionDegraded
//	no report                   Unknown                     Unknown                            Unknown
//	fewer gateways than wanted  False                       by the connections                 -
//	a peer is not connected     -                           True ConnectionsNotEstablished     -
//	an agent is not ready       -                           -                                  True RouteAgentsNotReady
func sayNetwork(status *addonv1alpha1.ManagedClusterAddOnStatus, r report, wanted int32, peers []string) {
	set := func(kind string, value metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: kind, Status: value, Reason: reason, Message: message})
	}
	gateways, reported := r.number(gatewaysValue)
	switch {
	case !reported:
		for _, kind := range []string{submarinerv1alpha1.ConditionGatewaysLabeled, submarinerv1alpha1.ConditionConnectionDegraded, submarinerv1alpha1.ConditionRouteAgentConnectionDegraded} {
			set(kind, metav1.ConditionUnknown, reasonNotReported, "the operator on the cluster has not reported yet")
		}
		return
	case gateways < int64(wanted):
		set(submarinerv1alpha1.ConditionGatewaysLabeled, metav1.ConditionFalse, reasonNotLabeled,
			fmt.Sprintf("%d of %d gateway nodes: kubectl label node NODE submariner.io/gateway=true on the cluster", gateways, wanted))
	default:
		set(submarinerv1alpha1.ConditionGatewaysLabeled, metav1.ConditionTrue, reasonLabeled, fmt.Sprintf("%d gateway nodes", gateways))
	}
	var missing []string
	for _, peer := range peers {
		if state := r.text(connectionPrefix + peer); state != "connected" {
			missing = append(missing, peer+" ("+orElse(state, "no connection")+")")
		}
	}
	if len(missing) > 0 {
		set(submarinerv1alpha1.ConditionConnectionDegraded, metav1.ConditionTrue, reasonNotEstablished, "not connected with "+strings.Join(missing, ", "))
	} else {
		set(submarinerv1alpha1.ConditionConnectionDegraded, metav1.ConditionFalse, reasonEstablished, fmt.Sprintf("connected with %d clusters", len(peers)))
	}
	ready, _ := r.number(agentsReadyValue)
	if agents, _ := r.number(agentsWantedValue); ready < agents {
		set(submarinerv1alpha1.ConditionRouteAgentConnectionDegraded, metav1.ConditionTrue, reasonAgentsNotReady, fmt.Sprintf("the route agent is ready on %d of %d nodes", ready, agents))
	} else {
		set(submarinerv1alpha1.ConditionRouteAgentConnectionDegraded, metav1.ConditionFalse, reasonAgentsReady, fmt.Sprintf("the route agent is ready on %d nodes", ready))
	}
}

// configStatus is the status of a SubmarinerConfig; failure is why the cluster does not have what it says.
func configStatus(config *submarinerv1alpha1.SubmarinerConfig, cluster *clusterv1.ManagedCluster, failure string) submarinerv1alpha1.SubmarinerConfigStatus {
	status := *config.Status.DeepCopy()
	applied := metav1.Condition{Type: submarinerv1alpha1.ConditionConfigApplied, Status: metav1.ConditionTrue, Reason: reasonConfigApplied, Message: "SubmarinerConfig was applied"}
	if failure != "" {
		applied.Status, applied.Reason, applied.Message = metav1.ConditionFalse, reasonConfigApplyFailed, failure
	}
	applied.ObservedGeneration = config.Generation
	meta.SetStatusCondition(&status.Conditions, applied)
	g := config.Spec.GatewayConfig
	if config.Spec.CredentialsSecret != nil || g.AWS.InstanceType+g.GCP.InstanceType+g.Azure.InstanceType+g.RHOS.InstanceType != "" {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: submarinerv1alpha1.ConditionEnvironmentPrepared, Status: metav1.ConditionFalse, Reason: reasonNotPrepared, ObservedGeneration: config.Generation,
			Message: "Muster makes no machines in clouds: make the gateway nodes, open their ports, and label them submariner.io/gateway=true",
		})
	} else {
		meta.RemoveStatusCondition(&status.Conditions, submarinerv1alpha1.ConditionEnvironmentPrepared)
	}
	claims := map[string]string{}
	for _, c := range cluster.Status.ClusterClaims {
		claims[c.Name] = c.Value
	}
	status.ManagedClusterInfo = submarinerv1alpha1.ManagedClusterInfo{
		ClusterName: cluster.Name, Vendor: claims[claimProduct], Platform: claims[claimPlatform], Region: claims[claimRegion], VendorVersion: claims[claimVersionOfOpenShift],
	}
	return status
}
