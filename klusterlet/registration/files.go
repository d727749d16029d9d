package registration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/klusterlet/certificate"
)

// The files of a hub's kubeconfig directory, and the keys of its Secret.
const (
	kubeconfigFile  = "kubeconfig"
	certificateFile = "tls.crt"
	keyFile         = "tls.key"
	clusterNameFile = "cluster-name"
	agentNameFile   = "agent-name"
	pendingKeyFile  = "pending.key"    // of the request that waits
	bootstrapFile   = "bootstrap.hash" // of the bootstrap kubeconfig that has done its work
)

var allFiles = []string{kubeconfigFile, certificateFile, keyFile, clusterNameFile, agentNameFile, pendingKeyFile, bootstrapFile}

// files are what the agent keeps of a hub: in a directory, and in a Secret where one is named.
type files struct {
	dir     string
	secret  client.ObjectKey
	cluster client.Client
}

// open makes the directory, and fills it from the Secret where that has a certificate that lasts longer: another replica of the
// agent may have renewed it.
func (f *files) open(ctx context.Context) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("make the hub's directory: %w", err)
	}
	if f.secret.Name == "" {
		return nil
	}
	var secret corev1.Secret
	err := f.cluster.Get(ctx, f.secret, &secret)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read Secret %s: %w", f.secret, err)
	}
	known := map[string][]byte{}
	for _, name := range allFiles {
		if data, ok := secret.Data[name]; ok {
			known[name] = data
		}
	}
	own, err := certificate.Of(f.get(certificateFile), f.get(keyFile))
	if err != nil {
		return f.write(known)
	}
	mirrored, err := certificate.Of(known[certificateFile], known[keyFile])
	if err != nil || !mirrored.NotAfter.After(own.NotAfter) {
		return nil
	}
	return f.write(known)
}

// get reads a file, nil when there is none.
func (f *files) get(name string) []byte {
	data, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		return nil
	}
	return data
}

// put writes files, a nil one away. Certificate and key are put together, or neither.
func (f *files) put(ctx context.Context, content map[string][]byte) error {
	if err := f.write(content); err != nil {
		return err
	}
	if f.secret.Name == "" {
		return nil
	}
	return f.mirror(ctx)
}

func (f *files) write(content map[string][]byte) error {
	if content[certificateFile] != nil {
		if err := f.writePair(content[certificateFile], content[keyFile]); err != nil {
			return fmt.Errorf("store the certificate: %w", err)
		}
	}
	for name, data := range content {
		if name == certificateFile || name == keyFile {
			continue
		}
		path := filepath.Join(f.dir, name)
		if data == nil {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove %s: %w", name, err)
			}
			continue
		}
		if bytes.Equal(f.get(name), data) {
			continue
		}
		if err := replace(path, data); err != nil {
			return fmt.Errorf("store %s: %w", name, err)
		}
	}
	return nil
}

// current is a link to the folder with the certificate that counts; tls.crt and tls.key lead through it. To point it
// elsewhere is one rename, so that nobody ever finds a certificate with another's key.
const current = "..certificate"

func (f *files) writePair(issued, key []byte) error {
	before, _ := os.Readlink(filepath.Join(f.dir, current))
	folder, err := os.MkdirTemp(f.dir, current+"-")
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{certificateFile: issued, keyFile: key} {
		if err := store(filepath.Join(folder, name), data); err != nil {
			return err
		}
	}
	if err := syncDir(folder); err != nil {
		return err
	}
	if err := relink(filepath.Base(folder), filepath.Join(f.dir, current)); err != nil {
		return err
	}
	for _, name := range []string{certificateFile, keyFile} {
		want := filepath.Join(current, name)
		if have, _ := os.Readlink(filepath.Join(f.dir, name)); have == want {
			continue
		}
		if err := relink(want, filepath.Join(f.dir, name)); err != nil {
			return err
		}
	}
	if err := syncDir(f.dir); err != nil { // the old pair goes when the disk has the new one
		return err
	}
	if before == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(f.dir, filepath.Base(before)))
}

func relink(target, path string) error {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func replace(path string, data []byte) error {
	if err := store(path+".new", data); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// store writes a file and waits for the disk. An agent whose key is gone after a power failure would be a stranger to its hub.
func store(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// mirror makes the Secret equal to the directory. Keys that are not the agent's stay.
func (f *files) mirror(ctx context.Context) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.secret.Namespace, Name: f.secret.Name}}
	err := f.cluster.Get(ctx, f.secret, secret)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read Secret %s: %w", f.secret, err)
	}
	missing := err != nil
	data := map[string][]byte{}
	for name, value := range secret.Data {
		if !slices.Contains(allFiles, name) {
			data[name] = value
		}
	}
	for _, name := range allFiles {
		if value := f.get(name); value != nil {
			data[name] = value
		}
	}
	secret.Data = data
	if missing {
		err = f.cluster.Create(ctx, secret)
	} else {
		err = f.cluster.Update(ctx, secret)
	}
	if err != nil {
		return fmt.Errorf("write Secret %s: %w", f.secret, err)
	}
	return nil
}
