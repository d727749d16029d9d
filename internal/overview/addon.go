package overview

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/internal/placement"
)

// AddOn is an add-on of the hub, with how far it is on the clusters.
type AddOn struct {
	Name      string `json:"name"`
	Strategy  string `json:"installStrategy"`
	Clusters  int    `json:"clusters"`
	Available int    `json:"available"`
	// Rollout is what the hub says of each placement.
	Rollout []string `json:"rollout,omitempty"`
	// Waits is what one of the clusters where it is not well waits for.
	Waits string `json:"waits,omitempty"`
}

// AddOnsOf is pure: the add-ons by name, with what is said of each on the clusters.
func AddOnsOf(addons []addonv1alpha1.ClusterManagementAddOn, installed []addonv1alpha1.ManagedClusterAddOn) []AddOn {
	byName := map[string][]*addonv1alpha1.ManagedClusterAddOn{}
	for i := range installed {
		byName[installed[i].Name] = append(byName[installed[i].Name], &installed[i])
	}
	rows := []AddOn{}
	for _, a := range addons {
		on := byName[a.Name]
		row := AddOn{Name: a.Name, Strategy: a.Spec.InstallStrategy.Type, Clusters: len(on)}
		slices.SortFunc(on, func(x, y *addonv1alpha1.ManagedClusterAddOn) int { return cmp.Compare(x.Namespace, y.Namespace) })
		for _, mca := range on {
			if meta.IsStatusConditionTrue(mca.Status.Conditions, addonv1alpha1.ConditionAvailable) {
				row.Available++
			}
			if row.Waits != "" {
				continue
			}
			if says := AddOnWaits(mca); says != "" {
				row.Waits = mca.Namespace + ": " + says
			}
		}
		for _, p := range a.Status.InstallProgressions {
			if says := meta.FindStatusCondition(p.Conditions, addonv1alpha1.ConditionProgressing); says != nil {
				row.Rollout = append(row.Rollout, p.Namespace+"/"+p.Name+": "+says.Message)
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(x, y AddOn) int { return cmp.Compare(x.Name, y.Name) })
	return rows
}

// AddOnWaits is what an add-on on a cluster waits for, the cause before its effects: the condition and its message. It is "" for one
// that is well.
func AddOnWaits(mca *addonv1alpha1.ManagedClusterAddOn) string {
	if !mca.DeletionTimestamp.IsZero() {
		if hook := meta.FindStatusCondition(mca.Status.Conditions, addonv1alpha1.ConditionHookManifestCompleted); hook != nil && hook.Status != metav1.ConditionTrue {
			return "is being taken away: " + hook.Message
		}
		return "is being taken away"
	}
	for _, kind := range []string{
		addonv1alpha1.ConditionConfigured, addonv1alpha1.ConditionHostingClusterValidity, addonv1alpha1.ConditionRegistrationApplied,
		addonv1alpha1.ConditionManifestApplied, addonv1alpha1.ConditionHostingManifestApplied, addonv1alpha1.ConditionAvailable,
	} {
		if c := meta.FindStatusCondition(mca.Status.Conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
			return fmt.Sprintf("%s is %s (%s): %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	if p := meta.FindStatusCondition(mca.Status.Conditions, addonv1alpha1.ConditionProgressing); p != nil && p.Reason == addonv1alpha1.ReasonConfigurationUnsupported {
		return fmt.Sprintf("%s is %s (%s): %s", p.Type, p.Status, p.Reason, p.Message)
	}
	if meta.FindStatusCondition(mca.Status.Conditions, addonv1alpha1.ConditionAvailable) == nil {
		return "the hub, or the add-on's manager, has not said yet whether it is available"
	}
	return ""
}

// AddOn explains an add-on on a cluster, or on all where it is not well when none is named.
func (k *Knowledge) AddOn(name, cluster string) (*Reasons, error) {
	r := &Reasons{Subject: "add-on " + name, Decisions: []placement.Explained{}, Waits: k.hubWaits(k.World.Time)}
	if cluster != "" {
		if err := k.cluster(cluster); err != nil {
			return nil, err
		}
		r.Subject += " on " + cluster
	}
	on, well := 0, 0
	for i := range k.Installed {
		mca := &k.Installed[i]
		if mca.Name != name || cluster != "" && mca.Namespace != cluster {
			continue
		}
		on++
		if says := AddOnWaits(mca); says != "" {
			r.Waits = append(r.Waits, mca.Namespace+": "+says)
		} else {
			well++
		}
	}
	r.Summary = fmt.Sprintf("on %s, available and as configured on %d", Count(on, "cluster"), well)
	switch i := slices.IndexFunc(k.AddOns, func(a addonv1alpha1.ClusterManagementAddOn) bool { return a.Name == name }); {
	case on > 0:
	case cluster == "":
		r.Waits = append(r.Waits, "no cluster has it")
	case k.AddOns[i].Spec.InstallStrategy.Type == addonv1alpha1.InstallPlacements:
		r.Waits = append(r.Waits, cluster+": it is not on the cluster: none of its placements has chosen it")
		for _, p := range k.AddOns[i].Spec.InstallStrategy.Placements {
			r.Waits = append(r.Waits, fmt.Sprintf("%s: muster why placement %s/%s %s says why", cluster, p.Namespace, p.Name, cluster))
		}
	default:
		r.Waits = append(r.Waits, fmt.Sprintf("%s: it is not on the cluster: muster addon enable %s --clusters %[1]s", cluster, name))
	}
	return r, nil
}
