package placement

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/fleet"
)

// large is 10,000 clusters of which other placements have chosen 3,000.
func large() *fleet.World {
	var clusters []clusterv1.ManagedCluster
	var some []string
	for i := range 10000 {
		name := fmt.Sprintf("cluster-%05d", i)
		clusters = append(clusters, with(cluster(name, fmt.Sprintf("tier=%d", i%4), fmt.Sprintf("zone=%d", i%7)),
			claim("platform", []string{"aws", "gcp"}[i%2]), capacity(fmt.Sprint(4+i%60))))
		if i%3 == 0 {
			some = append(some, name)
		}
	}
	w := world(clusters...)
	return decided(w, "other", some...)
}

// budget is what three prioritizers over 10,000 clusters may take of a processor.
const budget = 20 * time.Millisecond

// BenchmarkSchedule is one placement over 10,000 clusters, the index included.
func BenchmarkSchedule(b *testing.B) {
	w := large()
	three := additive(builtIn("ResourceAllocatableCPU", 1))
	for name, p := range map[string]*clusterv1beta1.Placement{
		"all":                placement(),
		"three-prioritizers": placement(wants(50), three),
		"labels":             placement(wants(50), three, requires("tier=1")),
		"spread":             placement(wants(500), three, spreadOver("zone", 1, clusterv1beta1.DoNotSchedule)),
		"cel":                placement(wants(50), three, requiresCEL(`managedCluster.metadata.labels.tier == "1"`)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			begin := cpu(b)
			for b.Loop() {
				if r := Schedule(p, w); len(r.Chosen) == 0 {
					b.Fatal("nothing chosen")
				}
			}
			each := (cpu(b) - begin) / time.Duration(b.N)
			b.ReportMetric(float64(each.Microseconds())/1000, "cpu-ms/op")
			if name == "three-prioritizers" && each > budget {
				b.Errorf("%s over 10,000 clusters, the budget is %s", each, budget)
			}
		})
	}
}

// cpu is the processor time that this process has used, all threads together: unlike the wall clock it says little about
// who else is at work on the machine.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkIndex is many placements in one prepared world of 10,000 clusters.
func BenchmarkIndex(b *testing.B) {
	x := NewIndex(large())
	p := placement(wants(50), additive(builtIn("ResourceAllocatableCPU", 1)), requires("tier=1"))
	b.ReportAllocs()
	for b.Loop() {
		if r := x.Schedule(p); len(r.Chosen) == 0 {
			b.Fatal("nothing chosen")
		}
	}
}
