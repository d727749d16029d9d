package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Secret is what the Secret of a notification holds.
type Secret map[string]string

// Requests are the HTTP requests that carry a message: one, but for CloudEvents, of which each event is one.
func Requests(ctx context.Context, spec *musterv1alpha1.NotificationSpec, secret Secret, m Message, now time.Time) ([]*http.Request, error) {
	url := spec.URL
	if secret["url"] != "" {
		url = secret["url"]
	}
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return nil, fmt.Errorf("the receiver has no URL: set spec.url, or the key url of the Secret")
	}
	var bodies []any
	kind := "application/json"
	switch spec.Type {
	case musterv1alpha1.NotifySlack:
		bodies = append(bodies, slack(m))
	case musterv1alpha1.NotifyTeams:
		bodies = append(bodies, teams(m))
	case musterv1alpha1.NotifyDiscord:
		bodies = append(bodies, discord(m))
	case musterv1alpha1.NotifyWebhook:
		bodies = append(bodies, m)
	case musterv1alpha1.NotifyCloudEvents:
		kind = "application/cloudevents+json"
		for _, e := range m.Events {
			bodies = append(bodies, cloudEvent(e))
		}
	case musterv1alpha1.NotifyAlertmanager:
		alerts := alertsOf(m, now)
		if len(alerts) == 0 {
			return nil, nil
		}
		url = strings.TrimSuffix(url, "/") + "/api/v2/alerts"
		bodies = append(bodies, alerts)
	default:
		return nil, fmt.Errorf("spec.type %q is not sent over HTTP", spec.Type)
	}
	var list []*http.Request
	for _, body := range bodies {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the message: %w", err)
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("the receiver's URL cannot be used")
		}
		request.Header.Set("Content-Type", kind)
		if token := secret["token"]; token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		if key := secret["hmacKey"]; key != "" && spec.Type == musterv1alpha1.NotifyWebhook {
			sign(request, []byte(key), m.ID, data, now)
		}
		list = append(list, request)
	}
	return list, nil
}

// sign signs as the specification Standard Webhooks says. The id is the same for every attempt: a receiver knows a message again.
func sign(request *http.Request, key []byte, id string, body []byte, now time.Time) {
	stamp := strconv.FormatInt(now.Unix(), 10)
	if encoded, ok := bytes.CutPrefix(key, []byte("whsec_")); ok {
		if decoded, err := base64.StdEncoding.DecodeString(string(encoded)); err == nil {
			key = decoded
		}
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	request.Header.Set("webhook-id", id)
	request.Header.Set("webhook-timestamp", stamp)
	request.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// slack's text has three characters that it reads as its own.
func slack(m Message) any {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
	return map[string]any{"text": "*" + escape(m.Title) + "*\n" + escape(m.Body)}
}

// teams gets an Adaptive Card, as its workflows take it.
func teams(m Message) any {
	color := map[string]string{"Warning": "Warning", "Info": "Default"}[severityOf(m.Events)]
	block := func(text string, more map[string]any) map[string]any {
		b := map[string]any{"type": "TextBlock", "text": text, "wrap": true}
		for k, v := range more {
			b[k] = v
		}
		return b
	}
	return map[string]any{"type": "message", "attachments": []any{map[string]any{
		"contentType": "application/vnd.microsoft.card.adaptive",
		"content": map[string]any{
			"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
			"body": []any{block(m.Title, map[string]any{"weight": "Bolder", "color": color}), block(m.Body, nil)},
		},
	}}}
}

// discord takes 2,000 characters, and mentions whom the text names unless it is told not to.
func discord(m Message) any {
	return map[string]any{"content": cut("**"+m.Title+"**\n"+m.Body, 2000), "allowed_mentions": map[string]any{"parse": []string{}}}
}

func cloudEvent(e Event) any {
	source := "/" + strings.ToLower(e.Object) + "s/" + e.Name
	if e.Namespace != "" {
		source = "/namespaces/" + e.Namespace + source
	}
	return map[string]any{
		"specversion": "1.0", "id": e.ID, "source": source, "type": "dev.muster." + strings.ToLower(e.Kind[:1]) + e.Kind[1:],
		"subject": e.who(), "time": e.Time.UTC().Format(time.RFC3339Nano), "datacontenttype": "application/json", "data": e,
	}
}

// ends are the events that end what another one began.
var ends = map[string]string{"Released": "Held", "DriftCorrected": "Drift", "ClusterBack": "ClusterLost", "Recovered": "Degraded", "RolloutResumed": "RolloutStopped", "Resolved": "Fault"}

// alertTime is how long an alert stands that nothing ends: a fault that lasts is in the status.
const alertTime = 24 * time.Hour

// alertsOf are the alerts of what warns, one for each cause, and the ends of those whose cause is gone.
func alertsOf(m Message, now time.Time) []any {
	var list []any
	for _, e := range m.Events {
		name, until := e.Kind, now.Add(alertTime)
		if began := ends[e.Kind]; began != "" {
			name, until = began, now
		} else if e.Severity != "Warning" {
			continue
		}
		causes := e.Causes
		if len(causes) == 0 {
			causes = []map[string]string{nil}
		}
		for _, cause := range causes {
			labels := map[string]string{"alertname": "Muster" + name, "kind": e.Object, "name": e.Name, "namespace": e.Namespace, "severity": "warning"}
			maps.Copy(labels, cause)
			maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
			alert := map[string]any{
				"labels": labels, "annotations": map[string]string{"summary": name + ": " + e.who(), "description": e.Message},
				"endsAt": until.UTC().Format(time.RFC3339),
			}
			if until.After(now) {
				alert["startsAt"] = e.Time.UTC().Format(time.RFC3339)
			}
			list = append(list, alert)
		}
	}
	return list
}
