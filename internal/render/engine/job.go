package engine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/memo"
)

// Job is what rendering one application for one cluster depends on, but for the files of the commit and the cluster's APIs: an
// engine asks its Host for those. Jobs with equal digests give equal objects where their hosts give equal answers.
type Job struct {
	Kind ContentKind
	// Path of the content in the tree.
	Path string
	// Files says which files of a folder of plain manifests count.
	Files Files
	// Post is what is changed in what is rendered; nil is nothing.
	Post *Post
	// Packed are the folders of charts that were archives: their .helmignore was obeyed when they were packed, and nothing in them
	// is ignored by that of a chart above.
	Packed []string
	// Release, Namespace, Hooks and Layers are a chart's.
	Release   string
	Namespace string
	Hooks     musterv1alpha1.HookPolicy
	// Generated is the application for which a cluster makes the values of random functions; empty is none: they are faults.
	Generated string
	// Layers of values over those of the chart: the cluster's values, the values files in order, then the inline values.
	Layers []Layer
}

// ContentKind is what a source holds.
type ContentKind int

// The kinds of content.
const (
	PlainYAML ContentKind = iota
	HelmChart
	Kustomization
)

// Layer is one source of values.
type Layer struct {
	// Name as people say it.
	Name string
	// File of the repository.
	File string
	// Data is the YAML of the file, or the JSON of inline values.
	Data []byte
	// Places say for inline values where each was set, by dotted path. Nil is a file, whose lines count.
	Places map[string]Place
	// Packed is the name of a values file inside of a chart that is an archive. Missing is then the fault if the archive has no
	// such file; nil is none.
	Packed  string
	Missing *fleet.Fault
}

// Place is where a value was set: as people say it, and the file and line of the repository. The chart's own values have no file.
type Place struct {
	Name string
	File string
	Line int
}

// Host is what an engine may ask for. What it asks is noted: a result is remembered for all who would get the same answers.
type Host interface {
	// Tree holds the files of the commit.
	fleet.Tree
	// APIs that the cluster serves.
	APIs() *fleet.APIs
}

// BesidePrefix is before the names of files that are beside the application's, whatever tree the content is in.
const BesidePrefix = "~fleet/"

// Digest of all that a job says.
func (j Job) Digest() string {
	parts := []string{strconv.Itoa(int(j.Kind)), j.Path, strings.Join(j.Packed, "\n"), j.Release, j.Namespace, string(j.Hooks), j.Generated, j.Files.digest(), j.Post.digest()}
	for _, l := range j.Layers {
		parts = append(parts, "layer", l.Name, l.File, string(l.Data), l.Packed)
		if l.Missing != nil {
			parts = append(parts, l.Missing.Error())
		}
		for _, path := range slices.Sorted(maps.Keys(l.Places)) {
			parts = append(parts, path, fmt.Sprint(l.Places[path]))
		}
	}
	return memo.Digest(parts...)
}
