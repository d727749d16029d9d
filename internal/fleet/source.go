package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Sources finds what references to other repositories and registries resolved to. It is a fact of a world: it fetches nothing,
// and gives the same answer for as long as the world is used. It must be safe for concurrent use.
type Sources interface {
	// Find gives the content of a reference. The error is a Fault that says why there is none.
	Find(*Reference) (*Found, error)
}

// Reference is content that is not in the fleet repository, as an application of a namespace names it. The path in the content is
// no part of it.
type Reference struct {
	// Namespace whose Secrets may be read for it; empty for a reference that names none: whose content is everybody's.
	Namespace string
	// One of these is set, without its path.
	Git   *musterv1alpha1.GitSource
	Chart *musterv1alpha1.ChartSource
	OCI   *musterv1alpha1.OCISource
	// Values are of the hub: a Secret or ConfigMap of the namespace.
	Values *ValuesObject `json:"Values,omitempty"`
	// Asker is the namespace of the application that names it. It is no part of what the reference is to: others may name the same.
	Asker string `json:"-"`
}

// ValuesObject is a Secret or ConfigMap that holds values.
type ValuesObject struct {
	Kind musterv1alpha1.ValuesKind
	Name string
}

// Found is what a reference resolved to.
type Found struct {
	// Name is short, such as storefront@4.11.2: files of the content are shown below it.
	Name string
	// Version that was chosen, for people.
	Version string
	// Digest is that of the chart's archive or of the artifact's manifest, sha256:..., or the commit.
	Digest string
	// Tree holds the files. Equal digests hold equal files.
	Tree Tree
	// Packed is true for a chart that was an archive: what its .helmignore names was left out when it was packed.
	Packed bool
	// Values are those of a Secret or ConfigMap, which has no tree.
	Values *HeldValues
	// Problem says why the source could not be looked at, or why what it says now is not taken; empty is none.
	Problem string
}

// Same tells whether two references led to the same content.
func (f *Found) Same(other *Found) bool {
	is, was := *f, *other
	is.Tree, was.Tree = nil, nil
	is.Values, was.Values = nil, nil
	return is == was && f.Values.mask() == other.Values.mask()
}

// ReferenceOf is the reference of an application's source; nil for one in its own repository.
func ReferenceOf(namespace string, s musterv1alpha1.Source) *Reference {
	r := &Reference{Asker: namespace}
	switch {
	case s.Git != nil:
		git := *s.Git
		git.Path = ""
		r.Git = &git
	case s.Chart != nil:
		chart := *s.Chart
		r.Chart = &chart
	case s.OCI != nil:
		oci := *s.OCI
		oci.Path = ""
		r.OCI = &oci
	default:
		return nil
	}
	if v := r.Verification(); r.SecretRef() != "" || v != nil && v.SecretRef != nil {
		r.Namespace = namespace
	}
	return r
}

// Verification says whose signature the content has to have; nil is nobody's.
func (r *Reference) Verification() *musterv1alpha1.Verification {
	switch {
	case r.Git != nil && r.Git.Verify != nil:
		return &r.Git.Verify.Verification
	case r.Chart != nil:
		return r.Chart.Verify
	case r.OCI != nil:
		return r.OCI.Verify
	}
	return nil
}

// SecretRef is the name of the Secret that opens the source; empty for none.
func (r *Reference) SecretRef() string {
	var ref *musterv1alpha1.LocalReference
	switch {
	case r.Git != nil:
		ref = r.Git.SecretRef
	case r.Chart != nil:
		ref = r.Chart.SecretRef
	case r.OCI != nil:
		ref = r.OCI.SecretRef
	}
	if ref == nil {
		return ""
	}
	return ref.Name
}

// Insecure says whether the reference asks for a connection that proves nothing.
func (r *Reference) Insecure() bool {
	return r.Git != nil && r.Git.Insecure || r.Chart != nil && r.Chart.Insecure || r.OCI != nil && r.OCI.Insecure
}

// Key is equal for equal references. What was fetched for one namespace with its Secret has a key that no other namespace has.
func (r *Reference) Key() string {
	data, err := CanonicalJSON(r)
	if err != nil {
		panic(err) // strings and booleans
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// URL of the repository or registry.
func (r *Reference) URL() string {
	switch {
	case r.Git != nil:
		return r.Git.URL
	case r.Chart != nil:
		return r.Chart.Repo
	case r.OCI != nil:
		return r.OCI.URL
	}
	return ""
}

// Wants is which version, tag or commit the reference names.
func (r *Reference) Wants() string {
	switch {
	case r.Git != nil && r.Git.Ref != nil:
		return r.Git.Ref.Commit + r.Git.Ref.Tag + r.Git.Ref.Branch
	case r.Chart != nil:
		return r.Chart.Version
	case r.OCI != nil && r.OCI.SemVer != "":
		return r.OCI.SemVer
	case r.OCI != nil:
		return r.OCI.Tag + r.OCI.Digest
	}
	return ""
}

// From is where the reference leads, as people say it.
func (r *Reference) From() string {
	switch {
	case r.Git != nil:
		return "repository " + r.Git.URL
	case r.Chart != nil:
		return "chart " + r.Chart.Name + " of " + r.Chart.Repo
	case r.Values != nil:
		return string(r.Values.Kind) + " " + r.Namespace + "/" + r.Values.Name
	}
	return "artifact " + r.URL()
}

// String is the reference as people say it.
func (r *Reference) String() string {
	if wants := r.Wants(); wants != "" {
		return r.From() + ", " + wants
	}
	return r.From()
}

// ShortDigest is the beginning of a digest, or of a commit.
func ShortDigest(digest string) string {
	algorithm, hash, ok := strings.Cut(digest, ":")
	if !ok {
		return ShortRevision(digest)
	}
	return algorithm + ":" + hash[:min(len(hash), 12)]
}

// Name is a short name of what the reference is to, without a version.
func (r *Reference) Name() string {
	switch {
	case r.Chart != nil:
		return r.Chart.Name
	case r.Values != nil:
		return r.Values.Name
	}
	return strings.TrimSuffix(path.Base(strings.TrimRight(strings.ReplaceAll(r.URL(), ":", "/"), "/")), ".git")
}

// UsedSource is a reference of an application, and what it resolved to.
type UsedSource struct {
	Reference *Reference
	// Found is nil for one that has not been fetched.
	Found *Found
}

// Status is the source as a status says it.
func (u UsedSource) Status() musterv1alpha1.SourceStatus {
	s := musterv1alpha1.SourceStatus{Source: u.Reference.String()}
	if u.Found != nil {
		s.Version, s.Digest, s.Message = u.Found.Version, u.Found.Digest, u.Found.Problem
	}
	return s
}

// SourceText is a source's status as people say it.
func SourceText(s musterv1alpha1.SourceStatus) string {
	text := s.Source
	if s.Digest != "" {
		text += " is " + strings.TrimSpace(s.Version+" "+ShortDigest(s.Digest))
	}
	if s.Message != "" {
		text += ": " + s.Message
	}
	return text
}

// SortSources orders the sources of an application, each once.
func SortSources(used []UsedSource) []UsedSource {
	slices.SortFunc(used, func(a, b UsedSource) int {
		return cmp.Or(
			strings.Compare(a.Reference.String(), b.Reference.String()), strings.Compare(a.Reference.Key(), b.Reference.Key()),
			cmp.Compare(unfetched(a), unfetched(b)))
	})
	return slices.CompactFunc(used, func(a, b UsedSource) bool { return a.Reference.Key() == b.Reference.Key() })
}

func unfetched(u UsedSource) int {
	if u.Found == nil {
		return 1
	}
	return 0
}
