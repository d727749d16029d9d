package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"code.gitea.io/sdk/gitea"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/source"
	"github.com/muster-io/muster/internal/test"
)

// TestSubmodulesAndLargeFilesOfAGitHost: a private repository of a real Git host, with a private submodule and a file that the host's own
// server of Git LFS keeps.
func TestSubmodulesAndLargeFilesOfAGitHost(t *testing.T) {
	t.Parallel()
	g := test.NewGitea(t)
	g.Users("ann")
	token := g.Token("ann")
	for _, name := range []string{"charts", "common"} {
		if _, _, err := g.As("ann").CreateRepo(gitea.CreateRepoOption{Name: name, Private: true, DefaultBranch: "main"}); err != nil {
			t.Fatal(err)
		}
	}
	push := func(name string, repo *test.Repository) {
		t.Helper()
		repo.Git("remote", "add", "origin", g.Remote("ann", "ann/"+name))
		repo.Git("push", "--quiet", "origin", "main")
	}
	common := test.NewRepository(t, "-- common.yaml --\na: b\n")
	push("common", common)
	large := strings.Repeat("large ", 1000)
	oid := upload(t, g.URL+"/ann/charts.git/info/lfs/objects/batch", token, large)
	charts := test.NewRepository(t, fmt.Sprintf("-- files/large.bin --\nversion https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n-- .gitmodules --\n[submodule \"common\"]\n\tpath = common\n\turl = ../common.git\n", oid, len(large)))
	charts.Git("update-index", "--add", "--cacheinfo", "160000,"+strings.TrimSpace(common.Git("rev-parse", "main"))+",common")
	charts.Git("commit", "--quiet", "-m", "a submodule")
	push("charts", charts)

	library := &source.Library{
		Dir: t.TempDir(), Git: &source.Store{Dir: t.TempDir()}, Insecure: true,
		Secret: func(context.Context, string, string) (map[string][]byte, error) {
			return map[string][]byte{"username": []byte("ann"), "password": []byte(token)}, nil
		},
	}
	r := fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: &musterv1alpha1.GitSource{
		URL: g.URL + "/ann/charts.git", SecretRef: &musterv1alpha1.LocalReference{Name: "git"}, Submodules: true, LFS: true, Insecure: true,
	}})
	_, _ = library.Sources().Find(r)
	library.Look(t.Context(), library.RemoteOf(r))
	found, err := library.Sources().Find(r)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"files/large.bin": large, "common/common.yaml": "a: b\n"} {
		if got, err := fs.ReadFile(found.Tree, name); err != nil || string(got) != want {
			t.Errorf("%s is %.60q, %v", name, got, err)
		}
	}
}

// upload puts a file where git lfs push puts it, and gives its digest.
func upload(t *testing.T, batch, token, content string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(content))
	oid := hex.EncodeToString(sum[:])
	ask := func(method, address string, header map[string]string, body []byte) []byte {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("ann", token)
		for name, value := range header {
			request.Header.Set(name, value)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: HTTP %d, %v: %s", method, address, response.StatusCode, err, answer)
		}
		return answer
	}
	const kind = "application/vnd.git-lfs+json"
	question := fmt.Appendf(nil, `{"operation":"upload","transfers":["basic"],"objects":[{"oid":%q,"size":%d}]}`, oid, len(content))
	var answer struct {
		Objects []struct {
			Actions map[string]struct {
				Href   string
				Header map[string]string
			}
		}
	}
	if err := json.Unmarshal(ask(http.MethodPost, batch, map[string]string{"Accept": kind, "Content-Type": kind}, question), &answer); err != nil || len(answer.Objects) != 1 {
		t.Fatalf("the batch: %+v, %v", answer, err)
	}
	action := answer.Objects[0].Actions["upload"]
	header := map[string]string{"Content-Type": "application/octet-stream"}
	for name, value := range action.Header {
		header[name] = value
	}
	ask(http.MethodPut, action.Href, header, []byte(content))
	return oid
}
