package health

import (
	"fmt"
	"slices"

	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Of says how well a live object does, and why it is not better: what Rules have to say too, written down a second time and in
// another language. A message never quotes the object's content.
func Of(obj *unstructured.Unstructured) (fleet.Health, string) {
	if obj.GetDeletionTimestamp() != nil {
		return fleet.HealthProgressing, "is being deleted"
	}
	gk := obj.GroupVersionKind().GroupKind()
	if of, ok := known[gk]; ok {
		return of(object{obj})
	}
	if builtinGroups[gk.Group] {
		return healthy() // Kubernetes' own kinds that are not in the table have nothing to report
	}
	return customResource(object{obj})
}

// known are the kinds whose status is understood, by group and kind. Each has its rules in rules.go.
var known = map[schema.GroupKind]func(object) (fleet.Health, string){
	{Group: "apps", Kind: "Deployment"}:                               deployment,
	{Group: "apps", Kind: "StatefulSet"}:                              statefulSet,
	{Group: "apps", Kind: "DaemonSet"}:                                daemonSet,
	{Group: "apps", Kind: "ReplicaSet"}:                               replicaSet,
	{Group: "batch", Kind: "Job"}:                                     job,
	{Kind: "Pod"}:                                                     pod,
	{Kind: "PersistentVolumeClaim"}:                                   volumeClaim,
	{Kind: "Service"}:                                                 service,
	{Kind: "Namespace"}:                                               namespace,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: definition,
	{Group: "apiregistration.k8s.io", Kind: "APIService"}:             apiService,
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:           autoscaler,
	{Group: "argoproj.io", Kind: "Rollout"}:                           argoRollout,
	{Group: "rollouts.kruise.io", Kind: "Rollout"}:                    kruiseRollout,
}

func deployment(o object) (fleet.Health, string) {
	want, updated, all := o.number(1, "spec", "replicas"), o.status("updatedReplicas"), o.status("replicas")
	available := o.status("availableReplicas")
	switch {
	case o.stale():
		return progressing(notObserved)
	case o.reason("Progressing", "False") == "ProgressDeadlineExceeded":
		return degraded("the rollout exceeded its deadline")
	case o.has("ReplicaFailure", "True"):
		return degraded("pods cannot be created")
	case updated < want:
		return progressing(outOf(updated, want, "replicas are updated"))
	case all > updated:
		return progressing("replicas of the old revision are still there")
	case available < want:
		return progressing(outOf(available, want, "replicas are available"))
	}
	return healthy()
}

func statefulSet(o object) (fleet.Health, string) {
	want, ready := o.number(1, "spec", "replicas"), o.status("readyReplicas")
	toUpdate := want - o.number(0, "spec", "updateStrategy", "rollingUpdate", "partition")
	updated := o.status("updatedReplicas")
	switch {
	case o.stale():
		return progressing(notObserved)
	case ready < want:
		return progressing(outOf(ready, want, "replicas are ready"))
	case o.text("spec", "updateStrategy", "type") != "OnDelete" && updated < toUpdate:
		return progressing(outOf(updated, toUpdate, "replicas are updated"))
	}
	return healthy()
}

func daemonSet(o object) (fleet.Health, string) {
	want, updated := o.status("desiredNumberScheduled"), o.status("updatedNumberScheduled")
	available := o.status("numberAvailable")
	switch {
	case o.stale():
		return progressing(notObserved)
	case o.text("spec", "updateStrategy", "type") != "OnDelete" && updated < want:
		return progressing(outOf(updated, want, "pods are updated"))
	case available < want:
		return progressing(outOf(available, want, "pods are available"))
	}
	return healthy()
}

func replicaSet(o object) (fleet.Health, string) {
	want, available := o.number(1, "spec", "replicas"), o.status("availableReplicas")
	switch {
	case o.stale():
		return progressing(notObserved)
	case o.has("ReplicaFailure", "True"):
		return degraded("pods cannot be created")
	case available < want:
		return progressing(outOf(available, want, "replicas are available"))
	}
	return healthy()
}

// job is healthy when it has finished well, or when it is suspended as its spec asks.
func job(o object) (fleet.Health, string) {
	switch {
	case o.has("Failed", "True"):
		return degraded("the job failed")
	case o.has("Complete", "True") || o.flag("spec", "suspend"):
		return healthy()
	}
	return progressing("the job is not finished")
}

func pod(o object) (fleet.Health, string) {
	phase := o.text("status", "phase")
	switch {
	case phase == "Succeeded":
		return healthy()
	case phase == "Failed":
		return degraded("the pod failed")
	case o.containerWaitsForGood():
		return degraded("a container cannot start")
	case o.has("Ready", "True"):
		return healthy()
	}
	return progressing("the pod is not ready")
}

func volumeClaim(o object) (fleet.Health, string) {
	switch o.text("status", "phase") {
	case "Bound":
		return healthy()
	case "Lost":
		return degraded("the volume is lost")
	}
	return progressing("the claim is not bound")
}

func service(o object) (fleet.Health, string) {
	ingress, _, _ := unstructured.NestedSlice(o.Object, "status", "loadBalancer", "ingress")
	if o.text("spec", "type") == "LoadBalancer" && len(ingress) == 0 {
		return progressing("the load balancer has no address")
	}
	return healthy()
}

func namespace(o object) (fleet.Health, string) {
	if o.text("status", "phase") == "Terminating" {
		return progressing("is being deleted")
	}
	return healthy()
}

func definition(o object) (fleet.Health, string) {
	switch {
	case o.has("NamesAccepted", "False"):
		return degraded("the names conflict with those of another definition")
	case o.has("Established", "True"):
		return healthy()
	}
	return progressing("the definition is not established")
}

func apiService(o object) (fleet.Health, string) {
	if o.has("Available", "True") {
		return healthy()
	}
	return progressing("the API is not available")
}

func autoscaler(o object) (fleet.Health, string) {
	switch {
	case o.has("AbleToScale", "False"):
		return degraded("cannot scale its target")
	case o.has("ScalingActive", "False") && o.reason("ScalingActive", "False") != "ScalingDisabled":
		return progressing("has no metrics to scale by")
	}
	return healthy()
}

func argoRollout(o object) (fleet.Health, string) {
	if o.text("status", "observedGeneration") != fmt.Sprint(o.GetGeneration()) {
		return progressing(notObserved)
	}
	switch o.text("status", "phase") {
	case "Healthy":
		return healthy()
	case "Degraded":
		return degraded("the rollout is degraded")
	case "Paused":
		return progressing("the rollout is paused: promote it, or wait for its step to end")
	}
	return progressing("the rollout goes on")
}

func kruiseRollout(o object) (fleet.Health, string) {
	phase := o.text("status", "phase")
	switch {
	case o.stale():
		return progressing(notObserved)
	case phase == "Healthy" || phase == "Disabled":
		return healthy()
	case o.text("status", "canaryStatus", "currentStepState") == "StepPaused" || o.text("status", "blueGreenStatus", "currentStepState") == "StepPaused":
		return progressing("the rollout is paused at a step: approve it, or wait for its step to end")
	}
	return progressing("the rollout goes on")
}

// customResource follows the conventions for conditions: Stalled, Failed and Degraded are bad when True; Reconciling is
// bad until False; Ready, and Available where there is no Ready, is bad until True.
func customResource(o object) (fleet.Health, string) {
	switch {
	case o.observesAnother():
		return progressing(notObserved)
	case o.has("Stalled", "True") || o.has("Failed", "True") || o.has("Degraded", "True"):
		return degraded("reports a failure")
	case o.has("Reconciling", "True"):
		return progressing("is being reconciled")
	case o.has("Ready", "False") || o.has("Ready", "Unknown"):
		return progressing("is not ready")
	case !o.has("Ready", "True") && (o.has("Available", "False") || o.has("Available", "Unknown")):
		return progressing("is not available")
	}
	return healthy()
}

func healthy() (fleet.Health, string)                   { return fleet.HealthHealthy, "" }
func progressing(message string) (fleet.Health, string) { return fleet.HealthProgressing, message }
func degraded(message string) (fleet.Health, string)    { return fleet.HealthDegraded, message }

func outOf(is, want int64, what string) string { return fmt.Sprintf("%d of %d %s", is, want, what) }

// object reads fields of an object that may be missing or of another type than expected.
type object struct{ *unstructured.Unstructured }

func (o object) number(otherwise int64, path ...string) int64 {
	n, ok, err := unstructured.NestedInt64(o.Object, path...)
	if !ok || err != nil {
		return otherwise
	}
	return n
}

func (o object) status(field string) int64 { return o.number(0, "status", field) }

func (o object) text(path ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, path...)
	return s
}

func (o object) flag(path ...string) bool {
	b, _, _ := unstructured.NestedBool(o.Object, path...)
	return b
}

// stale is true while the controller has not observed the newest spec.
func (o object) stale() bool { return o.status("observedGeneration") < o.GetGeneration() }

// observesAnother is stale for kinds that need not have an observed generation.
func (o object) observesAnother() bool {
	n, ok, err := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	return ok && err == nil && n != o.GetGeneration()
}

func (o object) conditions() []any {
	value, _, _ := unstructured.NestedFieldNoCopy(o.Object, "status", "conditions")
	list, _ := value.([]any)
	return list
}

func (o object) has(condition, status string) bool {
	return slices.ContainsFunc(o.conditions(), func(c any) bool { return matches(c, condition, status) })
}

func (o object) reason(condition, status string) string {
	for _, c := range o.conditions() {
		if matches(c, condition, status) {
			reason, _ := c.(map[string]any)["reason"].(string)
			return reason
		}
	}
	return ""
}

func matches(c any, condition, status string) bool {
	fields, _ := c.(map[string]any)
	return fields["type"] == condition && fields["status"] == status
}

func (o object) containerWaitsForGood() bool {
	for _, field := range []string{"initContainerStatuses", "containerStatuses"} {
		containers, _, _ := unstructured.NestedSlice(o.Object, "status", field)
		for _, c := range containers {
			fields, _ := c.(map[string]any)
			reason, _, _ := unstructured.NestedString(fields, "state", "waiting", "reason")
			if slices.Contains(waitingForGood, reason) {
				return true
			}
		}
	}
	return false
}
