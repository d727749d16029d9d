package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// Fetched is what a ref of a remote names, or why it was not fetched.
type Fetched struct {
	Revision string
	Err      error

	object plumbing.Hash // the commit, or an annotated tag
}

// flight is a fetch that has not begun yet, and for which one or more callers wait.
type flight struct {
	done  chan struct{}
	found map[Ref]Fetched
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
	found := s.FetchAll(ctx, []Remote{remote})[0]
	return found.Revision, found.Err
}

// FetchAll is Fetch for several refs of one repository, whose refs are listed once: the remotes differ in Ref, Verify and Owner only.
// A ref that cannot be fetched does not keep the others from it.
func (s *Store) FetchAll(ctx context.Context, remotes []Remote) []Fetched {
	s.init()
	out := make([]Fetched, len(remotes))
	var refs []Ref
	var addr address
	for i, remote := range remotes {
		a, err := remote.check()
		if err != nil {
			out[i].Err = err
			continue
		}
		if addr = a; !slices.Contains(refs, remote.Ref) {
			refs = append(refs, remote.Ref)
		}
	}
	if len(refs) == 0 {
		return out
	}
	found, m, err := s.await(ctx, addr, remotes[0], refs)
	for i, remote := range remotes {
		switch {
		case out[i].Err != nil:
		case err != nil:
			out[i].Err = err
		default:
			out[i] = m.accept(found[remote.Ref], addr, remote)
		}
	}
	return out
}

// await waits for a fetch of refs.
func (s *Store) await(ctx context.Context, addr address, remote Remote, refs []Ref) (map[Ref]Fetched, *mirror, error) {
	m, err := s.mirror(remote.URL, &addr)
	if err != nil {
		return nil, nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("open the mirror of %s: %w", addr.shown, err))
	}
	f := s.joinFetch(ctx, m, addr, remote, refs)
	select {
	case <-f.done:
		return f.found, m, nil
	case <-ctx.Done():
		return nil, m, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("fetch %s: %w", addr.shown, ctx.Err()))
	}
}

// accept takes what was fetched for an owner, if it is signed where it has to be.
func (m *mirror) accept(f Fetched, addr address, remote Remote) Fetched {
	if f.Err == nil && remote.Verify != nil {
		if err := m.verify(f.object, remote); err != nil {
			return Fetched{Err: fleet.Reject(fleet.NotSigned, fmt.Errorf("%s: %w", addr.shown, err))}
		}
	}
	if f.Err == nil && remote.Owner != "" {
		if err := m.recordFetch(remote.Owner, f.Revision); err != nil {
			return Fetched{Err: fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("write to the mirror of %s: %w", addr.shown, err))}
		}
	}
	return f
}

// joinFetch gives the fetch that has not begun yet, or a new one. A caller who gives up does not end it for the others.
func (s *Store) joinFetch(ctx context.Context, m *mirror, addr address, remote Remote, refs []Ref) *flight {
	key := fmt.Sprintf("%q %q %s %v", remote.URL, refs, remote.Credentials.fingerprint(), remote.Insecure)
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
		f.found = s.fetch(ctx, m, addr, remote, refs)
	}()
	return f
}

// fetch fetches refs. Where one of several cannot be brought, each is fetched alone.
func (s *Store) fetch(ctx context.Context, m *mirror, addr address, remote Remote, refs []Ref) map[Ref]Fetched {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), orDefault(s.Timeout, DefaultTimeout))
	defer cancel()
	found, err := s.fetchTogether(limited, m, addr, remote, refs)
	if err == nil {
		return found
	}
	alone := 0 // how many more are tried
	if found != nil && len(refs) > 1 && s.Hosts.patience(remote.Credentials.route(addr.host)) == 0 {
		alone = maxAlone // one of them may be at fault
	}
	all := map[Ref]Fetched{}
	for _, ref := range refs {
		known, ok := found[ref]
		switch {
		case ok:
			all[ref] = known
		case alone > 0:
			all[ref] = s.fetch(ctx, m, addr, remote, []Ref{ref})[ref]
			if err := all[ref].Err; err != nil && !isRefused(err) { // it is the server, and no ref
				alone--
			}
		default:
			all[ref] = Fetched{Err: err}
		}
	}
	return all
}

// maxAlone is how many refs of one repository fail alone before the others are not tried.
const maxAlone = 3

// fetchTogether lists the remote's refs, fetches the missing objects of those that are wanted, and records these refs. With an error it
// gives what it has of each ref, which is nil where the refs could not be listed.
func (s *Store) fetchTogether(ctx context.Context, m *mirror, addr address, remote Remote, refs []Ref) (map[Ref]Fetched, error) {
	began, host := time.Now(), remote.Credentials.route(addr.host)
	unavailable := func(c Credentials, err error) error {
		err = s.unavailable(addr, c, errors.Join(ctx.Err(), err))
		s.Hosts.note(host, err)
		return err
	}
	if s.Hosts.patience(host) > 0 {
		return nil, spared(addr.shown, addr.host)
	}
	if err := m.packs.refresh(); err != nil {
		return nil, unavailable(remote.Credentials, err)
	}
	login, err := s.apps.login(ctx, remote.Credentials)
	if err != nil {
		return nil, unavailable(login, err)
	}
	conn, err := s.connect(ctx, addr, login, remote.Insecure)
	if err != nil {
		return nil, unavailable(login, err)
	}
	defer conn.close()
	offered, err := conn.refs(ctx)
	if err != nil {
		return nil, unavailable(login, err)
	}
	s.Hosts.note(host, nil)
	found, missing := map[Ref]Fetched{}, []wanted{}
	for _, ref := range refs {
		want, err := offered.choose(ref)
		if err != nil {
			found[ref] = Fetched{Err: fleet.Reject(reasonOf(err), fmt.Errorf("%s %w", addr.shown, err))}
		} else if !m.packs.has(want.object) {
			missing = append(missing, want)
		}
	}
	var moved int64
	if len(missing) > 0 {
		if moved, err = conn.fetch(ctx, m, missing, orDefault(s.MaxFetch, DefaultMaxFetch)); err != nil {
			return found, unavailable(login, err)
		}
	}
	for _, ref := range refs {
		if found[ref].Err != nil {
			continue
		}
		taken, err := m.take(ctx, offered, addr, ref)
		if err != nil {
			return found, unavailable(login, err)
		}
		found[ref] = taken
	}
	if s.Observe != nil {
		s.Observe(Transfer{URL: addr.shown, Revision: found[refs[0]].Revision, Bytes: moved, Duration: time.Since(began)})
	}
	return found, nil
}

// take checks what a ref names, now that it is here, and records the ref. The error is one of this machine, or the context's.
func (m *mirror) take(ctx context.Context, offered offer, addr address, ref Ref) (Fetched, error) {
	want, err := offered.choose(ref)
	if err != nil {
		return Fetched{}, err // it was chosen before
	}
	revision, err := m.check(ctx, want)
	if ctx.Err() != nil {
		return Fetched{}, ctx.Err()
	}
	if err != nil {
		reason := fleet.SourceUnavailable
		if errors.Is(err, errTreeTooLarge) {
			reason = fleet.ContentRefused
		}
		return Fetched{Err: fleet.Reject(reason, fmt.Errorf("%s: %s: %w", addr.shown, ref, err))}, nil
	}
	return Fetched{Revision: revision, object: want.object}, m.note(want)
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
