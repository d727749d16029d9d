// Package tracing tells of commits on their way to the clusters as OpenTelemetry traces, by OTLP over HTTP, where an endpoint is configured.
//
// The trace of a commit has the commit's own name: the first 32 digits of its hash are the ID of the trace, and the last 16 that of its first
// span. So hub and agents tell of one trace without telling each other of it, the hub before and after a restart too, and who knows
// the commit finds the trace: what a work carries as muster.dev/revision is its trace context.
package tracing

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer exports spans. A nil one exports none.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// Options of a Tracer.
type Options struct {
	// Endpoint is the URL of an OTLP receiver, such as http://collector:4318/v1/traces. Left out, OpenTelemetry's own variables say it, such
	// as OTEL_EXPORTER_OTLP_ENDPOINT; without any of them there is no Tracer.
	Endpoint string
	// Service and Version of the program.
	Service, Version string
	// Attributes of everything that it tells.
	Attributes map[string]string
}

// New gives a Tracer, or nil when no endpoint is configured.
func New(ctx context.Context, o Options) (*Tracer, error) {
	if cmp.Or(o.Endpoint, os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")) == "" ||
		os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, nil
	}
	var options []otlptracehttp.Option
	if o.Endpoint != "" {
		options = append(options, otlptracehttp.WithEndpointURL(o.Endpoint))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("set up the export of traces: %w", err)
	}
	// What the environment says of the service goes before.
	about, err := resource.New(ctx, resource.WithAttributes(append(attributes(o.Attributes),
		attribute.String("service.name", o.Service), attribute.String("service.version", o.Version))...), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the service for traces: %w", err)
	}
	log := logr.FromContextOrDiscard(ctx)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Info("traces are not exported", "reason", err.Error()) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about), sdktrace.WithIDGenerator(ids{}))
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/muster-io/muster")}, nil
}

// Close exports what is not exported yet, for some seconds at most.
func (t *Tracer) Close(ctx context.Context) {
	if t == nil {
		return
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(limited); err != nil {
		logr.FromContextOrDiscard(ctx).Info("traces are not exported", "reason", err.Error())
	}
}

// Commit tells of the first span of a commit: from when it was made to when it was delivered.
func (t *Tracer) Commit(revision string, from, to time.Time, about map[string]string) {
	if first, ok := contextOf(revision); t != nil && ok {
		t.span(contextWith(first), "commit", from, to, nil, about)
	}
}

// Span tells of something that was done for a commit.
func (t *Tracer) Span(revision, name string, from, to time.Time, failed error, about map[string]string) {
	if of, ok := contextOf(revision); t != nil && ok {
		t.span(trace.ContextWithRemoteSpanContext(context.Background(), of), name, from, to, failed, about)
	}
}

func (t *Tracer) span(ctx context.Context, name string, from, to time.Time, failed error, about map[string]string) {
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(attributes(about)...))
	if failed != nil {
		span.SetStatus(codes.Error, failed.Error())
	}
	span.End(trace.WithTimestamp(to))
}

func attributes(of map[string]string) []attribute.KeyValue {
	var all []attribute.KeyValue
	for k, v := range of {
		if v != "" {
			all = append(all, attribute.String(k, v))
		}
	}
	return all
}
