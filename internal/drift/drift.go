// Package drift says how a live object differs from what Muster applied.
//
// In go the object as it would be after applying the manifest again (a dry run) and the object as it is; out come
// records: the path, what it was, what it is, who holds it now. The values of Secrets never come out. A report of
// records is written into the status of a manifest as one condition and one bounded feedback value, and read back
// from there by the hub.
package drift

import "time"

const (
	// Absent stands for a value or an object that is not there. Values are JSON, so it cannot be mistaken for one.
	Absent = "absent"
	// Redacted stands for a value that never leaves the cluster.
	Redacted = "redacted"
	// Unknown is the manager of a field that nobody holds: removing a field leaves no trace of who did it.
	Unknown = "unknown"
)

// Record is one field of one object that is no longer what Muster applied.
type Record struct {
	// Object is the kind, the namespace if any, and the name: "Deployment shop/web".
	Object string `json:"object,omitempty"`
	// Path of the field, such as spec.template.spec.containers[name=web].image. Empty when the object itself is gone.
	Path string `json:"path,omitempty"`
	// Was and Is are the applied and the live value in JSON, shortened; Absent or Redacted where there is no value to show.
	Was string `json:"was"`
	Is  string `json:"is"`
	// Manager that holds the path now, or Unknown.
	Manager string `json:"manager"`
	// Operation is how the manager wrote it: Update or Apply. Empty when the manager is unknown.
	Operation string `json:"operation,omitempty"`
	// Time of the manager's last write, or when the drift was seen if that is unknown. In UTC, to the second.
	Time time.Time `json:"time"`
	// Healed says that the field is again what Muster applied.
	Healed bool `json:"healed,omitempty"`
}

// Report is the drift of one manifest.
type Report struct {
	// Records, sorted by path. A report that was read back may hold fewer than there were.
	Records []Record
	// Total is the number of records that there were.
	Total int
}

// NewReport makes a report of all records.
func NewReport(records []Record) Report { return Report{Records: records, Total: len(records)} }

// Empty says that there was no drift.
func (r Report) Empty() bool { return r.Total == 0 }

// Active says that a field still differs.
func (r Report) Active() bool {
	for _, record := range r.Records {
		if !record.Healed {
			return true
		}
	}
	return false
}

// Heal is the report once every field is again what Muster applied.
func (r Report) Heal() Report {
	healed := Report{Records: make([]Record, len(r.Records)), Total: r.Total}
	for i, record := range r.Records {
		record.Healed = true
		healed.Records[i] = record
	}
	return healed
}

// Same says that both reports tell of the same fields, values and managers, healed or not, at whatever time.
func (r Report) Same(other Report) bool {
	if r.Total != other.Total || len(r.Records) != len(other.Records) {
		return false
	}
	for i, a := range r.Records {
		b := other.Records[i]
		if a.Path != b.Path || a.Was != b.Was || a.Is != b.Is || a.Manager != b.Manager || a.Healed != b.Healed {
			return false
		}
	}
	return true
}
