package source

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // the hash that Git's pack format is defined with
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	gitcache "github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// objects reads Git objects. It is safe for concurrent use; a missing object is plumbing.ErrObjectNotFound.
type objects interface {
	read(h plumbing.Hash) (plumbing.ObjectType, []byte, error)
	size(h plumbing.Hash) (int64, error)
}

// maxPacks is how many packs a mirror may have before the small ones become one.
const maxPacks = 24

// packs are the objects of a mirror. A mirror stores objects only in packs, and keeps one rule: whatever an object refers to is in
// the mirror too, because a pack is added in one step.
//
// Adding is crash-safe: pack and index are on disk before their names are, the index last. go-git's own object storage
// is not used for this, because it is not safe for concurrent use and does not wait for the disk.
type packs struct {
	dir   string // objects/pack
	bases gitcache.Object

	mu      sync.Mutex
	list    []*pack
	scanned time.Time                // the folder's time when it was last read
	extents map[plumbing.Hash]extent // of folders that are complete in the mirror, with all that is below them
}

type pack struct {
	name    string // pack-<checksum>
	objects int64
	index   *idxfile.MemoryIndex
	data    *packfile.Packfile
}

func openPacks(dir string, bases gitcache.Object) (*packs, error) {
	p := &packs{dir: dir, bases: bases}
	leftovers, err := filepath.Glob(filepath.Join(dir, "tmp_*"))
	if err != nil {
		return nil, err
	}
	for _, name := range leftovers {
		_ = os.Remove(name) // of a process that was killed
	}
	return p, p.refresh()
}

// refresh reads the folder again before a fetch: git gc, run by a person, may have removed packs.
func (p *packs) refresh() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.scan()
}

// scan reads the list of packs from the folder, if the folder changed. The caller holds the lock.
func (p *packs) scan() error {
	info, err := os.Stat(p.dir)
	if err != nil {
		return err
	}
	if info.ModTime().Equal(p.scanned) {
		return nil
	}
	indexes, err := filepath.Glob(filepath.Join(p.dir, "pack-*.idx"))
	if err != nil {
		return err
	}
	p.list = slices.DeleteFunc(p.list, func(k *pack) bool {
		gone := !slices.Contains(indexes, filepath.Join(p.dir, k.name+".idx"))
		if gone {
			_ = k.data.Close() // nobody reads it: the lock is held
			p.extents = nil
		}
		return gone
	})
	for _, file := range indexes {
		name := strings.TrimSuffix(filepath.Base(file), ".idx")
		if slices.ContainsFunc(p.list, func(k *pack) bool { return k.name == name }) {
			continue
		}
		index, err := readIndex(file)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if err := p.add(name, index); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	p.scanned = info.ModTime()
	return nil
}

func readIndex(file string) (*idxfile.MemoryIndex, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	index := idxfile.NewMemoryIndex()
	return index, idxfile.NewDecoder(f).Decode(index)
}

func (p *packs) add(name string, index *idxfile.MemoryIndex) error {
	file, err := osfs.New(p.dir, osfs.WithBoundOS()).Open(name + ".pack")
	if err != nil {
		return err
	}
	count, err := index.Count()
	if err != nil {
		return err
	}
	p.list = append(p.list, &pack{name, count, index, packfile.NewPackfileWithCache(index, nil, file, p.bases, 0)})
	return nil
}

// find finds the pack of an object, and the offset in it. The caller holds the lock.
func (p *packs) find(h plumbing.Hash) (*pack, int64, bool) {
	for i := len(p.list) - 1; i >= 0; i-- {
		if offset, err := p.list[i].index.FindOffset(h); err == nil {
			return p.list[i], offset, true
		}
	}
	return nil, 0, false
}

// locate is find. When the object is missing, it reads the folder again and tries once more.
func (p *packs) locate(h plumbing.Hash) (*pack, int64, error) {
	k, offset, ok := p.find(h)
	if !ok {
		if err := p.scan(); err != nil {
			return nil, 0, err
		}
		if k, offset, ok = p.find(h); !ok {
			return nil, 0, plumbing.ErrObjectNotFound
		}
	}
	return k, offset, nil
}

func (p *packs) has(h plumbing.Hash) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _, ok := p.find(h)
	return ok
}

func (p *packs) size(h plumbing.Hash) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, offset, err := p.locate(h)
	if err != nil {
		return 0, err
	}
	return k.data.GetSizeByOffset(offset)
}

func (p *packs) read(h plumbing.Hash) (plumbing.ObjectType, []byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, err := p.locate(h)
	if err != nil {
		return 0, nil, err
	}
	object, err := k.data.Get(h)
	if err != nil {
		return 0, nil, err
	}
	return content(object)
}

func content(object plumbing.EncodedObject) (plumbing.ObjectType, []byte, error) {
	r, err := object.Reader()
	if err != nil {
		return 0, nil, err
	}
	defer r.Close()
	data := make([]byte, object.Size())
	_, err = io.ReadFull(r, data)
	return object.Type(), data, err
}

// errTooLarge says that a transfer is larger than allowed.
var errTooLarge = errors.New("more than allowed")

// receive stores the pack that a server sends, at most limit bytes of it, and returns the number of bytes.
func (p *packs) receive(r io.Reader, limit int64) (int64, error) {
	file, err := os.CreateTemp(p.dir, "tmp_pack_")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	sum := &trailer{hash: sha1.New()} //nolint:gosec // see above
	n, err := io.Copy(io.MultiWriter(file, sum), io.LimitReader(r, limit+1))
	if err != nil {
		return n, err
	}
	if n > limit {
		return n, errTooLarge
	}
	if !sum.matches() {
		return n, fmt.Errorf("the pack that the server sent is damaged")
	}
	index, err := indexOf(file)
	if err != nil {
		return n, fmt.Errorf("index the pack: %w", err)
	}
	return n, p.install(file, index)
}

// indexOf reads a pack from its beginning to its end, and makes its index. A pack without objects has none.
func indexOf(file *os.File) (*idxfile.Writer, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	index := new(idxfile.Writer)
	parser, err := packfile.NewParser(packfile.NewScanner(file), index)
	if err != nil {
		return nil, err
	}
	_, err = parser.Parse()
	return index, err
}

// write reads the named objects from another store, and stores them as one pack.
func (p *packs) write(hashes []plumbing.Hash, from objects) (int64, error) {
	file, err := os.CreateTemp(p.dir, "tmp_pack_")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	index, n, err := encodePack(file, hashes, from)
	if err != nil {
		return 0, err
	}
	return n, p.install(file, index)
}

// encodePack writes each object in full, and holds one in memory at a time. It is meant for the few objects that one commit adds.
func encodePack(file io.Writer, hashes []plumbing.Hash, from objects) (*idxfile.Writer, int64, error) {
	sum := sha1.New() //nolint:gosec // see above
	buffered := bufio.NewWriterSize(file, 1<<16)
	w := io.MultiWriter(buffered, sum)
	header := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(hashes)))
	if _, err := w.Write(header); err != nil {
		return nil, 0, err
	}
	index, offset := new(idxfile.Writer), int64(len(header))
	if err := index.OnHeader(uint32(len(hashes))); err != nil {
		return nil, 0, err
	}
	var packed bytes.Buffer
	deflate, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	if err != nil {
		return nil, 0, err
	}
	for _, h := range hashes {
		kind, data, err := from.read(h)
		if err != nil {
			return nil, 0, fmt.Errorf("read object %s: %w", h, err)
		}
		packed.Reset()
		packed.Write(objectHeader(kind, len(data)))
		deflate.Reset(&packed)
		if _, err := deflate.Write(data); err != nil {
			return nil, 0, err
		}
		if err := deflate.Close(); err != nil {
			return nil, 0, err
		}
		index.Add(h, uint64(offset), crc32.ChecksumIEEE(packed.Bytes()))
		n, err := w.Write(packed.Bytes())
		if err != nil {
			return nil, 0, err
		}
		offset += int64(n)
	}
	checksum := plumbing.Hash(sum.Sum(nil))
	if _, err := buffered.Write(checksum[:]); err != nil {
		return nil, 0, err
	}
	return index, offset, errors.Join(buffered.Flush(), index.OnFooter(checksum))
}

// objectHeader is the type and the size of a packed object: the first byte has three bits of the type and four of the size, each
// further byte has seven of the size.
func objectHeader(kind plumbing.ObjectType, size int) []byte {
	b := []byte{byte(kind)<<4 | byte(size&0x0f)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&0x7f))
	}
	return b
}

// install renames a pack to its final name, after it is synced to disk.
func (p *packs) install(file *os.File, writer *idxfile.Writer) error {
	index, err := writer.Index()
	if err != nil {
		return err
	}
	if count, err := index.Count(); err != nil || count == 0 {
		return err
	}
	name := "pack-" + plumbing.Hash(index.PackfileChecksum).String()
	if err := errors.Join(file.Chmod(0o444), file.Sync()); err != nil {
		return err
	}
	var encoded bytes.Buffer
	if _, err := idxfile.NewEncoder(&encoded).Encode(index); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), filepath.Join(p.dir, name+".pack")); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(p.dir, name+".idx"), encoded.Bytes(), 0o444); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.list, func(k *pack) bool { return k.name == name }) {
		return nil
	}
	return p.add(name, index)
}

// writeFile replaces a file in one step: a reader finds the old or the new content, also after a crash.
func writeFile(name string, data []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(name), "tmp_")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(data)
	if err := errors.Join(err, file.Chmod(mode), file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// consolidate replaces the small packs by one when there are many. It drops no object, so that nothing delivered is lost. A pack
// is removed only after the new one is synced to disk.
func (p *packs) consolidate() error {
	small := p.small()
	if len(small) == 0 {
		return nil
	}
	added := map[plumbing.Hash]bool{}
	var hashes []plumbing.Hash
	for _, k := range small {
		entries, err := k.index.EntriesByOffset()
		if err != nil {
			return err
		}
		for {
			e, err := entries.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if !added[e.Hash] {
				added[e.Hash] = true
				hashes = append(hashes, e.Hash)
			}
		}
	}
	if _, err := p.write(hashes, p); err != nil {
		return err
	}
	return p.remove(small)
}

// small are the packs that consolidate replaces: the smallest, and then each one that is at most twice as large as the ones before
// it together, so that an object is rewritten a logarithmic number of times.
func (p *packs) small() []*pack {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) <= maxPacks {
		return nil
	}
	sorted := slices.Clone(p.list)
	slices.SortStableFunc(sorted, func(a, b *pack) int { return int(a.objects - b.objects) })
	total, n := sorted[0].objects, 1
	for n < len(sorted) && (n < maxPacks/2 || sorted[n].objects <= 2*total) {
		total += sorted[n].objects
		n++
	}
	return sorted[:n]
}

func (p *packs) remove(gone []*pack) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, k := range gone {
		p.list = slices.DeleteFunc(p.list, func(x *pack) bool { return x == k })
		for _, suffix := range []string{".idx", ".pack"} {
			if err := os.Remove(filepath.Join(p.dir, k.name+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		errs = append(errs, k.data.Close())
	}
	return errors.Join(errs...)
}

// trailer hashes all bytes but the last 20. Of an undamaged pack, those are the hash of the others.
type trailer struct {
	hash hash.Hash
	last []byte
}

func (t *trailer) Write(b []byte) (int, error) {
	n := len(b)
	if keep := 20 - n; keep < len(t.last) {
		cut := len(t.last) - max(keep, 0)
		t.hash.Write(t.last[:cut])
		t.last = append(t.last[:0], t.last[cut:]...)
	}
	if n > 20 {
		t.hash.Write(b[:n-20])
		b = b[n-20:]
	}
	t.last = append(t.last, b...)
	return n, nil
}

// matches says whether the last 20 bytes are the hash of the others.
func (t *trailer) matches() bool { return bytes.Equal(t.hash.Sum(nil), t.last) }
