package fleet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/fleet"
)

// TestLinksOutOfAFolder: the message says what it is, in any depth.
func TestLinksOutOfAFolder(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"clusters", "applications"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"clusters/x.yaml": "/etc/passwd", "applications/up.yaml": "../../../x"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	defs, err := fleet.Load(t.Context(), fleet.TreeOf(root.FS()))
	if err != nil || len(defs.Faults) != 2 || defs.AbsenceProven {
		t.Fatal(err, defs.Faults)
	}
	for _, f := range defs.Faults {
		if f.Reason != fleet.ContentRefused || !strings.Contains(f.Message, "is a link, or below one, that leads out of the repository") {
			t.Errorf("got %v", f)
		}
	}
}
