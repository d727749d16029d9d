package embedded

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSettings(t *testing.T) {
	was := settings{Clusters: []string{"cluster-1", "cluster-2"}, LocalRepositories: []string{"/a"}, StatusInterval: time.Second}
	for name, test := range map[string]struct {
		why   string
		asked Options
		want  settings
	}{
		"nothing asked": {why: "the fleet is as it was", want: was},
		"more clusters": {
			why: "they come to those that are there", asked: Options{Clusters: []string{"cluster-1", "cluster-2", "cluster-3"}},
			want: settings{Clusters: []string{"cluster-1", "cluster-2", "cluster-3"}, LocalRepositories: []string{"/a"}, StatusInterval: time.Second},
		},
		"a real cluster": {
			why: "those that are there keep their fake nodes", asked: Options{Clusters: []string{"cluster-1", "edge"}, Real: true},
			want: settings{
				Clusters: []string{"cluster-1", "cluster-2", "edge"}, RealClusters: []string{"edge"}, LocalRepositories: []string{"/a"}, StatusInterval: time.Second,
			},
		},
		"fewer clusters": {
			why: "none is dropped by a smaller number", asked: Options{Clusters: []string{"cluster-1"}}, want: was,
		},
		"other repositories": {
			why: "what may be read is what was said last", asked: Options{Repositories: []string{"/b"}},
			want: settings{Clusters: was.Clusters, LocalRepositories: []string{"/b"}, StatusInterval: time.Second},
		},
		"no repositories": {
			why: "it can be taken back", asked: Options{Repositories: []string{}},
			want: settings{Clusters: was.Clusters, LocalRepositories: []string{}, StatusInterval: time.Second},
		},
		"other intervals": {
			why: "the last word counts", asked: Options{StatusInterval: time.Minute, HealthPeriod: time.Hour},
			want: settings{Clusters: was.Clusters, LocalRepositories: []string{"/a"}, StatusInterval: time.Minute, HealthPeriod: time.Hour},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := was.with(test.asked).write(dir); err != nil {
				t.Fatal(err)
			}
			got, err := readSettings(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(test.want.LocalRepositories) == 0 {
				test.want.LocalRepositories = nil // as it is read
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.why, diff)
			}
		})
	}
	if diff := cmp.Diff([]string{"cluster-2"}, was.without([]string{"cluster-1"}).Clusters); diff != "" {
		t.Errorf("a cluster that was let go (-want +got):\n%s", diff)
	}
	for _, name := range []string{"../up", "hub", "", "a.b", "kube-system", "default"} {
		if err := (settings{Clusters: []string{name}}).check(); err == nil {
			t.Errorf("a cluster may be called %q", name)
		}
	}
}
