package main

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestClusterValues: an application gets the values of the cluster it is on, those of Git and those that somebody makes on the hub.
func TestClusterValues(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shopIn("values")+clusterFile("one", "tier: edge")+domainFile("example.com")+`
-- applications/retail/shop/application.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: shop, namespace: retail}
spec:
  placement: {predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge}}}}]} # its own
  source: {path: charts/domain}
  destination: {namespace: values, createNamespace: true}
  helm: {values: {domain: '${{ cluster.values.domain }}'}}
-- charts/domain/Chart.yaml --
apiVersion: v2
name: domain
version: 1.0.0
-- charts/domain/templates/domain.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: domain}
data: {domain: {{ .Values.domain }}}
`)
	f.deliver()
	f.join("one")
	f.expectReady("retail/shop")
	f.expectData("one", "values", "domain", "domain", "example.com")
	f.run("a commit changes them", func(f *theFleet) {
		f.push(domainFile("example.org"))
		f.expectData("one", "values", "domain", "domain", "example.org")
	})
	f.run("those of a higher priority are above them", func(f *theFleet) {
		above := &musterv1alpha1.ClusterValues{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "above"}}
		above.Spec.Priority = 1
		above.Spec.Selector.LabelSelector.MatchLabels = map[string]string{"tier": "edge"}
		above.Spec.Values.Raw = []byte(`{"domain": "shop.example.org"}`)
		if err := f.client.Create(f.ctx, above); err != nil {
			f.t.Fatal(err)
		}
		f.expectData("one", "values", "domain", "domain", "shop.example.org")
	})
	f.run("two that do not agree are a fault, and the last good work stays", func(f *theFleet) {
		other := &musterv1alpha1.ClusterValues{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "other"}}
		other.Spec.Priority = 1
		other.Spec.Values.Raw = []byte(`{"domain": "other.example.org"}`)
		if err := f.client.Create(f.ctx, other); err != nil {
			f.t.Fatal(err)
		}
		f.expectRow("retail/shop", "one", "Faulty", string(fleet.ExpressionFailed), "ClusterValues retail/above", "ClusterValues retail/other", "set domain to different values")
		f.expectData("one", "values", "domain", "domain", "shop.example.org")
		if err := f.client.Delete(f.ctx, other); client.IgnoreNotFound(err) != nil {
			f.t.Fatal(err)
		}
		f.expectReady("retail/shop")
	})
}

// domainFile are values for all clusters.
func domainFile(domain string) string {
	return "-- clustervalues/all.yaml --\napiVersion: muster.dev/v1alpha1\nkind: ClusterValues\nmetadata: {name: all, namespace: muster-system}\nspec: {values: {domain: " + domain + "}}\n"
}
