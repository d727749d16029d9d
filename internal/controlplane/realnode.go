package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// Programs of a real node.
const (
	containerdProgram = "containerd"
	shimProgram       = "containerd-shim-runc-v2"
	ctrProgram        = "ctr"
	kubeletProgram    = "kubelet"

	// sandboxImage is what holds the namespaces of a pod; its tar lies beside the programs.
	sandboxImage = "ghcr.io/muster-io/muster-pause:1"
	sandboxFile  = "muster-pause-1.tar"

	secureAPIPort = 443 // of the service kubernetes, by which pods find the API server
)

// RealNode is a node of this machine: a kubelet and containerd, whose pods are real containers. It needs root on Linux.
//
// The node has a network namespace of its own, behind a pair of virtual interfaces, so that its ports, host ports of pods included, are not
// the machine's. The API server of its control plane listens at the address of the service kubernetes, which is one of the
// machine's loopback interface: pods reach it there as in any cluster, and nobody from outside the machine does.
type RealNode struct {
	Programs string   // the folder that `make node` makes
	Images   []string // files with images that pods find without a registry
	Outside  bool     // pods and image pulls reach what the machine reaches: it forwards and masquerades for them
}

// pluginFolders are where distributions put the CNI plug-ins.
var pluginFolders = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// plugins of CNI that pods' networks are made with.
var plugins = []string{"ptp", "host-local", "loopback"}

// Missing says what this machine lacks for a real node, each with the next step. It is nil when a node can run.
func (n RealNode) Missing() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("a real node needs Linux, and this is %s", runtime.GOOS)
	}
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("a real node needs root: run this as root"))
	}
	for _, program := range []struct{ name, from string }{{"runc", "runc"}, {"ip", "iproute2"}} {
		if _, err := exec.LookPath(program.name); err != nil {
			errs = append(errs, fmt.Errorf("%s is missing: install the package %s", program.name, program.from))
		}
	}
	if _, err := pluginFolder(); err != nil {
		errs = append(errs, err)
	}
	for _, program := range []string{containerdProgram, shimProgram, ctrProgram, kubeletProgram, sandboxFile} {
		if !exists(filepath.Join(n.Programs, program)) {
			errs = append(errs, fmt.Errorf("%s is not in %q: build the node's programs with `make node`", program, n.Programs))
			break
		}
	}
	if len(errs) == 0 {
		if err := permitted(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func pluginFolder() (string, error) {
	for _, folder := range pluginFolders {
		complete := true
		for _, plugin := range plugins {
			complete = complete && exists(filepath.Join(folder, plugin))
		}
		if complete {
			return folder, nil
		}
	}
	return "", fmt.Errorf("the CNI plug-ins %s are in none of %s: install the package containernetworking-plugins",
		strings.Join(plugins, ", "), strings.Join(pluginFolders, ", "))
}

// place numbers the real nodes of a machine. Whatever two of them would share has the number in it.
type place int

// places is how many real nodes a machine has at most.
const places = 32

func (p place) namespace() string { return fmt.Sprintf("muster-%d", p) }
func (p place) namespaceFile() string {
	return "/run/netns/" + p.namespace()
}
func (p place) link() string     { return fmt.Sprintf("muster%d", p) } // as it is named when it is made
func (p place) dir() string      { return fmt.Sprintf("/run/muster-node-%d", p) }
func (p place) socket() string   { return filepath.Join(p.dir(), "containerd.sock") }
func (p place) machine() string  { return fmt.Sprintf("10.89.%d.1", p) } // this end of the link
func (p place) node() string     { return fmt.Sprintf("10.89.%d.2", p) } // the other end
func (p place) pods() string     { return fmt.Sprintf("10.88.%d.0/24", p) }
func (p place) services() string { return fmt.Sprintf("10.%d.0.0/16", 96+p) }
func (p place) service() string  { return fmt.Sprintf("10.%d.0.1", 96+p) } // of the service kubernetes

// startRealNode starts containerd, gives it the images, starts the kubelet, and returns when the node is ready.
func (c *ControlPlane) startRealNode(ctx context.Context) error {
	s, p := c.site, *c.site.state.Place
	if err := c.startContainerd(ctx, p); err != nil {
		return err
	}
	for _, file := range append([]string{filepath.Join(s.Node.Programs, sandboxFile)}, s.Node.Images...) {
		if err := importImages(ctx, s.Node, p, file); err != nil {
			return err
		}
		s.report("images of %s imported", filepath.Base(file))
	}
	kubeconfig, err := c.component(kubeletProgram)
	if err != nil {
		return err
	}
	config := s.in("kubelet.yaml")
	data, err := yaml.Marshal(c.kubeletConfiguration(p))
	if err != nil {
		return err
	}
	if err := writeFile(config, data); err != nil {
		return err
	}
	clients, err := dynamic.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	return s.execute(ctx, execution{
		program: kubeletProgram, path: filepath.Join(s.Node.Programs, kubeletProgram), namespace: p.namespaceFile(),
		args: []string{
			"--kubeconfig=" + kubeconfig, "--config=" + config, "--root-dir=" + s.in(kubeletProgram), "--hostname-override=" + nodeName,
			"--node-ip=" + p.node(),
		},
	}, func(ctx context.Context) error {
		node, err := clients.Resource(nodeResource).Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return schedulable(node)
	})
}

// kubeletConfiguration is for any machine that can run containers: cgroups of either version, swap or not. Pods have no cgroups
// above those of their containers, since a kubelet removes such cgroups of pods that it does not know: those of another node.
func (c *ControlPlane) kubeletConfiguration(p place) map[string]any {
	return map[string]any{
		"apiVersion":     "kubelet.config.k8s.io/v1beta1",
		"kind":           "KubeletConfiguration",
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": false}, "x509": map[string]any{"clientCAFile": c.clientCA.certFile}},
		"authorization":  map[string]any{"mode": "Webhook"},
		"cgroupDriver":   "cgroupfs", "cgroupsPerQOS": false, "enforceNodeAllocatable": []string{},
		"failCgroupV1": false, "failSwapOn": false,
		"localStorageCapacityIsolation": false,
		"evictionHard": map[string]any{
			"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
		},
		"imageGCHighThresholdPercent": 100, // images that were imported cannot be pulled again
		"containerRuntimeEndpoint":    "unix://" + p.socket(),
		"podLogsDir":                  c.site.in("pods"),
	}
}

// startContainerd starts the container runtime with files of its own.
func (c *ControlPlane) startContainerd(ctx context.Context, p place) error {
	s := c.site
	folder, err := pluginFolder()
	if err != nil {
		return err
	}
	networks := s.in("cni")
	if err := os.MkdirAll(networks, 0o700); err != nil {
		return err
	}
	network := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipMasq": false, "ipam":
  {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`, s.in("cni", "addresses"), p.pods())
	if err := writeFile(filepath.Join(networks, "10-pods.conflist"), []byte(network)); err != nil {
		return err
	}
	config := s.in("containerd.toml")
	if err := writeFile(config, []byte(containerdConfiguration(s.in("containerd"), networks, folder, snapshotter(s.Dir), p))); err != nil {
		return err
	}
	return s.execute(ctx, execution{
		program: containerdProgram, path: filepath.Join(s.Node.Programs, containerdProgram), namespace: p.namespaceFile(),
		args: []string{"--config=" + config},
		env:  []string{"PATH=" + s.Node.Programs + string(os.PathListSeparator) + os.Getenv("PATH")}, // for the shim
	}, func(ctx context.Context) error {
		out, err := ctr(ctx, s.Node, p, "version")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func containerdConfiguration(root, networks, plugins, snapshotter string, p place) string {
	return fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs"]
[grpc]
  address = %q
[plugins."io.containerd.cri.v1.images"]
  snapshotter = %q
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %q
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true # root of a container may not lower it
  netns_mounts_under_state_dir = true # where they are found when the node has ended
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%q]
    conf_dir = %q
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    snapshotter = %q
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      Root = %q
`, root, filepath.Join(p.dir(), "state"), p.socket(), snapshotter, sandboxImage, plugins, networks, snapshotter, filepath.Join(p.dir(), "runc"))
}

// importImages gives a file with images to containerd, in the namespace that the kubelet looks in.
func importImages(ctx context.Context, n *RealNode, p place, file string) error {
	out, err := ctr(ctx, n, p, "images", "import", "--no-unpack", file)
	if err != nil {
		return fmt.Errorf("import the images of %s: %w: %s", file, err, out)
	}
	return nil
}

func ctr(ctx context.Context, n *RealNode, p place, args ...string) (string, error) {
	command := exec.CommandContext(ctx, filepath.Join(n.Programs, ctrProgram), append([]string{"--address", p.socket(), "--namespace", "k8s.io"}, args...)...)
	out, err := command.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
