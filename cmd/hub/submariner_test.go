package main

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub"
)

const operatorNamespace = "submariner-operator"

// TestSubmariner: two clusters of a set have the add-on, and one of another set. A stand-in for the operator on each cluster, which has what
// the works brought and nothing else, reaches the broker of its own set alone, sees its peers, and reports. Removal goes in reverse, and the last
// cluster takes the broker along.
func TestSubmariner(t *testing.T) {
	t.Parallel()
	f := newFleetOn(t, controlplane.Options{Name: "submariner", Controllers: true}, "", func(o *Options) {
		o.Controllers, o.LocalRepositories = append(slices.Clone(addonControllers), "submariner"), nil
	})
	sets := map[string]string{"one": "east", "two": "east", "three": "core"}
	overlapping := map[string]string{submarinerv1alpha1.GlobalnetAnnotation: "true", submarinerv1alpha1.GlobalnetRangeAnnotation: "242.0.0.0/15"}
	f.create(&clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "east", Annotations: overlapping}})
	f.create(&clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "core"}})
	for _, name := range []string{"one", "two", "three"} {
		f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		cluster := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{clusterv1beta2.ClusterSetLabel: sets[name]}}}
		cluster.Spec.HubAcceptsClient = true
		f.create(cluster)
		f.join(name)
	}
	f.create(&submarinerv1alpha1.SubmarinerConfig{
		ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "submariner"},
		Spec:       submarinerv1alpha1.SubmarinerConfigSpec{CableDriver: "wireguard", GatewayConfig: submarinerv1alpha1.GatewayConfig{Gateways: 2}},
	})
	f.create(&addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "submariner"}})
	for name := range sets {
		f.create(&addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "submariner"}})
	}

	f.expectAddOn("one", "submariner", submarinerv1alpha1.ConditionBrokerConfigApplied, "False BrokerNotReady")
	f.eventually(func() string {
		c := meta.FindStatusCondition(f.addOn("one", "submariner").Status.Conditions, submarinerv1alpha1.ConditionBrokerConfigApplied)
		return has("what the hub waits for", c.Message, "kubectl label clusterrole muster:submariner muster.dev/addon-permission=true")
	})
	f.letMakeBrokers()

	operators := map[string]*operatorDouble{}
	for _, name := range []string{"one", "two", "three"} {
		f.expectAddOn(name, "submariner", submarinerv1alpha1.ConditionBrokerConfigApplied, "True BrokerConfigApplied")
		operators[name] = f.operator(name)
		operators[name].announce()
	}
	one, two := operators["one"], operators["two"]
	networks := []any{one.spec["globalCIDR"], two.spec["globalCIDR"], operators["three"].spec["globalCIDR"]}
	if !slices.Equal(networks, []any{"242.0.0.0/16", "242.1.0.0/16", ""}) && !slices.Equal(networks, []any{"242.1.0.0/16", "242.0.0.0/16", ""}) {
		t.Errorf("the networks of one, two and three are %v", networks)
	}
	if got := one.spec["cableDriver"]; got != "wireguard" {
		t.Errorf("cable driver of one is %v", got)
	}
	if len(one.key) != 48 || !bytes.Equal(one.key, two.key) || bytes.Equal(one.key, operators["three"].key) {
		t.Errorf("the clusters of a set are to share a key of 48 bytes with nobody else: %d bytes, shared with two %v, with three %v",
			len(one.key), bytes.Equal(one.key, two.key), bytes.Equal(one.key, operators["three"].key))
	}
	if peers := one.endpoints("east-broker"); !slices.Equal(peers, []string{"one", "two"}) {
		t.Errorf("one sees the endpoints of %v", peers)
	}
	for _, at := range []string{"core-broker", "muster-system", "two"} {
		if err := one.broker.List(f.ctx, endpointList(), client.InNamespace(at)); !apierrors.IsForbidden(err) {
			t.Errorf("the account of one reads endpoints in %s: %v", at, err)
		}
		if err := one.broker.List(f.ctx, &corev1.SecretList{}, client.InNamespace(at)); !apierrors.IsForbidden(err) {
			t.Errorf("the account of one reads Secrets in %s: %v", at, err)
		}
	}

	f.expectAddOn("one", "submariner", submarinerv1alpha1.ConditionConnectionDegraded, "Unknown NotReported")
	one.report(1, map[string]string{"two": "connecting"})
	f.expectAddOn("one", "submariner", submarinerv1alpha1.ConditionConnectionDegraded, "True ConnectionsNotEstablished")
	f.expectAddOn("one", "submariner", submarinerv1alpha1.ConditionGatewaysLabeled, "False SubmarinerGatewaysNotLabeled")
	one.report(2, map[string]string{"two": "connected"})
	two.report(1, map[string]string{"one": "connected"})
	for _, name := range []string{"one", "two"} {
		f.expectAddOn(name, "submariner", submarinerv1alpha1.ConditionConnectionDegraded, "False ConnectionsEstablished")
		f.expectAddOn(name, "submariner", submarinerv1alpha1.ConditionGatewaysLabeled, "True SubmarinerGatewaysLabeled")
		f.expectAddOn(name, "submariner", submarinerv1alpha1.ConditionRouteAgentConnectionDegraded, "False RouteAgentsReady")
		f.expectAddOn(name, "submariner", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
		f.expectAddOn(name, "submariner", addonv1alpha1.ConditionProgressing, "False Completed")
		if works := f.works(name); len(works) != 2 || works[0].Name != "submariner-operator" || works[1].Name != "submariner-resource" {
			t.Errorf("%s has %d works: %s", name, len(works), f.describe())
		}
	}
	config := &submarinerv1alpha1.SubmarinerConfig{}
	if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: "one", Name: "submariner"}, config); err != nil {
		t.Fatal(err)
	}
	if !meta.IsStatusConditionTrue(config.Status.Conditions, submarinerv1alpha1.ConditionConfigApplied) || config.Status.ManagedClusterInfo.ClusterName != "one" {
		t.Errorf("the SubmarinerConfig of one says %+v", config.Status)
	}

	f.run("a cluster loses the add-on", func(f *theFleet) {
		two.hold()
		f.withoutSubmariner("two")
		f.eventually(func() string {
			if !two.isDeleting() {
				return "the Submariner of two is not being deleted"
			}
			return ""
		})
		if peers := two.endpoints("east-broker"); !slices.Equal(peers, []string{"one", "two"}) || len(f.works("two")) != 2 {
			f.t.Errorf("while its operator cleans up, two has %d works and sees %v", len(f.works("two")), peers)
		}
		two.release()
		f.eventually(func() string {
			two.finalizeNamespace()
			if works := f.works("two"); len(works) > 0 || f.addOn("two", "submariner") != nil {
				return fmt.Sprintf("two still has %d works, or the add-on", len(works))
			}
			if err := two.broker.List(f.ctx, endpointList(), client.InNamespace("east-broker")); !apierrors.IsUnauthorized(err) {
				return fmt.Sprintf("the account of two still counts: %v", err)
			}
			if peers := one.endpoints("east-broker"); !slices.Equal(peers, []string{"one"}) {
				return fmt.Sprintf("the broker has the endpoints of %v", peers)
			}
			return ""
		})
		f.eventually(func() string {
			c := meta.FindStatusCondition(f.addOn("one", "submariner").Status.Conditions, submarinerv1alpha1.ConditionConnectionDegraded)
			return has("the connections of one", c.Message, "connected with 0 clusters")
		})
	})
	f.run("the last one takes the broker along", func(f *theFleet) {
		f.withoutSubmariner("one")
		f.eventually(func() string {
			one.finalizeNamespace()
			err := f.client.Get(f.ctx, client.ObjectKey{Name: "east-broker"}, &corev1.Namespace{})
			set := &clusterv1beta2.ManagedClusterSet{}
			if err := f.client.Get(f.ctx, client.ObjectKey{Name: "east"}, set); err != nil {
				f.t.Fatal(err)
			}
			if !apierrors.IsNotFound(err) || len(set.Finalizers) > 0 || set.Annotations[submarinerv1alpha1.BrokerNamespaceAnnotation] != "" || len(f.works("one")) > 0 {
				return fmt.Sprintf("the broker is still there: %v, set %v %v", err, set.Finalizers, set.Annotations)
			}
			return ""
		})
		if peers := operators["three"].endpoints("core-broker"); !slices.Equal(peers, []string{"three"}) {
			f.t.Errorf("three sees the endpoints of %v in the broker of its own set", peers)
		}
	})
}

// letMakeBrokers is what an administrator does once.
func (f *theFleet) letMakeBrokers() {
	f.t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: hub.SubmarinerRole}}
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"true"}}}`, hub.PermissionLabel)
	if err := f.client.Patch(f.ctx, role, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		f.t.Fatal(err)
	}
}

func (f *theFleet) withoutSubmariner(cluster string) {
	f.t.Helper()
	if err := f.client.Delete(f.ctx, &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: "submariner"}}); err != nil {
		f.t.Fatal(err)
	}
}

// operatorDouble plays Submariner's operator on a cluster.
type operatorDouble struct {
	f    *theFleet
	name string
	// cluster is its client there, as the operator's account; broker the one that the Secret of the broker gives.
	cluster, broker client.Client
	spec            map[string]any
	key             []byte
}

// operator waits for what the works bring, and reaches the broker with that alone.
func (f *theFleet) operator(name string) *operatorDouble {
	f.t.Helper()
	c, err := client.New(f.spokes[name].Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		f.t.Fatal(err)
	}
	o := &operatorDouble{f: f, name: name, cluster: c}
	f.eventually(func() string {
		s, err := o.submariner()
		if err != nil {
			return err.Error()
		}
		o.spec = s.Object["spec"].(map[string]any)
		secret := &corev1.Secret{}
		if err := c.Get(f.ctx, o.named("brokerK8sSecret"), secret); err != nil {
			return err.Error()
		}
		config := &rest.Config{Host: "https://" + o.spec["brokerK8sApiServer"].(string), BearerToken: string(secret.Data["token"])}
		config.CAData = secret.Data["ca.crt"]
		if o.broker, err = client.New(config, client.Options{Scheme: Scheme()}); err != nil {
			return err.Error()
		}
		psk := &corev1.Secret{}
		if err := c.Get(f.ctx, o.named("ceIPSecPSKSecret"), psk); err != nil {
			return err.Error()
		}
		o.key = psk.Data["psk"]
		deployment := &appsv1.Deployment{}
		if err := c.Get(f.ctx, client.ObjectKey{Namespace: operatorNamespace, Name: "submariner-operator"}, deployment); err != nil {
			return err.Error()
		}
		deployment.Status = appsv1.DeploymentStatus{ObservedGeneration: deployment.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
		if err := c.Status().Update(f.ctx, deployment); err != nil {
			return err.Error()
		}
		return ""
	})
	return o
}

// named is the Secret that a field of the Submariner names.
func (o *operatorDouble) named(field string) client.ObjectKey {
	return client.ObjectKey{Namespace: operatorNamespace, Name: o.spec[field].(string)}
}

func (o *operatorDouble) submariner() (*unstructured.Unstructured, error) {
	s := &unstructured.Unstructured{}
	s.SetGroupVersionKind(schema.GroupVersionKind{Group: "submariner.io", Version: "v1alpha1", Kind: "Submariner"})
	return s, o.cluster.Get(o.f.ctx, client.ObjectKey{Namespace: operatorNamespace, Name: "submariner"}, s)
}

// announce writes into the broker that the cluster is there, as the gateway does.
func (o *operatorDouble) announce() {
	o.f.t.Helper()
	for _, kind := range []string{"Cluster", "Endpoint"} {
		e := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
			"cluster_id": o.spec["clusterID"], "cable_name": "submariner-cable-" + o.name, "backend": o.spec["cableDriver"], "hostname": o.name,
		}}}
		e.SetGroupVersionKind(schema.GroupVersionKind{Group: "submariner.io", Version: "v1", Kind: kind})
		e.SetNamespace(o.spec["brokerK8sRemoteNamespace"].(string))
		e.SetName(o.name)
		if err := o.broker.Create(o.f.ctx, e); err != nil {
			o.f.t.Fatalf("%s writes its %s into the broker: %v", o.name, kind, err)
		}
	}
}

func endpointList() *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "submariner.io", Version: "v1", Kind: "EndpointList"})
	return list
}

// endpoints are the clusters whose endpoints it sees in a broker.
func (o *operatorDouble) endpoints(namespace string) []string {
	o.f.t.Helper()
	list := endpointList()
	if err := o.broker.List(o.f.ctx, list, client.InNamespace(namespace)); err != nil {
		o.f.t.Fatalf("%s lists the endpoints in its broker: %v", o.name, err)
	}
	var names []string
	for _, e := range list.Items {
		id, _, _ := unstructured.NestedString(e.Object, "spec", "cluster_id")
		names = append(names, id)
	}
	slices.Sort(names)
	return names
}

// report writes the status of the Submariner, as the operator does from what the gateways say.
func (o *operatorDouble) report(gateways int64, connections map[string]string) {
	o.f.t.Helper()
	list := []any{}
	for peer, state := range connections {
		list = append(list, map[string]any{"status": state, "endpoint": map[string]any{"cluster_id": peer}})
	}
	o.change(func(s *unstructured.Unstructured) {
		s.Object["status"] = map[string]any{
			"gateways":                  []any{map[string]any{"haStatus": "passive", "connections": []any{}}, map[string]any{"haStatus": "active", "connections": list}},
			"gatewayDaemonSetStatus":    map[string]any{"status": map[string]any{"desiredNumberScheduled": gateways}},
			"routeAgentDaemonSetStatus": map[string]any{"status": map[string]any{"desiredNumberScheduled": int64(3), "numberReady": int64(3)}},
		}
	}, true)
}

const doubleFinalizer = "submariner.io/double"

// hold makes the operator clean up before its Submariner goes; release is when it has.
func (o *operatorDouble) hold() {
	o.f.t.Helper()
	o.change(func(s *unstructured.Unstructured) { s.SetFinalizers([]string{doubleFinalizer}) }, false)
}

func (o *operatorDouble) release() {
	o.f.t.Helper()
	o.change(func(s *unstructured.Unstructured) { s.SetFinalizers(nil) }, false)
}

func (o *operatorDouble) isDeleting() bool {
	s, err := o.submariner()
	return err == nil && s.GetDeletionTimestamp() != nil
}

func (o *operatorDouble) change(edit func(*unstructured.Unstructured), status bool) {
	o.f.t.Helper()
	s, err := o.submariner()
	if err != nil {
		o.f.t.Fatal(err)
	}
	was := s.DeepCopy()
	edit(s)
	patch := client.MergeFrom(was)
	if status {
		err = o.cluster.Status().Patch(o.f.ctx, s, patch)
	} else {
		err = o.cluster.Patch(o.f.ctx, s, patch)
	}
	if err != nil {
		o.f.t.Fatal(err)
	}
}

// finalizeNamespace does what the namespace controller does, which the test's clusters do not run.
func (o *operatorDouble) finalizeNamespace() {
	o.f.t.Helper()
	namespace := &corev1.Namespace{}
	if err := o.cluster.Get(o.f.ctx, client.ObjectKey{Name: operatorNamespace}, namespace); err != nil || namespace.DeletionTimestamp.IsZero() {
		return
	}
	namespace.Spec.Finalizers = nil
	_, err := kubernetes.NewForConfigOrDie(o.f.spokes[o.name].Config()).CoreV1().Namespaces().Finalize(o.f.ctx, namespace, metav1.UpdateOptions{})
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		o.f.t.Fatal(err)
	}
}
