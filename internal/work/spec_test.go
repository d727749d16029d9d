package work

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// What is remembered of a content must never answer for an input that wants something else.
func TestSharedSpecs(t *testing.T) {
	manifests := []fleet.Manifest{manifest(configMap("a"), 100), manifest(configMap("b"), 100)}
	shared := &fleet.Content{Digest: t.Name(), Manifests: manifests}
	tests := map[string]struct {
		why    string
		change func(*Options)
		live   []fleet.LiveWork
	}{
		"plain": {why: "the one that the others differ from", change: func(*Options) {}},
		"executor": {
			why:    "another identity applies the work",
			change: func(o *Options) { o.ServiceAccount = "deployer" },
		},
		"executor elsewhere": {
			why: "the same name in another namespace is another identity",
			change: func(o *Options) {
				o.ServiceAccount, o.Namespace = "deployer", "elsewhere"
			},
		},
		"ignore": {
			why: "a field is left to others",
			change: func(o *Options) {
				o.Ignore = []musterv1alpha1.IgnoreRule{{Kind: "ConfigMap", JSONPointers: []string{"/data"}}}
			},
		},
		"divided": {
			why:    "this cluster has the objects in two works",
			change: func(*Options) {},
			live:   []fleet.LiveWork{{Part: 0, Objects: []fleet.ObjectKey{configMap("a")}}, {Part: 1, Objects: []fleet.ObjectKey{configMap("b")}}},
		},
		"kept": {
			why:    "this cluster keeps an object that was left behind",
			change: func(*Options) {},
			live:   []fleet.LiveWork{{Part: 0, Kept: []fleet.ObjectKey{configMap("old")}}},
		},
	}
	digests := map[string]string{}
	for range 2 { // the second time everything is remembered
		for name, test := range tests {
			var options Options
			test.change(&options)
			got := wanted(t, Input{Options: options, Content: shared, Live: test.live})
			want := wanted(t, Input{Options: options, Content: content(manifests...), Live: test.live})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s (-computed +remembered):\n%s", name, test.why, diff)
			}
			digests[got.Digest] = name
		}
	}
	if len(digests) != len(tests) {
		t.Errorf("%d inputs give %d distinct sets", len(tests), len(digests))
	}
}
