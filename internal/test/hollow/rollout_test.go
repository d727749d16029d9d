package hollow_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/test/archive"
)

const byTenth = `{decisionStrategy: {groupStrategy: {clustersPerDecisionGroup: 10%}}}`

// BenchmarkRollout is a change of one line that goes to CLUSTERS (1000) hollow clusters in ten groups, one after the other: the hub's processor
// time and requests for each cluster, and the time from the last report of a group to the first write of the next one. The floor is a bare
// client that does the same, group by group, while no hub runs.
func BenchmarkRollout(tb *testing.B) {
	clusters := size(tb, "CLUSTERS", 1000)
	b, _ := newAcceptedBench(tb, clusters)
	defer b.inBackground(b.clusters.Answer)()
	files := archive.Placement("shop", byTenth) + archive.Application("shop", "shop", "manifests/shop", "shop", "  rollout: {type: ProgressivePerGroup}")
	b.waitForHealthy("shop", b.push(files+contentFile("shop", "line-0", workBytes)), clusters)
	b.waitForQuiet(1)
	group := b.decisionGroups("shop")
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	seen := b.observe(ctx, group)

	var took, floor []time.Duration
	var cpu, requests float64
	var latencies, floors []time.Duration
	for i := range rounds {
		before, began := b.requests(), time.Now()
		seen.begin()
		cpu += b.cpuDuring(b.hub, func() {
			b.waitForHealthy("shop", b.push(contentFile("shop", fmt.Sprintf("line-%d", i+1), workBytes)), clusters)
		}).Seconds()
		took = append(took, time.Since(began))
		requests += b.requests() - before
		latencies = append(latencies, seen.between(b)...)
		b.waitForQuiet(1)
	}
	b.stopHub()

	bare := b.newBareClient(ctx)
	all := bare.works
	for i := range rounds {
		began := time.Now()
		seen.begin()
		for g := range seen.groups() {
			bare.works = nil
			for _, w := range all {
				if group[w.Namespace] == g {
					bare.works = append(bare.works, w)
				}
			}
			bare.replace("x", fmt.Sprintf("bare-%d-", i)) // one more line that differs
		}
		floor = append(floor, time.Since(began))
		floors = append(floors, seen.between(b)...)
	}
	n := float64(rounds * clusters)
	tb.ReportMetric(float64(median(took))/float64(median(floor)), "x-bare-client")
	tb.ReportMetric(cpu*1000/n, "cpu-ms/cluster")
	tb.ReportMetric(requests/n, "requests/cluster")
	tb.ReportMetric(float64(median(latencies).Milliseconds()), "between-groups-ms")
	b.say("%d clusters in %d groups: a line is rolled out in %v, by a bare client in %v: ratio %.2f; %.2f ms of the hub's processor time and %.2f requests for each cluster; from the last report of a group to the first write of the next %v (%v), of a bare client %v",
		clusters, seen.groups(), median(took).Round(time.Millisecond), median(floor).Round(time.Millisecond), float64(median(took))/float64(median(floor)), cpu*1000/n, requests/n,
		median(latencies).Round(time.Millisecond), spread(latencies), median(floors).Round(time.Millisecond))
}

func spread(all []time.Duration) string {
	low, high := all[0], all[0]
	for _, d := range all {
		low, high = min(low, d), max(high, d)
	}
	return fmt.Sprintf("%v to %v", low.Round(time.Millisecond), high.Round(time.Millisecond))
}

// decisionGroups are the clusters of a placement, with the index of their decision group.
func (b *bench) decisionGroups(placement string) map[string]int {
	b.Helper()
	c, err := client.New(b.config, client.Options{Scheme: b.client.Scheme()})
	must(b, err)
	must(b, clusterv1beta1.AddToScheme(c.Scheme()))
	var list clusterv1beta1.PlacementDecisionList
	must(b, c.List(b.ctx, &list, client.MatchingLabels{clusterv1beta1.PlacementLabel: placement}))
	groups := map[string]int{}
	for _, d := range list.Items {
		index, err := strconv.Atoi(d.Labels[clusterv1beta1.DecisionGroupIndexLabel])
		must(b, err)
		for _, decided := range d.Status.Decisions {
			groups[decided.ClusterName] = index
		}
	}
	return groups
}

// observer sees when the works of each group are written, and when their clusters report.
type observer struct {
	group map[string]int

	mu              sync.Mutex
	generation      map[string]int64
	written, report map[int]time.Time // the first write and the last report of a group
}

// observe follows the works until the context ends.
func (b *bench) observe(ctx context.Context, group map[string]int) *observer {
	b.Helper()
	o := &observer{group: group, generation: map[string]int64{}}
	o.begin()
	b.followWorks(ctx, o.note)
	return o
}

func (o *observer) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.written, o.report = map[int]time.Time{}, map[int]time.Time{}
}

func (o *observer) groups() int {
	most := 0
	for _, g := range o.group {
		most = max(most, g)
	}
	return most + 1
}

func (o *observer) note(w *workv1.ManifestWork) {
	now, g := time.Now(), o.group[w.Namespace]
	o.mu.Lock()
	defer o.mu.Unlock()
	if before, known := o.generation[w.Namespace]; known && w.Generation > before && o.written[g].IsZero() {
		o.written[g] = now
	}
	o.generation[w.Namespace] = w.Generation
	if isAnswered(w) {
		o.report[g] = now
	}
}

// between are the times from the last report of each group to the first write of the next.
func (o *observer) between(b *bench) []time.Duration {
	b.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []time.Duration
	for g := range o.groups() - 1 {
		if o.report[g].IsZero() || o.written[g+1].IsZero() {
			b.Fatalf("group %d or the one after it was not seen", g)
		}
		d := o.written[g+1].Sub(o.report[g])
		if d < 0 {
			b.Errorf("group %d began %v before the one ahead of it had reported", g+1, -d)
		}
		all = append(all, d)
	}
	return all
}

// requests reads from the hub's metrics how many requests it has made of its API server.
func (b *bench) requests() float64 {
	b.Helper()
	answer, err := http.Get("http://" + b.metrics + "/metrics")
	must(b, err)
	defer answer.Body.Close()
	sum := 0.0
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		metric, text, _ := strings.Cut(lines.Text(), " ")
		if name, _, _ := strings.Cut(metric, "{"); name == "rest_client_requests_total" {
			value, err := strconv.ParseFloat(text, 64)
			must(b, err)
			sum += value
		}
	}
	return sum
}
