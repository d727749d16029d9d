package placement

import (
	"fmt"
	"strings"
	"testing"
)

// TestThousandsOfLabels has a selector of thousands of terms: what is said about a cluster stays short, however much the
// placement asks for. A page of decisions holds a hundred reasons, and an object about a megabyte.
func TestThousandsOfLabels(t *testing.T) {
	labels := make([]string, 3000)
	for i := range labels {
		labels[i] = fmt.Sprintf("label-%04d=%s", i, strings.Repeat("v", 50))
	}
	many := make([]string, 3000)
	for i := range many {
		many[i] = fmt.Sprint("value-", i)
	}
	p := placement(requires(labels...), requiresLabel("tier", "In", many...))
	r := Schedule(p, world(cluster("all", labels...), cluster("none"), cluster("tier", "tier=value-7")))
	if got := chosenText(r); got != "all tier" {
		t.Fatalf("chosen %q", got)
	}
	for _, d := range Objects(p, &r, nil)[0].Status.Decisions {
		if len(d.Reason) > maxReason+len("…") || !strings.HasPrefix(d.Reason, "matches label ") {
			t.Errorf("the reason of %s has %d bytes: %.80s", d.ClusterName, len(d.Reason), d.Reason)
		}
	}
	for _, d := range r.Decisions {
		if len(d.Reason) > maxExplanation+len("…") {
			t.Errorf("%d bytes are said about %s", len(d.Reason), d.Cluster)
		}
	}
	if got := few(many, ", "); !strings.HasSuffix(got, "value-19, and 2980 more") {
		t.Errorf("of a long list %q", got)
	}
}
