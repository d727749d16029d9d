package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/internal/registration"
)

//go:embed policies.yaml
var policiesYAML []byte

// Policies are the rules of OCM's admission webhooks, and Muster's own about who may say which identity joins, each with
// its binding. CEL cannot measure a whole object: the size of a work is bounded by the planner and by etcd.
func Policies() []client.Object {
	var objects []client.Object
	for _, document := range bytes.Split(policiesYAML, []byte("\n---\n")) {
		policy := &admissionv1.ValidatingAdmissionPolicy{}
		if err := yaml.UnmarshalStrict(document, policy); err != nil {
			panic(fmt.Sprintf("policies.yaml: %v", err)) // embedded data, proven by a test
		}
		objects = append(objects, policy, &admissionv1.ValidatingAdmissionPolicyBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicyBinding"},
			ObjectMeta: metav1.ObjectMeta{Name: policy.Name},
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: policy.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			},
		})
	}
	return objects
}

// Install puts on the hub what the controllers and agents count on: the policies, the ClusterRole that identities which agents
// join with are bound to, and what more is given. The kinds of cluster v1 and work v1 must be served. Kube-apiserver heeds a
// new policy after a moment only.
func Install(ctx context.Context, c client.Client, more ...client.Object) error {
	for _, o := range slices.Concat(Policies(), []client.Object{registration.WantBootstrapRole()}, more) {
		if err := install(ctx, c, o); err != nil {
			return fmt.Errorf("install %T %s: %w", o, o.GetName(), err)
		}
	}
	return nil
}

func install(ctx context.Context, c client.Client, wanted client.Object) error {
	return wait.PollUntilContextTimeout(ctx, retrySoon, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		live := wanted.DeepCopyObject().(client.Object)
		err := c.Get(ctx, client.ObjectKeyFromObject(wanted), live)
		if apierrors.IsNotFound(err) {
			err = c.Create(ctx, wanted.DeepCopyObject().(client.Object))
			return err == nil, client.IgnoreAlreadyExists(err)
		}
		if err != nil {
			return false, err
		}
		was := live.DeepCopyObject()
		switch w := wanted.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			live.(*admissionv1.ValidatingAdmissionPolicy).Spec = *w.Spec.DeepCopy()
		case *admissionv1.ValidatingAdmissionPolicyBinding:
			live.(*admissionv1.ValidatingAdmissionPolicyBinding).Spec = *w.Spec.DeepCopy()
		default:
			copyRights(live, wanted)
		}
		if equality.Semantic.DeepEqual(was, live) {
			return true, nil
		}
		err = c.Update(ctx, live)
		return err == nil, ignoreConflict(err)
	})
}

func ignoreConflict(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}
