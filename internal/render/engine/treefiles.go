package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/kio"
)

// treeFiles shows a Tree to Kustomize as a file system of its own, rooted at the fleet.
// It is the only way in: what would lead out of the tree is refused when the kustomization that names it is read.
type treeFiles struct {
	tree    fleet.Tree
	overlay string
	order   []string // files read, in order
	refused error    // the first thing that would have left the tree
	// addedOrigins is true when the origin annotations were asked for here and not by the author.
	addedOrigins bool
	// absent are what kustomizations name and the tree does not hold, in order.
	absent []fleet.Fault
	// verbatim are the files that generators take as they are, and parsed those that are resources, patches and the like.
	verbatim, parsed map[string]bool
}

var _ filesys.FileSystem = (*treeFiles)(nil)

// maxDepth of a path bounds links that lead in a circle.
const maxDepth = 64

func (t *treeFiles) name(p string) (string, error) {
	clean := strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(p)), "/")
	if clean == "" {
		clean = "."
	}
	if strings.Count(clean, "/") > maxDepth {
		return "", fmt.Errorf("%s: links lead in a circle", path.Base(clean))
	}
	return clean, nil
}

func (t *treeFiles) stat(p string) (fs.FileInfo, string, error) {
	name, err := t.name(p)
	if err != nil {
		return nil, "", err
	}
	info, err := fs.Stat(t.tree, name)
	return info, name, err
}

// IsDir tells whether a path is a folder.
func (t *treeFiles) IsDir(p string) bool {
	info, _, err := t.stat(p)
	return err == nil && info.IsDir()
}

// Exists tells whether there is anything at a path.
func (t *treeFiles) Exists(p string) bool {
	_, _, err := t.stat(p)
	return err == nil
}

// CleanedAbs splits a path into folder and file.
func (t *treeFiles) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	info, name, err := t.stat(p)
	if err != nil {
		return "", "", err
	}
	full := path.Join("/", name)
	if info.IsDir() {
		return filesys.ConfirmedDir(full), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(full)), path.Base(full), nil
}

// ReadFile reads a file. A kustomization is examined first.
func (t *treeFiles) ReadFile(p string) ([]byte, error) {
	name, err := t.name(p)
	if err != nil {
		return nil, err
	}
	if t.IsDir(p) { // a base is tried as a file first
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a folder")}
	}
	data, err := t.tree.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t.order = append(t.order, name)
	if !t.verbatim[name] {
		if data, err = t.separated(name, data); err != nil {
			return nil, err
		}
	}
	if slices.Contains(KustomizationFiles, path.Base(name)) {
		return t.examine(name, data)
	}
	return data, t.examineConfigs(name, data, func(text string) int { return LineOf(data, text) })
}

// mayHoldSeveral are the lines behind which something may stand that is no part of a document in lines of its own.
var mayHoldSeveral = regexp.MustCompile(`(?m)^(\x{feff}|---)?[ \t]*[{\["'&!*|>]|^\.\.\.`)

// separated puts separators between documents that follow each other without one: Kustomize reads the first of them only, and
// kubectl all. What cannot be read as documents is refused, as Kustomize would pass over it.
func (t *treeFiles) separated(name string, data []byte) ([]byte, error) {
	if !mayHoldSeveral.Match(data) {
		return data, nil
	}
	documents, err := fleet.ReadYAML(string(data))
	if err != nil {
		var wrong *fleet.YAMLError
		if !t.parsed[name] || !errors.As(err, &wrong) {
			return data, nil
		}
		return nil, t.refuse(name, wrong.Line, "cannot be read as YAML: "+wrong.Message)
	}
	if areSeparated(documents, data) {
		return data, nil
	}
	var out bytes.Buffer
	for _, y := range documents {
		out.Write(y.JSON)
		out.WriteString("\n---\n")
	}
	return out.Bytes(), nil
}

var separator = regexp.MustCompile(`(?m)^---(\s|$)`)

// areSeparated tells whether a line that begins with --- stands between each document and the one before.
func areSeparated(documents []fleet.YAML, data []byte) bool {
	var lines []int
	line, counted := 1, 0
	for _, at := range separator.FindAllIndex(data, -1) {
		line += bytes.Count(data[counted:at[0]], []byte("\n"))
		counted = at[0]
		lines = append(lines, line)
	}
	for i := 1; i < len(documents); i++ {
		before, after := documents[i-1].Line, documents[i].Line
		if !slices.ContainsFunc(lines, func(line int) bool { return line > before && line <= after }) {
			return false
		}
	}
	return true
}

// ReadDir lists a folder.
func (t *treeFiles) ReadDir(p string) ([]string, error) {
	name, err := t.name(p)
	if err != nil {
		return nil, err
	}
	entries, err := t.tree.ReadDir(name)
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, err
}

// Glob lists the files that a pattern matches.
func (t *treeFiles) Glob(pattern string) ([]string, error) {
	name, err := t.name(pattern)
	if err != nil {
		return nil, err
	}
	return fs.Glob(t.tree, name)
}

// Walk visits the files below a folder.
func (t *treeFiles) Walk(p string, visit filepath.WalkFunc) error {
	name, err := t.name(p)
	if err != nil {
		return err
	}
	return fs.WalkDir(t.tree, name, func(below string, entry fs.DirEntry, err error) error {
		if err != nil {
			return visit("/"+below, nil, err)
		}
		info, err := entry.Info()
		return visit("/"+below, info, err)
	})
}

var errReadOnly = &fs.PathError{Op: "write", Path: "the repository", Err: fs.ErrPermission}

// Create and the following would write: a commit cannot be written to.
func (t *treeFiles) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir is refused.
func (t *treeFiles) Mkdir(string) error { return errReadOnly }

// MkdirAll is refused.
func (t *treeFiles) MkdirAll(string) error { return errReadOnly }

// RemoveAll is refused.
func (t *treeFiles) RemoveAll(string) error { return errReadOnly }

// WriteFile is refused.
func (t *treeFiles) WriteFile(string, []byte) error { return errReadOnly }

// Open is not needed by Kustomize to read.
func (t *treeFiles) Open(string) (filesys.File, error) { return nil, os.ErrInvalid }

// remoteStart is how what Kustomize clones may begin.
var remoteStart = regexp.MustCompile(`(?i)^(git::)?((ssh|https?|file)://|github\.com[/:]|[a-z][a-z0-9-]*@)`)

// remote tells whether Kustomize would take a path for something to fetch or clone.
func remote(p string) bool { return remoteStart.MatchString(p) || strings.Contains(p, "://") }

// loading are the fields of a kustomization through which it reads something else, with the field of each entry that does.
var loading = map[string][]string{
	"resources": nil, "bases": nil, "components": nil, "crds": nil, "configurations": nil,
	"generators": nil, "transformers": nil, "validators": nil, "patchesStrategicMerge": nil,
	"patches": {"path"}, "patchesJson6902": {"path"}, "replacements": {"path"}, "openapi": {"path"},
	"configMapGenerator": {"files", "envs", "env"}, "secretGenerator": {"files", "envs", "env"},
}

// building are the fields whose folders are overlays.
var building = []string{"resources", "bases", "components"}

// configuring are the fields through which it reads the configuration of plug-ins.
var configuring = []string{"generators", "transformers", "validators"}

// examine refuses what leads out of the tree, and asks for the origins of objects. It looks at what Kustomize makes of the
// file: what an alias names or a merge brings counts, and the names of fields in any case.
func (t *treeFiles) examine(file string, data []byte) ([]byte, error) {
	var k types.Kustomization
	if err := k.Unmarshal(data); err != nil {
		return data, nil // Kustomize says what is wrong with it
	}
	plain, err := json.Marshal(k)
	if err != nil {
		return nil, t.refuse(file, 0, "the kustomization cannot be written as JSON")
	}
	var fields map[string]any
	if err := json.Unmarshal(plain, &fields); err != nil {
		return nil, t.refuse(file, 0, "the kustomization cannot be read as JSON")
	}
	for _, name := range []string{"helmCharts", "helmChartInflationGenerator"} {
		if fields[name] != nil {
			return nil, t.refuse(file, LineOf(data, name), fmt.Sprintf("%s runs a program: make the chart the application's source", name))
		}
	}
	if err := t.examineInline(file, fields, data); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(loading)) {
		for _, entry := range entriesOf(fields[name], loading[name]) {
			if err := t.examineEntry(file, name, entry, data); err != nil {
				return nil, err
			}
		}
	}
	if path.Dir(file) == t.overlay && fields["buildMetadata"] == nil && inBlocks(data) {
		t.addedOrigins = true
		return append(slices.Clone(data), "\nbuildMetadata: [originAnnotations]\n"...), nil
	}
	return data, nil
}

// examineInline refuses patches that are written in a kustomization and hold documents which nothing separates: Kustomize would read the first
// of them only.
func (t *treeFiles) examineInline(file string, fields map[string]any, data []byte) error {
	for _, name := range []string{"patches", "patchesJson6902", "patchesStrategicMerge"} {
		for _, patch := range entriesOf(fields[name], []string{"patch"}) {
			if !mayHoldSeveral.MatchString(patch) {
				continue
			}
			if documents, err := fleet.ReadYAML(patch); err == nil && !areSeparated(documents, []byte(patch)) {
				return t.refuse(file, LineOf(data, name), name+" has a patch of several documents without a line --- between them: add it, or make patches of their own")
			}
		}
	}
	return nil
}

// inBlocks tells whether a field can be added by a line of its own.
func inBlocks(data []byte) bool {
	var doc yamlv3.Node
	err := yamlv3.Unmarshal(data, &doc)
	return err == nil && len(doc.Content) == 1 && doc.Content[0].Style&yamlv3.FlowStyle == 0 && doc.Content[0].Column == 1
}

// textsOf are all the texts in a value.
func textsOf(value any) []string {
	var found []string
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		for _, below := range v {
			found = append(found, textsOf(below)...)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			found = append(found, textsOf(v[key])...)
		}
	}
	return found
}

// entriesOf gives the texts of a field that may be paths.
func entriesOf(value any, keys []string) []string {
	var found []string
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		for _, below := range v {
			found = append(found, entriesOf(below, keys)...)
		}
	case map[string]any:
		for _, key := range keys {
			found = append(found, entriesOf(v[key], nil)...)
		}
	}
	return found
}

func (t *treeFiles) examineEntry(file, field, entry string, data []byte) error {
	inline := strings.Contains(entry, "\n")
	if slices.Contains(configuring, field) {
		if err := t.examineConfigs(file, []byte(entry), func(string) int { return LineOf(data, entry) }); err != nil {
			return err
		}
		// A folder has a kustomization, which may write into what was examined.
		if !inline && t.IsDir(path.Join(path.Dir(file), entry)) {
			return t.refuse(file, LineOf(data, entry), fmt.Sprintf("%s names the folder %s: name the files in it that configure plug-ins", field, entry))
		}
	}
	if key, value, ok := strings.Cut(entry, "="); ok && !strings.ContainsAny(key, "/:?") {
		entry = value
	}
	// What is not written inline after all, whatever it looks like, is a path for Kustomize.
	if remoteStart.MatchString(entry) || !inline && remote(entry) {
		line := LineOf(data, entry)
		entry, _, _ = strings.Cut(entry, "\n")
		return t.refuse(file, line, fmt.Sprintf("%s is not in the repository, and nothing is fetched while rendering: copy it into the repository", entry))
	}
	if inline {
		return nil
	}
	clean := path.Join(path.Dir(file), entry)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return t.refuse(file, LineOf(data, entry), entry+" leaves the repository")
	}
	if t.verbatim == nil {
		t.verbatim, t.parsed = map[string]bool{}, map[string]bool{}
	}
	if strings.HasSuffix(field, "Generator") {
		t.verbatim[clean] = true
	} else {
		t.parsed[clean] = true
	}
	t.noteAbsent(file, field, entry, data)
	return nil
}

// noteAbsent notes what a kustomization names and the tree does not hold: Kustomize's own errors name other things. What may be
// written inline is no path.
func (t *treeFiles) noteAbsent(file, field, entry string, data []byte) {
	if strings.ContainsAny(entry, "{}=") || strings.Contains(entry, ": ") {
		return
	}
	wanted := path.Join(path.Dir(file), entry)
	if strings.Count(wanted, "/") >= maxDepth {
		return // a circle of links
	}
	message := ""
	if info, _, err := t.stat(wanted); err != nil {
		message = fmt.Sprintf("%s names %s, and %s is not in the repository: correct the name or add it", field, entry, wanted)
	} else if info.IsDir() && slices.Contains(building, field) &&
		!slices.ContainsFunc(KustomizationFiles, func(name string) bool { return t.Exists(path.Join(wanted, name)) }) {
		message = fmt.Sprintf("%s names the folder %s, and %s holds no kustomization.yaml: name its files, or add one", field, entry, wanted)
	}
	if message != "" {
		t.absent = append(t.absent, fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file, Line: LineOf(data, entry), Message: message})
	}
}

// examineConfigs refuses remote files in the configuration of built-in plug-ins. It reads it as Kustomize reads resources.
func (t *treeFiles) examineConfigs(file string, data []byte, line func(text string) int) error {
	if !bytes.Contains(data, []byte("builtin")) && !bytes.ContainsAny(data, "\\\x00") { // nor in another spelling or encoding
		return nil
	}
	nodes, err := kio.FromBytes(data)
	if err != nil {
		return nil // Kustomize says what is wrong with it
	}
	for _, node := range nodes {
		if !says(node.YNode(), "builtin") {
			continue
		}
		plain, err := node.MarshalJSON()
		if err != nil {
			return nil
		}
		var value any
		if err := json.Unmarshal(plain, &value); err != nil {
			return nil
		}
		for _, text := range textsOf(value) {
			_, after, _ := strings.Cut(text, "=")
			if !strings.Contains(text, "\n") && (remote(text) || remote(after)) {
				return t.refuse(file, line(text), "a plug-in's configuration names something remote, and nothing is fetched while rendering")
			}
		}
	}
	return nil
}

// says tells whether a text is a value or key somewhere below a node, alone or after a slash.
func says(n *yamlv3.Node, text string) bool {
	return strings.TrimPrefix(n.Value, "/") == text || slices.ContainsFunc(n.Content, func(below *yamlv3.Node) bool { return says(below, text) })
}

// LineOf is the line of the first text in YAML that is, or ends with, the given one; 0 when there is none.
func LineOf(data []byte, text string) int {
	decoder := yamlv3.NewDecoder(bytes.NewReader(data))
	for {
		var doc yamlv3.Node
		if err := decoder.Decode(&doc); err != nil {
			return 0
		}
		if line := lineBelow(&doc, text); line > 0 {
			return line
		}
	}
}

func lineBelow(n *yamlv3.Node, text string) int {
	if n.Kind == yamlv3.ScalarNode && strings.HasSuffix(n.Value, text) {
		return n.Line
	}
	for _, below := range n.Content {
		if line := lineBelow(below, text); line > 0 {
			return line
		}
	}
	return 0
}

// refuse stops the run: Kustomize sees an error, the author the fault.
func (t *treeFiles) refuse(file string, line int, message string) error {
	if t.refused == nil {
		t.refused = fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file, Line: line, Message: message}
	}
	return errors.New("refused")
}
