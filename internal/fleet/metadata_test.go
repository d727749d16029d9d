package fleet_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
)

func TestWrongMetadata(t *testing.T) {
	const openshift, rbac, ocm = "image.openshift.io", "rbac.authorization.k8s.io", "cluster.open-cluster-management.io"
	long := strings.Repeat("x", 64)
	for name, row := range map[string]struct {
		why         string
		group, kind string
		metadata    map[string]any
		field       string
		says        string
	}{
		"Good": {
			why: "what an API server takes is taken", kind: "ConfigMap",
			metadata: map[string]any{"name": "a.b", "namespace": "shop", "labels": map[string]any{"app.kubernetes.io/name": "Web_1", "empty": ""}, "annotations": map[string]any{"Example.org/Note": "any text, of any length"}},
		},
		"Name":            {why: "most names are subdomains", kind: "ConfigMap", metadata: map[string]any{"name": "Web"}, field: "metadata.name", says: `metadata.name "Web": a lowercase RFC 1123 subdomain`},
		"Namespace":       {why: "a namespace's name is a label", kind: "Namespace", metadata: map[string]any{"name": "a.b"}, field: "metadata.name", says: "must not contain dots"},
		"Cluster":         {why: "the hub makes a namespace of the name", group: ocm, kind: "ManagedCluster", metadata: map[string]any{"name": "a.b"}, field: "metadata.name", says: "must not contain dots"},
		"KubeSystem":      {why: "the agent would have rights there", group: ocm, kind: "ManagedCluster", metadata: map[string]any{"name": "kube-system"}, field: "metadata.name", says: "a namespace that the hub has for other things"},
		"MusterSystem":    {why: "the hub's own leases are there", group: ocm, kind: "ManagedCluster", metadata: map[string]any{"name": "muster-system"}, field: "metadata.name", says: "a namespace that the hub has for other things"},
		"LocalCluster":    {why: "OCM's name of the hub as a cluster", group: ocm, kind: "ManagedCluster", metadata: map[string]any{"name": "local-cluster"}},
		"Role":            {why: "names of roles hold colons", group: rbac, kind: "Role", metadata: map[string]any{"name": "system:reader"}},
		"RoleWithSlash":   {why: "and no slashes", group: rbac, kind: "Role", metadata: map[string]any{"name": "a/b"}, field: "metadata.name", says: "may not contain '/'"},
		"OtherServer":     {why: "an aggregated API server has rules of its own", group: openshift, kind: "ImageStreamTag", metadata: map[string]any{"name": "Web:1"}},
		"InNamespace":     {why: "of every object", kind: "ConfigMap", metadata: map[string]any{"name": "a", "namespace": "a.b"}, field: "metadata.namespace", says: `metadata.namespace "a.b"`},
		"LabelKey":        {why: "a key has two parts at most", kind: "ConfigMap", metadata: map[string]any{"name": "a", "labels": map[string]any{"a/b/c": "x"}}, field: "metadata.labels.a/b/c", says: "metadata.labels[a/b/c]: the key is not allowed"},
		"LabelValue":      {why: "a value may be secret and is not quoted", kind: "ConfigMap", metadata: map[string]any{"name": "a", "labels": map[string]any{"env": "hunter 2"}}, field: "metadata.labels.env", says: "metadata.labels[env]: the value is not allowed: a valid label must be"},
		"LongLabel":       {why: "63 characters", kind: "ConfigMap", metadata: map[string]any{"name": "a", "labels": map[string]any{"env": long}}, field: "metadata.labels.env", says: "63"},
		"LabelNumber":     {why: "a number is no text", kind: "ConfigMap", metadata: map[string]any{"name": "a", "labels": map[string]any{"env": int64(1)}}, field: "metadata.labels.env", says: "is not text: quote it"},
		"AnnotationKey":   {why: "keys of annotations are checked too", kind: "ConfigMap", metadata: map[string]any{"name": "a", "annotations": map[string]any{"-a": "x"}}, field: "metadata.annotations.-a", says: "the key is not allowed"},
		"ManyAnnotations": {why: "256 KiB in all", kind: "ConfigMap", metadata: map[string]any{"name": "a", "annotations": map[string]any{"a": strings.Repeat("x", 256<<10)}}, field: "metadata.annotations", says: "may be 262144"},
	} {
		t.Run(name, func(t *testing.T) {
			field, problem := fleet.WrongMetadata(row.group, row.kind, row.metadata)
			if field != row.field || (row.field == "") != (problem == "") || !strings.Contains(problem, row.says) {
				t.Errorf("%s: %q in %q, want %q in %q", row.why, problem, field, row.says, row.field)
			}
			if strings.Contains(problem, "hunter") || strings.Contains(problem, long) {
				t.Errorf("the value is quoted: %s", problem)
			}
		})
	}
}

// TestGroupFaults holds that faults which differ in nothing but the cluster are one, and that nothing is lost by it.
func TestGroupFaults(t *testing.T) {
	fault := func(cluster, message, remedy string) fleet.Fault {
		return fleet.Fault{Reason: fleet.ExpressionFailed, Application: "retail/web", Cluster: cluster, File: "a.yaml", Line: 3, Message: message, Remedy: remedy}
	}
	groups := fleet.GroupFaults([]fleet.Fault{
		fault("edge-1", "edge-1 lacks a label, as edge-10 does; ask edge-1.", "clusters/edge-1.yaml"),
		fault("edge-10", "edge-10 lacks a label, as edge-10 does; ask edge-10.", "clusters/edge-10.yaml"),
		fault("edge-2", "edge-2 lacks a label, as edge-10 does; ask edge-2.", "clusters/edge-2.yaml"),
		fault("", "of the whole", ""),
	})
	var got []string
	for _, g := range groups {
		got = append(got, strings.Join(g.Clusters, " ")+": "+g.Message+" "+strings.Join(g.Remedies, " "))
	}
	want := []string{
		"edge-1 edge-2: the cluster lacks a label, as edge-10 does; ask the cluster. clusters/edge-1.yaml clusters/edge-2.yaml",
		"edge-10: edge-10 lacks a label, as edge-10 does; ask edge-10. clusters/edge-10.yaml",
		": of the whole ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if two := fleet.GroupFaults([]fleet.Fault{fault("e-1", "it is missing on cluster e-1: ask", ""), fault("e-2", "it is missing on cluster e-2: ask", "")}); two[0].Message != "it is missing on the cluster: ask" {
		t.Errorf("the clusters' fault is %q", two[0].Message)
	}
	if one := fleet.GroupFaults([]fleet.Fault{fault("edge-1", "edge-1 lacks it", "")}); !slices.Equal(one[0].Clusters, []string{"edge-1"}) || one[0].Message != "edge-1 lacks it" {
		t.Errorf("a fault on one cluster is %+v", one[0])
	}
}
