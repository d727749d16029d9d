package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/embedded"
)

// starter is a small fleet repository that delivers something and explains itself.
//
//go:embed all:starter
var starter embed.FS

// initOptions are the flags of muster init.
type initOptions struct {
	hub                       bool
	url, branch, name, secret string
}

func initCommand(c *cli) *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Write a small fleet repository to begin with",
		Long: "Writes into DIR, which must be empty or missing but for .git, a fleet repository with one team, one placement and one\n" +
			"application, whose comments explain it. A new folder becomes a Git repository with one commit; within\n" +
			"another clone it does so with --hub only, and else is yours to commit there.\n\n" +
			"With --hub the hub of --kubeconfig follows it: at --url, or where the folder's remote origin is. A hub that muster up started\n" +
			"can follow the folder itself where --local-repositories allows it.",
		Example: "  muster init fleet\n  muster up --clusters 2 --local-repositories . && muster init fleet --hub && muster status --watch",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			written, err := writeStarter(dir)
			if err != nil {
				return err
			}
			if written > 0 {
				if err := commitStarter(cmd.Context(), dir, o.hub && o.url == ""); err != nil {
					return err
				}
			}
			answer := map[string]any{"folder": dir, "files": written}
			if o.hub {
				repository, err := c.followRepository(cmd.Context(), dir, o)
				if err != nil {
					return err
				}
				answer["repository"], answer["url"] = repository.Namespace+"/"+repository.Name, repository.Spec.URL
			}
			return c.print(answer, func(p *printer) { printInit(p, answer, args[0], o) })
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.hub, "hub", false, "let the hub follow the repository")
	f.StringVar(&o.url, "url", "", "where the hub finds the repository (default: the folder's remote origin; for a hub of muster up, the folder)")
	f.StringVar(&o.branch, "branch", "main", "branch that the hub follows")
	f.StringVar(&o.name, "name", "fleet", "name of the FleetRepository on the hub")
	f.StringVar(&o.secret, "secret", "", "Secret in muster-system that opens the repository")
	return cmd
}

func printInit(p *printer, answer map[string]any, dir string, o initOptions) {
	if n := answer["files"].(int); n > 0 {
		p.linef("wrote %s into %s: README.md there says what is where", count(n, "file"), dir)
	}
	if o.hub {
		p.linef("the hub follows %s as %s", answer["url"], answer["repository"])
		p.line("next: muster status --watch; a cluster joins with muster join NAME --install --cluster-kubeconfig FILE")
		return
	}
	p.linef("next: muster validate %s; push it to a Git host; muster init %s --hub --url URL lets the hub follow it", dir, dir)
}

// writeStarter fills an empty folder. A folder that is a fleet already is left as it is.
func writeStarter(dir string) (int, error) {
	if _, err := os.Stat(filepath.Join(dir, "muster.yaml")); err == nil {
		return 0, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if left := slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == ".git" }); len(left) > 0 {
		return 0, fmt.Errorf("%s is not empty (it has %s) and is no fleet repository: name a new folder", dir, left[0].Name())
	}
	files, err := fs.Sub(starter, "starter")
	if err != nil {
		return 0, err
	}
	written := 0
	err = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		written++
		return os.WriteFile(file, data, 0o644)
	})
	return written, err
}

// commitStarter makes a new folder a repository. One that is in a repository already is the person's to commit, unless it is to be a
// repository of its own: what a hub follows is committed, and not a part of whatever clone the person stands in.
func commitStarter(ctx context.Context, dir string, own bool) error {
	if root := gitRoot(ctx, dir); root != "" && (!own || root == dir) {
		return nil
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "."},
		{"-c", "user.name=muster", "-c", "user.email=muster@localhost", "commit", "--quiet", "--message", "Begin a fleet"},
	} {
		command := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// gitRoot is the root of the working tree that a folder is in, the folder itself as it was named when it is the root, or empty.
func gitRoot(ctx context.Context, dir string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return ""
	}
	root := filepath.FromSlash(strings.TrimSpace(string(out)))
	if real, err := realPath(dir); err == nil && real == root {
		return dir
	}
	return root
}

// followRepository gives the hub the repository, with an account whose rights bound what the repository can write.
func (c *cli) followRepository(ctx context.Context, dir string, o initOptions) (*musterv1alpha1.FleetRepository, error) {
	hub, _, err := c.hub()
	if err != nil {
		return nil, err
	}
	path := ""
	if o.url == "" {
		if o.url, path, err = c.repositoryOf(ctx, dir); err != nil {
			return nil, err
		}
	}
	account := "fleet"
	for _, object := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.SystemNamespace, Name: account}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "muster-" + account},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: embedded.SystemNamespace, Name: account}},
		},
	} {
		if err := hub.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("make the account that the repository is written with: %w", err)
		}
	}
	repository := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.SystemNamespace, Name: o.name}}
	err = hub.Get(ctx, client.ObjectKeyFromObject(repository), repository)
	if err == nil {
		if repository.Spec.URL != o.url || path != "" && repository.Spec.Path != path {
			return nil, fmt.Errorf("the hub follows %s as %s already: name another one with --name, or change its url and path with kubectl -n %s edit fleetrepository %s",
				repository.Spec.URL, o.name, embedded.SystemNamespace, o.name)
		}
		return repository, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("ask the hub: %w", err)
	}
	repository.Spec = musterv1alpha1.FleetRepositorySpec{
		URL: o.url, Path: path, Ref: musterv1alpha1.GitRef{Branch: o.branch}, ServiceAccountName: account, Interval: metav1.Duration{Duration: time.Minute},
	}
	if o.secret != "" {
		repository.Spec.SecretRef = &musterv1alpha1.LocalReference{Name: o.secret}
	}
	if err := hub.Create(ctx, repository); err != nil {
		return nil, fmt.Errorf("give the hub the repository: %w", err)
	}
	return repository, nil
}

// repositoryOf is where a hub finds the repository that a folder is in, and the folder's path in it.
func (c *cli) repositoryOf(ctx context.Context, dir string) (url, path string, err error) {
	root := gitRoot(ctx, dir)
	if root == "" {
		return "", "", fmt.Errorf("where does the hub find %s? It is in no Git repository: commit it and name where it was pushed to with --url", dir)
	}
	if root != dir {
		real, err := realPath(dir)
		if err != nil {
			return "", "", err
		}
		if path, err = filepath.Rel(root, real); err != nil {
			return "", "", err
		}
		path = filepath.ToSlash(path)
	}
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "remote", "get-url", "origin").Output()
	if err == nil {
		return strings.TrimSpace(string(out)), path, nil
	}
	if c.embedded {
		return "file://" + filepath.ToSlash(root), path, nil
	}
	return "", "", fmt.Errorf("where does the hub find %s? Push it to a Git host and name it with --url; its folder has no remote origin", dir)
}
