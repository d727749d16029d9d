package addon

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/rollout"
)

// decided is what an add-on's ManagedClusterAddOns and its ClusterManagementAddOn are to say.
type decided struct {
	// addons are in the order of those that there are; nil is unchanged.
	addons   []*addonv1alpha1.ManagedClusterAddOn
	status   addonv1alpha1.ClusterManagementAddOnStatus
	nextLook time.Time
}

// onCluster is one ManagedClusterAddOn with what it should have.
type onCluster struct {
	addon       *addonv1alpha1.ManagedClusterAddOn // a copy
	desired     []addonv1alpha1.ConfigReference
	unsupported []addonv1alpha1.AddOnConfig
	fault       error // why it is not known what it should have
	cluster     rollout.Cluster
}

// decide compares what each cluster should have with what it has. A cluster of a placement changes when its strategy selects it; every
// other one at once.
func decide(cma *addonv1alpha1.ClusterManagementAddOn, have []addonv1alpha1.ManagedClusterAddOn, placements []chosen,
	works func(fleet.Owner) []fleet.LiveWork, read reader, now time.Time) (*decided, error) {
	out := &decided{addons: make([]*addonv1alpha1.ManagedClusterAddOn, len(have))}
	placementOf := belongs(placements)
	byCluster := map[string]*onCluster{}
	for i := range have {
		if !have[i].DeletionTimestamp.IsZero() {
			continue
		}
		at := &onCluster{addon: have[i].DeepCopy()}
		out.addons[i], byCluster[at.addon.Namespace] = at.addon, at
		var ofPlacement []addonv1alpha1.AddOnConfig
		if p, ok := placementOf[at.addon.Namespace]; ok {
			ofPlacement = placements[p].strategy.Configs
		}
		at.resolve(cma, ofPlacement, read)
		at.observe(works(owner(at.addon)), now)
	}
	shares, err := rollout.Over(targets(placements, placementOf, byCluster), now)
	if err != nil {
		return nil, fmt.Errorf("add-on %s: %w", cma.Name, err)
	}
	selected := map[string]bool{}
	for _, share := range shares {
		for _, name := range share.Selected {
			selected[name] = true
		}
		if !share.NextLook.IsZero() && (out.nextLook.IsZero() || share.NextLook.Before(out.nextLook)) {
			out.nextLook = share.NextLook
		}
	}
	for name, at := range byCluster {
		_, paced := placementOf[name]
		at.publish(cma, !paced || selected[name])
	}
	out.status.DefaultConfigReferences = defaultReferences(cma, read)
	out.status.InstallProgressions = progressions(cma, placements, shares, read)
	return out, nil
}

// targets are the placements with the states of their clusters. A cluster is in the one that it belongs to.
func targets(placements []chosen, placementOf map[string]int, byCluster map[string]*onCluster) []rollout.Target {
	out := make([]rollout.Target, len(placements))
	for i, p := range placements {
		out[i] = rollout.Target{Placement: p.strategy.Namespace + "/" + p.strategy.Name, Strategy: p.strategy.RolloutStrategy}
		for _, g := range p.groups {
			group := rollout.Group{Name: g.Name, Index: int32(g.Index)}
			for _, name := range g.Clusters {
				if placementOf[name] != i {
					continue
				}
				c := rollout.Cluster{Name: name, State: rollout.ToApply, Waits: true}
				if at := byCluster[name]; at != nil {
					c = at.cluster
				}
				group.Clusters = append(group.Clusters, c)
			}
			out[i].Groups = append(out[i].Groups, group)
		}
	}
	return out
}

// resolve finds the configurations that count on a cluster, as they are now.
func (o *onCluster) resolve(cma *addonv1alpha1.ClusterManagementAddOn, ofPlacement []addonv1alpha1.AddOnConfig, read reader) {
	var configs []addonv1alpha1.AddOnConfig
	configs, o.unsupported = addon.Effective(cma, addon.Defaults(cma), ofPlacement, o.addon.Spec.Configs)
	for _, c := range configs {
		f := read(c)
		if f.err != nil {
			o.fault = cmp.Or(o.fault, f.err)
			continue
		}
		o.desired = append(o.desired, addonv1alpha1.ConfigReference{
			ConfigGroupResource: c.ConfigGroupResource, ConfigReferent: c.ConfigReferent, LastObservedGeneration: f.generation,
			DesiredConfig: &addonv1alpha1.ConfigSpecHash{ConfigReferent: c.ConfigReferent, SpecHash: f.hash},
		})
	}
}

// observe finds the state of the cluster: of the works that were rendered with what it should have, wherever they are. While the cluster
// that is to host an agent is none of the hub's, the add-on is not complete.
func (o *onCluster) observe(works []fleet.LiveWork, now time.Time) {
	status := &o.addon.Status
	o.cluster = rollout.Cluster{Name: o.addon.Namespace, State: rollout.ToApply}
	configured := meta.FindStatusCondition(status.Conditions, addonv1alpha1.ConditionConfigured)
	if o.fault != nil || configured == nil || !addon.SameDesired(status.ConfigReferences, o.desired) {
		o.cluster.Held = o.fault != nil
		return
	}
	o.cluster.State, o.cluster.Since = rollout.Progressing, configured.LastTransitionTime.Time
	if p := meta.FindStatusCondition(status.Conditions, addonv1alpha1.ConditionProgressing); p != nil && p.Reason == addonv1alpha1.ReasonProgressing {
		o.cluster.Since = p.LastTransitionTime.Time
	}
	works = slices.DeleteFunc(works, func(lw fleet.LiveWork) bool { return strings.HasPrefix(lw.Name, addon.HookName(o.addon.Name)) })
	if failed := meta.FindStatusCondition(status.Conditions, addonv1alpha1.ConditionManifestApplied); failed != nil && failed.Reason == addonv1alpha1.ReasonManifestWorkApplyFailed {
		o.cluster.State, o.cluster.Since = rollout.Failed, failed.LastTransitionTime.Time
		return
	}
	if meta.IsStatusConditionFalse(status.Conditions, addonv1alpha1.ConditionHostingClusterValidity) {
		return
	}
	if o.unsaid() != "" {
		return
	}
	for i := range works {
		if !addon.HasConfigs(works[i].Configs, status.ConfigReferences) || works[i].Deleting {
			return
		}
	}
	if len(works) == 0 && o.addon.Annotations[musterv1alpha1.AgentRoleAnnotation] != "" { // the klusterlet has all that it needs
		if available := meta.FindStatusCondition(status.Conditions, addonv1alpha1.ConditionAvailable); available != nil && available.Status == metav1.ConditionTrue {
			o.cluster.State, o.cluster.Since = rollout.Succeeded, available.LastTransitionTime.Time
		}
		return
	}
	o.observeWorks(works)
	o.cluster.Since = cmp.Or(o.cluster.Since, now)
}

// unsaid is the condition about applied manifests that the add-on does not have yet, and without which it is not complete; "" when it has
// them, and when the klusterlet is its agent, which applies none.
func (o *onCluster) unsaid() string {
	if o.addon.Annotations[musterv1alpha1.AgentRoleAnnotation] != "" {
		return ""
	}
	kinds := []string{addonv1alpha1.ConditionManifestApplied}
	if addon.HostingCluster(o.addon) != "" {
		kinds = append(kinds, addonv1alpha1.ConditionHostingManifestApplied)
	}
	for _, kind := range kinds {
		if meta.FindStatusCondition(o.addon.Status.Conditions, kind) == nil {
			return kind
		}
	}
	return ""
}

// observeWorks takes the worst state of works, and since when the last of them has it.
func (o *onCluster) observeWorks(works []fleet.LiveWork) {
	rank := map[rollout.State]int{rollout.Succeeded: 1, rollout.Progressing: 2, rollout.Failed: 3}
	worst := 0
	for i := range works {
		state, since := rollout.StateOf(&works[i])
		if rank[state] > worst {
			worst, o.cluster.State, o.cluster.Since = rank[state], state, since
		} else if rank[state] == worst && since.After(o.cluster.Since) {
			o.cluster.Since = since
		}
	}
}

// publish writes into the copy what the ManagedClusterAddOn is to say.
func (o *onCluster) publish(cma *addonv1alpha1.ClusterManagementAddOn, mayChange bool) {
	status := &o.addon.Status
	status.AddOnMeta, status.SupportedConfigs = cma.Spec.AddOnMeta, addon.Supported(cma)
	say := func(kind string, value metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: kind, Status: value, Reason: reason, Message: message})
	}
	if o.fault != nil {
		say(addonv1alpha1.ConditionConfigured, metav1.ConditionFalse, addonv1alpha1.ReasonConfigurationsNotConfigured,
			o.fault.Error()+": what was applied stays as it is")
		return
	}
	if o.cluster.State == rollout.ToApply {
		if !mayChange {
			return
		}
		status.ConfigReferences = addon.Desire(status.ConfigReferences, o.desired)
		o.cluster.State = rollout.Progressing
	}
	say(addonv1alpha1.ConditionConfigured, metav1.ConditionTrue, addonv1alpha1.ReasonConfigurationsConfigured, "Configurations configured")
	if len(o.unsupported) > 0 {
		c := o.unsupported[0]
		say(addonv1alpha1.ConditionProgressing, metav1.ConditionFalse, addonv1alpha1.ReasonConfigurationUnsupported,
			fmt.Sprintf("Configuration %s.%s %s/%s is of a kind that the add-on does not support: name it in supportedConfigs, or take it out", c.Resource, c.Group, c.Namespace, c.Name))
		return
	}
	if kind := o.unsaid(); kind != "" && o.cluster.State == rollout.Progressing {
		say(addonv1alpha1.ConditionProgressing, metav1.ConditionFalse, addonv1alpha1.ReasonWaitingFor+kind, "Waiting for ManagedClusterAddOn "+kind+" condition")
		return
	}
	verb := "installing"
	if slices.ContainsFunc(status.ConfigReferences, func(r addonv1alpha1.ConfigReference) bool { return r.LastAppliedConfig != nil }) {
		verb = "upgrading"
	}
	switch o.cluster.State {
	case rollout.Succeeded:
		status.ConfigReferences = addon.Applied(status.ConfigReferences)
		say(addonv1alpha1.ConditionProgressing, metav1.ConditionFalse, addonv1alpha1.ReasonCompleted, "completed with no errors.")
	case rollout.Failed:
		say(addonv1alpha1.ConditionProgressing, metav1.ConditionFalse, addonv1alpha1.ReasonFailed, verb+" failed: the conditions of the add-on and of its ManifestWorks say why")
	default:
		say(addonv1alpha1.ConditionProgressing, metav1.ConditionTrue, addonv1alpha1.ReasonProgressing, verb+"...")
	}
}

func defaultReferences(cma *addonv1alpha1.ClusterManagementAddOn, read reader) []addonv1alpha1.DefaultConfigReference {
	var out []addonv1alpha1.DefaultConfigReference
	for _, c := range addon.Defaults(cma) {
		ref := addonv1alpha1.DefaultConfigReference{ConfigGroupResource: c.ConfigGroupResource}
		ref.DesiredConfig = &addonv1alpha1.ConfigSpecHash{ConfigReferent: c.ConfigReferent, SpecHash: read(c).hash}
		out = append(out, ref)
	}
	return out
}

// progressions say for each placement how far it is. What all its clusters have without a fault is its last known good.
func progressions(cma *addonv1alpha1.ClusterManagementAddOn, placements []chosen, shares []rollout.Share, read reader) []addonv1alpha1.InstallProgression {
	var out []addonv1alpha1.InstallProgression
	for i, p := range placements {
		progress := addonv1alpha1.InstallProgression{PlacementRef: p.strategy.PlacementRef}
		var before addonv1alpha1.InstallProgression
		for _, b := range cma.Status.InstallProgressions {
			if b.PlacementRef == p.strategy.PlacementRef {
				before = *b.DeepCopy()
			}
		}
		count := counts(shares[i])
		done := count.total > 0 && count.succeeded == count.total
		configs, _ := addon.Effective(cma, addon.Defaults(cma), p.strategy.Configs)
		for _, c := range configs {
			ref := addonv1alpha1.InstallConfigReference{ConfigGroupResource: c.ConfigGroupResource}
			for _, b := range before.ConfigReferences {
				if b.ConfigGroupResource == c.ConfigGroupResource {
					ref.LastAppliedConfig, ref.LastKnownGoodConfig = b.LastAppliedConfig, b.LastKnownGoodConfig
				}
			}
			ref.DesiredConfig = &addonv1alpha1.ConfigSpecHash{ConfigReferent: c.ConfigReferent, SpecHash: read(c).hash}
			if done {
				ref.LastAppliedConfig, ref.LastKnownGoodConfig = ref.DesiredConfig, ref.DesiredConfig
			}
			progress.ConfigReferences = append(progress.ConfigReferences, ref)
		}
		progress.Conditions = before.Conditions
		meta.SetStatusCondition(&progress.Conditions, count.condition(done))
		out = append(out, progress)
	}
	return out
}

// tally counts the clusters of a placement.
type tally struct{ total, succeeded, progressing, failed, timedOut int }

func counts(share rollout.Share) tally {
	t := tally{total: len(share.Clusters), failed: len(share.Failed), timedOut: len(share.TimedOut)}
	for _, c := range share.Clusters {
		switch {
		case c.State == rollout.Succeeded:
			t.succeeded++
		case c.State == rollout.Progressing && !slices.Contains(share.TimedOut, c.Name) || slices.Contains(share.Selected, c.Name):
			t.progressing++
		}
	}
	return t
}

func (t tally) condition(done bool) metav1.Condition {
	c := metav1.Condition{Type: addonv1alpha1.ConditionProgressing, Status: metav1.ConditionTrue, Reason: addonv1alpha1.ReasonProgressing}
	c.Message = fmt.Sprintf("%d/%d progressing..., %d completed, %d failed %d timeout.", t.progressing, t.total, t.succeeded, t.failed, t.timedOut)
	if done {
		c.Status, c.Reason = metav1.ConditionFalse, addonv1alpha1.ReasonCompleted
		c.Message = fmt.Sprintf("%d/%d completed with no errors, %d failed %d timeout.", t.succeeded, t.total, t.failed, t.timedOut)
	}
	if t.failed+t.timedOut > 0 && t.progressing == 0 {
		c.Status, c.Reason = metav1.ConditionFalse, addonv1alpha1.ReasonFailed
	}
	return c
}
