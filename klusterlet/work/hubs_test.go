package work_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/muster-io/muster/internal/test"
)

// TestTwoHubs: two agents on one cluster, each for a hub of its own, do not touch each other's works: not when works have one name,
// not when they apply one object, and not when one hub has no such work.
func TestTwoHubs(t *testing.T) {
	one := newSite(t)
	another := *one
	two := &another
	two.agent.HubHash, two.namespace = one.agent.HubHash[1:]+"0", test.Namespace(t, test.Hub(t))
	two.agent.ClusterName = two.namespace
	one.agent.AgentID, two.agent.AgentID = "agent-one", "agent-two"
	one.agent.EvictionGracePeriod, two.agent.EvictionGracePeriod = glance, glance
	one.start()
	two.start()
	shared := one.configMap("shared", map[string]any{"k": "1"})
	a, b, only := one.configMap("a", nil), two.configMap("b", nil), two.configMap("only", nil)
	one.put("web", objects{a, shared}, serverSide(false))
	two.put("web", objects{b, shared}, as("work-agent-other", false))
	two.put("other", objects{only}, serverSide(false))
	one.expectApplied("web")
	two.expectApplied("web", "other")
	for _, s := range []*site{one, two} { // each agent has looked at the records of the other, which has no work on its hub
		s.put("last", objects{s.configMap(fmt.Sprintf("last-%s", s.agent.AgentID), nil)})
		s.expectApplied("last")
	}
	uid := one.live(shared).GetUID()
	for name, s := range map[string]*site{"web": one, "other": two} {
		r := s.record(name)
		if r == nil || r.DeletionTimestamp != nil || r.Status.EvictionStartTime != nil || r.Spec.AgentID != s.agent.AgentID {
			t.Fatalf("the record of %s was touched: %v", name, r)
		}
	}
	one.deleteWork("web")
	one.expectWorkGone("web")
	one.expectGone(a)
	two.eventually("the shared object is the other's", func() error {
		live := two.live(shared)
		if live == nil || live.GetUID() != uid {
			t.Fatal("the shared object is gone")
		}
		if owners := live.GetOwnerReferences(); len(owners) != 1 || owners[0].UID != two.record("web").UID {
			return fmt.Errorf("owners %v", owners)
		}
		return nil
	})
	if k, _, _ := unstructured.NestedString(two.live(shared).Object, "data", "k"); k != "1" {
		t.Errorf("data %q", k)
	}
	for _, o := range (objects{b, only}) {
		if two.live(o) == nil {
			t.Errorf("%v is gone", o["metadata"])
		}
	}
}
