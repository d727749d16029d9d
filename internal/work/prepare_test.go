package work

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/muster-io/muster/internal/fleet"
)

// TestPreparedBytes: what is not read beside the metadata has the bytes and the digest that it has when it is read.
func TestPreparedBytes(t *testing.T) {
	for text, read := range map[string]bool{
		`{"kind":"A","metadata":{"name":"a"}}`:                                                                false,
		`{"a":{"metadata":{"x":1}},"metadata":{"labels":{"b":"c"},"name":"a"},"spec":{"n":[1,-2,30]}}`:        false,
		`{"data":{"\"metadata\":{":"}],","x\\":"{\"metadata\":{"},"metadata":{"name":"a"},"y":null,"z":true}`: false,
		`{"metadata":{"name":"a"},"n":1.0}`:                                                                   true,
		`{"metadata":{"name":"a"},"n":1e3}`:                                                                   true,
		`{"metadata":{"name":"a"},"n":[-0]}`:                                                                  true,
		`{"metadata":{"name":"a"},"n":12345678901234567890}`:                                                  true,
		`{"metadata": {"name":"a"}}`:                                                                          true,
		`{"metadata":{"generation":1,"managedFields":[{"fieldsV1":{"f:a":{}},"manager":"m"}],"name":"a","selfLink":"x","unknown":1}}`: false,
		`{"kind":"A"}`:           true,
		`{"metadata":"a"}`:       true,
		`{"metadata":[{"a":1}]}`: true,
	} {
		t.Run(text, func(t *testing.T) {
			if _, end := metadataOf([]byte(text)); (end == 0) != read {
				t.Fatalf("end %d, want it to be read: %v", end, read)
			}
			for _, shareable := range []bool{false, true} {
				got, digest, err := prepareManifest(fleet.Manifest{JSON: []byte(text)}, "owner", shareable)
				if err != nil {
					t.Fatal(err)
				}
				var object map[string]any
				if err := utiljson.Unmarshal([]byte(text), &object); err != nil {
					t.Fatal(err)
				}
				metadata, _ := object["metadata"].(map[string]any)
				if object["metadata"], err = prepareMetadata(metadata, "owner", shareable); err != nil {
					t.Fatal(err)
				}
				want, err := encode(object)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(got.JSON)); diff != "" {
					t.Errorf("bytes (-want +got):\n%s", diff)
				}
				if want := manifestDigest(want); digest != want {
					t.Errorf("digest %s, want %s", digest, want)
				}
			}
		})
	}
}
