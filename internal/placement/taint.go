package placement

import (
	"math"
	"strconv"
	"strings"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// taints keeps the clusters whose taints are tolerated: NoSelect always needs a toleration, NoSelectIfNew does for
// clusters that were not chosen before, PreferNoSelect only lowers the rank.
func taints(r *run) error {
	defer r.trace(FilterPlugin, "TaintToleration")()
	if err := checkTolerations(r.placement.Spec.Tolerations); err != nil {
		return err
	}
	kept := r.candidates[:0]
	for _, c := range r.candidates {
		if len(c.cluster.Spec.Taints) == 0 {
			kept = append(kept, c)
			continue
		}
		unmet, unreachable := r.untolerated(&c)
		if len(unmet) == 0 {
			kept = append(kept, c)
			continue
		}
		r.tainted++
		r.drop(&c, StepTaints, strings.Join(unmet, "; ")).Unreachable = unreachable
	}
	r.candidates = kept
	r.result.Filters = append(r.result.Filters, Filter{Name: "Predicate,TaintToleration", Clusters: r.names()})
	return nil
}

// checkTolerations enforces OCM's two rules, with OCM's messages.
func checkTolerations(tolerations []clusterv1beta1.Toleration) error {
	for i, t := range tolerations {
		field := "spec.tolerations[" + strconv.Itoa(i) + "]"
		if t.Key == "" && t.Operator != clusterv1beta1.TolerationOpExists {
			return &misconfigured{plugin: "TaintToleration", field: field, message: "If the key is empty, operator must be Exists."}
		}
		if t.Operator == clusterv1beta1.TolerationOpExists && t.Value != "" {
			return &misconfigured{plugin: "TaintToleration", field: field, message: "If the operator is Exists, the value should be empty."}
		}
	}
	return nil
}

// untolerated gives the taints that exclude a cluster, as reasons, and whether all of them say that the hub does not
// reach it. It marks a candidate with an untolerated PreferNoSelect, and notes when a toleration ends.
func (r *run) untolerated(c *candidate) (unmet []string, unreachable bool) {
	unreachable = true
	var expires time.Time
	for i := range c.cluster.Spec.Taints {
		taint := &c.cluster.Spec.Taints[i]
		if taint.Effect == clusterv1.TaintEffectNoSelectIfNew && r.previous[c.cluster.Name] {
			continue
		}
		tolerated, until, expired := tolerate(taint, r.placement.Spec.Tolerations, r.now)
		if tolerated {
			if !until.IsZero() && (expires.IsZero() || until.Before(expires)) {
				expires = until
			}
			continue
		}
		if taint.Effect == clusterv1.TaintEffectPreferNoSelect {
			c.avoid = true
			continue
		}
		unmet = append(unmet, taintReason(taint, expired))
		unreachable = unreachable && (taint.Key == clusterv1.ManagedClusterTaintUnreachable || taint.Key == clusterv1.ManagedClusterTaintUnavailable)
	}
	if len(unmet) == 0 && !expires.IsZero() {
		r.requeueAt(expires)
	}
	return unmet, unreachable && len(unmet) > 0
}

// tolerate says whether one of the tolerations matches a taint, until when (zero is for ever), and, when all that match have
// expired, the seconds of one of them.
func tolerate(taint *clusterv1.Taint, tolerations []clusterv1beta1.Toleration, now time.Time) (ok bool, until time.Time, expired *int64) {
	for i := range tolerations {
		t := &tolerations[i]
		if !matchesTaint(t, taint) {
			continue
		}
		if t.TolerationSeconds == nil {
			return true, time.Time{}, nil
		}
		end := taint.TimeAdded.Add(seconds(*t.TolerationSeconds))
		if !now.Before(end) {
			expired = t.TolerationSeconds
			continue
		}
		if ok = true; end.After(until) {
			until = end
		}
	}
	return ok, until, expired
}

// seconds is a number of seconds as a duration, bounded by the longest one: people write the largest number for "for ever".
func seconds(n int64) time.Duration {
	return time.Duration(max(0, min(n, math.MaxInt64/int64(time.Second)))) * time.Second
}

func matchesTaint(t *clusterv1beta1.Toleration, taint *clusterv1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect {
		return false
	}
	if t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case "", clusterv1beta1.TolerationOpEqual:
		return t.Value == taint.Value
	case clusterv1beta1.TolerationOpExists:
		return true
	default:
		return false
	}
}

func taintReason(taint *clusterv1.Taint, expired *int64) string {
	text := "taint " + taintText(taint)
	switch {
	case expired != nil:
		return text + " is no longer tolerated: " + strconv.FormatInt(max(0, *expired), 10) + "s have passed"
	case taint.Effect == clusterv1.TaintEffectNoSelectIfNew:
		return text + " is not tolerated, and the cluster was not chosen before"
	default:
		return text + " is not tolerated"
	}
}

// taintText is key=value:effect, as people write it.
func taintText(taint *clusterv1.Taint) string {
	text := taint.Key
	if taint.Value != "" {
		text += "=" + taint.Value
	}
	return text + ":" + string(taint.Effect)
}
