package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/internal/test/otlp"
	"github.com/muster-io/muster/internal/tracing"
	agent "github.com/muster-io/muster/klusterlet/work"
)

// TestTraceOfACommit: a commit is one trace, of hub and agent, from when it was made until it is healthy on its cluster.
func TestTraceOfACommit(t *testing.T) {
	t.Parallel()
	receiver := otlp.New(t)
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "traces", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red"),
		func(o *Options) { o.OTLPEndpoint = receiver.URL })
	traces, err := tracing.New(t.Context(), tracing.Options{Endpoint: receiver.URL, Service: "muster-klusterlet"})
	if err != nil {
		t.Fatal(err)
	}
	f.deliver()
	f.spokes["one"] = test.Clusters(t, 1)[0]
	f.available("one", true)
	f.startAgentWith("one", func(a *agent.Agent) { a.Traces = traces })
	f.expectReady("retail/shop")
	revision := f.push(configMapFile("manifests/shop/config.yaml", "shop", "color", "blue"))
	f.expectHealthy("retail/shop", revision, 1)
	traces.Close(t.Context())
	want := []string{
		"muster-hub become healthy", "muster-hub commit", "muster-hub deliver", "muster-hub fetch", "muster-hub plan", "muster-hub roll out", "muster-hub write", "muster-klusterlet apply",
	}
	f.stop() // which exports the rest
	var got []string
	for _, s := range receiver.Spans() {
		if s.Trace != revision[:32] {
			continue
		}
		got = append(got, s.Service+" "+s.Name)
		switch parent := revision[24:]; {
		case s.Name == "commit" && (s.ID != parent || s.Parent != ""), s.Name != "commit" && s.Parent != parent:
			t.Errorf("%s is %s below %q, want it below %s", s.Name, s.ID, s.Parent, parent)
		}
		if s.End.Before(s.Start) || s.Failed != "" {
			t.Errorf("%s is from %s to %s, and failed %q", s.Name, s.Start, s.End, s.Failed)
		}
		if s.Name == "apply" && (s.About["muster.cluster"] != "one" || s.About["muster.application"] != "retail/shop") {
			t.Errorf("apply is about %v", s.About)
		}
		if strings.Contains(fmt.Sprint(s), "blue") {
			t.Errorf("%s tells what an object holds: %v", s.Name, s)
		}
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("the trace has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
