package work_test

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// crashSteps are where an agent is killed, between any two of its writes, in the phases of a work's life.
var crashSteps = []struct{ phase, step, why string }{
	{"install", "finalizer", "the work has a finalizer, and there is no record"},
	{"install", "record", "the record lists nothing"},
	{"install", "recorded", "the record lists what is not there"},
	{"install", "applied", "the record does not know the UIDs"},
	{"install", "settled", "the hub knows nothing"},
	{"upgrade", "recorded", "the record lists what the new manifests add"},
	{"upgrade", "applied", "what left the work is still there"},
	{"upgrade", "pruned", "the record lists what is gone"},
	{"upgrade", "settled", "the hub knows the old generation"},
	{"uninstall", "deleting", "the hub knows of the deletion, and nothing is deleted"},
	{"uninstall", "record deleted", "the record is going, and the objects are there"},
	{"uninstall", "emptied", "the objects are gone, and the record has its finalizer"},
	{"uninstall", "record gone", "only the finalizer of the work is left"},
}

// TestCrash: an agent that is killed at any step, and one that starts afterwards, come to the same end as one that was not: nothing is
// lost, made twice or left.
func TestCrash(t *testing.T) {
	for _, how := range []string{"planned", "of OCM"} {
		for _, crash := range crashSteps {
			t.Run(fmt.Sprintf("%s, %s, %s", how, crash.phase, crash.step), func(t *testing.T) {
				s := newSite(t)
				options := []option{serverSide(false), mode("Correct")}
				if how == "of OCM" {
					options = []option{strategy(workv1.UpdateStrategyTypeUpdate)}
				}
				phase := func(name string) { // ends it, with a crash if it is its turn
					if name == crash.phase {
						s.runUntil(crash.step, 1)
					}
					s.start()
				}
				stays, goes, comes := s.configMap("stays", map[string]any{"k": "1"}), s.configMap("goes", nil), s.configMap("comes", nil)
				s.put("web", objects{stays, goes}, options...)
				phase("install")
				s.expectApplied("web")
				uid := s.live(stays).GetUID()
				s.stop()

				s.put("web", objects{s.configMap("stays", map[string]any{"k": "2"}), comes}, options...)
				phase("upgrade")
				s.expectApplied("web")
				s.expectValue(stays, "2", "data", "k")
				s.expectGone(goes)
				if live := s.live(stays); live.GetUID() != uid {
					t.Errorf("the object was made twice: %s", crash.why)
				}
				s.eventually("the record", func() error {
					var uids []types.UID
					for _, entry := range s.record("web").Status.AppliedResources {
						uids = append(uids, types.UID(entry.UID))
					}
					if want := []types.UID{s.live(comes).GetUID(), uid}; !slices.Equal(uids, want) {
						return fmt.Errorf("lists %v, want %v", uids, want)
					}
					return nil
				})
				s.stop()

				s.deleteWork("web")
				phase("uninstall")
				s.expectWorkGone("web")
				s.expectGone(stays)
				s.expectGone(comes)
			})
		}
	}
}
