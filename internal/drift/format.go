package drift

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

const (
	// FeedbackName is the name of the feedback value that holds a report.
	FeedbackName = "drift"

	// ReasonDetected is the reason of a Drift condition that is True: a field differs.
	ReasonDetected = "DriftDetected"
	// ReasonCorrected is the reason of a Drift condition that is False because Muster applied the manifest again.
	ReasonCorrected = "DriftCorrected"

	maxFeedback = 1024 // bytes: what OCM allows for a value that is not a plain number or word
	maxMessage  = 2048 // bytes
)

// wire is a report as it travels in a feedback value.
type wire struct {
	Total   int      `json:"total"`
	Records []Record `json:"records"`
}

// Format writes a report as a condition and a feedback value of at most 1024 bytes. Records that do not fit are
// left out of both; their number stays.
func Format(r Report, generation int64) (metav1.Condition, workv1.FeedbackValue) {
	condition := metav1.Condition{Type: musterv1alpha1.ConditionDrift, Status: metav1.ConditionFalse, Reason: ReasonCorrected,
		ObservedGeneration: generation, Message: message(r)}
	if r.Active() {
		condition.Status, condition.Reason = metav1.ConditionTrue, ReasonDetected
	}
	value := encode(r)
	return condition, workv1.FeedbackValue{Name: FeedbackName, Value: workv1.FieldValue{Type: workv1.String, String: &value}}
}

// Parse reads a report back from the status of a manifest. The second result is false when the manifest never drifted.
func Parse(m workv1.ManifestCondition) (Report, bool) {
	condition := meta.FindStatusCondition(m.Conditions, musterv1alpha1.ConditionDrift)
	if condition == nil {
		return Report{}, false
	}
	for _, v := range m.StatusFeedbacks.Values {
		var w wire
		if v.Name != FeedbackName || v.Value.String == nil || json.Unmarshal([]byte(*v.Value.String), &w) != nil {
			continue
		}
		for i := range w.Records {
			w.Records[i].Object = objectName(m.ResourceMeta.Kind, m.ResourceMeta.Namespace, m.ResourceMeta.Name)
			w.Records[i].Healed = condition.Status != metav1.ConditionTrue
		}
		return Report{Records: w.Records, Total: w.Total}, true
	}
	return Report{}, false
}

// encode drops records from the end until the rest fits. The object is left out: the manifest's status names it.
func encode(r Report) string {
	w := wire{Total: r.Total}
	for _, record := range r.Records {
		record.Object = ""
		w.Records = append(w.Records, record)
	}
	for {
		text, err := encodeJSON(w)
		if err == nil && (len(text) <= maxFeedback || len(w.Records) == 0) {
			return text
		}
		w.Records = w.Records[:len(w.Records)-1]
	}
}

// String tells of a record in one line.
func (r Record) String() string {
	subject := r.Path
	if subject == "" {
		subject = r.Object
	}
	by := r.Manager
	if r.Operation != "" {
		by += " (" + r.Operation + ")"
	}
	return fmt.Sprintf("%s was %s, is %s, by %s at %s", subject, r.Was, r.Is, by, r.Time.Format(time.RFC3339))
}

// message tells of the records, and of how many more there are.
func message(r Report) string {
	var b strings.Builder
	written := 0
	for _, record := range r.Records {
		line := record.String()
		if b.Len()+len(line) > maxMessage {
			break
		}
		if written > 0 {
			b.WriteString("; ")
		}
		b.WriteString(line)
		written++
	}
	if more := r.Total - written; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	if !r.Active() {
		b.WriteString("; corrected")
	}
	return b.String()
}
