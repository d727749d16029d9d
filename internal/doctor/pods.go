package doctor

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Workload says how the pods of a Deployment do. A nil Deployment is one that is not there.
func Workload(check, install string, d *appsv1.Deployment, pods []corev1.Pod) Finding {
	if d == nil {
		return problem(check, install, "it is not installed here")
	}
	name := "Deployment " + d.Namespace + "/" + d.Name
	if d.Spec.Replicas != nil && *d.Spec.Replicas == 0 {
		return problem(check, fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=2", d.Namespace, d.Name), "%s is scaled to zero", name)
	}
	for i := range pods {
		if why, next := podProblem(&pods[i]); why != "" {
			return problem(check, next, "pod %s/%s: %s", d.Namespace, pods[i].Name, why)
		}
	}
	if d.Status.ReadyReplicas > 0 && !rolledOut(d) {
		return unknown(check, "%s is being rolled out: not all of its pods are those of its spec", name)
	}
	if d.Status.ReadyReplicas > 0 {
		return ok(check, "%s runs (%d of %d ready)", name, d.Status.ReadyReplicas, d.Status.Replicas)
	}
	if running(pods) {
		return unknown(check, "%s runs, and is not ready", name)
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return problem(check, "kubectl -n "+d.Namespace+" describe deployment "+d.Name, "%s gets no pods: %s", name, c.Message)
		}
	}
	return problem(check, "kubectl -n "+d.Namespace+" describe pods -l app.kubernetes.io/instance="+d.Labels["app.kubernetes.io/instance"],
		"no pod of %s is ready", name)
}

// rolledOut is true when all pods of a Deployment are those of its spec.
func rolledOut(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == d.Status.Replicas &&
		(d.Spec.Replicas == nil || d.Status.UpdatedReplicas == *d.Spec.Replicas)
}

// running is true when a container of the pods runs.
func running(pods []corev1.Pod) bool {
	for i := range pods {
		for _, s := range pods[i].Status.ContainerStatuses {
			if s.State.Running != nil {
				return true
			}
		}
	}
	return false
}

// podProblem is what keeps a pod from running, and what to do.
func podProblem(p *corev1.Pod) (why, next string) {
	describe := fmt.Sprintf("kubectl -n %s describe pod %s", p.Namespace, p.Name)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "no node takes it: " + c.Message, "make room, or set nodeSelector, tolerations or resources of the chart; " + describe
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		switch {
		case s.State.Waiting == nil:
			continue
		case strings.Contains(s.State.Waiting.Reason, "Image"):
			return fmt.Sprintf("image %s cannot be pulled: %s", s.Image, s.State.Waiting.Message),
				"see whether the image is there and the node reaches its registry; image.repository names a mirror, imagePullSecrets its credentials"
		case s.State.Waiting.Reason == "CrashLoopBackOff" || s.LastTerminationState.Terminated != nil:
			return "it exits: " + lastWords(s), fmt.Sprintf("kubectl -n %s logs %s --previous", p.Namespace, p.Name)
		case s.State.Waiting.Reason != "ContainerCreating" && s.State.Waiting.Reason != "PodInitializing":
			return s.State.Waiting.Reason + ": " + s.State.Waiting.Message, describe
		}
	}
	return "", ""
}

// lastWords are what the program wrote at its end; the charts let kubelet keep it.
func lastWords(s corev1.ContainerStatus) string {
	t := s.LastTerminationState.Terminated
	if t == nil {
		t = s.State.Terminated
	}
	if t == nil {
		return s.State.Waiting.Message
	}
	if text := strings.TrimSpace(t.Message); text != "" {
		lines := strings.Split(text, "\n")
		return lines[len(lines)-1]
	}
	return fmt.Sprintf("%s (exit code %d)", t.Reason, t.ExitCode)
}
