package fleet

import (
	"errors"
	"io/fs"
)

// Unreadable is the fault of content that is there and cannot be read: a link that leads nowhere, or a storage that fails.
func Unreadable(file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return Fault{Reason: ContentRefused, ActionRequiredBy: User, File: file, Message: "cannot be read: a link that leads nowhere in the repository", Err: err}
	}
	if f, ok := AsFault(err); ok {
		return f
	}
	return Fault{Reason: SourceUnavailable, ActionRequiredBy: Controller, File: file, Message: "cannot be read: " + err.Error(), Err: err}
}
