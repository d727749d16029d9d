package source

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
)

// The bounds of an archive that is fetched.
const (
	DefaultMaxArchive = 20 << 20  // bytes as it is sent
	maxUnpacked       = 100 << 20 // bytes of all its files, as Helm allows
	maxArchiveFiles   = 10_000
)

// errArchive is an archive that is not unpacked; its text says why.
type errArchive string

func (e errArchive) Error() string { return string(e) }

func archiveFault(format string, args ...any) error { return errArchive(fmt.Sprintf(format, args...)) }

// unpack reads a gzipped tar. What could lead out of it, and what is larger than the bounds, is an error. Strip is how many
// folders are taken off the names: a chart is in a folder of its own.
func unpack(from io.Reader, strip int) (map[string][]byte, error) {
	unzipped, err := gzip.NewReader(from)
	if err != nil {
		return nil, archiveFault("it is no gzipped archive")
	}
	files := map[string][]byte{}
	left := int64(maxUnpacked)
	entries := 0
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, archiveFault("the archive is damaged: %v", err)
		}
		if entries++; entries > maxArchiveFiles {
			return nil, archiveFault("the archive holds more than %d files", maxArchiveFiles)
		}
		name, err := entryName(header.Name, strip)
		if err != nil {
			return nil, err
		}
		if left -= header.Size; left < 0 { // what is passed over is unpacked too
			return nil, archiveFault("the archive holds more than %d MiB of files", maxUnpacked>>20)
		}
		switch {
		case header.Typeflag == tar.TypeXGlobalHeader || header.FileInfo().IsDir() || name == "":
			continue
		case header.Typeflag != tar.TypeReg:
			return nil, archiveFault("the archive holds %q, which is a link or a device: pack files only", header.Name)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return nil, archiveFault("the archive is damaged: %v", err)
		}
		files[name] = data
	}
	if len(files) == 0 {
		return nil, archiveFault("the archive holds no files")
	}
	for name := range files {
		for above := path.Dir(name); above != "."; above = path.Dir(above) {
			if _, isFile := files[above]; isFile {
				return nil, archiveFault("the archive holds %q as a file and as a folder", above)
			}
		}
	}
	return files, nil
}

// entryName is a name in an archive without its first folders; empty for those themselves.
func entryName(name string, strip int) (string, error) {
	parts := strings.Split(strings.ReplaceAll(name, `\`, "/"), "/")
	if parts[0] == "" || slices.Contains(parts, "..") || strings.Contains(parts[0], ":") {
		return "", archiveFault("the archive holds %q, which leads out of it", name)
	}
	clean := path.Clean(strings.Join(parts, "/"))
	if clean == "." {
		return "", nil
	}
	parts = strings.Split(clean, "/")
	if len(parts) <= strip {
		return "", nil
	}
	clean = strings.Join(parts[strip:], "/")
	if !fs.ValidPath(clean) {
		return "", archiveFault("the archive holds the impossible name %q", name)
	}
	return clean, nil
}

// keepFiles writes files into one file that can be read as a Tree, in one step.
func keepFiles(file string, files map[string][]byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return writeWhole(file, func(to io.Writer) error {
		archive := zip.NewWriter(to)
		for _, name := range slices.Sorted(maps.Keys(files)) {
			w, err := archive.Create(name)
			if err != nil {
				return err
			}
			if _, err := w.Write(files[name]); err != nil {
				return err
			}
		}
		return archive.Close()
	})
}

// writeWhole writes a file such that it is there as a whole or not at all.
func writeWhole(file string, write func(io.Writer) error) error {
	temporary, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(temporary), temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

// keptTree is what keepFiles wrote. Its files never change: their hashes follow from the digest of the whole.
type keptTree struct {
	*zip.Reader
	digest string
}

var _ fleet.Tree = (*keptTree)(nil)

// openKept opens a file that keepFiles wrote. The file is closed when nothing uses the tree any more.
func openKept(file, digest string) (fleet.Tree, error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	reader, err := zip.NewReader(opened, info.Size())
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return &keptTree{reader, digest}, nil
}

// ReadFile implements fleet.Tree.
func (t *keptTree) ReadFile(name string) ([]byte, error) { return fs.ReadFile(t.Reader, name) }

// ReadDir implements fleet.Tree.
func (t *keptTree) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(t.Reader, name) }

// Hash implements fleet.Tree.
func (t *keptTree) Hash(name string) (string, error) {
	info, err := fs.Stat(t.Reader, name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %v %s", t.digest, info.IsDir(), name))
	return hex.EncodeToString(sum[:]), nil
}
