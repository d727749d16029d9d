package metric

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestState: what Prometheus is told is what the objects say, also that there is none of a state.
func TestState(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clusterv1.AddToScheme, musterv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	one := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
	one.Spec.HubAcceptsClient = true
	one.Status.Conditions = []metav1.Condition{{Type: clusterv1.ManagedClusterConditionJoined, Status: "True"}, {Type: clusterv1.ManagedClusterConditionAvailable, Status: "Unknown"}}
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	app.Status.Summary = musterv1alpha1.Summary{Clusters: 5, Current: 4, Healthy: 3, Drifted: 1}
	app.Status.Held = &musterv1alpha1.Held{Deletions: 7}
	app.Status.Rollout = &musterv1alpha1.RolloutStatus{Phase: "Progressing", Updated: 2, Waiting: 3}
	repository := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
	repository.Status.Revision, repository.Status.FetchedRevision, repository.Status.FaultCount = "a", "b", 2
	elected := make(chan struct{})
	state := State{Elected: elected, Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(one, app, repository).Build()}
	if n := testutil.CollectAndCount(state); n > 0 {
		t.Errorf("a standby counts %d values", n)
	}
	close(elected)
	want := `
# HELP muster_application_clusters Clusters of an application by state: chosen, current, healthy, offline, faulty, drifted, held.
# TYPE muster_application_clusters gauge
muster_application_clusters{application="web",namespace="shop",state="chosen"} 5
muster_application_clusters{application="web",namespace="shop",state="current"} 4
muster_application_clusters{application="web",namespace="shop",state="drifted"} 1
muster_application_clusters{application="web",namespace="shop",state="faulty"} 0
muster_application_clusters{application="web",namespace="shop",state="healthy"} 3
muster_application_clusters{application="web",namespace="shop",state="held"} 0
muster_application_clusters{application="web",namespace="shop",state="offline"} 0
# HELP muster_clusters Clusters by state: available, offline, joining, waiting, denied, released, leaving.
# TYPE muster_clusters gauge
muster_clusters{state="available"} 0
muster_clusters{state="denied"} 0
muster_clusters{state="joining"} 0
muster_clusters{state="leaving"} 0
muster_clusters{state="offline"} 1
muster_clusters{state="released"} 0
muster_clusters{state="waiting"} 0
# HELP muster_held_deletions Deletions that wait for an approval.
# TYPE muster_held_deletions gauge
muster_held_deletions{kind="Application",name="web",namespace="shop"} 7
# HELP muster_repository_delivered 1 where the commit that was fetched is delivered, else 0.
# TYPE muster_repository_delivered gauge
muster_repository_delivered{namespace="muster-system",repository="fleet"} 0
# HELP muster_repository_faults Applications on clusters, and definitions, that could not be planned.
# TYPE muster_repository_faults gauge
muster_repository_faults{namespace="muster-system",repository="fleet"} 2
`
	if err := testutil.CollectAndCompare(state, strings.NewReader(want), "muster_clusters", "muster_application_clusters", "muster_held_deletions",
		"muster_repository_delivered", "muster_repository_faults"); err != nil {
		t.Error(err)
	}
	registry := prometheus.NewRegistry()
	for range 2 { // a second hub in one process
		if err := state.Register(registry); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeadTimes: a commit is observed once at each stage, from when it was fetched; what an application reached of an older commit is not.
func TestLeadTimes(t *testing.T) {
	leadTime.Reset()
	now := time.Unix(1000, 0)
	l := &LeadTimes{Now: func() time.Time { return now }, CommittedAt: func(_, revision string) (time.Time, error) {
		if revision == "old" {
			return time.Time{}, fmt.Errorf("it is not here")
		}
		return time.Unix(990, 0), nil
	}}
	repository := func(fetched, delivered string) *musterv1alpha1.FleetRepository {
		r := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
		r.Status.FetchedRevision, r.Status.Revision = fetched, delivered
		return r
	}
	app := func(revision string, current, healthy int32) *musterv1alpha1.Application {
		a := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web", Annotations: map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet"},
		}}
		a.Status.Revision, a.Status.Summary = revision, musterv1alpha1.Summary{Clusters: 2, Current: current, Healthy: healthy}
		return a
	}
	l.application(app("old", 1, 1), app("old", 2, 2)) // before anything was fetched
	l.repository(repository("old", "old"), repository("new", "old"))
	now = now.Add(2 * time.Second)
	l.repository(repository("new", "old"), repository("new", "new"))
	l.application(app("old", 1, 1), app("old", 2, 2))
	l.application(app("old", 2, 2), app("new", 0, 0))
	now = now.Add(3 * time.Second)
	l.application(app("new", 0, 0), app("new", 2, 1))
	now = now.Add(4 * time.Second)
	l.application(app("new", 2, 1), app("new", 2, 2))
	l.application(app("new", 2, 2), app("new", 2, 2))
	want := `
# HELP muster_lead_time_seconds Time until a commit is fetched, since it was made; until it is delivered, and of an application until it is planned, and applied and healthy on every cluster, since it was fetched.
# TYPE muster_lead_time_seconds histogram
`
	for _, stage := range []struct {
		namespace, application, stage string
		seconds                       float64
	}{
		{"muster-system", "", stageFetched, 10}, {"muster-system", "", stageDelivered, 2}, {"shop", "web", stagePlanned, 2}, {"shop", "web", stageApplied, 5}, {"shop", "web", stageHealthy, 9},
	} {
		labels := fmt.Sprintf("application=%q,namespace=%q,stage=%q", stage.application, stage.namespace, stage.stage)
		for _, bound := range []float64{0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600} {
			n := 0
			if stage.seconds <= bound {
				n = 1
			}
			want += fmt.Sprintf("muster_lead_time_seconds_bucket{%s,le=\"%g\"} %d\n", labels, bound, n)
		}
		want += fmt.Sprintf("muster_lead_time_seconds_bucket{%s,le=\"+Inf\"} 1\nmuster_lead_time_seconds_sum{%[1]s} %[2]g\nmuster_lead_time_seconds_count{%[1]s} 1\n", labels, stage.seconds)
	}
	if err := testutil.CollectAndCompare(leadTime, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
