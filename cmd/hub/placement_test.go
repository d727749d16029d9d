package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/test"
)

// TestPlacementAlone runs the hub's program with the placement controller and nothing else, on an API server that has the
// kinds of cluster.open-cluster-management.io and no others of ours.
func TestPlacementAlone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cp := test.ControlPlane(t, controlplane.Options{Name: "placements"})
	ofClusters := slices.DeleteFunc(crds.Hub(), func(doc []byte) bool {
		return !bytes.Contains(doc, []byte("\n  group: cluster.open-cluster-management.io\n"))
	})
	if len(ofClusters) != 6 {
		t.Fatalf("%d kinds of clusters, want ManagedCluster, ManagedClusterSet, ManagedClusterSetBinding, Placement, PlacementDecision and AddOnPlacementScore", len(ofClusters))
	}
	isScores := func(doc []byte) bool { return bytes.Contains(doc, []byte("\n    kind: AddOnPlacementScore\n")) }
	at := slices.IndexFunc(ofClusters, isScores)
	scores, others := ofClusters[at], slices.Delete(slices.Clone(ofClusters), at, at+1)
	if err := controlplane.Install(ctx, cp.Config(), others...); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cp.Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	hub := startProgram(t, "--kubeconfig", cp.KubeconfigPath(), "--state-dir", t.TempDir(), "--controllers", "placement", "--placement-debug-address", address)

	// A kind that is missing is named, and waited for.
	hub.expectLog("AddOnPlacementScore.cluster.open-cluster-management.io", "if kind is a CRD, it should be installed")
	if err := controlplane.Install(ctx, cp.Config(), scores); err != nil {
		t.Fatal(err)
	}

	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "edge"}}
	p.Spec.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
	p.Spec.Predicates[0].RequiredClusterSelector.LabelSelector.MatchLabels = map[string]string{"tier": "edge"}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}},
		&clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "prod"}},
		&clusterv1beta2.ManagedClusterSetBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "prod"}, Spec: clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: "prod"},
		},
		edgeCluster("a"), edgeCluster("b"), p,
	} {
		if err := c.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	hub.expectChosen(c, p, "a", "b")
	if err := c.Delete(ctx, edgeCluster("a")); err != nil {
		t.Fatal(err)
	}
	hub.expectChosen(c, p, "b")

	token := tokenFor(t, c, "team")
	status, answer := askDebug(t, "https://"+address+"/debug/placements/team/edge", token)
	for deadline := time.Now().Add(patience); status == http.StatusForbidden && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) { // the API server's own cache of bindings follows
		status, answer = askDebug(t, "https://"+address+"/debug/placements/team/edge", token)
	}
	if status != http.StatusOK || fmt.Sprint(answer["aggregatedScores"]) != "[map[clusterName:b score:200]]" {
		t.Errorf("the debug endpoint answers %d %v", status, answer)
	}
	if status, answer := askDebug(t, "https://"+address+"/debug/placements/team/edge", "made-up"); status != http.StatusUnauthorized {
		t.Errorf("the debug endpoint answers a made-up token with %d %v", status, answer)
	}
	hub.stop()
	for line := range strings.Lines(hub.log()) {
		if strings.Contains(line, "could not find the requested resource") || strings.Contains(line, "no matches for kind") && !strings.Contains(line, "AddOnPlacementScore") {
			t.Errorf("the hub asks for kinds that it does not need:\n%s", line)
		}
	}
}

func edgeCluster(name string) *clusterv1.ManagedCluster {
	return &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{clusterv1beta2.ClusterSetLabel: "prod", "tier": "edge"}}}
}

// program is the hub's program as a child process.
type program struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr string // file
	exited chan error
}

// asHub is the environment variable with which the test binary runs as the hub's program: there is nothing to build.
const asHub = "MUSTER_TEST_AS_HUB"

// startProgram runs the hub; it is stopped when the test ends.
func startProgram(t testing.TB, args ...string) *program {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(binary, args...), stderr: filepath.Join(t.TempDir(), "stderr"), exited: make(chan error, 1)}
	log, err := os.Create(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), asHub+"=yes")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = log.Close() // the child has its own
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(p.stop)
	return p
}

// stop ends the program as a supervisor does; it has to leave with success.
func (p *program) stop() {
	p.t.Helper()
	if p.exited == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // one that has exited says so below
	select {
	case err := <-p.exited:
		if err != nil {
			p.t.Errorf("hub: %v\n%s", err, p.log())
		}
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		p.t.Errorf("the hub does not end\n%s", p.log())
	}
	p.exited = nil
}

// kill ends the program as a machine that is switched off does: nothing of it runs any more.
func (p *program) kill() {
	p.t.Helper()
	if p.exited == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	if err := <-p.exited; err == nil {
		p.t.Error("the program ended by itself before it was killed")
	}
	p.exited = nil
}

func (p *program) log() string {
	data, err := os.ReadFile(p.stderr)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// expectLog waits until the program has said all of the texts.
func (p *program) expectLog(texts ...string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if log := p.log(); !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(log, text) }) {
			return
		}
	}
	p.t.Fatalf("the log has not all of %q:\n%s", texts, p.log())
}

// expectChosen waits until the placement's pages are a complete set of the clusters.
func (p *program) expectChosen(c client.Client, of *clusterv1beta1.Placement, clusters ...string) {
	p.t.Helper()
	state := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var live clusterv1beta1.Placement
		var pages clusterv1beta1.PlacementDecisionList
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(of), &live); err != nil {
			p.t.Fatal(err)
		}
		if err := c.List(context.Background(), &pages, client.InNamespace(of.Namespace)); err != nil {
			p.t.Fatal(err)
		}
		chosen, complete := placement.Read(&live, pages.Items)
		if complete && placement.Scheduled(&live) && slices.Equal(chosen, clusters) {
			return
		}
		state = fmt.Sprintf("%v, complete %t", chosen, complete)
		select {
		case err := <-p.exited:
			p.exited = nil
			p.t.Fatalf("the hub ended: %v\n%s", err, p.log())
		case <-time.After(50 * time.Millisecond):
		}
	}
	p.t.Fatalf("chosen %s, want %v\n%s", state, clusters, p.log())
}

// tokenFor is one of a service account that may get the placements of a namespace.
func tokenFor(t *testing.T, c client.Client, namespace string) string {
	t.Helper()
	ctx := context.Background()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "reader"}
	account := &corev1.ServiceAccount{ObjectMeta: meta}
	for _, o := range []client.Object{
		account,
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{clusterv1beta1.GroupVersion.Group}, Resources: []string{"placements"}, Verbs: []string{"get"}}}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "reader"}},
		},
	} {
		if err := c.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	request := &authenticationv1.TokenRequest{}
	if err := c.SubResource("token").Create(ctx, account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

func askDebug(t *testing.T, url, token string) (status int, answer map[string]any) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	anyCertificate := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // #nosec G402 -- it is self-signed
	response, err := anyCertificate.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return response.StatusCode, answer
}

// freeAddress is a loopback address with a port that nobody listens on. It lies below the ports that the system hands out by
// itself, so that no connection made in the meantime takes it.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err == nil {
			defer func() { _ = listener.Close() }()
			return listener.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}
