package overview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Unknown is the error about a name that does not exist; it lists similar names.
func Unknown(what, name string, known []string) error {
	if near := Nearest(name, known); len(near) > 0 {
		return fmt.Errorf("there is no %s %q; did you mean %s?", what, name, strings.Join(near, ", "))
	}
	known = slices.Sorted(slices.Values(known))
	if len(known) == 0 {
		return fmt.Errorf("there is no %s %q, nor any other", what, name)
	}
	text := strings.Join(known[:min(len(known), 8)], ", ")
	if len(known) > 8 {
		text += fmt.Sprintf(", … %d more", len(known)-8)
	}
	return fmt.Errorf("there is no %s %q; there are %s", what, name, text)
}

// Nearest are at most five known names that differ from the name by a typo or a missing part.
func Nearest(name string, known []string) []string {
	type match struct {
		name string
		far  int
	}
	var list []match
	for _, k := range known {
		far := distance(name, k)
		_, base, namespaced := strings.Cut(k, "/")
		if namespaced {
			far = min(far, distance(name[strings.LastIndex(name, "/")+1:], base))
		}
		if name != "" && strings.Contains(k, name) {
			far = min(far, 1)
		}
		if far <= max(1, len(name)/4) {
			list = append(list, match{k, far})
		}
	}
	slices.SortFunc(list, func(a, b match) int { return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name)) })
	var names []string
	for _, m := range list[:min(len(list), 5)] {
		names = append(names, m.name)
	}
	return names
}

// distance is the number of letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replace := previous[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, previous[j+1]+1, row[j]+1)
		}
		previous = row
	}
	return previous[len(b)]
}
