package plan

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// kept is a content as a plan keeps it: small, and shared by the clusters that get the same. What a thousand clusters get is
// mostly the same text, so that the manifests are kept compressed, as what they add to the first content; they are opened for one
// cluster at a time.
type kept struct {
	digest  string
	heads   []fleet.Manifest // without JSON; shared by all contents that hold the same objects
	values  map[string]string
	skipped []string
	defines []musterv1alpha1.APIResource // kinds that its custom resource definitions bring

	store *store
	bytes []byte // nil is the first content
}

// open is the content again. It is not kept, and must not be changed.
func (k *kept) open() (*fleet.Content, error) {
	text := k.store.first
	if k.bytes != nil {
		var err error
		if text, err = io.ReadAll(flate.NewReaderDict(bytes.NewReader(k.bytes), text)); err != nil {
			return nil, fmt.Errorf("open a content: %w", err)
		}
	}
	content := &fleet.Content{Digest: k.digest, Values: k.values, Skipped: k.skipped, Defines: k.defines, Manifests: slices.Clone(k.heads)}
	for i := range content.Manifests {
		line, rest, _ := bytes.Cut(text, []byte{'\n'}) // canonical JSON has no line breaks
		content.Manifests[i].JSON, text = slices.Clip(line), rest
	}
	return content, nil
}

// store keeps the contents of one application. It is safe for concurrent use.
type store struct {
	mutex    sync.Mutex
	writer   *flate.Writer
	first    []byte // the manifests of the first content, the dictionary of the others
	contents map[string]*kept
	heads    map[string][]fleet.Manifest
	values   map[string]map[string]string
}

func newStore() *store {
	return &store{
		contents: map[string]*kept{}, heads: map[string][]fleet.Manifest{}, values: map[string]map[string]string{},
	}
}

// keep stores a content, once.
func (s *store) keep(content *fleet.Content) (*kept, error) {
	layers := digestOfValues(content.Values)
	key := content.Digest + layers + strings.Join(content.Skipped, "\n")
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if k, ok := s.contents[key]; ok {
		return k, nil
	}
	k := &kept{digest: content.Digest, heads: s.headsOf(content), skipped: content.Skipped, defines: content.Defines, store: s}
	if _, ok := s.values[layers]; !ok {
		s.values[layers] = content.Values
	}
	k.values = s.values[layers]
	var err error
	if k.bytes, err = s.compress(content); err != nil {
		return nil, fmt.Errorf("keep a content: %w", err)
	}
	s.contents[key] = k
	return k, nil
}

func digestOfValues(values map[string]string) string {
	if len(values) == 0 {
		return ""
	}
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(h, "%q %q\n", path, values[path])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// headsOf are the manifests of a content without what they say.
func (s *store) headsOf(content *fleet.Content) []fleet.Manifest {
	var key strings.Builder
	heads := slices.Clone(content.Manifests)
	type fields fleet.ObjectKey // all of them, which its String leaves out
	for i := range heads {
		heads[i].JSON = nil
		fmt.Fprintf(&key, "%q %q\n", fields(heads[i].Key), heads[i].File)
	}
	if known, ok := s.heads[key.String()]; ok {
		return known
	}
	s.heads[key.String()] = heads
	return heads
}

// compress gives what a content adds to the first one, or keeps it as the first one, which most applications have no other than.
func (s *store) compress(content *fleet.Content) ([]byte, error) {
	var lines bytes.Buffer
	for _, m := range content.Manifests {
		lines.Write(m.JSON)
		lines.WriteByte('\n')
	}
	if s.first == nil {
		s.first = slices.Clip(lines.Bytes())
		return nil, nil
	}
	var out bytes.Buffer
	if s.writer == nil {
		var err error
		if s.writer, err = flate.NewWriterDict(&out, flate.DefaultCompression, s.first); err != nil {
			return nil, err
		}
	} else {
		s.writer.Reset(&out)
	}
	if _, err := s.writer.Write(lines.Bytes()); err != nil {
		return nil, err
	}
	if err := s.writer.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(out.Bytes()), nil
}

// done frees what only keeping needs.
func (s *store) done() {
	s.writer, s.contents, s.heads, s.values = nil, nil, nil, nil
}
