package application

import (
	"cmp"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// clusterTable counts an application's clusters by state, and has the rows of those that are not healthy. A cluster that
// reports changes its own share of the counts, whatever the number of clusters.
type clusterTable struct {
	summary musterv1alpha1.Summary
	// unproved clusters answer and are not healthy.
	unproved int32
	counted  map[string]counts
	rows     map[string][]row // of clusters that are not healthy
}

// counts are what one cluster adds to the summary.
type counts struct{ current, healthy, offline, drifted, faulty, held, unproved bool }

func (t *clusterTable) set(cluster string, rows []row) {
	if t.counted == nil {
		t.counted, t.rows = map[string]counts{}, map[string][]row{}
	}
	if before, ok := t.counted[cluster]; ok {
		t.add(before, -1)
		delete(t.counted, cluster)
		delete(t.rows, cluster)
	}
	if len(rows) == 0 {
		return
	}
	var c counts
	for _, r := range rows {
		c.current, c.healthy = c.current || r.current, c.healthy || r.healthy
		c.offline, c.drifted = c.offline || r.offline, c.drifted || r.drifted
		c.faulty = c.faulty || r.State == StateFaulty || r.State == StateFailed
		c.held = c.held || r.State == StateHeld
	}
	c.unproved = !c.healthy && !c.offline
	t.add(c, 1)
	t.counted[cluster] = c
	if rows[0].State != StateHealthy {
		t.rows[cluster] = rows
	}
}

func (t *clusterTable) add(c counts, n int32) {
	t.summary.Clusters += n
	for count, is := range map[*int32]bool{
		&t.summary.Current: c.current, &t.summary.Healthy: c.healthy, &t.summary.Offline: c.offline,
		&t.summary.Drifted: c.drifted, &t.summary.Faulty: c.faulty, &t.summary.Held: c.held, &t.unproved: c.unproved,
	} {
		if is {
			*count += n
		}
	}
}

// maxRows is the CRD's bound on the clusters of a status.
const maxRows = 20

// worst are the rows of the worst clusters, sorted by state and name.
func (t *clusterTable) worst() []musterv1alpha1.ClusterStatus {
	byState := map[string][]*musterv1alpha1.ClusterStatus{}
	for _, rows := range t.rows {
		for i := range rows {
			byState[rows[i].State] = append(byState[rows[i].State], &rows[i].ClusterStatus)
		}
	}
	var list []musterv1alpha1.ClusterStatus
	for _, state := range rankedStates {
		if len(list) >= maxRows { // the others need no order
			break
		}
		rows := byState[state]
		slices.SortFunc(rows, func(a, b *musterv1alpha1.ClusterStatus) int {
			return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
		})
		for _, r := range rows[:min(len(rows), maxRows-len(list))] {
			list = append(list, *r)
		}
	}
	return list
}
