package fleet

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
)

// Redactor replaces sensitive values by a keyed hash, so that a change is visible and the value is not. It stands between
// every plan and every printer.
type Redactor struct {
	// Key of the hash. Two redactors with one key give comparable results.
	Key []byte
}

// Redact gives a manifest whose sensitive values are hashed; the manifest itself stays as it is. Sensitive is all that a
// Secret holds beside what names it, under a misspelt field too, and the copy of it that kubectl leaves in an annotation.
func (r Redactor) Redact(manifest map[string]any) map[string]any {
	if manifest["kind"] != "Secret" || manifest["apiVersion"] != "v1" {
		return manifest
	}
	out := make(map[string]any, len(manifest))
	for field, value := range manifest {
		values, isMap := value.(map[string]any)
		switch {
		case plainInSecret(field, value) || value == nil:
			out[field] = value
		case isMap:
			hashed := make(map[string]any, len(values))
			for k, v := range values {
				hashed[k] = r.hash(v)
			}
			out[field] = hashed
		default:
			out[field] = r.hash(value)
		}
	}
	return withoutLastApplied(out)
}

// plainInSecret: the fields that name a Secret, of the type that they have. A value that slipped into one has another.
func plainInSecret(field string, value any) bool {
	switch field {
	case "apiVersion", "kind", "metadata":
		return true
	case "type":
		_, ok := value.(string)
		return ok
	case "immutable":
		_, ok := value.(bool)
		return ok
	}
	return false
}

func (r Redactor) hash(value any) string {
	mac := hmac.New(sha256.New, r.Key)
	fmt.Fprint(mac, value)
	return "redacted:" + hex.EncodeToString(mac.Sum(nil))[:12]
}

func withoutLastApplied(manifest map[string]any) map[string]any {
	const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
	metadata, _ := manifest["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if _, ok := annotations[lastApplied]; !ok {
		return manifest
	}
	metadata, annotations = maps.Clone(metadata), maps.Clone(annotations)
	delete(annotations, lastApplied)
	metadata["annotations"] = annotations
	manifest["metadata"] = metadata
	return manifest
}
