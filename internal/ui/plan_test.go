package ui

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/review"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// heldReviews has one review: of pull request 7, and of any two commits but those that begin with x.
type heldReviews struct{}

func (heldReviews) Request(repository types.NamespacedName, number int64) *review.Request {
	if repository.String() != "muster-system/fleet" || number != 7 {
		return nil
	}
	return &review.Request{Number: 7, Title: hostile, Author: "alice", URL: "javascript:alert(1)", Head: "7777777aaaa", PlannedAt: noon, Review: hostileReview()}
}

func (heldReviews) Compare(_ context.Context, _ types.NamespacedName, base, _ string) (*review.Review, error) {
	if strings.HasPrefix(base, "x") {
		return nil, errors.New("commit x is not in the history")
	}
	return hostileReview(), nil
}

func (heldReviews) Layers(_ types.NamespacedName, application, cluster string) map[string]string {
	if application != "shop/web" || cluster != "one" {
		return nil
	}
	return map[string]string{"image.tag": "override prod, application.yaml:7", hostile: hostile}
}

// hostileReview has something of everything, written by somebody who means harm.
func hostileReview() *review.Review {
	prod := []plan.ClusterGroup{{Clusters: []string{"one"}, Reason: "matches " + hostile}}
	gone := []plan.ClusterGroup{{Clusters: []string{"two", "three"}, Reason: "label env=prod is missing"}}
	color := work.FieldChange{Path: "data.color", Before: hostile, After: "blue"}
	return &review.Review{
		Difference: &plan.Difference{
			Summary:    plan.Summary{Applications: 2, ChangedApplications: 1, Gained: 1, Lost: 2, Held: 2, NewFaults: 1},
			Placements: []plan.PlacementDifference{{Placement: "shop/prod", Edit: plan.Changed, File: "p.yaml", Line: 4, Before: 2, After: 1, Gained: prod, Lost: gone, Fields: []work.FieldChange{color}}},
			Applications: []plan.ApplicationDifference{{Application: "shop/web", Edit: plan.Changed, File: "web.yaml", Line: 9, Before: 2, After: 1, Gained: prod, Lost: gone, Changes: []plan.ChangeGroup{{
				Clusters: []string{"one"}, Label: "env=prod", Overrides: []string{hostile},
				Objects: []plan.ObjectChange{{Object: fleet.ObjectKey{Kind: "ConfigMap", Name: hostile}, Edit: plan.Changed, Fields: []plan.FieldChange{{FieldChange: color, Layer: "values.yaml:3"}}}},
			}}}},
			Definitions: []plan.DefinitionDifference{{Object: fleet.ObjectKey{Kind: "Namespace", Name: "shop"}, Edit: plan.Added, File: "t.yaml", Line: 1}},
			Held:        []plan.Hold{{Application: "shop/web", Reason: rollout.ApprovalNeeded, Clusters: []string{"two"}, Message: hostile, Deletions: 2, Plan: "abcdef0123456789"}},
			NewFaults:   []fleet.Fault{{Reason: fleet.RenderFailed, File: "charts/web.yaml", Line: 3, Message: hostile}},
		},
		Findings: []review.Finding{{Policy: "muster-system/prod", Deny: true, Message: "denied " + hostile}},
	}
}

// TestPlanPage: a plan is shown to who may list the applications that it changes, and what the hub refuses is said.
func TestPlanPage(t *testing.T) {
	_, server, _ := serve(t, func(_, resource, namespace string) bool { return resource == "fleetrepositories" })
	for _, path := range []string{"/reviews/muster-system/fleet/7", "/repositories/muster-system/fleet/plan?base=1111111"} {
		status, body, _ := get(t, server.URL+path)
		if status != http.StatusForbidden || strings.Contains(body, "data.color") || !strings.Contains(body, "namespace shop") {
			t.Errorf("%s without a right to the applications: %d\n%s", path, status, body)
		}
	}
	_, server, _ = serve(t, nil)
	if status, body, _ := get(t, server.URL+"/repositories/muster-system/fleet/plan?base=x"); status != http.StatusUnprocessableEntity || !strings.Contains(body, "not in the history") {
		t.Errorf("an unknown commit: %d\n%s", status, body)
	}
	_, body, _ := get(t, server.URL+"/reviews/muster-system/fleet/7")
	if strings.Contains(body, `href="javascript:`) {
		t.Error("a link of the host runs a script")
	}
	if _, body, _ = get(t, server.URL+"/repositories/muster-system/fleet/plan?base=1111111"); strings.Contains(body, "data-live=") {
		t.Error("the page of a comparison follows the fleet: each change would make the plan again")
	}
}
