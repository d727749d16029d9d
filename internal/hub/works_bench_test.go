package hub

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// BenchmarkIndexMemory is what the index holds for each work of an application with ten objects and 8 KiB.
func BenchmarkIndexMemory(b *testing.B) {
	const clusters = 10_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	works := NewWorks()
	for i := range clusters {
		w := workOf(fmt.Sprintf("edge-%05d", i), "shop", reportsApplied)
		w.UID = "6f1c4a5e-3a56-4f2f-8d0b-0123456789ab"
		w.Annotations[musterv1alpha1.RevisionAnnotation] = strings.Repeat("r", 40)
		for n := range 9 {
			w.Spec.Workload.Manifests = append(w.Spec.Workload.Manifests, workv1.Manifest{})
			w.Spec.Workload.Manifests[n+1].Raw = fmt.Appendf(nil,
				`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"part-%d"},"data":{"cluster":%q,"rest":%q}}`, n, w.Namespace, strings.Repeat("x", 900))
		}
		if err := works.Set(w); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/clusters, "B/work")
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(works)
}
