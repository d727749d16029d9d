package addon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/rollout"
)

// world is an add-on with a template over clusters that apply what they get, or do not.
type world struct {
	cma        *addonv1alpha1.ClusterManagementAddOn
	have       []addonv1alpha1.ManagedClusterAddOn
	placements []chosen
	hash       string
	works      map[string]fleet.LiveWork
	fails      map[string]bool
	now        time.Time
}

// newWorld has the add-on on clusters c00 to c19, in decision groups of five.
func newWorld(strategy clusterv1alpha1.RolloutStrategy) *world {
	w := &world{cma: &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "mirror"}}, hash: "1", works: map[string]fleet.LiveWork{}, fails: map[string]bool{}}
	w.now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	w.cma.Spec.SupportedConfigs = []addonv1alpha1.ConfigMeta{{ConfigGroupResource: addon.Template, DefaultConfig: &addonv1alpha1.ConfigReferent{Name: "t"}}}
	p := chosen{complete: true, strategy: addonv1alpha1.PlacementStrategy{PlacementRef: addonv1alpha1.PlacementRef{Namespace: "n", Name: "p"}, RolloutStrategy: strategy}}
	for i := range 20 {
		name := fmt.Sprintf("c%02d", i)
		if i%5 == 0 {
			p.groups = append(p.groups, placement.Group{Name: fmt.Sprint("g", i/5), Index: i / 5})
		}
		g := &p.groups[i/5]
		g.Clusters = append(g.Clusters, name)
		w.have = append(w.have, addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "mirror"}})
	}
	w.placements = []chosen{p}
	return w
}

func (w *world) read(c addonv1alpha1.AddOnConfig) found {
	if c.Name == "missing" {
		return found{err: errors.New("configuration missing: not found")}
	}
	return found{hash: w.hash + c.Name}
}

// step decides once, and lets the clusters do what they are told. It returns the clusters that changed.
func (w *world) step(t *testing.T) []string {
	t.Helper()
	before := map[string]string{}
	for i := range w.have {
		before[w.have[i].Namespace] = addon.ConfigHashes(w.have[i].Status.ConfigReferences)
	}
	out, err := decide(w.cma, w.have, w.placements, func(owner fleet.Owner) []fleet.LiveWork {
		var works []fleet.LiveWork
		for _, lw := range w.works {
			if lw.Owner == owner {
				works = append(works, lw)
			}
		}
		return works
	}, w.read, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.cma.Status = out.status
	var changed []string
	for i, after := range out.addons {
		if after == nil {
			continue
		}
		w.have[i] = *after
		name, hashes := after.Namespace, addon.ConfigHashes(after.Status.ConfigReferences)
		if hashes == before[name] {
			continue
		}
		changed = append(changed, name)
		lw := fleet.LiveWork{Cluster: name, Name: "addon-mirror-deploy-0", Owner: fleet.AddonOwner(name, "mirror"), Configs: hashes, Generation: 1, WrittenAt: w.now}
		lw.Status.Conditions = fleet.WorkConditions{Applied: fleet.ConditionAt(!w.fails[name], true), Available: fleet.ConditionAt(true, true)}
		w.works[name] = lw
		w.says(i, addonv1alpha1.ConditionManifestApplied)
	}
	w.now = w.now.Add(time.Minute)
	return changed
}

// says gives an add-on a condition that is True.
func (w *world) says(i int, kind string) {
	meta.SetStatusCondition(&w.have[i].Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: addonv1alpha1.ReasonAddonManifestApplied})
}

func condition(conditions []metav1.Condition, kind string) string {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason + ": " + c.Message
}

// TestRollout: each strategy over twenty clusters, at the installation and at an upgrade.
func TestRollout(t *testing.T) {
	for name, c := range map[string]struct {
		strategy clusterv1alpha1.RolloutStrategy
		want     []int // how many clusters change in each step
	}{
		"all": {clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All}, []int{20}},
		"progressive": {clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{
			MaxConcurrency: intstr.FromString("40%"),
		}}, []int{8, 8, 4}},
		"mandatory first": {clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{
			MandatoryDecisionGroups: clusterv1alpha1.MandatoryDecisionGroups{MandatoryDecisionGroups: []clusterv1alpha1.MandatoryDecisionGroup{{GroupName: "g2"}}},
			MaxConcurrency:          intstr.FromInt32(10),
		}}, []int{5, 10, 5}},
		"per group": {clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.ProgressivePerGroup, ProgressivePerGroup: &clusterv1alpha1.RolloutProgressivePerGroup{}}, []int{5, 5, 5, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(c.strategy)
			for _, hash := range []string{"1", "2"} {
				w.hash = hash
				var got []int
				for range 10 {
					if n := len(w.step(t)); n > 0 {
						got = append(got, n)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("configuration %s: %v clusters changed in each step, want %v", hash, got, c.want)
				}
				progress := w.cma.Status.InstallProgressions[0]
				if says := condition(progress.Conditions, addonv1alpha1.ConditionProgressing); says != "False Completed: 20/20 completed with no errors, 0 failed 0 timeout." {
					t.Errorf("configuration %s: the placement says %q", hash, says)
				}
				if good := progress.ConfigReferences[0].LastKnownGoodConfig; good == nil || good.SpecHash != hash+"t" {
					t.Errorf("configuration %s: the last known good is %v", hash, good)
				}
				for i := range w.have {
					ref := w.have[i].Status.ConfigReferences[0]
					if ref.DesiredConfig.SpecHash != hash+"t" || ref.LastAppliedConfig == nil || *ref.LastAppliedConfig != *ref.DesiredConfig || ref.Name != "t" {
						t.Fatalf("configuration %s: %s has %+v", hash, w.have[i].Namespace, ref)
					}
				}
			}
		})
	}
}

// TestRolloutStops: a cluster that fails keeps the others from changing.
func TestRolloutStops(t *testing.T) {
	w := newWorld(clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{MaxConcurrency: intstr.FromInt32(2)}})
	w.fails["c01"] = true
	changed := 0
	for range 5 {
		changed += len(w.step(t))
	}
	if changed != 2 {
		t.Errorf("%d clusters changed although one of the first two failed", changed)
	}
	if says := condition(w.cma.Status.InstallProgressions[0].Conditions, addonv1alpha1.ConditionProgressing); !strings.Contains(says, "1 failed") {
		t.Errorf("the placement says %q", says)
	}
	if says := condition(w.have[1].Status.Conditions, addonv1alpha1.ConditionProgressing); !strings.HasPrefix(says, "False Failed: installing failed") {
		t.Errorf("c01 says %q", says)
	}
}

// TestConfigurationFaults: what is missing or not supported keeps what is there.
func TestConfigurationFaults(t *testing.T) {
	w := newWorld(clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All})
	w.step(t)
	w.step(t)
	config := func(kind addonv1alpha1.ConfigGroupResource, name string) []addonv1alpha1.AddOnConfig {
		return []addonv1alpha1.AddOnConfig{{ConfigGroupResource: kind, ConfigReferent: addonv1alpha1.ConfigReferent{Name: name}}}
	}
	w.have[0].Spec.Configs = config(addon.Template, "missing")
	w.have[1].Spec.Configs = config(addonv1alpha1.ConfigGroupResource{Resource: "configmaps"}, "x")
	if changed := w.step(t); len(changed) > 0 {
		t.Errorf("%v changed", changed)
	}
	if says := condition(w.have[0].Status.Conditions, addonv1alpha1.ConditionConfigured); !strings.HasPrefix(says, "False ConfigurationsNotConfigured: configuration missing") {
		t.Errorf("a missing configuration: %q", says)
	}
	if ref := w.have[0].Status.ConfigReferences; len(ref) != 1 || ref[0].DesiredConfig.Name != "t" {
		t.Errorf("a missing configuration: %+v", ref)
	}
	if says := condition(w.have[1].Status.Conditions, addonv1alpha1.ConditionProgressing); !strings.HasPrefix(says, "False ConfigurationUnsupported: Configuration configmaps.") {
		t.Errorf("an unsupported configuration: %q", says)
	}
}

// TestLaterPlacementOverrides: a cluster of two placements belongs to the later one.
func TestLaterPlacementOverrides(t *testing.T) {
	w := newWorld(clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All})
	later := chosen{complete: true, strategy: w.placements[0].strategy, groups: []placement.Group{{Clusters: []string{"c03"}}}}
	later.strategy.Name = "later"
	later.strategy.Configs = []addonv1alpha1.AddOnConfig{{ConfigGroupResource: addon.Template, ConfigReferent: addonv1alpha1.ConfigReferent{Name: "special"}}}
	w.placements = append(w.placements, later)
	w.step(t)
	for _, i := range []int{2, 3} {
		want := map[int]string{2: "t", 3: "special"}[i]
		if got := w.have[i].Status.ConfigReferences[0].DesiredConfig.Name; got != want {
			t.Errorf("c%02d has template %s, want %s", i, got, want)
		}
	}
	if targets := targets(w.placements, belongs(w.placements), map[string]*onCluster{}); len(targets[1].Groups[0].Clusters) != 1 || slices.ContainsFunc(targets[0].Groups[0].Clusters, func(c rollout.Cluster) bool { return c.Name == "c03" }) {
		t.Error("c03 does not belong to the later placement alone")
	}
}

// TestHostedProgress: the works on the hosting cluster count, and a hosting cluster that there is not keeps the add-on from being complete.
func TestHostedProgress(t *testing.T) {
	w := newWorld(clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All})
	w.step(t)
	hosted := w.works["c00"]
	hosted.Cluster, hosted.Name, hosted.Configs = "infra", "addon-mirror-deploy-hosting-c00-0", "{}"
	w.works["infra"] = hosted
	meta.SetStatusCondition(&w.have[1].Status.Conditions, metav1.Condition{
		Type: addonv1alpha1.ConditionHostingClusterValidity, Status: metav1.ConditionFalse, Reason: addonv1alpha1.ReasonHostingClusterInvalid,
	})
	w.step(t)
	for i, want := range []string{"True Progressing", "True Progressing", "False Completed"} {
		if says := condition(w.have[i].Status.Conditions, addonv1alpha1.ConditionProgressing); !strings.HasPrefix(says, want) {
			t.Errorf("c%02d says %q, want %q", i, says, want)
		}
	}
	hosted.Configs = w.works["c00"].Configs
	w.works["infra"] = hosted
	w.step(t)
	if says := condition(w.have[0].Status.Conditions, addonv1alpha1.ConditionProgressing); !strings.HasPrefix(says, "False Completed") {
		t.Errorf("c00 says %q when its work on the hosting cluster has the configuration", says)
	}
}

// TestWaitingForManifests: an add-on whose manifests nobody has called applied yet is not complete, nor is one in hosted mode while nobody
// has said so of those on the hosting cluster.
func TestWaitingForManifests(t *testing.T) {
	w := newWorld(clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All})
	w.have[0].Annotations = map[string]string{addonv1alpha1.HostingClusterAnnotation: "infra"}
	progress := func(i int, want string) {
		t.Helper()
		w.step(t)
		if says := condition(w.have[i].Status.Conditions, addonv1alpha1.ConditionProgressing); !strings.HasPrefix(says, want) {
			t.Errorf("c%02d says %q, want %q", i, says, want)
		}
	}
	progress(0, "False WaitingForManifestApplied: Waiting for ManagedClusterAddOn ManifestApplied condition")
	progress(0, "False WaitingForHostingManifestApplied: Waiting for ManagedClusterAddOn HostingManifestApplied condition")
	progress(1, "False Completed")
	progress(0, "False WaitingForHostingManifestApplied")
	w.says(0, addonv1alpha1.ConditionHostingManifestApplied)
	progress(0, "False Completed")
}

// TestWriteStale: a status that somebody else wrote in between is looked at again.
func TestWriteStale(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := addonv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mca := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "mirror"}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(mca).WithStatusSubresource(mca).WithInterceptorFuncs(interceptor.Funcs{
		SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
			return apierrors.NewConflict(schema.GroupResource{}, "mirror", nil)
		},
	}).Build()
	after := mca.DeepCopy()
	after.Status.Namespace = "elsewhere"
	stale, err := (&Configurations{Client: c}).write(t.Context(), []addonv1alpha1.ManagedClusterAddOn{*mca}, &decided{addons: []*addonv1alpha1.ManagedClusterAddOn{after}})
	if !stale || err != nil {
		t.Errorf("stale is %v, the error %v", stale, err)
	}
}

// TestHashes: a configuration is hashed once for each of its generations.
func TestHashes(t *testing.T) {
	var h hashes
	config := &addonv1alpha1.AddOnDeploymentConfig{ObjectMeta: metav1.ObjectMeta{UID: "u", Generation: 1}}
	of := func() string {
		t.Helper()
		hash, err := h.of(config)
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	first := of()
	config.Spec.AgentInstallNamespace = "elsewhere"
	if of() != first {
		t.Error("the same generation is hashed again")
	}
	if config.Generation = 2; of() == first {
		t.Error("another generation has the hash of the first")
	}
}
