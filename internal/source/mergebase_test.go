package source

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestMergeBase(t *testing.T) {
	for _, clock := range []string{"goes on", "stands still", "goes back"} {
		root := t.TempDir()
		r := newRepository(t, filepath.Join(root, "fleet.git"))
		r.tick = 1000
		commit := func(content string, parents ...string) string {
			switch clock {
			case "stands still":
				r.tick = 1000
			case "goes back":
				r.tick -= 2
			}
			return r.commit(map[string]file{"a": text(content)}, parents...)
		}
		first := commit("1")
		left := commit("2", first)
		right := commit("3", first)
		merged := commit("4", right, left)
		main := commit("5", left)
		other := commit("6")
		for name, h := range map[string]string{"main": main, "side": merged, "right": right, "other": other} {
			r.push(name, h)
		}
		s := &Store{Dir: t.TempDir(), Local: []string{root}}
		url := "file://" + r.dir
		for _, branch := range []string{"main", "side", "right", "other"} {
			if _, err := s.Fetch(t.Context(), Remote{URL: url, Ref: Ref{Branch: branch}}); err != nil {
				t.Fatal(err)
			}
		}
		for name, c := range map[string]struct{ a, b, want string }{
			"a fork":        {main, right, first},
			"itself":        {main, main, main},
			"an ancestor":   {main, first, first},
			"after a merge": {main, merged, left},
		} {
			for _, sides := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
				if got, err := s.MergeBase(url, sides[0], sides[1]); err != nil || got != c.want {
					t.Errorf("the clock %s, %s: %.7s %v, want %.7s", clock, name, got, err, c.want)
				}
			}
		}
		if _, err := s.MergeBase(url, main, other); err == nil || !strings.Contains(err.Error(), "no history in common") {
			t.Errorf("strangers: %v", err)
		}
	}
}
