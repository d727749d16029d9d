package main

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
)

// TestReplicaSetAlone: a hub with the two work controllers and no other serves a client of OCM, with real agents: a Deployment
// whose template has no rules reaches the second cluster when it is available on the first one, stops at one that fails, and what
// is complete goes after its time.
func TestReplicaSetAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "", func(o *Options) {
		o.Controllers, o.LocalRepositories = []string{"manifestworkreplicaset", "work-gc"}, nil
	})
	for _, name := range []string{"one", "two"} {
		f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		f.create(&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
		c, err := client.New(f.join(name).Config(), client.Options{Scheme: Scheme()})
		if err != nil {
			t.Fatal(err)
		}
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "retail-web"}}
		if err := c.Create(f.ctx, namespace); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "retail"}})
	f.create(&clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge"}})
	page := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge-1", Labels: map[string]string{clusterv1beta1.PlacementLabel: "edge"}}}
	f.create(page)
	page.Status.Decisions = []clusterv1beta1.ClusterDecision{{ClusterName: "one"}, {ClusterName: "two"}}
	if err := f.client.Status().Update(f.ctx, page); err != nil {
		t.Fatal(err)
	}
	set := &workv1alpha1.ManifestWorkReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shop"}}
	set.Spec.ManifestWorkTemplate.Workload.Manifests = serverManifests(t, "1")
	set.Spec.PlacementRefs = []workv1alpha1.LocalPlacementReference{{Name: "edge", RolloutStrategy: clusterv1alpha1.RolloutStrategy{
		Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{MaxConcurrency: intstr.FromInt32(1)},
	}}}
	set.Spec.CascadeDeletionPolicy = workv1alpha1.Foreground
	f.create(set)

	f.expectSet(set, workv1alpha1.ManifestWorkReplicaSetConditionManifestworkApplied, "Processing")
	if n := len(f.works("two")); n != 0 {
		t.Errorf("two has %d works before one is available", n)
	}
	f.serves("one", "1", true)
	f.serves("two", "1", true)
	f.expectSet(set, workv1alpha1.ManifestWorkReplicaSetConditionPlacementRolledOut, "Complete")

	set.Spec.ManifestWorkTemplate.Workload.Manifests = serverManifests(t, "2")
	if err := f.client.Patch(f.ctx, set, client.RawPatch(types.MergePatchType, encoded(t, map[string]any{"spec": map[string]any{"manifestWorkTemplate": set.Spec.ManifestWorkTemplate}}))); err != nil {
		t.Fatal(err)
	}
	f.serves("one", "2", false)
	f.eventually(func() string { return has("the rollout", f.setMessage(set), "the rollout is stopped: one failed") })
	f.serves("one", "2", true)
	f.serves("two", "2", true)
	f.expectSet(set, workv1alpha1.ManifestWorkReplicaSetConditionPlacementRolledOut, "Complete")

	if err := f.client.Delete(f.ctx, set); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() string {
		if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(set), set); err == nil {
			return "it is still there"
		}
		for _, name := range []string{"one", "two"} {
			if len(f.works(name)) > 0 || f.on(name, &appsv1.Deployment{}, "retail-web", "server") {
				return "its works or objects are still on " + name
			}
		}
		return ""
	})

	ttl := int64(1)
	job := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "once"}}
	job.Spec.Workload.Manifests = serverManifests(t, "3")
	job.Spec.ManifestConfigs = []workv1.ManifestConfigOption{{
		ResourceIdentifier: workv1.ResourceIdentifier{Group: "apps", Resource: "deployments", Namespace: "retail-web", Name: "server"},
		ConditionRules:     []workv1.ConditionRule{{Condition: workv1.ManifestComplete, Type: workv1.CelConditionExpressionsType, CelExpressions: []string{"true"}}},
	}}
	job.Spec.DeleteOption = &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan, TTLSecondsAfterFinished: &ttl}
	f.create(job)
	f.eventually(func() string {
		if n := len(f.works("one")); n > 0 {
			return "the work that is complete is still there"
		}
		return ""
	})
}

// serverManifests are a Deployment of a version.
func serverManifests(t *testing.T, version string) []workv1.Manifest {
	t.Helper()
	labels := map[string]string{"app": "server"}
	server := appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "retail-web", Name: "server"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "server", Image: "server:" + version}}}},
		},
	}
	return []workv1.Manifest{{RawExtension: runtime.RawExtension{Raw: encoded(t, server)}}}
}

func encoded(t *testing.T, o any) []byte {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// serves waits for a version of the Deployment on a cluster and then says what a controller would, which nothing runs here.
func (f *theFleet) serves(cluster, version string, well bool) {
	f.t.Helper()
	f.deployed(cluster, "retail-web", "server:"+version, well)
}

// deployed is serves for any namespace and image.
func (f *theFleet) deployed(cluster, namespace, image string, well bool) {
	f.t.Helper()
	c, err := client.New(f.spokes[cluster].Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.eventually(func() string {
		var d appsv1.Deployment
		if err := c.Get(f.ctx, types.NamespacedName{Namespace: namespace, Name: "server"}, &d); err != nil {
			return err.Error()
		}
		if has := d.Spec.Template.Spec.Containers[0].Image; has != image {
			return fmt.Sprintf("%s has %s, want %s", cluster, has, image)
		}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
		if !well {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", LastUpdateTime: metav1.NewTime(time.Now())}}
		}
		if err := c.Status().Update(f.ctx, &d); err != nil {
			return err.Error()
		}
		return ""
	})
}

// expectSet waits for the reason of a condition.
func (f *theFleet) expectSet(set *workv1alpha1.ManifestWorkReplicaSet, kind, reason string) {
	f.t.Helper()
	f.eventually(func() string {
		var now workv1alpha1.ManifestWorkReplicaSet
		if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(set), &now); err != nil {
			return err.Error()
		}
		c := meta.FindStatusCondition(now.Status.Conditions, kind)
		if c == nil || c.Reason != reason {
			return fmt.Sprintf("%s is not %s: %+v", kind, reason, now.Status)
		}
		return ""
	})
}

// setMessage says how far the rollout is.
func (f *theFleet) setMessage(set *workv1alpha1.ManifestWorkReplicaSet) string {
	f.t.Helper()
	var now workv1alpha1.ManifestWorkReplicaSet
	if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(set), &now); err != nil {
		f.t.Fatal(err)
	}
	c := meta.FindStatusCondition(now.Status.Conditions, workv1alpha1.ManifestWorkReplicaSetConditionPlacementRolledOut)
	if c == nil {
		return ""
	}
	return c.Message
}
