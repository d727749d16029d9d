package ui

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
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
	Works       []fleet.LiveWork                `json:"works"`
	Events      []eventRow                      `json:"events,omitempty"`
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
