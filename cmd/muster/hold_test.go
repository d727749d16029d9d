package main

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/rollout"
)

func TestScopeOfAPause(t *testing.T) {
	for name, row := range map[string]struct {
		args []string
		of   scope
		hold string // namespace/name, or a part of the error
		why  string
	}{
		"application":                    {[]string{"retail/shop"}, scope{}, "retail/pause-shop", "in its namespace: its team may write it"},
		"application on clusters":        {[]string{"retail/shop"}, scope{clusters: "tier=edge"}, "retail/pause-shop-", "beside the one of all clusters"},
		"namespace":                      {nil, scope{namespace: "retail"}, "retail/namespace-pause", "an application may be called namespace"},
		"the hub's own namespace":        {nil, scope{namespace: "muster-system"}, "muster-system/namespace-pause", "beside --all, which is muster-system/pause"},
		"repository":                     {nil, scope{repository: "muster-system/fleet"}, "muster-system/pause-repository-fleet", ""},
		"clusters":                       {nil, scope{clusters: "tier=edge"}, "muster-system/pause-", "of all namespaces"},
		"all":                            {nil, scope{all: true}, "muster-system/pause", ""},
		"nothing":                        {nil, scope{}, "what? NAMESPACE/NAME of an application", "never all by mistake"},
		"application without one":        {[]string{"shop"}, scope{}, `"shop" is no application`, ""},
		"application and all":            {[]string{"retail/shop"}, scope{all: true}, "leave out --namespace", ""},
		"repository without a namespace": {nil, scope{repository: "fleet"}, `"fleet" is no repository`, ""},
		"not a selector":                 {nil, scope{clusters: "tier in"}, `--clusters "tier in"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := row.of.hold(row.args)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = h.Namespace + "/" + h.Name
			}
			if !strings.HasPrefix(got, row.hold) && !strings.Contains(got, row.hold) {
				t.Errorf("%s: %s, want %s", row.why, got, row.hold)
			}
		})
	}
}

// TestPauseOfOneNamespace: what muster pause writes for an application, or a namespace, holds nothing of another namespace, also where it
// is in muster-system, and muster resume and unpin find it.
func TestPauseOfOneNamespace(t *testing.T) {
	application := func(namespace string) *musterv1alpha1.Application {
		return &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}}
	}
	for _, namespace := range []string{"muster-system", "retail"} {
		for _, c := range []struct {
			args []string
			of   scope
		}{{[]string{namespace + "/web"}, scope{}}, {nil, scope{namespace: namespace}}} {
			h, err := c.of.hold(c.args)
			if err != nil {
				t.Fatal(err)
			}
			if !rollout.HoldsApplication(h, application(namespace), "") || rollout.HoldsApplication(h, application("billing"), "") {
				t.Errorf("pause %v %+v holds %+v", c.args, c.of, h.Spec.Applications)
			}
			if one := isOfOne(h, namespace, "web"); one != (len(c.args) > 0) {
				t.Errorf("pause %v %+v is of one application: %v", c.args, c.of, one)
			}
		}
	}
	byHand := &musterv1alpha1.Hold{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "x"}}
	byHand.Spec.Applications = musterv1alpha1.HeldApplications{Names: []string{"web"}, Namespaces: []string{"retail"}}
	if isOfOne(byHand, "muster-system", "web") {
		t.Error("resume would end a hold of another namespace")
	}
}

func TestEndOfAHold(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		flags holdFlags
		want  string // RFC 3339, "" for none, or a part of the error
	}{
		"open":      {holdFlags{}, ""},
		"for":       {holdFlags{lasts: 2 * time.Hour}, "2026-12-01T14:00:00Z"},
		"zone":      {holdFlags{until: "2026-12-27T08:00:00+01:00"}, "2026-12-27T07:00:00Z"},
		"day":       {holdFlags{until: "2026-12-27"}, time.Date(2026, 12, 27, 0, 0, 0, 0, time.Local).UTC().Format(time.RFC3339)},
		"over":      {holdFlags{until: "2026-11-27"}, "is over"},
		"not a day": {holdFlags{until: "tomorrow"}, `--until "tomorrow" is no time`},
	} {
		t.Run(name, func(t *testing.T) {
			end, err := row.flags.end(now)
			got := ""
			switch {
			case err != nil:
				got = err.Error()
			case end != nil:
				got = end.UTC().Format(time.RFC3339)
			}
			if got != row.want && (err == nil || !strings.Contains(got, row.want)) {
				t.Errorf("ends %q, want %q", got, row.want)
			}
		})
	}
}

func TestRevisionOfAPin(t *testing.T) {
	good := []musterv1alpha1.GoodRevision{{Revision: "41aa9d0" + strings.Repeat("0", 33)}, {Revision: "41bb" + strings.Repeat("1", 36)}}
	full := strings.Repeat("c", 40)
	for text, want := range map[string]string{
		"41aa9d0": good[0].Revision, "41": `"41" is the beginning of 2 revisions`, full: full, "abc": `"abc" is none of its good revisions`,
	} {
		got, err := revisionIn(good, text)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
