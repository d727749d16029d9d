package main

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
)

// noFleet is the error about a place in which nothing is defined: what was looked for, where, and what to do. A fleet that was not
// found must not look like one without faults.
func noFleet(p *plan.Plan, tree fleet.Tree, place string) error {
	found := p.Definitions.Faults
	if len(p.Definitions.All) > 0 || len(found) != 1 || found[0].Reason != fleet.RepositoryEmpty {
		return nil
	}
	text := fmt.Sprintf("there is no fleet in %s: %s", place, found[0].Message)
	if _, err := fs.Stat(tree, fleet.ConfigurationFile); err != nil {
		text = fmt.Sprintf("there is no fleet in %s: it has no %s, and %s; %s", place, fleet.ConfigurationFile, found[0].Message, folderHint(tree))
	}
	return exitError{code: exitTrouble, message: text}
}

// folderHint says which folder to name instead.
func folderHint(tree fleet.Tree) string {
	if below := fleetsBelow(tree, ".", 3); len(below) > 0 {
		return fleet.ConfigurationFile + " is in " + strings.Join(below, ", ") + ": name that folder (diff: --path)"
	}
	return "name the folder that holds " + fleet.ConfigurationFile + " (diff: --path)"
}

// fleetsBelow are the folders with a configuration file, so many levels down.
func fleetsBelow(tree fleet.Tree, dir string, levels int) []string {
	entries, err := tree.ReadDir(dir)
	if err != nil || levels == 0 {
		return nil
	}
	var found []string
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		below := path.Join(dir, entry.Name())
		if _, err := fs.Stat(tree, path.Join(below, fleet.ConfigurationFile)); err == nil {
			found = append(found, below)
			continue
		}
		found = append(found, fleetsBelow(tree, below, levels-1)...)
	}
	return found
}
