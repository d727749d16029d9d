package ui

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// meddle puts functions of a test between the person and the hub.
func meddle(s *Server, c client.Client, functions interceptor.Funcs) {
	s.Access.(anyone).person.Client = interceptor.NewClient(c.(client.WithWatch), functions)
}

// TestDriftOfOthers: who may list applications and not works is told so for each that has drifted, and still sees the page.
func TestDriftOfOthers(t *testing.T) {
	s, server, c := serve(t, nil)
	var app musterv1alpha1.Application
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web"}, &app); err != nil {
		t.Fatal(err)
	}
	app.Status.Summary.Drifted = 1
	if err := c.Update(t.Context(), &app); err != nil {
		t.Fatal(err)
	}
	meddle(s, c, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		if _, ok := list.(*workv1.ManifestWorkList); ok {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "manifestworks"}, "", nil)
		}
		return c.List(ctx, list, options...)
	}})
	status, body, _ := get(t, server.URL+"/drift")
	if status != http.StatusOK || !strings.Contains(body, "The drift of shop/web is not shown: ") || strings.Contains(body, "Nothing has drifted") {
		t.Errorf("the page is %d\n%s", status, body)
	}
}

// TestAnswerWithoutLog: an agent that answers and sends no log is a problem that the page tells.
func TestAnswerWithoutLog(t *testing.T) {
	s, server, c := serve(t, nil)
	meddle(s, c, interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
		if i, ok := o.(*musterv1alpha1.Inspection); ok {
			i.Spec.Logs = nil // as an agent reads it that knows no logs
		}
		return c.Create(ctx, o, options...)
	}})
	status, body, _ := get(t, server.URL+"/applications/shop/web/clusters/one/logs")
	if status != http.StatusOK || !strings.Contains(body, "upgrade its klusterlet") {
		t.Errorf("the page is %d\n%s", status, body)
	}
}

// TestReturnWithoutPlan: where no plan can be shown, nobody is offered to go back.
func TestReturnWithoutPlan(t *testing.T) {
	s, server, _ := serve(t, nil)
	s.Plans = nil
	_, body, _ := get(t, server.URL+"/repositories/muster-system/fleet/plan?base=0123456&head=0012345&application=shop/web")
	if !strings.Contains(body, "The plan is not here") || strings.Contains(body, `action="/rollback"`) {
		t.Errorf("the page says\n%s", body)
	}
}

// TestLoginCookie: a link from another site opens the page for who has logged in.
func TestLoginCookie(t *testing.T) {
	s, _, _ := serve(t, nil)
	w := httptest.NewRecorder()
	s.enter(w, httptest.NewRequest(http.MethodPost, "/login", nil), "token")
	if cookies := w.Result().Cookies(); len(cookies) != 1 || cookies[0].SameSite != http.SameSiteLaxMode || !cookies[0].HttpOnly || !cookies[0].Secure {
		t.Errorf("the cookies are %v", cookies)
	}
}
