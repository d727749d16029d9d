package notify

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func held(namespace, name string) Event {
	return Event{
		ID: "id-" + name, Kind: "Held", Severity: "Warning", Object: "Application", Namespace: namespace, Name: name, Labels: map[string]string{"team": "blue"},
		Reason: "DeletionsHeld", Message: namespace + "/" + name + " would leave 3 of 4 clusters <now> & @here", Time: time.Unix(1_700_000_000, 0),
	}
}

func notification(namespace string, change func(*musterv1alpha1.NotificationSpec)) *musterv1alpha1.Notification {
	n := &musterv1alpha1.Notification{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "n"}}
	change(&n.Spec)
	return n
}

func TestWants(t *testing.T) {
	lost := Event{Kind: "ClusterLost", Severity: "Warning", Object: "ManagedCluster", Name: "edge-1"}
	applied := Event{Kind: "Applied", Severity: "Info", Object: "Application", Namespace: "retail", Name: "web"}
	cases := map[string]struct {
		namespace string
		change    func(*musterv1alpha1.NotificationSpec)
		event     Event
		want      bool
		err       string
		why       string
	}{
		"everything":            {"muster-system", func(*musterv1alpha1.NotificationSpec) {}, held("retail", "web"), true, "", ""},
		"its own":               {"retail", func(*musterv1alpha1.NotificationSpec) {}, held("retail", "web"), true, "", ""},
		"another's":             {"other", func(*musterv1alpha1.NotificationSpec) {}, held("retail", "web"), false, "", "a team does not hear of others"},
		"a cluster, for a team": {"retail", func(*musterv1alpha1.NotificationSpec) {}, lost, false, "", "clusters are nobody's"},
		"a cluster":             {"muster-system", func(*musterv1alpha1.NotificationSpec) {}, lost, true, "", ""},
		"asked for": {"muster-system", func(s *musterv1alpha1.NotificationSpec) {
			s.Events, s.Namespaces, s.Severity = []string{"Held"}, []string{"retail"}, "Warning"
		}, held("retail", "web"), true, "", ""},
		"another event":     {"muster-system", func(s *musterv1alpha1.NotificationSpec) { s.Events = []string{"Applied"} }, held("retail", "web"), false, "", ""},
		"another namespace": {"muster-system", func(s *musterv1alpha1.NotificationSpec) { s.Namespaces = []string{"other"} }, held("retail", "web"), false, "", ""},
		"not severe":        {"muster-system", func(s *musterv1alpha1.NotificationSpec) { s.Severity = "Warning" }, applied, false, "", ""},
		"a filter": {"muster-system", func(s *musterv1alpha1.NotificationSpec) {
			s.Filter = `event.labels[?"team"].orValue("") == "blue" && event.message.contains("leave")`
		}, held("retail", "web"), true, "", ""},
		"filtered":         {"muster-system", func(s *musterv1alpha1.NotificationSpec) { s.Filter = `event.name != "web"` }, held("retail", "web"), false, "", ""},
		"a wrong filter":   {"muster-system", func(s *musterv1alpha1.NotificationSpec) { s.Filter = `event.` }, applied, false, "spec.filter", ""},
		"a filter of text": {"muster-system", func(s *musterv1alpha1.NotificationSpec) { s.Filter = `"yes"` }, applied, false, "not true or false", ""},
	}
	for name, c := range cases {
		got, err := Wants(context.Background(), notification(c.namespace, c.change), c.event)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v %v, want %v %q: %s", name, got, err, c.want, c.err, c.why)
		}
	}
}

// TestKindOf: whatever a person waits for or has to do has a name, other warnings are faults, and the rest is nobody's business.
func TestKindOf(t *testing.T) {
	for event, want := range map[string]string{
		"Normal Delivered": "Delivered", "Normal Applied": "Applied", "Warning Degraded": "Degraded", "Warning DeletionsHeld": "Held", "Warning DriftFound": "Drift",
		"Warning RolloutStopped": "RolloutStopped", "Normal OnHold": "OnHold", "Normal ApprovalNeeded": "ApprovalNeeded", "Warning RollingBack": "RolloutReturned",
		"Normal RolledBack": "RolloutReturned", "Warning AvailableUnknown": "ClusterLost", "Warning ManagedClusterUnavailable": "ClusterLost",
		"Normal ManagedClusterAvailable": "ClusterBack", "Warning RenderFailed": "Fault", "Warning Unauthorized": "Fault", "Normal FaultResolved": "Resolved",
		"Normal ManagedClusterJoined": "",
	} {
		severity, reason, _ := strings.Cut(event, " ")
		if got := KindOf(severity, reason); got != want {
			t.Errorf("%s is %q, want %q", event, got, want)
		}
	}
}

func TestMessages(t *testing.T) {
	applied := held("retail", "cart")
	applied.Kind, applied.Severity = "Applied", "Info"
	events := []Event{held("retail", "web"), held("retail", "shop"), held("other", "web"), applied}
	titles := func(change func(*musterv1alpha1.NotificationSpec)) []string {
		list, err := Messages(context.Background(), notification("muster-system", change), events)
		if err != nil {
			return []string{err.Error()}
		}
		var titles []string
		for _, m := range list {
			titles = append(titles, fmt.Sprintf("%s (%d)", m.Title, len(m.Events)))
		}
		return titles
	}
	cases := map[string]struct {
		change func(*musterv1alpha1.NotificationSpec)
		want   []string
	}{
		"by default": {func(*musterv1alpha1.NotificationSpec) {}, []string{"Held: 2 events (2)", "Held: other/web (1)", "Applied: retail/cart (1)"}},
		"all":        {func(s *musterv1alpha1.NotificationSpec) { s.Group.By = []string{"None"} }, []string{"4 events (4)"}},
		"by object": {func(s *musterv1alpha1.NotificationSpec) { s.Group.By = []string{"Object"} },
			[]string{"Held: retail/web (1)", "Held: retail/shop (1)", "Held: other/web (1)", "Applied: retail/cart (1)"}},
		"a template": {func(s *musterv1alpha1.NotificationSpec) {
			s.Group.By, s.Template.Title = []string{"Event"}, `${{ event.event }} in ${{ events.map(e, e.namespace).distinct().join(", ") }}!`
		}, []string{"Held in retail, other! (3)", "Applied in retail! (1)"}},
		"a map in one": {func(s *musterv1alpha1.NotificationSpec) {
			s.Group.By, s.Template.Title = []string{"None"}, `${{ {"Held": {"a": "held"}}[event.event]["a"] + "}}" }}`
		}, []string{"held}} (4)"}},
		"a wrong one": {func(s *musterv1alpha1.NotificationSpec) { s.Template.Body = "${{ event.gone }}" }, []string{"spec.template.body: no such key: gone"}},
		"an open one": {func(s *musterv1alpha1.NotificationSpec) { s.Template.Title = "${{ event" }, []string{"spec.template.title: ${{ is not closed by }}"}},
	}
	for name, c := range cases {
		if diff := cmp.Diff(c.want, titles(c.change)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSend: what each receiver gets, as it arrives.
func TestSend(t *testing.T) {
	m := Message{ID: "id-web", Title: "Held: retail/web", Body: "retail/web would leave <3> & @here", Events: []Event{held("retail", "web")}}
	cases := map[string]struct {
		secret Secret
		path   string
		want   []string // in the request
		never  []string
	}{
		musterv1alpha1.NotifySlack:        {nil, "/hook", []string{`{"text":"*Held: retail/web*\nretail/web would leave \u0026lt;3\u0026gt; \u0026amp; @here"}`}, nil},
		musterv1alpha1.NotifyTeams:        {nil, "/hook", []string{`"type":"AdaptiveCard"`, `"text":"Held: retail/web"`, `"color":"Warning"`}, nil},
		musterv1alpha1.NotifyDiscord:      {nil, "/hook", []string{`"allowed_mentions":{"parse":[]}`, `**Held: retail/web**`}, nil},
		musterv1alpha1.NotifyWebhook:      {Secret{"hmacKey": "whsec_YSBrZXk=", "token": "t0ken"}, "/hook", []string{"Webhook-Id: id-web", "Webhook-Signature: v1,", "Authorization: Bearer t0ken", `"event":"Held"`, `"reason":"DeletionsHeld"`}, []string{"whsec"}},
		musterv1alpha1.NotifyCloudEvents:  {nil, "/hook", []string{"Content-Type: application/cloudevents+json", `"type":"dev.muster.held"`, `"source":"/namespaces/retail/applications/web"`, `"id":"id-web"`, `"specversion":"1.0"`}, nil},
		musterv1alpha1.NotifyAlertmanager: {nil, "/hook/api/v2/alerts", []string{`"alertname":"MusterHeld"`, `"namespace":"retail"`, `"startsAt":"2023-11-14T22:13:20Z"`, `"severity":"warning"`}, nil},
	}
	for kind, c := range cases {
		var got string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			var header strings.Builder
			_ = r.Header.Write(&header)
			got = r.URL.Path + "\n" + header.String() + string(body)
			if !json.Valid(body) {
				t.Errorf("%s: no JSON: %s", kind, body)
			}
		}))
		spec := &musterv1alpha1.NotificationSpec{Type: kind, URL: server.URL + "/hook"}
		err := Send(context.Background(), spec, c.secret, m, time.Unix(1_700_000_100, 0))
		server.Close()
		if err != nil || !strings.HasPrefix(got, c.path+"\n") {
			t.Errorf("%s: %v %.40q", kind, err, got)
		}
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %s:\n%s", kind, want, got)
			}
		}
		for _, never := range c.never {
			if strings.Contains(got, never) {
				t.Errorf("%s has %s", kind, never)
			}
		}
	}
}

func TestAlertsEnd(t *testing.T) {
	now := time.Unix(1_700_000_100, 0)
	back := Event{Kind: "ClusterBack", Severity: "Info", Object: "ManagedCluster", Name: "edge-1", Time: now}
	lost := back
	lost.Kind, lost.Severity = "ClusterLost", "Warning"
	labels := func(e Event) any { return alertsOf(Message{Events: []Event{e}}, now)[0].(map[string]any)["labels"] }
	if diff := cmp.Diff(labels(lost), labels(back)); diff != "" {
		t.Errorf("the end is of another alert:\n%s", diff)
	}
	if at := alertsOf(Message{Events: []Event{back}}, now)[0].(map[string]any)["endsAt"]; at != now.UTC().Format(time.RFC3339) {
		t.Errorf("ends at %v", at)
	}
	degraded := held("retail", "web")
	degraded.Kind = "Degraded"
	degraded.Causes = []map[string]string{{"cluster": "edge-1", "reason": "Degraded"}, {"cluster": "edge-2", "reason": "Degraded"}}
	recovered := degraded
	recovered.Kind, recovered.Severity, recovered.Causes = "Recovered", "Info", degraded.Causes[:1]
	open := map[string]bool{} // as Alertmanager has them, by their labels
	for _, step := range []struct {
		event Event
		open  int
		why   string
	}{
		{degraded, 2, "one event of two clusters"}, {recovered, 1, "the other cluster is degraded still"}, {recovered, 1, "told again"},
		{lost, 2, "another object"}, {Event{Kind: "Recovered", Object: degraded.Object, Namespace: degraded.Namespace, Name: degraded.Name, Causes: degraded.Causes[1:]}, 1, ""}, {back, 0, ""},
	} {
		for _, a := range alertsOf(Message{Events: []Event{step.event}}, now) {
			alert := a.(map[string]any)
			key := fmt.Sprint(alert["labels"])
			if open[key] = alert["endsAt"] != now.UTC().Format(time.RFC3339); !open[key] {
				delete(open, key)
			}
		}
		if len(open) != step.open {
			t.Errorf("after %s of %v: %v are open, want %d: %s", step.event.Kind, step.event.Causes, open, step.open, step.why)
		}
	}
	if list := alertsOf(Message{Events: []Event{{Kind: "Applied", Severity: "Info"}}}, now); len(list) > 0 {
		t.Errorf("good news is an alert: %v", list)
	}
}

func TestJudge(t *testing.T) {
	cases := map[int]string{200: "taken", 204: "taken", 302: "never", 400: "never", 401: "never", 404: "never", 408: "again", 429: "later", 500: "again", 503: "later"}
	for code, want := range cases {
		err := judge(&http.Response{StatusCode: code, Status: fmt.Sprint(code), Header: http.Header{"Retry-After": {"1.5"}}})
		var never *Refusal
		var later *Later
		got := "again"
		switch {
		case err == nil:
			got = "taken"
		case errors.As(err, &never):
			got = "never"
		case errors.As(err, &later):
			got = "later"
			if later.After != 1500*time.Millisecond {
				t.Errorf("%d: after %s", code, later.After)
			}
		}
		if got != want {
			t.Errorf("%d: %s, want %s", code, got, want)
		}
	}
}

func TestErrorsHaveNoURL(t *testing.T) {
	spec := &musterv1alpha1.NotificationSpec{Type: musterv1alpha1.NotifySlack}
	err := Send(context.Background(), spec, Secret{"url": "http://127.0.0.1:1/services/T0/S3CRET"}, Message{Events: []Event{held("a", "b")}}, time.Now())
	if err == nil || strings.Contains(err.Error(), "S3CRET") {
		t.Errorf("the error is %v", err)
	}
}

// TestMail sends to a server that speaks SMTP.
func TestMail(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	got := make(chan string, 2)
	refuse := make(chan bool, 2)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			got <- speakSMTP(conn, <-refuse)
		}
	}()
	spec := &musterv1alpha1.NotificationSpec{Type: musterv1alpha1.NotifyEmail, Email: &musterv1alpha1.EmailReceiver{
		Server: l.Addr().String(), From: "Muster <muster@example.com>", To: []string{"a@example.com", "Bob <b@example.com>"},
	}}
	m := Message{ID: "1", Title: "Held: ü\r\nBcc: evil@example.com", Body: "retail/web would leave 3 of 4 clusters\n.\nend", Events: []Event{held("retail", "web")}}
	refuse <- false
	if err := Send(context.Background(), spec, nil, m, time.Unix(1_700_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	text := <-got
	for _, want := range []string{"MAIL FROM:<muster@example.com>", "RCPT TO:<a@example.com>", "RCPT TO:<b@example.com>", "Subject: =?utf-8?q?Held:_=C3=BC_Bcc:_evil@example.com?=", "3 of 4 clusters", "\n..\n", "end"} {
		if !strings.Contains(text, want) {
			t.Errorf("the mail lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\nBcc:") {
		t.Errorf("a title makes a header:\n%s", text)
	}
	refuse <- true
	err = Send(context.Background(), spec, nil, m, time.Now())
	var never *Refusal
	if !errors.As(err, &never) {
		t.Errorf("550 is %v", err)
	}
}

// speakSMTP takes one mail, or refuses its sender for ever, and gives what was said.
func speakSMTP(conn net.Conn, refuse bool) string {
	defer func() { _ = conn.Close() }()
	var said strings.Builder
	say := func(text string) { _, _ = fmt.Fprintf(conn, "%s\r\n", text) }
	say("220 here")
	data := false
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		line := lines.Text()
		said.WriteString(line + "\n")
		switch {
		case data && line == ".":
			data = false
			say("250 taken")
		case data:
		case strings.HasPrefix(line, "MAIL") && refuse:
			say("550 no")
		case line == "DATA":
			data = true
			say("354 go on")
		case line == "QUIT":
			say("221 bye")
			return said.String()
		default:
			say("250 fine")
		}
	}
	return said.String()
}
