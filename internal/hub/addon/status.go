package addon

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlevent "sigs.k8s.io/controller-runtime/pkg/event"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/fleet"
)

type update = ctrlevent.TypedUpdateEvent[client.Object]

// reasonClusterSilent is OCM's for an add-on on a cluster that the hub no longer hears.
const reasonClusterSilent = "ManagedClusterLeaseUpdateStopped"

// say writes into the ManagedClusterAddOn how its works are:
//
//	                       ManifestApplied                    Available                 Degraded
//	does not render        False ManifestWorkApplyFailed      as it was                 as it was
//	refused                False ManifestWorkApplyFailed      as it was                 as it was
//	a work not applied     False AddonManifestAppliedFailed   False WorkNotApplied      -
//	applied, unhealthy     True  AddonManifestApplied         False ProbeUnavailable    True while an object is degraded
//	applied, no word       True  AddonManifestApplied         Unknown NoProbeResult     -
//	applied, healthy       True  AddonManifestApplied         True  ProbeAvailable      False
//	cluster silent         as it was                          Unknown                   as it was
func (d *deployment) say(works []fleet.LiveWork, failure error) {
	status := &d.addon.Status
	set := func(kind string, value metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: kind, Status: value, Reason: reason, Message: message})
	}
	d.sayHosting(set)
	if d.silent() {
		set(addonv1alpha1.ConditionAvailable, metav1.ConditionUnknown, reasonClusterSilent, "the hub no longer hears cluster "+d.cluster.Name)
	}
	if d.rendered != nil {
		status.HealthCheck.Mode = addonv1alpha1.HealthCheckCustomized
	}
	switch {
	case failure != nil:
		set(addonv1alpha1.ConditionManifestApplied, metav1.ConditionFalse, addonv1alpha1.ReasonManifestWorkApplyFailed, failure.Error())
	case d.rendered != nil:
		own, hosted := d.split(works)
		d.notFailed(set)
		sayApplied(set, addonv1alpha1.ConditionManifestApplied, own)
		if d.hosts() {
			sayApplied(set, addonv1alpha1.ConditionHostingManifestApplied, hosted)
		}
		d.sayHealth(set, slices.Concat(own, hosted))
	case d.waits && len(works) > 0:
		d.sayHealth(set, works) // of what it has until its rollout selects it
	}
}

// silent says that the hub no longer hears the add-on's cluster.
func (d *deployment) silent() bool { return d.cluster != nil && IsSilent(d.cluster) }

// notFailed ends a failure to render or to write: it is over, although the cluster has not reported yet.
func (d *deployment) notFailed(set setter) {
	applied := meta.FindStatusCondition(d.addon.Status.Conditions, addonv1alpha1.ConditionManifestApplied)
	if applied != nil && applied.Reason == addonv1alpha1.ReasonManifestWorkApplyFailed {
		set(applied.Type, metav1.ConditionFalse, addonv1alpha1.ReasonAddonManifestAppliedFailed, "the cluster has not reported yet")
	}
}

// split are the works that are to be there, on the add-on's own cluster and on the one that hosts it. One that is not there is a
// work that nothing is known of.
func (d *deployment) split(works []fleet.LiveWork) (own, hosted []fleet.LiveWork) {
	for _, w := range d.deploy {
		lw := fleet.LiveWork{Cluster: w.Namespace, Name: w.Name}
		for i := range works {
			if works[i].Cluster == w.Namespace && works[i].Name == w.Name {
				lw = works[i]
			}
		}
		if w.Namespace == d.addon.Namespace {
			own = append(own, lw)
		} else {
			hosted = append(hosted, lw)
		}
	}
	return own, hosted
}

type setter func(kind string, value metav1.ConditionStatus, reason, message string)

func (d *deployment) sayHosting(set setter) {
	name := addon.HostingCluster(d.addon)
	switch {
	case name == "":
		meta.RemoveStatusCondition(&d.addon.Status.Conditions, addonv1alpha1.ConditionHostingClusterValidity)
	case d.hosting == nil:
		set(addonv1alpha1.ConditionHostingClusterValidity, metav1.ConditionFalse, addonv1alpha1.ReasonHostingClusterInvalid,
			fmt.Sprintf("hosting cluster %s is not a managed cluster of the hub", name))
	case !d.hosts():
		set(addonv1alpha1.ConditionHostingClusterValidity, metav1.ConditionFalse, addonv1alpha1.ReasonHostingClusterInvalid,
			fmt.Sprintf("hosting cluster %s is being detached: name another one, or none", name))
	default:
		set(addonv1alpha1.ConditionHostingClusterValidity, metav1.ConditionTrue, addonv1alpha1.ReasonHostingClusterValid,
			fmt.Sprintf("hosting cluster %s is a managed cluster of the hub", name))
	}
}

// sayApplied is about works whose report is of their generation; until there is one, nothing changes.
func sayApplied(set setter, condition string, works []fleet.LiveWork) {
	waits := false
	for i := range works {
		switch applied := works[i].Status.Conditions.Applied; {
		case !applied.IsCurrent():
			waits = true
		case !applied.IsTrue():
			set(condition, metav1.ConditionFalse, addonv1alpha1.ReasonAddonManifestAppliedFailed, "work "+works[i].Name+problems(&works[i]))
			return
		}
	}
	if !waits {
		set(condition, metav1.ConditionTrue, addonv1alpha1.ReasonAddonManifestApplied, "manifests of addon are applied successfully")
	}
}

func problems(lw *fleet.LiveWork) string {
	var texts []string
	for _, p := range lw.Status.Problems {
		texts = append(texts, fmt.Sprintf("%s %s: %s", p.Object, p.State, p.Message))
	}
	if len(texts) == 0 {
		return ": not applied"
	}
	return ": " + strings.Join(texts, "; ")
}

// sayHealth judges by what the agent reports of the objects in the works: workloads are available when their rules of health say so. What a
// cluster reported before it fell silent is not looked at.
func (d *deployment) sayHealth(set setter, works []fleet.LiveWork) {
	if d.silent() {
		return
	}
	if len(works) == 0 {
		set(addonv1alpha1.ConditionAvailable, metav1.ConditionTrue, addonv1alpha1.ReasonWorkApplied, "the add-on has no objects on the cluster")
		return
	}
	worst := fleet.HealthHealthy
	var about *fleet.LiveWork
	for i := range works {
		lw := &works[i]
		c := lw.Status.Conditions
		switch {
		case lw.Generation == 0:
			set(addonv1alpha1.ConditionAvailable, metav1.ConditionUnknown, addonv1alpha1.ReasonWorkNotFound, "work "+lw.Name+" is not there yet")
			return
		case !c.Applied.IsCurrent() || !c.Applied.IsTrue():
			set(addonv1alpha1.ConditionAvailable, metav1.ConditionFalse, addonv1alpha1.ReasonWorkNotApplied, "work "+lw.Name+" is not applied")
			return
		}
		if rank(lw.Status.Health) > rank(worst) {
			worst, about = lw.Status.Health, lw
		}
	}
	degraded := metav1.ConditionFalse
	switch worst {
	case fleet.HealthHealthy:
		set(addonv1alpha1.ConditionAvailable, metav1.ConditionTrue, addonv1alpha1.ReasonProbeAvailable, "the objects of the add-on are available")
	case fleet.HealthUnknown:
		set(addonv1alpha1.ConditionAvailable, metav1.ConditionUnknown, addonv1alpha1.ReasonNoProbeResult, "the cluster has not reported the health of work "+about.Name)
		return
	case fleet.HealthDegraded:
		degraded = metav1.ConditionTrue
		fallthrough
	default:
		set(addonv1alpha1.ConditionAvailable, metav1.ConditionFalse, addonv1alpha1.ReasonProbeUnavailable, "work "+about.Name+problems(about))
	}
	reason := addonv1alpha1.ReasonProbeAvailable
	if degraded == metav1.ConditionTrue {
		reason = addonv1alpha1.ReasonProbeUnavailable
	}
	set(addonv1alpha1.ConditionDegraded, degraded, reason, "by the health that the cluster reports")
}

func rank(h fleet.Health) int {
	return slices.Index([]fleet.Health{fleet.HealthHealthy, fleet.HealthUnknown, fleet.HealthProgressing, fleet.HealthDegraded}, h)
}
