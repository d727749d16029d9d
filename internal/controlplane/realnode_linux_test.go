package controlplane

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPlaceIsItsOwners: a place belongs to one directory. Another one takes it when its owner does not run any more, the earlier owner
// then leaves it alone, and what is half made of its network is made whole.
func TestPlaceIsItsOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the network of a node is made by root")
	}
	if err := permitted(); err != nil {
		t.Skip(err)
	}
	p := place(places - 1)
	if exists(p.dir()) {
		t.Skipf("%s is there: somebody has the place", p.dir())
	}
	first, second := t.TempDir(), t.TempDir()
	take := func(dir string, want bool) {
		t.Helper()
		if got, err := p.claim(dir); err != nil || got != want {
			t.Fatalf("%s takes the place: %v, %v", dir, got, err)
		}
	}
	connect := func() {
		t.Helper()
		if err := p.connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"route get " + p.node(), "-n " + p.namespace() + " route get " + p.service(), "address show to " + p.service() + "/32"} {
			if err := ip(t.Context(), command); err != nil {
				t.Error(err)
			}
		}
	}
	lock, err := acquire(filepath.Join(first, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	take(first, true)
	t.Cleanup(func() {
		if err := p.remove(second); err != nil {
			t.Error(err)
		}
	})
	take(first, true)
	take(second, false) // the first one runs
	connect()
	connect()
	link, err := p.ownLink()
	if err != nil {
		t.Fatal(err)
	}
	for name, breaking := range map[string]string{
		"no link": "link delete " + link, "a link that is down": "link set " + link + " down", "no address": "-n " + p.namespace() + " address flush dev eth0",
		"no address of the API server": "address delete " + p.service() + "/32 dev lo",
		"another name":                 "link set " + link + " name renamed31",
	} {
		t.Run(name, func(t *testing.T) {
			if err := ip(t.Context(), breaking); err != nil {
				t.Fatal(err)
			}
			connect()
			if renamed, err := p.ownLink(); err != nil {
				t.Error(err)
			} else if renamed != link {
				for _, command := range []string{"link set " + renamed + " down", "link set " + renamed + " name " + link} {
					if err := ip(t.Context(), command); err != nil {
						t.Error(err)
					}
				}
				connect()
			}
		})
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	take(second, true)
	connect()
	if err := p.clear(first); err != nil {
		t.Error(err)
	}
	if owner, err := p.owner(); err != nil || owner != second {
		t.Errorf("after the first one's end the place is %q's, %v", owner, err)
	}
	connect()
	if err := p.clear(second); err != nil {
		t.Error(err)
	}
	for _, path := range []string{p.dir(), p.namespaceFile()} {
		if exists(path) {
			t.Errorf("%s is left", path)
		}
	}
	if ip(t.Context(), "link show "+link) == nil {
		t.Errorf("link %s is left", link)
	}
}
