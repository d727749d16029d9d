package source

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/fleet"
)

// remotes serves one repository over every transport.
func remotes(t *testing.T, r *repository) map[string]Remote {
	t.Helper()
	root, name := filepath.Split(r.dir)
	secured := serveHTTP(t, root, basic("ann", "s3cret"))
	token := serveHTTP(t, root, bearer("t0ken"))
	open := serveHTTP(t, root, nil)
	host := serveSSH(t)
	key := credentials(t, "identity", string(host.identity), "known_hosts", string(host.knownHosts))
	return map[string]Remote{
		"file":         {URL: "file://" + r.dir},
		"plain path":   {URL: r.dir},
		"http":         {URL: open.URL + "/" + name},
		"http, basic":  {URL: secured.URL + "/" + name, Credentials: credentials(t, "username", "ann", "password", "s3cret\n")},
		"http, bearer": {URL: token.URL + "/" + name, Credentials: credentials(t, "bearerToken", "t0ken")},
		"ssh":          {URL: "ssh://git@" + host.address + r.dir, Credentials: key},
	}
}

func newStore(t testing.TB, local ...string) *Store {
	t.Helper()
	return &Store{Dir: t.TempDir(), Local: local}
}

func TestFetch(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	first := r.commit(map[string]file{"a.yaml": text("first")})
	second := r.push("main", r.commit(map[string]file{"a.yaml": text("second")}, first))
	branch := r.push("feature/x", r.commit(map[string]file{"a.yaml": text("branch")}, first))
	r.tag("v1", first)
	r.set("refs/tags/light", first)
	cases := map[string]struct {
		ref  Ref
		want string
		text string
		why  string
	}{
		"default branch":  {Ref{}, second, "second", "HEAD of the remote names it"},
		"branch":          {Ref{Branch: "feature/x"}, branch, "branch", "a slash is part of the name"},
		"annotated tag":   {Ref{Tag: "v1"}, first, "first", "the revision is the commit and not the tag"},
		"lightweight tag": {Ref{Tag: "light"}, first, "first", "a tag may be the commit itself"},
		"tip commit":      {Ref{Commit: second}, second, "second", "servers give any tip"},
		"older commit":    {Ref{Commit: first}, first, "first", "git's server does not give it by name, so that all branches are asked for"},
	}
	for transport, remote := range remotes(t, r) {
		for name, c := range cases {
			t.Run(transport+"/"+name, func(t *testing.T) {
				s := newStore(t, root)
				remote := remote
				remote.Ref = c.ref
				got, err := s.Fetch(t.Context(), remote)
				must(t, err)
				if got != c.want {
					t.Fatalf("fetched %s, want %s: %s", got, c.want, c.why)
				}
				snap, err := s.Snapshot(remote.URL, got, "")
				must(t, err)
				if diff := cmp.Diff(c.text, readText(t, snap, "a.yaml")); diff != "" {
					t.Errorf("%s: %s", c.why, diff)
				}
			})
		}
	}
}

func TestSecondFetchMovesOnlyWhatIsNew(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	files := map[string]file{}
	for i := range 500 {
		files[fmt.Sprintf("apps/a%d/values.yaml", i)] = text(strings.Repeat(fmt.Sprintf("key%d: value\n", i), 50))
	}
	first := r.push("main", r.commit(files))
	for transport, remote := range remotes(t, r) {
		t.Run(transport, func(t *testing.T) {
			r.push("main", first)
			var moved []int64
			s := newStore(t, root)
			s.Observe = func(x Transfer) { moved = append(moved, x.Bytes) }
			_, err := s.Fetch(t.Context(), remote)
			must(t, err)
			m, err := s.mirror(remote.URL, nil)
			must(t, err)
			files["apps/a7/values.yaml"] = text("changed: " + transport)
			r.push("main", r.commit(files, first))
			_, err = s.Fetch(t.Context(), remote)
			must(t, err)
			_, err = s.Fetch(t.Context(), remote)
			must(t, err)
			if len(m.packs.list) != 2 || m.packs.list[1].objects != 5 {
				t.Errorf("the second pack has to hold the commit, three folders and the file: %d packs", len(m.packs.list))
			}
			if moved[1]*2 > moved[0] || moved[2] != 0 {
				t.Errorf("moved %v bytes: the second fetch brings one file and the third nothing", moved)
			}
		})
	}
}

func TestForcePush(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	base := r.commit(map[string]file{"a.yaml": text("base")})
	old := r.push("main", r.commit(map[string]file{"a.yaml": text("old")}, base))
	for transport, remote := range remotes(t, r) {
		t.Run(transport, func(t *testing.T) {
			r.push("main", old)
			s := newStore(t, root)
			_, err := s.Fetch(t.Context(), remote)
			must(t, err)
			must(t, s.Pin(remote.URL, "muster-system/fleet.lock", old))
			next := r.push("main", r.commit(map[string]file{"a.yaml": text("next")}, old))
			rewritten := r.push("main", r.commit(map[string]file{"a.yaml": text("rewritten")}, base))
			_, err = s.Fetch(t.Context(), remote)
			must(t, err)
			ancestor(t, s, remote.URL, old, rewritten, false)
			ancestor(t, s, remote.URL, base, rewritten, true)
			r.push("main", next)
			_, err = s.Fetch(t.Context(), remote)
			must(t, err)
			ancestor(t, s, remote.URL, old, next, true)

			gitRun(t, filepath.Join(s.Dir, folderName(remote.URL)), "reflog", "expire", "--expire=now", "--all")
			gitRun(t, filepath.Join(s.Dir, folderName(remote.URL)), "gc", "--prune=now", "-q")
			restarted := &Store{Dir: s.Dir}
			for _, store := range []*Store{s, restarted} {
				snap, err := store.Snapshot(remote.URL, old, "")
				must(t, err)
				if got := readText(t, snap, "a.yaml"); got != "old" {
					t.Errorf("the delivered commit reads %q after a force-push", got)
				}
			}
		})
	}
}

func ancestor(t *testing.T, s *Store, url, old, head string, want bool) {
	t.Helper()
	got, err := s.IsAncestor(url, old, head)
	must(t, err)
	if got != want {
		t.Errorf("IsAncestor(%.7s, %.7s) is %v", old, head, got)
	}
}

func TestPinKeepsUnreachableCommitThroughGC(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	remote := Remote{URL: "file://" + r.dir}
	s := newStore(t, root)
	commits := map[string]string{}
	for _, name := range []string{"pinned", "forgotten", "unpinned", "last"} { // without common history
		commits[name] = r.push("main", r.commit(map[string]file{"a.yaml": text(name)}))
		_, err := s.Fetch(t.Context(), remote)
		must(t, err)
	}
	must(t, s.Pin(remote.URL, "team-a/fleet", commits["pinned"]))
	must(t, s.Pin(remote.URL, "team-b/fleet", commits["unpinned"]))
	must(t, s.Unpin(remote.URL, "team-b/fleet"))
	gitRun(t, filepath.Join(s.Dir, folderName(remote.URL)), "gc", "--prune=now", "-q")
	restarted := &Store{Dir: s.Dir}
	for name, want := range map[string]bool{"pinned": true, "last": true, "forgotten": false, "unpinned": false} {
		_, err := restarted.Snapshot(remote.URL, commits[name], "")
		if (err == nil) != want {
			t.Errorf("commit %s after git gc: %v", name, err)
		}
	}
	if err := s.Pin(remote.URL, "team-a/fleet", strings.Repeat("0", 40)); err == nil {
		t.Error("a commit that is not here cannot be pinned")
	}
	if err := s.Pin(remote.URL, "../../HEAD", commits["last"]); err != nil {
		t.Errorf("dots are escaped, so that the ref stays in its folder: %v", err)
	}
	head, err := os.ReadFile(filepath.Join(s.Dir, folderName(remote.URL), "HEAD"))
	must(t, err)
	if diff := cmp.Diff("ref: refs/heads/main\n", string(head)); diff != "" {
		t.Error(diff)
	}
}

// TestRewrittenHistoryIsKept: what was delivered before a force-push stays readable, with its history, through git gc and a restart,
// for its owner alone.
func TestRewrittenHistoryIsKept(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	remote := Remote{URL: "file://" + r.dir, Owner: "team-a"}
	s := newStore(t, root)
	commits := map[string]string{}
	push := func(name string, parents ...string) {
		commits[name] = r.push("main", r.commit(map[string]file{"a.yaml": text(name)}, parents...))
		_, err := s.Fetch(t.Context(), remote)
		must(t, err)
	}
	push("base")
	push("delivered", commits["base"])
	must(t, s.Pin(remote.URL, "team-a", commits["delivered"]))
	push("fetched only", commits["delivered"])
	push("rewritten")
	must(t, s.Pin(remote.URL, "team-a", commits["rewritten"]))
	push("last", commits["rewritten"])
	must(t, s.Pin(remote.URL, "team-a", commits["last"]))
	gitRun(t, filepath.Join(s.Dir, folderName(remote.URL)), "gc", "--prune=now", "-q")
	restarted := &Store{Dir: s.Dir}
	fetched := func(owner, name string) bool {
		found, err := restarted.HasFetched(remote.URL, owner, commits[name])
		must(t, err)
		return found
	}
	for name, want := range map[string]bool{"base": true, "delivered": true, "fetched only": false, "rewritten": true, "last": true} {
		if fetched("team-a", name) != want || fetched("team-b", name) {
			t.Errorf("commit %s: its owner has it %v, want %v; another owner has it %v", name, fetched("team-a", name), want, fetched("team-b", name))
		}
	}
	kept, err := restarted.mirrors[folderName(remote.URL)].keptBy("team-a")
	must(t, err)
	if len(kept) != 1 || kept[0].Hash().String() != commits["delivered"] {
		t.Errorf("kept are %v, want the one commit that was rewritten", kept)
	}
	must(t, restarted.Unpin(remote.URL, "team-a"))
	if fetched("team-a", "delivered") {
		t.Error("an owner that is gone keeps a commit")
	}
}

// TestRetain: a mirror that no repository follows goes, and what is no mirror stays. One that is followed again is fetched anew.
func TestRetain(t *testing.T) {
	root := t.TempDir()
	s := newStore(t, root)
	remotes, commits := map[string]Remote{}, map[string]string{}
	for _, name := range []string{"followed", "left"} {
		r := newRepository(t, filepath.Join(root, name+".git"))
		r.push("main", r.commit(map[string]file{"a.yaml": text(name)}))
		remotes[name] = Remote{URL: "file://" + r.dir}
		var err error
		commits[name], err = s.Fetch(t.Context(), remotes[name])
		must(t, err)
	}
	must(t, os.WriteFile(filepath.Join(s.Dir, "notes"), nil, 0o600))
	must(t, s.Retain([]string{remotes["followed"].URL}))
	entries, err := os.ReadDir(s.Dir)
	must(t, err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	want := []string{folderName(remotes["followed"].URL), "notes"}
	slices.Sort(want)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	if _, err := s.Snapshot(remotes["followed"].URL, commits["followed"], ""); err != nil {
		t.Error(err)
	}
	if _, err := s.Snapshot(remotes["left"].URL, commits["left"], ""); err == nil {
		t.Error("the mirror that was removed is still read")
	}
	_, err = s.Fetch(t.Context(), remotes["left"])
	must(t, err)
	_, err = s.Snapshot(remotes["left"].URL, commits["left"], "")
	must(t, err)
}

// What somebody's git gc removed from under a running hub is fetched again, and not only remembered.
func TestFetchAfterGC(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	remote := Remote{URL: "file://" + r.dir}
	s := newStore(t, root)
	first := r.push("main", r.commit(map[string]file{"a.yaml": text("first")}))
	_, err := s.Fetch(t.Context(), remote)
	must(t, err)
	r.push("main", r.commit(map[string]file{"a.yaml": text("second")}))
	_, err = s.Fetch(t.Context(), remote)
	must(t, err)
	gitRun(t, filepath.Join(s.Dir, folderName(remote.URL)), "gc", "--prune=now", "-q")
	r.push("main", first)
	_, err = s.Fetch(t.Context(), remote)
	must(t, err)
	snap, err := (&Store{Dir: s.Dir}).Snapshot(remote.URL, first, "")
	must(t, err)
	if got := readText(t, snap, "a.yaml"); got != "first" {
		t.Errorf("read %q", got)
	}
}

func TestShallowRemote(t *testing.T) {
	root := t.TempDir()
	full := newRepository(t, filepath.Join(root, "full.git"))
	first := full.commit(map[string]file{"a.yaml": text("first")})
	second := full.push("main", full.commit(map[string]file{"a.yaml": text("second")}, first))
	gitRun(t, root, "clone", "-q", "--bare", "--depth=1", "file://"+full.dir, "fleet.git")
	for transport, remote := range remotes(t, &repository{dir: filepath.Join(root, "fleet.git")}) {
		t.Run(transport, func(t *testing.T) {
			s := newStore(t, root)
			got, err := s.Fetch(t.Context(), remote)
			if err != nil || got != second {
				t.Fatalf("fetched %s, %v", got, err)
			}
			_, err = s.Fetch(t.Context(), remote)
			must(t, err)
			snap, err := s.Snapshot(remote.URL, got, "")
			must(t, err)
			if got := readText(t, snap, "a.yaml"); got != "second" {
				t.Errorf("read %q", got)
			}
			ancestor(t, s, remote.URL, second, second, true)
		})
	}
}

func TestVanishedRemote(t *testing.T) {
	for _, transport := range []string{"file", "http", "ssh"} {
		t.Run(transport, func(t *testing.T) {
			root := t.TempDir()
			r := newRepository(t, filepath.Join(root, "fleet.git"))
			revision := r.push("main", r.commit(map[string]file{"a.yaml": text("kept")}))
			remote := remotes(t, r)[transport]
			s := newStore(t, root)
			_, err := s.Fetch(t.Context(), remote)
			must(t, err)
			must(t, os.RemoveAll(r.dir))
			_, err = s.Fetch(t.Context(), remote)
			expectFault(t, err, fleet.SourceUnavailable, fleet.Controller, "there is no such repository", "correct the URL or the Secret")
			snap, err := s.Snapshot(remote.URL, revision, "")
			must(t, err)
			if got := readText(t, snap, "a.yaml"); got != "kept" {
				t.Errorf("read %q", got)
			}
		})
	}
}

func TestEmptyRepository(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	for transport, remote := range remotes(t, r) {
		t.Run(transport, func(t *testing.T) {
			_, err := newStore(t, root).Fetch(t.Context(), remote)
			expectFault(t, err, fleet.RepositoryEmpty, fleet.User, "is empty", "push a commit")
		})
	}
}

func expectFault(t *testing.T, err error, reason fleet.Reason, actor fleet.Actor, parts ...string) {
	t.Helper()
	fault, ok := fleet.AsFault(err)
	if !ok {
		t.Fatalf("want a fault, got %v", err)
	}
	if fault.Reason != reason || fault.ActionRequiredBy != actor {
		t.Errorf("fault is %s/%s, want %s/%s: %v", fault.Reason, fault.ActionRequiredBy, reason, actor, err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestFetchFaults(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	r.push("main", r.commit(map[string]file{"a.yaml": text("a")}))
	r.push("dev", r.commit(map[string]file{"a.yaml": text("b")}))
	r.push("main", r.commit(map[string]file{"a.yaml": text("a")}))
	r.set("refs/tags/blob", r.blob("no commit").String())
	host, other := serveSSH(t), serveSSH(t)
	secured := serveHTTP(t, root, basic("ann", "s3cret"))
	tls := httptest.NewTLSServer(gitHandler(t, root, nil))
	t.Cleanup(tls.Close)
	_, strangerKey := newKey(t)
	closed := closedAddress
	sshURL := "ssh://git@" + host.address + r.dir
	key := func(identity, known []byte) Credentials {
		return credentials(t, "identity", string(identity), "known_hosts", string(known))
	}
	wrongHost := []byte(strings.ReplaceAll(string(other.knownHosts), portOf(other.address), portOf(host.address)))
	file := "file://" + r.dir
	cases := map[string]struct {
		remote Remote
		move   fleet.Actor
		says   []string
		why    string
	}{
		"unknown branch": {Remote{URL: file, Ref: Ref{Branch: "mian"}}, fleet.User,
			[]string{"has no branch mian", "it has dev, main"}, "a typo shows what there is"},
		"unknown tag": {Remote{URL: secured.URL + "/fleet.git", Ref: Ref{Tag: "v9"}, Credentials: credentials(t, "username", "ann", "password", "s3cret")},
			fleet.User, []string{"has no tag v9", "it has blob"}, "the same over http"},
		"unknown commit": {Remote{URL: sshURL, Ref: Ref{Commit: strings.Repeat("a", 40)}, Credentials: key(host.identity, host.knownHosts)},
			fleet.User, []string{"does not have it"}, "all branches came and it is on none"},
		"unknown commit in a folder": {Remote{URL: file, Ref: Ref{Commit: strings.Repeat("a", 40)}},
			fleet.User, []string{"does not have it"}, "the same without a server"},
		"short commit": {Remote{URL: file, Ref: Ref{Commit: "abc1234"}}, fleet.User,
			[]string{"not a full commit", "all 40"}, "servers know full names only"},
		"branch and tag": {Remote{URL: file, Ref: Ref{Branch: "main", Tag: "v1"}}, fleet.User,
			[]string{"exclude each other"}, "one wins silently elsewhere"},
		"impossible branch": {Remote{URL: file, Ref: Ref{Branch: "../main"}}, fleet.User,
			[]string{"not a name that Git allows"}, "it would become a file of the mirror"},
		"tag of a file": {Remote{URL: file, Ref: Ref{Tag: "blob"}}, fleet.User,
			[]string{"not a commit"}, "a tag may name anything"},
		"wrong password": {Remote{URL: secured.URL + "/fleet.git", Credentials: credentials(t, "username", "ann", "password", "hunter2")},
			fleet.Controller, []string{"refuses the credentials (basic)", "correct the repository's Secret"}, "the server repeats the password in its answer"},
		"no credentials": {Remote{URL: secured.URL + "/fleet.git"}, fleet.Controller,
			[]string{"refuses the credentials (anonymous)"}, "says which were tried"},
		"password in the URL": {Remote{URL: "https://ann:hunter2@git.example.com/fleet.git"}, fleet.User,
			[]string{"https://git.example.com/fleet.git", "move them to a Secret"}, "URLs are in specs and logs"},
		"password in an ssh URL": {Remote{URL: "ssh://ann:hunter2@git.example.com/fleet.git"}, fleet.User,
			[]string{"ssh://git.example.com/fleet.git", "use a Secret"}, "the same for ssh"},
		"malformed URL": {Remote{URL: "https://ann:hunter2@git.example.com:x/%zz"}, fleet.User,
			[]string{"cannot be parsed"}, "a parser repeats what it was given"},
		"git protocol": {Remote{URL: "git://git.example.com/fleet.git"}, fleet.User,
			[]string{"are read from https://"}, "it checks nothing"},
		"nobody listens": {Remote{URL: "http://" + closed + "/fleet.git"}, fleet.Controller,
			[]string{closed + " cannot be reached", "check the URL", "connection refused"}, "the host is named"},
		"nobody listens, ssh": {Remote{URL: "ssh://git@" + closed + "/fleet.git", Credentials: key(host.identity, host.knownHosts)}, fleet.Controller,
			[]string{closed + " cannot be reached"}, "the same over ssh"},
		"unknown CA": {Remote{URL: tls.URL + "/fleet.git"}, fleet.Controller,
			[]string{"is not trusted", "caFile"}, "never turned off"},
		"no known_hosts": {Remote{URL: sshURL, Credentials: credentials(t, "identity", string(host.identity))}, fleet.Controller,
			[]string{`no "known_hosts"`, "ssh-keyscan -p " + portOf(host.address)}, "trust on first use is nobody's decision here"},
		"no key": {Remote{URL: sshURL}, fleet.Controller,
			[]string{"ssh wants a private key"}, "the hub's own agent is not asked"},
		"unknown host": {Remote{URL: sshURL, Credentials: key(host.identity, other.knownHosts)}, fleet.Controller,
			[]string{"has no key of " + host.address, "ssh-keyscan"}, "known_hosts is of another host"},
		"wrong host key": {Remote{URL: sshURL, Credentials: key(host.identity, wrongHost)}, fleet.Controller,
			[]string{"another host key"}, "somebody may be in between"},
		"wrong key": {Remote{URL: sshURL, Credentials: key(strangerKey, host.knownHosts)}, fleet.Controller,
			[]string{"does not accept the Secret's identity"}, "the host is right and the key is not"},
		"ssh key for https": {Remote{URL: secured.URL + "/fleet.git", Credentials: key(host.identity, host.knownHosts)}, fleet.Controller,
			[]string{`"identity" is for ssh`}, "the Secret and the URL do not fit"},
		"outside of Local": {Remote{URL: "file:///etc"}, fleet.User,
			[]string{"file:///etc is not below a folder"}, "whoever names a repository must not read the hub's disk"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := newStore(t, root).Fetch(t.Context(), c.remote)
			if err == nil {
				t.Fatalf("no fault: %s", c.why)
			}
			expectFault(t, err, fleet.SourceUnavailable, c.move, c.says...)
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(fmt.Sprintf("%+v", err), "hunter2") {
				t.Errorf("the password is in %q", err)
			}
		})
	}
	t.Run("known CA", func(t *testing.T) {
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})
		_, err := newStore(t).Fetch(t.Context(), Remote{URL: tls.URL + "/fleet.git", Credentials: credentials(t, "caFile", string(ca))})
		must(t, err)
	})
}

func TestSHA256RepositoryIsNamed(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "fleet.git")
	gitRun(t, root, "init", "-q", "--object-format=sha256", dir)
	gitRun(t, dir, "commit", "-q", "--allow-empty", "-m", "first")
	for _, transport := range []string{"http", "ssh"} {
		remote := remotes(t, &repository{dir: filepath.Join(dir, ".git")})[transport]
		_, err := newStore(t).Fetch(t.Context(), remote)
		expectFault(t, err, fleet.SourceUnavailable, fleet.User, "names its objects by SHA-256")
	}
}

func TestWhatAServerSaysIsOneShortLine(t *testing.T) {
	secret := credentials(t, "username", "ann", "password", "hunter2")
	at, err := parseAddress("https://git.example.com/fleet.git")
	must(t, err)
	said := errors.New("no:\x1b[31m hunter2\x00\r\nYW5uOmh1bnRlcjI= " + strings.Repeat("é", 5000))
	got := (&Store{}).unavailable(at, secret, said).Error()
	want := "fetch https://git.example.com/fleet.git: no: [31m (redacted) (redacted) é"
	if !strings.HasPrefix(got, want) || len(got) > 300 {
		t.Errorf("%q", got)
	}
}

// closedAddress is where nobody listens. A port that was free a moment ago may be somebody's by now.
const closedAddress = "127.0.0.1:1"

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

func TestFileIsRefusedOutsideOfLocal(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	r := newRepository(t, filepath.Join(elsewhere, "fleet.git"))
	r.push("main", r.commit(map[string]file{"a.yaml": text("a")}))
	must(t, os.Symlink(r.dir, filepath.Join(root, "link.git")))
	for name, url := range map[string]string{
		"a link":   "file://" + root + "/link.git",
		"two dots": "file://" + root + "/../" + filepath.Base(elsewhere) + "/fleet.git",
		"mirrors":  "file://" + elsewhere,
	} {
		_, err := newStore(t, root).Fetch(t.Context(), Remote{URL: url})
		if !errors.Is(err, errNotAllowed) {
			t.Errorf("%s leads out of the allowed folders: %v", name, err)
		}
	}
}

func TestSilentHostEndsWithTheTimeout(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	host := serveSSH(t)
	key := credentials(t, "identity", string(host.identity), "known_hosts", string(host.knownHosts))
	for name, remote := range map[string]Remote{
		"http": {URL: "http://" + listener.Addr().String() + "/fleet.git"},
		"ssh":  {URL: "ssh://git@" + listener.Addr().String() + "/fleet.git", Credentials: key},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.Timeout = 50 * time.Millisecond
			_, err := s.Fetch(t.Context(), remote)
			expectFault(t, err, fleet.SourceUnavailable, fleet.Controller, "did not answer in time")
		})
	}
}

func TestFetchIsBounded(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(i * i * 7919 >> 8)
	}
	r.push("main", r.commit(map[string]file{"a.bin": text(string(noise))}))
	for transport, remote := range remotes(t, r) {
		s := newStore(t, root)
		s.MaxFetch = 100
		_, err := s.Fetch(t.Context(), remote)
		expectFault(t, err, fleet.ContentRefused, fleet.User, "larger than")
		left, err := filepath.Glob(filepath.Join(s.Dir, "*", "objects", "pack", "*"))
		must(t, err)
		if len(left) > 0 {
			t.Errorf("%s: %v is left behind", transport, left)
		}
	}
}

func TestConcurrentFetchesShare(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	want := r.push("main", r.commit(map[string]file{"a.yaml": text("a")}))
	var mu sync.Mutex
	transfers := 0
	s := newStore(t, root)
	s.Observe = func(x Transfer) {
		mu.Lock()
		defer mu.Unlock()
		if x.Bytes > 0 {
			transfers++
		}
	}
	remote := Remote{URL: serveHTTP(t, root, nil).URL + "/fleet.git"}
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			got, err := s.Fetch(t.Context(), remote)
			if err != nil || got != want {
				t.Errorf("got %s, %v", got, err)
				return
			}
			snap, err := s.Snapshot(remote.URL, got, "")
			if err != nil {
				t.Error(err)
				return
			}
			if data, err := snap.Tree.ReadFile("a.yaml"); err != nil || string(data) != "a" {
				t.Errorf("read %q, %v", data, err)
			}
		})
	}
	group.Wait()
	if transfers != 1 {
		t.Errorf("32 callers made %d transfers", transfers)
	}
}

func TestRepositoriesAreFetchedSideBySide(t *testing.T) {
	root := t.TempDir()
	var urls []string
	arrived := make(chan struct{}, 2)
	both := make(chan struct{})
	go func() {
		<-arrived
		<-arrived
		close(both)
	}()
	for _, name := range []string{"one.git", "two.git"} {
		r := newRepository(t, filepath.Join(root, name))
		r.push("main", r.commit(map[string]file{"a.yaml": text(name)}))
		server := serveHTTP(t, root, func(r *http.Request) bool {
			if r.Method == http.MethodGet {
				arrived <- struct{}{}
				<-both // neither goes on before the other is here
			}
			return true
		})
		urls = append(urls, server.URL+"/"+name)
	}
	s := newStore(t)
	var group sync.WaitGroup
	for _, url := range urls {
		group.Go(func() {
			if _, err := s.Fetch(t.Context(), Remote{URL: url}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// A webhook that arrives during a fetch has to see the commit that it announces, which the running fetch may not.
func TestFetchBeginsAfterItsCaller(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	old := r.push("main", r.commit(map[string]file{"a.yaml": text("old")}))
	listed, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := serveHTTP(t, root, func(r *http.Request) bool {
		if r.Method == http.MethodPost { // the first fetch has its list of refs
			once.Do(func() {
				close(listed)
				<-release
			})
		}
		return true
	})
	s, remote := newStore(t), Remote{URL: server.URL + "/fleet.git"}
	first := make(chan string, 1)
	go func() {
		got, err := s.Fetch(t.Context(), remote)
		if err != nil {
			t.Error(err)
		}
		first <- got
	}()
	<-listed
	next := r.push("main", r.commit(map[string]file{"a.yaml": text("next")}, old))
	second := make(chan string, 1)
	go func() {
		got, err := s.Fetch(t.Context(), remote)
		if err != nil {
			t.Error(err)
		}
		second <- got
	}()
	for waiting := false; !waiting; { // until the second one waits for its turn
		s.mu.Lock()
		waiting = len(s.flights) == 1
		s.mu.Unlock()
	}
	close(release)
	if diff := cmp.Diff([]string{old, next}, []string{<-first, <-second}); diff != "" {
		t.Error(diff)
	}
}

func TestCallerWhoGivesUpEndsNothingForOthers(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	want := r.push("main", r.commit(map[string]file{"a.yaml": text("a")}))
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := serveHTTP(t, root, func(*http.Request) bool {
		once.Do(func() { close(begun) })
		<-release
		return true
	})
	s, remote := newStore(t), Remote{URL: server.URL + "/fleet.git"}
	fetch := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := s.Fetch(ctx, remote)
			done <- err
		}()
		return done
	}
	running := fetch(t.Context())
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	impatient := fetch(ctx)
	var joined *flight // with the impatient one, for the fetch that waits for its turn
	for joined == nil {
		s.mu.Lock()
		for _, f := range s.flights {
			joined = f
		}
		s.mu.Unlock()
	}
	m, err := s.mirror(remote.URL, nil)
	must(t, err)
	if f := s.joinFetch(t.Context(), m, address{}, remote, []Ref{remote.Ref}); f != joined {
		t.Error("two who wait for the same do not share a fetch")
	}
	stranger := remote
	stranger.Credentials = credentials(t, "bearerToken", "stolen")
	if f := s.joinFetch(t.Context(), m, address{}, stranger, []Ref{remote.Ref}); f == joined {
		t.Error("a fetch is shared with somebody who has other credentials")
	}
	cancel()
	expectFault(t, <-impatient, fleet.SourceUnavailable, fleet.Controller, "context canceled")
	close(release)
	must(t, <-running)
	<-joined.done
	if found := joined.found[remote.Ref]; found.Err != nil || found.Revision != want {
		t.Errorf("got %+v", found)
	}
}

func TestCredentialsAreNeverTakenOnTrust(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	revision := r.push("main", r.commit(map[string]file{"a.yaml": text("a")}))
	url := serveHTTP(t, root, basic("ann", "s3cret")).URL + "/fleet.git"
	s := newStore(t)
	_, err := s.Fetch(t.Context(), Remote{URL: url, Credentials: credentials(t, "username", "ann", "password", "s3cret")})
	must(t, err)
	for _, ref := range []Ref{{}, {Commit: revision}} {
		_, err = s.Fetch(t.Context(), Remote{URL: url, Ref: ref})
		expectFault(t, err, fleet.SourceUnavailable, fleet.Controller, "refuses the credentials")
	}
}

func TestManyFetchesLeaveFewPacks(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	remote := Remote{URL: "file://" + r.dir}
	s := newStore(t, root)
	var commits []string
	for i := range 3 * maxPacks {
		var parents []string
		if i > 0 {
			parents = commits[i-1:]
		}
		commits = append(commits, r.push("main", r.commit(map[string]file{"a.yaml": text(fmt.Sprint(i))}, parents...)))
		_, err := s.Fetch(t.Context(), remote)
		must(t, err)
	}
	packs, err := filepath.Glob(filepath.Join(s.Dir, "*", "objects", "pack", "*.pack"))
	must(t, err)
	if len(packs) > maxPacks+1 {
		t.Errorf("%d packs", len(packs))
	}
	for _, store := range []*Store{s, {Dir: s.Dir}} {
		for i, c := range commits {
			snap, err := store.Snapshot(remote.URL, c, "")
			must(t, err)
			if got := readText(t, snap, "a.yaml"); got != fmt.Sprint(i) {
				t.Fatalf("commit %d reads %q", i, got)
			}
		}
	}
	gitRun(t, filepath.Join(s.Dir, folderName(remote.URL)), "fsck", "--strict", "--no-dangling")
}

func TestInterruptedFetchIsForgotten(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	revision := r.push("main", r.commit(map[string]file{"a.yaml": text("a")}))
	remote := Remote{URL: "file://" + r.dir}
	s := newStore(t, root)
	_, err := s.Fetch(t.Context(), remote)
	must(t, err)
	packs := filepath.Join(s.Dir, folderName(remote.URL), "objects", "pack")
	must(t, os.WriteFile(filepath.Join(packs, "tmp_pack_1"), []byte("PACK"), 0o600))
	must(t, os.WriteFile(filepath.Join(packs, "pack-"+strings.Repeat("0", 40)+".pack"), []byte("PACK"), 0o600))
	restarted := &Store{Dir: s.Dir, Local: s.Local}
	_, err = restarted.Snapshot(remote.URL, revision, "")
	must(t, err)
	if _, err := os.Stat(filepath.Join(packs, "tmp_pack_1")); !os.IsNotExist(err) {
		t.Error("what a killed process left is still there")
	}
}

func TestDamagedPackIsRefused(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	head := r.commit(map[string]file{"a.yaml": text("a")})
	var pack strings.Builder
	local, err := OpenLocal(r.dir)
	must(t, err)
	_, _, err = encodePack(&pack, []plumbing.Hash{plumbing.NewHash(head)}, local)
	must(t, err)
	for at := range pack.Len() {
		data := []byte(pack.String())
		data[at] ^= 0x40
		p, err := openPacks(t.TempDir(), nil)
		must(t, err)
		if _, err := p.receive(strings.NewReader(string(data)), 1<<20); err == nil {
			t.Fatalf("a pack with byte %d changed is taken", at)
		}
	}
}

func TestLocal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fleet.git")
	r := newRepository(t, dir)
	base := r.push("main", r.commit(map[string]file{"fleet/a.yaml": text("base")}))
	branch := r.push("branch", r.commit(map[string]file{"fleet/a.yaml": text("branch")}, base))
	ahead := r.push("main", r.commit(map[string]file{"fleet/a.yaml": text("main")}, base))
	r.tag("v1", base)
	clone := t.TempDir()
	gitRun(t, clone, "clone", "-q", dir, ".")
	must(t, os.MkdirAll(filepath.Join(clone, "deep", "down"), 0o755))
	for _, at := range []string{clone, filepath.Join(clone, "deep", "down")} {
		l, err := OpenLocal(at)
		must(t, err)
		for revision, want := range map[string]string{
			"HEAD": ahead, "main": ahead, "HEAD~1": base, "v1": base, "origin/branch": branch, base[:8]: base,
		} {
			got, err := l.Resolve(revision)
			if err != nil || got != want {
				t.Errorf("%s is %q, %v; want %s", revision, got, err, want)
			}
		}
		got, err := l.MergeBase(ahead, branch)
		if err != nil || got != base {
			t.Errorf("merge base %q, %v", got, err)
		}
		snap, err := l.Snapshot(branch, "fleet")
		must(t, err)
		if got := readText(t, snap, "a.yaml"); got != "branch" {
			t.Errorf("read %q", got)
		}
	}
}
