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

// The defaults of a Store's bounds.
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
	// Hosts are those that are left in peace; nil leaves none.
	Hosts *Hosts
	// Observe, when set, is called after every fetch that succeeded.
	Observe func(Transfer)

	once    sync.Once
	cache   *cache
	bases   gitcache.Object
	web     *webClients
	apps    apps
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

// flight is a fetch that has not begun yet, and for which one or more callers wait.
type flight struct {
	done     chan struct{}
	object   plumbing.Hash // what the ref names: the commit, or an annotated tag
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
// Callers who want the same ref share one fetch, always one that begins after their call: a webhook that arrives during a fetch
// gets the commit that it announces. Fetches of one repository run one after the other, those of different repositories in
// parallel. The remote is asked every time, also for a commit that is here already, so that it checks the credentials.
//
// Faults: SourceUnavailable (for the controller: unreachable, refused, timed out; for the user: no such branch, tag or commit),
// RepositoryEmpty, ContentRefused (more than MaxFetch), NotSigned. After any of them, earlier commits stay readable.
func (s *Store) Fetch(ctx context.Context, remote Remote) (string, error) {
	s.init()
	addr, err := remote.check()
	if err != nil {
		return "", err
	}
	m, err := s.mirror(remote.URL, &addr)
	if err != nil {
		return "", fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("open the mirror of %s: %w", addr.shown, err))
	}
	f := s.joinFetch(ctx, m, addr, remote)
	select {
	case <-f.done:
		if f.err == nil && remote.Verify != nil {
			if err := m.verify(f.object, remote); err != nil {
				return "", fleet.Reject(fleet.NotSigned, fmt.Errorf("%s: %w", addr.shown, err))
			}
		}
		if f.err == nil && remote.Owner != "" {
			if err := m.recordFetch(remote.Owner, f.revision); err != nil {
				return "", fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("write to the mirror of %s: %w", addr.shown, err))
			}
		}
		return f.revision, f.err
	case <-ctx.Done():
		return "", fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("fetch %s: %w", addr.shown, ctx.Err()))
	}
}

// joinFetch gives the fetch that has not begun yet, or a new one. A caller who gives up does not end it for the others.
func (s *Store) joinFetch(ctx context.Context, m *mirror, addr address, remote Remote) *flight {
	key := strings.Join([]string{remote.URL, remote.Ref.String(), remote.Credentials.fingerprint(), fmt.Sprint(remote.Insecure)}, "\x00")
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[key]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	s.flights[key] = f
	go func() {
		defer close(f.done)
		m.fetching <- struct{}{}
		defer func() { <-m.fetching }()
		s.mu.Lock()
		delete(s.flights, key) // who asks from now on needs a later fetch
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orDefault(s.Timeout, DefaultTimeout))
		defer cancel()
		f.object, f.revision, f.err = s.fetch(ctx, m, addr, remote)
	}()
	return f
}

// fetch lists the remote's refs, fetches the missing objects, and records the ref.
func (s *Store) fetch(ctx context.Context, m *mirror, addr address, remote Remote) (object plumbing.Hash, revision string, err error) {
	began := time.Now()
	login := remote.Credentials
	if s.Hosts.patience(addr.host) > 0 {
		return object, "", spared(addr.shown, addr.host)
	}
	unavailable := func(err error) error {
		err = s.unavailable(addr, login, errors.Join(ctx.Err(), err))
		s.Hosts.note(addr.host, err)
		return err
	}
	if err := m.packs.refresh(); err != nil {
		return object, "", unavailable(err)
	}
	if login, err = s.apps.login(ctx, remote.Credentials); err != nil {
		return object, "", unavailable(err)
	}
	conn, err := s.connect(ctx, addr, login, remote.Insecure)
	if err != nil {
		return object, "", unavailable(err)
	}
	defer conn.close()
	offered, err := conn.refs(ctx)
	if err != nil {
		return object, "", unavailable(err)
	}
	s.Hosts.note(addr.host, nil)
	want, err := offered.choose(remote.Ref)
	if err != nil {
		return object, "", fleet.Reject(reasonOf(err), fmt.Errorf("%s %w", addr.shown, err))
	}
	var moved int64
	if !m.packs.has(want.object) {
		if moved, err = conn.fetch(ctx, m, want, orDefault(s.MaxFetch, DefaultMaxFetch)); err != nil {
			return object, "", unavailable(err)
		}
	}
	revision, err = m.check(ctx, want)
	if ctx.Err() != nil {
		return object, "", unavailable(ctx.Err())
	}
	if err != nil {
		reason := fleet.SourceUnavailable
		if errors.Is(err, errTreeTooLarge) {
			reason = fleet.ContentRefused
		}
		return object, "", fleet.Reject(reason, fmt.Errorf("%s: %s: %w", addr.shown, remote.Ref, err))
	}
	if err := m.note(want); err != nil {
		return object, "", unavailable(err)
	}
	if s.Observe != nil {
		s.Observe(Transfer{URL: addr.shown, Revision: revision, Bytes: moved, Duration: time.Since(began)})
	}
	return want.object, revision, nil
}

// check makes sure that the wanted object is here with all that it refers to, and returns its commit.
func (m *mirror) check(ctx context.Context, want wanted) (string, error) {
	if !m.packs.has(want.object) {
		return "", fmt.Errorf("the repository does not have it")
	}
	c, err := commit(m.packs, want.object)
	if err != nil {
		return "", err
	}
	err = m.packs.checkComplete(ctx, c.TreeHash)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return "", fmt.Errorf("the server sent commit %s without all of its files: %w", c.Hash, err)
	}
	if err != nil {
		return "", fmt.Errorf("commit %s: %w", c.Hash, err)
	}
	return c.Hash.String(), nil
}

// note records the ref, and keeps the number of packs small.
func (m *mirror) note(want wanted) error {
	if want.ref != "" {
		name := plumbing.ReferenceName(refsFetched + strings.TrimPrefix(string(want.ref), "refs/"))
		if err := m.setRef(name, want.object); err != nil {
			return err
		}
	}
	return m.packs.consolidate()
}

// mirror gives the mirror of a URL. A missing one is made when an address is given, else it is an error.
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

// Pin keeps a commit for its owner, with its history. After Pin returns, the commit survives force-pushes, git gc in the mirror, and
// restarts. The commit that was pinned before stays where the new one does not descend from it: what was delivered once can be
// delivered again.
func (s *Store) Pin(url, owner, revision string) error {
	m, h, err := s.commit(url, revision)
	if err != nil {
		return err
	}
	name, err := deliveredRef(owner)
	if err != nil {
		return err
	}
	if err := m.keepRewritten(owner, name, h); err != nil {
		return err
	}
	return m.setRef(name, h)
}

// HasFetched says whether an owner has fetched a commit itself: as its last one, as one that it pinned, or in the history of
// these. FleetRepositories with one URL share a mirror, and sharing it grants no read access: the remote decides at each Fetch.
func (s *Store) HasFetched(url, owner, revision string) (bool, error) {
	m, h, err := s.commit(url, revision)
	if err != nil {
		return false, nil //nolint:nilerr // a commit that is not here was fetched by nobody
	}
	heads, err := m.headsOf(owner)
	if err != nil {
		return false, err
	}
	for _, head := range heads {
		if found, err := isAncestor(m.packs, h, head); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// Unpin removes the refs of an owner whose FleetRepository is gone.
func (s *Store) Unpin(url, owner string) error {
	name, err := deliveredRef(owner)
	if err != nil {
		return err
	}
	fetchedBy, err := fetchedByRef(owner)
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
	kept, err := m.keptBy(owner)
	for _, ref := range kept {
		err = errors.Join(err, m.removeRef(ref.Name()))
	}
	return errors.Join(err, m.removeRef(name), m.removeRef(fetchedBy))
}

// Retain removes the mirrors of all other URLs, which no repository follows any more. A mirror that is being fetched stays until
// the next call.
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

// remove removes a mirror, unless it is being fetched. The caller holds the lock.
func (s *Store) remove(name string) error {
	if m := s.mirrors[name]; m != nil {
		select {
		case m.fetching <- struct{}{}:
			defer func() { <-m.fetching }()
		default:
			return nil
		}
		delete(s.mirrors, name)
	}
	return os.RemoveAll(filepath.Join(s.Dir, name))
}

// commit finds a full revision in a URL's mirror. A missing one is the controller's fault to retry: the next fetch may bring it.
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

// CommittedAt is when a commit that was fetched was made, by the clock of whoever made it.
func (s *Store) CommittedAt(url, revision string) (time.Time, error) {
	m, hash, err := s.commit(url, revision)
	if err != nil {
		return time.Time{}, err
	}
	c, err := commit(m.packs, hash)
	if err != nil {
		return time.Time{}, fmt.Errorf("read commit %s: %w", revision, err)
	}
	return commitTime(c), nil
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
