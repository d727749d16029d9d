package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is files by their paths, without a leading slash. A path that ends in a slash is a folder.
type tree map[string]file

type file struct {
	data []byte
	mode int64
}

// paths are those of the files and of the folders that they lie in, each folder before what is in it.
func (t tree) paths() []string {
	all := map[string]bool{}
	for name := range t {
		all[name] = true
		for dir := path.Dir(strings.TrimSuffix(name, "/")); dir != "."; dir = path.Dir(dir) {
			all[dir+"/"] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// tar writes the tree with the owner root and one time.
func (t tree) tar(w io.Writer, when time.Time) error {
	tw := tar.NewWriter(w)
	for _, name := range t.paths() {
		header := &tar.Header{Name: name, ModTime: when, Format: tar.FormatPAX, Typeflag: tar.TypeReg, Mode: t[name].mode, Size: int64(len(t[name].data))}
		if strings.HasSuffix(name, "/") {
			header.Typeflag, header.Size = tar.TypeDir, 0
			if header.Mode == 0 {
				header.Mode = 0o755
			}
		}
		if err := tw.WriteHeader(header); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := tw.Write(t[name].data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return tw.Close()
}

func (t tree) tarball(when time.Time) ([]byte, error) {
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	gz.ModTime = time.Time{}
	if err := t.tar(gz, when); err != nil {
		return nil, err
	}
	err := gz.Close()
	return b.Bytes(), err
}

func (t tree) zip(when time.Time) ([]byte, error) {
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for _, name := range t.paths() {
		if strings.HasSuffix(name, "/") {
			continue
		}
		w, err := zw.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: when})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(t[name].data); err != nil {
			return nil, err
		}
	}
	err := zw.Close()
	return b.Bytes(), err
}
