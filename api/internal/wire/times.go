// Package wire reads what an API server serves and a client cannot decode.
package wire

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
)

// timeFields are the fields of type date-time in the status of OCM's kinds.
var timeFields = map[string]bool{"lastTransitionTime": true, "validUntil": true}

// UnmarshalStatus decodes a status although a time in it is none. The API server's format date-time lets times pass that
// metav1.Time refuses, such as 2026-01-01t00:00:00z: one cluster whose agent reports it would keep the hub from reading all
// others. Such a time is read as it is meant, or as the beginning of 1970 where nobody can say.
func UnmarshalStatus(data []byte, status any) error {
	first := json.Unmarshal(data, status)
	if first == nil {
		return nil
	}
	var all any
	if err := json.Unmarshal(data, &all); err != nil || !mendTimes(all) {
		return first
	}
	mended, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("mend times: %w", err)
	}
	return json.Unmarshal(mended, status)
}

// UnmarshalTime decodes one time as UnmarshalStatus does those of a status.
func UnmarshalTime(data []byte, t *metav1.Time) error {
	first := t.UnmarshalJSON(data)
	var text string
	if first == nil || json.Unmarshal(data, &text) != nil {
		return first
	}
	mended, err := json.Marshal(meant(text))
	if err != nil {
		return fmt.Errorf("mend time: %w", err)
	}
	return t.UnmarshalJSON(mended)
}

// mendTimes is true when there was a time to mend.
func mendTimes(value any) bool {
	mended := false
	switch v := value.(type) {
	case map[string]any:
		for field, inner := range v {
			text, ok := inner.(string)
			if !ok || !timeFields[field] {
				mended = mendTimes(inner) || mended
				continue
			}
			if at := meant(text); at != text {
				v[field], mended = at, true
			}
		}
	case []any:
		for _, inner := range v {
			mended = mendTimes(inner) || mended
		}
	}
	return mended
}

func meant(text string) string {
	for _, candidate := range []string{text, strings.ToUpper(text)} {
		if _, err := time.Parse(time.RFC3339, candidate); err == nil {
			return candidate
		}
	}
	return "1970-01-01T00:00:00Z"
}
