package ui

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
)

// clusterView is the page of one cluster.
type clusterView struct {
	clusterRow
	Conditions  []metav1.Condition              `json:"conditions,omitempty"`
	Claims      []clusterv1.ManagedClusterClaim `json:"claims,omitempty"`
	TaintList   []clusterv1.Taint               `json:"taintList,omitempty"`
	Capacity    []amount                        `json:"capacity,omitempty"`
	JoinRequest string                          `json:"joinRequest,omitempty"`
	CanAccept   bool                            `json:"canAccept,omitempty"`
	// Agent is the version of the cluster's agent, where it says so.
	Agent  string           `json:"agent,omitempty"`
	AddOns []addOnRow       `json:"addOns,omitempty"`
	Works  []fleet.LiveWork `json:"works"`
	Events []eventRow       `json:"events,omitempty"`
}

// addOnRow is an add-on on the cluster, and what it waits for.
type addOnRow struct {
	Name      string `json:"name"`
	Available string `json:"available"` // True, False or Unknown
	Waits     string `json:"waits,omitempty"`
}

// addOns are those of a cluster, for who may list them.
func addOns(ctx context.Context, p *Person, cluster string) []addOnRow {
	var all addonv1alpha1.ManagedClusterAddOnList
	if err := p.Client.List(ctx, &all, client.InNamespace(cluster)); err != nil {
		return nil // who may not see them sees none
	}
	var rows []addOnRow
	for i := range all.Items {
		row := addOnRow{Name: all.Items[i].Name, Available: string(metav1.ConditionUnknown), Waits: overview.AddOnWaits(&all.Items[i])}
		if c := meta.FindStatusCondition(all.Items[i].Status.Conditions, addonv1alpha1.ConditionAvailable); c != nil {
			row.Available = string(c.Status)
		}
		rows = append(rows, row)
	}
	return rows
}

// amount is a resource of a cluster.
type amount struct {
	Name        string `json:"name"`
	Capacity    string `json:"capacity"`
	Allocatable string `json:"allocatable,omitempty"`
}

func (s *Server) cluster(ctx context.Context, p *Person, r *http.Request) (any, error) {
	name := r.PathValue("name")
	var all clusterv1.ManagedClusterList
	if err := s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all.Items, func(m clusterv1.ManagedCluster) bool { return m.Name == name })
	if i < 0 {
		var known []string
		for j := range all.Items {
			known = append(known, all.Items[j].Name)
		}
		return nil, apiError{http.StatusNotFound, overview.Unknown("cluster", name, known).Error()}
	}
	m := &all.Items[i]
	v := clusterView{
		clusterRow: clusterRowOf(m), Conditions: m.Status.Conditions, Claims: m.Status.ClusterClaims, TaintList: m.Spec.Taints,
		JoinRequest: overview.WhoAsks(m), Works: []fleet.LiveWork{},
	}
	for _, claim := range m.Status.ClusterClaims {
		if claim.Name == musterv1alpha1.AgentVersionClaim {
			v.Agent = claim.Value
		}
	}
	v.AddOns = addOns(ctx, p, name)
	v.CanAccept = v.State == overview.ClusterWaiting && fleet.ReservedName(name) == ""
	for resource, q := range m.Status.Capacity {
		a := amount{Name: string(resource), Capacity: q.String()}
		if left, ok := m.Status.Allocatable[resource]; ok {
			a.Allocatable = left.String()
		}
		v.Capacity = append(v.Capacity, a)
	}
	slices.SortFunc(v.Capacity, func(a, b amount) int { return cmp.Compare(a.Name, b.Name) })
	for _, w := range s.Works.OnCluster(name) {
		if w.Owner.Kind != "Application" || p.May(ctx, "muster.dev", "applications", w.Owner.Namespace) {
			v.Works = append(v.Works, w)
		}
	}
	slices.SortFunc(v.Works, func(a, b fleet.LiveWork) int {
		return cmp.Or(cmp.Compare(overview.WorkRank(a), overview.WorkRank(b)), cmp.Compare(a.Owner.String(), b.Owner.String()), cmp.Compare(a.Name, b.Name))
	})
	var err error
	v.Events, err = s.eventsOf(ctx, "", "ManagedCluster", name)
	return v, err
}
