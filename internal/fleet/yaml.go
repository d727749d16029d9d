package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	yamlv2 "go.yaml.in/yaml/v2"
	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// YAML is one document of a YAML or JSON text.
type YAML struct {
	// Line of the text at which the document begins, from 1.
	Line int
	// JSON is the document as kubectl reads it.
	JSON []byte

	text string
}

// ReadYAML reads the documents of a text by kubectl's rules, everywhere that Muster reads YAML: 2024-01-01 is text, yes is true,
// 0777 is octal, << merges maps, JSON objects may follow each other, and each document is ended with a newline before it is parsed.
// Empty documents are left out. The documents before an error, which is a *YAMLError, are returned with it.
func ReadYAML(text string) ([]YAML, error) {
	var documents []YAML
	for _, part := range splitYAML(endLine(text)) {
		read, err := part.read()
		documents = append(documents, read...)
		if err != nil {
			return documents, err
		}
	}
	return documents, nil
}

// UnmarshalYAML reads the one document of a text into a value, as sigs.k8s.io/yaml does, unless its aliases make far more of it.
func UnmarshalYAML(data []byte, into any) error {
	if err := fits(data); err != nil {
		return err
	}
	return yaml.Unmarshal(data, into)
}

func endLine(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

// splitYAML splits a text at the lines that begin with --- or ... and leaves out the comments and directives before each document.
func splitYAML(text string) []YAML {
	text = strings.TrimPrefix(text, "\ufeff")
	var parts []YAML
	line, begin, start := 1, 1, 0
	flush := func(end int) {
		for part := text[start:end]; part != ""; begin++ {
			first, rest, _ := strings.Cut(part, "\n")
			if first = strings.TrimSpace(first); first != "" && first[0] != '#' && first[0] != '%' {
				parts = append(parts, YAML{Line: begin, text: part})
				return
			}
			part = rest
		}
	}
	for i := 0; i < len(text); line++ {
		end := len(text)
		if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
			end = i + n + 1
		}
		switch marker := text[i:end]; {
		case beginsWith(marker, "---"):
			flush(i)
			start, begin = i+len("---"), line
		case beginsWith(marker, "..."):
			flush(i)
			start, begin = end, line+1
		}
		i = end
	}
	flush(len(text))
	return parts
}

func beginsWith(line, marker string) bool {
	rest, ok := strings.CutPrefix(line, marker)
	return ok && (rest == "" || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// read reads the documents of one part: several if it is a JSON stream, none if it is null.
func (y YAML) read() ([]YAML, error) {
	if documents := y.readJSON(); documents != nil {
		return documents, nil
	}
	if err := fits([]byte(y.text)); err != nil {
		return nil, &YAMLError{Line: y.Line, Message: err.Error(), Err: err}
	}
	var err error
	if y.JSON, err = yaml.YAMLToJSON([]byte(y.text)); err == nil {
		err = y.onlyDocument()
	}
	if err != nil {
		// The parser that keeps nodes knows better where an error is, but for the first line.
		if nodeErr := yamlv3.Unmarshal([]byte("\n"+y.text), &yamlv3.Node{}); nodeErr != nil {
			return nil, y.failed(y.Line-1, nodeErr)
		}
		return nil, y.failed(y.Line, err)
	}
	if string(y.JSON) == "null" {
		return nil, nil
	}
	return []YAML{y}, nil
}

// readJSON reads the values of a JSON stream; nil if the part is none.
func (y YAML) readJSON() []YAML {
	if first := strings.TrimLeft(y.text, " \t\r\n"); first == "" || first[0] != '{' || !utf8.ValidString(y.text) {
		return nil
	}
	var documents []YAML
	decoder := json.NewDecoder(strings.NewReader(y.text))
	for {
		before := int(decoder.InputOffset())
		var value json.RawMessage
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil || len(value) > maxDocument {
			return nil // YAML, or wrong as both
		}
		begin := before + strings.Index(y.text[before:], string(value[:1]))
		document := YAML{Line: y.Line + strings.Count(y.text[:begin], "\n"), JSON: value, text: string(value)}
		if !bytes.Equal(value, []byte("null")) {
			documents = append(documents, document)
		}
	}
}

// failed is the error of a parser that counts the document's lines from first. What is missing at the end is missing in the last line.
func (y YAML) failed(first int, err error) error {
	e := yamlError(first, err)
	e.Line = min(max(e.Line, y.Line), y.Line+strings.Count(strings.TrimSuffix(y.text, "\n"), "\n"))
	return e
}

// onlyDocument finds what stands behind the document: the parser reads the first one and ignores the rest. Behind a map or a list in
// lines of its own nothing can stand that is not a part of it.
func (y YAML) onlyDocument() error {
	if first := strings.TrimLeft(y.text, " \t"); strings.IndexByte("{[\"'&!*|>", first[0]) < 0 {
		return nil
	}
	decoder := yamlv2.NewDecoder(strings.NewReader(y.text))
	var value any
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	err := decoder.Decode(&value)
	if err == nil {
		return errors.New("something stands behind the end of the document")
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// node is the document with its lines, counted from its own first line; nil if the parser that knows lines cannot read it.
func (y YAML) node() *yamlv3.Node {
	var root yamlv3.Node
	if err := yamlv3.Unmarshal([]byte(y.text), &root); err != nil || len(root.Content) != 1 {
		return nil
	}
	return root.Content[0]
}

// Lines gives the line of every field of the document by its path (spec.replicas, spec.containers[0].name), and the path of the
// first field that stands twice in one map. It gives up when the paths become far longer than the document.
func (y YAML) Lines() (lines map[string]int, twice string, err error) {
	l := lineIndex{first: y.Line - 1, lines: map[string]int{}}
	if root := y.node(); root != nil {
		l.add(root, "")
	}
	if l.size > maxIndexed {
		return nil, "", &YAMLError{Line: y.Line, Message: errPaths.Error()}
	}
	return l.lines, l.twice, nil
}

// maxIndexed is how much the paths of a document's fields may take: each repeats the names of its parents.
const maxIndexed = 32 << 20

var errPaths = errors.New("the paths of its fields are far longer than it is: nest less, under shorter names")

type lineIndex struct {
	first int // line before the document
	lines map[string]int
	size  int
	twice string
}

// note keeps the line of a field and tells whether there is room for more. What a merge brings stands behind what is written.
func (l *lineIndex) note(path string, line int, merged bool) bool {
	if _, known := l.lines[path]; !known || !merged {
		l.lines[path] = l.first + line
	}
	l.size += len(path) + 64
	return l.size <= maxIndexed
}

func (l *lineIndex) add(node *yamlv3.Node, path string) { l.addNode(node, path, false) }

func (l *lineIndex) addNode(node *yamlv3.Node, path string, merged bool) {
	switch node.Kind {
	case yamlv3.AliasNode:
		l.addNode(node.Alias, path, merged)
	case yamlv3.MappingNode:
		l.addMap(node, path, merged)
	case yamlv3.SequenceNode:
		for i, item := range node.Content {
			below := fmt.Sprintf("%s[%d]", path, i)
			if !l.note(below, item.Line, merged) {
				return
			}
			l.addNode(item, below, merged)
		}
	}
}

func (l *lineIndex) addMap(node *yamlv3.Node, path string, merged bool) {
	known := map[string]bool{}
	for i := 0; i+1 < len(node.Content) && l.size <= maxIndexed; i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Tag == mergeTag {
			l.addMerged(value, path)
			continue
		}
		below := joinPath(path, key.Value)
		if known[key.Value] && l.twice == "" {
			l.twice = below
		}
		known[key.Value] = true
		if !l.note(below, key.Line, merged) {
			return
		}
		l.addNode(value, below, merged)
	}
}

// mergeTag is the tag of the key <<.
const mergeTag = "!!merge"

// addMerged adds the fields of a map, or of each map of a list, that is merged into the map at a path.
func (l *lineIndex) addMerged(value *yamlv3.Node, path string) {
	if value.Kind == yamlv3.AliasNode {
		value = value.Alias
	}
	if value.Kind != yamlv3.SequenceNode {
		l.addNode(value, path, true)
		return
	}
	for _, each := range value.Content {
		if l.size > maxIndexed {
			return
		}
		l.addNode(each, path, true)
	}
}

func joinPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// YAMLError is a text that cannot be read as YAML. The message quotes nothing of it.
type YAMLError struct {
	Line    int
	Message string
	// Err is ErrExpands or ErrDocument, if it is one of them: what a parser says quotes the text.
	Err error
}

func (e *YAMLError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Message) }

func (e *YAMLError) Unwrap() error { return e.Err }

var (
	lineInYAML = regexp.MustCompile(`^\s*line (\d+): ?`)
	// parserError are the errors whose lines the parser counts from 0; those of the scanner count from 1.
	parserError = regexp.MustCompile(`did not find expected (<document start>|<stream-start>|'-' indicator|key|node content|',' or)`)
	quotedText  = regexp.MustCompile("`[^`]*`|\"[^\"]*\"|anchor '[^']*'")
)

// yamlError makes a YAMLError of what a parser says of a document that begins at a line.
func yamlError(first int, err error) *YAMLError {
	text := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "json: ", "yaml: ", "unmarshal errors:\n"} {
		text = strings.TrimPrefix(text, prefix)
	}
	text, _, _ = strings.Cut(text, "\n")
	e := &YAMLError{Line: first}
	if m := lineInYAML.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		if parserError.MatchString(text) {
			n++
		}
		e.Line = first + max(n-1, 0)
		text = text[len(m[0]):]
	}
	if e.Message = strings.TrimSpace(quotedText.ReplaceAllString(text, "…")); e.Message == "" {
		e.Message = "does not parse"
	}
	return e
}
