package event

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/flowcontrol"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// told keeps events, and ends the context with the last.
type told struct {
	events []string
	last   int
	end    context.CancelFunc
}

func (s *told) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	s.events = append(s.events, fmt.Sprintf("%T %v %s: %s", regarding, related == nil, reason, fmt.Sprintf(note, args...)))
	if len(s.events) == s.last {
		s.end()
	}
}

// TestEventsAreBounded: events that come faster than they are written wait, at most as many as the queue holds, and their caller
// does not wait. The log says once that some are dropped, and how many were when the others are written.
func TestEventsAreBounded(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := clusterv1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	var log []string
	ctx, cancel := context.WithCancel(t.Context())
	out := &told{last: 3, end: cancel}
	q := &queue{
		out: out, scheme: scheme, waiting: make(chan queued, 3),
		log: funcr.New(func(_, args string) { log = append(log, args) }, funcr.Options{}),
	}
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge"}}
	for i := range 5 {
		q.Eventf(p, nil, "Normal", "Decided", "Decide", "decision %d is 100 %% good", i)
	}
	if len(q.waiting) != 3 || len(log) != 1 || !strings.Contains(log[0], "are dropped") {
		t.Errorf("%d events wait, and the log says %v; want 3, and that the others are dropped", len(q.waiting), log)
	}
	q.run(ctx, flowcontrol.NewFakeAlwaysRateLimiter())
	want := []string{}
	for i := range 3 {
		want = append(want, fmt.Sprintf("*v1.ObjectReference true Decided: decision %d is 100 %% good", i))
	}
	if diff := cmp.Diff(want, out.events); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	if len(log) != 2 || !strings.Contains(log[1], `"dropped"=2`) {
		t.Errorf("the log says %v, want at its end that 2 were dropped", log)
	}
}
