package health

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Rules are the condition rules that make an agent report, as Progressing and Degraded, how an object of this
// kind does: ManifestWork spec.manifestConfigs[].conditionRules. There are none for a kind that has nothing to report.
//
// The condition Complete is never asked for: an agent stops updating a manifest that is Complete, and a job whose
// manifest changed in Git would silently stay the old one.
//
// The result is shared: never change it.
func Rules(key fleet.ObjectKey) []workv1.ConditionRule {
	if !Reports(key) {
		return nil
	}
	if rules, ok := rulesByKind()[schema.GroupKind{Group: key.Group, Kind: key.Kind}]; ok {
		return rules
	}
	return customResourceRules()
}

// The rules of all kinds, written once: a plan asks for them for every object of every cluster.
var (
	rulesByKind = sync.OnceValue(func() map[schema.GroupKind][]workv1.ConditionRule {
		rules := make(map[schema.GroupKind][]workv1.ConditionRule, len(clausesByKind))
		for kind, clauses := range clausesByKind {
			rules[kind] = rulesOf(clauses)
		}
		return rules
	})
	customResourceRules = sync.OnceValue(func() []workv1.ConditionRule { return rulesOf(customResourceClauses) })
)

func rulesOf(clauses []clause) []workv1.ConditionRule {
	deleted := inProgress(`has(object.metadata.deletionTimestamp)`, quote("is being deleted"))
	clauses = append([]clause{deleted}, clauses...)
	// Read from the last clause to the first: the first that holds decides, as in a switch.
	progressing, degraded, message := "false", "false", `""`
	for i := len(clauses) - 1; i >= 0; i-- {
		c := clauses[i]
		progressing = choose(c.when, strconv.FormatBool(c.health != fleet.HealthHealthy), progressing)
		degraded = choose(c.when, strconv.FormatBool(c.health == fleet.HealthDegraded), degraded)
		message = choose(c.when, c.message, message)
	}
	return []workv1.ConditionRule{
		{
			Condition: workv1.ManifestProgressing, Type: workv1.CelConditionExpressionsType,
			CelExpressions: []string{progressing}, MessageExpression: message,
		},
		{Condition: workv1.ManifestDegraded, Type: workv1.CelConditionExpressionsType, CelExpressions: []string{degraded}},
	}
}

// Reports is true for kinds that have something to report.
func Reports(key fleet.ObjectKey) bool {
	_, known := clausesByKind[schema.GroupKind{Group: key.Group, Kind: key.Kind}]
	return known || !Builtin(key.Group)
}

// Builtin says that Kubernetes itself serves a group: its objects are no custom resources.
func Builtin(group string) bool { return builtinGroups[group] }

// builtinGroups are the groups that Kubernetes itself serves. An Ingress, for one, is healthy once it exists: many
// controllers never fill its status.
var builtinGroups = map[string]bool{
	"": true, "admissionregistration.k8s.io": true, "apiextensions.k8s.io": true, "apiregistration.k8s.io": true,
	"apps": true, "authentication.k8s.io": true, "authorization.k8s.io": true, "autoscaling": true, "batch": true,
	"certificates.k8s.io": true, "coordination.k8s.io": true, "discovery.k8s.io": true, "events.k8s.io": true,
	"extensions": true, "flowcontrol.apiserver.k8s.io": true, "networking.k8s.io": true, "node.k8s.io": true,
	"policy": true, "rbac.authorization.k8s.io": true, "resource.k8s.io": true, "scheduling.k8s.io": true,
	"storage.k8s.io": true, "storagemigration.k8s.io": true,
}

// notObserved is the message while a controller has not seen the newest spec.
const notObserved = "the newest spec is not observed yet"

// waitingForGood are the reasons for which a container waits until somebody changes something.
var waitingForGood = []string{
	"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ErrImagePull",
	"ImagePullBackOff", "InvalidImageName", "RunContainerError",
}

// choose is one step of a chain of conditional expressions, left out where both ways give the same.
func choose(when, then, otherwise string) string {
	if then == otherwise {
		return then
	}
	return when + " ? " + then + " : " + otherwise
}

// clause is one case of a switch, in CEL.
type clause struct {
	when    string
	health  fleet.Health
	message string
}

func isGood(when string) clause              { return clause{when, fleet.HealthHealthy, `""`} }
func inProgress(when, message string) clause { return clause{when, fleet.HealthProgressing, message} }
func isBad(when, message string) clause      { return clause{when, fleet.HealthDegraded, message} }

// The case that a controller has not observed the newest spec.
var isStale = inProgress(status("observedGeneration")+" < "+number(0, "metadata", "generation"), quote(notObserved))

// clausesByKind say in CEL what the functions of the table known say in Go, case by case.
var clausesByKind = map[schema.GroupKind][]clause{
	{Group: "apps", Kind: "Deployment"}: {
		isStale,
		isBad(hasReason("Progressing", "False", "ProgressDeadlineExceeded"), quote("the rollout exceeded its deadline")),
		isBad(has("ReplicaFailure", "True"), quote("pods cannot be created")),
		fewer(status("updatedReplicas"), replicas, "replicas are updated"),
		inProgress(status("replicas")+" > "+status("updatedReplicas"), quote("replicas of the old revision are still there")),
		fewer(status("availableReplicas"), replicas, "replicas are available"),
	},
	{Group: "apps", Kind: "StatefulSet"}: {
		isStale,
		fewer(status("readyReplicas"), replicas, "replicas are ready"),
		isGood(onDelete),
		fewer(status("updatedReplicas"), "("+replicas+" - "+partition+")", "replicas are updated"),
	},
	{Group: "apps", Kind: "DaemonSet"}: {
		isStale,
		fewerWhen("!"+onDelete+" && ", status("updatedNumberScheduled"), status("desiredNumberScheduled"), "pods are updated"),
		fewer(status("numberAvailable"), status("desiredNumberScheduled"), "pods are available"),
	},
	{Group: "apps", Kind: "ReplicaSet"}: {
		isStale,
		isBad(has("ReplicaFailure", "True"), quote("pods cannot be created")),
		fewer(status("availableReplicas"), replicas, "replicas are available"),
	},
	{Group: "batch", Kind: "Job"}: {
		isBad(has("Failed", "True"), quote("the job failed")),
		isGood(has("Complete", "True")),
		isGood(`object.?spec.?suspend.orValue(false) == true`),
		inProgress("true", quote("the job is not finished")),
	},
	{Kind: "Pod"}: {
		isGood(phase + ` == "Succeeded"`),
		isBad(phase+` == "Failed"`, quote("the pod failed")),
		isBad(waiting("initContainerStatuses")+" || "+waiting("containerStatuses"), quote("a container cannot start")),
		isGood(has("Ready", "True")),
		inProgress("true", quote("the pod is not ready")),
	},
	{Kind: "PersistentVolumeClaim"}: {
		isGood(phase + ` == "Bound"`),
		isBad(phase+` == "Lost"`, quote("the volume is lost")),
		inProgress("true", quote("the claim is not bound")),
	},
	{Kind: "Service"}: {
		inProgress(`object.?spec.?type.orValue("") == "LoadBalancer" && size(object.?status.?loadBalancer.?ingress.orValue([])) == 0`,
			quote("the load balancer has no address")),
	},
	{Kind: "Namespace"}: {
		inProgress(phase+` == "Terminating"`, quote("is being deleted")),
	},
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: {
		isBad(has("NamesAccepted", "False"), quote("the names conflict with those of another definition")),
		isGood(has("Established", "True")),
		inProgress("true", quote("the definition is not established")),
	},
	{Group: "apiregistration.k8s.io", Kind: "APIService"}: {
		isGood(has("Available", "True")),
		inProgress("true", quote("the API is not available")),
	},
	{Group: "argoproj.io", Kind: "Rollout"}: { // its observed generation is a text
		inProgress(`string(object.?status.?observedGeneration.orValue("")) != string(`+number(0, "metadata", "generation")+`)`, quote(notObserved)),
		isGood(phase + ` == "Healthy"`),
		isBad(phase+` == "Degraded"`, quote("the rollout is degraded")),
		inProgress(phase+` == "Paused"`, quote("the rollout is paused: promote it, or wait for its step to end")),
		inProgress("true", quote("the rollout goes on")),
	},
	{Group: "rollouts.kruise.io", Kind: "Rollout"}: {
		isStale,
		isGood(either(phase+` == "Healthy"`, phase+` == "Disabled"`)),
		inProgress(either(stepState("canaryStatus"), stepState("blueGreenStatus")), quote("the rollout is paused at a step: approve it, or wait for its step to end")),
		inProgress("true", quote("the rollout goes on")),
	},
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: {
		isBad(has("AbleToScale", "False"), quote("cannot scale its target")),
		inProgress(has("ScalingActive", "False")+" && !"+hasReason("ScalingActive", "False", "ScalingDisabled"),
			quote("has no metrics to scale by")),
	},
}

var customResourceClauses = []clause{
	inProgress(`type(object.?status.orValue(0)) == map && type(object.status.?observedGeneration.orValue("")) == int && `+
		`object.status.observedGeneration != `+number(0, "metadata", "generation"), quote(notObserved)),
	isBad(either(has("Stalled", "True"), has("Failed", "True"), has("Degraded", "True")), quote("reports a failure")),
	inProgress(has("Reconciling", "True"), quote("is being reconciled")),
	inProgress(either(has("Ready", "False"), has("Ready", "Unknown")), quote("is not ready")),
	inProgress("!"+has("Ready", "True")+" && ("+either(has("Available", "False"), has("Available", "Unknown"))+")",
		quote("is not available")),
}

// Parts of expressions.
var (
	replicas  = number(1, "spec", "replicas")
	partition = number(0, "spec", "updateStrategy", "rollingUpdate", "partition")
	onDelete  = `(object.?spec.?updateStrategy.?type.orValue("") == "OnDelete")`
	phase     = `object.?status.?phase.orValue("")`
)

func stepState(of string) string {
	return `object.?status.?` + of + `.?currentStepState.orValue("") == "StepPaused"`
}

func number(otherwise int, path ...string) string {
	return fmt.Sprintf("object.?%s.orValue(%d)", strings.Join(path, ".?"), otherwise)
}

func status(field string) string { return number(0, "status", field) }

func fewer(is, want, what string) clause { return fewerWhen("", is, want, what) }

func fewerWhen(also, is, want, what string) clause {
	return inProgress(also+is+" < "+want, "string("+is+`) + " of " + string(`+want+`) + `+quote(" "+what))
}

func quote(text string) string { return strconv.Quote(text) }

func either(conditions ...string) string { return strings.Join(conditions, " || ") }

func waiting(field string) string {
	reasons := `"` + strings.Join(waitingForGood, `", "`) + `"`
	return `object.?status.?` + field + `.orValue([]).exists(c, c.?state.?waiting.?reason.orValue("") in [` + reasons + `])`
}

// hasTrue is the expression that a condition of the object has the status True.
func hasTrue(condition string) string { return has(condition, "True") }

// has is the expression that a condition of the object has the status. It is false where there are no conditions.
func has(condition, status string) string {
	return exists(`c.?type.orValue("") == "` + condition + `" && c.?status.orValue("") == "` + status + `"`)
}

func hasReason(condition, status, reason string) string {
	return exists(`c.?type.orValue("") == "` + condition + `" && c.?status.orValue("") == "` + status +
		`" && c.?reason.orValue("") == "` + reason + `"`)
}

func exists(predicate string) string {
	return `(hasConditions(object.?status.orValue({})) && object.status.conditions.exists(c, ` + predicate + `))`
}
