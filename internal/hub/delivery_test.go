package hub_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/source"
)

// TestDeliveryIsForWhoFetched: a repository of the same URL, whose remote did not let it in, does not read the commit that
// another one fetched, whatever its status says.
func TestDeliveryIsForWhoFetched(t *testing.T) {
	root := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		command := exec.Command("git", append([]string{"-C", root, "-c", "user.name=Ann", "-c", "user.email=ann@example.com"}, args...)...)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	if err := os.WriteFile(filepath.Join(root, "muster.yaml"), []byte("apiVersion: muster.dev/v1alpha1\nkind: FleetConfiguration\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	git("add", ".")
	git("commit", "-q", "-m", "first")
	revision := git("rev-parse", "HEAD")

	store := &source.Store{Dir: t.TempDir(), Local: []string{root}}
	repository := func(name string) *musterv1alpha1.FleetRepository {
		r := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "fleet", UID: types.UID("uid-" + name)}}
		r.Spec.URL = "file://" + root
		r.Status.Revision, r.Status.FetchedRevision = revision, revision
		return r
	}
	ours, theirs := repository("ours"), repository("theirs")
	if _, err := store.Fetch(t.Context(), source.Remote{URL: ours.Spec.URL, Owner: string(ours.UID)}); err != nil {
		t.Fatal(err)
	}
	deliveries := &hub.Deliveries{Store: store}
	delivery, err := deliveries.Read(t.Context(), ours, revision)
	if err != nil {
		t.Fatal(err)
	}
	deliveries.Remember(ours, delivery)
	if _, err := deliveries.Read(t.Context(), theirs, revision); err == nil || !strings.Contains(err.Error(), "has not fetched") {
		t.Errorf("read by who did not fetch it: %v", err)
	} else if f, ok := fleet.AsFault(err); !ok || f.Reason != fleet.SourceUnavailable {
		t.Errorf("%v is not SourceUnavailable", err)
	}
}
