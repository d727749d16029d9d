package render

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hook is a Job with a hook's annotations.
func hook(name, annotations string) string {
	return fmt.Sprintf("---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: %s, annotations: {%s}}\n", name, annotations)
}

// wavesIn are the objects of a rendering with what the agent reads off them.
func wavesIn(t *testing.T, archive, spec string) (lines []string, contents map[string]string) {
	t.Helper()
	contents = map[string]string{}
	content := mustRender(t, New(1<<20), input(t, archive, spec))
	for _, m := range content.Manifests {
		var o struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(m.JSON, &o); err != nil {
			t.Fatal(err)
		}
		a := o.Metadata.Annotations
		line := m.Key.Name
		for _, key := range []string{"muster.dev/wave", "muster.dev/delete-policy"} {
			line += " " + a[key]
		}
		if contents[m.Key.Name] = a["muster.dev/hook-content"]; contents[m.Key.Name] != "" {
			line += " again"
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	slices.Sort(lines)
	return lines, contents
}

// TestHooksInWaves: hooks run around the other objects, by weight, and go as their delete policies say.
func TestHooksInWaves(t *testing.T) {
	web := "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
	for name, c := range map[string]struct {
		why       string
		templates string
		helm      string
		want      []string
	}{
		"before and after": {"by weight, which is 0 when it is left out", web +
			hook("b", "helm.sh/hook: pre-install, helm.sh/hook-weight: '5'") + hook("a", "helm.sh/hook: pre-install, helm.sh/hook-weight: '-5'") +
			hook("c", "helm.sh/hook: pre-install") + hook("z", "helm.sh/hook: post-install"), `{}`,
			[]string{"a -3 BeforeApply", "b -1 BeforeApply", "c -2 BeforeApply", "web", "z 1 BeforeApply"}},
		"around waves": {"the chart's own waves are between", "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: {muster.dev/wave: '7'}}\n" +
			"---\napiVersion: v1\nkind: Service\nmetadata: {name: early, annotations: {muster.dev/wave: '-2'}}\n" +
			hook("a", "helm.sh/hook: pre-install") + hook("z", "helm.sh/hook: post-install"), `{}`,
			[]string{"a -3 BeforeApply", "early -2", "web 7", "z 8 BeforeApply"}},
		"delete policies": {"are Helm's", web + hook("a", "helm.sh/hook: pre-install, helm.sh/hook-delete-policy: 'before-hook-creation, hook-succeeded'") +
			hook("b", "helm.sh/hook: pre-install, helm.sh/hook-delete-policy: hook-failed"), `{}`,
			[]string{"a -1 BeforeApply,WhenReady", "b -1 WhenFailed", "web"}},
		"upgrades": {"a hook of upgrades runs again when the chart gives something else", web + hook("a", "helm.sh/hook: 'pre-install,pre-upgrade'"), `{}`,
			[]string{"a -1 BeforeApply again", "web"}},
		"own wave": {"what the chart says in Muster's words counts", web + hook("a", "helm.sh/hook: pre-install, muster.dev/wave: '3'"), `{}`,
			[]string{"a 3 BeforeApply", "web"}},
		"other events": {"do not happen", web + hook("a", "helm.sh/hook: pre-delete") + hook("b", "helm.sh/hook: 'post-rollback,test'"), `{}`, []string{"web"}},
		"ignored":      {"if the application says so", web + hook("a", "helm.sh/hook: pre-install"), `{hooks: Ignore}`, []string{"web"}},
	} {
		t.Run(name, func(t *testing.T) {
			archive, spec := helmCase(c.templates, c.helm)
			got, _ := wavesIn(t, archive, spec)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
		})
	}
}

// TestHooksRunAgain: a change of the chart is one of its hooks of upgrades, and of no other.
func TestHooksRunAgain(t *testing.T) {
	hooks := hook("up", "helm.sh/hook: pre-upgrade") + hook("once", "helm.sh/hook: pre-install")
	archive, spec := helmCase(configMap+"data: {v: '1'}\n"+hooks, `{}`)
	_, before := wavesIn(t, archive, spec)
	_, same := wavesIn(t, archive, spec)
	archive, spec = helmCase(configMap+"data: {v: '2'}\n"+hooks, `{}`)
	_, after := wavesIn(t, archive, spec)
	if before["up"] == "" || before["up"] != same["up"] || before["up"] == after["up"] || after["once"] != "" {
		t.Errorf("digests %v, %v, and %v after a change", before, same, after)
	}
}
