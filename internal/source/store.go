package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	gitcache "github.com/go-git/go-git/v5/plumbing/cache"

	"github.com/muster-io/muster/internal/fleet"
)

// What a Store allows when its fields say nothing.
const (
	DefaultMaxFile  = 5 << 20 // bytes of one file
	DefaultMaxFetch = 2 << 30 // bytes of one transfer
	DefaultTimeout  = 5 * time.Minute
)

// Store fetches repositories into a folder and reads them back. One process has one Store per folder; it is safe for
// concurrent use. The zero value with a Dir is ready.
type Store struct {
	// Dir holds the mirrors, one folder each. It belongs on a volume: the delivered commits are there.
	Dir string
	// Local are the folders below which file:// repositories may be read. With none, file:// is refused: whoever
	// may name a repository must not be able to read the hub's disk.
	Local []string
	// MaxFile bounds a file that is read, in bytes; a larger one is a fault when it is read, not before.
	MaxFile int64
	// MaxFetch bounds one transfer, in bytes.
	MaxFetch int64
	// Timeout bounds one fetch.
	Timeout time.Duration
	// Observe, when set, is told of every fetch that succeeded.
	Observe func(Transfer)

	once    sync.Once
	cache   *cache
	bases   gitcache.Object
	web     *webClients
	mu      sync.Mutex
	mirrors map[string]*mirror
	flights map[string]*flight
}

// Transfer is what one fetch moved.
type Transfer struct {
	URL      string // without user and password
	Revision string
	Bytes    int64 // of objects; 0 when there was nothing new
	Duration time.Duration
}

// flight is a fetch that has not begun yet, with all who wait for it.
type flight struct {
	done     chan struct{}
	revision string
	err      error
}

func (s *Store) init() {
	s.once.Do(func() {
		s.cache = newCache(cacheBytes)
		s.bases = gitcache.NewObjectLRU(16 * gitcache.MiByte)
		s.web = &webClients{}
		s.mirrors = map[string]*mirror{}
		s.flights = map[string]*flight{}
	})
}

// Fetch brings the commit that the remote's ref names, and all that it needs, and returns its full name.
//
// Callers who want the same wait for one fetch together, always for one that begins after they asked: a webhook that
// arrives in the middle of a fetch sees the commit that it announces. Fetches of one repository take turns, those of
// different ones run side by side. The remote is asked every time, also for a commit that is here already, so that
// credentials are never taken on trust.
//
// Faults: SourceUnavailable (Machine: unreachable, refused, timed out; Author: no such branch, tag or commit),
// RepositoryEmpty, ContentRefused (more than MaxFetch). Whatever fails, what was fetched before stays readable.
func (s *Store) Fetch(ctx context.Context, remote Remote) (string, error) {
	s.init()
	at, err := remote.check()
	if err != nil {
		return "", err
	}
	m, err := s.mirror(remote.URL, &at)
	if err != nil {
		return "", fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("open the mirror of %s: %w", at.shown, err))
	}
	f := s.board(ctx, m, at, remote)
	select {
	case <-f.done:
		if f.err == nil && remote.Owner != "" {
			if err := m.open(remote.Owner, f.revision); err != nil {
				return "", fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("write to the mirror of %s: %w", at.shown, err))
			}
		}
		return f.revision, f.err
	case <-ctx.Done():
		return "", fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("fetch %s: %w", at.shown, ctx.Err()))
	}
}

// board joins the fetch that waits for its turn, or begins to wait. A caller who gives up does not end it for others.
func (s *Store) board(ctx context.Context, m *mirror, at address, remote Remote) *flight {
	key := strings.Join([]string{remote.URL, remote.Ref.String(), remote.Credentials.fingerprint()}, "\x00")
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[key]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	s.flights[key] = f
	go func() {
		defer close(f.done)
		m.turn <- struct{}{}
		defer func() { <-m.turn }()
		s.mu.Lock()
		delete(s.flights, key) // from here on, others need a later one
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orDefault(s.Timeout, DefaultTimeout))
		defer cancel()
		f.revision, f.err = s.fetch(ctx, m, at, remote)
	}()
	return f
}

// fetch lists the remote's refs, takes the missing objects, and remembers what it saw.
func (s *Store) fetch(ctx context.Context, m *mirror, at address, remote Remote) (string, error) {
	began := time.Now()
	unavailable := func(err error) error {
		return s.unavailable(at, remote.Credentials, errors.Join(ctx.Err(), err))
	}
	if err := m.packs.refresh(); err != nil {
		return "", unavailable(err)
	}
	conn, err := s.connect(ctx, at, remote.Credentials)
	if err != nil {
		return "", unavailable(err)
	}
	defer conn.close()
	offered, err := conn.refs(ctx)
	if err != nil {
		return "", unavailable(err)
	}
	want, err := offered.choose(remote.Ref)
	if err != nil {
		return "", fleet.Reject(reasonOf(err), fmt.Errorf("%s %w", at.shown, err))
	}
	var moved int64
	if !m.packs.has(want.object) {
		if moved, err = conn.take(ctx, m, want, orDefault(s.MaxFetch, DefaultMaxFetch)); err != nil {
			return "", unavailable(err)
		}
	}
	revision, err := m.check(ctx, want)
	if ctx.Err() != nil {
		return "", unavailable(ctx.Err())
	}
	if err != nil {
		reason := fleet.SourceUnavailable
		if errors.Is(err, errUnwieldy) {
			reason = fleet.ContentRefused
		}
		return "", fleet.Reject(reason, fmt.Errorf("%s: %s: %w", at.shown, remote.Ref, err))
	}
	if err := m.note(want); err != nil {
		return "", unavailable(err)
	}
	if s.Observe != nil {
		s.Observe(Transfer{URL: at.shown, Revision: revision, Bytes: moved, Duration: time.Since(began)})
	}
	return revision, nil
}

// check is whether what was wanted came, with all that it needs; it gives the commit.
func (m *mirror) check(ctx context.Context, want wanted) (string, error) {
	if !m.packs.has(want.object) {
		return "", fmt.Errorf("the repository does not have it")
	}
	c, err := commit(m.packs, want.object)
	if err != nil {
		return "", err
	}
	err = m.packs.whole(ctx, c.TreeHash)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return "", fmt.Errorf("the server sent commit %s without all of its files: %w", c.Hash, err)
	}
	if err != nil {
		return "", fmt.Errorf("commit %s: %w", c.Hash, err)
	}
	return c.Hash.String(), nil
}

// note remembers what was seen of a ref, and keeps the number of packs small.
func (m *mirror) note(want wanted) error {
	if want.ref != "" {
		name := plumbing.ReferenceName(refsFetched + strings.TrimPrefix(string(want.ref), "refs/"))
		if err := m.setRef(name, want.object); err != nil {
			return err
		}
	}
	return m.packs.consolidate()
}

// mirror gives the mirror of a URL; it is made when an address is given, else it must be there.
func (s *Store) mirror(url string, create *address) (*mirror, error) {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	name := folderName(url)
	if m := s.mirrors[name]; m != nil {
		return m, nil
	}
	dir := filepath.Join(s.Dir, name)
	if create != nil {
		if err := createMirror(dir, create.shown); err != nil {
			return nil, err
		}
	} else if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		return nil, fmt.Errorf("%s was never fetched here: %w", Display(url), fs.ErrNotExist)
	}
	m, err := openMirror(dir, s.bases)
	if err != nil {
		return nil, err
	}
	s.mirrors[name] = m
	return m, nil
}

// Pin keeps a commit for its owner (namespace/name), in place of the one that it kept before. When Pin has returned,
// the commit survives force-pushes, git gc in the mirror, and restarts.
func (s *Store) Pin(url, owner, revision string) error {
	m, h, err := s.commit(url, revision)
	if err != nil {
		return err
	}
	name, err := deliveredRef(owner)
	if err != nil {
		return err
	}
	return m.setRef(name, h)
}

// Opened says whether an owner has fetched a commit itself: as its last one, as the one that it pinned, or in the history of
// these. Who has the same URL shares a mirror and not what is in it: the remote, which Fetch asks, says who may read.
func (s *Store) Opened(url, owner, revision string) (bool, error) {
	m, h, err := s.commit(url, revision)
	if err != nil {
		return false, nil //nolint:nilerr // what is not here was opened by nobody
	}
	for _, refOf := range []func(string) (plumbing.ReferenceName, error){deliveredRef, openedRef} {
		name, err := refOf(owner)
		if err != nil {
			return false, err
		}
		head, err := m.ref(name)
		if err != nil {
			return false, err
		}
		if head.IsZero() {
			continue
		}
		if opened, err := isAncestor(m.packs, h, head); opened || err != nil {
			return opened, err
		}
	}
	return false, nil
}

// Unpin lets go of an owner's commits, when the fleet repository is gone.
func (s *Store) Unpin(url, owner string) error {
	name, err := deliveredRef(owner)
	if err != nil {
		return err
	}
	opened, err := openedRef(owner)
	if err != nil {
		return err
	}
	m, err := s.mirror(url, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(m.removeRef(name), m.removeRef(opened))
}

// Retain removes the mirrors of all but these URLs: what no repository follows any more takes no disk. One that is being fetched
// stays until the next time. A mirror that is missed after all is fetched anew.
func (s *Store) Retain(urls []string) error {
	s.init()
	keep := map[string]bool{}
	for _, url := range urls {
		keep[folderName(url)] = true
	}
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for mirrors: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		if !mirrorFolder.MatchString(e.Name()) || keep[e.Name()] {
			continue
		}
		if err := s.remove(e.Name()); err != nil {
			return fmt.Errorf("remove a mirror that no repository follows: %w", err)
		}
	}
	return nil
}

// remove takes a mirror away, unless it is being fetched. The caller holds the lock.
func (s *Store) remove(name string) error {
	if m := s.mirrors[name]; m != nil {
		select {
		case m.turn <- struct{}{}:
			defer func() { <-m.turn }()
		default:
			return nil
		}
		delete(s.mirrors, name)
	}
	return os.RemoveAll(filepath.Join(s.Dir, name))
}

// commit finds a full revision in a URL's mirror. That it is missing may go away with the next fetch.
func (s *Store) commit(url, revision string) (*mirror, plumbing.Hash, error) {
	h := plumbing.NewHash(revision)
	m, err := s.mirror(url, nil)
	if err == nil && fullCommit.MatchString(revision) && m.packs.has(h) {
		return m, h, nil
	}
	if err == nil {
		err = fmt.Errorf("commit %q of %s is not here: fetch it first", revision, Display(url))
	}
	return nil, h, fleet.Fail(fleet.SourceUnavailable, err)
}

// Snapshot opens a commit that was fetched, without any network, rooted at dir: a folder of the repository, or empty
// for all of it. The caller sets Snapshot.Repository. A dir that the commit does not have is ContentMissing.
func (s *Store) Snapshot(url, revision, dir string) (fleet.Snapshot, error) {
	m, h, err := s.commit(url, revision)
	if err != nil {
		return fleet.Snapshot{}, err
	}
	return snapshot(m.packs, s.cache, orDefault(s.MaxFile, DefaultMaxFile), h, dir)
}

// IsAncestor says whether old is head itself or comes before it in history. When the delivered commit is no ancestor
// of the one that was fetched, the remote's history was rewritten.
func (s *Store) IsAncestor(url, old, head string) (bool, error) {
	if _, _, err := s.commit(url, old); err != nil {
		return false, err
	}
	m, h, err := s.commit(url, head)
	if err != nil {
		return false, err
	}
	return isAncestor(m.packs, plumbing.NewHash(old), h)
}

func orDefault[T int64 | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}
