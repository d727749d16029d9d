package rollout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var rolloutNow = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// in writes clusters as "name state age" separated by commas: "a Succeeded 5m, b ToApply, c Failed 1m offline". One that is "onhold" is held on its own side.
func in(t *testing.T, name string, index int32, text string) Group {
	t.Helper()
	g := Group{Name: name, Index: index}
	for _, part := range strings.Split(text, ", ") {
		words := strings.Fields(part)
		c := Cluster{Name: words[0], State: State(words[1])}
		for _, w := range words[2:] {
			if w == "offline" || w == "held" || w == "onhold" {
				c.Offline, c.Held, c.OnHold = w != "held", w == "held", w == "onhold"
				continue
			}
			age, err := time.ParseDuration(w)
			if err != nil {
				t.Fatal(err)
			}
			c.Since = rolloutNow.Add(-age)
		}
		g.Clusters = append(g.Clusters, c)
	}
	return g
}

func selectionText(s Selection) string {
	text := "select " + strings.Join(s.Selected, " ") + "; in flight " + strings.Join(s.InFlight, " ")
	if len(s.TimedOut) > 0 {
		text += "; timed out " + strings.Join(s.TimedOut, " ")
	}
	if s.Waiting > 0 {
		text += fmt.Sprintf("; %d wait", s.Waiting)
	}
	if s.Group != "" {
		text += "; at " + s.Group
	}
	for word, is := range map[string]bool{"stopped": s.Stopped, "done": s.Done, "unproven": s.Unproven, "unapproved": s.Unapproved} {
		if is {
			text += "; " + word
		}
	}
	return text
}

func progressive(concurrency string, config clusterv1alpha1.RolloutConfig, mandatory ...string) musterv1alpha1.Rollout {
	return musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{
		RolloutConfig: config, MaxConcurrency: intstr.Parse(concurrency), MandatoryDecisionGroups: groupsNamed(mandatory),
	}}}
}

func allAtOnce(config clusterv1alpha1.RolloutConfig) musterv1alpha1.Rollout {
	return musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.All, All: &clusterv1alpha1.RolloutAll{RolloutConfig: config}}}
}

func orReturn(strategy musterv1alpha1.Rollout) musterv1alpha1.Rollout {
	strategy.OnFailure = musterv1alpha1.FailureRollback
	return strategy
}

func perGroup(config clusterv1alpha1.RolloutConfig, mandatory ...string) musterv1alpha1.Rollout {
	return musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.ProgressivePerGroup, ProgressivePerGroup: &clusterv1alpha1.RolloutProgressivePerGroup{
		RolloutConfig: config, MandatoryDecisionGroups: groupsNamed(mandatory),
	}}}
}

func groupsNamed(names []string) clusterv1alpha1.MandatoryDecisionGroups {
	var m clusterv1alpha1.MandatoryDecisionGroups
	for _, name := range names {
		m.MandatoryDecisionGroups = append(m.MandatoryDecisionGroups, clusterv1alpha1.MandatoryDecisionGroup{GroupName: name})
	}
	return m
}

// TestSelect has the rules of OCM's rolloutStrategy, and what happens to clusters that do not answer.
func TestSelect(t *testing.T) {
	none := clusterv1alpha1.RolloutConfig{}
	soak := clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: 10 * time.Minute}}
	deadline := clusterv1alpha1.RolloutConfig{ProgressDeadline: "30m", MaxFailures: intstr.FromInt32(1)}
	for name, c := range map[string]struct {
		why      string
		strategy musterv1alpha1.Rollout
		groups   []Group
		want     string
	}{
		"all": {"every cluster changes at once, whatever the others do", allAtOnce(none),
			[]Group{in(t, "", 0, "a Failed 1m, b ToApply, c ToApply")}, "select b c; in flight a"},
		"no strategy": {"is all", musterv1alpha1.Rollout{}, []Group{in(t, "", 0, "b ToApply, a ToApply")}, "select a b; in flight "},
		"all or return": {"a failure that was not allowed stops it, so that it is taken back", orReturn(allAtOnce(none)),
			[]Group{in(t, "", 0, "a Failed 1m, b Succeeded 1m")}, "select ; in flight a; stopped"},
		"done": {"nothing is left", progressive("1", none), []Group{in(t, "", 0, "a Succeeded 1m, b Succeeded 0s")}, "select ; in flight ; done"},
		"two at a time": {"clusters go by name", progressive("2", none),
			[]Group{in(t, "", 0, "d ToApply, c ToApply, b ToApply, a ToApply")}, "select a b; in flight ; 2 wait"},
		"in flight first": {"what has changed counts before what has not, whatever its name", progressive("2", none),
			[]Group{in(t, "", 0, "a ToApply, b ToApply, z Progressing 1m")}, "select a; in flight z; 1 wait"},
		"percentage": {"is rounded up", progressive("30%", none),
			[]Group{in(t, "", 0, "a ToApply, b ToApply, c ToApply, d ToApply")}, "select a b; in flight ; 2 wait"},
		"no concurrency": {"zero is all", progressive("0", none), []Group{in(t, "", 0, "a ToApply, b ToApply")}, "select a b; in flight "},
		"soak": {"a success younger than minSuccessTime is in flight", progressive("1", soak),
			[]Group{in(t, "", 0, "a Succeeded 9m, b ToApply")}, "select ; in flight a; 1 wait"},
		"soaked": {"and is done after", progressive("1", soak), []Group{in(t, "", 0, "a Succeeded 10m, b ToApply")}, "select b; in flight "},
		"failure": {"no failure is allowed unless maxFailures says so", progressive("1", none),
			[]Group{in(t, "", 0, "a Failed 1m, b ToApply")}, "select ; in flight a; 1 wait; stopped"},
		"allowed failure": {"it stays in flight until its deadline", progressive("1", deadline),
			[]Group{in(t, "", 0, "a Failed 1m, b ToApply")}, "select ; in flight a; 1 wait"},
		"timed out": {"and then gives its place up", progressive("1", deadline),
			[]Group{in(t, "", 0, "a Failed 30m, b ToApply")}, "select b; in flight ; timed out a"},
		"slow": {"what makes no progress times out too, and is a failure", progressive("1", deadline),
			[]Group{in(t, "", 0, "a Progressing 31m, b Failed 1m, c ToApply")}, "select ; in flight b; timed out a; 1 wait; stopped"},
		"mandatory first": {"the others wait", progressive("5", none, "canary"),
			[]Group{in(t, "", 0, "a ToApply, b ToApply"), in(t, "canary", 1, "y ToApply, z ToApply")}, "select y z; in flight ; 2 wait; at canary"},
		"mandatory soaks": {"until they have succeeded for long enough", progressive("5", soak, "canary"),
			[]Group{in(t, "", 0, "a ToApply"), in(t, "canary", 1, "z Succeeded 1m")}, "select ; in flight z; 1 wait; at canary"},
		"mandatory fails": {"which may not fail, whatever maxFailures says", progressive("5", deadline, "canary"),
			[]Group{in(t, "", 0, "a ToApply"), in(t, "canary", 1, "z Failed 31m")}, "select ; in flight ; timed out z; 1 wait; at canary; stopped"},
		"mandatory done": {"then come the others", progressive("1", none, "canary"),
			[]Group{in(t, "", 0, "a ToApply, b ToApply"), in(t, "canary", 1, "z Succeeded 1m")}, "select a; in flight ; 1 wait"},
		"per group": {"by index", perGroup(none),
			[]Group{in(t, "late", 1, "a ToApply"), in(t, "early", 0, "y ToApply, z Succeeded 1m")}, "select y; in flight ; 1 wait; at early"},
		"per group next": {"the next one follows when the first is through", perGroup(none),
			[]Group{in(t, "late", 1, "a ToApply, b ToApply"), in(t, "early", 0, "z Succeeded 1m")}, "select a b; in flight ; at late"},
		"per group fails": {"maxFailures is of each group", perGroup(deadline),
			[]Group{in(t, "early", 0, "x Failed 40m, y Succeeded 1m"), in(t, "late", 1, "a Failed 40m, b Failed 1m, c ToApply")},
			"select ; in flight b; timed out a x; 1 wait; at late; stopped"},
		"offline": {"does not block, and has its change waiting", progressive("1", none),
			[]Group{in(t, "", 0, "a ToApply offline, b Progressing 1m offline, c ToApply, d ToApply")}, "select a c; in flight ; 1 wait"},
		"offline group": {"a canary that does not answer proves nothing", progressive("1", none, "canary"),
			[]Group{in(t, "canary", 0, "a ToApply offline"), in(t, "", 1, "b ToApply")}, "select a; in flight ; 1 wait; at canary; unproven"},
		"offline and stopped": {"does not get what has failed elsewhere", progressive("1", none),
			[]Group{in(t, "", 0, "a Failed 1m, b ToApply offline")}, "select ; in flight a; 1 wait; stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Select(c.strategy, c.groups, rolloutNow)
			if err != nil {
				t.Fatal(err)
			}
			if selectionText(got) != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.why, selectionText(got), c.want)
			}
		})
	}
}

// TestSelectReturn has the order in which clusters return to what was good.
func TestSelectReturn(t *testing.T) {
	config := clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: time.Hour}}
	for name, c := range map[string]struct {
		why      string
		strategy musterv1alpha1.Rollout
		groups   []Group
		want     string
	}{
		"last first": {"the clusters that changed last return first, as many at a time", progressive("2", config, "canary"),
			[]Group{in(t, "canary", 0, "z ToApply"), in(t, "", 1, "a ToApply, b ToApply, c ToApply")}, "select b c; in flight ; 2 wait"},
		"no soak": {"a cluster that is healthy again is through", progressive("1", config, "canary"),
			[]Group{in(t, "canary", 0, "z ToApply"), in(t, "", 1, "a Succeeded 0s, b Succeeded 1m")}, "select z; in flight ; at canary"},
		"failure": {"a cluster that fails to return stops no other", progressive("1", config, "canary"),
			[]Group{in(t, "canary", 0, "z ToApply"), in(t, "", 1, "a Failed 1m")}, "select z; in flight ; at canary"},
		"slow": {"nor does one that makes no progress, for longer than ten minutes", progressive("1", config),
			[]Group{in(t, "", 1, "a Progressing 9m, b ToApply")}, "select ; in flight a; 1 wait"},
		"too slow": {"", progressive("1", config), []Group{in(t, "", 1, "a Progressing 10m, b ToApply")}, "select b; in flight ; timed out a"},
		"offline":  {"a group that does not answer blocks none", perGroup(config), []Group{in(t, "early", 0, "z ToApply"), in(t, "late", 1, "a ToApply offline")}, "select a z; in flight ; at early"},
		"all":      {"at once", orReturn(allAtOnce(config)), []Group{in(t, "", 0, "a ToApply, b Failed 1m")}, "select a; in flight "},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := SelectReturn(c.strategy, c.groups, rolloutNow)
			if err != nil {
				t.Fatal(err)
			}
			if selectionText(got) != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.why, selectionText(got), c.want)
			}
		})
	}
}

// TestSelectRefuses: what an API server without our schema lets through is named.
func TestSelectRefuses(t *testing.T) {
	for field, strategy := range map[string]musterv1alpha1.Rollout{
		"maxConcurrency":   progressive("many", clusterv1alpha1.RolloutConfig{}),
		"maxFailures":      progressive("1", clusterv1alpha1.RolloutConfig{MaxFailures: intstr.FromString("few")}),
		"progressDeadline": progressive("1", clusterv1alpha1.RolloutConfig{ProgressDeadline: "soon"}),
	} {
		if _, err := Select(strategy, nil, rolloutNow); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// TestSelectEnds steps rollouts of random fleets to their end: never more clusters in flight than maxConcurrency, no cluster of
// a group before the groups ahead of it are through, and every rollout ends or is stopped.
func TestSelectEnds(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		groups, concurrency := make([]Group, 1+r.IntN(4)), 1+r.IntN(4)
		for i := range groups {
			groups[i] = Group{Name: fmt.Sprintf("g%d", i), Index: int32(i)}
			for j := range 1 + r.IntN(6) {
				groups[i].Clusters = append(groups[i].Clusters, Cluster{Name: fmt.Sprintf("g%d-%d", i, j), State: ToApply})
			}
		}
		config := clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: time.Duration(r.IntN(3)) * time.Minute}, ProgressDeadline: "5m", MaxFailures: intstr.FromInt32(int32(r.IntN(3)))}
		strategy := progressive(fmt.Sprint(concurrency), config, "g0")
		byGroup := r.IntN(2) == 0
		if byGroup {
			strategy = perGroup(config)
		}
		simulateSelection(t, r, strategy, groups, concurrency, byGroup)
	}
}

func simulateSelection(t *testing.T, r *rand.Rand, strategy musterv1alpha1.Rollout, groups []Group, concurrency int, byGroup bool) {
	t.Helper()
	now := rolloutNow
	for range 10_000 {
		s, err := Select(strategy, groups, now)
		if err != nil {
			t.Fatal(err)
		}
		if s.Done || s.Stopped {
			return
		}
		first := func(c string) bool { return strings.HasPrefix(c, "g0-") } // the mandatory group changes as a whole
		fresh, inFlight := slices.DeleteFunc(slices.Clone(s.Selected), first), slices.DeleteFunc(slices.Clone(s.InFlight), first)
		if !byGroup && len(fresh) > 0 && len(fresh)+len(inFlight) > concurrency {
			t.Fatalf("%d clusters in flight, %d allowed: %s", len(fresh)+len(inFlight), concurrency, selectionText(s))
		}
		for i := range groups {
			ahead := slices.ContainsFunc(groups[:i], func(g Group) bool {
				return slices.ContainsFunc(g.Clusters, func(c Cluster) bool {
					return c.State == ToApply || slices.Contains(s.InFlight, c.Name) && (c.State != Failed || !byGroup) // a failure that is allowed does not hold the next group
				})
			})
			if ordered := byGroup || i == 1; ordered && ahead && slices.ContainsFunc(s.Selected, func(c string) bool { return strings.HasPrefix(c, groups[i].Name+"-") }) {
				t.Fatalf("group %s begins before those ahead of it are through: %s", groups[i].Name, selectionText(s))
			}
		}
		now = now.Add(time.Duration(r.IntN(60)) * time.Second)
		for i := range groups {
			for j := range groups[i].Clusters {
				c := &groups[i].Clusters[j]
				switch {
				case c.State == ToApply && slices.Contains(s.Selected, c.Name) && r.IntN(2) == 0:
					c.State, c.Since = Progressing, now
				case c.State == Progressing && r.IntN(4) == 0:
					c.State, c.Since = Succeeded, now
				case (c.State == Progressing || c.State == Succeeded) && r.IntN(60) == 0:
					c.State, c.Since = Failed, now
				}
			}
		}
	}
	t.Fatal("the rollout does not end")
}

// TestProgress: each step says how far it is, also one that has not begun, and until when the last of its clusters is in minSuccessTime.
func TestProgress(t *testing.T) {
	strategy := progressive("2", clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: 10 * time.Minute}, ProgressDeadline: "1h"}, "canary")
	s, err := Select(strategy, []Group{in(t, "canary", 0, "a Succeeded 9m, b Succeeded 4m, c Succeeded 1m offline, d Progressing 2h"), in(t, "prod", 1, "y ToApply, z Succeeded 20m")}, rolloutNow)
	if err != nil {
		t.Fatal(err)
	}
	want := []Progress{{Name: "canary", Clusters: 4, Updated: 4, Failed: 1, SoakUntil: rolloutNow.Add(6 * time.Minute)}, {Clusters: 2, Updated: 1}}
	if diff := cmp.Diff(want, s.Progress); diff != "" {
		t.Error(diff)
	}
}
