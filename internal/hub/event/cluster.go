package event

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// The events of a cluster, by the condition and the status that it changed to. The reasons that OCM has are OCM's.
var clusterEvents = map[string]map[metav1.ConditionStatus]Event{
	clusterv1.ManagedClusterConditionHubAccepted: {
		metav1.ConditionTrue:  normal("ManagedClusterAccepted", "Accept", "the cluster is accepted"),
		metav1.ConditionFalse: warning("ManagedClusterDenied", "Deny", "the cluster is denied"),
	},
	clusterv1.ManagedClusterConditionJoined: {
		metav1.ConditionTrue: normal("ManagedClusterJoined", "Join", "the cluster has joined"),
	},
	clusterv1.ManagedClusterConditionAvailable: {
		metav1.ConditionTrue:    normal("ManagedClusterAvailable", "Watch", "the cluster answers again"),
		metav1.ConditionFalse:   warning("ManagedClusterUnavailable", "Watch", "the API server of the cluster is not healthy"),
		metav1.ConditionUnknown: warning("AvailableUnknown", "Watch", "the cluster does not answer"),
	},
	clusterv1.ManagedClusterConditionClockSynced: {
		metav1.ConditionTrue:  normal("ClockInSync", "Watch", "the clock of the cluster is right again"),
		metav1.ConditionFalse: warning("ClockOutOfSync", "Watch", "the clock of the cluster is wrong"),
	},
}

// initial are the conditions whose first True is told by another event: a cluster that joins is available, with the right time.
var initial = map[string]bool{clusterv1.ManagedClusterConditionAvailable: true, clusterv1.ManagedClusterConditionClockSynced: true}

func ofCluster(name string, before, after []metav1.Condition) []Event {
	var all []Event
	for _, c := range after {
		e, ok := clusterEvents[c.Type][c.Status]
		was := meta.FindStatusCondition(before, c.Type)
		switch {
		case !ok, was != nil && was.Status == c.Status, was == nil && c.Status == metav1.ConditionTrue && initial[c.Type]:
			continue
		}
		e.Note = name + ": " + e.Note
		if e.Type != "Normal" && c.Message != "" {
			e.Note += ": " + c.Message
		}
		all = append(all, e)
	}
	return all
}
