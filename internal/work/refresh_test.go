package work

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestRefresh: what a change was to do needs no plan; whatever else becomes of a work does.
func TestRefresh(t *testing.T) {
	w := wanted(t, Input{Content: content(manifest(configMap("a"), 100))}).Works[0]
	made := func(change func(*fleet.LiveWork)) []fleet.LiveWork {
		lw := Live(w)
		lw.UID, lw.Generation = "u", 2
		change(&lw)
		return []fleet.LiveWork{lw}
	}
	asPlanned := func(*fleet.LiveWork) {}
	old := func(lw *fleet.LiveWork) { lw.Generation, lw.SpecDigest, lw.SetDigest = 1, "old", "old" }
	deleting := func(lw *fleet.LiveWork) { old(lw); lw.Deleting = true }
	for name, row := range map[string]struct {
		why         string
		before, now []fleet.LiveWork
		wanted      bool
		want        string // "" is not foreseen
	}{
		"created":         {"that is what the change did", nil, made(asPlanned), true, "Keep"},
		"not yet":         {"nothing has happened", nil, nil, true, "Create"},
		"other was made":  {"somebody else has made it", nil, made(old), true, ""},
		"updated":         {"that is what the change did", made(old), made(asPlanned), true, "Keep"},
		"reported":        {"a status is no change", made(old), made(func(lw *fleet.LiveWork) { old(lw); lw.Status.Observed = true }), true, "Update"},
		"edited":          {"somebody has changed it", made(old), made(func(lw *fleet.LiveWork) { old(lw); lw.SpecDigest = "edited" }), true, ""},
		"taken away":      {"somebody has deleted it", made(old), nil, true, ""},
		"being deleted":   {"somebody deletes it", made(old), made(deleting), true, ""},
		"replaced":        {"it is another work of that name", made(old), made(func(lw *fleet.LiveWork) { old(lw); lw.UID = "v" }), true, ""},
		"was deleted":     {"its name is free now", made(deleting), nil, true, "Create"},
		"deleted":         {"that is what the change did", made(old), nil, false, "nothing"},
		"deletion begins": {"that is what the change did", made(old), made(deleting), false, "Keep"},
		"orphaned":        {"that comes before the deletion", made(old), made(func(lw *fleet.LiveWork) { old(lw); lw.SpecDigest, lw.Orphan = "x", true }), false, "Delete"},
		"lost its label":  {"somebody has changed it", made(asPlanned), made(func(lw *fleet.LiveWork) { lw.OwnerDigest, lw.MetaDigest = "", "" }), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var works []*workv1.ManifestWork
			if row.wanted {
				works = append(works, w)
			}
			now, foreseen := Diff(row.before, works).Refresh(row.now)
			got := ""
			if foreseen {
				got = "nothing"
			}
			if len(now) > 0 {
				got = fmt.Sprint(now[0].Action)
			}
			if got != row.want {
				t.Errorf("%q, want %q: %s", got, row.want, row.why)
			}
			if foreseen {
				if diff := cmp.Diff(lines(Diff(row.now, works)), lines(now)); diff != "" {
					t.Errorf("the changes are not those of a new comparison (-want +got):\n%s", diff)
				}
			}
		})
	}
	if _, foreseen := Diff(made(old), []*workv1.ManifestWork{w}).Refresh(append(made(old), Live(wanted(t, Input{
		Owner: fleet.ApplicationOwner("retail", strings.ToLower(t.Name())), Content: content(manifest(configMap("b"), 100)),
	}).Works[0]))); foreseen {
		t.Error("a work that no change knows is foreseen")
	}
}
