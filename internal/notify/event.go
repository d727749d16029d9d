// Package notify decides who is told of what, and how a message looks to each kind of receiver.
//
// In go an event and a Notification; out come whether it is told, a message, and the request that carries it. Sending is one function
// for HTTP and one for mail; pacing, retries and what is remembered belong to the hub's controller.
package notify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/expression"
)

// Event is something that happened.
type Event struct {
	// ID is the same for every attempt to tell it.
	ID string `json:"id"`
	// Kind is one of spec.events.
	Kind     string `json:"event"`
	Severity string `json:"severity"` // Info or Warning
	// Object that it happened to: FleetRepository, Application or ManagedCluster.
	Object    string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Labels of the object.
	Labels map[string]string `json:"labels"`
	// Reason is the event's word for programs: that of the Kubernetes Event.
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
	// Causes tell apart what began, so that an alert ends with its own end: cluster and reason, for one.
	Causes []map[string]string `json:"-"`
}

// kinds are the events of notifications, by the reason of the Kubernetes Event. Whatever else warns is a Fault.
var kinds = map[string]string{
	"Delivered": "Delivered", "Applied": "Applied", "Degraded": "Degraded", "Recovered": "Recovered",
	"DeletionsHeld": "Held", "DeletionsReleased": "Released",
	"DriftFound": "Drift", "DriftCorrected": "DriftCorrected",
	"RolloutStopped": "RolloutStopped", "RolloutResumed": "RolloutResumed", "RolloutStarted": "RolloutStarted",
	"RolloutCompleted": "RolloutCompleted", "RollingBack": "RolloutReturned", "RolledBack": "RolloutReturned",
	"AnalysisInconclusive": "RolloutStopped", "AnalysisResumed": "RolloutResumed",
	"ApprovalNeeded": "ApprovalNeeded", "StepApproved": "StepApproved", "OnHold": "OnHold", "HoldEnded": "HoldEnded",
	"AvailableUnknown": "ClusterLost", "ManagedClusterUnavailable": "ClusterLost", "ManagedClusterAvailable": "ClusterBack",
	"FaultResolved": "Resolved",
}

// KindOf is the event of a Kubernetes Event; empty for one that nobody is told of.
func KindOf(eventType, reason string) string {
	if kind := kinds[reason]; kind != "" {
		return kind
	}
	if eventType == "Warning" {
		return "Fault"
	}
	return ""
}

// systemNamespace is where notifications hear of everything.
const systemNamespace = "muster-system"

// Wants says whether a notification tells an event. An error is about its filter.
func Wants(ctx context.Context, n *musterv1alpha1.Notification, e Event) (bool, error) {
	s := &n.Spec
	switch {
	case n.Namespace != systemNamespace && e.Namespace != n.Namespace, // of clusters, which have none, it hears nothing
		len(s.Events) > 0 && !slices.Contains(s.Events, e.Kind),
		s.Severity == "Warning" && e.Severity != "Warning",
		len(s.Namespaces) > 0 && e.Namespace != "" && !slices.Contains(s.Namespaces, e.Namespace):
		return false, nil
	}
	return Passes(ctx, s.Filter, e)
}

// Passes says whether an event passes a filter: an empty one lets all pass.
func Passes(ctx context.Context, filter string, e Event) (bool, error) {
	if filter == "" {
		return true, nil
	}
	value, err := evaluate(ctx, filter, []Event{e})
	if err != nil {
		if strings.Contains(err.Error(), "no such key") {
			err = fmt.Errorf(`%w: what has no such label is never told: write event.labels[?"NAME"].orValue("")`, err)
		}
		return false, fmt.Errorf("spec.filter: %w", err)
	}
	if value.Type() != types.BoolType {
		return false, fmt.Errorf("spec.filter gives %s and not true or false", value.Type())
	}
	return value == types.True, nil
}

func plain(e Event) map[string]any {
	labels := map[string]any{}
	for k, v := range e.Labels {
		labels[k] = v
	}
	return map[string]any{
		"id": e.ID, "event": e.Kind, "severity": e.Severity, "kind": e.Object, "namespace": e.Namespace, "name": e.Name, "labels": labels,
		"reason": e.Reason, "message": e.Message, "time": e.Time.UTC().Format(time.RFC3339),
	}
}

// evaluate runs an expression over events, of which there is one at least.
func evaluate(ctx context.Context, text string, events []Event) (ref.Val, error) {
	env, err := expression.Environment(
		cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)), cel.Variable("events", cel.ListType(cel.MapType(cel.StringType, cel.DynType))))
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues != nil && issues.Err() != nil {
		return nil, fmt.Errorf("%s", expression.Problems(issues))
	}
	program, err := expression.Program(env, ast, expression.Costs{})
	if err != nil {
		return nil, err
	}
	var all []any
	for _, e := range events {
		all = append(all, plain(e))
	}
	value, _, err := program.ContextEval(ctx, map[string]any{"event": all[0], "events": all})
	return value, err
}

// fill evaluates the expressions between ${{ and }} of a template.
func fill(ctx context.Context, template string, events []Event) (string, error) {
	var b strings.Builder
	for rest := template; ; {
		before, after, found := strings.Cut(rest, expression.Open)
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		end := expression.End(after)
		if end < 0 {
			return "", fmt.Errorf("%s is not closed by %s", expression.Open, expression.Closing)
		}
		value, err := evaluate(ctx, strings.TrimSpace(after[:end]), events)
		if err != nil {
			return "", err
		}
		fmt.Fprint(&b, value.Value())
		rest = after[end+len(expression.Closing):]
	}
}
