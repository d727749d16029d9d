package source

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/muster-io/muster/internal/fleet"
)

// Remote says which commit to bring from where.
type Remote struct {
	// URL is file://, http(s)://, ssh:// or user@host:path. It carries no password: those come from Credentials.
	URL string
	// Ref chooses the commit.
	Ref Ref
	// Credentials open the repository; the zero value is anonymous.
	Credentials Credentials
	// Insecure takes any certificate of https.
	Insecure bool
	// Verify, when set, has the commit fetched only where one of these keys has signed it, or its tag with VerifyTag.
	Verify    *Signers
	VerifyTag bool
	// Owner is the FleetRepository that fetches, for HasFetched; empty records nothing.
	Owner string
	// Path is the folder of the fleet in the repository. Fetch ignores it: the caller hands it to Snapshot.
	Path string
}

// Ref is a branch, a tag or a full commit; at most one is set. With none, the remote's HEAD names the default branch.
type Ref struct {
	Branch, Tag, Commit string
}

// String is the ref in words, such as "branch main".
func (r Ref) String() string {
	switch {
	case r.Commit != "":
		return "commit " + r.Commit
	case r.Tag != "":
		return "tag " + r.Tag
	case r.Branch != "":
		return "branch " + r.Branch
	}
	return "the default branch"
}

var fullCommit = regexp.MustCompile(`^[0-9a-f]{40}$`)

func (r Ref) validate() error {
	set := 0
	for _, name := range []string{r.Branch, r.Tag, r.Commit} {
		if name != "" {
			set++
		}
	}
	if set > 1 {
		return fmt.Errorf("branch, tag and commit exclude each other: keep one of them")
	}
	if r.Commit != "" && !fullCommit.MatchString(r.Commit) {
		return fmt.Errorf("%q is not a full commit: write all 40 hexadecimal digits", r.Commit)
	}
	if name := r.name(); name != "" && name.Validate() != nil {
		return fmt.Errorf("%q is not a name that Git allows", cmp.Or(r.Branch, r.Tag))
	}
	return nil
}

// name is the ref on the remote; empty for a commit and for the default branch.
func (r Ref) name() plumbing.ReferenceName {
	switch {
	case r.Branch != "":
		return plumbing.NewBranchReferenceName(r.Branch)
	case r.Tag != "":
		return plumbing.NewTagReferenceName(r.Tag)
	}
	return ""
}

// address is a parsed URL.
type address struct {
	scheme string // file, http, https, ssh
	user   string // ssh only
	host   string // with the port, if one is given
	path   string
	url    string // for go-git; carries no secret
	shown  string // for people; carries no secret
}

// scpLike is user@host:path, Git's short form of ssh.
var scpLike = regexp.MustCompile(`^(?:([^@:/\s]+)@)?([^@:/\s]+):([^\s]+)$`)

// parseAddress parses a URL. Its errors never repeat the user or password in it.
func parseAddress(raw string) (address, error) {
	raw = strings.TrimSpace(raw)
	if filepath.IsAbs(raw) {
		raw = "file://" + raw
	}
	if !strings.Contains(raw, "://") {
		if m := scpLike.FindStringSubmatch(raw); m != nil {
			return address{scheme: "ssh", user: cmp.Or(m[1], "git"), host: m[2], path: m[3], url: raw, shown: raw}, nil
		}
		return address{}, fmt.Errorf("the repository's URL is not one: write https://, ssh://, file:// or user@host:path")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return address{}, fmt.Errorf("the repository's URL cannot be parsed: write https://, ssh://, file:// or user@host:path")
	}
	a := address{scheme: strings.ToLower(u.Scheme), host: u.Host, path: u.Path, url: raw}
	user := u.User
	u.User = nil
	a.shown = u.String()
	_, hasPassword := user.Password()
	switch {
	case a.scheme == "file" && (u.Host == "" || u.Host == "localhost") && filepath.IsAbs(u.Path):
		a.host = ""
	case (a.scheme == "http" || a.scheme == "https") && u.Host != "":
		if user != nil {
			return a, fmt.Errorf("%s: the URL carries a user or password: move them to a Secret", a.shown)
		}
	case a.scheme == "ssh" && u.Host != "" && strings.Trim(u.Path, "/") != "":
		if hasPassword {
			return a, fmt.Errorf("%s: the URL carries a password: use a Secret with identity and known_hosts", a.shown)
		}
		a.user = cmp.Or(user.Username(), "git")
	default:
		return a, fmt.Errorf("%s: repositories are read from https://, http://, ssh://, file:// or user@host:path", a.shown)
	}
	return a, nil
}

// Display is a repository's URL without user and password.
func Display(raw string) string {
	a, err := parseAddress(raw)
	if err != nil && a.shown == "" {
		return "(not a URL)"
	}
	return a.shown
}

// mirrorFolder is what folderName gives.
var mirrorFolder = regexp.MustCompile(`^[0-9a-f]{32}$`)

// folderName is the folder of a URL's mirror. It is a hash, so that no character of the URL reaches the file system.
func folderName(raw string) string {
	sum := sha256.Sum256([]byte(strings.TrimSuffix(strings.TrimSpace(raw), "/")))
	return hex.EncodeToString(sum[:16])
}

// check refuses a remote that no fetch could succeed with.
func (r Remote) check() (address, error) {
	a, err := parseAddress(r.URL)
	if err != nil {
		return a, fleet.Reject(fleet.SourceUnavailable, err)
	}
	if err := r.Ref.validate(); err != nil {
		return a, fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s: %w", a.shown, err))
	}
	if r.VerifyTag && r.Ref.Tag == "" {
		return a, fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s: verify has mode Tag, and no tag is named: set ref.tag, or take mode Head", a.shown))
	}
	if err := r.Credentials.fit(a); err != nil {
		return a, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: %w", a.shown, err))
	}
	return a, nil
}
