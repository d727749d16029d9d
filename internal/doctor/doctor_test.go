package doctor_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/internal/doctor"
)

func TestSkew(t *testing.T) {
	for name, row := range map[string]struct{ hub, agent, want, why string }{
		"equal":           {"1.4.0", "1.4.2", "", "patches do not matter"},
		"one minor older": {"v1.4.0", "v1.3.9", "", "agents are upgraded after the hub"},
		"two minors":      {"1.4.0", "1.2.0", "older than hub 1.4.0 supports", "it may not know what the hub asks for"},
		"newer":           {"1.4.0", "1.5.0", "newer than hub 1.4.0", "the hub goes first"},
		"another major":   {"2.0.0", "1.9.0", "older", "a major version promises nothing"},
		"a build":         {"1.4.0", "unknown", "", "nothing is known"},
	} {
		t.Run(name, func(t *testing.T) {
			got := doctor.Skew(row.hub, row.agent)
			if (got == "") != (row.want == "") || !strings.HasPrefix(got, row.want) {
				t.Errorf("%q, want %q: %s", got, row.want, row.why)
			}
		})
	}
}

func TestSigning(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	request := func(approved time.Duration, certificate string) certificatesv1.CertificateSigningRequest {
		return certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: "csr-1"}, Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: certificatesv1.KubeAPIServerClientSignerName},
			Status: certificatesv1.CertificateSigningRequestStatus{Certificate: []byte(certificate), Conditions: []certificatesv1.CertificateSigningRequestCondition{
				{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(now.Add(-approved))},
			}},
		}
	}
	for name, row := range map[string]struct {
		requests []certificatesv1.CertificateSigningRequest
		want     doctor.State
		why      string
	}{
		"none":                 {nil, doctor.Unknown, "nothing shows it"},
		"signed":               {[]certificatesv1.CertificateSigningRequest{request(time.Hour, "x")}, doctor.OK, "a certificate is there"},
		"approved just now":    {[]certificatesv1.CertificateSigningRequest{request(time.Second, "")}, doctor.Unknown, "a signer needs a moment"},
		"approved a while ago": {[]certificatesv1.CertificateSigningRequest{request(time.Minute, ""), request(time.Hour, "x")}, doctor.Problem, "as on EKS"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := doctor.Signing(row.requests, now); got.State != row.want || got.State == doctor.Problem && got.Next == "" {
				t.Errorf("%+v, want %s: %s", got, row.want, row.why)
			}
		})
	}
}

func TestWorkload(t *testing.T) {
	deployment := func(replicas, ready int32) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "muster-agent", Name: "klusterlet", Labels: map[string]string{"app.kubernetes.io/instance": "klusterlet"}},
			Spec:       appsv1.DeploymentSpec{Replicas: &replicas}, Status: appsv1.DeploymentStatus{Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: ready},
		}
	}
	applied := deployment(2, 2) // and its controller has not looked
	applied.Generation, applied.Status.ObservedGeneration = 2, 1
	surging := deployment(2, 2) // a pod of the new image, which does not start, and those of before
	surging.Status.Replicas, surging.Status.UpdatedReplicas = 3, 1
	pod := func(status corev1.PodStatus) []corev1.Pod {
		return []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-agent", Name: "p"}, Status: status}}
	}
	waiting := func(reason, message string, last *corev1.ContainerStateTerminated) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Image: "i:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
			LastTerminationState: corev1.ContainerState{Terminated: last},
		}}}
	}
	for name, row := range map[string]struct {
		deployment *appsv1.Deployment
		pods       []corev1.Pod
		state      doctor.State
		message    string
		next       string
	}{
		"not there": {nil, nil, doctor.Problem, "not installed", "install it"},
		"runs":      {deployment(2, 1), nil, doctor.OK, "1 of 2 ready", ""},
		"applied":   {applied, nil, doctor.Unknown, "is being rolled out", ""},
		"surging":   {surging, nil, doctor.Unknown, "is being rolled out", ""},
		"wrong image while the pods of before run": {
			surging, pod(waiting("ImagePullBackOff", "not found", nil)), doctor.Problem, "image i:1 cannot be pulled: not found", "image.repository",
		},
		"scaled":   {deployment(0, 0), nil, doctor.Problem, "scaled to zero", "kubectl -n muster-agent scale"},
		"no image": {deployment(1, 0), pod(waiting("ErrImagePull", "not found", nil)), doctor.Problem, "image i:1 cannot be pulled: not found", "image.repository"},
		"crashes": {
			deployment(1, 0), pod(waiting("CrashLoopBackOff", "back-off", &corev1.ContainerStateTerminated{Message: "a\nklusterlet: no way\n"})),
			doctor.Problem, "it exits: klusterlet: no way", "logs p --previous",
		},
		"no node": {
			deployment(1, 0), pod(corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes"}}}),
			doctor.Problem, "no node takes it: 0/3 nodes", "nodeSelector",
		},
		"a missing Secret": {deployment(1, 0), pod(waiting("CreateContainerConfigError", "secret not found", nil)), doctor.Problem, "secret not found", "describe pod"},
		"not joined": {
			deployment(1, 0), pod(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}),
			doctor.Unknown, "runs, and is not ready", "",
		},
		"starts": {deployment(1, 0), pod(waiting("ContainerCreating", "", nil)), doctor.Problem, "no pod of", "describe pods"},
	} {
		t.Run(name, func(t *testing.T) {
			got := doctor.Workload("check", "install it", row.deployment, row.pods)
			if got.State != row.state || !strings.Contains(got.Message, row.message) || !strings.Contains(got.Next, row.next) {
				t.Errorf("%+v, want %s %q, next %q", got, row.state, row.message, row.next)
			}
		})
	}
}
