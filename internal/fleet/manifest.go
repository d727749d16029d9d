package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Manifest is one rendered object. Its bytes are canonical and shared between the clusters that get the same: never change them.
type Manifest struct {
	Key ObjectKey
	// JSON of the object: keys sorted, no insignificant space.
	JSON []byte
	// File that the manifest was rendered from, such as charts/web/templates/service.yaml, relative to the fleet's root.
	File string
}

// Content is what one application gives to one or more clusters.
type Content struct {
	// Manifests in the order in which they were rendered: CRDs first.
	Manifests []Manifest
	// Digest over the manifests: equal digests, equal content.
	Digest string
	// Skipped are the files of a folder of manifests that hold none: those of another tool.
	Skipped []string
	// Defines are the kinds that the CRDs among the manifests bring to a cluster.
	Defines []musterv1alpha1.APIResource
	// Values tells, for Helm, which layer set each value last: "replicas" -> "values/prod.yaml:7".
	Values map[string]string
}

// CanonicalJSON writes a value with sorted keys and without insignificant space; numbers keep their text.
func CanonicalJSON(value any) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var plain any
	if err := decoder.Decode(&plain); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(plain); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}
