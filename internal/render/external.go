package render

import (
	"fmt"
	"path"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// root is the tree that a source is in, and where in it.
type root struct {
	tree   fleet.Tree
	dir    string
	field  string // of the application that names dir
	where  string // the tree, for people
	packed bool
}

// rootOf finds the tree of an application's source: that of its own commit, or what a reference resolved to, under a name of its
// own, so that nothing in it leads into the fleet's files.
func rootOf(in Input, resolved *Resolved) (root, error) {
	spec := resolved.Application.Spec.Source
	if problem := sourceProblem(spec); problem != "" {
		return root{}, in.faultOf(fleet.DefinitionInvalid, resolved.fieldOf("source"), problem)
	}
	reference := resolved.Reference()
	if reference == nil {
		field := resolved.fieldOf("source.path")
		dir, err := inTree(spec.Path)
		if err != nil {
			return root{}, in.faultOf(fleet.ContentMissing, field, err.Error())
		}
		return root{tree: in.Tree, dir: dir, field: field, where: "the repository"}, nil
	}
	kind, version, below := "chart", ".version", ""
	switch {
	case spec.Git != nil:
		kind, version, below = "git", ".ref", spec.Git.Path
	case spec.OCI != nil:
		kind, version, below = "oci", "", spec.OCI.Path
	}
	field := resolved.fieldOf("source." + kind + version)
	found, err := resolved.find(in, reference)
	if err != nil {
		f, ok := fleet.AsFault(fleet.Fail(fleet.SourceUnavailable, err))
		if !ok {
			return root{}, err
		}
		f.File, f.Line = in.File, in.lineOf(field)
		return root{}, f
	}
	if below != "" {
		field = resolved.fieldOf("source." + kind + ".path")
	}
	inside, err := inTree(below)
	if err != nil {
		return root{}, in.faultOf(fleet.ContentMissing, field, err.Error())
	}
	return root{
		tree: fleet.Mounted(found.Name, found.Tree), dir: path.Join(found.Name, inside), field: field, where: found.Name, packed: found.Packed,
	}, nil
}

// sourceProblem says what is wrong with a source after overrides were merged; the CRD's rules see only what each of them says.
func sourceProblem(s musterv1alpha1.Source) string {
	set := 0
	for _, is := range []bool{s.Path != "", s.Git != nil, s.Chart != nil, s.OCI != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return "set exactly one of path, git, chart and oci in spec.source"
	case s.Git != nil && s.Git.URL == "":
		return "spec.source.git wants url"
	case s.Chart != nil && (s.Chart.Repo == "" || s.Chart.Name == "" || s.Chart.Version == ""):
		return "spec.source.chart wants repo, name and version"
	case s.OCI != nil && s.OCI.URL == "":
		return "spec.source.oci wants url"
	case s.OCI != nil && len(slices.DeleteFunc([]string{s.OCI.Tag, s.OCI.SemVer, s.OCI.Digest}, func(v string) bool { return v == "" })) != 1:
		return "spec.source.oci wants exactly one of tag, semver and digest"
	}
	return ""
}

// find looks a reference up, and notes that it is used.
func (r *Resolved) find(in Input, reference *fleet.Reference) (*fleet.Found, error) {
	var found *fleet.Found
	err := error(fleet.Fault{Reason: fleet.SourceUnavailable, ActionRequiredBy: fleet.User,
		Message: fmt.Sprintf("%s: nothing fetches it here: a hub does so with controller source", reference)})
	if in.Sources != nil {
		found, err = in.Sources.Find(reference)
	}
	r.Sources = append(r.Sources, fleet.UsedSource{Reference: reference, Found: found})
	return found, err
}

// Reference is the application's source as the cluster gets it, if it is in another repository or a registry; nil if it is not.
func (r *Resolved) Reference() *fleet.Reference {
	return fleet.ReferenceOf(r.Application.Namespace, r.Application.Spec.Source)
}

// mergeSource merges a source over that of the application: fields of the same kind are merged, another kind replaces it.
func (r *Resolved) mergeSource(from *musterv1alpha1.Source, field string) {
	to := &r.Application.Spec.Source
	note := func(set bool, name string) {
		if set {
			r.fields[name] = field + name[len("source"):]
		}
	}
	switch {
	case from.Path != "":
		*to = musterv1alpha1.Source{Path: from.Path}
		note(true, "source.path")
	case from.Git != nil:
		note(to.Git == nil, "source.git")
		f, git := from.Git, valueOr(to.Git)
		note(replace(&git.URL, f.URL), "source.git.url")
		note(replace(&git.Path, f.Path), "source.git.path")
		note(replace(&git.Ref, f.Ref), "source.git.ref")
		replace(&git.SecretRef, f.SecretRef)
		replace(&git.Verify, f.Verify)
		replace(&git.Submodules, f.Submodules)
		replace(&git.LFS, f.LFS)
		replace(&git.Insecure, f.Insecure)
		*to = musterv1alpha1.Source{Git: &git}
	case from.Chart != nil:
		note(to.Chart == nil, "source.chart")
		f, chart := from.Chart, valueOr(to.Chart)
		note(replace(&chart.Repo, f.Repo), "source.chart.repo")
		note(replace(&chart.Name, f.Name), "source.chart.name")
		note(replace(&chart.Version, f.Version), "source.chart.version")
		replace(&chart.SecretRef, f.SecretRef)
		replace(&chart.Verify, f.Verify)
		replace(&chart.Insecure, f.Insecure)
		*to = musterv1alpha1.Source{Chart: &chart}
	case from.OCI != nil:
		note(to.OCI == nil, "source.oci")
		f, oci := from.OCI, valueOr(to.OCI)
		if f.Tag != "" || f.SemVer != "" || f.Digest != "" {
			oci.Tag, oci.SemVer, oci.Digest = f.Tag, f.SemVer, f.Digest
			note(f.Tag != "", "source.oci.tag")
			note(f.SemVer != "", "source.oci.semver")
			note(f.Digest != "", "source.oci.digest")
		}
		note(replace(&oci.URL, f.URL), "source.oci.url")
		note(replace(&oci.Path, f.Path), "source.oci.path")
		replace(&oci.SecretRef, f.SecretRef)
		replace(&oci.Verify, f.Verify)
		replace(&oci.Insecure, f.Insecure)
		*to = musterv1alpha1.Source{OCI: &oci}
	}
}

func valueOr[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// replace sets a field that an override sets, and says whether it does.
func replace[T comparable](to *T, from T) bool {
	var zero T
	if from == zero {
		return false
	}
	*to = from
	return true
}

// sourceFields are the texts of a source that may hold expressions. What the application holds stays as it is.
func (r *Resolved) sourceFields() []inlineField {
	s := &r.Application.Spec.Source
	fields := []inlineField{{"source.path", &s.Path}}
	if s.Git != nil {
		git := *s.Git
		s.Git = &git
		fields = append(fields, inlineField{"source.git.url", &git.URL}, inlineField{"source.git.path", &git.Path})
		if git.Ref != nil {
			ref := *git.Ref
			git.Ref = &ref
			fields = append(fields, inlineField{"source.git.ref.branch", &ref.Branch}, inlineField{"source.git.ref.tag", &ref.Tag})
		}
	}
	if s.Chart != nil {
		chart := *s.Chart
		s.Chart = &chart
		fields = append(fields, inlineField{"source.chart.repo", &chart.Repo}, inlineField{"source.chart.name", &chart.Name},
			inlineField{"source.chart.version", &chart.Version})
	}
	if s.OCI != nil {
		oci := *s.OCI
		s.OCI = &oci
		fields = append(fields, inlineField{"source.oci.url", &oci.URL}, inlineField{"source.oci.path", &oci.Path},
			inlineField{"source.oci.tag", &oci.Tag}, inlineField{"source.oci.semver", &oci.SemVer})
	}
	return fields
}
