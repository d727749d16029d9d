package work_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/internal/test"
)

// BenchmarkApply applies 250 ConfigMaps and 250 Deployments in four works, from the works' creation to the last one's
// report, and the same objects with kubectl apply --server-side. The metric "of-kubectl" is the agent's time in parts of
// kubectl's: below 1 the agent is faster.
func BenchmarkApply(b *testing.B) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		b.Fatal("there is no kubectl to compare with: make bench builds it where there is none")
	}
	cluster := test1(b)
	var agent, other time.Duration
	for b.Loop() {
		s := newSite(b, cluster)
		s.start()
		s.put("warm", objects{s.configMap("warm", nil)}, serverSide(false), mode("Correct"))
		s.expectApplied("warm")
		began := time.Now()
		for part := range 4 {
			s.put(fmt.Sprint("part-", part), s.load(part), serverSide(false), mode("Correct"))
		}
		s.expectApplied("part-0", "part-1", "part-2", "part-3")
		agent += time.Since(began)
		s.stop()

		s.target = test.Namespace(b, cluster)
		var file bytes.Buffer
		for part := range 4 {
			for _, o := range s.load(part) {
				raw, err := yaml.Marshal((&unstructured.Unstructured{Object: o}).Object)
				if err != nil {
					b.Fatal(err)
				}
				fmt.Fprintf(&file, "---\n%s", raw)
			}
		}
		name := filepath.Join(b.TempDir(), "all.yaml")
		if err := os.WriteFile(name, file.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		out, err := exec.Command(kubectl, "--kubeconfig", cluster.KubeconfigPath(), "apply", "--server-side", "--field-manager", manager, "-f", name).CombinedOutput()
		if err != nil {
			b.Fatalf("kubectl: %v: %s", err, out)
		}
		other += time.Since(began)
	}
	ratio := float64(agent) / float64(other)
	b.ReportMetric(ratio, "of-kubectl")
	b.Logf("apply of 500 objects until the hub knows: %v; ratio %.2f (at most 1) to the floor: kubectl apply --server-side, %v",
		(agent / time.Duration(b.N)).Round(time.Millisecond), ratio, (other / time.Duration(b.N)).Round(time.Millisecond))
	if ratio > 1 {
		b.Errorf("the agent takes %.2f of the time that kubectl takes", ratio)
	}
}

// load is a quarter of the objects.
func (s *site) load(part int) objects {
	var all objects
	for i := range 125 {
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
