package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	yamlv3 "go.yaml.in/yaml/v3"
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
	errExpands  = errors.New("its aliases make it far larger than it is: write less of them")
	errDocument = fmt.Errorf("a document is larger than %s: split it", size(maxDocument))
)

// documentFits tells whether one YAML document may be parsed.
func documentFits(data []byte) error {
	if len(data) > maxDocument {
		return errDocument
	}
	return aliasesFit(data)
}

// aliasesFit tells whether the documents of a text stay within bounds when their aliases are written out.
func aliasesFit(data []byte) error {
	if bytes.IndexByte(data, '*') < 0 || bytes.IndexByte(data, '&') < 0 {
		return nil
	}
	decoder := yamlv3.NewDecoder(bytes.NewReader(data))
	for {
		var doc yamlv3.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil { // the parser that comes next says what is wrong, or sees nothing wrong
			if product(int64(bytes.Count(data, []byte("*"))), int64(len(data))) > maxExpanded {
				return errExpands
			}
			return nil
		}
		if (expansion{}).of(&doc) > maxExpanded {
			return errExpands
		}
	}
}

// expansion is the size of nodes whose aliases are written out, by anchor.
type expansion map[*yamlv3.Node]int64

func (e expansion) of(n *yamlv3.Node) int64 {
	if n.Kind == yamlv3.AliasNode {
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
