package work_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// applyNoise is how far two equal runs may lie apart on a machine that has other work to do.
const applyNoise = 0.15

// BenchmarkApply applies 250 ConfigMaps and 250 Deployments, which are on the hub in four works, from the agent's start until
// it has recorded on the cluster that all are applied; and the same objects with kubectl apply --server-side. The two take
// turns at being the first, and the fastest round of each counts. The metric "of-kubectl" is the agent's time in parts of
// kubectl's: below 1 the agent is faster. "of-kubectl-reported" is until the hub knows, which kubectl tells nobody.
func BenchmarkApply(b *testing.B) { benchmarkApply(b, 4) }

// BenchmarkApplyMany does so with 2,000 objects in 16 works.
func BenchmarkApplyMany(b *testing.B) { benchmarkApply(b, 16) }

// benchmarkApply applies so many works of 125 objects.
func benchmarkApply(b *testing.B, parts int) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		b.Fatal("there is no kubectl to compare with: make bench builds it")
	}
	cluster := test1(b)
	newSite(b, cluster).applyWithAgent(parts) // the API server has seen both kinds then
	var applied, reported, other []time.Duration
	for b.Loop() {
		for round := range 3 {
			turns := []func(){
				func() {
					a, r := newSite(b, cluster).applyWithAgent(parts)
					applied, reported = append(applied, a), append(reported, r)
				},
				func() {
					other = append(other, newSite(b, cluster).applyWithKubectl(kubectl, cluster.KubeconfigPath(), parts))
				},
			}
			turns[round%2]()
			turns[1-round%2]()
		}
	}
	agent, told, floor := slices.Min(applied), slices.Min(reported), slices.Min(other)
	ratio := float64(agent) / float64(floor)
	b.ReportMetric(ratio, "of-kubectl")
	b.ReportMetric(float64(told)/float64(floor), "of-kubectl-reported")
	b.Logf("apply of %d objects: %v, %v until the hub knows; ratio %.2f (at most 1, give or take the noise) to the floor: kubectl apply --server-side, %v",
		parts*quarter, agent.Round(time.Millisecond), told.Round(time.Millisecond), ratio, floor.Round(time.Millisecond))
	if ratio > 1+applyNoise {
		b.Errorf("the agent takes %.2f of the time that kubectl takes", ratio)
	}
}

// applyWithAgent gives the times until everything is recorded as applied on the cluster, and until the hub knows.
func (s *site) applyWithAgent(parts int) (applied, reported time.Duration) {
	s.Helper()
	records, works := map[string]bool{}, map[string]bool{}
	for part := range parts {
		name := fmt.Sprint("part-", part)
		s.put(name, s.load(part), serverSide(false), mode("Correct"))
		records[name], works[name] = true, true
	}
	onCluster := s.events(s.spoke, &workv1.AppliedManifestWorkList{})
	onHub := s.events(s.hub, &workv1.ManifestWorkList{}, client.InNamespace(s.namespace))
	began := time.Now()
	s.start()
	defer s.stop()
	for len(records)+len(works) > 0 {
		select {
		case e := <-onCluster:
			r, ok := e.Object.(*workv1.AppliedManifestWork)
			if ok && r.Spec.HubHash == s.agent.HubHash && allApplied(r) {
				delete(records, r.Spec.ManifestWorkName)
			}
			if len(records) == 0 && applied == 0 {
				applied = time.Since(began)
			}
		case e := <-onHub:
			if w, ok := e.Object.(*workv1.ManifestWork); ok && meta.IsStatusConditionTrue(w.Status.Conditions, workv1.WorkApplied) {
				delete(works, w.Name)
			}
		case <-time.After(patience):
			s.Fatalf("%d works are not applied, %d not reported, and nothing has happened for %s", len(records), len(works), patience)
		}
	}
	return applied, time.Since(began)
}

// allApplied says that the record of a quarter holds what the API server made of each object.
func allApplied(r *workv1.AppliedManifestWork) bool {
	done := 0
	for _, resource := range r.Status.AppliedResources {
		if resource.UID != "" {
			done++
		}
	}
	return done == quarter
}

func (s *site) events(c client.Client, list client.ObjectList, options ...client.ListOption) <-chan watch.Event {
	s.Helper()
	watching, ok := c.(client.WithWatch)
	if !ok {
		s.Fatal("the client cannot watch")
	}
	w, err := watching.Watch(context.Background(), list, options...)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(w.Stop)
	return w.ResultChan()
}

func (s *site) applyWithKubectl(kubectl, kubeconfig string, parts int) time.Duration {
	s.Helper()
	var file bytes.Buffer
	for part := range parts {
		for _, o := range s.load(part) {
			raw, err := yaml.Marshal(o)
			if err != nil {
				s.Fatal(err)
			}
			fmt.Fprintf(&file, "---\n%s", raw)
		}
	}
	command := exec.Command(kubectl, "--kubeconfig", kubeconfig, "apply", "--server-side", "--field-manager", manager, "-f", "-")
	command.Stdin = &file
	began := time.Now()
	if out, err := command.CombinedOutput(); err != nil {
		s.Fatalf("kubectl: %v: %s", err, out)
	}
	return time.Since(began)
}

// quarter is how many objects each work has: a quarter of the 500.
const quarter = 125

// load is a quarter of the objects.
func (s *site) load(part int) objects {
	var all objects
	for i := range quarter {
		name := fmt.Sprintf("o-%d-%03d", part, i)
		if i%2 == part%2 {
			all = append(all, s.configMap(name, map[string]any{"k": name}))
		} else {
			all = append(all, s.deployment(name, 0))
		}
	}
	return all
}

// The drift bench: so many works of so many objects, half of them in each mode, and so many edits in each.
const (
	driftWorks   = 100
	driftObjects = 10
	driftEdits   = 200
)

// BenchmarkDrift is the time from an edit of one of 1,000 objects to its report on the hub, where drift is reported, and to its
// correction on the cluster, where it is corrected.
func BenchmarkDrift(b *testing.B) {
	s := newSite(b, test1(b))
	parts := make([]objects, driftWorks)
	for i := range parts {
		for j := range driftObjects {
			parts[i] = append(parts[i], s.configMap(fmt.Sprintf("o-%d-%d", i, j), map[string]any{"k": "1"}))
		}
		s.put(fmt.Sprint("part-", i), parts[i], serverSide(false), mode([]string{"Report", "Correct"}[i%2]))
	}
	s.start()
	for i := range parts {
		s.expectApplied(fmt.Sprint("part-", i))
	}
	onHub := s.events(s.hub, &workv1.ManifestWorkList{}, client.InNamespace(s.namespace))
	onCluster := s.events(s.spoke, &corev1.ConfigMapList{}, client.InNamespace(s.target))
	var reported, corrected []time.Duration
	for b.Loop() {
		for i := range driftEdits {
			part, j := i*2%driftWorks, i%driftObjects
			name, value, began := fmt.Sprint("part-", part), fmt.Sprint("edit-", i), time.Now()
			s.edit(parts[part][j], value, "data", "k")
			s.await(onHub, name, func(o runtime.Object) bool {
				w, ok := o.(*workv1.ManifestWork)
				if !ok {
					return false
				}
				d := condition(w, j, "Drift")
				return d != nil && strings.Contains(d.Message, value+`"`)
			})
			reported = append(reported, time.Since(began))
			s.edit(parts[part][j], "1", "data", "k")
			s.await(onHub, name, func(o runtime.Object) bool { // what goes on drifting may wait for the status interval
				w, ok := o.(*workv1.ManifestWork)
				return ok && meta.IsStatusConditionFalse(w.Status.ResourceStatus.Manifests[j].Conditions, "Drift")
			})

			part++
			began = time.Now()
			s.edit(parts[part][j], value, "data", "k")
			edited := false
			s.await(onCluster, fmt.Sprintf("o-%d-%d", part, j), func(o runtime.Object) bool {
				c, ok := o.(*corev1.ConfigMap)
				edited = edited || ok && c.Data["k"] == value
				return edited && ok && c.Data["k"] == "1"
			})
			corrected = append(corrected, time.Since(began))
		}
	}
	report(b, "reported on the hub", "reported", reported)
	report(b, "corrected on the cluster", "corrected", corrected)
}

// BenchmarkStatusTraffic is how often the agent writes to the hub while a Deployment of 40 replicas becomes ready, a replica every
// tenth of a second, with the interval for status that agents have.
func BenchmarkStatusTraffic(b *testing.B) {
	const replicas = 40
	s := newSite(b, test1(b))
	s.agent.StatusInterval = 0 // the agent's own
	web := s.deployment("web", replicas)
	s.put("web", objects{web}, serverSide(false), config(func(c *workv1.ManifestConfigOption) {
		c.FeedbackRules = []workv1.FeedbackRule{{Type: workv1.WellKnownStatusType}}
	}))
	s.start()
	s.expectApplied("web")
	onHub := s.events(s.hub, &workv1.ManifestWorkList{}, client.InNamespace(s.namespace))
	writes := 0
	for b.Loop() {
		for ready := range int64(replicas + 1) {
			s.eventually("status", func() error {
				live := s.live(web)
				counts := map[string]any{"observedGeneration": live.GetGeneration(), "replicas": int64(replicas), "updatedReplicas": int64(replicas),
					"readyReplicas": ready, "availableReplicas": ready, "unavailableReplicas": replicas - ready}
				if err := unstructured.SetNestedField(live.Object, counts, "status"); err != nil {
					s.Fatal(err)
				}
				return s.spoke.Status().Update(context.Background(), live)
			})
			time.Sleep(100 * time.Millisecond) // the pace of the rollout that is measured
		}
		s.await(onHub, "web", func(o runtime.Object) bool {
			w, ok := o.(*workv1.ManifestWork)
			writes++
			return ok && len(w.Status.ResourceStatus.Manifests) > 0 && slices.ContainsFunc(w.Status.ResourceStatus.Manifests[0].StatusFeedbacks.Values, func(v workv1.FeedbackValue) bool {
				return v.Name == "ReadyReplicas" && v.Value.Integer != nil && *v.Value.Integer == replicas
			})
		})
	}
	b.Logf("%d changes of a Deployment's status were %d writes to the hub", replicas+1, writes)
	b.ReportMetric(float64(writes), "hub-writes")
}

// await takes events of an object until one is as wanted.
func (s *site) await(events <-chan watch.Event, name string, wanted func(runtime.Object) bool) {
	s.Helper()
	for {
		select {
		case e := <-events:
			if o, err := meta.Accessor(e.Object); err == nil && o.GetName() == name && wanted(e.Object) {
				return
			}
		case <-time.After(patience):
			s.Fatalf("%s does not become as wanted", name)
		}
	}
}

func report(b *testing.B, what, unit string, took []time.Duration) {
	slices.Sort(took)
	b.Logf("drift of %d edits until it is %s: p50 %v, p99 %v",
		len(took), what, took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond))
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), unit+"-p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), unit+"-p99-ms")
}
