package health

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(data); err != nil { // whole numbers become int64, as from an API server
		t.Fatal(err)
	}
	return obj
}

func keyOf(obj *unstructured.Unstructured) fleet.ObjectKey {
	gvk := obj.GroupVersionKind()
	return fleet.ObjectKey{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

type example struct {
	why     string
	object  string
	want    fleet.Health
	message string
}

const (
	good = fleet.HealthHealthy
	busy = fleet.HealthProgressing
	bad  = fleet.HealthDegraded
)

func deploymentWith(spec, status string) string {
	return "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, generation: 2}, spec: " + spec + ", status: " + status + "}"
}

func of(apiVersion, kind, rest string) string {
	return "{apiVersion: " + apiVersion + ", kind: " + kind + ", metadata: {name: x, generation: 2}" + rest + "}"
}

func conditions(list string) string { return ", status: {conditions: [" + list + "]}" }

var examples = map[string]example{
	"deployment complete": {
		why:    "every replica is updated and available",
		object: deploymentWith("{replicas: 2}", "{observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}"), want: good},
	"deployment without replicas": {
		why:    "replicas default to one",
		object: deploymentWith("{}", "{observedGeneration: 2}"), want: busy, message: "0 of 1 replicas are updated"},
	"deployment scaled to nothing": {
		why:    "zero replicas are what was asked for",
		object: deploymentWith("{replicas: 0}", "{observedGeneration: 2}"), want: good},
	"deployment just changed": {
		why:    "the status is about the spec before",
		object: deploymentWith("{replicas: 1}", "{observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1}"),
		want:   busy, message: notObserved},
	"deployment just created": {
		why:    "there is no status at all",
		object: of("apps/v1", "Deployment", ""), want: busy, message: notObserved},
	"deployment stuck": {
		why: "the deadline is the controller's own word for failed",
		object: deploymentWith("{replicas: 1}", "{observedGeneration: 2, updatedReplicas: 1, replicas: 1, conditions: ["+
			"{type: Progressing, status: \"False\", reason: ProgressDeadlineExceeded}]}"),
		want: bad, message: "the rollout exceeded its deadline"},
	"deployment stuck before the newest spec": {
		why: "the failure is of a spec that is replaced",
		object: deploymentWith("{replicas: 1}", "{observedGeneration: 1, conditions: ["+
			"{type: Progressing, status: \"False\", reason: ProgressDeadlineExceeded}]}"), want: busy, message: notObserved},
	"deployment over quota": {
		why:    "no pod can be created",
		object: deploymentWith("{}", "{observedGeneration: 2, conditions: [{type: ReplicaFailure, status: \"True\"}]}"), want: bad, message: "pods cannot be created"},
	"deployment rolling out": {
		why:    "old pods are still running",
		object: deploymentWith("{replicas: 2}", "{observedGeneration: 2, replicas: 3, updatedReplicas: 2, availableReplicas: 3}"),
		want:   busy, message: "replicas of the old revision are still there"},
	"deployment not available": {
		why:    "pods run and are not ready",
		object: deploymentWith("{replicas: 2}", "{observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 1}"),
		want:   busy, message: "1 of 2 replicas are available"},
	"deployment being deleted": {
		why:    "it is wanted and about to go",
		object: "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, deletionTimestamp: \"2026-01-01T00:00:00Z\"}}",
		want:   busy, message: "is being deleted"},

	"statefulset complete": {
		why:    "ready and updated",
		object: of("apps/v1", "StatefulSet", ", spec: {replicas: 2}, status: {observedGeneration: 2, readyReplicas: 2, updatedReplicas: 2}"), want: good},
	"statefulset not ready": {
		why:    "one replica is missing",
		object: of("apps/v1", "StatefulSet", ", spec: {replicas: 2}, status: {observedGeneration: 2, readyReplicas: 1, updatedReplicas: 2}"),
		want:   busy, message: "1 of 2 replicas are ready"},
	"statefulset with partition": {
		why: "only what is beyond the partition is updated",
		object: of("apps/v1", "StatefulSet", ", spec: {replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}},"+
			" status: {observedGeneration: 2, readyReplicas: 3, updatedReplicas: 1}"), want: good},
	"statefulset below partition": {
		why: "the part beyond the partition is not updated",
		object: of("apps/v1", "StatefulSet", ", spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 1}}},"+
			" status: {observedGeneration: 2, readyReplicas: 3, updatedReplicas: 1}"), want: busy, message: "1 of 2 replicas are updated"},
	"statefulset on delete": {
		why:    "a person updates the pods",
		object: of("apps/v1", "StatefulSet", ", spec: {replicas: 1, updateStrategy: {type: OnDelete}}, status: {observedGeneration: 2, readyReplicas: 1}"),
		want:   good},

	"daemonset complete": {
		why:    "a pod on every node",
		object: of("apps/v1", "DaemonSet", ", status: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 3}"),
		want:   good},
	"daemonset updating": {
		why:    "a node still has the old pod",
		object: of("apps/v1", "DaemonSet", ", status: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 2, numberAvailable: 3}"),
		want:   busy, message: "2 of 3 pods are updated"},
	"daemonset on delete": {
		why:    "a person updates the pods, and one is missing",
		object: of("apps/v1", "DaemonSet", ", spec: {updateStrategy: {type: OnDelete}}, status: {observedGeneration: 2, desiredNumberScheduled: 3, numberAvailable: 2}"),
		want:   busy, message: "2 of 3 pods are available"},

	"replicaset complete": {
		why:    "all replicas are available",
		object: of("apps/v1", "ReplicaSet", ", spec: {replicas: 1}, status: {observedGeneration: 2, availableReplicas: 1}"), want: good},
	"replicaset failing": {
		why:    "no pod can be created",
		object: of("apps/v1", "ReplicaSet", ", status: {observedGeneration: 2, conditions: [{type: ReplicaFailure, status: \"True\"}]}"),
		want:   bad, message: "pods cannot be created"},

	"job running":   {why: "not finished", object: of("batch/v1", "Job", ""), want: busy, message: "the job is not finished"},
	"job complete":  {why: "finished well", object: of("batch/v1", "Job", conditions(`{type: Complete, status: "True"}`)), want: good},
	"job failed":    {why: "finished badly", object: of("batch/v1", "Job", conditions(`{type: Failed, status: "True"}`)), want: bad, message: "the job failed"},
	"job suspended": {why: "as its spec asks", object: of("batch/v1", "Job", ", spec: {suspend: true}"), want: good},

	"pod ready":     {why: "runs and is ready", object: of("v1", "Pod", `, status: {phase: Running, conditions: [{type: Ready, status: "True"}]}`), want: good},
	"pod succeeded": {why: "it ran to its end", object: of("v1", "Pod", ", status: {phase: Succeeded}"), want: good},
	"pod failed":    {why: "it ended badly", object: of("v1", "Pod", ", status: {phase: Failed}"), want: bad, message: "the pod failed"},
	"pod without image": {
		why:    "it waits until somebody changes something",
		object: of("v1", "Pod", ", status: {phase: Pending, containerStatuses: [{state: {running: {}}}, {state: {waiting: {reason: ImagePullBackOff}}}]}"),
		want:   bad, message: "a container cannot start"},
	"pod starting": {
		why:    "a container that is being created is no failure",
		object: of("v1", "Pod", ", status: {phase: Pending, initContainerStatuses: [{state: {waiting: {reason: PodInitializing}}}]}"),
		want:   busy, message: "the pod is not ready"},

	"claim bound":   {why: "has its volume", object: of("v1", "PersistentVolumeClaim", ", status: {phase: Bound}"), want: good},
	"claim pending": {why: "has none yet", object: of("v1", "PersistentVolumeClaim", ", status: {phase: Pending}"), want: busy, message: "the claim is not bound"},
	"claim lost":    {why: "its volume is gone", object: of("v1", "PersistentVolumeClaim", ", status: {phase: Lost}"), want: bad, message: "the volume is lost"},

	"service":               {why: "nothing to wait for", object: of("v1", "Service", ", spec: {type: ClusterIP}, status: {loadBalancer: {}}"), want: good},
	"load balancer waiting": {why: "no address yet", object: of("v1", "Service", ", spec: {type: LoadBalancer}, status: {loadBalancer: {}}"), want: busy, message: "the load balancer has no address"},
	"load balancer":         {why: "has an address", object: of("v1", "Service", ", spec: {type: LoadBalancer}, status: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}"), want: good},

	"namespace":             {why: "active", object: of("v1", "Namespace", ", status: {phase: Active}"), want: good},
	"namespace terminating": {why: "somebody deleted it", object: of("v1", "Namespace", ", status: {phase: Terminating}"), want: busy, message: "is being deleted"},

	"definition established": {
		why:    "served",
		object: of("apiextensions.k8s.io/v1", "CustomResourceDefinition", conditions(`{type: NamesAccepted, status: "True"}, {type: Established, status: "True"}`)), want: good},
	"definition new": {
		why:    "no conditions yet",
		object: of("apiextensions.k8s.io/v1", "CustomResourceDefinition", ""), want: busy, message: "the definition is not established"},
	"definition in conflict": {
		why:    "its names are taken",
		object: of("apiextensions.k8s.io/v1", "CustomResourceDefinition", conditions(`{type: NamesAccepted, status: "False"}`)),
		want:   bad, message: "the names conflict with those of another definition"},

	"api service": {why: "its server answers", object: of("apiregistration.k8s.io/v1", "APIService", conditions(`{type: Available, status: "True"}`)), want: good},
	"api service down": {
		why:    "its server does not answer yet",
		object: of("apiregistration.k8s.io/v1", "APIService", conditions(`{type: Available, status: "False"}`)), want: busy, message: "the API is not available"},

	"autoscaler": {why: "scales", object: of("autoscaling/v2", "HorizontalPodAutoscaler", conditions(`{type: AbleToScale, status: "True"}, {type: ScalingActive, status: "True"}`)), want: good},
	"autoscaler without metrics": {
		why:    "it cannot decide",
		object: of("autoscaling/v2", "HorizontalPodAutoscaler", conditions(`{type: ScalingActive, status: "False", reason: FailedGetResourceMetric}`)),
		want:   busy, message: "has no metrics to scale by"},
	"autoscaler of nothing": {
		why:    "a target with zero replicas is a person's wish",
		object: of("autoscaling/v2", "HorizontalPodAutoscaler", conditions(`{type: ScalingActive, status: "False", reason: ScalingDisabled}`)), want: good},
	"autoscaler stuck": {
		why:    "its target cannot be scaled",
		object: of("autoscaling/v2", "HorizontalPodAutoscaler", conditions(`{type: AbleToScale, status: "False"}`)), want: bad, message: "cannot scale its target"},

	"custom resource without status": {why: "nothing to report", object: of("example.com/v1", "Widget", ", spec: {}"), want: good},
	"custom resource ready":          {why: "says so", object: of("example.com/v1", "Widget", conditions(`{type: Ready, status: "True"}`)), want: good},
	"custom resource not ready":      {why: "says so", object: of("example.com/v1", "Widget", conditions(`{type: Ready, status: "False"}`)), want: busy, message: "is not ready"},
	"argo rollout":                   {why: "its own word", object: of("argoproj.io/v1alpha1", "Rollout", `, status: {observedGeneration: "2", phase: Healthy}`), want: good},
	"argo rollout paused":            {why: "somebody has to promote it", object: of("argoproj.io/v1alpha1", "Rollout", `, status: {observedGeneration: "2", phase: Paused}`), want: busy, message: "the rollout is paused: promote it, or wait for its step to end"},
	"argo rollout degraded":          {why: "its own word too", object: of("argoproj.io/v1alpha1", "Rollout", `, status: {observedGeneration: "2", phase: Degraded}`), want: bad, message: "the rollout is degraded"},
	"argo rollout changed":           {why: "what it says is of the spec before", object: of("argoproj.io/v1alpha1", "Rollout", `, status: {observedGeneration: "1", phase: Healthy}`), want: busy, message: notObserved},
	"argo rollout created":           {why: "there is no status", object: of("argoproj.io/v1alpha1", "Rollout", ""), want: busy, message: notObserved},
	"kruise rollout":                 {why: "its own word", object: of("rollouts.kruise.io/v1beta1", "Rollout", `, status: {observedGeneration: 2, phase: Healthy}`), want: good},
	"kruise rollout waits":           {why: "somebody has to approve a step", object: of("rollouts.kruise.io/v1beta1", "Rollout", `, status: {observedGeneration: 2, phase: Progressing, canaryStatus: {currentStepState: StepPaused}}`), want: busy, message: "the rollout is paused at a step: approve it, or wait for its step to end"},
	"kruise rollout goes":            {why: "a step is on its way", object: of("rollouts.kruise.io/v1beta1", "Rollout", `, status: {observedGeneration: 2, phase: Progressing, canaryStatus: {currentStepState: StepUpgrade}}`), want: busy, message: "the rollout goes on"},
	"kruise rollout stale":           {why: "what it says is of the spec before", object: of("rollouts.kruise.io/v1beta1", "Rollout", `, status: {observedGeneration: 1, phase: Healthy}`), want: busy, message: notObserved},
	"custom resource unsure":         {why: "Unknown is not ready", object: of("example.com/v1", "Widget", conditions(`{type: Ready, status: Unknown}`)), want: busy, message: "is not ready"},
	"custom resource unobserved": {
		why:    "its conditions are of the spec before",
		object: of("example.com/v1", "Widget", `, status: {observedGeneration: 1, conditions: [{type: Ready, status: "True"}]}`), want: busy, message: notObserved},
	"custom resource failed":      {why: "stalled wins over not ready", object: of("example.com/v1", "Widget", conditions(`{type: Ready, status: "False"}, {type: Stalled, status: "True"}`)), want: bad, message: "reports a failure"},
	"custom resource reconciling": {why: "still at it", object: of("example.com/v1", "Widget", conditions(`{type: Reconciling, status: "True"}`)), want: busy, message: "is being reconciled"},
	"custom resource unavailable": {why: "Available stands in for Ready", object: of("example.com/v1", "Widget", conditions(`{type: Available, status: "False"}`)), want: busy, message: "is not available"},
	"custom resource ready and unavailable": {
		why:    "Ready has the last word",
		object: of("example.com/v1", "Widget", conditions(`{type: Ready, status: "True"}, {type: Available, status: "False"}`)), want: good},
	"custom resource with odd status":     {why: "a status that is text says nothing", object: of("example.com/v1", "Widget", ", status: fine"), want: good},
	"custom resource with odd generation": {why: "a generation that is text says nothing", object: of("example.com/v1", "Widget", ", status: {observedGeneration: \"1\"}"), want: good},
	"custom resource with odd conditions": {why: "a map of conditions says nothing", object: of("example.com/v1", "Widget", ", status: {conditions: {Ready: no}}"), want: good},
}

func TestOf(t *testing.T) {
	for name, row := range examples {
		t.Run(name, func(t *testing.T) {
			got, message := Of(parse(t, row.object))
			if got != row.want || message != row.message {
				t.Errorf("got %s %q, want %s %q: %s", got, message, row.want, row.message, row.why)
			}
		})
	}
}

// What an agent computes from Rules, read back by FromManifest, must be what Of says.
func TestRulesSayWhatOfSays(t *testing.T) {
	seen := map[string]bool{}
	for name, row := range examples {
		t.Run(name, func(t *testing.T) {
			obj := parse(t, row.object)
			reported := []metav1.Condition{{Type: workv1.ManifestAvailable, Status: metav1.ConditionTrue}}
			for _, rule := range Rules(keyOf(obj)) {
				c, _ := Evaluate(rule, obj)
				if c.Reason != workv1.ReasonConditionRuleEvaluated {
					t.Fatalf("%s: %s %s", c.Type, c.Reason, c.Message)
				}
				reported = append(reported, c)
			}
			if len(reported) != 3 {
				t.Fatalf("%d conditions, want Available, Progressing and Degraded", len(reported))
			}
			wantHealth, wantMessage := Of(obj)
			health, message := FromManifest(keyOf(obj), reported, 0)
			if health != wantHealth || message != wantMessage {
				t.Errorf("the rules say %s %q, Of says %s %q", health, message, wantHealth, wantMessage)
			}
		})
		obj := parse(t, row.object)
		seen[obj.GetKind()] = true
	}
	for gk := range known {
		if !seen[gk.Kind] {
			t.Errorf("no example of %s", gk)
		}
		if _, ok := clausesByKind[gk]; !ok {
			t.Errorf("%s has no clauses", gk)
		}
	}
}

func TestKindsWithNothingToReport(t *testing.T) {
	for _, text := range []string{
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}",
		"{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: x}}",
		"{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: x}, status: {loadBalancer: {}}}",
	} {
		obj := parse(t, text)
		if rules := Rules(keyOf(obj)); len(rules) != 0 {
			t.Errorf("%s: %d rules, want none", obj.GetKind(), len(rules))
		}
		if health, _ := Of(obj); health != good {
			t.Errorf("%s is %s, want Healthy", obj.GetKind(), health)
		}
	}
}

func TestFromManifest(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus, generation int64, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, ObservedGeneration: generation, Reason: reason, Message: kind}
	}
	deployment := fleet.ObjectKey{Group: "apps", Kind: "Deployment", Name: "web"}
	configMap := fleet.ObjectKey{Kind: "ConfigMap", Name: "web"}
	for name, row := range map[string]struct {
		why        string
		key        fleet.ObjectKey
		conditions []metav1.Condition
		want       fleet.Health
	}{
		"nothing": {"not reported is Unknown", deployment, nil, fleet.HealthUnknown},
		"exists only": {"Available means that it exists, not that it is healthy", deployment,
			[]metav1.Condition{condition("Available", "True", 3, "")}, fleet.HealthUnknown},
		"exists with nothing to report": {"a ConfigMap cannot be better", configMap,
			[]metav1.Condition{condition("Available", "True", 3, "")}, good},
		"exists at another generation": {"it is not known of this one", configMap,
			[]metav1.Condition{condition("Available", "True", 2, "")}, fleet.HealthUnknown},
		"gone": {"an object that was applied and is not there is no small thing", configMap,
			[]metav1.Condition{condition("Available", "False", 3, "")}, bad},
		"done": {"the agent evaluated the rule", deployment,
			[]metav1.Condition{condition("Progressing", "False", 3, "ConditionRuleEvaluated")}, good},
		"old word": {"a condition of the generation before says nothing", deployment,
			[]metav1.Condition{condition("Progressing", "False", 2, "ConditionRuleEvaluated")}, fleet.HealthUnknown},
		"rule failed": {"False because the expression failed is not False", deployment,
			[]metav1.Condition{condition("Progressing", "False", 3, "ConditionRuleExpressionError")}, fleet.HealthUnknown},
		"failed": {"Degraded is worse than Progressing", deployment,
			[]metav1.Condition{condition("Progressing", "True", 3, ""), condition("Degraded", "True", 3, "")}, bad},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _ := FromManifest(row.key, row.conditions, 3); got != row.want {
				t.Errorf("got %s, want %s: %s", got, row.want, row.why)
			}
		})
	}
}

func TestEvaluate(t *testing.T) {
	pod := "{apiVersion: v1, kind: Pod, metadata: {name: x}, status: {phase: Succeeded}}"
	cel := func(condition string, expressions ...string) workv1.ConditionRule {
		return workv1.ConditionRule{Condition: condition, Type: workv1.CelConditionExpressionsType, CelExpressions: expressions}
	}
	withMessage := cel("Big", "size(object.metadata.name) > 3")
	withMessage.MessageExpression = `result ? "big" : "only " + string(size(object.metadata.name))`
	for name, row := range map[string]struct {
		why    string
		rule   workv1.ConditionRule
		object string
		want   metav1.Condition
	}{
		"all hold": {"expressions are joined by and", cel("Fine", "true", `object.kind == "Pod"`), pod,
			metav1.Condition{Type: "Fine", Status: "True", Reason: "ConditionRuleEvaluated", Message: "Manifest is Fine"}},
		"one does not": {"expressions are joined by and", cel("Fine", "true", `object.kind == "Job"`), pod,
			metav1.Condition{Type: "Fine", Status: "False", Reason: "ConditionRuleEvaluated", Message: "Manifest is not Fine"}},
		"message": {"the message sees the result", withMessage, pod,
			metav1.Condition{Type: "Big", Status: "False", Reason: "ConditionRuleEvaluated", Message: "only 1"}},
		"not a bool": {"OCM's reason for it", cel("Odd", `"yes"`), pod,
			metav1.Condition{Type: "Odd", Status: "False", Reason: "ConditionRuleExpressionError", Message: "the expression gives string and not a bool"}},
		"no such key": {"a missing field is an error in CEL", cel("Odd", "object.status.nothing"), pod,
			metav1.Condition{Type: "Odd", Status: "False", Reason: "ConditionRuleExpressionError", Message: "evaluate: no such key: nothing"}},
		"no such type": {"a newer hub may send one", workv1.ConditionRule{Condition: "Odd", Type: "Lua"}, pod,
			metav1.Condition{Type: "Odd", Status: "Unknown", Reason: "ConditionRuleInvalid", Message: "no such type of condition rule: Lua"}},
		"well known": {"what OCM knows of a pod", workv1.ConditionRule{Condition: "Complete", Type: workv1.WellKnownConditionsType}, pod,
			metav1.Condition{Type: "Complete", Status: "True", Reason: "ConditionRuleEvaluated", Message: "Pod is in phase Succeeded"}},
		"well known job": {"a failed job is complete, too", workv1.ConditionRule{Condition: "Complete", Type: workv1.WellKnownConditionsType},
			of("batch/v1", "Job", conditions(`{type: Failed, status: "True"}`)),
			metav1.Condition{Type: "Complete", Status: "True", Reason: "ConditionRuleEvaluated", Message: "Job is finished"}},
		"not a well known kind": {"only Job and Pod are", workv1.ConditionRule{Condition: "Complete", Type: workv1.WellKnownConditionsType},
			of("v1", "Service", ""), metav1.Condition{}},
		"not a well known condition": {"only Complete is", workv1.ConditionRule{Condition: "Ready", Type: workv1.WellKnownConditionsType},
			pod, metav1.Condition{}},
		"libraries": {"the libraries of OCM's agent are there", cel("Fine",
			`quantity("1Ki").isGreaterThan(quantity("1")) && ip("10.0.0.1").family() == 4 && [1, 2].sum() == 3 && "a,b".split(",").size() == 2 && isSemver("1.2.3")`), pod,
			metav1.Condition{Type: "Fine", Status: "True", Reason: "ConditionRuleEvaluated", Message: "Manifest is Fine"}},
		"without conditions": {"hasConditions takes anything", cel("Odd", "hasConditions(object.status) || hasConditions(1)"), pod,
			metav1.Condition{Type: "Odd", Status: "False", Reason: "ConditionRuleEvaluated", Message: "Manifest is not Odd"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := Evaluate(row.rule, parse(t, row.object))
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
		})
	}
}

// A rule cannot stop an agent.
func TestEvaluateIsBounded(t *testing.T) {
	numbers := make([]any, 2000)
	for i := range numbers {
		numbers[i] = int64(i)
	}
	obj := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"n": numbers}}}
	rule := workv1.ConditionRule{Condition: "Slow", Type: workv1.CelConditionExpressionsType,
		CelExpressions: []string{"object.spec.n.all(a, object.spec.n.all(b, object.spec.n.all(c, a + b + c >= 0)))"}}
	got, _ := Evaluate(rule, obj)
	if got.Reason != workv1.ReasonConditionRuleExpressionError {
		t.Errorf("got %s %q, want the cost limit to stop it", got.Reason, got.Message)
	}
}
