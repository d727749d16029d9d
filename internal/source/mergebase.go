package source

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// MergeBase is the newest commit that both contain: what a pull request is compared with. Both have been fetched.
func (s *Store) MergeBase(url, a, b string) (string, error) {
	if _, _, err := s.commit(url, a); err != nil {
		return "", err
	}
	m, h, err := s.commit(url, b)
	if err != nil {
		return "", err
	}
	base, err := mergeBase(m.packs, plumbing.NewHash(a), h)
	if err != nil {
		return "", fmt.Errorf("find what %s and %s have in common: %w", a, b, err)
	}
	if base.IsZero() {
		return "", fmt.Errorf("commits %s and %s have no history in common", a, b)
	}
	return base.String(), nil
}

// mergeBase walks from both commits, the youngest first, until what is left to walk comes before a commit that both have reached: it
// reads what they differ in and not their history. It is what git merge-base does.
func mergeBase(from objects, a, b plumbing.Hash) (plumbing.Hash, error) {
	const left, right, before = 1, 2, 4 // before: it comes before a common commit
	reached := map[plumbing.Hash]int{}
	queue := byTime{}
	visit := func(h plumbing.Hash, marks int) error {
		had := reached[h]
		if had|marks == had {
			return nil
		}
		reached[h] = had | marks
		c, err := commit(from, h)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			return nil // the remote was shallow
		}
		if err != nil {
			return err
		}
		heap.Push(&queue, c)
		return nil
	}
	if err := errors.Join(visit(a, left), visit(b, right)); err != nil {
		return plumbing.ZeroHash, err
	}
	var common []plumbing.Hash
	for len(queue) > 0 {
		done := func(c *object.Commit) bool { return reached[c.Hash]&before != 0 }
		if len(common) > 0 && !slices.ContainsFunc(queue, func(c *object.Commit) bool { return !done(c) }) {
			break
		}
		c := heap.Pop(&queue).(*object.Commit)
		marks := reached[c.Hash]
		if marks == left|right {
			common = append(common, c.Hash)
			marks |= before
		}
		for _, parent := range c.ParentHashes {
			if err := visit(parent, marks); err != nil {
				return plumbing.ZeroHash, err
			}
		}
	}
	for _, h := range common {
		if reached[h]&before == 0 {
			return h, nil
		}
	}
	return plumbing.ZeroHash, nil
}
