package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/hub"
)

// requests records what a hub asks of its API server, without watches and its heartbeat.
type requests struct {
	mu   sync.Mutex
	all  []string // "GET /api/v1/…"
	mine []string // those made as a repository's service account
}

func (r *requests) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Query().Get("watch") == "" && !strings.HasSuffix(req.URL.Path, "/leases/"+hub.HeartbeatKey.Name) {
			r.mu.Lock()
			made := req.Method + " " + req.URL.Path
			r.all = append(r.all, made)
			if req.Header.Get("Impersonate-User") != "" {
				r.mine = append(r.mine, made)
			}
			r.mu.Unlock()
		}
		return next.RoundTrip(req)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// count of all requests so far.
func (r *requests) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// take gives what was asked as the service account since the last time.
func (r *requests) drain() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	mine := r.mine
	r.mine = nil
	return mine
}

// polls counts how often the repository controller of this process has looked.
func polls(tb testing.TB) float64 {
	tb.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	n := 0.0
	for _, family := range families {
		for _, m := range family.Metric {
			for _, label := range m.Label {
				if family.GetName() == "controller_runtime_reconcile_total" && label.GetValue() == "fleetrepository" {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

func TestCostFollowsTheChange(t *testing.T) {
	f := newFleet(t, shopIn("cost")+team+clusterFile("one", "tier: edge")+placementFile("other", everyEdge))
	r := &requests{}
	f.stop()
	f.wrap = r.wrap
	f.startHub()
	f.deliver()
	f.push("")
	f.available("one", true)
	f.expectWorkOn("one")
	expectQuiet(f, r)
	r.drain()
	f.run("a commit that changes one definition reads and writes that one", func(f *theFleet) {
		f.push(placementFile("other", `{numberOfClusters: 1, predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge}}}}]}`))
		expectAsked(f, r, "other")
	})
	f.run("what a cluster reports is told without planning the application anew", reportIsFolded)
	f.run("a commit that changes content touches no definition", func(f *theFleet) {
		f.push(configMapFile("manifests/shop/config.yaml", "shop", "color", "blue"))
		expectAsked(f, r, "")
	})
	f.run("what somebody changes on the hub is put back without a commit", func(f *theFleet) {
		p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "other"}}
		three := int32(3)
		f.change(p, func() { p.Spec.NumberOfClusters = &three })
		f.eventually(func() string {
			f.change(p, func() {})
			if *p.Spec.NumberOfClusters != 1 {
				return fmt.Sprintf("the placement still asks for %d clusters", *p.Spec.NumberOfClusters)
			}
			return ""
		})
		expectAsked(f, r, "other")
	})
	f.run("a label that somebody takes away is put back", func(f *theFleet) {
		p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "other"}}
		f.change(p, func() { p.Labels = nil })
		f.eventually(func() string {
			f.change(p, func() {})
			if len(p.Labels) == 0 {
				return "the mark is not back"
			}
			return ""
		})
		expectAsked(f, r, "other")
	})
}

// reportIsFolded edits the status and then the spec of a work: the first is news, the second is undone.
func reportIsFolded(f *theFleet) {
	planned := rendered.asked()
	w := f.works("one")[0]
	meta.SetStatusCondition(&w.Status.Conditions, metav1.Condition{
		Type: workv1.WorkApplied, Status: metav1.ConditionTrue, Reason: "Test", ObservedGeneration: w.Generation,
	})
	if err := f.client.Status().Update(f.ctx, &w); err != nil {
		f.t.Fatal(err)
	}
	f.expectCurrent("retail/shop")
	if n := rendered.asked() - planned; n > 0 {
		f.t.Errorf("to tell of a report, %d contents were asked for", n)
	}
	f.change(&w, func() { w.Spec.ManifestConfigs = nil })
	f.eventually(func() string {
		if now := f.works("one")[0]; len(now.Spec.ManifestConfigs) == 0 {
			return "the work stays as somebody has made it"
		}
		return ""
	})
}

// expectQuiet waits for three looks in a row for which the hub asks its API server nothing.
func expectQuiet(f *theFleet, r *requests) {
	f.t.Helper()
	f.eventually(func() string {
		asked, from := r.count(), polls(f.t)
		f.eventually(func() string {
			if n := polls(f.t); n < from+3 {
				return fmt.Sprintf("%g looks, want %g", n, from+3)
			}
			return ""
		})
		r.mu.Lock()
		defer r.mu.Unlock()
		if more := r.all[asked:]; len(more) > 0 {
			return fmt.Sprintf("three looks asked %v", more)
		}
		return ""
	})
}

// expectAsked comes to rest and holds that all the repository asked meanwhile was about one placement, which was written once; no
// name, nothing at all.
func expectAsked(f *theFleet, r *requests, placement string) {
	f.t.Helper()
	expectQuiet(f, r)
	writes := 0
	for _, made := range r.drain() {
		if placement == "" || !strings.HasSuffix(made, "/retail/placements/"+placement) {
			f.t.Errorf("the repository asked %s", made)
		}
		if !strings.HasPrefix(made, http.MethodGet) {
			writes++
		}
	}
	if want := min(len(placement), 1); writes != want {
		f.t.Errorf("the placement was written %d times, want %d", writes, want)
	}
}

// asked is how often this process has asked for a rendering, whoever answered.
func (r *renderings) asked() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, renderer := range r.all {
		n += renderer.Stats().Renders + renderer.Stats().Hits
	}
	return n
}
