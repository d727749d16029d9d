package fleet

import (
	"bytes"
	"errors"
	"fmt"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// JSON repeats what an alias stands for as often as it is named. A few lines of aliases become more than there is memory for, so
// that the sizes are added up first.

const (
	// maxDocument is the size of one YAML document: an API server accepts objects of at most 1.5 MiB.
	maxDocument = 2 << 20
	// maxExpanded is its size when aliases are written out.
	maxExpanded = 16 << 20
)

var (
	// ErrExpands is the error of YAML that becomes far larger than it is.
	ErrExpands = errors.New("its aliases make it far larger than it is: write less of them")
	// ErrDocument is the error of a document that no API server accepts.
	ErrDocument = fmt.Errorf("a document is larger than %d MiB: split it", maxDocument>>20)
)

// fits tells whether one YAML document may become JSON.
func fits(data []byte) error {
	if len(data) > maxDocument {
		return ErrDocument
	}
	if !mayBegin(data, '*') || !mayBegin(data, '&') {
		return nil
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err == nil {
		if (expansion{}).of(&root) > maxExpanded {
			return ErrExpands
		}
		return nil
	}
	// The parser behind sigs.k8s.io/yaml may accept what the other one does not. It shares the texts that aliases name, and stops
	// at too many aliases, so that its result can be measured.
	var value any
	if err := yamlv2.Unmarshal(data, &value); err == nil && written(value) > maxExpanded {
		return ErrExpands
	}
	return nil
}

// mayBegin tells whether an alias or an anchor, whose mark is given, may begin somewhere: before a name and not within a word. The
// prose of definitions is full of such marks. A zero byte may be half of a character.
func mayBegin(data []byte, mark byte) bool {
	named := func(c byte) bool {
		return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for i := 0; i < len(data); i++ {
		next := bytes.IndexByte(data[i:], mark)
		if next < 0 {
			return false
		}
		i += next
		begins := i == 0 || data[i-1] == '-' || !named(data[i-1])
		if begins && i+1 < len(data) && (named(data[i+1]) || data[i+1] == 0) {
			return true
		}
	}
	return false
}

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
	for _, below := range n.Content {
		total = min(total+e.of(below), maxExpanded+1)
	}
	if n.Anchor != "" {
		e[n] = total
	}
	return total
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
