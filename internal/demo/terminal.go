package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/embedded"
)

// say prints an explanation.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// typed prints a command as a person would type it.
func (d *demo) typed(format string, args ...any) { d.say("$ "+format, args...) }

// answered prints the answer of a command.
func (d *demo) answered(text string) {
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		d.say("%s", strings.TrimRight("  "+line, " "))
	}
}

// exec runs a program in the clone and returns its output. Its environment names the demo's hub, and leaves out the user's own
// Git configuration.
func (d *demo) exec(program string, args ...string) (string, error) {
	cmd := exec.CommandContext(d.ctx, program, args...)
	cmd.Dir = d.worktree()
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GIT_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "KUBECONFIG="+embedded.HubKubeconfig(d.Dir), "NO_COLOR=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(program), strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// muster runs this program and shows it; the answer must hold every one of the texts, however its columns are spaced.
func (d *demo) muster(line string, wants ...string) (string, error) {
	return d.musterExits(0, line, wants...)
}

// musterExits is muster for a command that is to end with a code.
func (d *demo) musterExits(code int, line string, wants ...string) (string, error) {
	d.typed("muster %s", line)
	answer, err := d.exec(d.program, strings.Fields(line)...)
	d.answered(answer)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == code {
		err = nil
	} else if err == nil && code != 0 {
		err = fmt.Errorf("muster %s: ended with 0, not with %d", line, code)
	}
	if err != nil {
		return answer, err
	}
	squeezed := strings.Join(strings.Fields(answer), " ")
	for _, want := range wants {
		if !strings.Contains(squeezed, want) {
			return answer, fmt.Errorf("muster %s does not say %q", line, want)
		}
	}
	return answer, nil
}

// git runs git commands; they are not shown.
func (d *demo) git(commands ...[]string) error {
	for _, args := range commands {
		if _, err := d.exec("git", args...); err != nil {
			return err
		}
	}
	return nil
}

// head is the commit that is checked out.
func (d *demo) head() (string, error) {
	revision, err := d.exec("git", "rev-parse", "HEAD")
	return strings.TrimSpace(revision), err
}

// replace replaces a text, which must be there, in a file of the clone.
func (d *demo) replace(file, before, after string) error {
	name := filepath.Join(d.worktree(), file)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), before) {
		return fmt.Errorf("%s does not say %q any more: the demo wants the example as it was", file, before)
	}
	return os.WriteFile(name, []byte(strings.Replace(string(data), before, after, 1)), 0o644)
}

// edit is replace, shown as a person would do it.
func (d *demo) edit(file, before, after string) error {
	d.typed("$EDITOR %s", file)
	signed := func(sign, text string) string { return sign + strings.ReplaceAll(text, "\n", "\n"+sign) }
	d.answered(signed("- ", before) + "\n" + signed("+ ", after))
	return d.replace(file, before, after)
}

// commit commits everything.
func (d *demo) commit(message string) error {
	d.typed("git add -A && git commit -qm %q", message)
	return d.git([]string{"add", "--all"}, []string{"commit", "--quiet", "--message", message})
}

// pushed pushes what is checked out; it returns the commit, and when it was pushed.
func (d *demo) pushed() (revision string, when time.Time, err error) {
	if revision, err = d.head(); err != nil {
		return "", when, err
	}
	d.typed("git push -u origin HEAD")
	err = d.git([]string{"push", "--quiet", "--set-upstream", "origin", "HEAD"})
	return revision, time.Now(), err
}

// change is an edit that is committed and pushed.
func (d *demo) change(message, file, before, after string) (revision string, when time.Time, err error) {
	if err := d.edit(file, before, after); err != nil {
		return "", when, err
	}
	if err := d.commit(message); err != nil {
		return "", when, err
	}
	return d.pushed()
}

// deliver commits and pushes what was edited, and waits until it is delivered.
func (d *demo) deliver(message string) error {
	if err := d.commit(message); err != nil {
		return err
	}
	revision, begin, err := d.pushed()
	if err != nil {
		return err
	}
	return d.delivered(revision, begin)
}

// delivered waits until a commit is on the clusters that answer, every object of it is healthy, and the hub says so of every
// application.
func (d *demo) delivered(revision string, since time.Time) error {
	if _, err := d.muster("wait --revision "+revision[:7], revision[:7]+" runs", fmt.Sprintf("%d applications", len(d.applications))); err != nil {
		return err
	}
	d.say("Applied and healthy %.1fs after the push.", time.Since(since).Seconds())
	return d.settled(revision)
}

// settled waits until each application is as it should be on every cluster that answers.
func (d *demo) settled(revision string) error {
	return d.until("every application to be well", func() error {
		var status struct {
			Applications []applicationRow `json:"applications"`
		}
		if err := d.ask(&status, "status"); err != nil {
			return err
		}
		return unsettled(status.Applications, d.applications, revision)
	})
}

// applicationRow is a row of muster status -o json.
type applicationRow struct {
	Application string `json:"application"`
	Revision    string `json:"revision"`
	musterv1alpha1.Summary
	Ready bool   `json:"ready"`
	State string `json:"state"`
}

// drifted is nil when the hub knows of a drift on a cluster.
func (d *demo) drifted(cluster string) error {
	var answer struct {
		Total int `json:"total"`
	}
	if err := d.ask(&answer, "drift", "--cluster", cluster); err != nil {
		return err
	}
	if answer.Total == 0 {
		return errors.New("nothing has drifted")
	}
	return nil
}

// ask runs this program and decodes its answer; nothing of it is shown.
func (d *demo) ask(answer any, args ...string) error {
	text, err := d.exec(d.program, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), answer)
}

// unsettled says what is wrong with the wanted applications, each of which is to be at the commit.
func unsettled(rows []applicationRow, wanted []string, revision string) error {
	var errs []error
	for _, application := range wanted {
		i := slices.IndexFunc(rows, func(r applicationRow) bool { return r.Application == application })
		if i < 0 {
			errs = append(errs, fmt.Errorf("%s is missing", application))
			continue
		}
		r := rows[i]
		answer := r.Clusters - r.Offline
		switch {
		case r.Revision != revision, answer <= 0, r.Healthy < answer, r.Faulty+r.Drifted+r.Held > 0, r.Offline == 0 && !r.Ready:
			errs = append(errs, fmt.Errorf("%s is at %s, not at %s, or not well: %s %+v", application, r.Revision, revision, r.State, r.Summary))
		}
	}
	return errors.Join(errs...)
}

// until waits for something to become true, which it is when check returns no error.
func (d *demo) until(what string, check func() error) error {
	deadline := time.Now().Add(90 * time.Second)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("gave up waiting for %s: %w", what, err)
		}
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// application waits until an application's status is as it should be.
func (d *demo) application(name, what string, is func(*musterv1alpha1.ApplicationStatus) bool) error {
	namespace, base, _ := strings.Cut(name, "/")
	return d.until(name+" "+what, func() error {
		var a musterv1alpha1.Application
		if err := d.hub.Get(d.ctx, client.ObjectKey{Namespace: namespace, Name: base}, &a); err != nil {
			return err
		}
		if s := &a.Status; !is(s) {
			return fmt.Errorf("it is at %s, with a deletion held: %t, and its clusters are %+v", s.Revision, s.Held != nil, s.Summary)
		}
		return nil
	})
}

// joined waits until a cluster is available.
func (d *demo) joined(name string) error {
	return d.until("cluster "+name+" to join", func() error {
		var c clusterv1.ManagedCluster
		if err := d.hub.Get(d.ctx, client.ObjectKey{Name: name}, &c); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable) {
			return errors.New("it is not available")
		}
		return nil
	})
}

// cluster is a client of a managed cluster, with its administrator's rights.
func (d *demo) cluster(name string) (*kubernetes.Clientset, error) {
	return kubernetes.NewForConfig(d.fleet.Clusters[name].Config())
}

// deployment reads one from a cluster.
func (d *demo) deployment(cluster, namespace, name string) (*appsv1.Deployment, error) {
	c, err := d.cluster(cluster)
	if err != nil {
		return nil, err
	}
	return c.AppsV1().Deployments(namespace).Get(d.ctx, name, metav1.GetOptions{})
}

// getDeployments shows what kubectl get deployments prints, whose table the API server makes, and checks that the deployments
// have those names and are ready.
func (d *demo) getDeployments(cluster, namespace string, names ...string) error {
	d.typed("kubectl --kubeconfig $DIR/clusters/%s/kubeconfig -n %s get deployments", cluster, namespace)
	c, err := d.cluster(cluster)
	if err != nil {
		return err
	}
	data, err := c.AppsV1().RESTClient().Get().Namespace(namespace).Resource("deployments").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(d.ctx)
	if err != nil {
		return err
	}
	var table metav1.Table
	if err := json.Unmarshal(data, &table); err != nil {
		return err
	}
	if len(table.Rows) == 0 {
		d.answered("No resources found in " + namespace + " namespace.")
	} else {
		d.answered(aligned(cells(table)))
	}
	return d.areReady(cluster, namespace, names)
}

// cells are what kubectl prints of a table without -o wide.
func cells(table metav1.Table) [][]string {
	rows := make([][]string, len(table.Rows)+1)
	for i, column := range table.ColumnDefinitions {
		if column.Priority > 0 {
			continue
		}
		rows[0] = append(rows[0], strings.ToUpper(column.Name))
		for j := range table.Rows {
			rows[j+1] = append(rows[j+1], fmt.Sprint(table.Rows[j].Cells[i]))
		}
	}
	return rows
}

// aligned are rows as the lines of a table.
func aligned(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // to memory
	return b.String()
}

// areReady checks that a namespace has these deployments and no others, and that each has all its replicas.
func (d *demo) areReady(cluster, namespace string, names []string) error {
	c, err := d.cluster(cluster)
	if err != nil {
		return err
	}
	list, err := c.AppsV1().Deployments(namespace).List(d.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var found []string
	for i := range list.Items {
		x := &list.Items[i]
		if x.Status.ReadyReplicas != *x.Spec.Replicas {
			return fmt.Errorf("%s has %d of %d replicas of %s/%s", cluster, x.Status.ReadyReplicas, *x.Spec.Replicas, namespace, x.Name)
		}
		found = append(found, x.Name)
	}
	if !slices.Equal(found, names) {
		return fmt.Errorf("%s has the deployments %q in %s, not %q", cluster, found, namespace, names)
	}
	return nil
}
