package tracing

import (
	"context"
	"crypto/rand"

	"go.opentelemetry.io/otel/trace"
)

// contextOf is the trace of a commit, with its first span. A revision that is no commit in full has none.
func contextOf(revision string) (trace.SpanContext, bool) {
	if len(revision) != 40 && len(revision) != 64 {
		return trace.SpanContext{}, false
	}
	id, err := trace.TraceIDFromHex(revision[:32])
	if err != nil {
		return trace.SpanContext{}, false
	}
	first, err := trace.SpanIDFromHex(revision[len(revision)-16:])
	if err != nil {
		return trace.SpanContext{}, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: first, TraceFlags: trace.FlagsSampled, Remote: true}), true
}

// firstKey is where a context has the IDs of the first span of a trace.
type firstKey struct{}

func contextWith(first trace.SpanContext) context.Context {
	return context.WithValue(context.Background(), firstKey{}, first)
}

// ids are those of the commit for its first span, and drawn for all others.
type ids struct{}

func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if first, ok := ctx.Value(firstKey{}).(trace.SpanContext); ok {
		return first.TraceID(), first.SpanID()
	}
	var id trace.TraceID
	_, _ = rand.Read(id[:]) // never fails
	return id, ids{}.NewSpanID(ctx, id)
}

func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	_, _ = rand.Read(id[:]) // as above
	return id
}
