package hub

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Leader labels the pod of the hub that leads. The Services for webhooks, the page and the proxy select by the label, so that standbys
// get nothing and can be ready all the same: a Deployment with pods that are never ready could not be rolled out or drained.
type Leader struct {
	Client client.Client
	// Pod that this process runs in; the zero value is no pod.
	Pod types.NamespacedName
}

// PodOfThisProcess is the pod that the environment names; the chart sets POD_NAMESPACE and POD_NAME.
func PodOfThisProcess() types.NamespacedName {
	return types.NamespacedName{Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME")}
}

// Start labels the pod, and takes the label away when the context ends.
func (l *Leader) Start(ctx context.Context) error {
	if err := l.label(ctx, `"true"`); err != nil && ctx.Err() == nil {
		logr.FromContextOrDiscard(ctx).Error(err, "Label the pod of the leader; webhooks, the page and the proxy do not reach it")
	}
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := l.Forget(last); err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, "Take the label of the leader away")
	}
	return nil
}

// Forget takes away a label that a process of the same pod left behind when it was killed.
func (l *Leader) Forget(ctx context.Context) error { return l.label(ctx, "null") }

func (l *Leader) label(ctx context.Context, value string) error {
	if l.Pod.Name == "" {
		return nil
	}
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = l.Pod.Namespace, l.Pod.Name
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, musterv1alpha1.LeaderLabel, value)
	return client.IgnoreNotFound(l.Client.Patch(ctx, pod, client.RawPatch(types.MergePatchType, patch)))
}
