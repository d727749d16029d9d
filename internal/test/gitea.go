package test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"code.gitea.io/sdk/gitea"
)

// Gitea is a real Git host that a test has for itself. Every user's password is "password of NAME".
type Gitea struct {
	t   testing.TB
	URL string
	// Log is a file.
	Log     string
	config  string
	program string
	dir     string
	process *exec.Cmd
}

// GiteaAdmin is the user that may everything.
const GiteaAdmin = "root-user"

// NewGitea starts a Gitea with one user, GiteaAdmin. The test is skipped where none is built: it needs a C compiler.
func NewGitea(t testing.TB) *Gitea {
	t.Helper()
	root, err := repositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	program := os.Getenv("MUSTER_GITEA")
	if program == "" {
		program = filepath.Join(root, "bin", "gitea")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("there is no Gitea: make gitea builds %s; %v", program, err)
	}
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "code.gitea.io/gitea")
	list.Dir = filepath.Join(root, "gitea")
	static, err := list.Output()
	if err != nil {
		t.Fatalf("find Gitea's templates: %v", err)
	}
	g := &Gitea{t: t, program: program, dir: t.TempDir()}
	port := FreePort(t)
	g.URL = fmt.Sprintf("http://127.0.0.1:%d", port)
	g.Log = filepath.Join(g.dir, "gitea.log")
	g.config = filepath.Join(g.dir, "app.ini")
	ini := g.ini(port, strings.TrimSpace(string(static)))
	if err := os.WriteFile(g.config, []byte(ini), 0o600); err != nil {
		t.Fatal(err)
	}
	g.run("migrate")
	g.run("admin", "user", "create", "--admin", "--username", GiteaAdmin, "--password", g.password(GiteaAdmin), "--email", "root@example.com", "--must-change-password=false")
	g.Start()
	t.Cleanup(g.Stop)
	return g
}

// repositoryRoot is the folder above that of the test, which the module of Gitea is in.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "gitea", "go.mod")); missing == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			err = errors.New("no folder above has gitea/go.mod")
		}
		dir = filepath.Dir(dir)
	}
	return "", fmt.Errorf("find Gitea's module: %w", err)
}

// ini is what Gitea reads at its start.
func (g *Gitea) ini(port int, static string) string {
	name := os.Getenv("USER")
	if who, err := exec.Command("id", "-un").Output(); err == nil {
		name = strings.TrimSpace(string(who))
	}
	return fmt.Sprintf(`RUN_USER = %s
RUN_MODE = prod
WORK_PATH = %s
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %d
ROOT_URL = %s/
STATIC_ROOT_PATH = %s
DISABLE_SSH = true
OFFLINE_MODE = true
LFS_START_SERVER = true
LFS_JWT_SECRET = b2YtYS10ZXN0LW9mLWEtdGVzdC1vZi1hLXRlc3QtMzI
[lfs]
PATH = %s/lfs
[database]
DB_TYPE = sqlite3
PATH = %s/gitea.db
[repository]
ROOT = %s/repositories
[security]
INSTALL_LOCK = true
SECRET_KEY = of-a-test
INTERNAL_TOKEN = eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJuYmYiOjE3MDAwMDAwMDB9.DUs1SMRD8b3Z4tYz3eHW8dNmH6vYdGtDkoTzJYFQ7Xk
PASSWORD_HASH_ALGO = pbkdf2_v1
[oauth2]
ENABLED = false
[webhook]
ALLOWED_HOST_LIST = loopback
[service]
REQUIRE_SIGNIN_VIEW = false
[cron]
ENABLED = false
[log]
MODE = console
LEVEL = Warn
`, name, g.dir, port, g.URL, static, g.dir, g.dir, g.dir)
}

// FreePort of the loopback interface.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func (g *Gitea) password(user string) string { return "password of " + user }

func (g *Gitea) command(args ...string) *exec.Cmd {
	cmd := exec.Command(g.program, append(args, "--config", g.config)...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "GITEA_WORK_DIR="+g.dir)
	return cmd
}

func (g *Gitea) run(args ...string) {
	g.t.Helper()
	if out, err := g.command(args...).CombinedOutput(); err != nil {
		g.t.Fatalf("gitea %q: %v\n%s", args, err, out)
	}
}

// Start starts it again after Stop, with all that it had.
func (g *Gitea) Start() {
	g.t.Helper()
	log, err := os.OpenFile(g.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		g.t.Fatal(err)
	}
	g.process = g.command("web")
	g.process.Stdout, g.process.Stderr = log, log
	if err := g.process.Start(); err != nil {
		g.t.Fatal(err)
	}
	_ = log.Close() // the process has it
	for deadline := time.Now().Add(time.Minute); ; {
		answer, err := http.Get(g.URL + "/api/healthz")
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(g.Log)
			g.t.Fatalf("Gitea does not start: %v\n%s", err, text)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Stop ends it.
func (g *Gitea) Stop() {
	if g.process == nil {
		return
	}
	_ = g.process.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { _ = g.process.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = g.process.Process.Kill()
		<-done
	}
	g.process = nil
}

// As gives a client that acts as a user.
func (g *Gitea) As(user string) *gitea.Client {
	g.t.Helper()
	c, err := gitea.NewClient(g.URL, gitea.SetBasicAuth(user, g.password(user)), gitea.SetGiteaVersion(""))
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// Users makes users.
func (g *Gitea) Users(names ...string) {
	g.t.Helper()
	no := false
	for _, name := range names {
		_, _, err := g.As(GiteaAdmin).AdminCreateUser(gitea.CreateUserOption{
			Username: name, Email: name + "@example.com", Password: g.password(name), MustChangePassword: &no,
		})
		if err != nil {
			g.t.Fatal(err)
		}
	}
}

// Token of a user, for everything.
func (g *Gitea) Token(user string) string {
	g.t.Helper()
	t, _, err := g.As(user).CreateAccessToken(gitea.CreateAccessTokenOption{Name: fmt.Sprint("t", time.Now().UnixNano()), Scopes: []gitea.AccessTokenScope{gitea.AccessTokenScopeAll}})
	if err != nil {
		g.t.Fatal(err)
	}
	return t.Token
}

// Remote is the URL to push to as a user.
func (g *Gitea) Remote(user, repository string) string {
	return strings.Replace(g.URL, "://", "://"+user+":"+strings.ReplaceAll(g.password(user), " ", "%20")+"@", 1) + "/" + repository + ".git"
}

// Logged is what Gitea says went wrong.
func (g *Gitea) Logged() string {
	text, _ := os.ReadFile(g.Log)
	return string(bytes.TrimSpace(text))
}
