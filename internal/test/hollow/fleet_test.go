package hollow_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/test/archive"
	"github.com/muster-io/muster/internal/test/hollow"
)

// workBytes is about how large the works of BenchmarkFleet are.
const workBytes = 8 << 10

// rounds is how many times a change of one line is measured.
const rounds = 3

// BenchmarkFleet is one application on CLUSTERS hollow clusters, with works of 8 KiB: the time in which a change of one line is
// written, answered and counted as healthy, and the memory of the hub. The floor is a bare client that writes the same works
// and counts the same answers, while no hub runs.
func BenchmarkFleet(tb *testing.B) {
	clusters := size(tb, "CLUSTERS", 500)
	b, accepted := newAcceptedBench(tb, clusters)
	defer b.inBackground(b.clusters.Answer)()
	line := func(i int) string { return fmt.Sprintf("line-%04d", i) }
	b.waitForHealthy("shop", b.push(applicationFiles("shop", line(0), workBytes)), clusters)
	b.waitForQuiet(1)

	var took []time.Duration
	var phases []string
	for i := range rounds {
		b.profile("profile", fmt.Sprintf("round-%d.pprof", i), 5)
		before, began := b.clusters.Answers(), time.Now()
		first, last := b.answered(before+1, began), b.answered(before+int64(clusters), began)
		b.waitForHealthy("shop", b.push(contentFile("shop", line(i+1), workBytes)), clusters)
		took = append(took, time.Since(began))
		phases = append(phases, fmt.Sprintf("first answer %v, last %v", <-first, <-last))
		b.waitForQuiet(1)
	}
	b.profile("heap", "heap.pprof", 0)
	running, peak, err := b.hub.Memory()
	must(b, err)
	b.stopHub()
	restarted := b.restart(1)
	_, atStart, err := b.hub.Memory()
	must(b, err)
	b.stopHub()

	floor := b.bareRounds(line)
	ratio := float64(median(took)) / float64(median(floor))
	tb.ReportMetric(ratio, "x-bare-client")
	tb.ReportMetric(float64(mib(running)), "MiB")
	tb.ReportMetric(float64(mib(peak)), "peak-MiB")
	tb.ReportMetric(float64(mib(atStart)), "start-peak-MiB")
	tb.ReportMetric(accepted.Seconds(), "accepted-s")
	b.say("%d clusters are accepted within %v of the start of the hub", clusters, accepted.Round(time.Millisecond))
	b.say("%d clusters: a line is changed, answered and counted in %v, by a bare client in %v: ratio %.2f; rounds %v (%s) and %v; the hub holds %d MiB, at most %d MiB; a new one is ready after %v, at most %d MiB",
		clusters, median(took).Round(time.Millisecond), median(floor).Round(time.Millisecond), ratio, took, strings.Join(phases, "; "), floor,
		mib(running), mib(peak), restarted.Round(time.Millisecond), mib(atStart))
}

// BenchmarkAcceptance is a change of one line for CLUSTERS (300) hollow clusters, just after a start of the hub: while as many others
// wait to be accepted, against a start at which none do. Acceptance lets deliveries go first.
func BenchmarkAcceptance(tb *testing.B) {
	clusters := size(tb, "CLUSTERS", 300)
	b, _ := newAcceptedBench(tb, clusters)
	defer b.inBackground(b.clusters.Answer)()
	b.waitForHealthy("shop", b.push(applicationFiles("shop", "line-0", workBytes)), clusters)

	var alone, beside, accepted []time.Duration
	for i := range rounds {
		_, took := b.changeAfterStart(fmt.Sprintf("line-a%d", i), clusters)
		alone = append(alone, took)
		joining, err := hollow.New(b.config, clusters, map[string]string{"cluster.open-cluster-management.io/clusterset": "joining"})
		must(b, err)
		joining.First = clusters * (i + 1)
		b.stopHub()
		must(b, joining.Create(b.ctx))
		began, took := b.changeAfterStart(fmt.Sprintf("line-b%d", i), clusters)
		beside = append(beside, took)
		n, err := joining.Accepted(b.ctx)
		must(b, err)
		must(b, joining.WaitForAcceptance(b.ctx))
		accepted = append(accepted, time.Since(began))
		b.say("%d clusters have a new line %v after a start, and %v while %d others are accepted: %d are then, and all after %v",
			clusters, alone[i].Round(time.Millisecond), took.Round(time.Millisecond), clusters, n, accepted[i].Round(time.Millisecond))
	}
	tb.ReportMetric(float64(median(beside))/float64(median(alone)), "x-undisturbed")
	tb.ReportMetric(median(accepted).Seconds(), "accepted-s")
}

// changeAfterStart starts the hub anew, and gives the time of the start, and how long it takes from a push until the change of a line is
// counted as healthy. The push comes when the hub answers webhooks.
func (b *bench) changeAfterStart(line string, clusters int) (began time.Time, took time.Duration) {
	b.Helper()
	b.stopHub()
	began = time.Now()
	b.startHub()
	b.wait(10*time.Millisecond, func() string {
		connection, err := net.Dial("tcp", b.webhooks)
		if err != nil {
			return err.Error()
		}
		connection.Close()
		return ""
	})
	pushed := time.Now()
	b.waitForHealthy("shop", b.push(contentFile("shop", line, workBytes)), clusters)
	return began, time.Since(pushed)
}

// answered gives the time from a beginning until so many answers were written.
func (b *bench) answered(n int64, began time.Time) <-chan time.Duration {
	after := make(chan time.Duration, 1)
	go func() {
		for b.clusters.Answers() < n && b.ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		after <- time.Since(began).Round(time.Millisecond)
	}()
	return after
}

// restart starts the hub and returns when it has nothing more to do.
func (b *bench) restart(applications int) time.Duration {
	b.Helper()
	began := time.Now()
	b.startHub()
	b.waitForQuiet(applications)
	return time.Since(began)
}

// reports is how many status reports of single works BenchmarkApplications measures.
const reports = 50

// BenchmarkApplications is APPLICATIONS (20) applications on CLUSTERS hollow clusters: the first delivery, the processor time of
// the hub while clusters are silent and while each reports its usage once a minute, that of one report about one work, and the
// start of a hub. The floors are a bare client that creates the same works, and a bare informer of works and clusters.
func BenchmarkApplications(tb *testing.B) {
	clusters, applications := size(tb, "CLUSTERS", 200), size(tb, "APPLICATIONS", 20)
	var files strings.Builder
	for i := range applications {
		files.WriteString(applicationFiles(fmt.Sprintf("app-%02d", i), "line", 64))
	}
	b := newBench(tb, clusters, archive.Retail)
	must(b, b.clusters.Create(b.ctx))
	b.startHub()
	b.follow()
	must(b, b.clusters.WaitForNamespaces(b.ctx))
	b.waitForQuiet(0)
	b.profile("profile", "delivery.pprof", 60)
	began := time.Now()
	b.push(files.String())
	b.waitForWorks(clusters * applications)
	delivery := time.Since(began)
	stop := b.inBackground(b.clusters.Answer)
	b.wait(time.Second, func() string {
		if n := b.clusters.Answers(); n < int64(clusters*applications) {
			return fmt.Sprintf("%d works are answered", n)
		}
		return ""
	})
	stop()
	b.waitForQuiet(applications)

	bare, _ := b.startBareInformer()
	b.usage(tb, bare)
	b.oneReport(tb, bare)
	must(b, bare.Stop())
	b.stopHub()
	b.starts(tb, applications)
	b.stopHub()

	floor := b.createCopies(b.ctx)
	tb.ReportMetric(float64(delivery)/float64(floor), "delivery-x-bare-client")
	b.say("%d clusters, %d applications: first delivery %v, a bare client %v: ratio %.2f",
		clusters, applications, delivery.Round(time.Millisecond), floor.Round(time.Millisecond), float64(delivery)/float64(floor))
}

// usage measures a minute of silence and a minute in which every cluster reports.
func (b *bench) usage(tb *testing.B, bare interface{ CPU() (time.Duration, error) }) {
	b.Helper()
	minute := func() { time.Sleep(time.Minute) } // what is measured is per minute
	silent := b.cpuDuring(b.hub, minute)
	stop := b.inBackground(func(ctx context.Context) error { return b.clusters.ReportUsage(ctx, time.Minute) })
	before, err := bare.CPU()
	must(b, err)
	b.profile("profile", "usage.pprof", 50)
	busy := b.cpuDuring(b.hub, minute)
	after, err := bare.CPU()
	must(b, err)
	stop()
	milliCores := func(d time.Duration) float64 { return float64(d) / float64(time.Minute) * 1000 }
	tb.ReportMetric(milliCores(silent), "silent-millicores")
	tb.ReportMetric(milliCores(busy), "usage-millicores")
	b.say("every cluster reports its usage once a minute: the hub takes %.0f milli-cores, %.0f when they are silent, a bare informer %.0f: ratio %.1f",
		milliCores(busy), milliCores(silent), milliCores(after-before), float64(busy)/float64(max(after-before, time.Millisecond)))
}

// oneReport measures what a report of one cluster about one work costs.
func (b *bench) oneReport(tb *testing.B, bare interface{ CPU() (time.Duration, error) }) {
	b.Helper()
	list := firstWorks()
	must(b, b.client.List(b.ctx, list, client.Limit(reports)))
	before, err := bare.CPU()
	must(b, err)
	took := b.cpuDuring(b.hub, func() {
		for i := range list.Items {
			w := &workv1.ManifestWork{}
			must(b, b.client.Get(b.ctx, client.ObjectKeyFromObject(&list.Items[i]), w))
			is := metav1.ConditionFalse
			if i%2 == 0 {
				is = metav1.ConditionTrue
			}
			meta.SetStatusCondition(&w.Status.Conditions, metav1.Condition{
				Type: workv1.WorkApplied, Status: is, Reason: "Bench", Message: fmt.Sprint("report ", i), ObservedGeneration: w.Generation,
			})
			must(b, b.client.Status().Update(b.ctx, w))
			time.Sleep(time.Second / 10) // a cluster reports now and then
		}
		b.waitForQuiet(0)
	})
	after, err := bare.CPU()
	must(b, err)
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(len(list.Items)) }
	tb.ReportMetric(each(took), "cpu-ms/report")
	b.say("a report about one work takes %.1f ms of the hub's processor time, %.1f ms of a bare informer's", each(took), each(after-before))
}

// starts measures a hub that starts over all works, and a bare informer that does.
func (b *bench) starts(tb *testing.B, applications int) {
	b.Helper()
	bare, listed := b.startBareInformer()
	_, floor, err := bare.Memory()
	must(b, err)
	must(b, bare.Stop())
	took := b.restart(applications)
	now, peak, err := b.hub.Memory()
	must(b, err)
	tb.ReportMetric(took.Seconds(), "start-s")
	tb.ReportMetric(float64(mib(peak)), "start-MiB")
	b.say("a hub that starts is ready after %v and holds %d MiB, at most %d MiB; a bare informer has listed all after %v, at most %d MiB: ratios %.1f and %.2f",
		took.Round(time.Millisecond), mib(now), mib(peak), listed.Round(time.Millisecond), mib(floor),
		float64(took)/float64(listed), float64(peak)/float64(floor))
}
