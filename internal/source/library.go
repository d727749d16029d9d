package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// Library fetches what references to charts, artifacts and other repositories resolve to, and keeps it in a folder.
//
// A plan reads it through Sources, which fetches nothing: it notes what it was asked for and does not have, and Look fetches that.
// References to one address with one Secret are one remote: a look asks it once for all of them, and takes only what has changed.
// What was fetched stays until another look brings something else: a remote that is away, and a Secret that is gone, change nothing.
//
// Nothing that was fetched with a Secret is given to another namespace, and nothing that one address said to another address: each
// remote has its own folder.
type Library struct {
	// Dir holds what was fetched. It belongs on a volume.
	Dir string
	// Git fetches repositories; it has a folder of its own.
	Git *Store
	// Secret reads a Secret of a namespace.
	Secret func(ctx context.Context, namespace, name string) (map[string][]byte, error)
	// Values reads a Secret or ConfigMap that holds values, and what identifies it: fs.ErrNotExist is none, fs.ErrPermission one that may not be
	// read. Nil: none can be read here, and something stands for each value; so it is where the error is ErrUnseen.
	Values func(ctx context.Context, namespace string, object fleet.ValuesObject) (data map[string][]byte, uid string, err error)
	// Credentials opens an address for a reference that names no Secret, and without Secret for the others. Nil: it is anonymous.
	Credentials func(address string) (Credentials, error)
	// Insecure allows references that ask for a connection that proves nothing.
	Insecure bool
	// MaxArchive bounds an archive, in bytes; 0 is DefaultMaxArchive.
	MaxArchive int64
	// Interval between two looks at a remote; 0 is DefaultInterval.
	Interval time.Duration
	// Hosts are those that are left in peace; nil makes some of its own. Git has the same.
	Hosts *Hosts
	// Wanted is called for a remote that is to be looked at now. It must not block.
	Wanted func(remote string)

	mu      sync.Mutex
	loaded  bool
	held    map[string]*holding // by the key of the reference
	remotes map[string]*remote
	users   map[string]map[string]bool // the keys of the references that each user has
	clients clients
}

// DefaultInterval is the time between two looks at a remote.
const DefaultInterval = 5 * time.Minute

// unusedAfter is how long a reference that nobody uses is kept.
const unusedAfter = time.Hour

// holding is a reference and what it resolved to.
type holding struct {
	reference *fleet.Reference
	remote    string
	wantedAt  time.Time
	record    *record
	found     *fleet.Found // nil before the first fetch
	fault     error        // of the last look; nil after a good one
}

func (h *holding) parts() []part {
	if h.record == nil {
		return nil
	}
	return h.record.Parts
}

// record is what is known of a reference over restarts.
type record struct {
	Reference *fleet.Reference `json:"reference"`
	// Version and Digest as fleet.Found has them.
	Version string `json:"version"`
	Digest  string `json:"digest"`
	// Content is the file that holds the content, in the folder of the remote; empty for Git.
	Content string `json:"content,omitempty"`
	Packed  bool   `json:"packed,omitempty"`
	// Parts of a commit that lie elsewhere.
	Parts []part `json:"parts,omitempty"`
	// Signed are the keys, one of which has signed the content, as Signers.fingerprint has them; empty where nobody has to.
	Signed string `json:"signed,omitempty"`
}

// remote is an address, with the Secret that opens it.
type remote struct {
	name     string
	host     string
	values   bool // of the hub
	git      bool
	askers   map[string]bool // namespaces
	failures int
	looking  sync.Mutex
}

// remoteName is a name for the remote of a reference: a hash of the address and of who asks.
func remoteName(r *fleet.Reference) string {
	kind := "oci"
	address := r.URL()
	switch {
	case r.Values != nil:
		kind, address = "values", string(r.Values.Kind)+"/"+r.Values.Name
	case r.Git != nil:
		kind = "git"
	case r.Chart != nil && !isOCI(address):
		kind = "charts"
	case r.Chart != nil:
		address = strings.TrimRight(address, "/") + "/" + r.Chart.Name
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []string{kind, strings.TrimRight(address, "/"), r.Namespace, r.SecretRef(), fmt.Sprint(r.Insecure())}))
	return kind + "-" + hex.EncodeToString(sum[:16])
}

func isOCI(address string) bool { return strings.HasPrefix(address, "oci://") }

// hostOf is the host of an address.
func hostOf(address string) string {
	if a, err := parseAddress(address); err == nil {
		return a.host
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func (l *Library) init() {
	if l.loaded {
		return
	}
	l.loaded = true
	l.held, l.remotes, l.users = map[string]*holding{}, map[string]*remote{}, map[string]map[string]bool{}
	if l.Hosts == nil {
		l.Hosts = &Hosts{}
	}
	if l.Git != nil && l.Git.Hosts == nil {
		l.Git.Hosts = l.Hosts
	}
	files, _ := filepath.Glob(filepath.Join(l.Dir, "references", "*.json"))
	for _, file := range files {
		var r record
		data, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(data, &r) != nil || r.Reference == nil {
			continue // fetched anew
		}
		h := l.hold(r.Reference)
		if found, err := l.open(&r); err == nil {
			h.record, h.found = &r, found
		}
	}
}

// hold makes a reference known. The caller has the lock.
func (l *Library) hold(r *fleet.Reference) *holding {
	key, name := r.Key(), remoteName(r)
	h := l.held[key]
	if h == nil {
		h = &holding{reference: r, remote: name}
		l.held[key] = h
	}
	h.wantedAt = time.Now()
	if l.remotes[name] == nil {
		l.remotes[name] = &remote{name: name, host: hostOf(r.URL()), values: r.Values != nil, git: r.Git != nil, askers: map[string]bool{}}
	}
	if asker := cmp.Or(r.Asker, r.Namespace); asker != "" {
		l.remotes[name].askers[asker] = true
	}
	return h
}

// open opens what a record names.
func (l *Library) open(r *record) (*fleet.Found, error) {
	found := &fleet.Found{Version: r.Version, Digest: r.Digest, Packed: r.Packed, Name: r.Reference.Name() + "@" + cmp.Or(r.Version, shortDigest(r.Digest))}
	if r.Reference.Git != nil {
		url, key := r.Reference.Git.URL, r.Reference.Key()
		if fetched, err := l.Git.HasFetched(url, key, r.Digest); err != nil || !fetched {
			return nil, errors.Join(err, fmt.Errorf("%s was not fetched", r.Reference))
		}
		snapshot, err := l.Git.Snapshot(url, r.Digest, "")
		if err != nil {
			return nil, err
		}
		found.Name = r.Reference.Name() + "@" + fleet.ShortRevision(r.Digest)
		found.Tree, err = l.withParts(r, snapshot.Tree, r.Parts)
		return found, err
	}
	var err error
	found.Tree, err = openKept(filepath.Join(l.Dir, remoteName(r.Reference), r.Content), r.Digest)
	return found, err
}

func shortDigest(digest string) string {
	_, hash, _ := strings.Cut(digest, ":")
	return hash[:min(len(hash), 12)]
}

// Sources is what is known now. It notes what it is asked for and does not have, and has Wanted called.
func (l *Library) Sources() fleet.Sources {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.init()
	now := make(map[string]answer, len(l.held))
	for key, h := range l.held {
		now[key] = h.answer()
	}
	return &sources{library: l, now: now}
}

// Known is what is known now, for a plan that must not make the hub ask anybody: what is not here is not fetched for it.
func (l *Library) Known() fleet.Sources {
	s := l.Sources().(*sources)
	s.library = nil
	return s
}

// answer is what a plan is told about a reference.
type answer struct {
	found *fleet.Found
	fault error
}

func (h *holding) answer() answer {
	switch {
	case h.found != nil && h.fault != nil:
		found := *h.found
		found.Problem = h.fault.Error()
		return answer{found: &found}
	case h.found != nil:
		return answer{found: h.found}
	case h.fault != nil:
		return answer{fault: h.fault}
	}
	return answer{fault: fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s is being fetched", h.reference))}
}

// sources are a library as it was at one moment.
type sources struct {
	library *Library // that is asked for what is not known; nil asks nobody
	mu      sync.Mutex
	now     map[string]answer
}

// Find implements fleet.Sources.
func (s *sources) Find(r *fleet.Reference) (*fleet.Found, error) {
	key := r.Key()
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.now[key]
	if !ok && s.library == nil {
		return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s is not fetched for this plan: nothing is that a fork asks for", r))
	}
	if !ok {
		a = s.library.want(r)
		s.now[key] = a
	}
	return a.found, a.fault
}

// want notes a reference that is asked for and not known.
func (l *Library) want(r *fleet.Reference) answer {
	l.mu.Lock()
	h := l.hold(r)
	a, name := h.answer(), h.remote
	l.mu.Unlock()
	if l.Wanted != nil {
		l.Wanted(name)
	}
	return a
}

// Use sets the references that a user uses, in place of the earlier ones: unused references are given up after a while. It is true when
// one of them has changed since the user found it: a change is announced to known users only, and this one was not known then.
func (l *Library) Use(user string, used []fleet.UsedSource) (changed bool) {
	keys := map[string]bool{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.init()
	for _, u := range used {
		key := u.Reference.Key()
		keys[key] = true
		h := l.held[key]
		changed = changed || h != nil && !sameFound(h.answer(), u.Found)
		if h != nil && u.Reference.Asker != "" {
			l.remotes[h.remote].askers[u.Reference.Asker] = true
		}
	}
	delete(l.users, user)
	if len(keys) > 0 {
		l.users[user] = keys
	}
	return changed
}

func sameFound(now answer, found *fleet.Found) bool {
	if now.found == nil || found == nil {
		return now.found == found
	}
	return now.found.Digest == found.Digest && now.found.Version == found.Version && now.found.Problem == found.Problem
}

// Users of any of the references.
func (l *Library) Users(keys []string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var users []string
	for user, used := range l.users {
		if slices.ContainsFunc(keys, func(key string) bool { return used[key] }) {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}

// RemoteOf is the name of the remote of a reference.
func (l *Library) RemoteOf(r *fleet.Reference) string { return remoteName(r) }

// Askers are the namespaces whose applications name a remote, sorted.
func (l *Library) Askers(name string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.remotes[name]; r != nil {
		return slices.Sorted(maps.Keys(r.askers))
	}
	return nil
}

// Remotes are the names of all remotes, sorted.
func (l *Library) Remotes() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.init()
	return slices.Sorted(maps.Keys(l.remotes))
}

// RemotesWith are the names of the remotes that sources of a namespace name with a Secret, sorted.
func (l *Library) RemotesWith(namespace, secret string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.init()
	found := map[string]bool{}
	for _, h := range l.held {
		if h.reference.Namespace == namespace && h.reference.SecretRef() == secret {
			found[h.remote] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// WebhookKey proves that a webhook is about the sources that name a Secret. One that no source names is not read.
func (l *Library) WebhookKey(ctx context.Context, namespace, name string) (WebhookKey, bool) {
	if l.Secret == nil || name == "" || len(l.RemotesWith(namespace, name)) == 0 {
		return WebhookKey{}, false
	}
	data, err := l.Secret(ctx, namespace, name)
	if err != nil {
		return WebhookKey{}, false
	}
	c, err := CredentialsFromSecret(data)
	if err != nil {
		return WebhookKey{}, false
	}
	return c.WebhookKey()
}

// Looked is what a look has found.
type Looked struct {
	// Changed are the keys of the references that have changed in what they resolve to, or in what is wrong with them.
	Changed []string
	// Again is when to look again; 0 is never: nobody uses the remote any more.
	Again time.Duration
	// Err is the first fault.
	Err error
	// Asked says that the remote was asked.
	Asked bool
}

// Look asks a remote once for all references to it, and fetches what they resolve to and is not here. A host that has failed is not
// asked for a while.
func (l *Library) Look(ctx context.Context, name string) Looked {
	l.mu.Lock()
	l.init()
	r := l.remotes[name]
	l.mu.Unlock()
	if r == nil {
		return Looked{}
	}
	r.looking.Lock()
	defer r.looking.Unlock()
	references := l.referencesOf(r)
	if len(references) == 0 {
		l.forget(r)
		return Looked{}
	}
	var out Looked
	c, err := l.login(ctx, r, references[0])
	if wait := l.Hosts.patience(r.host); err == nil && wait > 0 {
		for _, reference := range l.newOf(references) {
			if err := spared(reference.URL(), r.host); l.keep(reference, result{err: err}) {
				out.Changed, out.Err = append(out.Changed, reference.Key()), cmp.Or(out.Err, err)
			}
		}
		out.Again = jitter(wait)
		return out
	}
	out.Asked = true
	var results map[string]result
	if err == nil {
		results, err = l.ask(ctx, references, c)
	}
	if ctx.Err() != nil {
		return Looked{Again: time.Second}
	}
	again := l.note(r, err, results)
	for _, reference := range references {
		res := results[reference.Key()]
		if res.err == nil && res.record == nil && res.found == nil {
			res.err = err
		}
		if l.keep(reference, res) {
			out.Changed = append(out.Changed, reference.Key())
		}
		out.Err = cmp.Or(out.Err, res.err)
	}
	out.Again = again
	return out
}

// referencesOf are the references of a remote that somebody uses, sorted. The others are given up.
func (l *Library) referencesOf(r *remote) []*fleet.Reference {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := map[string]bool{}
	for _, keys := range l.users {
		maps.Copy(used, keys)
	}
	var list []*fleet.Reference
	for _, key := range slices.Sorted(maps.Keys(l.held)) {
		h := l.held[key]
		switch {
		case h.remote != r.name:
		case used[key] || time.Since(h.wantedAt) < unusedAfter:
			list = append(list, h.reference)
		default:
			delete(l.held, key)
			_ = os.Remove(l.recordFile(key))
			if git := h.reference.Git; git != nil {
				_ = l.Git.Unpin(git.URL, key) // a mirror that stays takes room and does no harm
				for _, p := range h.parts() {
					if p.URL != "" {
						_ = l.Git.Unpin(p.URL, key)
					}
				}
			}
		}
	}
	return list
}

// forget gives up a remote that nobody uses.
func (l *Library) forget(r *remote) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.held {
		if h.remote == r.name { // wanted meanwhile
			return
		}
	}
	delete(l.remotes, r.name)
	_ = os.RemoveAll(filepath.Join(l.Dir, r.name))
	var urls []string
	for _, h := range l.held {
		if h.reference.Git != nil {
			urls = append(urls, h.reference.Git.URL)
			for _, p := range h.parts() {
				urls = append(urls, p.URL)
			}
		}
	}
	_ = l.Git.Retain(urls)
}

// newOf are the references that were never looked at: users wait for them.
func (l *Library) newOf(references []*fleet.Reference) []*fleet.Reference {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(references), func(r *fleet.Reference) bool {
		h := l.held[r.Key()]
		return h == nil || h.found != nil || h.fault != nil
	})
}

// result of a look for one reference.
type result struct {
	record *record
	found  *fleet.Found // of values, of which nothing is written down
	err    error
}

// login gives what opens a remote, and notes how its host is reached with it.
func (l *Library) login(ctx context.Context, r *remote, first *fleet.Reference) (Credentials, error) {
	if r.values {
		return Credentials{}, nil
	}
	c, err := l.credentials(ctx, first)
	if err == nil {
		r.host = c.route(hostOf(first.URL()))
	}
	return c, err
}

// ask asks the remote of the references, which have one.
func (l *Library) ask(ctx context.Context, references []*fleet.Reference, c Credentials) (map[string]result, error) {
	first := references[0]
	if first.Values != nil {
		return map[string]result{first.Key(): l.askValues(ctx, first)}, nil
	}
	if first.Insecure() && !l.Insecure {
		return nil, fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s: insecure is set, and the hub does not allow it: take it out and give the Secret a ca.crt, or start the hub with --insecure-sources", first.URL()))
	}
	switch {
	case first.Git != nil:
		return l.askGit(ctx, references, c)
	case first.Chart != nil && !isOCI(first.Chart.Repo):
		return l.askCharts(ctx, references, c)
	}
	return l.askOCI(ctx, references, c)
}

// credentials that open the remote of a reference.
func (l *Library) credentials(ctx context.Context, r *fleet.Reference) (Credentials, error) {
	name := r.SecretRef()
	if l.Credentials != nil && (name == "" || l.Secret == nil) {
		c, err := l.Credentials(r.URL())
		return c, fleet.Fail(fleet.SourceUnavailable, err)
	}
	if name == "" {
		return Credentials{}, nil
	}
	data, err := l.secret(ctx, r, name)
	if err != nil {
		return Credentials{}, err
	}
	c, err := CredentialsFromSecret(data)
	if err != nil {
		return c, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: Secret %s/%s: %w", r.URL(), r.Namespace, name, err))
	}
	return c, nil
}

func (l *Library) secret(ctx context.Context, r *fleet.Reference, name string) (map[string][]byte, error) {
	data, err := l.Secret(ctx, r.Namespace, name)
	if err != nil {
		return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: read Secret %s/%s, which the source names: %w", r.URL(), r.Namespace, name, err))
	}
	return data, nil
}

// signers are the keys, one of which has to have signed what a reference resolves to; nil where nobody has to.
func (l *Library) signers(ctx context.Context, r *fleet.Reference) (*Signers, error) {
	v := r.Verification()
	if v == nil {
		return nil, nil
	}
	var data map[string][]byte
	if v.SecretRef != nil {
		if l.Secret == nil {
			return nil, fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s: Secret %s/%s holds the keys that verify names: give it with --secrets FILE, or write the public keys into verify.keys", r.URL(), r.Namespace, v.SecretRef.Name))
		}
		var err error
		if data, err = l.secret(ctx, r, v.SecretRef.Name); err != nil {
			return nil, err
		}
	}
	signers, err := SignersFrom(data, v.Keys)
	return signers, fleet.Fail(fleet.SourceUnavailable, wrapIf(r.URL()+": verify", err))
}

func wrapIf(what string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// signed makes sure that what a reference resolves to is signed, and returns what the record says of it. A content that these keys have
// signed is verified once.
func (l *Library) signed(ctx context.Context, r *fleet.Reference, digest string, check func(*Signers) error) (string, error) {
	signers, err := l.signers(ctx, r)
	if signers == nil || err != nil {
		return "", err
	}
	keys := signers.fingerprint()
	l.mu.Lock()
	h := l.held[r.Key()]
	known := h != nil && h.record != nil && h.record.Digest == digest && h.record.Signed == keys
	l.mu.Unlock()
	if known {
		return keys, nil
	}
	return keys, fleet.Reject(fleet.NotSigned, check(signers))
}

// note remembers how the remote answered, and says when to look again: after the interval and a tenth of it at most, so that
// remotes are not asked all at once; after a failure sooner, and later each time.
func (l *Library) note(r *remote, err error, results map[string]result) time.Duration {
	for _, res := range results {
		err = cmp.Or(err, res.err)
	}
	interval := cmp.Or(l.Interval, DefaultInterval)
	if r.values {
		interval = min(interval, valuesInterval)
	}
	wait := l.Hosts.patience(r.host)
	if !r.git { // the store has noted it
		wait = l.Hosts.note(r.host, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		r.failures = 0
		return jitter(interval)
	}
	r.failures++
	return jitter(max(wait, min(interval, 5*time.Second<<min(r.failures-1, 8))))
}

// jitter is a time and a tenth of it at most.
func jitter(d time.Duration) time.Duration { return d + time.Duration(rand.Int64N(int64(d)/10+1)) }

// keep takes what a look has found for a reference, and says whether that is something else than before.
func (l *Library) keep(r *fleet.Reference, res result) bool {
	key := r.Key()
	l.mu.Lock()
	h := l.held[key]
	l.mu.Unlock()
	if h == nil {
		return false
	}
	if r.Values != nil {
		return l.keepValues(h, res)
	}
	if res.err != nil {
		return l.change(h, h.record, h.found, res.err)
	}
	if h.record != nil && h.found != nil && h.record.Digest == res.record.Digest && h.record.Version == res.record.Version && h.record.Signed == res.record.Signed {
		return l.change(h, h.record, h.found, nil)
	}
	if h.found != nil && h.record.Digest != res.record.Digest {
		if err := moved(r, h.record, res.record); err != nil {
			return l.change(h, h.record, h.found, err)
		}
	}
	found, err := l.open(res.record)
	if err == nil && r.Git != nil {
		err = l.Git.Pin(r.Git.URL, key, res.record.Digest)
	}
	if err == nil {
		err = l.write(key, res.record)
	}
	if err != nil {
		return l.change(h, h.record, h.found, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("keep %s: %w", r, err)))
	}
	changed := l.change(h, res.record, found, nil)
	l.tidy(h.remote)
	return changed
}

// moved is the fault of a version or tag that is something else now: one that is named exactly is not followed.
func moved(r *fleet.Reference, was, is *record) error {
	switch {
	case r.Chart != nil && isExact(r.Chart.Version):
		return fleet.Reject(fleet.SourceMoved, fmt.Errorf(
			"%s: version %s was %s when it was fetched and is %s now: what was fetched stays; publish a new version, or write version \"=%s\" to follow what it says",
			r, is.Version, shortDigest(was.Digest), shortDigest(is.Digest), is.Version))
	case r.Git != nil && r.Git.Ref != nil && r.Git.Ref.Tag != "":
		return fleet.Reject(fleet.SourceMoved, fmt.Errorf(
			"%s: tag %s named commit %s when it was fetched and names %s now: what was fetched stays; make a new tag, or name the commit, or a branch to follow",
			r.From(), r.Git.Ref.Tag, fleet.ShortRevision(was.Digest), fleet.ShortRevision(is.Digest)))
	}
	return nil
}

func (l *Library) change(h *holding, r *record, found *fleet.Found, fault error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := h.record == r && h.found == found && (h.fault == nil) == (fault == nil) && (fault == nil || h.fault.Error() == fault.Error())
	h.record, h.found, h.fault = r, found, fault
	return !same
}

func (l *Library) recordFile(key string) string {
	return filepath.Join(l.Dir, "references", key+".json")
}

func (l *Library) write(key string, r *record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	file := l.recordFile(key)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return writeWhole(file, func(to io.Writer) error {
		_, err := to.Write(data)
		return err
	})
}

// tidy removes the contents of a remote that no reference resolves to any more. What is open stays readable.
func (l *Library) tidy(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := map[string]bool{}
	for _, h := range l.held {
		if h.remote == name && h.record != nil {
			keep[h.record.Content] = true
			for _, p := range h.record.Parts {
				keep[p.Content] = true
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(l.Dir, name, "*.zip"))
	large, _ := filepath.Glob(filepath.Join(l.Dir, name, "*.lfs"))
	for _, file := range append(files, large...) {
		if info, err := os.Stat(file); err == nil && !keep[filepath.Base(file)] && time.Since(info.ModTime()) > unusedAfter {
			_ = os.Remove(file)
		}
	}
}

// has says whether a content is here, in the folder of a remote.
func (l *Library) has(remote, content string) bool {
	_, err := os.Stat(filepath.Join(l.Dir, remote, content))
	return !errors.Is(err, fs.ErrNotExist)
}

// askGit fetches the refs of a repository, which is asked for them once.
func (l *Library) askGit(ctx context.Context, references []*fleet.Reference, c Credentials) (map[string]result, error) {
	results := map[string]result{}
	var remotes []Remote
	var asked []*fleet.Reference
	for _, r := range references {
		remote, err := l.gitRemote(ctx, r, c)
		if err != nil {
			results[r.Key()] = result{err: err}
			continue
		}
		remotes, asked = append(remotes, remote), append(asked, r)
	}
	for i, found := range l.Git.FetchAll(ctx, remotes) {
		r, err := asked[i], found.Err
		var parts []part
		if err == nil {
			parts, err = l.partsOf(ctx, r, c, found.Revision)
		}
		if err != nil {
			results[r.Key()] = result{err: err}
			continue
		}
		results[r.Key()] = result{record: &record{Reference: r, Version: r.Wants(), Digest: found.Revision, Parts: parts}}
	}
	return results, nil
}

// gitRemote is what to fetch for a reference.
func (l *Library) gitRemote(ctx context.Context, r *fleet.Reference, c Credentials) (Remote, error) {
	git := r.Git
	if strings.HasPrefix(git.URL, "http://") && !git.Insecure {
		return Remote{}, plainHTTP(git.URL)
	}
	signers, err := l.signers(ctx, r)
	if err != nil {
		return Remote{}, err
	}
	remote := Remote{URL: git.URL, Credentials: c, Insecure: git.Insecure, Owner: r.Key(), Verify: signers, VerifyTag: git.Verify != nil && git.Verify.Mode == musterv1alpha1.VerifyTag}
	if git.Ref != nil {
		remote.Ref = Ref{Branch: git.Ref.Branch, Tag: git.Ref.Tag, Commit: git.Ref.Commit}
	}
	return remote, nil
}

func plainHTTP(address string) error {
	return fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s: plain HTTP proves nothing about what it brings: use https://, or set insecure where the hub allows it", address))
}
