package health

import (
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Feedback are the values of an object of this kind that are worth reporting: ManifestWork
// spec.manifestConfigs[].feedbackRules. Deployment, DaemonSet, Job and Pod have values that OCM's agent knows.
func Feedback(key fleet.ObjectKey) []workv1.FeedbackRule {
	gk := schema.GroupKind{Group: key.Group, Kind: key.Kind}
	if wellKnownFeedback[gk] {
		return []workv1.FeedbackRule{{Type: workv1.WellKnownStatusType}}
	}
	if paths, ok := feedbackPaths[gk]; ok {
		return []workv1.FeedbackRule{{Type: workv1.JSONPathsType, JsonPaths: paths}}
	}
	return nil
}

var wellKnownFeedback = map[schema.GroupKind]bool{
	{Group: "apps", Kind: "Deployment"}: true,
	{Group: "apps", Kind: "DaemonSet"}:  true,
	{Group: "batch", Kind: "Job"}:       true,
	{Kind: "Pod"}:                       true,
}

var feedbackPaths = map[schema.GroupKind][]workv1.JsonPath{
	{Group: "apps", Kind: "StatefulSet"}: {
		{Name: "ReadyReplicas", Path: ".status.readyReplicas"},
		{Name: "Replicas", Path: ".status.replicas"},
		{Name: "AvailableReplicas", Path: ".status.availableReplicas"},
	},
	{Group: "apps", Kind: "ReplicaSet"}: {
		{Name: "ReadyReplicas", Path: ".status.readyReplicas"},
		{Name: "Replicas", Path: ".status.replicas"},
	},
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: {
		{Name: "CurrentReplicas", Path: ".status.currentReplicas"},
		{Name: "DesiredReplicas", Path: ".status.desiredReplicas"},
	},
	{Kind: "PersistentVolumeClaim"}: {{Name: "Phase", Path: ".status.phase"}},
}
