package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Reason is a fault's word for programs. The constants are all there are.
type Reason string

// What can go wrong, by who finds it.
const (
	// Found while loading a repository.
	FileUnreadable    Reason = "FileUnreadable"    // a file that cannot be read or is too large
	FileMalformed     Reason = "FileMalformed"     // YAML that does not parse; blocks pruning
	DefinitionInvalid Reason = "DefinitionInvalid" // an object that names itself and is wrong
	KindNotAllowed    Reason = "KindNotAllowed"    // a kind that has no place in a fleet repository
	DefinitionTwice   Reason = "DefinitionTwice"   // one object in two files
	RepositoryEmpty   Reason = "RepositoryEmpty"   // a repository in which nothing is defined

	// Found while fetching.
	SourceUnavailable Reason = "SourceUnavailable" // the remote does not answer, or refuses
	SourceMoved       Reason = "SourceMoved"       // a version that was fetched is another one now
	NotSigned         Reason = "NotSigned"         // none of the keys that verify names has signed it
	HistoryRewritten  Reason = "HistoryRewritten"  // the delivered commit is no ancestor of the new one
	ContentRefused    Reason = "ContentRefused"    // a link that leaves the repository, a file that is too large

	// Found while applying definitions.
	OwnedElsewhere Reason = "OwnedElsewhere" // another repository or a person owns the object
	Forbidden      Reason = "Forbidden"      // the repository's identity may not write it
	Refused        Reason = "Refused"        // the API server refused it

	// Found while placing.
	PlacementMissing    Reason = "PlacementMissing"    // the placement does not exist
	PlacementInvalid    Reason = "PlacementInvalid"    // the placement is misconfigured
	DecisionsIncomplete Reason = "DecisionsIncomplete" // decisions that do not add up yet

	// Found in spec.dependsOn.
	DependencyMissing Reason = "DependencyMissing" // the application does not exist
	DependencyRefused Reason = "DependencyRefused" // the application is of another namespace, and does not allow it
	DependencyCycle   Reason = "DependencyCycle"   // the application would wait for itself

	// Found while rendering.
	ContentMissing     Reason = "ContentMissing"     // the source names no file or folder
	ExpressionFailed   Reason = "ExpressionFailed"   // an expression that cannot be evaluated for this cluster
	RenderFailed       Reason = "RenderFailed"       // the chart or overlay does not render
	RenderTooExpensive Reason = "RenderTooExpensive" // a chart or overlay that takes more time, memory or output than one render may
	HookRefused        Reason = "HookRefused"        // a chart with hooks, under the policy Refuse
	NotDeterministic   Reason = "NotDeterministic"   // a template that uses random values or the time
	UnknownKind        Reason = "UnknownKind"        // a kind that neither the cluster nor the plan has
	ManifestInvalid    Reason = "ManifestInvalid"    // a manifest without kind or name, or twice the same
	ManifestTooLarge   Reason = "ManifestTooLarge"   // one manifest over the limit of a work
	ObjectClaimed      Reason = "ObjectClaimed"      // another application has the object on this cluster
	WorkForeign        Reason = "WorkForeign"        // a work of the planned name exists and is not ours
	ValuesConflict     Reason = "ValuesConflict"     // ClusterValues of equal priority that do not agree
	RenameInvalid      Reason = "RenameInvalid"      // muster.dev/moved-from names an application that was not renamed
	HubProtected       Reason = "HubProtected"       // an object that tenants may not deliver to the hub's own cluster

	// Found on a cluster.
	ApplyFailed Reason = "ApplyFailed" // the cluster refused an object

	// Found while planning, and no reason not to deliver: warnings.
	IgnoreUnmatched Reason = "IgnoreUnmatched" // a rule of spec.sync.ignore that is about no rendered object
	FileSkipped     Reason = "FileSkipped"     // a file beside manifests that holds none
	ContentEmpty    Reason = "ContentEmpty"    // content without an object for some cluster
)

// Actor is who has to act so that a fault goes away.
type Actor string

// A fault that a User has to resolve needs a commit and is not retried; a fault that the Controller resolves is retried.
const (
	User       Actor = "User"
	Controller Actor = "Controller"
)

// Fault is one thing that could not be done: what, where its cause stands, and who has to act. It never quotes values.
type Fault struct {
	Reason Reason `json:"reason"`
	// ActionRequiredBy is who can resolve it.
	ActionRequiredBy Actor  `json:"actionRequiredBy"`
	Application      string `json:"application,omitempty"` // namespace/name
	Cluster          string `json:"cluster,omitempty"`
	Object           string `json:"object,omitempty"` // Kind namespace/name
	File             string `json:"file,omitempty"`
	Line             int    `json:"line,omitempty"`
	Message          string `json:"message"`
	// Remedy is the file to change, where that is another one than File.
	Remedy string `json:"remedy,omitempty"`
	Err    error  `json:"-"`
}

// Error is the fault as one line: who, where, what.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Application != "" {
		b.WriteString(f.Application)
		if f.Cluster != "" {
			b.WriteString(" on " + f.Cluster)
		}
		b.WriteString(": ")
	}
	if f.File != "" {
		b.WriteString(f.Position() + ": ")
	}
	if f.Object != "" {
		b.WriteString(f.Object + ": ")
	}
	b.WriteString(f.Message)
	return lineBreaks.Replace(b.String())
}

// lineBreaks are spaces in a line.
var lineBreaks = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ")

// Unwrap gives the error that caused the fault.
func (f Fault) Unwrap() error { return f.Err }

// Position is file:line, or the file alone when no line is known.
func (f Fault) Position() string {
	if f.Line > 0 {
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return f.File
}

// Position is file:line, or the file alone when the line is 0.
func Position(file string, line int) string { return Fault{File: file, Line: line}.Position() }

// Reject makes a fault of an error that only an author can resolve; an error that already is a fault stays as it is.
func Reject(reason Reason, err error) error { return wrap(reason, User, err) }

// Fail makes a fault of an error that may go away by itself; an error that already is a fault stays as it is.
func Fail(reason Reason, err error) error { return wrap(reason, Controller, err) }

func wrap(reason Reason, actor Actor, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := AsFault(err); ok {
		return err
	}
	return Fault{Reason: reason, ActionRequiredBy: actor, Message: err.Error(), Err: err}
}

// AsFault finds the fault in an error's chain.
func AsFault(err error) (Fault, bool) {
	var f Fault
	ok := errors.As(err, &f)
	return f, ok
}

// SortFaults orders faults by application, cluster, file, line, object and reason, so that output is the same every time.
func SortFaults(faults []Fault) {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(a.Application, b.Application),
			cmp.Compare(a.Cluster, b.Cluster),
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Object, b.Object),
			cmp.Compare(a.Reason, b.Reason),
			cmp.Compare(a.Message, b.Message),
		)
	})
}

// Headline says faults, of which there is one at least, in a line.
func Headline(faults []Fault) string {
	if len(faults) == 1 {
		return faults[0].Error()
	}
	return fmt.Sprintf("%d faults, the first: %s", len(faults), faults[0].Error())
}

// FaultGroup is one fault on one or more clusters.
type FaultGroup struct {
	// Fault without cluster and remedy, if there are several clusters; its message then says "the cluster" for their names.
	Fault
	Clusters []string // none for a fault of the whole application, or of no application
	Remedies []string // each once
}

// GroupFaults groups the faults that differ only in the cluster, in the order in which the first of each group stands.
func GroupFaults(faults []Fault) []FaultGroup {
	type cause struct {
		reason                             Reason
		app, file, object, message, action string
		line                               int
	}
	index := map[cause]int{}
	var groups []FaultGroup
	for _, f := range faults {
		message := withoutName(f.Message, f.Cluster)
		key := cause{f.Reason, f.Application, f.File, f.Object, message, string(f.ActionRequiredBy), f.Line}
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key] = i
			groups = append(groups, FaultGroup{Fault: f})
		}
		g := &groups[i]
		if f.Cluster != "" {
			g.Clusters = append(g.Clusters, f.Cluster)
		}
		if f.Remedy != "" && !slices.Contains(g.Remedies, f.Remedy) {
			g.Remedies = append(g.Remedies, f.Remedy)
		}
		if len(g.Clusters) > 1 {
			g.Message, g.Cluster, g.Remedy = message, "", ""
		}
	}
	return groups
}

// withoutName is a text that says "the cluster" wherever it names the cluster.
func withoutName(text, cluster string) string {
	if cluster == "" {
		return text
	}
	var b strings.Builder
	before, after, found := strings.Cut(text, cluster)
	for ; found; before, after, found = strings.Cut(after, cluster) {
		if endsInName(before) || beginsInName(after) {
			b.WriteString(before + cluster) // edge-1 is no part of edge-10
		} else {
			b.WriteString(strings.TrimSuffix(before, "cluster ") + "the cluster")
		}
	}
	b.WriteString(before)
	return b.String()
}

func endsInName(text string) bool { return text != "" && inName(text[len(text)-1]) }

func beginsInName(text string) bool {
	text, isDot := strings.CutPrefix(text, ".")
	return text != "" && inName(text[0]) && (!isDot || text[0] != '.')
}

// inName: a cluster's name may have the character, or is joined by it to a longer one.
func inName(c byte) bool {
	return strings.IndexByte("-._", c) >= 0 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// quoted is what parsers quote.
var quoted = regexp.MustCompile("`[^`]*`|\"[^\"]*\"|anchor '[^']*'")

// WithoutQuotes takes what a parser quotes out of its message: faults never quote values.
func WithoutQuotes(message string) string { return quoted.ReplaceAllString(message, "…") }
