package work_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/internal/drift"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// TestDriftCorrected: an edit is reported with field, was, is and manager, then undone, and stays on record.
func TestDriftCorrected(t *testing.T) {
	for name, how := range map[string]option{"server-side apply": serverSide(false), "update": strategy(workv1.UpdateStrategyTypeUpdate)} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.start()
			d := s.deployment("web", 3)
			s.put("web", objects{d}, how, mode("Correct"))
			s.expectApplied("web")
			s.edit(d, int64(5), "spec", "replicas")
			s.expectManifest("web", 0, "Drift", says("False", drift.ReasonCorrected, "spec.replicas was 3, is 5, by kubectl-edit (Update) at 20"))
			s.expectValue(d, 3, "spec", "replicas")
			s.expectManifest("web", 0, "Drift", func(_ metav1.Condition, m workv1.ManifestCondition) error {
				report, ok := drift.Parse(m)
				if !ok || len(report.Records) != 1 || !report.Records[0].Healed || report.Records[0].Manager != "kubectl-edit" ||
					report.Records[0].Object != "Deployment "+s.target+"/web" || report.Records[0].Time.IsZero() {
					return fmt.Errorf("report %+v", report)
				}
				return nil
			})
		})
	}
}

// TestCorrectedWhenItIsOnesOwn: what another work made of an object that two claim is drift as soon as that one lets go.
func TestCorrectedWhenItIsOnesOwn(t *testing.T) {
	s := newSite(t)
	s.start()
	s.put("one", objects{s.configMap("shared", map[string]any{"by": "one"})}, serverSide(true), mode("Correct"))
	s.expectApplied("one")
	other := s.configMap("shared", map[string]any{"by": "two"})
	s.put("two", objects{other}, serverSide(true), mode("Correct"))
	s.expectApplied("two")
	s.expectValue(other, "two", "data", "by")
	s.put("two", objects{s.configMap("own", nil)}, serverSide(true), mode("Correct"))
	s.expectValue(other, "one", "data", "by")
}

// TestDriftReportedFirst: the hub hears of drift before it is undone.
func TestDriftReportedFirst(t *testing.T) {
	s := newSite(t)
	s.start()
	d := s.deployment("web", 3)
	s.put("web", objects{d}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	events := s.watchWork("web")
	s.edit(d, int64(5), "spec", "replicas")
	s.expectSeen(events, "drift", func(w *workv1.ManifestWork) bool {
		c := condition(w, 0, "Drift")
		if c != nil && (c.Status != metav1.ConditionTrue || c.Reason != drift.ReasonDetected) {
			t.Errorf("the first thing that the hub hears is %v", c)
		}
		return c != nil
	})
}

// TestDriftReport: in the mode Report an edit is told and left, over a restart too, until the manifest changes.
func TestDriftReport(t *testing.T) {
	s := newSite(t)
	s.start()
	c := s.configMap("c", map[string]any{"k": "1", "l": "1"})
	s.put("web", objects{c}, serverSide(true), mode("Report"))
	s.expectApplied("web")
	s.edit(c, "2", "data", "k")
	s.expectManifest("web", 0, "Drift", says("True", drift.ReasonDetected, `data.k was "1", is "2", by kubectl-edit`))
	s.stop()
	s.edit(c, "3", "data", "k")
	s.start()
	s.expectManifest("web", 0, "Drift", says("True", drift.ReasonDetected, `data.k was "1", is "3", by kubectl-edit`))
	s.expectValue(c, "3", "data", "k")
	s.edit(c, "1", "data", "k")
	s.expectManifest("web", 0, "Drift", says("False", ""))
	s.edit(c, "4", "data", "k")
	s.expectManifest("web", 0, "Drift", says("True", drift.ReasonDetected, `is "4"`))
	s.put("web", objects{s.configMap("c", map[string]any{"k": "1", "l": "2"})}, serverSide(true), mode("Report"))
	s.expectValue(c, "2", "data", "l")
	s.expectValue(c, "1", "data", "k")
	s.expectManifest("web", 0, "Drift", says("False", ""))
}

// TestDriftLeftOverRestart: an agent that starts over a commit applies what the commit changed, and leaves what people
// changed of the rest of the work. Nothing that was overwritten since passes for applied.
func TestDriftLeftOverRestart(t *testing.T) {
	for _, kind := range []string{"Report", "Ignore"} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t)
			edited, other := s.configMap("edited", map[string]any{"k": "1"}), s.configMap("other", map[string]any{"k": "1"})
			put := func(one, two string) {
				t.Helper()
				s.put("web", objects{s.configMap("edited", map[string]any{"k": one}), s.configMap("other", map[string]any{"k": two})},
					serverSide(true), mode(kind))
			}
			left := func(value string) {
				t.Helper()
				s.expectApplied("web")
				s.expectValue(edited, value, "data", "k")
				if kind == "Report" {
					s.expectManifest("web", 0, "Drift", says("True", drift.ReasonDetected, `is "`+value+`", by kubectl-edit`))
				}
			}
			s.start()
			put("1", "1")
			s.expectApplied("web")
			s.edit(edited, "mine", "data", "k")
			left("mine")
			s.stop()
			put("1", "2")
			s.start()
			s.expectValue(other, "2", "data", "k")
			left("mine")
			s.stop()

			// An agent that dies before it has written down what it applied does not mistake it for what was there before.
			put("2", "2")
			s.runUntil("applied", 1)
			s.expectValue(edited, "2", "data", "k")
			put("1", "3")
			s.start()
			s.expectValue(other, "3", "data", "k")
			s.expectValue(edited, "1", "data", "k")
			s.expectApplied("web")

			// Where drift is corrected nothing is kept.
			s.put("web", objects{edited, other}, serverSide(true), mode("Correct"))
			s.eventually("the record forgets", func() error {
				if marks := s.record("web").Annotations["muster.dev/applied"]; marks != "" {
					return fmt.Errorf("it has %s", marks)
				}
				return nil
			})
		})
	}
}

// TestDriftIgnored: in the mode Ignore nothing is said or done.
func TestDriftIgnored(t *testing.T) {
	s := newSite(t)
	s.start()
	c, probe := s.configMap("c", map[string]any{"k": "1"}), s.configMap("probe", map[string]any{"k": "1"})
	s.put("web", objects{c}, serverSide(false), mode("Ignore"))
	s.put("probe", objects{probe}, serverSide(false), mode("Correct"))
	s.expectApplied("web", "probe")
	s.edit(c, "2", "data", "k")
	s.edit(probe, "2", "data", "k")
	s.expectValue(probe, "1", "data", "k")
	if s.live(c).Object["data"].(map[string]any)["k"] != "2" || condition(s.work("web"), 0, "Drift") != nil {
		t.Error("drift is not ignored")
	}
}

// TestDriftDeleted: an object that somebody deleted is drift, and comes back.
func TestDriftDeleted(t *testing.T) {
	s := newSite(t)
	s.start()
	c := s.configMap("c", map[string]any{"k": "1"})
	s.put("web", objects{c}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	uid := s.live(c).GetUID()
	s.remove(c)
	s.expectManifest("web", 0, "Drift", says("False", drift.ReasonCorrected, "is absent, by unknown"))
	live := s.live(c)
	if live == nil || live.GetUID() == uid {
		t.Fatal("the object did not come back")
	}
	s.eventually("the record has the new UID", func() error {
		if have := s.record("web").Status.AppliedResources[0].UID; have != string(live.GetUID()) {
			return fmt.Errorf("%s", have)
		}
		return nil
	})
}

// TestDriftOfLabel: the label that the watch selects by is drift like any other field.
func TestDriftOfLabel(t *testing.T) {
	s := newSite(t)
	s.start()
	c := s.configMap("c", map[string]any{"k": "1"})
	s.put("web", objects{c}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	s.edit(c, map[string]any{}, "metadata", "labels")
	s.expectManifest("web", 0, "Drift", says("False", drift.ReasonCorrected, `metadata.labels["muster.dev/application-id"] was "0123456789", is absent, by unknown`))
	s.expectValue(c, "0123456789", "metadata", "labels", "muster.dev/application-id")
}

// TestSecretStays: that a value of a Secret changed is told, the value is not.
func TestSecretStays(t *testing.T) {
	s := newSite(t)
	s.start()
	o := s.secret("s", map[string]any{"password": "correct-horse"})
	s.put("web", objects{o}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	s.edit(o, base64.StdEncoding.EncodeToString([]byte("battery-staple")), "data", "password")
	s.expectManifest("web", 0, "Drift", says("False", drift.ReasonCorrected, "data.password was redacted, is redacted, by kubectl-edit"))
	s.expectValue(o, base64.StdEncoding.EncodeToString([]byte("correct-horse")), "data", "password")
	// What the API server says of a Secret that it cannot read quotes it; a rule that asks for a value gets none.
	bad := s.secret("bad", map[string]any{"pin": int64(4713)})
	s.put("web", objects{o, bad}, serverSide(false), mode("Correct"), config(func(c *workv1.ManifestConfigOption) {
		c.FeedbackRules = []workv1.FeedbackRule{{Type: workv1.JSONPathsType, JsonPaths: []workv1.JsonPath{
			{Name: "password", Path: ".data.password"}, {Name: "type", Path: ".type"}}}}
		c.ConditionRules = []workv1.ConditionRule{{Condition: "Told", Type: workv1.CelConditionExpressionsType,
			MessageExpression: "string(object.?data.?password.orValue('nothing'))"}}
	}))
	s.expectManifest("web", 1, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "are not repeated"))
	s.expectManifest("web", 0, "Told", says("True", "", "nothing"))
	s.expectManifest("web", 0, workv1.ManifestStatusFeedbackSynced, says("True", workv1.ReasonStatusFeedbackSynced))
	raw, err := json.Marshal(s.work("web").Status)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"horse", "battery", "4713", base64.StdEncoding.EncodeToString([]byte("battery-staple")), base64.StdEncoding.EncodeToString([]byte("correct-horse"))} {
		if strings.Contains(string(raw), value) {
			t.Errorf("%q left the cluster: %s", value, raw)
		}
	}
}

// TestForeignFieldsAreNoDrift: what others add to an object is theirs.
func TestForeignFieldsAreNoDrift(t *testing.T) {
	s := newSite(t)
	s.start()
	c, probe := s.configMap("c", map[string]any{"k": "1"}), s.configMap("probe", nil)
	s.put("web", objects{c, probe}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	s.edit(c, "theirs", "data", "more")
	s.remove(probe)
	s.expectManifest("web", 1, "Drift", says("False", drift.ReasonCorrected))
	if condition(s.work("web"), 0, "Drift") != nil || s.live(c).Object["data"].(map[string]any)["more"] != "theirs" {
		t.Errorf("%s", told(s.work("web")))
	}
}

// TestResync: a work of another hub, without our annotation and label, is corrected at the resync.
func TestResync(t *testing.T) {
	s := newSite(t)
	s.agent.ResyncInterval = 300 * glance
	s.start()
	c := s.configMap("c", map[string]any{"k": "1"})
	delete(c["metadata"].(map[string]any), "labels")
	s.put("web", objects{c})
	s.expectApplied("web")
	s.edit(c, "2", "data", "k")
	s.expectValue(c, "1", "data", "k")
	events := s.watchWork("web")
	s.remove(c)
	s.expectSeen(events, "that the object is away, however soon it is back", func(w *workv1.ManifestWork) bool {
		return meta.IsStatusConditionFalse(w.Status.Conditions, workv1.WorkAvailable)
	})
	s.expectValue(c, "1", "data", "k")
	s.expectWork("web", workv1.WorkAvailable, metav1.ConditionTrue)
}

// TestAbsenceIsPolled: that an object of such a work is gone is told before it is corrected, however far the resync is.
func TestAbsenceIsPolled(t *testing.T) {
	s := newSite(t)
	s.agent.ResyncInterval = time.Hour
	s.start()
	c := s.configMap("c", map[string]any{"k": "1"})
	delete(c["metadata"].(map[string]any), "labels")
	s.put("web", objects{c})
	s.expectApplied("web")
	s.remove(c)
	s.expectWork("web", workv1.WorkAvailable, metav1.ConditionFalse)
}
