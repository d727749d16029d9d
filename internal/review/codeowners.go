package review

import (
	"regexp"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// CodeOwners says who owns the files of a repository.
type CodeOwners struct {
	rules []ownerRule
	// all rules that a file matches count, as on Gitea; else the last one.
	all bool
}

// ownerRule gives the files that it matches to owners.
type ownerRule struct {
	matches func(file string) bool
	owners  []string
}

// codeOwnersFiles are the places that hosts look in; the first that exists counts.
var codeOwnersFiles = []string{".github/CODEOWNERS", ".gitea/CODEOWNERS", ".forgejo/CODEOWNERS", ".gitlab/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"}

// sections are headings of GitLab's: [Name], [Name][2], ^[Name].
var sections = regexp.MustCompile(`(?m)^\s*\^?\[`)

// CodeOwnersOf reads CODEOWNERS of a commit as its host does: of the base, since a change must not make its author an owner. One with sections
// names nobody: each of them would have to approve, and an owner in one is none in another.
func CodeOwnersOf(tree fleet.Tree, host string) CodeOwners {
	for _, name := range codeOwnersFiles {
		data, err := tree.ReadFile(name)
		if err != nil {
			continue
		}
		if host == musterv1alpha1.HostGitea || host == musterv1alpha1.HostForgejo {
			return ofGitea(string(data))
		}
		if sections.Match(data) {
			return CodeOwners{}
		}
		return ofPatterns(string(data))
	}
	return CodeOwners{}
}

// ofPatterns reads the file of GitHub, GitLab and Bitbucket: patterns as in .gitignore.
func ofPatterns(text string) CodeOwners {
	var c CodeOwners
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, " #")
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], "!") {
			continue
		}
		pattern := gitignore.ParsePattern(fields[0], nil)
		matches := func(file string) bool { return pattern.Match(strings.Split(file, "/"), false) != gitignore.NoMatch }
		c.rules = append(c.rules, ownerRule{matches, ownersIn(fields[1:])})
	}
	return c
}

// ofGitea reads the file of Gitea and Forgejo: regular expressions for the complete path, after ! for every other path. Lines without an owner,
// and those that do not parse, are left out there too.
func ofGitea(text string) CodeOwners {
	c := CodeOwners{all: true}
	for line := range strings.Lines(text) {
		words := wordsOfGitea(strings.TrimSpace(line))
		if len(words) < 2 {
			continue
		}
		expression, negative := strings.CutPrefix(words[0], "!")
		compiled, err := regexp.Compile("^(?:" + strings.TrimPrefix(expression, "/") + ")$")
		if err != nil {
			continue
		}
		c.rules = append(c.rules, ownerRule{func(file string) bool { return compiled.MatchString(file) != negative }, ownersIn(words[1:])})
	}
	return c
}

// wordsOfGitea divides a line: a backslash keeps the next character as it is, and # begins a comment.
func wordsOfGitea(line string) []string {
	var words []string
	word, kept := "", false
	for _, c := range line {
		switch {
		case kept:
			word, kept = word+string(c), false
		case c == '\\':
			kept = true
		case c == '#':
			return appendWord(words, word)
		case c == ' ' || c == '\t':
			words, word = appendWord(words, word), ""
		default:
			word += string(c)
		}
	}
	return appendWord(words, word)
}

func appendWord(words []string, word string) []string {
	if word == "" {
		return words
	}
	return append(words, word)
}

// ownersIn are the users and teams among words, without the @; addresses of mail are left out.
func ownersIn(words []string) []string {
	var owners []string
	for _, o := range words {
		if name, ok := strings.CutPrefix(o, "@"); ok {
			owners = append(owners, strings.TrimPrefix(name, "@"))
		}
	}
	return owners
}

// Of are the owners of a file: users and teams without the @. Of rules as in .gitignore the last one that the file matches counts, one without
// owners too.
func (c CodeOwners) Of(file string) []string {
	var owners []string
	for _, rule := range slices.Backward(c.rules) {
		if !rule.matches(file) {
			continue
		}
		if !c.all {
			return rule.owners
		}
		for _, o := range rule.owners {
			if !slices.Contains(owners, o) {
				owners = append(owners, o)
			}
		}
	}
	return owners
}
