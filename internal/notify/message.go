package notify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Message is what a receiver gets: one or more events.
type Message struct {
	ID     string  `json:"id"`
	Title  string  `json:"title"`
	Body   string  `json:"text"`
	Events []Event `json:"events"`
}

// maxLines is how many events a message names one by one.
const maxLines = 20

// Messages groups events, each group in the order in which its first event came.
func Messages(ctx context.Context, n *musterv1alpha1.Notification, events []Event) ([]Message, error) {
	by := n.Spec.Group.By
	if len(by) == 0 {
		by = []string{"Event", "Namespace"}
	}
	var keys []string
	groups := map[string][]Event{}
	for _, e := range events {
		var key []string
		for part, value := range map[string]string{"Event": e.Kind, "Namespace": e.Namespace, "Object": e.Object + " " + e.Namespace + "/" + e.Name} {
			if slices.Contains(by, part) {
				key = append(key, part+"="+value)
			}
		}
		slices.Sort(key)
		k := strings.Join(key, "\x00")
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], e)
	}
	var list []Message
	for _, k := range keys {
		m, err := message(ctx, n.Spec.Template, groups[k])
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

func message(ctx context.Context, template musterv1alpha1.NotificationTemplate, events []Event) (Message, error) {
	m := Message{ID: events[0].ID, Title: titleOf(events), Body: bodyOf(events), Events: events}
	var err error
	if template.Title != "" {
		if m.Title, err = fill(ctx, template.Title, events); err != nil {
			return m, fmt.Errorf("spec.template.title: %w", err)
		}
	}
	if template.Body != "" {
		if m.Body, err = fill(ctx, template.Body, events); err != nil {
			return m, fmt.Errorf("spec.template.body: %w", err)
		}
	}
	m.Title = cut(strings.Join(strings.Fields(m.Title), " "), 200)
	m.Body = cut(m.Body, 8000)
	return m, nil
}

// titleOf says what happened to what, or how often.
func titleOf(events []Event) string {
	first := events[0]
	same := !slices.ContainsFunc(events, func(e Event) bool { return e.Kind != first.Kind })
	switch {
	case len(events) == 1:
		return first.Kind + ": " + first.who()
	case same:
		return fmt.Sprintf("%s: %d events", first.Kind, len(events))
	}
	return fmt.Sprintf("%d events", len(events))
}

func bodyOf(events []Event) string {
	if len(events) == 1 {
		return events[0].Message
	}
	var b strings.Builder
	for _, e := range events[:min(len(events), maxLines)] {
		fmt.Fprintf(&b, "- %s %s: %s\n", e.Kind, e.who(), strings.Join(strings.Fields(e.Message), " "))
	}
	if n := len(events) - maxLines; n > 0 {
		fmt.Fprintf(&b, "… and %d more\n", n)
	}
	return b.String()
}

// who is the object, as people write it.
func (e Event) who() string {
	kind := map[string]string{"ManagedCluster": "cluster", "FleetRepository": "repository", "Application": ""}[e.Object]
	return strings.TrimSpace(kind + " " + strings.TrimPrefix(e.Namespace+"/"+e.Name, "/"))
}

func cut(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}

// severityOf the worst event.
func severityOf(events []Event) string {
	if slices.ContainsFunc(events, func(e Event) bool { return e.Severity == "Warning" }) {
		return "Warning"
	}
	return cmp.Or(events[0].Severity, "Info")
}
