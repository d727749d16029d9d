package work_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// BenchmarkDrift is the time from an edit to its report on the hub.
func BenchmarkDrift(b *testing.B) {
	s := newSite(b, test1(b))
	s.start()
	c := s.configMap("c", map[string]any{"k": "1"})
	s.put("web", objects{c}, serverSide(false), mode("Report"))
	s.expectApplied("web")
	events := s.watchWork("web")
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		value := fmt.Sprint("edit-", i)
		s.edit(c, value, "data", "k")
		for w := range events {
			if d := condition(w, 0, "Drift"); d != nil && bytes.Contains([]byte(d.Message), []byte(value+`"`)) {
				break
			}
		}
		took = append(took, time.Since(began))
		s.edit(c, "1", "data", "k")
		for w := range events { // what goes on drifting may wait for the status interval
			if d := condition(w, 0, "Drift"); d != nil && d.Status == metav1.ConditionFalse {
				break
			}
		}
	}
	report(b, took)
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.Logf("drift of %d edits until the work's status says so: p50 %v, p99 %v",
		len(took), took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond))
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
}
