package registration_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/registration"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

func TestSilentAndClock(t *testing.T) {
	deleted := metav1.NewTime(now)
	for name, test := range map[string]struct {
		why     string
		beat    *registration.Beat
		seconds int32
		cluster clusterv1.ManagedCluster
		silent  bool
		next    time.Duration
		synced  metav1.ConditionStatus // empty: nothing is said
	}{
		"fresh":            {why: "looked at again at its deadline", beat: beat(ago(10*time.Second), ago(10*time.Second)), next: 290 * time.Second, synced: metav1.ConditionTrue},
		"at the deadline":  {why: "five periods of 60 s", beat: beat(ago(300*time.Second), ago(300*time.Second)), silent: true, next: time.Minute, synced: metav1.ConditionTrue},
		"own period":       {why: "spec.leaseDurationSeconds counts", seconds: 1, beat: beat(ago(6*time.Second), ago(6*time.Second)), silent: true, next: time.Second, synced: metav1.ConditionTrue},
		"no period":        {why: "less than nothing is none: 60 s", seconds: -7, beat: beat(ago(10*time.Second), ago(10*time.Second)), next: 290 * time.Second, synced: metav1.ConditionTrue},
		"very long":        {why: "five of the longest periods are more than a Duration: no agent is silent before its end", seconds: math.MaxInt32, beat: beat(ago(10*time.Second), ago(10*time.Second)), next: math.MaxInt64 - 10*time.Second, synced: metav1.ConditionTrue},
		"very long, hours": {why: "nor after an hour, whatever the clocks say", seconds: 2_000_000_000, beat: beat(ago(time.Hour), ago(time.Second)), next: math.MaxInt64 - time.Second, synced: metav1.ConditionTrue},
		"very long, none":  {why: "without a lease too", seconds: 2_000_000_000, next: math.MaxInt64},
		"clock behind":     {why: "written just now by a clock that is an hour behind: not silent, but apart", beat: beat(ago(time.Hour), ago(time.Second)), next: 299 * time.Second, synced: metav1.ConditionFalse},
		"clock ahead":      {why: "a lease from the future does not hide silence", beat: beat(now.Add(time.Hour), ago(301*time.Second)), silent: true, next: time.Minute, synced: metav1.ConditionFalse},
		"nobody noted":     {why: "without the API server's time, the agent's counts", beat: beat(ago(301*time.Second), time.Time{}), silent: true, next: time.Minute},
		"no lease":         {why: "the hub is about to make it", next: 300 * time.Second},
		"deleted, without": {why: "OCM: Unknown at once", silent: true, next: time.Minute, cluster: clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &deleted}}},
		"check turned off": {why: "the annotation", beat: beat(ago(time.Hour), ago(time.Second)), next: 299 * time.Second,
			cluster: clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{clusterv1.SkipClockSyncCheckAnnotationKey: "true"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			test.cluster.Spec.LeaseDurationSeconds = test.seconds
			silent, next := registration.Silent(&test.cluster, test.beat, registration.Listening{}, now)
			if (silent != nil) != test.silent || next != test.next {
				t.Errorf("%s: silent %v, next look in %s; want %v, %s", test.why, silent != nil, next, test.silent, test.next)
			}
			var synced metav1.ConditionStatus
			if c := registration.ClockSynced(&test.cluster, test.beat, now); c != nil {
				synced = c.Status
			}
			if synced != test.synced {
				t.Errorf("%s: clock synced %q, want %q", test.why, synced, test.synced)
			}
		})
	}
}

// TestPeriodLowered: an agent that kept a longer period is not silent before it had the time to keep the shorter one.
func TestPeriodLowered(t *testing.T) {
	const asks, others = `{"f:spec":{"f:leaseDurationSeconds":{}}}`, `{"f:spec":{"f:taints":{}}}`
	for name, test := range map[string]struct {
		why     string
		fields  string
		written time.Time
		silent  bool
		next    time.Duration
	}{
		"just now":       {"the last renewal was in time for the period of the moment", asks, ago(10 * time.Second), false, 290 * time.Second},
		"long ago":       {"it had five of the new periods", asks, ago(300 * time.Second), true, time.Minute},
		"something else": {"who taints the cluster asks for no other period", others, ago(10 * time.Second), true, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			at := metav1.NewTime(test.written)
			cluster := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
				{}, {Time: &at, FieldsV1: metav1.NewFieldsV1(test.fields)}}}}
			silent, next := registration.Silent(cluster, beat(ago(time.Hour), ago(time.Hour)), registration.Listening{}, now)
			if (silent != nil) != test.silent || next != test.next {
				t.Errorf("%s: silent %v, next look in %s; want %v, %s", test.why, silent != nil, next, test.silent, test.next)
			}
		})
	}
}

// TestLeaseDeadline: it grows with the period, and never below it.
func TestLeaseDeadline(t *testing.T) {
	for seconds, want := range map[int32]time.Duration{
		math.MinInt32: 300 * time.Second, -1: 300 * time.Second, 0: 300 * time.Second, 1: 5 * time.Second,
		1_800_000_000: 9_000_000_000 * time.Second, 1_900_000_000: math.MaxInt64, math.MaxInt32: math.MaxInt64,
	} {
		cluster := &clusterv1.ManagedCluster{Spec: clusterv1.ManagedClusterSpec{LeaseDurationSeconds: seconds}}
		if got := registration.LeaseDeadline(cluster); got != want {
			t.Errorf("%d seconds: a deadline of %s, want %s", seconds, got, want)
		}
		if got := *registration.WantLease(cluster, now).Spec.LeaseDurationSeconds; seconds > 0 && got != seconds {
			t.Errorf("%d seconds: the lease says %d", seconds, got)
		}
	}
}

func beat(renewed, written time.Time) *registration.Beat {
	return &registration.Beat{Renewed: renewed, Written: written}
}

func TestBeatOf(t *testing.T) {
	renewed, early, late := metav1.NewMicroTime(ago(time.Hour)), metav1.NewTime(ago(2*time.Minute)), metav1.NewTime(ago(time.Minute))
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Time: &early}, {Time: &late}, {}}},
		Spec:       coordinationv1.LeaseSpec{RenewTime: &renewed},
	}
	if diff := cmp.Diff(beat(renewed.Time, late.Time), registration.BeatOf(lease)); diff != "" {
		t.Errorf("the last write counts (-want +got):\n%s", diff)
	}
	if registration.BeatOf(&coordinationv1.Lease{}) != nil || registration.BeatOf(nil) != nil {
		t.Error("a lease that was never renewed has no beat")
	}
}

func TestWantTaints(t *testing.T) {
	at := clusterv1.NewTaintTime(now)
	before := clusterv1.NewTaintTime(ago(time.Hour))
	git := clusterv1.Taint{Key: "site", Value: "small", Effect: clusterv1.TaintEffectNoSelect, TimeAdded: before}
	unreachable := clusterv1.Taint{Key: clusterv1.ManagedClusterTaintUnreachable, Effect: clusterv1.TaintEffectNoSelect, TimeAdded: before}
	unavailable := clusterv1.Taint{Key: clusterv1.ManagedClusterTaintUnavailable, Effect: clusterv1.TaintEffectNoSelect, TimeAdded: before}
	timed := func(t clusterv1.Taint) clusterv1.Taint { t.TimeAdded = at; return t }
	for name, test := range map[string]struct {
		why       string
		available metav1.ConditionStatus
		reason    string // of the condition; left out, that of the hub
		taints    []clusterv1.Taint
		doubt     registration.Doubt
		want      []clusterv1.Taint
	}{
		"available":             {why: "both go, Git's stays", available: metav1.ConditionTrue, taints: []clusterv1.Taint{unreachable, git, unavailable}, want: []clusterv1.Taint{git}},
		"unknown":               {why: "unreachable beside Git's", available: metav1.ConditionUnknown, taints: []clusterv1.Taint{git}, want: []clusterv1.Taint{git, timed(unreachable)}},
		"still unknown":         {why: "the time stays that of the first", available: metav1.ConditionUnknown, taints: []clusterv1.Taint{unreachable, git}, want: []clusterv1.Taint{unreachable, git}},
		"from unknown to false": {why: "the one replaces the other", available: metav1.ConditionFalse, taints: []clusterv1.Taint{unreachable}, want: []clusterv1.Taint{timed(unavailable)}},
		"spared":                {why: "many are silent at once", available: metav1.ConditionUnknown, doubt: registration.Spared, taints: []clusterv1.Taint{unreachable, git}, want: []clusterv1.Taint{git}},
		"spared before":         {why: "its silence is judged anew", available: metav1.ConditionUnknown, doubt: registration.Unproven, taints: []clusterv1.Taint{git}, want: []clusterv1.Taint{git}},
		"not proven":            {why: "the hub has just started", available: metav1.ConditionUnknown, doubt: registration.Unproven, taints: []clusterv1.Taint{unreachable}, want: []clusterv1.Taint{unreachable}},
		"somebody else's word":  {why: "the hub doubts its own verdicts only", available: metav1.ConditionUnknown, reason: "Reported", doubt: registration.Spared, taints: []clusterv1.Taint{git}, want: []clusterv1.Taint{git, timed(unreachable)}},
		"never joined":          {why: "nobody doubts it", doubt: registration.Unproven, want: []clusterv1.Taint{timed(unreachable)}},
		"no condition":          {why: "never seen is unreachable", want: []clusterv1.Taint{timed(unreachable)}},
		"without a time":        {why: "tolerationSeconds counts from it", available: metav1.ConditionTrue, taints: []clusterv1.Taint{{Key: "site", Effect: clusterv1.TaintEffectNoSelectIfNew}}, want: []clusterv1.Taint{{Key: "site", Effect: clusterv1.TaintEffectNoSelectIfNew, TimeAdded: at}}},
		"the key, another effect": {why: "somebody else's", available: metav1.ConditionTrue,
			taints: []clusterv1.Taint{{Key: clusterv1.ManagedClusterTaintUnreachable, Effect: clusterv1.TaintEffectPreferNoSelect, TimeAdded: before}},
			want:   []clusterv1.Taint{{Key: clusterv1.ManagedClusterTaintUnreachable, Effect: clusterv1.TaintEffectPreferNoSelect, TimeAdded: before}}},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := &clusterv1.ManagedCluster{Spec: clusterv1.ManagedClusterSpec{Taints: test.taints}}
			reason := clusterv1.ReasonLeaseUpdateStopped
			if test.reason != "" {
				reason = test.reason
			}
			if test.available != "" {
				cluster.Status.Conditions = []metav1.Condition{{Type: clusterv1.ManagedClusterConditionAvailable, Status: test.available, Reason: reason}}
			}
			got := registration.WantTaints(cluster, test.doubt, now)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.why, diff)
			}
			cluster.Spec.Taints = got
			if diff := cmp.Diff(got, registration.WantTaints(cluster, test.doubt, now.Add(time.Hour)), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("a second time changes nothing (-want +got):\n%s", diff)
			}
		})
	}
}
