package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"sigs.k8s.io/yaml"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/source"
)

// sourceFlags say how content is fetched that is not in the repository.
type sourceFlags struct {
	secrets  []string
	insecure bool
}

func (f *sourceFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.secrets, "secrets", nil, "files with the Secrets that sources name, and the Secrets and ConfigMaps of valuesFrom, as kubectl get -o yaml writes them (default: your own logins of docker, helm and ssh)")
	cmd.Flags().BoolVar(&f.insecure, "insecure-sources", false, "let applications set insecure on a source, as the hub's flag does")
}

// fetch fetches what plans take from elsewhere, with the network and the logins of whoever runs this, and says what it found. The
// plans are built until they ask for nothing new; they fetch nothing themselves.
func (f *sourceFlags) fetch(ctx context.Context, w *fleet.World, build func(fleet.World) ([]*plan.Plan, error)) ([]musterv1alpha1.SourceStatus, error) {
	library, done, err := f.library()
	if err != nil {
		return nil, err
	}
	defer done()
	looked, mask := map[string]bool{}, &fleet.Redactor{Key: []byte(rand.Text())}
	for {
		w.Sources = fleet.Masked(library.Sources(), mask)
		plans, err := build(*w)
		if err != nil {
			return nil, err
		}
		var used []fleet.UsedSource
		for _, p := range plans {
			used = append(used, p.Sources()...)
		}
		used = fleet.SortSources(used)
		if !lookAtNew(ctx, library, used, looked) {
			return notesOf(w.Sources, used), ctx.Err()
		}
	}
}

// planned builds one plan, with what it takes from elsewhere.
func (f *sourceFlags) planned(ctx context.Context, w *fleet.World, build func(fleet.World) (*plan.Plan, error)) (*plan.Plan, []musterv1alpha1.SourceStatus, error) {
	var built *plan.Plan
	notes, err := f.fetch(ctx, w, func(w fleet.World) (plans []*plan.Plan, err error) {
		built, err = build(w)
		return []*plan.Plan{built}, err
	})
	return built, notes, err
}

// lookAtNew looks at the remotes of references that were not looked at yet, several at a time. It tells whether there were any.
func lookAtNew(ctx context.Context, library *source.Library, used []fleet.UsedSource, looked map[string]bool) bool {
	remotes := map[string]bool{}
	for _, u := range used {
		if key := u.Reference.Key(); !looked[key] {
			looked[key] = true
			remotes[library.RemoteOf(u.Reference)] = true
		}
	}
	var running sync.WaitGroup
	slots := make(chan struct{}, 4)
	for remote := range remotes {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			library.Look(ctx, remote) // what is wrong stands with the references
		})
	}
	running.Wait()
	return len(remotes) > 0
}

func notesOf(sources fleet.Sources, used []fleet.UsedSource) []musterv1alpha1.SourceStatus {
	var notes []musterv1alpha1.SourceStatus
	for _, u := range used {
		found, err := sources.Find(u.Reference)
		note := fleet.UsedSource{Reference: u.Reference, Found: found}.Status()
		if err != nil {
			note.Message = err.Error()
		}
		notes = append(notes, note)
	}
	return notes
}

// sayProblems tells what is wrong with sources that have content of an earlier time: a fault tells of the others.
func (c *cli) sayProblems(notes []musterv1alpha1.SourceStatus) {
	for _, n := range notes {
		if n.Message != "" && n.Digest != "" {
			fmt.Fprintln(c.errs, "muster: "+oneLine(fleet.SourceText(n)))
		}
	}
}

// library is one in the cache folder of whoever runs this. Repositories are fetched into a folder of this process, since two
// processes cannot share a mirror.
func (f *sourceFlags) library() (*source.Library, func(), error) {
	git, err := os.MkdirTemp("", "muster-sources-")
	if err != nil {
		return nil, nil, fmt.Errorf("make a folder for other repositories: %w", err)
	}
	// A temporary folder that cannot be removed is no reason to fail.
	done := func() { _ = os.RemoveAll(git) }
	cache, err := os.UserCacheDir()
	if err != nil { // nobody's home: nothing is kept
		cache = git
	}
	l := &source.Library{
		Dir: filepath.Join(cache, "muster", "sources"), Git: &source.Store{Dir: filepath.Join(git, "mirrors"), Local: []string{"/"}},
		Insecure: f.insecure, Credentials: ownCredentials,
	}
	if len(f.secrets) == 0 {
		return l, done, nil
	}
	objects, err := readObjects(f.secrets)
	if err != nil {
		done()
		return nil, nil, err
	}
	l.Secret = func(_ context.Context, namespace, name string) (map[string][]byte, error) {
		o, ok := objects["Secret "+namespace+"/"+name]
		if !ok {
			return nil, errors.New("it is in none of the files of --secrets")
		}
		return o.Data, nil
	}
	l.Values = func(_ context.Context, namespace string, object fleet.ValuesObject) (map[string][]byte, string, error) {
		o, ok := objects[string(object.Kind)+" "+namespace+"/"+object.Name]
		if !ok {
			return nil, "", source.ErrUnseen
		}
		return o.Data, string(o.UID), nil
	}
	return l, done, nil
}

// readObjects reads files with Secrets and ConfigMaps, by kind namespace/name.
func readObjects(files []string) (map[string]*corev1.Secret, error) {
	objects := map[string]*corev1.Secret{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read Secrets: %w", err)
		}
		documents, err := fleet.ReadYAML(string(data))
		if err != nil {
			return nil, fmt.Errorf("read Secrets of %s: %w", file, err)
		}
		for _, y := range documents {
			o, err := readObject(y.JSON)
			if err != nil {
				return nil, fmt.Errorf("%s:%d is no Secret and no ConfigMap: kubectl get secret NAME -o yaml writes one", file, y.Line)
			}
			objects[o.Kind+" "+o.Namespace+"/"+o.Name] = o
		}
	}
	return objects, nil
}

// readObject reads a Secret, or a ConfigMap as if it were one. The error does not say what is wrong, which would quote values.
func readObject(data []byte) (*corev1.Secret, error) {
	var o corev1.Secret
	var kind metav1.TypeMeta
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, err
	}
	switch kind.Kind {
	case "Secret":
		if err := json.Unmarshal(data, &o); err != nil {
			return nil, err
		}
	case "ConfigMap":
		var c corev1.ConfigMap
		if err := json.Unmarshal(data, &c); err != nil {
			return nil, err
		}
		o = corev1.Secret{TypeMeta: c.TypeMeta, ObjectMeta: c.ObjectMeta, Data: c.BinaryData, StringData: c.Data}
	default:
		return nil, errors.New("another kind")
	}
	if o.Data == nil {
		o.Data = map[string][]byte{}
	}
	for key, value := range o.StringData {
		o.Data[key] = []byte(value)
	}
	return &o, nil
}

// ownCredentials are the logins of whoever runs this: of docker for registries, of helm for chart repositories, and ssh keys.
func ownCredentials(address string) (source.Credentials, error) {
	u, err := url.Parse(address)
	switch {
	case err == nil && u.Scheme == "oci":
		return dockerCredentials(u.Host)
	case err == nil && (u.Scheme == "http" || u.Scheme == "https"):
		return helmCredentials(address)
	case err != nil || u.Scheme == "ssh":
		return sshCredentials()
	}
	return source.Credentials{}, nil
}

func dockerCredentials(host string) (source.Credentials, error) {
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return source.Credentials{}, nil //nolint:nilerr // nobody has logged in
	}
	login, err := store.Get(context.Background(), host)
	if err != nil {
		return source.Credentials{}, fmt.Errorf("read the login of docker for %s: %w", host, err)
	}
	switch {
	case login.Password != "":
		return source.CredentialsFromSecret(map[string][]byte{"username": []byte(login.Username), "password": []byte(login.Password)})
	case login.RefreshToken != "" || login.AccessToken != "":
		config, err := json.Marshal(map[string]any{"auths": map[string]any{
			host: map[string]string{"identitytoken": login.RefreshToken, "registrytoken": login.AccessToken},
		}})
		if err != nil {
			return source.Credentials{}, err
		}
		return source.CredentialsFromSecret(map[string][]byte{".dockerconfigjson": config})
	}
	return source.Credentials{}, nil
}

// helmCredentials are those that helm repo add has written down for an address.
func helmCredentials(address string) (source.Credentials, error) {
	file := os.Getenv("HELM_REPOSITORY_CONFIG")
	if config, err := os.UserConfigDir(); file == "" && err == nil {
		file = filepath.Join(config, "helm", "repositories.yaml")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return source.Credentials{}, nil //nolint:nilerr // nobody has added one
	}
	var known struct {
		Repositories []struct{ URL, Username, Password, CAFile, CertFile, KeyFile string }
	}
	if err := yaml.Unmarshal(data, &known); err != nil {
		return source.Credentials{}, fmt.Errorf("read helm's %s: %w", file, err)
	}
	for _, r := range known.Repositories {
		if strings.TrimRight(r.URL, "/") != strings.TrimRight(address, "/") {
			continue
		}
		secret := map[string][]byte{}
		for key, value := range map[string]string{"username": r.Username, "password": r.Password} {
			if value != "" {
				secret[key] = []byte(value)
			}
		}
		for key, name := range map[string]string{"ca.crt": r.CAFile, "tls.crt": r.CertFile, "tls.key": r.KeyFile} {
			if name == "" {
				continue
			}
			if secret[key], err = os.ReadFile(name); err != nil {
				return source.Credentials{}, fmt.Errorf("read what helm's %s names: %w", file, err)
			}
		}
		return source.CredentialsFromSecret(secret)
	}
	return source.Credentials{}, nil
}

func sshCredentials() (source.Credentials, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return source.Credentials{}, nil //nolint:nilerr // nobody's keys
	}
	secret := map[string][]byte{}
	for key, names := range map[string][]string{"identity": {"id_ed25519", "id_ecdsa", "id_rsa"}, "known_hosts": {"known_hosts"}} {
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(home, ".ssh", name))
			if err == nil && len(data) > 0 && secret[key] == nil {
				secret[key] = data
			}
		}
	}
	if len(secret) < 2 {
		return source.Credentials{}, nil
	}
	return source.CredentialsFromSecret(secret)
}
