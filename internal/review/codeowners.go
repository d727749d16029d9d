package review

import (
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"

	"github.com/muster-io/muster/internal/fleet"
)

// CodeOwners says who owns the files of a repository.
type CodeOwners []ownerRule

type ownerRule struct {
	pattern gitignore.Pattern
	owners  []string
}

// codeOwnersFiles are the places that hosts look in; the first that exists counts.
var codeOwnersFiles = []string{".github/CODEOWNERS", ".gitea/CODEOWNERS", ".forgejo/CODEOWNERS", ".gitlab/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"}

// sections are headings of GitLab's: [Name], [Name][2], ^[Name].
var sections = regexp.MustCompile(`(?m)^\s*\^?\[`)

// CodeOwnersOf reads CODEOWNERS of a commit: of the base, since a change must not make its author an owner. One with sections names nobody:
// each of them would have to approve, and an owner in one is none in another.
func CodeOwnersOf(tree fleet.Tree) CodeOwners {
	for _, name := range codeOwnersFiles {
		data, err := tree.ReadFile(name)
		if err != nil {
			continue
		}
		if sections.Match(data) {
			return nil
		}
		var rules CodeOwners
		for line := range strings.Lines(string(data)) {
			line, _, _ = strings.Cut(line, " #")
			fields := strings.Fields(line)
			if len(fields) == 0 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], "!") {
				continue
			}
			rules = append(rules, ownerRule{gitignore.ParsePattern(fields[0], nil), fields[1:]})
		}
		return rules
	}
	return nil
}

// Of are the owners of a file: users and teams without the @. The last rule that the file matches counts, one without owners too.
func (c CodeOwners) Of(file string) []string {
	parts := strings.Split(file, "/")
	for i := len(c) - 1; i >= 0; i-- {
		if c[i].pattern.Match(parts, false) == gitignore.NoMatch {
			continue
		}
		var owners []string
		for _, o := range c[i].owners {
			if name, ok := strings.CutPrefix(o, "@"); ok {
				owners = append(owners, strings.TrimPrefix(name, "@"))
			}
		}
		return owners
	}
	return nil
}
