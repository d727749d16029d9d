package source

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/muster-io/muster/internal/fleet"
)

// file is one entry of a commit.
type file struct {
	mode    filemode.FileMode
	content string // of a submodule: the commit
}

func text(content string) file   { return file{filemode.Regular, content} }
func link(target string) file    { return file{filemode.Symlink, target} }
func script(content string) file { return file{filemode.Executable, content} }

// repository is a bare repository in a temporary folder.
type repository struct {
	t    testing.TB
	dir  string
	repo *git.Repository
	tick int64
}

func newRepository(t testing.TB, dir string) *repository {
	t.Helper()
	repo, err := git.PlainInit(dir, true)
	must(t, err)
	must(t, repo.Storer.SetReference(plumbing.NewSymbolicReference(plumbing.HEAD, "refs/heads/main")))
	return &repository{t: t, dir: dir, repo: repo}
}

// commit makes a commit of exactly these files and returns its full name.
func (r *repository) commit(files map[string]file, parents ...string) string {
	r.t.Helper()
	r.tick++
	who := object.Signature{Name: "Ann", Email: "ann@example.com", When: time.Unix(1_700_000_000+r.tick, 0)}
	c := &object.Commit{Author: who, Committer: who, Message: fmt.Sprintf("commit %d", r.tick), TreeHash: r.tree(files)}
	for _, p := range parents {
		c.ParentHashes = append(c.ParentHashes, plumbing.NewHash(p))
	}
	return r.store(c).String()
}

func (r *repository) tree(files map[string]file) plumbing.Hash {
	r.t.Helper()
	folders := map[string]map[string]file{}
	var entries []object.TreeEntry
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		if dir, rest, ok := strings.Cut(name, "/"); ok {
			if folders[dir] == nil {
				folders[dir] = map[string]file{}
			}
			folders[dir][rest] = f
			continue
		}
		h := plumbing.NewHash(f.content)
		if f.mode != filemode.Submodule {
			h = r.blob(f.content)
		}
		entries = append(entries, object.TreeEntry{Name: name, Mode: f.mode, Hash: h})
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		entries = append(entries, object.TreeEntry{Name: dir, Mode: filemode.Dir, Hash: r.tree(folders[dir])})
	}
	slices.SortFunc(entries, func(a, b object.TreeEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	return r.store(&object.Tree{Entries: entries})
}

func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

func (r *repository) blob(content string) plumbing.Hash {
	r.t.Helper()
	o := r.repo.Storer.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	w, err := o.Writer()
	must(r.t, err)
	_, err = io.WriteString(w, content)
	must(r.t, err)
	must(r.t, w.Close())
	h, err := r.repo.Storer.SetEncodedObject(o)
	must(r.t, err)
	return h
}

func (r *repository) store(what interface {
	Encode(plumbing.EncodedObject) error
}) plumbing.Hash {
	r.t.Helper()
	o := r.repo.Storer.NewEncodedObject()
	must(r.t, what.Encode(o))
	h, err := r.repo.Storer.SetEncodedObject(o)
	must(r.t, err)
	return h
}

// push moves a branch, by force if need be.
func (r *repository) push(branch, commit string) string {
	r.t.Helper()
	r.set("refs/heads/"+branch, commit)
	return commit
}

func (r *repository) set(ref, commit string) {
	r.t.Helper()
	must(r.t, r.repo.Storer.SetReference(plumbing.NewHashReference(plumbing.ReferenceName(ref), plumbing.NewHash(commit))))
}

// tag makes an annotated tag.
func (r *repository) tag(name, commit string) {
	r.t.Helper()
	who := object.Signature{Name: "Ann", Email: "ann@example.com", When: time.Unix(1_700_000_000, 0)}
	h := r.store(&object.Tag{Name: name, Tagger: who, Message: name, TargetType: plumbing.CommitObject, Target: plumbing.NewHash(commit)})
	r.set("refs/tags/"+name, h.String())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func gitRun(t testing.TB, dir string, args ...string) string {
	t.Helper()
	command := exec.Command("git", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.com")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// serveHTTP serves the repositories below root with git's own server, behind a check of the request's header.
func serveHTTP(t testing.TB, root string, allowed func(*http.Request) bool) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(gitHandler(t, root, allowed))
	t.Cleanup(server.Close)
	return server
}

func gitHandler(t testing.TB, root string, allowed func(*http.Request) bool) http.Handler {
	backend := &cgi.Handler{
		Path:   filepath.Join(gitRun(t, root, "--exec-path"), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
		Stderr: io.Discard,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if allowed != nil && !allowed(r) {
			http.Error(w, "who are you? you sent "+r.Header.Get("Authorization"), http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	})
}

func basic(user, password string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		u, p, ok := r.BasicAuth()
		return ok && u == user && p == password
	}
}

func bearer(token string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+token }
}

// sshHost is a host that runs git-upload-pack for one key.
type sshHost struct {
	address    string // host:port
	connected  *atomic.Int64
	identity   []byte // PEM of the key it accepts
	knownHosts []byte
}

func newKey(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	must(t, err)
	return signer, pem.EncodeToMemory(block)
}

func serveSSH(t testing.TB) sshHost {
	t.Helper()
	hostKey, _ := newKey(t)
	userKey, identity := newKey(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(userKey.PublicKey().Marshal()) {
			return nil, fmt.Errorf("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(hostKey)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	connected := &atomic.Int64{}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			connected.Add(1)
			go serveSSHConn(c, config)
		}
	}()
	address := listener.Addr().String()
	return sshHost{address, connected, identity, []byte(knownhosts.Line([]string{address}, hostKey.PublicKey()) + "\n")}
}

func serveSSHConn(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go func() {
			for request := range requests {
				_ = request.Reply(request.Type == "exec", nil)
				if request.Type == "exec" {
					go execSSH(channel, string(request.Payload[4:]))
				}
			}
		}()
	}
}

func execSSH(channel ssh.Channel, line string) {
	defer channel.Close()
	command := exec.Command("sh", "-c", line)
	command.Stdout, command.Stderr = channel, channel.Stderr()
	in, err := command.StdinPipe()
	if err != nil {
		return
	}
	go func() { _, _ = io.Copy(in, channel); _ = in.Close() }()
	status := byte(0)
	if err := command.Run(); err != nil {
		status = 1
	}
	_, _ = channel.SendRequest("exit-status", false, []byte{0, 0, 0, status})
}

func credentials(t testing.TB, pairs ...string) Credentials {
	t.Helper()
	data := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		data[pairs[i]] = []byte(pairs[i+1])
	}
	c, err := CredentialsFromSecret(data)
	must(t, err)
	return c
}

func readText(t testing.TB, s fleet.Snapshot, name string) string {
	t.Helper()
	data, err := s.Tree.ReadFile(name)
	must(t, err)
	return string(data)
}
