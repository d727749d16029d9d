package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// enter moves the running thread, which the caller has locked and must not unlock, into a network namespace.
func enter(namespace string) error {
	file, err := os.Open(namespace)
	if err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", namespace, err)
	}
	return nil
}

// permitted tries what containers are made with: namespaces, and a group of processes. A container that is not privileged may do neither,
// not even as root.
func permitted() error {
	probe := exec.Command("ip", "-V")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS}
	if err := probe.Run(); err != nil {
		return fmt.Errorf("this machine makes no namespaces for containers (%w): run this outside of a container, or in a privileged one", err)
	}
	groups := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(groups, "cgroup.controllers")); err != nil {
		groups = filepath.Join(groups, "memory") // version 1
	}
	group, err := os.MkdirTemp(groups, "muster-probe-")
	if err != nil {
		return fmt.Errorf("this machine makes no control groups for containers (%w): run this outside of a container, or in a privileged one", err)
	}
	return os.Remove(group)
}

// snapshotter is how containerd keeps the file systems of containers: an overlay cannot lie on another one.
func snapshotter(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}

// ownerFile names, in a place's folder, the directory of the control plane that has it.
const ownerFile = "owner"

// takePlace gives the control plane a place for its node, the one that it had before if it can, with its network.
func (s *site) takePlace(ctx context.Context) error {
	if err := s.Node.Missing(); err != nil {
		return err
	}
	candidates := make([]place, places)
	for i := range candidates {
		candidates[i] = place(i)
	}
	if s.state.Place != nil {
		candidates = []place{*s.state.Place} // clients know its address
	}
	for _, p := range candidates {
		taken, err := p.claim(s.Dir)
		if err != nil {
			return err
		}
		if !taken {
			continue
		}
		s.state.Place = &p
		if err := p.connect(ctx); err != nil || !s.Node.Outside {
			return err
		}
		if err := p.openOutside(ctx); err != nil {
			s.report("pods reach this machine only: %v", err)
		}
		return nil
	}
	return fmt.Errorf("no place for a real node is free: %s names who has the first one", filepath.Join(candidates[0].dir(), ownerFile))
}

// claim makes a place the one of a directory. One whose owner does not run is cleared.
func (p place) claim(dir string) (bool, error) {
	unlock, err := lockPlaces()
	if err != nil {
		return false, err
	}
	defer unlock()
	owner, err := p.owner()
	switch {
	case err != nil:
		return false, err
	case owner == dir:
		return true, nil
	case owner != "" && runs(owner):
		return false, nil
	case owner != "":
		if err := p.remove(owner); err != nil {
			return false, fmt.Errorf("clear what is left of %s: %w", owner, err)
		}
	}
	if err := os.MkdirAll(p.dir(), 0o700); err != nil {
		return false, err
	}
	return true, writeFile(filepath.Join(p.dir(), ownerFile), []byte(dir))
}

// owner is the directory of the control plane that has the place, empty when none has.
func (p place) owner() (string, error) {
	owner, err := os.ReadFile(filepath.Join(p.dir(), ownerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(owner), err
}

// placesLock is held while a place is taken or cleared: two programs that start at the same time take two.
const placesLock = "/run/muster-nodes.lock"

func lockPlaces() (unlock func(), err error) {
	f, err := os.OpenFile(placesLock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", placesLock, err), f.Close())
	}
	return func() { f.Close() }, nil
}

// runs says whether a program of the control plane in a directory runs, or is being started.
func runs(dir string) bool {
	lock, err := acquire(filepath.Join(dir, lockFile))
	if errors.Is(err, ErrInUse) {
		return true
	}
	if err == nil {
		lock.Close()
	}
	recorded, err := readProcesses(dir)
	return err == nil && slices.ContainsFunc(recorded, Process.Alive)
}

// connect makes the place's network namespace and the link to it, and the address of the API server. What is there already stays: an
// earlier start may have come half way.
func (p place) connect(ctx context.Context) error {
	if !exists(p.namespaceFile()) || ip(ctx, "-n "+p.namespace()+" link show lo") != nil {
		if err := errors.Join(p.disconnect(), os.RemoveAll(p.namespaceFile()), ip(ctx, "netns add "+p.namespace())); err != nil {
			return err
		}
	}
	link, err := p.ownLink()
	if err != nil {
		if err := ip(ctx, "link add "+p.link()+" type veth peer name eth0 netns "+p.namespace()); err != nil {
			return err
		}
		if link, err = p.ownLink(); err != nil {
			return err
		}
	}
	for _, command := range []string{
		"-n " + p.namespace() + " link set lo up",
		"address replace " + p.machine() + "/30 dev " + link,
		"link set " + link + " up",
		"-n " + p.namespace() + " address replace " + p.node() + "/30 dev eth0",
		"-n " + p.namespace() + " link set eth0 up",
		"-n " + p.namespace() + " route replace default via " + p.machine(),
		"route replace " + p.pods() + " via " + p.node(),
		"address replace " + p.service() + "/32 dev lo",
	} {
		if err := ip(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

// ip runs the program of that name.
func ip(ctx context.Context, command string) error {
	out, err := exec.CommandContext(ctx, "ip", strings.Fields(command)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// peerIndex is in what ip says of one end of a link: the number of the other one.
var peerIndex = regexp.MustCompile(`eth0@if(\d+):`)

// ownLink is the name of this end of the place's link, whoever has named it: the other end of what is eth0 in its namespace.
func (p place) ownLink() (string, error) {
	out, err := exec.Command("ip", "-n", p.namespace(), "-oneline", "link", "show", "eth0").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("find the link of %s: %w: %s", p.namespace(), err, strings.TrimSpace(string(out)))
	}
	found := peerIndex.FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("find the link of %s: eth0 is no end of a link: %s", p.namespace(), out)
	}
	index, err := strconv.Atoi(string(found[1]))
	if err != nil {
		return "", err
	}
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return "", fmt.Errorf("find the link of %s: %w", p.namespace(), err)
	}
	return link.Name, nil
}

// masquerade are the rules of iptables by which the node and its pods have the machine's address outside.
func (p place) masquerade(do, link string) [][]string {
	var rules [][]string
	for _, source := range []string{p.node() + "/32", p.pods()} {
		rules = append(rules, []string{"--wait", "--table", "nat", do, "POSTROUTING", "--source", source, "!", "--out-interface", link, "--jump", "MASQUERADE"})
	}
	return rules
}

// openOutside lets the machine forward for the node.
func (p place) openOutside(ctx context.Context) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	link, err := p.ownLink()
	if err != nil {
		return err
	}
	add := p.masquerade("--append", link)
	for i, check := range p.masquerade("--check", link) {
		if exec.CommandContext(ctx, "iptables", check...).Run() == nil {
			continue
		}
		if out, err := exec.CommandContext(ctx, "iptables", add[i]...).CombinedOutput(); err != nil {
			return fmt.Errorf("iptables: %w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// disconnect removes the network.
func (p place) disconnect() error {
	var errs []error
	if link, err := p.ownLink(); err == nil {
		for _, rule := range p.masquerade("--delete", link) {
			_ = exec.Command("iptables", rule...).Run() // not there without Outside
		}
		errs = append(errs, ip(context.Background(), "link delete "+link))
	}
	if exists(p.namespaceFile()) {
		errs = append(errs, ip(context.Background(), "netns delete "+p.namespace()))
	}
	_ = ip(context.Background(), "address delete "+p.service()+"/32 dev lo") // not there when connect has failed
	return errors.Join(errs...)
}

// clear removes what the control plane of a directory has made outside of it. A place that has become another one's by now stays.
func (p place) clear(dir string) error {
	unlock, err := lockPlaces()
	if err != nil {
		return err
	}
	defer unlock()
	owner, err := p.owner()
	if err != nil {
		return err
	}
	if owner != dir {
		return unmountBelow(dir)
	}
	return p.remove(dir)
}

// remove ends the containers of a place, whose kubelet and containerd have ended, and removes what its owner has made outside of dir.
func (p place) remove(dir string) error {
	errs := []error{p.endContainers()}
	for _, folder := range []string{dir, p.dir()} {
		errs = append(errs, unmountBelow(folder))
	}
	return errors.Join(append(errs, p.disconnect(), os.RemoveAll(p.dir()))...)
}

// endContainers kills the containers of a place: the children of its shims, which outlive containerd.
func (p place) endContainers() error {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	shims := map[int]bool{}
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		if line := strings.Fields(commandLine(pid)); len(line) > 0 && filepath.Base(line[0]) == shimProgram && slices.Contains(line, p.socket()) {
			shims[pid] = true
		}
	}
	var groups []string
	var ended []int
	for _, folder := range folders {
		pid, _ := strconv.Atoi(filepath.Base(folder))
		if !shims[parent(pid)] {
			continue
		}
		groups = append(groups, cgroupsOf(pid)...)
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		ended = append(ended, pid)
	}
	for pid := range shims {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		ended = append(ended, pid)
	}
	for deadline := time.Now().Add(stopGrace); time.Now().Before(deadline); time.Sleep(pollInterval) {
		if !slices.ContainsFunc(ended, func(pid int) bool { return commandLine(pid) != "" }) {
			break
		}
	}
	for _, group := range groups {
		_ = os.Remove(group) // others may be in it
	}
	return nil
}

// parent is the process that started another one, or -1.
func parent(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return -1
	}
	_, after, _ := strings.Cut(string(data), ") ") // the name may have anything in it
	fields := strings.Fields(after)
	if len(fields) < 2 {
		return -1
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return -1
	}
	return ppid
}

// cgroupsOf are the folders of the cgroups that a container's first process is in, of either version.
func cgroupsOf(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil
	}
	var groups []string
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 || parts[2] == "/" {
			continue
		}
		controller := strings.TrimPrefix(parts[1], "name=")
		for _, root := range []string{filepath.Join("/sys/fs/cgroup", controller), "/sys/fs/cgroup/unified"} {
			groups = append(groups, filepath.Join(root, parts[2]))
		}
	}
	return groups
}

// unmountBelow unmounts what is mounted below a folder, the last one first.
func unmountBelow(folder string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, line := range slices.Backward(lines) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], folder+"/") {
			continue
		}
		if err := unix.Unmount(fields[4], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", fields[4], err))
		}
	}
	return errors.Join(errs...)
}
