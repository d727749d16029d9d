package cluster_test

import (
	"encoding/base64"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/registration"
)

// allowed asks the hub what the agents of a cluster may do.
func allowed(t *testing.T, h *hub, cluster, group, resource, subresource, verb, namespace, name string) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: registration.UserName(cluster, "a1"), Groups: registration.Organizations(cluster),
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: group, Resource: resource, Subresource: subresource, Verb: verb, Namespace: namespace, Name: name,
		},
	}}
	if err := h.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

func unless(good bool, wrong string) string {
	if good {
		return ""
	}
	return wrong
}

func missing(h *hub, key client.ObjectKey, o client.Object) string {
	if err := h.Get(h.t.Context(), key, o); err != nil {
		return err.Error()
	}
	return ""
}

func mustGet(t *testing.T, h *hub, key client.ObjectKey, o client.Object) {
	t.Helper()
	if err := h.Get(t.Context(), key, o); err != nil {
		t.Fatal(err)
	}
}

func mustDelete(t *testing.T, h *hub, o client.Object) {
	t.Helper()
	if err := h.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func encode(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
