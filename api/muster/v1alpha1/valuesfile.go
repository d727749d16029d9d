package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// UnmarshalJSON reads a path given as a string, or the object {path, optional}.
func (v *ValuesFile) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(`"`)) {
		*v = ValuesFile{}
		return json.Unmarshal(data, &v.Path)
	}
	type plain ValuesFile
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var p plain
	if err := decoder.Decode(&p); err != nil {
		return fmt.Errorf("a values file is a path or {path, optional}: %w", err)
	}
	if p.Path == "" {
		return fmt.Errorf("a values file is a path or {path, optional}: path is missing")
	}
	*v = ValuesFile(p)
	return nil
}

// MarshalJSON writes a plain path as a string.
func (v ValuesFile) MarshalJSON() ([]byte, error) {
	if !v.Optional {
		return json.Marshal(v.Path)
	}
	type plain ValuesFile
	return json.Marshal(plain(v))
}
