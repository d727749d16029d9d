package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// The bounds of a commit's tree. Deeply nested folders, and a few folders that list each other many times, are small for a server
// to send and take for ever to walk through.
const (
	maxDepth = 256
	maxFiles = 2_000_000
)

// errTreeTooLarge is a commit whose tree has too many files or folders.
var errTreeTooLarge = errors.New("cannot be read")

// extent counts what is below a folder, as a walk meets it.
type extent struct{ depth, files int }

// checkComplete makes sure that everything below a folder is here, and that a walk through it ends. The check comes before anything
// is read: the cache knows folders and files by their hash alone, over all repositories, so that a folder that lists an object which
// the server did not send could show the object of another tenant.
//
// Folders that were checked are remembered, so that the cost follows the change.
func (p *packs) checkComplete(ctx context.Context, folder plumbing.Hash) error {
	_, err := p.measure(ctx, folder, maxDepth)
	return err
}

func (p *packs) measure(ctx context.Context, folder plumbing.Hash, left int) (extent, error) {
	out, known := p.measured(folder)
	switch {
	case known && out.depth < left:
		return out, nil
	case left == 0, known:
		return out, fmt.Errorf("%w: folders are nested more than %d deep", errTreeTooLarge, maxDepth)
	case ctx.Err() != nil:
		return out, ctx.Err()
	}
	data, err := readAs(p, plumbing.TreeObject, folder)
	if err != nil {
		return out, err
	}
	below, err := treeNeeds(data)
	if err != nil {
		return out, err
	}
	for _, n := range below {
		if n.leaf && !p.has(n.hash) {
			return out, fmt.Errorf("read file %s: %w", n.hash, plumbing.ErrObjectNotFound)
		}
		inside := extent{files: 1}
		if !n.leaf {
			if inside, err = p.measure(ctx, n.hash, left-1); err != nil {
				return out, err
			}
		}
		out.files += inside.files
		if !n.leaf {
			out.depth = max(out.depth, inside.depth+1)
		}
		if out.files > maxFiles {
			return out, fmt.Errorf("%w: it has more than %d files", errTreeTooLarge, maxFiles)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.extents == nil {
		p.extents = map[plumbing.Hash]extent{}
	}
	p.extents[folder] = out
	return out, nil
}

func (p *packs) measured(folder plumbing.Hash) (extent, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.extents[folder]
	return e, ok
}
