package event

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func texts(events []Event) []string {
	all := []string{}
	for _, e := range events {
		all = append(all, fmt.Sprintf("%s %s: %s", e.Type, e.Reason, e.Note))
	}
	return all
}

func expect(t *testing.T, why string, events []Event, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), texts(events)); diff != "" {
		t.Errorf("%s (-want +have):\n%s", why, diff)
	}
}

func TestOfRepository(t *testing.T) {
	type status = musterv1alpha1.FleetRepositoryStatus
	render := musterv1alpha1.Fault{Reason: "RenderFailed", Application: "retail/web", Cluster: "k3s", File: "charts/web/values.yaml", Line: 3, Message: "no room"}
	everywhere, moved := render, render
	everywhere.Clusters, moved.Line, moved.Message = 7, 9, "still no room"
	source := musterv1alpha1.Fault{Reason: "SourceUnavailable", Message: "no route to git.example.com"}
	held := func(plan string) *musterv1alpha1.Held {
		return &musterv1alpha1.Held{Plan: plan, Message: "web would leave 2 of 3 clusters"}
	}
	review := func(reason, message string) *musterv1alpha1.ReviewStatus {
		return &musterv1alpha1.ReviewStatus{Reason: reason, Message: message}
	}
	var many []musterv1alpha1.Fault
	for i := range maxListed {
		many = append(many, musterv1alpha1.Fault{Reason: "DefinitionInvalid", File: fmt.Sprintf("%d.yaml", i), Message: "unknown field"})
	}
	for name, row := range map[string]struct {
		why           string
		before, after status
		want          []string
	}{
		"the same":         {"a status that is written again is no news", status{Revision: "a", Faults: many, Held: held("p")}, status{Revision: "a", Faults: many, Held: held("p")}, nil},
		"first commit":     {"there is none before it", status{}, status{Revision: "41aa9d0aaaa"}, []string{"Normal Delivered: delivered 41aa9d0"}},
		"next commit":      {"both are named", status{Revision: "41aa9d0aaaa"}, status{Revision: "7c1e04bbbbb"}, []string{"Normal Delivered: delivered 7c1e04b, after 41aa9d0"}},
		"held":             {"a person is needed", status{}, status{Held: held("p")}, []string{"Warning DeletionsHeld: web would leave 2 of 3 clusters"}},
		"another plan":     {"the approval of the first is none of the second", status{Held: held("p")}, status{Held: held("q")}, []string{"Warning DeletionsHeld: web would leave 2 of 3 clusters"}},
		"released":         {"nobody is waited for", status{Held: held("p")}, status{}, []string{"Normal DeletionsReleased: no deletion waits for an approval any more"}},
		"fault":            {"with its place", status{}, status{Faults: []musterv1alpha1.Fault{render}}, []string{"Warning RenderFailed: retail/web on k3s: charts/web/values.yaml:3: no room"}},
		"on many":          {"folded", status{}, status{Faults: []musterv1alpha1.Fault{everywhere}}, []string{"Warning RenderFailed: retail/web on 7 clusters: charts/web/values.yaml:3: no room"}},
		"on more, moved":   {"it is the same fault", status{Faults: []musterv1alpha1.Fault{render}}, status{Faults: []musterv1alpha1.Fault{moved}}, nil},
		"another fault":    {"one goes, one comes", status{Faults: []musterv1alpha1.Fault{render}}, status{Faults: []musterv1alpha1.Fault{source}}, []string{"Warning SourceUnavailable: no route to git.example.com", "Normal FaultResolved: retail/web on k3s: charts/web/values.yaml:3: RenderFailed is resolved"}},
		"a full list":      {"what is not listed may only have no room", status{Faults: []musterv1alpha1.Fault{render}}, status{Faults: many[:maxListed]}, []string{"Warning DefinitionInvalid: 20 faults: 0.yaml: unknown field; 1.yaml: unknown field; 2.yaml: unknown field; …"}},
		"no review":        {"the token has expired", status{}, status{Review: review("Unauthorized", "put a new one")}, []string{"Warning Unauthorized: pull requests: put a new one"}},
		"still none":       {"known", status{Review: review("Unauthorized", "a")}, status{Review: review("Unauthorized", "b")}, nil},
		"reviewed again":   {"", status{Review: review("Unauthorized", "a")}, status{Review: review("Succeeded", "")}, []string{"Normal FaultResolved: pull requests: Unauthorized is resolved"}},
		"a host away":      {"it is asked again", status{Review: review("Succeeded", "")}, status{Review: review("HostUnavailable", "502")}, nil},
		"all are resolved": {"bounded too", status{Faults: many}, status{}, []string{"Normal FaultResolved: 20 faults: 0.yaml: DefinitionInvalid is resolved; 1.yaml: DefinitionInvalid is resolved; 2.yaml: DefinitionInvalid is resolved; …"}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, row.why, ofRepository(&row.before, &row.after), row.want...) })
	}
}

func TestOfApplication(t *testing.T) {
	type status = musterv1alpha1.ApplicationStatus
	on := func(revision string, clusters, current int32, rows ...musterv1alpha1.ClusterStatus) status {
		return status{Revision: revision, Summary: musterv1alpha1.Summary{Clusters: clusters, Current: current}, Clusters: rows}
	}
	faulty := musterv1alpha1.ClusterStatus{Cluster: "k3s", State: "Faulty", Reason: "RenderFailed", File: "values.yaml", Line: 3, Message: "no room"}
	elsewhere := faulty
	elsewhere.Cluster = "ocp"
	refused := musterv1alpha1.ClusterStatus{Cluster: "k3s", State: "Failed", Reason: "ApplyFailed", Message: "ConfigMap shop/x: a key is not valid"}
	drifted := musterv1alpha1.ClusterStatus{Cluster: "k3s", State: "Drifted", Message: `Deployment shop/web: spec.replicas was 3 is 5 by kubectl-edit`}
	rolling := func(phase string, back *musterv1alpha1.RolledBack) musterv1alpha1.ApplicationStatus {
		status := musterv1alpha1.ApplicationStatus{Revision: "2222222222", RolledBack: back, Summary: musterv1alpha1.Summary{Clusters: 3}}
		if phase != "" {
			status.Rollout = &musterv1alpha1.RolloutStatus{Phase: phase, Clusters: 3, Message: "one failed"}
		}
		return status
	}
	back := &musterv1alpha1.RolledBack{Revision: "2222222222", To: "1111111111", Message: "one failed"}
	const found = "Warning DriftFound: k3s: Deployment shop/web: spec.replicas was 3 is 5 by kubectl-edit"
	for name, row := range map[string]struct {
		why           string
		before, after status
		want          []string
	}{
		"progress":          {"not everywhere yet", on("a", 3, 1), on("a", 3, 2), nil},
		"applied":           {"everywhere", on("41aa9d0aaaa", 3, 2), on("41aa9d0aaaa", 3, 3), []string{"Normal Applied: 41aa9d0 is applied on 3 clusters"}},
		"applied again":     {"once is enough", on("a", 3, 3), on("a", 3, 3), nil},
		"at once":           {"the next commit within one look", on("41aa9d0aaaa", 1, 1), on("7c1e04bbbbb", 1, 1), []string{"Normal Applied: 7c1e04b is applied on 1 cluster"}},
		"on no cluster":     {"nothing is applied", on("a", 1, 0), on("a", 0, 0), nil},
		"held":              {"a person is needed", status{}, status{Held: &musterv1alpha1.Held{Plan: "p", Message: "would leave 2 of 3"}}, []string{"Warning DeletionsHeld: would leave 2 of 3"}},
		"fault":             {"with its place", on("a", 1, 0), on("a", 1, 0, faulty), []string{"Warning RenderFailed: k3s: values.yaml:3: no room"}},
		"fault becomes one": {"another reason is another fault", on("a", 1, 0, faulty), on("a", 1, 0, refused), []string{"Warning ApplyFailed: k3s: ConfigMap shop/x: a key is not valid", "Normal FaultResolved: k3s: RenderFailed is resolved"}},
		"on two clusters":   {"one event of one reason: others would be lost in a series", on("a", 2, 0), on("a", 2, 0, faulty, elsewhere), []string{"Warning RenderFailed: 2 faults: k3s: values.yaml:3: no room; ocp: values.yaml:3: no room"}},
		"drift":             {"who and what", on("a", 1, 1), on("a", 1, 1, drifted), []string{found}},
		"drift goes on":     {"it was told", on("a", 1, 1, drifted), on("a", 1, 1, drifted), nil},
		"rollout begins":    {"", musterv1alpha1.ApplicationStatus{}, rolling("Progressing", nil), []string{"Normal RolloutStarted: 2222222 is rolled out to 3 clusters"}},
		"rollout goes on":   {"its numbers are no news", rolling("Progressing", nil), rolling("Progressing", nil), nil},
		"rollout stops":     {"with the reason", rolling("Progressing", nil), rolling("Stopped", nil), []string{"Warning RolloutStopped: one failed"}},
		"rollout resumes":   {"after a commit", rolling("Stopped", nil), rolling("Progressing", nil), []string{"Normal RolloutResumed: the rollout goes on with 2222222"}},
		"rollout ends":      {"", rolling("Progressing", nil), rolling("", nil), []string{"Normal RolloutCompleted: 2222222 is rolled out to 3 clusters"}},
		"taken back":        {"with the reason", rolling("Progressing", nil), rolling("", back), []string{"Warning RollingBack: 2222222 is taken back to 1111111: one failed"}},
		"returns":           {"it was told", rolling("", back), rolling("Returning", back), nil},
		"returned":          {"", rolling("Returning", back), rolling("", back), []string{"Normal RolledBack: every cluster that answers is asked to have 2222222 again"}},
		"drift is gone":     {"the report about the work tells it", on("a", 1, 1, drifted), on("a", 1, 1), nil},
	} {
		t.Run(name, func(t *testing.T) { expect(t, row.why, ofApplication(&row.before, &row.after), row.want...) })
	}
}

func TestOfCluster(t *testing.T) {
	is := func(kind string, status metav1.ConditionStatus, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Message: message}
	}
	accepted, joined := is(clusterv1.ManagedClusterConditionHubAccepted, "True", "accepted"), is(clusterv1.ManagedClusterConditionJoined, "True", "joined")
	there := is(clusterv1.ManagedClusterConditionAvailable, "True", "available")
	lost := is(clusterv1.ManagedClusterConditionAvailable, "Unknown", "no lease for 5m")
	type conditions = []metav1.Condition
	for name, row := range map[string]struct {
		why           string
		before, after conditions
		want          []string
	}{
		"accepted":    {"by Git or a person", nil, conditions{accepted}, []string{"Normal ManagedClusterAccepted: one: the cluster is accepted"}},
		"joined":      {"that it is available then is no news", conditions{accepted}, conditions{accepted, joined, there}, []string{"Normal ManagedClusterJoined: one: the cluster has joined"}},
		"lost":        {"with the reason", conditions{there}, conditions{lost}, []string{"Warning AvailableUnknown: one: the cluster does not answer: no lease for 5m"}},
		"still lost":  {"a new message is no news", conditions{lost}, conditions{is(lost.Type, "Unknown", "no lease for 6m")}, nil},
		"back":        {"nobody has to look any more", conditions{lost}, conditions{there}, []string{"Normal ManagedClusterAvailable: one: the cluster answers again"}},
		"not healthy": {"its agent answers", conditions{there}, conditions{is(there.Type, "False", "timeout")}, []string{"Warning ManagedClusterUnavailable: one: the API server of the cluster is not healthy: timeout"}},
		"denied":      {"a person did it", conditions{accepted}, conditions{is(accepted.Type, "False", "HubClusterAdmin denied")}, []string{"Warning ManagedClusterDenied: one: the cluster is denied: HubClusterAdmin denied"}},
		"others":      {"conditions that addons add", nil, conditions{is("Other", "False", "x")}, nil},
	} {
		t.Run(name, func(t *testing.T) { expect(t, row.why, ofCluster("one", row.before, row.after), row.want...) })
	}
}

// TestNotesFit: Kubernetes refuses an event whose note has more than 1024 bytes.
func TestNotesFit(t *testing.T) {
	for _, note := range []string{strings.Repeat("x", 5000), strings.Repeat("ä", 600), "short"} {
		if got := cut(note); len(got) > 1024 || len(note) <= maxNote && got != note {
			t.Errorf("%d bytes became %d", len(note), len(got))
		}
	}
}

// TestCauses: the end of a fault has the causes of its beginning, of each cluster its own, also where one event tells of several.
func TestCauses(t *testing.T) {
	row := func(cluster, state, reason string) musterv1alpha1.ClusterStatus {
		return musterv1alpha1.ClusterStatus{Cluster: cluster, State: state, Reason: reason, Message: "m"}
	}
	one, two, none := musterv1alpha1.ApplicationStatus{}, musterv1alpha1.ApplicationStatus{}, musterv1alpha1.ApplicationStatus{}
	two.Clusters = []musterv1alpha1.ClusterStatus{row("a", "Degraded", "X"), row("b", "Degraded", "X"), row("c", "Failed", "ApplyFailed")}
	one.Clusters = two.Clusters[1:2]
	fault := musterv1alpha1.FleetRepositoryStatus{Faults: []musterv1alpha1.Fault{{Reason: "RenderFailed", Application: "retail/web", Cluster: "a", File: "f", Message: "m"}}}
	later := fault
	later.Faults = []musterv1alpha1.Fault{{Reason: "RenderFailed", Application: "retail/web", Cluster: "b", Clusters: 2, File: "f", Message: "n"}}
	type causes = []map[string]string
	for name, c := range map[string]struct {
		events []Event
		want   map[string]causes
	}{
		"begin": {ofApplication(&none, &two), map[string]causes{
			"ApplyFailed": {{"cluster": "c", "reason": "ApplyFailed"}}, "Degraded": {{"cluster": "a", "reason": "X"}, {"cluster": "b", "reason": "X"}},
		}},
		"one ends": {ofApplication(&two, &one), map[string]causes{
			"FaultResolved": {{"cluster": "c", "reason": "ApplyFailed"}}, "Recovered": {{"cluster": "a", "reason": "X"}},
		}},
		"of a repository": {ofRepository(&musterv1alpha1.FleetRepositoryStatus{}, &fault), map[string]causes{
			"RenderFailed": {{"reason": "RenderFailed", "application": "retail/web", "file": "f"}},
		}},
		"ended on other clusters": {ofRepository(&later, &musterv1alpha1.FleetRepositoryStatus{}), map[string]causes{
			"FaultResolved": {{"reason": "RenderFailed", "application": "retail/web", "file": "f"}},
		}},
	} {
		got := map[string]causes{}
		for _, e := range c.events {
			got[e.Reason] = e.Causes
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +have):\n%s", name, diff)
		}
	}
}
