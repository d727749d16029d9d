package render

import (
	"bytes"
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
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// treeFiles shows a Tree to Kustomize as a file system of its own, rooted at the fleet, and writes down what was looked at.
// It is the only way in: what would lead out of the tree is refused when the kustomization that names it is read.
type treeFiles struct {
	tree    fleet.Tree
	overlay string
	saw     reading
	order   []string // files read, in order
	refused error    // the first thing that would have left the tree
	// addedOrigins is true when the origin annotations were asked for here and not by the author.
	addedOrigins bool
	// bytes and documents that were read so far.
	bytes, documents int64
}

var _ filesys.FileSystem = (*treeFiles)(nil)

func newTreeFiles(tree fleet.Tree) *treeFiles { return &treeFiles{tree: tree, saw: reading{}} }

// How something is looked at: whether it is there, what the file says, what the folder holds.
const (
	lookExists = "e"
	lookFile   = "f"
	lookFolder = "d"
)

// look gives how a name in a tree looks: the way of looking, then what was seen.
func look(tree fleet.Tree, name, how string) string {
	if how == lookExists {
		info, err := fs.Stat(tree, name)
		if err != nil {
			return how + " missing"
		}
		return fmt.Sprintf("%s %v", how, info.IsDir())
	}
	hash, err := tree.Hash(name)
	if err != nil {
		return how + " missing"
	}
	return how + " " + hash
}

// note records a look. Each name is recorded once per way of looking, the strongest wins.
func (t *treeFiles) note(name, how string) {
	if saw, ok := t.saw[name]; ok && (saw[:1] == how || how == lookExists) {
		return
	}
	t.saw[name] = look(t.tree, name, how)
}

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
	t.note(name, lookExists)
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
	t.note(name, lookFile)
	data, err := t.tree.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t.order = append(t.order, name)
	if err := t.count(name, data); err != nil {
		return nil, err
	}
	if slices.Contains(kustomizationFiles, path.Base(name)) {
		return t.examine(name, data)
	}
	if builtinConfig.Match(data) {
		return data, t.examineConfig(name, data)
	}
	return data, nil
}

// Kustomize reads a base each time that an overlay names it, and makes its objects anew: overlays that name each other twice
// double what comes out at each step, so that what is read bounds what is made.
const (
	maxOverlayBytes     = 64 << 20
	maxOverlayDocuments = 2000 // and entries of kustomizations; Kustomize compares each object with each
)

// count counts what is read.
func (t *treeFiles) count(name string, data []byte) error {
	t.bytes += int64(len(data))
	t.documents += 1 + int64(bytes.Count(data, []byte("\n---")))
	if t.bytes > maxOverlayBytes || t.documents > maxOverlayDocuments {
		return t.refuse(name, 0, fmt.Sprintf("the overlay reads more than %s or %d documents: look for bases that are named again and again", size(maxOverlayBytes), maxOverlayDocuments))
	}
	if err := fleet.AliasesFit(data); err != nil {
		return t.refuseAs(fleet.ContentRefused, name, 0, err.Error())
	}
	return nil
}

// ReadDir lists a folder.
func (t *treeFiles) ReadDir(p string) ([]string, error) {
	name, err := t.name(p)
	if err != nil {
		return nil, err
	}
	t.note(name, lookFolder)
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
	t.note(path.Dir(name), lookFolder)
	return fs.Glob(t.tree, name)
}

// Walk visits the files below a folder.
func (t *treeFiles) Walk(p string, visit filepath.WalkFunc) error {
	name, err := t.name(p)
	if err != nil {
		return err
	}
	t.note(name, lookFolder)
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

var (
	builtinConfig = regexp.MustCompile(`(?m)^\s*apiVersion:\s*["']?builtin\b`)
	remoteStart   = regexp.MustCompile(`(?i)^(git::)?((ssh|https?|file)://|github\.com[/:]|[a-z][a-z0-9-]*@)`)
)

// remote tells whether Kustomize would take a path for something to fetch or clone.
func remote(p string) bool { return remoteStart.MatchString(p) || strings.Contains(p, "://") }

// loading are the fields of a kustomization through which it reads something else, with the field of each entry that does.
var loading = map[string][]string{
	"resources": nil, "bases": nil, "components": nil, "crds": nil, "configurations": nil,
	"generators": nil, "transformers": nil, "validators": nil, "patchesStrategicMerge": nil,
	"patches": {"path"}, "patchesJson6902": {"path"}, "replacements": {"path"}, "openapi": {"path"},
	"configMapGenerator": {"files", "envs", "env"}, "secretGenerator": {"files", "envs", "env"},
}

// examine refuses what leads out of the tree, and asks for the origins of objects.
func (t *treeFiles) examine(file string, data []byte) ([]byte, error) {
	var doc yamlv3.Node
	if err := yamlv3.Unmarshal(data, &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yamlv3.MappingNode {
		return data, nil // Kustomize says what is wrong with it
	}
	root := doc.Content[0]
	fields := map[string]*yamlv3.Node{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		fields[root.Content[i].Value] = root.Content[i+1]
		if root.Content[i+1].Kind == yamlv3.SequenceNode {
			t.documents += int64(len(root.Content[i+1].Content))
		}
	}
	for _, name := range []string{"helmCharts", "helmChartInflationGenerator"} {
		if n := fields[name]; n != nil {
			return nil, t.refuse(file, n.Line, fmt.Sprintf("%s runs a program: make the chart the application's source", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(loading)) {
		for _, n := range entriesOf(fields[name], loading[name]) {
			if err := t.examineEntry(file, n); err != nil {
				return nil, err
			}
		}
	}
	if path.Dir(file) == t.overlay && fields["buildMetadata"] == nil && root.Style&yamlv3.FlowStyle == 0 && root.Column == 1 {
		t.addedOrigins = true
		return append(slices.Clone(data), "\nbuildMetadata: [originAnnotations]\n"...), nil
	}
	return data, nil
}

// entriesOf gives the texts of a field that may be paths.
func entriesOf(n *yamlv3.Node, keys []string) []*yamlv3.Node {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case yamlv3.ScalarNode:
		return []*yamlv3.Node{n}
	case yamlv3.SequenceNode:
		var found []*yamlv3.Node
		for _, below := range n.Content {
			found = append(found, entriesOf(below, keys)...)
		}
		return found
	case yamlv3.MappingNode:
		var found []*yamlv3.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if slices.Contains(keys, n.Content[i].Value) {
				found = append(found, entriesOf(n.Content[i+1], nil)...)
			}
		}
		return found
	}
	return nil
}

func (t *treeFiles) examineEntry(file string, n *yamlv3.Node) error {
	entry := n.Value
	if strings.Contains(entry, "\n") { // written inline
		if builtinConfig.MatchString(entry) {
			return t.examineConfig(file, []byte(entry))
		}
		return nil
	}
	if key, value, ok := strings.Cut(entry, "="); ok && !strings.ContainsAny(key, "/:?") {
		entry = value
	}
	if remote(entry) {
		return t.refuse(file, n.Line, fmt.Sprintf("%s is not in the repository, and nothing is fetched while rendering: copy it into the repository", entry))
	}
	clean := path.Join(path.Dir(file), entry)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return t.refuse(file, n.Line, entry+" leaves the repository")
	}
	return nil
}

// examineConfig refuses remote files in the configuration of a built-in plugin.
func (t *treeFiles) examineConfig(file string, data []byte) error {
	decoder := yamlv3.NewDecoder(strings.NewReader(string(data)))
	for {
		var doc yamlv3.Node
		if err := decoder.Decode(&doc); err != nil {
			return nil // the end, or something for Kustomize to refuse
		}
		if err := t.examineLeaves(file, &doc); err != nil {
			return err
		}
	}
}

func (t *treeFiles) examineLeaves(file string, n *yamlv3.Node) error {
	if n.Kind == yamlv3.ScalarNode && !strings.Contains(n.Value, "\n") {
		_, value, _ := strings.Cut(n.Value, "=")
		if remote(n.Value) || remote(value) {
			return t.refuse(file, n.Line, "a plug-in's configuration names something remote, and nothing is fetched while rendering")
		}
	}
	for _, below := range n.Content {
		if err := t.examineLeaves(file, below); err != nil {
			return err
		}
	}
	return nil
}

// refuse stops the run: Kustomize sees an error, the author the fault.
func (t *treeFiles) refuse(file string, line int, message string) error {
	return t.refuseAs(fleet.RenderFailed, file, line, message)
}

func (t *treeFiles) refuseAs(reason fleet.Reason, file string, line int, message string) error {
	if t.refused == nil {
		t.refused = fleet.Fault{Reason: reason, Move: fleet.Author, File: file, Line: line, Message: message}
	}
	return errors.New("refused")
}
