package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/muster-io/muster/internal/fleet"
)

// ErrUnseen says that nobody here can read an object of the hub.
var ErrUnseen = errors.New("it is on the hub and not read here")

// valuesInterval is the time between two looks at a Secret or ConfigMap that holds values: a read of the hub's own API server.
const valuesInterval = 30 * time.Second

// askValues reads an object of the hub. Nothing of it is written to disk.
func (l *Library) askValues(ctx context.Context, r *fleet.Reference) result {
	data, uid, err := map[string][]byte(nil), "", ErrUnseen
	if l.Values != nil {
		data, uid, err = l.Values(ctx, r.Namespace, *r.Values)
	}
	switch {
	case errors.Is(err, ErrUnseen):
		return result{found: &fleet.Found{
			Name: r.Name(), Digest: "unknown", Values: &fleet.HeldValues{Unseen: true},
			Problem: "it is on the hub and not read here: placeholders stand for values with a targetPath, others are left out (--secrets FILE gives them)",
		}}
	case errors.Is(err, fs.ErrNotExist):
		return result{err: fleet.Reject(fleet.ContentMissing, fmt.Errorf("%s, which valuesFrom names, is not on the hub: create it, or mark the entry optional", r.From()))}
	case errors.Is(err, fs.ErrPermission):
		return result{err: fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s, which valuesFrom names, is not read: %w", r.From(), err))}
	case err != nil:
		return result{err: fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("read %s: %w", r.From(), err))}
	}
	return result{found: &fleet.Found{Name: r.Name(), Digest: fleet.ValuesDigest(uid, data), Values: &fleet.HeldValues{Data: data}}}
}

// keepValues takes what an object of the hub says now. One that is gone, or that the hub may not read any more, has no values: the works
// that were made of it stay.
func (l *Library) keepValues(h *holding, res result) bool {
	f, _ := fleet.AsFault(res.err)
	switch {
	case res.err == nil && h.found != nil && h.found.Same(res.found):
		return l.change(h, nil, h.found, nil)
	case res.err == nil:
		return l.change(h, nil, res.found, nil)
	case f.ActionRequiredBy == fleet.User:
		return l.change(h, nil, nil, res.err)
	}
	return l.change(h, nil, h.found, res.err)
}
