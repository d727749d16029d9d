package work

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// prepared are the manifests of a content as works carry them, and what is computed of each once.
type prepared struct {
	owner     fleet.Owner
	manifests []fleet.Manifest
	digests   map[fleet.ObjectKey]string
	// shared is the namespace of createNamespace, which other owners may create as well.
	shared map[fleet.ObjectKey]bool
	size   int

	mutex sync.Mutex
	specs map[string]*spec
}

// prepare makes the manifests that works carry: each with the hub's label, its metadata as an API server keeps it, and
// the destination's namespace where the owner asks for it.
//
// The namespace of createNamespace has no label: two owners may share it, and each would take the label from the other.
func prepare(owner fleet.Owner, options Options, content *fleet.Content) (*prepared, error) {
	out := &prepared{owner: owner, digests: map[fleet.ObjectKey]string{}, shared: map[fleet.ObjectKey]bool{}}
	created := createdNamespace(options)
	found := false
	for _, m := range content.Manifests {
		key := m.Key.Identity()
		isCreated := created != nil && key == created.Key.Identity()
		found = found || isCreated
		p, digest, err := prepareManifest(m, owner.Digest(), isCreated)
		if err != nil {
			return nil, fleet.Fault{
				Reason: fleet.ManifestInvalid, ActionRequiredBy: fleet.User, Object: m.Key.String(), File: m.File,
				Message: fmt.Sprintf("correct its metadata: %v", err), Err: err,
			}
		}
		out.add(p, digest)
	}
	if created != nil {
		out.shared[created.Key.Identity()] = true
		if !found {
			out.add(*created, manifestDigest(created.JSON))
		}
	}
	// Every split sorts; manifests that are sorted already are sorted fast.
	slices.SortStableFunc(out.manifests, func(a, b fleet.Manifest) int { return compareKeys(a.Key, b.Key) })
	return out, nil
}

func (p *prepared) add(m fleet.Manifest, digest string) {
	p.manifests = append(p.manifests, m)
	p.digests[m.Key.Identity()] = digest
	p.size += len(m.JSON) + manifestOverhead
}

// createdNamespace is the manifest of the namespace that is to be created, or nil.
func createdNamespace(options Options) *fleet.Manifest {
	if !options.CreateNamespace {
		return nil
	}
	name := options.Namespace
	return &fleet.Manifest{
		Key:  fleet.ObjectKey{Version: "v1", Kind: "Namespace", Resource: "namespaces", Name: name},
		JSON: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name),
	}
}

// prepareManifest gives the manifest its label, and its digest. What beside the metadata an API server would keep byte by byte is
// not read.
func prepareManifest(m fleet.Manifest, owner string, shareable bool) (fleet.Manifest, string, error) {
	if begin, end := metadataOf(m.JSON); end > 0 {
		var metadata map[string]any
		err := utiljson.Unmarshal(m.JSON[begin:end], &metadata)
		if err == nil {
			metadata, err = prepareMetadata(metadata, owner, shareable)
		}
		var written []byte
		if err == nil {
			written, err = encode(metadata)
		}
		m.JSON = slices.Concat(m.JSON[:begin], written, m.JSON[end:])
		return m, digestOfBytes(m.JSON), err
	}
	var object map[string]any
	if err := utiljson.Unmarshal(m.JSON, &object); err != nil {
		return m, "", err
	}
	metadata, _ := object["metadata"].(map[string]any)
	metadata, err := prepareMetadata(metadata, owner, shareable)
	if err != nil {
		return m, "", err
	}
	object["metadata"] = metadata
	m.JSON, err = encode(object)
	return m, manifestDigest(m.JSON), err
}

// prepareMetadata sets the label. The metadata goes through ObjectMeta because an API server does the same to every manifest of a
// work: what it would drop must not be in the digest.
func prepareMetadata(fields map[string]any, owner string, shareable bool) (map[string]any, error) {
	var metadata metav1.ObjectMeta
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &metadata); err != nil {
		return nil, err
	}
	if !shareable || len(metadata.Labels)+len(metadata.Annotations) > 0 {
		metav1.SetMetaDataLabel(&metadata, musterv1alpha1.HubLabel, owner)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&metadata)
	if err != nil {
		return nil, err
	}
	if metadata.CreationTimestamp.IsZero() {
		delete(fields, "creationTimestamp")
	}
	return fields, nil
}

// metadataOf finds the metadata in canonical JSON. The end is 0 if there is none, or if an API server, which reads numbers as int64
// or float64, would write one of the numbers in another way.
func metadataOf(data []byte) (begin, end int) {
	depth := 0
	for i := 0; i < len(data); i++ {
		closes := false
		switch c := data[i]; c {
		case '"':
			first := i + 1
			i = endOfString(data, first)
			if depth == 1 && begin == 0 && bytes.HasPrefix(data[first:], []byte(`metadata":{`)) {
				begin = i + len(`":`)
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			closes = depth == 0
		case ',':
			closes = depth == 1
		case ' ', '\t', '\r', '\n': // not canonical
			return 0, 0
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			number := numberAt(data[i:])
			if len(number) > maxDigits || bytes.ContainsAny(number, "+.eE") || string(number) == "-0" {
				return 0, 0
			}
			i += len(number) - 1
		}
		if closes && begin > 0 && end == 0 {
			end = i
		}
	}
	return begin, end
}

// endOfString is where the string that begins at i ends: at its closing quote, or the end of the data.
func endOfString(data []byte, i int) int {
	for ; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i
}

// numberAt is the number that data begins with.
func numberAt(data []byte) []byte {
	n := 1
	for n < len(data) && strings.IndexByte("0123456789+-.eE", data[n]) >= 0 {
		n++
	}
	return data[:n]
}

// maxDigits is how long a whole number may be that surely is an int64.
const maxDigits = 18

// manifestOverhead is what a prepared manifest costs beyond its bytes, roughly: its key and digest, and in the spec of a work
// the rules of its kind.
const manifestOverhead = 2 << 10

// cacheSize bounds, in bytes, what is kept of prepared contents.
const cacheSize = 64 << 20

// cache keeps prepared contents: a thousand clusters share few, and preparing reads every manifest.
var cache = preparedCache{entries: map[preparedKey]*prepared{}}

type preparedKey struct {
	content   string
	owner     fleet.Owner
	namespace string
}

type preparedCache struct {
	mutex   sync.Mutex
	entries map[preparedKey]*prepared
	size    int
}

func (c *preparedCache) prepare(owner fleet.Owner, options Options, content *fleet.Content) (*prepared, error) {
	if content.Digest == "" {
		return prepare(owner, options, content)
	}
	key := preparedKey{content: content.Digest, owner: owner}
	if options.CreateNamespace {
		key.namespace = options.Namespace
	}
	c.mutex.Lock()
	found := c.entries[key]
	c.mutex.Unlock()
	if found != nil {
		return found, nil
	}
	made, err := prepare(owner, options, content)
	if err != nil {
		return nil, err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.size+made.size > cacheSize {
		clear(c.entries)
		c.size = 0
	}
	if c.entries[key] == nil {
		c.entries[key] = made
		c.size += made.size
	}
	return made, nil
}
