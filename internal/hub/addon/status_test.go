package addon

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/fleet"
)

// TestSay: what a ManagedClusterAddOn says of its works.
func TestSay(t *testing.T) {
	yes, no := fleet.ConditionAt(true, true), fleet.ConditionAt(false, true)
	work := func(applied fleet.Condition, health fleet.Health) []fleet.LiveWork {
		lw := fleet.LiveWork{Cluster: "one", Name: "addon-mirror-deploy-0", Generation: 1}
		lw.Status = fleet.WorkStatus{Health: health, Conditions: fleet.WorkConditions{Applied: applied}}
		return []fleet.LiveWork{lw}
	}
	for name, c := range map[string]struct {
		why                          string
		works                        []fleet.LiveWork
		failure                      error
		before                       string // reason of ManifestApplied
		waits, silent                bool
		applied, available, degraded string
	}{
		"healthy":                     {why: "all is well", works: work(yes, fleet.HealthHealthy), applied: "True AddonManifestApplied", available: "True ProbeAvailable", degraded: "False ProbeAvailable"},
		"starting":                    {why: "not available, and not bad", works: work(yes, fleet.HealthProgressing), applied: "True AddonManifestApplied", available: "False ProbeUnavailable", degraded: "False ProbeAvailable"},
		"degraded":                    {why: "a workload failed", works: work(yes, fleet.HealthDegraded), applied: "True AddonManifestApplied", available: "False ProbeUnavailable", degraded: "True ProbeUnavailable"},
		"no word":                     {why: "an agent that reports no health", works: work(yes, fleet.HealthUnknown), applied: "True AddonManifestApplied", available: "Unknown NoProbeResult"},
		"not applied":                 {why: "the agent could not", works: work(no, fleet.HealthHealthy), applied: "False AddonManifestAppliedFailed", available: "False WorkNotApplied"},
		"not there":                   {why: "just written", available: "Unknown WorkNotFound"},
		"does not render":             {why: "what is applied stays", works: work(yes, fleet.HealthHealthy), failure: errors.New("no variable"), applied: "False ManifestWorkApplyFailed"},
		"mended":                      {why: "a failure that is over is none", works: work(0, ""), before: "ManifestWorkApplyFailed", applied: "False AddonManifestAppliedFailed", available: "False WorkNotApplied"},
		"waits":                       {why: "its health is that of what it has", works: work(yes, fleet.HealthHealthy), waits: true, available: "True ProbeAvailable", degraded: "False ProbeAvailable"},
		"silent":                      {why: "nobody knows", works: work(yes, fleet.HealthHealthy), silent: true, applied: "True AddonManifestApplied", available: "Unknown ManagedClusterLeaseUpdateStopped"},
		"silent, and does not render": {why: "nobody knows", works: work(yes, fleet.HealthHealthy), silent: true, failure: errors.New("no variable"), applied: "False ManifestWorkApplyFailed", available: "Unknown ManagedClusterLeaseUpdateStopped"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &deployment{addon: &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "mirror"}}, cluster: &clusterv1.ManagedCluster{}}
			if c.before != "" {
				d.addon.Status.Conditions = []metav1.Condition{{Type: addonv1alpha1.ConditionManifestApplied, Status: metav1.ConditionFalse, Reason: c.before}}
			}
			if c.silent {
				d.cluster.Status.Conditions = []metav1.Condition{{Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionUnknown}}
			}
			if d.waits = c.waits; !c.waits && c.failure == nil {
				d.rendered = &addon.Rendered{}
				d.deploy = []*workv1.ManifestWork{{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "addon-mirror-deploy-0"}}}
			}
			d.say(c.works, c.failure)
			first := d.addon.Status.DeepCopy()
			for i := range first.Conditions { // a condition that turns, even to turn back, has another time
				first.Conditions[i].LastTransitionTime = metav1.Time{}
				d.addon.Status.Conditions[i].LastTransitionTime = metav1.Time{}
			}
			if d.say(c.works, c.failure); c.before == "" {
				if diff := cmp.Diff(first, &d.addon.Status); diff != "" {
					t.Errorf("%s: said again it is something else\n%s", c.why, diff)
				}
			}
			for kind, want := range map[string]string{
				addonv1alpha1.ConditionManifestApplied: c.applied, addonv1alpha1.ConditionAvailable: c.available, addonv1alpha1.ConditionDegraded: c.degraded,
			} {
				if got, _, _ := strings.Cut(condition(d.addon.Status.Conditions, kind), ":"); got != want {
					t.Errorf("%s: %s is %q, want %q", c.why, kind, got, want)
				}
			}
		})
	}
}

// TestHosting: the hosting cluster that there is not is named.
func TestHosting(t *testing.T) {
	d := &deployment{addon: &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{
		Namespace: "one", Name: "mirror", Annotations: map[string]string{addonv1alpha1.HostingClusterAnnotation: "infra"},
	}}}
	d.say(nil, nil)
	if says := condition(d.addon.Status.Conditions, addonv1alpha1.ConditionHostingClusterValidity); says != "False HostingClusterInvalid: hosting cluster infra is not a managed cluster of the hub" {
		t.Errorf("got %q", says)
	}
	d.hosting = &clusterv1.ManagedCluster{}
	d.say(nil, nil)
	if says := condition(d.addon.Status.Conditions, addonv1alpha1.ConditionHostingClusterValidity); !strings.HasPrefix(says, "True HostingClusterValid") {
		t.Errorf("got %q", says)
	}
}
