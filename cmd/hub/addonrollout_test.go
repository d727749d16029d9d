package main

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// TestAddOnRollout: each strategy over twenty clusters, at the installation and at an upgrade: no cluster changes before the strategy lets it,
// and one that fails keeps the others as they are.
func TestAddOnRollout(t *testing.T) {
	t.Parallel()
	f := addOnFleet(t)
	const clusters, groups = 20, 4
	f.create(&clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "all"}})
	for g := range groups {
		page := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: fmt.Sprint("all-", g), Labels: map[string]string{
			clusterv1beta1.PlacementLabel: "all", clusterv1beta1.DecisionGroupNameLabel: fmt.Sprint("g", g), clusterv1beta1.DecisionGroupIndexLabel: fmt.Sprint(g),
		}}}
		f.create(page)
		for i := range clusters / groups {
			name := fmt.Sprintf("c%02d", g*clusters/groups+i)
			f.bareCluster(name)
			f.available(name, true)
			page.Status.Decisions = append(page.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: name})
		}
		if err := f.client.Status().Update(f.ctx, page); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		strategy clusterv1alpha1.RolloutStrategy
		want     []int // how many clusters change side by side
	}{
		"all": {clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All}, []int{20}},
		"progressive": {clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{
			MaxConcurrency: intstr.FromString("40%"),
		}}, []int{8, 8, 4}},
		"mandatory": {clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{
			MandatoryDecisionGroups: clusterv1alpha1.MandatoryDecisionGroups{MandatoryDecisionGroups: []clusterv1alpha1.MandatoryDecisionGroup{{GroupName: "g2"}}},
			MaxConcurrency:          intstr.FromInt32(10),
		}}, []int{5, 10, 5}},
		"per-group": {clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.ProgressivePerGroup, ProgressivePerGroup: &clusterv1alpha1.RolloutProgressivePerGroup{}}, []int{5, 5, 5, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &addOnRollout{theFleet: f, name: "roll-" + name, answered: map[string]bool{}}
			r.template(r.name, r.manifest("1"))
			cma := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: r.name}}
			f.change(cma, func() {
				cma.Spec.InstallStrategy.Type = addonv1alpha1.InstallPlacements
				cma.Spec.InstallStrategy.Placements = []addonv1alpha1.PlacementStrategy{{PlacementRef: addonv1alpha1.PlacementRef{Namespace: "muster-system", Name: "all"}, RolloutStrategy: c.strategy}}
			})
			for _, version := range []string{"1", "2"} {
				r.edit(version)
				for _, n := range c.want {
					r.answer(r.changed(version, n), true)
				}
				f.eventually(func() string {
					return has("the progress of the placement", f.progress(r.name), "Completed: 20/20 completed with no errors")
				})
			}
			r.edit("3")
			first := r.changed("3", c.want[0])
			r.answer(first[:1], false)
			r.answer(first[1:], true)
			f.eventually(func() string { return has("the progress of the placement", f.progress(r.name), "1 failed") })
			if c.want[0] < clusters {
				r.changed("3", 0)
			}
		})
	}
}

// addOnRollout is an add-on over clusters of which the test is the agents.
type addOnRollout struct {
	*theFleet
	name     string
	answered map[string]bool // by cluster and version
}

func (r *addOnRollout) manifest(version string) string {
	return settingsOf(r.name, fmt.Sprintf(`,"labels":{"version":%q}`, "v"+version))
}

func (r *addOnRollout) edit(version string) {
	template := &addonv1alpha1.AddOnTemplate{ObjectMeta: metav1.ObjectMeta{Name: r.name}}
	r.change(template, func() { template.Spec.AgentSpec.Workload.Manifests[0].Raw = []byte(r.manifest(version)) })
}

// changed waits until exactly n clusters have a version that they have not answered yet.
func (r *addOnRollout) changed(version string, n int) []workv1.ManifestWork {
	r.t.Helper()
	var found []workv1.ManifestWork
	r.eventually(func() string {
		var list workv1.ManifestWorkList
		if err := r.client.List(r.ctx, &list, client.MatchingLabels{addonv1alpha1.AddonNameLabel: r.name}); err != nil {
			return err.Error()
		}
		found = nil
		for _, w := range list.Items {
			if strings.Contains(string(w.Spec.Workload.Manifests[0].Raw), `"v`+version+`"`) && !r.answered[w.Namespace+"/"+version] {
				found = append(found, w)
			}
		}
		if len(found) != n {
			return fmt.Sprintf("%d clusters have version %s and have not answered, want %d; %s", len(found), version, n, r.progress(r.name))
		}
		return ""
	})
	for _, w := range found {
		r.answered[w.Namespace+"/"+version] = true
	}
	return found
}

// answer says what the agents of clusters would.
func (r *addOnRollout) answer(works []workv1.ManifestWork, well bool) {
	r.t.Helper()
	status := metav1.ConditionFalse
	if well {
		status = metav1.ConditionTrue
	}
	for i := range works {
		w := &works[i]
		r.eventually(func() string {
			if err := r.client.Get(r.ctx, client.ObjectKeyFromObject(w), w); err != nil {
				return err.Error()
			}
			m := workv1.ManifestCondition{ResourceMeta: workv1.ManifestResourceMeta{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "default", Name: r.name}}
			for _, list := range []*[]metav1.Condition{&w.Status.Conditions, &m.Conditions} {
				for _, kind := range []string{workv1.WorkApplied, workv1.WorkAvailable} {
					meta.SetStatusCondition(list, metav1.Condition{Type: kind, Status: status, Reason: "Test", ObservedGeneration: w.Generation})
				}
			}
			w.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{m}
			return message(r.client.Status().Update(r.ctx, w))
		})
	}
}
