package embedded_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/embedded"
)

// TestMain makes this test's binary a program that does nothing until it is ended, where it is called as hub or klusterlet.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); name == "hub" || name == "klusterlet" {
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM)
		<-ended
		return
	}
	log.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// programs is a folder with a hub and a klusterlet that do nothing.
func programs(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"hub", "klusterlet"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestUpFindsTheFleet: what a folder holds is what Up brings up, whatever part of it has ended and whatever is asked.
func TestUpFindsTheFleet(t *testing.T) {
	dir, programs := t.TempDir(), programs(t)
	var said []string
	up := func(o embedded.Options) *embedded.Fleet {
		t.Helper()
		said = nil
		o.Dir, o.Programs, o.Detached = dir, programs, true
		o.Progress = func(line string) { said = append(said, line) }
		fleet, err := embedded.Up(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return fleet
	}
	t.Cleanup(func() {
		if err := embedded.Down(dir); err != nil {
			t.Error(err)
		}
	})
	first := up(embedded.Options{Clusters: []string{"one"}, Repositories: []string{"/repositories"}})
	before := pids(t, dir)

	again := up(embedded.Options{})
	if diff := cmp.Diff(before, pids(t, dir)); diff != "" {
		t.Errorf("a second up has changed what ran (-before +after):\n%s", diff)
	}
	for _, line := range said {
		if !strings.Contains(line, "already") {
			t.Errorf("nothing had to be started, and it says %q", line)
		}
	}
	if again.Clusters["one"] == nil || again.Clusters["one"].URL() != first.Clusters["one"].URL() {
		t.Fatal("the cluster is forgotten")
	}

	killed := []string{"hub", "klusterlet-one", "one/kube-apiserver"}
	for _, name := range killed {
		if err := syscall.Kill(before[name], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	up(embedded.Options{})
	after := pids(t, dir)
	for name, pid := range before {
		if started := after[name] != pid; started != slices.Contains(killed, name) {
			t.Errorf("%s: started again is %v", name, started)
		}
	}
	for _, want := range []string{"hub: controllers started", "one: kube-apiserver started again", "one: agent started", "etcd: runs already"} {
		if !slices.ContainsFunc(said, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("it does not say %q: %q", want, said)
		}
	}
	if args := arguments(t, dir, "hub"); !strings.Contains(args, "--local-repositories /repositories") {
		t.Errorf("the hub forgets where repositories may be read: %s", args)
	}

	if err := embedded.RemoveClusters(dir, "two"); err == nil || !strings.Contains(err.Error(), "it has one") {
		t.Errorf("a cluster that is not there left: %v", err)
	}
	if err := embedded.RemoveClusters(dir, "one"); err != nil {
		t.Fatal(err)
	}
	reboot(t, dir)
	rebooted := up(embedded.Options{})
	if len(rebooted.Clusters) > 0 {
		t.Error("a cluster that was taken away came back")
	}
	if rebooted.Hub.URL() != first.Hub.URL() || string(rebooted.Hub.CA()) != string(first.Hub.CA()) {
		t.Errorf("the hub has moved from %s to %s, or has another authority", first.Hub.URL(), rebooted.Hub.URL())
	}
}

// sites are the folders below a fleet's that hold control planes, by the name that a test calls their programs with.
func sites(dir string) map[string]string {
	return map[string]string{"": dir, "etcd/": filepath.Join(dir, "etcd"), "hub/": filepath.Join(dir, "hub"), "one/": filepath.Join(dir, "clusters", "one")}
}

func processes(t *testing.T, site string) []controlplane.Process {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(site, "processes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []controlplane.Process
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// pids are the numbers of the fleet's processes, all of which live.
func pids(t *testing.T, dir string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for prefix, site := range sites(dir) {
		for _, p := range processes(t, site) {
			all[prefix+p.Program] = p.PID
			if !p.Alive() {
				t.Errorf("%s%s (process %d) does not run", prefix, p.Program, p.PID)
			}
		}
	}
	return all
}

func arguments(t *testing.T, dir, program string) string {
	t.Helper()
	for _, p := range processes(t, dir) {
		if p.Program == program {
			return strings.Join(p.Args, " ")
		}
	}
	t.Fatalf("%s is not recorded", program)
	return ""
}

// reboot ends everything at once, and has another program take each number: this test's, which is not to be ended.
func reboot(t *testing.T, dir string) {
	t.Helper()
	for _, site := range sites(dir) {
		all := processes(t, site)
		for i := range all {
			if all[i].Alive() {
				if err := syscall.Kill(all[i].PID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				gone(t, all[i])
			}
			all[i].PID = os.Getpid()
		}
		data, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(site, "processes.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func gone(t *testing.T, p controlplane.Process) {
	t.Helper()
	for p.Alive() {
		select {
		case <-t.Context().Done():
			t.Fatal(fmt.Errorf("process %d does not end", p.PID))
		default:
		}
	}
}
