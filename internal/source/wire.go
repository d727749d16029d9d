package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// conn is a connection to a remote: it lists the refs, then fetches the missing objects.
type conn interface {
	refs(ctx context.Context) (offer, error)
	fetch(ctx context.Context, m *mirror, wants []wanted, limit int64) (bytes int64, err error)
	close()
}

// connect opens the connection. It reads only what the scheme needs; Remote.check has refused the rest.
func (s *Store) connect(ctx context.Context, addr address, c Credentials, insecure bool) (conn, error) {
	switch addr.scheme {
	case "file":
		return openRemoteFolder(s, addr.path)
	case "ssh":
		session, err := dialSSH(ctx, addr, c)
		return &wire{session: session}, err
	}
	session, err := s.web.session(addr, c, insecure)
	return &wire{session: session}, err
}

// offer lists the refs of a remote.
type offer struct {
	named     map[plumbing.ReferenceName]plumbing.Hash
	head      plumbing.Hash // of the default branch; zero when that has no commit
	anyCommit bool          // a commit may be asked for that no ref names
}

// wanted is the object to fetch.
type wanted struct {
	object plumbing.Hash          // a commit or an annotated tag
	ref    plumbing.ReferenceName // that names it; empty for a commit
	ask    []plumbing.Hash        // the objects to ask the server for, so that it sends object
}

// errEmpty is a repository without any commit.
type errEmpty struct{}

func (errEmpty) Error() string {
	return "is empty: push a commit; until then everything stays as it was delivered"
}

// choose finds a ref in the offer. Its errors continue a sentence whose subject is the repository.
func (o offer) choose(r Ref) (wanted, error) {
	if len(o.named) == 0 {
		return wanted{}, errEmpty{}
	}
	if r.Commit != "" {
		return o.chooseCommit(plumbing.NewHash(r.Commit)), nil
	}
	name := r.name()
	if name == "" {
		if o.head.IsZero() {
			return wanted{}, fmt.Errorf("has no commit on its default branch: set a branch; %s", o.list("refs/heads/"))
		}
		return wanted{object: o.head, ref: plumbing.HEAD, ask: []plumbing.Hash{o.head}}, nil
	}
	h, ok := o.named[name]
	if !ok {
		prefix := strings.TrimSuffix(string(name), name.Short())
		return wanted{}, fmt.Errorf("has no %s: correct the name or push it; %s", r, o.list(prefix))
	}
	return wanted{object: h, ref: name, ask: []plumbing.Hash{h}}, nil
}

// chooseCommit asks for the commit itself where the server allows that, else for everything that might contain it.
func (o offer) chooseCommit(h plumbing.Hash) wanted {
	tips := slices.Collect(maps.Values(o.named))
	if o.anyCommit || slices.Contains(tips, h) {
		return wanted{object: h, ask: []plumbing.Hash{h}}
	}
	var ask []plumbing.Hash
	for name, tip := range o.named {
		if (name.IsBranch() || name.IsTag()) && !slices.Contains(ask, tip) {
			ask = append(ask, tip)
		}
	}
	plumbing.HashesSort(ask)
	return wanted{object: h, ask: ask}
}

// list names some of the refs below a prefix.
func (o offer) list(prefix string) string {
	const most = 8
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o.named)) {
		if short, ok := strings.CutPrefix(string(name), prefix); ok {
			names = append(names, short)
		}
	}
	switch {
	case len(names) == 0:
		return "it has none"
	case len(names) > most:
		return fmt.Sprintf("it has %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "it has " + strings.Join(names, ", ")
}

// uploader is go-git's client side of git-upload-pack: go-git has it for http, this package for ssh.
type uploader interface {
	AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error)
	UploadPack(ctx context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	Close() error
}

// wire speaks Git's protocol. go-git's own Remote.Fetch is not used, because it asks for the refs anew for every
// question, has no bound on what it receives, and tells the server about a few commits only.
type wire struct {
	session uploader
	can     *capability.List
}

func (w *wire) close() { _ = w.session.Close() }

func (w *wire) refs(ctx context.Context) (offer, error) {
	adv, err := w.session.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return offer{}, nil
	}
	if err != nil {
		return offer{}, err
	}
	w.can = adv.Capabilities
	o := offer{
		named:     map[plumbing.ReferenceName]plumbing.Hash{},
		anyCommit: w.can.Supports(capability.AllowReachableSHA1InWant) || w.can.Supports("allow-any-sha1-in-want"),
	}
	for name, h := range adv.References {
		o.named[plumbing.ReferenceName(name)] = h
	}
	if adv.Head != nil {
		o.head = *adv.Head
	}
	return o, nil
}

func (w *wire) fetch(ctx context.Context, m *mirror, wants []wanted, limit int64) (int64, error) {
	request := packp.NewUploadPackRequestFromCapabilities(w.can)
	if w.can.Supports(capability.NoProgress) {
		if err := request.Capabilities.Set(capability.NoProgress); err != nil {
			return 0, err
		}
	}
	var refs []plumbing.ReferenceName
	for _, want := range wants {
		refs = append(refs, want.ref)
		for _, h := range want.ask {
			if !m.packs.has(h) && !slices.Contains(request.Wants, h) {
				request.Wants = append(request.Wants, h)
			}
		}
	}
	if len(request.Wants) == 0 {
		return 0, nil // all branches are here and the commit is on none: check returns the error
	}
	var err error
	if request.Haves, err = m.haves(refs); err != nil {
		return 0, err
	}
	response, err := w.session.UploadPack(ctx, request)
	if errors.Is(err, transport.ErrEmptyUploadPackRequest) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer response.Close()
	return m.packs.receive(unpackSideband(request.Capabilities, response), limit)
}

// unpackSideband separates the pack from the messages that the server sends with it.
func unpackSideband(used *capability.List, r io.Reader) io.Reader {
	switch {
	case used.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, r)
	case used.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, r)
	}
	return r
}

// The commits that the server is told of: every one of the newest, then fewer and fewer. After a force-push the server does not
// know the newest ones; with the older ones it still finds common history and need not send everything again.
const (
	havesDense = 32
	havesDepth = 4096
)

// haves are the commits that the server need not send: all tips, and the first parents of the refs as they were fetched last.
func (m *mirror) haves(refs []plumbing.ReferenceName) ([]plumbing.Hash, error) {
	haves, err := m.tips()
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		if ref == "" {
			continue
		}
		tip, err := m.ref(plumbing.ReferenceName(refsFetched + strings.TrimPrefix(string(ref), "refs/")))
		if err != nil {
			return haves, err
		}
		if !tip.IsZero() {
			if haves, err = m.parentsOf(tip, haves); err != nil {
				return nil, err
			}
		}
	}
	return haves, nil
}

// parentsOf adds the first parents of a commit to a list.
func (m *mirror) parentsOf(tip plumbing.Hash, haves []plumbing.Hash) ([]plumbing.Hash, error) {
	for depth, next := 0, 1; depth < havesDepth; depth++ {
		c, err := commit(m.packs, tip)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			break // the remote was shallow
		}
		if err != nil {
			return nil, err
		}
		if depth == next {
			haves = append(haves, c.Hash)
			next++
			if depth >= havesDense {
				next = depth * 2
			}
		}
		if len(c.ParentHashes) == 0 {
			break
		}
		tip = c.ParentHashes[0]
	}
	return haves, nil
}
