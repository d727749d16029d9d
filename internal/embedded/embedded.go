// Package embedded runs a whole fleet on one machine: a hub and managed clusters, each with a control plane of its own, the
// hub's controllers and a klusterlet for every cluster.
//
// Everything lies in one directory: fleet.json has the settings, etcd/, hub/ and clusters/<name>/ the control planes, mirrors/ the
// hub's repositories, agents/<name>/ the files of each klusterlet, and logs/ the output of the programs. Another Up of a directory
// finds the same fleet, with its ports and authorities: it starts the programs that do not run, for whatever reason, and does not
// touch the others.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/install"
	"github.com/muster-io/muster/internal/registration"
)

// SystemNamespace is the namespace of the root repository, and of the identities that may join.
const SystemNamespace = registration.SystemNamespace

// hubName is the name of the hub's control plane.
const hubName = "hub"

// Options of a fleet.
type Options struct {
	// Dir holds the fleet.
	Dir string
	// Clusters to run, by name, in addition to those that the fleet has already. RemoveClusters removes them.
	Clusters []string
	// Real gives the clusters that are new a real node, whose pods are containers, in place of KWOK's. It needs root on Linux.
	Real bool
	// Programs is the folder with the programs hub and klusterlet; by default the folder of the running program.
	Programs string
	// Repositories are the folders below which file:// repositories may be read; nil keeps the setting of the last Up.
	Repositories []string
	// Detached lets the fleet outlive the running program, until Down.
	Detached bool
	// StatusInterval of hub and agents; zero keeps the setting of the last Up, or their default.
	StatusInterval time.Duration
	// HealthPeriod of the agents; zero keeps the setting of the last Up, or their default.
	HealthPeriod time.Duration
	// Progress is called with a line about each program that was started or ran already.
	Progress func(line string)
}

// Fleet is a running fleet.
type Fleet struct {
	Options
	etcd *controlplane.Etcd
	real []string // the clusters with a real node
	Hub  *controlplane.ControlPlane
	// Clusters by name.
	Clusters map[string]*controlplane.ControlPlane
}

// HubKubeconfig is the path of the hub administrator's kubeconfig in a fleet's directory.
func HubKubeconfig(dir string) string { return filepath.Join(dir, "hub", "kubeconfig") }

// controllersKubeconfig is the path of the kubeconfig of the hub's controllers.
func controllersKubeconfig(dir string) string {
	return filepath.Join(dir, "hub", "controllers.kubeconfig")
}

// ClusterKubeconfig is the path of a cluster administrator's kubeconfig.
func ClusterKubeconfig(dir, name string) string {
	return filepath.Join(dir, "clusters", name, "kubeconfig")
}

// Up starts a fleet and returns when its control planes are ready and its programs run. When a cluster does not start, the others
// start all the same. After an error a detached fleet runs on with the parts that started, and the next Up starts the rest; a fleet
// that is not detached is stopped.
func Up(ctx context.Context, o Options) (*Fleet, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	f := &Fleet{Options: o, Clusters: map[string]*controlplane.ControlPlane{}}
	if err := f.prepare(); err != nil {
		return nil, err
	}
	err := f.up(ctx)
	switch {
	case err == nil:
		return f, nil
	case f.Detached:
		return nil, fmt.Errorf("%w\nthe parts that started run on: muster up starts the rest, muster down ends it", err)
	}
	return nil, errors.Join(err, f.Stop())
}

// prepare finds the programs and writes the settings, before anything is started: they stay when it does not start.
func (f *Fleet) prepare() error {
	var err error
	if f.Dir, err = filepath.Abs(f.Dir); err != nil {
		return err
	}
	if f.Programs == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		f.Programs = filepath.Dir(self)
	}
	for _, name := range []string{"hub", "klusterlet"} {
		if _, err := os.Stat(filepath.Join(f.Programs, name)); err != nil {
			return fmt.Errorf("program %s is not in %s: run make build", name, f.Programs)
		}
	}
	s, err := readSettings(f.Dir)
	if err != nil {
		return err
	}
	if err := f.mayBeReal(s); err != nil {
		return err
	}
	s = s.with(f.Options)
	if err := s.check(); err != nil {
		return err
	}
	f.Options.Clusters, f.Repositories, f.real = s.Clusters, s.LocalRepositories, s.RealClusters
	f.StatusInterval, f.HealthPeriod = s.StatusInterval, s.HealthPeriod
	return s.write(f.Dir)
}

// mayBeReal says why the clusters of this Up cannot have real nodes.
func (f *Fleet) mayBeReal(s settings) error {
	if !f.Real {
		return nil
	}
	if err := f.realNode().Missing(); err != nil {
		return fmt.Errorf("start clusters with real nodes: %w", err)
	}
	for _, name := range f.Options.Clusters {
		folder := filepath.Join(f.Dir, "clusters", name)
		if _, err := os.Stat(folder); err == nil && !slices.Contains(s.RealClusters, name) {
			return fmt.Errorf("cluster %s has fake nodes: give the real one another name, or end this one with muster down %s and remove %s", name, name, folder)
		}
	}
	return nil
}

func (f *Fleet) up(ctx context.Context) error {
	var err error
	f.etcd, err = controlplane.StartEtcd(ctx, controlplane.Options{Dir: filepath.Join(f.Dir, "etcd"), Detached: f.Detached})
	if err != nil {
		return err
	}
	f.Progress("etcd: " + startedOrRan(f.etcd.Started()))
	f.Hub, err = f.controlPlane(ctx, hubName, filepath.Join(f.Dir, "hub"), controlplane.Options{
		Controllers: true, Encrypt: []string{"secrets", "manifestworks.work.open-cluster-management.io"},
	})
	if err != nil {
		return err
	}
	if err := f.prepareHub(ctx); err != nil {
		return err
	}
	if err := f.StartHub(); err != nil {
		return err
	}
	var failed []error
	for _, name := range f.Options.Clusters {
		if err := f.startCluster(ctx, name); err != nil {
			failed = append(failed, fmt.Errorf("cluster %s: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

func startedOrRan(started bool) string {
	if started {
		return "started"
	}
	return "runs already"
}

func (f *Fleet) controlPlane(ctx context.Context, name, dir string, o controlplane.Options) (*controlplane.ControlPlane, error) {
	o.Dir, o.Name, o.Etcd, o.Detached = dir, name, f.etcd, f.Detached
	begin := time.Now()
	cp, err := controlplane.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	f.Progress(fmt.Sprintf("%s: %s", name, readyLine(cp, time.Since(begin))))
	return cp, nil
}

// readyLine says which programs of a control plane were started.
func readyLine(cp *controlplane.ControlPlane, took time.Duration) string {
	started := cp.Started()
	switch len(started) {
	case 0:
		return "control plane runs already at " + cp.URL()
	case len(cp.Processes()):
		return fmt.Sprintf("control plane ready at %s (%.1fs)", cp.URL(), took.Seconds())
	}
	return fmt.Sprintf("%s started again, control plane ready at %s (%.1fs)", strings.Join(started, ", "), cp.URL(), took.Seconds())
}

// prepareHub installs what the hub's controllers need, as the administrator, and writes their kubeconfig, which is that of the hub's
// own account. The root repository may do everything; other repositories may do what it grants them.
func (f *Fleet) prepareHub(ctx context.Context) error {
	if err := install.Hub(ctx, f.Hub.Config()); err != nil {
		return fmt.Errorf("prepare the hub: %w", err)
	}
	clients, err := kubernetes.NewForConfig(f.Hub.Config())
	if err != nil {
		return err
	}
	if err := serviceAccount(ctx, clients, "root"); err != nil {
		return err
	}
	if err := bind(ctx, clients, "muster-root", "cluster-admin", "root"); err != nil {
		return err
	}
	config, err := f.Hub.User(hub.User, hub.Groups()...)
	if err != nil {
		return err
	}
	data, err := controlplane.Kubeconfig("hub", config)
	if err != nil {
		return err
	}
	return os.WriteFile(controllersKubeconfig(f.Dir), data, 0o600)
}

func existing(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func serviceAccount(ctx context.Context, clients kubernetes.Interface, name string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: SystemNamespace, Name: name}}
	_, err := clients.CoreV1().ServiceAccounts(SystemNamespace).Create(ctx, account, metav1.CreateOptions{})
	if err := existing(err); err != nil {
		return fmt.Errorf("make service account %s: %w", name, err)
	}
	return nil
}

func bind(ctx context.Context, clients kubernetes.Interface, name, role, account string) error {
	_, err := clients.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: SystemNamespace, Name: account}},
	}, metav1.CreateOptions{})
	if err := existing(err); err != nil {
		return fmt.Errorf("bind service account %s: %w", account, err)
	}
	return nil
}

// StartHub starts the hub's controllers.
func (f *Fleet) StartHub() error {
	args := []string{
		"--kubeconfig", controllersKubeconfig(f.Dir), "--state-dir", filepath.Join(f.Dir, "mirrors"),
		"--conversion-address=127.0.0.1:0",
		"--leader-elect=false", // there is one, which would wait for the Lease of a process that died
	}
	for _, r := range f.Repositories {
		args = append(args, "--local-repositories", r)
	}
	if f.StatusInterval > 0 {
		args = append(args, "--status-interval", f.StatusInterval.String())
	}
	return f.program("hub: controllers", "hub", "hub", args)
}

// program starts a program unless it runs already.
func (f *Fleet) program(what, name, program string, args []string) error {
	_, started, err := controlplane.StartProgram(f.Dir, name, filepath.Join(f.Programs, program), args, f.Detached)
	if err != nil {
		return err
	}
	f.Progress(what + " " + startedOrRan(started))
	return nil
}

func agentName(cluster string) string { return "klusterlet-" + cluster }

// realNode is the node of any cluster that has a real one. Its programs are in folder node, beside hub and klusterlet.
func (f *Fleet) realNode() *controlplane.RealNode {
	return &controlplane.RealNode{Programs: filepath.Join(f.Programs, "node"), Outside: true}
}

func (f *Fleet) clusterOptions(name string) controlplane.Options {
	o := controlplane.Options{Workloads: true}
	if slices.Contains(f.real, name) {
		o.Node = f.realNode()
	}
	return o
}

// startCluster starts a cluster with workloads that run, and its agent.
func (f *Fleet) startCluster(ctx context.Context, name string) error {
	cp, err := f.controlPlane(ctx, name, filepath.Join(f.Dir, "clusters", name), f.clusterOptions(name))
	if err != nil {
		return err
	}
	f.Clusters[name] = cp
	if err := Bootstrap(ctx, f.Hub.Config(), name, f.bootstrapFile(name)); err != nil {
		return err
	}
	return f.StartAgent(name)
}

func (f *Fleet) bootstrapFile(name string) string {
	return filepath.Join(f.Dir, "agents", name, "bootstrap.kubeconfig")
}

// StartAgent starts a cluster's klusterlet, or starts it again.
func (f *Fleet) StartAgent(name string) error {
	args := []string{
		"--spoke-kubeconfig", ClusterKubeconfig(f.Dir, name), "--bootstrap-kubeconfig", f.bootstrapFile(name),
		"--hub-kubeconfig-dir", filepath.Join(f.Dir, "agents", name, "hub"), "--spoke-cluster-name", name, "--install",
		"--leader-elect=false", // there is one, which would wait for the Lease of a process that died
	}
	if f.StatusInterval > 0 {
		args = append(args, "--status-interval", f.StatusInterval.String())
	}
	if f.HealthPeriod > 0 {
		args = append(args, "--cluster-healthcheck-period", f.HealthPeriod.String())
	}
	return f.program(name+": agent", agentName(name), "klusterlet", args)
}

// StopAgent takes a cluster offline: its workloads run on, and its lease is not renewed.
func (f *Fleet) StopAgent(name string) error {
	return controlplane.StopPrograms(f.Dir, agentName(name))
}

// JoinIdentity is the user that a cluster's agent joins as, as it stands in annotation muster.dev/join-identity.
func JoinIdentity(cluster string) string {
	return "system:serviceaccount:" + SystemNamespace + ":join-" + cluster
}

// tokenSeconds is how long the token of a bootstrap kubeconfig is good.
const tokenSeconds = 24 * 60 * 60

// JoinToken makes the service account join-<cluster> on the hub, which may do nothing but ask to join, and gives a token of it
// that is good for a day.
func JoinToken(ctx context.Context, config *rest.Config, cluster string) (string, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	account := "join-" + cluster
	if err := serviceAccount(ctx, clients, account); err != nil {
		return "", err
	}
	if err := bind(ctx, clients, "muster-"+account, registration.BootstrapRole, account); err != nil {
		return "", err
	}
	seconds := int64(tokenSeconds)
	token, err := clients.CoreV1().ServiceAccounts(SystemNamespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("make a token for %s: %w", account, err)
	}
	return token.Status.Token, nil
}

// Bootstrap writes a kubeconfig with which an agent may join the hub under a cluster's name.
func Bootstrap(ctx context.Context, config *rest.Config, cluster, file string) error {
	token, err := JoinToken(ctx, config, cluster)
	if err != nil {
		return err
	}
	joining := rest.AnonymousClientConfig(config)
	joining.BearerToken = token
	data, err := controlplane.Kubeconfig("hub", joining)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	// In one step: an agent that reads the file finds the old or the new content.
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Stop ends a fleet that was started here: programs first, then clusters, the hub, and etcd last.
func (f *Fleet) Stop() error {
	if f.Detached {
		return Down(f.Dir)
	}
	errs := []error{controlplane.StopPrograms(f.Dir)}
	for _, name := range slices.Sorted(maps.Keys(f.Clusters)) {
		errs = append(errs, f.Clusters[name].Stop())
	}
	if f.Hub != nil {
		errs = append(errs, f.Hub.Stop())
	}
	if f.etcd != nil {
		errs = append(errs, f.etcd.Stop())
	}
	return errors.Join(errs...)
}

// fleetIn is the absolute path of a directory that has a fleet, whether it runs or not.
func fleetIn(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(settingsFile(dir)); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no fleet in %s: name its folder with --state; muster up starts one", dir)
	}
	return dir, nil
}

// Down ends the fleet of a directory: programs first, then clusters, the hub, and etcd last. Its data stays.
func Down(dir string) error {
	dir, err := fleetIn(dir)
	if err != nil {
		return err
	}
	errs := []error{controlplane.StopPrograms(dir)}
	clusters, err := Clusters(dir)
	if err != nil {
		errs = append(errs, err)
	}
	for _, name := range clusters {
		errs = append(errs, controlplane.Stop(filepath.Join(dir, "clusters", name)))
	}
	for _, part := range []string{"hub", "etcd"} {
		if _, err := os.Stat(filepath.Join(dir, part)); err == nil {
			errs = append(errs, controlplane.Stop(filepath.Join(dir, part)))
		}
	}
	return errors.Join(errs...)
}

// RemoveClusters ends clusters and removes them from the fleet: Up does not start them again unless it names them. Their data stays,
// and so do their objects on the hub.
func RemoveClusters(dir string, names ...string) error {
	dir, err := fleetIn(dir)
	if err != nil {
		return err
	}
	s, err := readSettings(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(s.Clusters, name) {
			return fmt.Errorf("the fleet in %s has no cluster %q; it has %s", dir, name, strings.Join(s.Clusters, ", "))
		}
	}
	if err := s.without(names).write(dir); err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, controlplane.StopPrograms(dir, agentName(name)), controlplane.Stop(filepath.Join(dir, "clusters", name)))
	}
	return errors.Join(errs...)
}

// Clusters are the names of the clusters in a fleet's directory, sorted.
func Clusters(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "clusters"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the fleet in %s: %w", dir, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}
