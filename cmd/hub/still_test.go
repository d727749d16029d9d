package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/work"
)

// everything is content with every configuration that a work can have.
const everything = `-- manifests/all/config.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: all, labels: {a: b}, annotations: {c: d}}
data: {text: "<a> & <b>", number: "1.0"}
-- manifests/all/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: all}
spec:
  replicas: 2
  selector: {matchLabels: {app: all}}
  template:
    metadata: {labels: {app: all}}
    spec:
      containers:
      - {name: all, image: example.org/all:1, resources: {limits: {cpu: 0.5, memory: 1.50Gi}}, ports: [{containerPort: 80}]}
-- manifests/all/definition.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.still.example.com}
spec:
  group: still.example.com
  scope: Namespaced
  names: {plural: lamps, singular: lamp, kind: Lamp, listKind: LampList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
-- manifests/all/lamp.yaml --
apiVersion: still.example.com/v1
kind: Lamp
metadata: {name: all}
spec: {brightness: 1.50, lit: true, none: null}
`

const unguarded = "  deletionGuard: {maxClusterPercent: 100}\n"

const executor = unguarded + `
  serviceAccountName: deployer
  sync: {ignore: [{kind: Deployment, jsonPointers: [/spec/replicas]}]}`

func TestClustersStayAsPlanned(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+clusterFile("two", "tier: none")+placementFile("edge", everyEdge)+
		applicationFile("all", "edge", "manifests/all", "still", executor)+everything+
		applicationFile("shop", "edge", "manifests/shop", "still", unguarded)+configMapFile("manifests/shop/config.yaml", "shop", "color", "red")+
		brokenFile)
	f.deliver()
	f.available("one", true)
	f.available("two", true)
	f.run("a cluster is marked only when all works of a complete plan are there", firstCompletePlan)
	f.join("one")
	f.allow("one", "still", "deployer")
	f.expectReady("retail/shop")
	f.expectReady("retail/report")
	f.expectCurrent("retail/all")
	f.run("what comes back from the API server is what was planned, and nothing is written again", nothingIsWrittenAgain)
	f.run("drift is told with field, was, is and who, and healed", driftIsHealed)
	f.run("drift that is only to be reported is left", driftIsReported)
	f.run("who names no account runs as its namespace's, with no more rights than that", namespaceAccount)
}

func namespaceAccount(f *theFleet) {
	runsAs := func(account string) string {
		return strings.Replace(tenant, "metadata: {name: retail}",
			fmt.Sprintf("metadata: {name: retail, annotations: {muster.dev/default-service-account: %s}}", account), 1)
	}
	// A bare name is an account of the tenant's own namespace, whatever destination the tenant writes.
	f.push(runsAs("nobody") + configMapFile("manifests/shop/config.yaml", "shop", "color", "forbidden"))
	f.expectRow("retail/shop", "one", "Failed", "ApplyFailed", "retail:nobody")
	f.push(runsAs("still/deployer"))
	f.expectReady("retail/shop")
	f.expectData("one", "still", "shop", "color", "forbidden")
	for name, w := range f.worksOf("retail/shop") {
		if as := w.Spec.Executor; as == nil || as.Subject.ServiceAccount.Namespace != "still" || as.Subject.ServiceAccount.Name != "deployer" {
			f.t.Errorf("%s runs as %+v", name, as)
		}
	}
	f.push(tenant)
	f.eventually(func() string {
		for name, w := range f.worksOf("retail/shop") {
			if w.Spec.Executor != nil {
				return name + " still runs as the account"
			}
		}
		return ""
	})
}

// allow lets a service account on a cluster do everything: what it may not do is another test's.
func (f *theFleet) allow(cluster, namespace, name string) {
	f.t.Helper()
	c, err := client.New(f.spokes[cluster].Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := c.Create(f.ctx, clusterAdmin(namespace, name)); err != nil {
		f.t.Fatal(err)
	}
}

func nothingIsWrittenAgain(f *theFleet) {
	for name, w := range f.worksOf("retail/all") {
		if have, want := work.SpecDigest(&w), w.Annotations[musterv1alpha1.ContentDigestAnnotation]; have != want {
			f.t.Errorf("%s was planned as %s and read back as %s", name, want, have)
		}
	}
	before := f.generations()
	repo := f.repository()
	// Each of these makes the hub look again; a commit that changes no definition changes no work.
	revision := f.push("-- README.md --\nlooked at again\n")
	f.annotate(f.application("retail/all"), "example.com/look", "again")
	f.eventually(func() string {
		if got := f.application("retail/all").Status.Revision; got != revision {
			return fmt.Sprintf("planned at %s, want %s", got, revision)
		}
		return ""
	})
	f.stop()
	f.startHub()
	f.push("-- README.md --\nafter a restart\n")
	f.expectReady("retail/shop")
	f.expectCurrent("retail/all")
	if after := f.generations(); !maps.Equal(before, after) {
		f.t.Errorf("works were written again: generations %v, were %v", after, before)
	}
	if now := f.repository().Status.Plan; now != repo.Status.Plan {
		f.t.Errorf("the plan is %s, was %s, and nothing has changed", now, repo.Status.Plan)
	}
}

// generations of all works, with the digest of their marks: what the hub writes.
func (f *theFleet) generations() map[string]string {
	f.t.Helper()
	all := map[string]string{}
	for _, app := range []string{"retail/all", "retail/shop", "retail/report"} {
		for name, w := range f.worksOf(app) {
			lw := hub.LiveWork(&w)
			all[name] = fmt.Sprint(w.UID, w.Generation, lw.MetaDigest)
		}
	}
	return all
}

// edit changes an object on a cluster as somebody with kubectl would.
func (f *theFleet) edit(cluster string, o client.Object, do func()) {
	f.t.Helper()
	c, err := client.New(f.spokes[cluster].Config(), client.Options{Scheme: Scheme(), FieldOwner: "kubectl-edit"})
	if err != nil {
		f.t.Fatal(err)
	}
	f.eventually(func() string { // again when the agent wrote in between
		if err := c.Get(f.ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err.Error()
		}
		do()
		if err := c.Update(f.ctx, o); err != nil {
			return err.Error()
		}
		return ""
	})
}

// driftOn is what a cluster has on record of an application's drift. The record outlives the correction, which the row in the
// application's status does not: when both come between two looks of the hub, it never says so.
func (f *theFleet) driftOn(cluster, key string) []drift.Record {
	f.t.Helper()
	var records []drift.Record
	for _, w := range f.worksOf(key) {
		for _, m := range w.Status.ResourceStatus.Manifests {
			if report, ok := drift.Parse(m); ok && w.Namespace == cluster {
				records = append(records, report.Records...)
			}
		}
	}
	return records
}

func clusterAdmin(namespace, name string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace + "-" + name},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}},
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "still", Name: name}}
}

func driftIsHealed(f *theFleet) {
	cm := configMap("shop")
	f.edit("one", cm, func() { cm.Data["color"] = "pink" })
	f.expectData("one", "still", "shop", "color", "red")
	f.eventually(func() string {
		records := f.driftOn("one", "retail/shop")
		if len(records) != 1 {
			return fmt.Sprintf("the records are %+v", records)
		}
		r := records[0]
		return has("the record", fmt.Sprintf("%s %s was %s is %s by %s, healed %v", r.Object, r.Path, r.Was, r.Is, r.Manager, r.Healed),
			"ConfigMap still/shop data.color", `was "red"`, `is "pink"`, "by kubectl-edit", "healed true")
	})
	f.expectReady("retail/shop")

	// What is ignored is nobody's drift.
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "still", Name: "all"}}
	replicas := int32(5)
	f.edit("one", d, func() { d.Spec.Replicas = &replicas })
	f.edit("one", cm, func() { cm.Data["color"] = "grey" })
	f.expectData("one", "still", "shop", "color", "red")
	if !f.on("one", d, "still", "all") || *d.Spec.Replicas != 5 {
		f.t.Error("a field that is ignored was put back")
	}
}

func driftIsReported(f *theFleet) {
	cm := configMap("report")
	f.edit("one", cm, func() { cm.Data["color"] = "pink" })
	f.expectRow("retail/report", "one", "Drifted", "ConfigMap still/report", "data.color", `was "red"`, `is "pink"`, "kubectl-edit")
	f.expectApplication("retail/report", "InSync", metav1.ConditionFalse, "Drifted", "1 of 1 clusters")
	if got := f.data("one", "still", "report", "color"); got != "pink" {
		f.t.Errorf("color is %q: it was to be left", got)
	}
	f.push(configMapFile("manifests/report/config.yaml", "report", "color", "white"))
	f.expectReady("retail/report")
	f.expectData("one", "still", "report", "color", "white")
}

// brokenFile cannot be read: no plan of its commit is complete.
const brokenFile = "-- applications/retail/broken/application.yaml --\nkind: {\n"

func firstCompletePlan(f *theFleet) {
	marked := func(name string) bool {
		f.t.Helper()
		var namespace corev1.Namespace
		if err := f.client.Get(f.ctx, types.NamespacedName{Name: name}, &namespace); err != nil {
			f.t.Fatal(err)
		}
		return namespace.Annotations[musterv1alpha1.FirstPlanAnnotation] != ""
	}
	expect := func(name string) {
		f.t.Helper()
		f.eventually(func() string {
			if !marked(name) {
				return name + " is not marked"
			}
			return ""
		})
	}
	f.expectWorkOn("one")
	if marked("one") {
		f.t.Error("one is marked, and a file cannot be read")
	}
	f.push("-- applications/retail/broken/application.yaml --\n" + deleted +
		applicationFile("report", "edge", "manifests/report", "still", unguarded+"  sync: {drift: Report}") + configMapFile("manifests/report/config.yaml", "report", "color", "red"))
	expect("one")
	expect("two") // its complete plan is empty
	if n := len(f.worksOf("retail/shop")) + len(f.worksOf("retail/all")) + len(f.worksOf("retail/report")); n != 3 {
		f.t.Errorf("one is marked and has %d works", n)
	}
	// A cluster that comes while a file cannot be read waits.
	f.push(clusterFile("three", "tier: edge") + brokenFile)
	f.available("three", true)
	f.expectWorkOn("three")
	f.push(configMapFile("manifests/shop/config.yaml", "shop", "color", "blue"))
	if marked("three") {
		f.t.Error("three is marked, and a file cannot be read")
	}
	// And so does one on which something cannot be planned.
	f.push("-- applications/retail/broken/application.yaml --\n" + deleted + "-- manifests/shop/broken.yaml --\napiVersion: example.com/v1\nkind: Unknown\nmetadata: {name: x}\n")
	f.expectFault("UnknownKind", "retail/shop")
	f.push(configMapFile("manifests/report/config.yaml", "report", "color", "blue"))
	if marked("three") {
		f.t.Error("three is marked, and an application of it has a fault")
	}
	f.push("-- manifests/shop/broken.yaml --\n" + deleted + configMapFile("manifests/shop/config.yaml", "shop", "color", "red") +
		configMapFile("manifests/report/config.yaml", "report", "color", "red"))
	expect("three")
	f.push(clusterFile("three", "tier: none"))
	f.eventually(func() string {
		if n := len(f.works("three")); n > 0 {
			return fmt.Sprintf("three has %d works", n)
		}
		return ""
	})
}

func (f *theFleet) expectWorkOn(cluster string) {
	f.t.Helper()
	f.eventually(func() string {
		if len(f.works(cluster)) == 0 {
			return "no work on " + cluster
		}
		return ""
	})
}
