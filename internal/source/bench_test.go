package source

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// benchFiles is the number of files in the repository, 100 to a folder.
const benchFiles = 10_000

// mostOfGit is how many times as long as git's a fetch may take.
const mostOfGit = 2

// BenchmarkIncrementalFetch brings one new commit of a repository with 10,000 files into a warm mirror, and has git
// fetch do the same beside it. x-git is our time over git's.
func BenchmarkIncrementalFetch(b *testing.B) {
	for _, transport := range []string{"file", "http"} {
		b.Run(transport, func(b *testing.B) {
			root := b.TempDir()
			remote := filepath.Join(root, "fleet.git")
			makeLargeRepository(b, remote)
			url := "file://" + remote
			if transport == "http" {
				server := httptest.NewServer(gitHandler(b, root, nil))
				defer server.Close()
				url = server.URL + "/fleet.git"
			}
			clone := filepath.Join(root, "clone.git")
			gitRun(b, root, "clone", "-q", "--mirror", url, clone)
			s := newStore(b, root)
			_, err := s.Fetch(b.Context(), Remote{URL: url})
			must(b, err)
			var ours, git time.Duration
			n := 0
			fetchOurs := func(commit string) {
				b.StartTimer()
				began := time.Now()
				got, err := s.Fetch(b.Context(), Remote{URL: url})
				ours += time.Since(began)
				b.StopTimer()
				if err != nil || got != commit {
					b.Fatalf("fetched %s, %v; want %s", got, err, commit)
				}
			}
			fetchGit := func(string) {
				began := time.Now()
				gitRun(b, clone, "fetch", "-q", "origin", "+refs/heads/main:refs/heads/main")
				git += time.Since(began)
			}
			b.ResetTimer()
			b.StopTimer()
			for n = range b.N {
				commit := commitOneFile(b, remote, n+1)
				turns := []func(string){fetchOurs, fetchGit}
				turns[n%2](commit) // each is as often the one that finds the files read
				turns[1-n%2](commit)
			}
			n++
			ratio := float64(ours) / float64(git)
			b.ReportMetric(ratio, "x-git")
			b.ReportMetric(float64(git.Nanoseconds())/float64(n), "git-ns/op")
			if n < 10 {
				return // a first try, too short to tell
			}
			b.Logf("fetch of one commit of %d files (%s): %v; ratio %.2f (at most %d) to the floor: git fetch, %v", benchFiles, transport,
				(ours / time.Duration(n)).Round(time.Microsecond), ratio, mostOfGit, (git / time.Duration(n)).Round(time.Microsecond))
			if ratio > mostOfGit {
				b.Errorf("a fetch takes %.2f times as long as git's, more than %d", ratio, mostOfGit)
			}
		})
	}
}

func makeLargeRepository(b *testing.B, dir string) {
	b.Helper()
	must(b, os.MkdirAll(dir, 0o755))
	gitRun(b, dir, "init", "-q", "--bare", "-b", "main")
	var stream bytes.Buffer
	fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter Ann <ann@example.com> 1700000000 +0000\ndata 5\nfirst\n")
	for i := range benchFiles {
		content := fmt.Sprintf("replicas: %d\nimage: registry.example.com/app:%d\n", i, i)
		fmt.Fprintf(&stream, "M 100644 inline apps/team%d/app%d.yaml\ndata %d\n%s\n", i/100, i, len(content), content)
	}
	fastImport(b, dir, &stream)
	gitRun(b, dir, "repack", "-adq")
}

func commitOneFile(b *testing.B, dir string, n int) string {
	b.Helper()
	content := fmt.Sprintf("replicas: %d\n# change %d\n", n, n)
	var stream bytes.Buffer
	fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter Ann <ann@example.com> %d +0000\ndata 4\nnext\nfrom refs/heads/main^0\n", 1700000000+n)
	fmt.Fprintf(&stream, "M 100644 inline apps/team%d/app%d.yaml\ndata %d\n%s\n", n%100, n%100*100, len(content), content)
	fastImport(b, dir, &stream)
	return gitRun(b, dir, "rev-parse", "main")
}

func fastImport(b testing.TB, dir string, stream *bytes.Buffer) {
	b.Helper()
	command := exec.Command("git", "fast-import", "--quiet")
	command.Dir, command.Stdin = dir, stream
	if out, err := command.CombinedOutput(); err != nil {
		b.Fatalf("git fast-import: %v\n%s", err, out)
	}
}
