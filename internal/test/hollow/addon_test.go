package hollow_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/test/archive"
	"github.com/muster-io/muster/internal/test/hollow"
)

const (
	// addOns is how many add-ons each cluster has.
	addOns = 5
	// maxAddOnRatio is what add-ons may take, in parts of what a bare client takes.
	maxAddOnRatio = 1.5
)

// BenchmarkAddOns is 5 add-ons with templates on CLUSTERS (1,000) hollow clusters: the time in which they are installed, and in which a
// line of all templates is changed, until the works are answered and each ClusterManagementAddOn counts them all. The floor is a bare client
// that writes the same objects as often as it has to: the add-on, what it is to have, its work, and, when that is answered, what it has.
func BenchmarkAddOns(tb *testing.B) {
	clusters := size(tb, "CLUSTERS", 1000)
	b := newBench(tb, clusters, archive.Retail)
	for _, add := range []func(*runtime.Scheme) error{clusterv1beta1.AddToScheme, addonv1alpha1.AddToScheme} {
		must(tb, add(b.client.Scheme()))
	}
	must(b, b.clusters.CreateNamespaces(b.ctx))
	must(b, b.clusters.Create(b.ctx))
	b.choose(clusters)
	b.startControllers("addon-install,addon-configuration,addon-deploy")
	defer b.inBackground(b.clusters.Answer)()

	b.profile("profile", "addons-install.pprof", 30)
	began := time.Now()
	for i := range addOns {
		must(b, b.client.Create(b.ctx, b.addOnTemplate(i, "line-0")))
		must(b, b.client.Create(b.ctx, benchAddOn(i)))
	}
	b.waitForAddOns(clusters, b.addOnTemplate(0, "line-0"))
	install := time.Since(began)
	var upgrades []time.Duration
	for round := range rounds {
		line := fmt.Sprintf("line-%d", round+1)
		b.profile("profile", fmt.Sprintf("addons-upgrade-%d.pprof", round), 20)
		began := time.Now()
		for i := range addOns {
			template := &addonv1alpha1.AddOnTemplate{}
			must(b, b.client.Get(b.ctx, client.ObjectKey{Name: addOnName(i)}, template))
			template.Spec = b.addOnTemplate(i, line).Spec
			must(b, b.client.Update(b.ctx, template))
		}
		b.waitForAddOns(clusters, b.addOnTemplate(0, line))
		upgrades = append(upgrades, time.Since(began))
	}
	b.profile("heap", "addons-heap.pprof", 0)
	running, peak, err := b.hub.Memory()
	must(b, err)
	b.stopHub()

	ctx, cancel := context.WithCancel(b.ctx)
	bare := b.newBareAddOns(ctx, clusters)
	bareInstall := bare.write("line-0", true)
	var bareUpgrades []time.Duration
	for round := range rounds {
		bareUpgrades = append(bareUpgrades, bare.write(fmt.Sprintf("line-%d", round+1), false))
	}
	cancel()
	installs, changes := float64(install)/float64(bareInstall), float64(median(upgrades))/float64(median(bareUpgrades))
	tb.ReportMetric(installs, "x-bare-install")
	tb.ReportMetric(changes, "x-bare-upgrade")
	tb.ReportMetric(float64(mib(running)), "MiB")
	tb.ReportMetric(float64(mib(peak)), "peak-MiB")
	tb.ReportMetric(0, "ns/op")
	b.say("%d add-ons on %d clusters: installed in %v, by a bare client in %v: ratio %.2f; upgraded in %v, by a bare client in %v: ratio %.2f (at most %.2f); rounds %v and %v; the hub holds %d MiB, at most %d MiB",
		addOns, clusters, install.Round(time.Millisecond), bareInstall.Round(time.Millisecond), installs,
		median(upgrades).Round(time.Millisecond), median(bareUpgrades).Round(time.Millisecond), changes, maxAddOnRatio, upgrades, bareUpgrades, mib(running), mib(peak))
	if installs > maxAddOnRatio || changes > maxAddOnRatio {
		tb.Errorf("it takes %.2f and %.2f times as long as a bare client", installs, changes)
	}
}

func addOnName(i int) string { return fmt.Sprintf("addon-%d", i) }

func benchAddOn(i int) *addonv1alpha1.ClusterManagementAddOn {
	cma := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: addOnName(i)}}
	cma.Spec.SupportedConfigs = []addonv1alpha1.ConfigMeta{{ConfigGroupResource: addon.Template, DefaultConfig: &addonv1alpha1.ConfigReferent{Name: addOnName(i)}}}
	cma.Spec.InstallStrategy = addonv1alpha1.InstallStrategy{
		Type: addonv1alpha1.InstallPlacements, Placements: []addonv1alpha1.PlacementStrategy{{PlacementRef: addonv1alpha1.PlacementRef{Namespace: "retail", Name: "all"}}},
	}
	return cma
}

// addOnTemplate is a template of the size of a work.
func (b *bench) addOnTemplate(i int, line string) *addonv1alpha1.AddOnTemplate {
	b.Helper()
	template := &addonv1alpha1.AddOnTemplate{ObjectMeta: metav1.ObjectMeta{Name: addOnName(i)}}
	template.Spec.AddonName = addOnName(i)
	template.Spec.AgentSpec.Workload.Manifests = b.template(line + " of {{CLUSTER_NAME}}")
	return template
}

// waitForAddOns waits until all add-ons say that all clusters have their template as it is now.
func (b *bench) waitForAddOns(clusters int, first *addonv1alpha1.AddOnTemplate) {
	b.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(first)
	must(b, err)
	hash, err := addon.SpecHash(object)
	must(b, err)
	want := fmt.Sprintf("%d/%d completed with no errors", clusters, clusters)
	b.wait(50*time.Millisecond, func() string {
		var list addonv1alpha1.ClusterManagementAddOnList
		must(b, b.client.List(b.ctx, &list))
		for i := range list.Items {
			cma := &list.Items[i]
			done := false
			for _, p := range cma.Status.InstallProgressions {
				c := meta.FindStatusCondition(p.Conditions, addonv1alpha1.ConditionProgressing)
				applied := len(p.ConfigReferences) == 1 && p.ConfigReferences[0].LastAppliedConfig != nil &&
					(cma.Name != first.Name || p.ConfigReferences[0].LastAppliedConfig.SpecHash == hash) &&
					p.ConfigReferences[0].LastAppliedConfig.SpecHash == p.ConfigReferences[0].DesiredConfig.SpecHash
				done = done || applied && c != nil && len(c.Message) >= len(want) && c.Message[:len(want)] == want
			}
			if !done {
				return fmt.Sprintf("add-on %s says %+v", cma.Name, cma.Status)
			}
		}
		if len(list.Items) < addOns {
			return "not all add-ons are there"
		}
		return ""
	})
}

// bareAddOns writes add-ons with nothing in between.
type bareAddOns struct {
	b        *bench
	clusters int

	mu       sync.Mutex
	wanted   map[types.NamespacedName]int64 // the generation of the works that are written and not answered
	answered map[types.NamespacedName]int64
	ready    chan types.NamespacedName
}

// bareName is beside the hub's add-ons: the API server keeps those.
func bareName(i int) string { return fmt.Sprintf("bare-%d", i) }

func (b *bench) newBareAddOns(ctx context.Context, clusters int) *bareAddOns {
	b.Helper()
	a := &bareAddOns{
		b: b, clusters: clusters, wanted: map[types.NamespacedName]int64{}, answered: map[types.NamespacedName]int64{}, ready: make(chan types.NamespacedName, clusters*addOns),
	}
	b.followWorks(ctx, a.note)
	return a
}

func (a *bareAddOns) note(w *workv1.ManifestWork) {
	if isAnswered(w) {
		a.settle(client.ObjectKeyFromObject(w), w.Generation, a.answered)
	}
}

// settle notes a generation that is written, or answered; a work of which both are the same is ready.
func (a *bareAddOns) settle(key types.NamespacedName, generation int64, in map[types.NamespacedName]int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if in[key] == generation {
		return
	}
	in[key] = generation
	if a.wanted[key] > 0 && a.wanted[key] == a.answered[key] {
		a.ready <- key
		delete(a.wanted, key)
	}
}

// write installs or upgrades all add-ons on all clusters, and returns when all say that they have the template.
func (a *bareAddOns) write(line string, install bool) time.Duration {
	a.b.Helper()
	began := time.Now()
	var first, second errgroup.Group
	first.SetLimit(writers)
	second.SetLimit(writers + 1) // and the one that waits for answers
	second.Go(func() error {
		for range a.clusters * addOns {
			key := <-a.ready
			second.Go(func() error { return a.say(key.Namespace, key.Name, line, true) })
		}
		return nil
	})
	for i := range addOns {
		for n := range a.clusters {
			first.Go(func() error { return a.one(hollow.Name(n), i, line, install) })
		}
	}
	must(a.b, first.Wait())
	must(a.b, second.Wait())
	return time.Since(began)
}

func (a *bareAddOns) one(cluster string, i int, line string, install bool) error {
	ctx, c, name := a.b.ctx, a.b.client, bareName(i)
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: name, Labels: map[string]string{"bare": name}}}
	w.Spec.Workload.Manifests = a.b.template(line + " of " + cluster)
	if install {
		if err := c.Create(ctx, &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: name}}); err != nil {
			return err
		}
	}
	if err := a.say(cluster, name, line, false); err != nil {
		return err
	}
	if install {
		if err := c.Create(ctx, w); err != nil {
			return err
		}
	} else {
		patch, err := client.MergeFrom(&workv1.ManifestWork{}).Data(&workv1.ManifestWork{Spec: w.Spec})
		if err != nil {
			return err
		}
		if err := c.Patch(ctx, w, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return err
		}
	}
	a.settle(client.ObjectKeyFromObject(w), w.Generation, a.wanted)
	return nil
}

// say writes what an add-on is to have, or has, as the hub does.
func (a *bareAddOns) say(cluster, name, line string, done bool) error {
	mca := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: name}}
	hash := &addonv1alpha1.ConfigSpecHash{ConfigReferent: addonv1alpha1.ConfigReferent{Name: name}, SpecHash: line}
	reference := addonv1alpha1.ConfigReference{ConfigGroupResource: addon.Template, ConfigReferent: hash.ConfigReferent, DesiredConfig: hash}
	set := func(kind string, value metav1.ConditionStatus, reason string) {
		meta.SetStatusCondition(&mca.Status.Conditions, metav1.Condition{Type: kind, Status: value, Reason: reason, Message: "a bare client says so"})
	}
	set(addonv1alpha1.ConditionConfigured, metav1.ConditionTrue, addonv1alpha1.ReasonConfigurationsConfigured)
	set(addonv1alpha1.ConditionProgressing, metav1.ConditionTrue, addonv1alpha1.ReasonProgressing)
	if done {
		reference.LastAppliedConfig = hash
		set(addonv1alpha1.ConditionProgressing, metav1.ConditionFalse, addonv1alpha1.ReasonCompleted)
		set(addonv1alpha1.ConditionManifestApplied, metav1.ConditionTrue, addonv1alpha1.ReasonAddonManifestApplied)
		set(addonv1alpha1.ConditionAvailable, metav1.ConditionTrue, addonv1alpha1.ReasonProbeAvailable)
	}
	mca.Status.ConfigReferences = []addonv1alpha1.ConfigReference{reference}
	patch, err := client.MergeFrom(&addonv1alpha1.ManagedClusterAddOn{}).Data(&addonv1alpha1.ManagedClusterAddOn{Status: mca.Status})
	if err != nil {
		return err
	}
	return a.b.client.Status().Patch(a.b.ctx, mca, client.RawPatch(types.MergePatchType, patch))
}
