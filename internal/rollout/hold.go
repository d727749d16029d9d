package rollout

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// Holds are those that people have put on an application, and that have not expired.
type Holds struct {
	// All of them, sorted by namespace and name.
	All []*musterv1alpha1.Hold
	// Pin is the newest that pins a revision, Paused the first that keeps all clusters as they are; nil when there is none.
	Pin, Paused *musterv1alpha1.Hold
	// Expiry is when the first of them ends by itself; zero when none does.
	Expiry time.Time

	clusters map[string]*musterv1alpha1.Hold
}

// HoldsOf finds the holds of an application, which a repository, as NAMESPACE/NAME, has delivered. Say with On which clusters there are.
func HoldsOf(list []musterv1alpha1.Hold, app *musterv1alpha1.Application, repository string, now time.Time) Holds {
	var holds Holds
	for i := range list {
		h := &list[i]
		if !HoldsApplication(h, app, repository) || h.Spec.Until != nil && !now.Before(h.Spec.Until.Time) {
			continue
		}
		holds.All = append(holds.All, h)
		if u := h.Spec.Until; u != nil && (holds.Expiry.IsZero() || u.Time.Before(holds.Expiry)) {
			holds.Expiry = u.Time
		}
	}
	slices.SortFunc(holds.All, func(a, b *musterv1alpha1.Hold) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, h := range holds.All {
		switch {
		case h.Spec.Pin != nil && (holds.Pin == nil || holds.Pin.CreationTimestamp.Before(&h.CreationTimestamp)):
			holds.Pin = h
		case h.Spec.Pin == nil && h.Spec.ClusterSelector == nil && holds.Paused == nil:
			holds.Paused = h
		}
	}
	return holds
}

// HoldsApplication is true for a Hold that is, or was, for an application, whatever the time.
func HoldsApplication(h *musterv1alpha1.Hold, app *musterv1alpha1.Application, repository string) bool {
	of := h.Spec.Applications
	if h.Namespace != app.Namespace && h.Namespace != fleet.SharedNamespace {
		return false
	}
	for _, part := range []struct {
		list []string
		is   string
	}{{of.Names, app.Name}, {of.Namespaces, app.Namespace}, {h.Spec.Repositories, repository}} {
		if len(part.list) > 0 && !slices.Contains(part.list, part.is) {
			return false
		}
	}
	if of.LabelSelector == nil {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(of.LabelSelector)
	return err != nil || s.Matches(labels.Set(app.Labels)) // what cannot be read holds: nobody goes on in spite of it
}

// SelectClusters is true when some of the holds are for clusters that a selector chooses: then say with On which.
func (h *Holds) SelectClusters() bool {
	return slices.ContainsFunc(h.All, func(h *musterv1alpha1.Hold) bool { return h.Spec.ClusterSelector != nil })
}

// Select notes which of the clusters the holds choose.
func (h *Holds) Select(clusters []clusterv1.ManagedCluster) {
	h.clusters = map[string]*musterv1alpha1.Hold{}
	for _, hold := range h.All {
		if hold.Spec.ClusterSelector == nil {
			continue
		}
		matches, err := fleet.Matcher(*hold.Spec.ClusterSelector)
		for i := range clusters {
			c := &clusters[i]
			if h.clusters[c.Name] == nil && (err != nil || matches(c)) { // what cannot be read holds
				h.clusters[c.Name] = hold
			}
		}
	}
}

// On is the hold that keeps a cluster as it is, or nil.
func (h *Holds) On(cluster string) *musterv1alpha1.Hold {
	if h.Paused != nil {
		return h.Paused
	}
	return h.clusters[cluster]
}

// Count is how many clusters the selectors of the holds choose.
func (h *Holds) Count() int { return len(h.clusters) }

// OnHoldOf is a Hold as a status has it.
func OnHoldOf(h *musterv1alpha1.Hold) musterv1alpha1.OnHold {
	on := musterv1alpha1.OnHold{Name: h.Namespace + "/" + h.Name, By: h.Spec.By, Reason: h.Spec.Reason, Until: h.Spec.Until}
	if h.Spec.Pin != nil {
		on.Revision = h.Spec.Pin.Revision
	}
	return on
}

// HoldText says for people who holds something, until when and why.
func HoldText(h musterv1alpha1.OnHold) string {
	text := "held"
	if h.Revision != "" {
		text = "pinned to " + fleet.ShortRevision(h.Revision)
	}
	text += " by " + h.By
	if h.Until != nil {
		text += " until " + h.Until.UTC().Format("2006-01-02 15:04 MST")
	}
	return text + " (Hold " + h.Name + "): " + h.Reason
}

// notOnHold holds every change on a cluster that a person keeps as it is.
func (d *decider) notOnHold(c *change) objection {
	h := d.in.Holds.On(c.Cluster)
	if h == nil {
		return objection{}
	}
	o := objection{Reason: OnHold, Message: HoldText(OnHoldOf(h))}
	if h.Spec.Until != nil {
		o.Until = h.Spec.Until.Time
	}
	return o
}
