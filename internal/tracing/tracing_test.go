package tracing

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/test/otlp"
)

const commit = "41aa9d0c3b5e7f8899aabbccddeeff0011223344"

// TestSpans: what is told arrives as OTLP, in the trace that has the commit's name, below the commit's first span.
func TestSpans(t *testing.T) {
	receiver := otlp.New(t)
	tracer, err := New(t.Context(), Options{Endpoint: receiver.URL, Service: "muster-hub", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	from := time.Unix(1_790_000_000, 0)
	tracer.Commit(commit, from, from.Add(time.Minute), map[string]string{"muster.repository": "muster-system/fleet"})
	tracer.Span(commit, "plan", from, from.Add(time.Second), errors.New("no chart"), map[string]string{"muster.application": "retail/shop", "muster.cluster": ""})
	tracer.Span("main", "plan", from, from, nil, nil) // no commit
	tracer.Span("", "plan", from, from, nil, nil)
	tracer.Close(t.Context())
	got := receiver.Spans()
	if len(got) == 2 && got[1].ID != "" && got[1].ID != got[0].ID {
		got[1].ID = "drawn"
	}
	want := []otlp.Span{
		{Service: "muster-hub", Name: "commit", Trace: "41aa9d0c3b5e7f8899aabbccddeeff00", ID: "ddeeff0011223344", Start: from, End: from.Add(time.Minute), About: map[string]string{"muster.repository": "muster-system/fleet"}},
		{Service: "muster-hub", Name: "plan", Trace: "41aa9d0c3b5e7f8899aabbccddeeff00", ID: "drawn", Parent: "ddeeff0011223344", Start: from, End: from.Add(time.Second), Failed: "no chart", About: map[string]string{"muster.application": "retail/shop"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestNoReceiver: without an endpoint there is no tracer, and telling one costs nothing.
func TestNoReceiver(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		t.Setenv(name, "")
	}
	tracer, err := New(t.Context(), Options{Service: "muster-hub"})
	if tracer != nil || err != nil {
		t.Fatalf("%v %v", tracer, err)
	}
	tracer.Span(commit, "plan", time.Now(), time.Now(), nil, nil)
	tracer.Commit(commit, time.Now(), time.Now(), nil)
	tracer.Close(t.Context())
}

// TestEnvironment: OpenTelemetry's own variables say where traces go.
func TestEnvironment(t *testing.T) {
	receiver := otlp.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL[:len(receiver.URL)-len("/v1/traces")])
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	tracer, err := New(t.Context(), Options{Service: "muster-klusterlet"})
	if err != nil || tracer == nil {
		t.Fatalf("%v %v", tracer, err)
	}
	tracer.Span(commit, "apply", time.Now(), time.Now(), nil, nil)
	tracer.Close(t.Context())
	if got := receiver.Spans(); len(got) != 1 || got[0].Service != "muster-klusterlet" {
		t.Errorf("%+v", got)
	}
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if tracer, err := New(t.Context(), Options{}); tracer != nil || err != nil {
		t.Errorf("disabled: %v %v", tracer, err)
	}
}
