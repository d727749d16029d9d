package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// Parsers of YAML write what an alias stands for as often as it is named. A few lines of aliases become more than there is
// memory for, so that the sizes are added up before.

const (
	// maxDocument is the size of one YAML document: an API server takes objects of at most 1.5 MiB.
	maxDocument = 2 << 20
	// maxExpanded is its size when aliases are written out.
	maxExpanded = 16 << 20
)

var (
	// ErrExpands is the error of YAML that becomes far larger than it is.
	ErrExpands = errors.New("its aliases make it far larger than it is, or a map of it has too many fields: write less of them")
	// ErrDocument is the error of a document that no API server takes.
	ErrDocument = fmt.Errorf("a document is larger than %d MiB: split it", maxDocument>>20)
)

// DocumentFits tells whether one YAML document may be parsed.
func DocumentFits(data []byte) error {
	if len(data) > maxDocument {
		return ErrDocument
	}
	return AliasesFit(data)
}

// AliasesFit tells whether the documents of a text stay within bounds when their aliases are written out.
func AliasesFit(data []byte) error {
	if bytes.IndexByte(data, '*') < 0 || bytes.IndexByte(data, '&') < 0 {
		return nil
	}
	return DocumentsFit(data)
}

// DocumentsFit tells whether the documents of a text may also be decoded by a parser that holds each field of a map against
// each other.
func DocumentsFit(data []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil { // the parser that comes next says so too, or it is the other one and sees nothing wrong
			return decodedFits(data)
		}
		if expands(&doc) {
			return ErrExpands
		}
	}
}

// expands tells whether a document is too much for a parser that decodes it.
func expands(doc *yaml.Node) bool { return expansion{}.of(doc) > maxExpanded }

// expansion is the size of nodes whose aliases are written out, by anchor.
type expansion map[*yaml.Node]int64

func (e expansion) of(n *yaml.Node) int64 {
	if n.Kind == yaml.AliasNode {
		return e.of(n.Alias)
	}
	if known, ok := e[n]; ok {
		return known
	}
	if n.Anchor != "" {
		e[n] = maxExpanded + 1 // while it is added up: it may name itself
	}
	total := int64(len(n.Value)) + 4
	if n.Kind == yaml.MappingNode {
		total += comparing(n)
	}
	for _, below := range n.Content {
		total = min(total+e.of(below), maxExpanded+1)
	}
	if n.Anchor != "" {
		e[n] = total
	}
	return total
}

// comparing is what it takes to hold each field of a map against each other, and to say of each two that are the same.
func comparing(n *yaml.Node) int64 {
	fields := int64(len(n.Content) / 2)
	total := fields * fields / 64
	seen := map[string]int64{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		total += 64 * seen[n.Content[i].Value]
		seen[n.Content[i].Value]++
	}
	return total
}

// decodedFits is for a text that only the parser behind sigs.k8s.io/yaml may take. It shares the texts that aliases name, and
// stops at too many aliases, so that it is what it gives that is measured.
func decodedFits(data []byte) error {
	var value any
	if err := yamlv2.Unmarshal(data, &value); err == nil && written(value) > maxExpanded {
		return ErrExpands
	}
	return nil
}

// written is the size of a value when it is written down.
func written(value any) int64 {
	total := int64(4)
	switch v := value.(type) {
	case string:
		total += int64(len(v))
	case []any:
		for _, below := range v {
			total += written(below)
		}
	case map[any]any:
		for key, below := range v {
			total += written(key) + written(below)
		}
	}
	return total
}
