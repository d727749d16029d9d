package ui

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestHolds: an application is paused and resumed, and goes back to a revision after a look at what that changes.
func TestHolds(t *testing.T) {
	_, server, c := serve(t, nil)
	post := func(path string, form url.Values) int {
		t.Helper()
		browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := browser.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	hold := func(name string) *musterv1alpha1.Hold {
		h := &musterv1alpha1.Hold{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, h); apierrors.IsNotFound(err) {
			return nil
		} else if err != nil {
			t.Fatal(err)
		}
		return h
	}
	app := url.Values{"namespace": {"shop"}, "name": {"web"}}
	with := func(more ...string) url.Values {
		form := url.Values{}
		for k, v := range app {
			form[k] = v
		}
		for i := 0; i+1 < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return form
	}
	if status := post("/pause", with("reason", " ")); status != http.StatusUnprocessableEntity || hold("pause-web") != nil {
		t.Errorf("a pause that says no reason: %d", status)
	}
	if status := post("/pause", with("reason", "call centre is down", "for", "4h")); status != http.StatusSeeOther {
		t.Errorf("a pause: %d", status)
	}
	h := hold("pause-web")
	if h == nil || h.Spec.By != "me" || h.Spec.Reason != "call centre is down" || h.Spec.Until == nil || time.Until(h.Spec.Until.Time) > 4*time.Hour || h.Spec.Pin != nil || len(h.Spec.Applications.Names) != 1 {
		t.Fatalf("the hold is %+v", h)
	}
	if status := post("/resume", url.Values{"hold": {"shop/pause-web"}, "next": {"/applications/shop/web"}}); status != http.StatusSeeOther || hold("pause-web") != nil {
		t.Errorf("resume: %d, %v", status, hold("pause-web"))
	}

	good := strings.Repeat("0012345", 6)[:40]
	_, page, _ := get(t, server.URL+"/applications/shop/web")
	if !strings.Contains(page, "/repositories/muster-system/fleet/plan?base=0123456&amp;head=0012345&amp;application=shop/web") {
		t.Error("the history leads to no plan of going back")
	}
	_, page, _ = get(t, server.URL+"/repositories/muster-system/fleet/plan?base=0123456&head="+good+"&application=shop/web")
	if !strings.Contains(page, `action="/rollback"`) || !strings.Contains(page, "What changes of shop/web") || !strings.Contains(page, "on 1 cluster.") {
		t.Errorf("the plan of going back:\n%s", page)
	}
	if _, other, _ := get(t, server.URL+"/repositories/muster-system/fleet/plan?base=7777777&head="+good+"&application=shop/web"); strings.Contains(other, `action="/rollback"`) {
		t.Error("a plan from something that the application does not have offers to go back")
	}
	if status := post("/rollback", with("revision", "7777777", "to", good, "reason", "slow")); status != http.StatusConflict || hold("pin-web") != nil {
		t.Errorf("a return from another revision: %d, %v", status, hold("pin-web"))
	}
	if status := post("/rollback", with("revision", "0123456", "to", good, "reason", "slow")); status != http.StatusSeeOther {
		t.Errorf("a return: %d", status)
	}
	if h := hold("pin-web"); h == nil || h.Spec.Pin == nil || h.Spec.Pin.Revision != good || !h.Spec.Pin.Return || h.Spec.By != "me" {
		t.Errorf("the pin is %+v", h)
	}
}
