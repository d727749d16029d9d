package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/overview"
)

func treeCommand(c *cli) *cobra.Command {
	var cluster, object string
	cmd := &cobra.Command{
		Use:   "tree NAMESPACE/APPLICATION --cluster CLUSTER",
		Short: "Show an application's objects on a cluster down to pods, how each does, and their events",
		Long: "Ask the agent of a cluster what the objects of an application are like right now, with those that they own down to pods, and\n" +
			"what the cluster says has happened to them. You need the right to get the application, and to create, get and delete\n" +
			"inspections in the cluster's namespace on the hub: ClusterRole muster:inspect. The hub keeps nothing of the answer.\n\n" +
			"With --object it is one of them as it is on the cluster, without the values of a Secret; this needs muster:inspect-objects too.",
		Example: "  muster tree retail/storefront --cluster edge-1\n  muster tree retail/storefront --cluster edge-1 --object Deployment.apps/shop/storefront",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if object != "" {
				return c.showObject(cmd, args[0], cluster, object)
			}
			answer, err := c.inspect(cmd, args[0], cluster, musterv1alpha1.InspectionSpec{})
			if err != nil {
				return err
			}
			return c.print(answer, func(p *printer) { c.printTree(p, args[0], cluster, answer) })
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "cluster to ask")
	cmd.Flags().StringVar(&object, "object", "", "show this object as it is there: KIND/NAMESPACE/NAME or KIND/NAME, with KIND.GROUP for kinds that have a group")
	return cmd
}

// showObject prints an object as it is on a cluster, as YAML or as -o says.
func (c *cli) showObject(cmd *cobra.Command, application, cluster, text string) error {
	asked, err := objectOf(text)
	if err != nil {
		return err
	}
	answer, err := c.inspect(cmd, application, cluster, musterv1alpha1.InspectionSpec{Object: &asked})
	if err != nil {
		return err
	}
	if answer.Live == "" {
		return fmt.Errorf("the agent of cluster %s is older than this question: upgrade its klusterlet", cluster)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(answer.Live), &object); err != nil {
		return fmt.Errorf("read the answer of cluster %s: %w", cluster, err)
	}
	shown, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("show the answer of cluster %s: %w", cluster, err)
	}
	return c.print(object, func(p *printer) {
		for line := range strings.Lines(string(shown)) {
			p.line(strings.TrimRight(line, "\n"))
		}
	})
}

func objectOf(text string) (musterv1alpha1.InspectionObject, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return musterv1alpha1.InspectionObject{}, fmt.Errorf("--object is KIND/NAMESPACE/NAME or KIND/NAME, with KIND.GROUP for kinds that have a group, not %q", text)
	}
	o := musterv1alpha1.InspectionObject{Name: parts[len(parts)-1]}
	o.Kind, o.Group, _ = strings.Cut(parts[0], ".")
	if len(parts) == 3 {
		o.Namespace = parts[1]
	}
	return o, nil
}

func logsCommand(c *cli) *cobra.Command {
	var (
		cluster, pod string
		logs         musterv1alpha1.InspectionLogs
	)
	cmd := &cobra.Command{
		Use:   "logs NAMESPACE/APPLICATION --cluster CLUSTER",
		Short: "Show the end of a pod's log, of an application on a cluster",
		Long: "Ask the agent of a cluster for the end of the log of a pod of an application: at most 2000 lines and 64 KiB. Without --pod it is\n" +
			"the pod that does worst. Beside ClusterRole muster:inspect you need muster:inspect-logs in the cluster's namespace on\n" +
			"the hub: logs can hold what nobody has redacted.",
		Example: "  muster logs retail/storefront --cluster edge-1 --lines 500",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			logs.Pod = pod
			if namespace, name, ok := strings.Cut(pod, "/"); ok {
				logs.Namespace, logs.Pod = namespace, name
			}
			answer, err := c.inspect(cmd, args[0], cluster, musterv1alpha1.InspectionSpec{Logs: &logs})
			if err != nil {
				return err
			}
			return c.print(answer.Log, func(p *printer) { printLog(p, answer.Log) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cluster, "cluster", "", "cluster to ask")
	flags.StringVar(&pod, "pod", "", "pod, or NAMESPACE/POD; left out, the one that does worst")
	flags.StringVarP(&logs.Container, "container", "c", "", "container; left out, the one that does not run, else the first")
	flags.Int64Var(&logs.Lines, "lines", 100, "lines from the end, at most 2000")
	flags.BoolVarP(&logs.Previous, "previous", "p", false, "of the container before it was started anew")
	return cmd
}

func (c *cli) inspect(cmd *cobra.Command, application, cluster string, question musterv1alpha1.InspectionSpec) (*musterv1alpha1.InspectionStatus, error) {
	namespace, name, ok := strings.Cut(application, "/")
	if !ok {
		return nil, fmt.Errorf("an application is NAMESPACE/NAME, not %q", application)
	}
	if cluster == "" {
		return nil, fmt.Errorf("--cluster names the cluster to ask; muster status %s lists those that have the application", application)
	}
	hub, _, err := c.hub()
	if err != nil {
		return nil, err
	}
	question.Application = musterv1alpha1.InspectedApplication{Namespace: namespace, Name: name}
	return overview.Inspect(cmd.Context(), hub, cluster, question)
}

func (c *cli) printTree(p *printer, application, cluster string, a *musterv1alpha1.InspectionStatus) {
	p.linef("%s on %s", p.paint(bold, application), cluster)
	names := map[string]string{}
	rows := [][]string{{"OBJECT", "HEALTH", "AGE", "PODS", "MESSAGE"}}
	for _, r := range overview.Tree(a.Objects) {
		name := r.Kind + " " + r.Name
		names[r.UID] = name
		if r.Depth == 0 && r.Namespace != "" {
			name = r.Kind + " " + r.Namespace + "/" + r.Name
		}
		old := ""
		if r.Created != nil {
			old = age(c.now().Sub(r.Created.Time))
		}
		rows = append(rows, []string{r.Prefix + name, r.Health, old, overview.Containers(r.Pod), oneLine(r.Message)})
	}
	p.table(rows)
	if a.OmittedObjects > 0 {
		p.linef("… %s more", count(int(a.OmittedObjects), "object"))
	}
	if len(a.Events) > 0 {
		p.line()
		rows = [][]string{{"LAST", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"}}
		for _, e := range a.Events {
			rows = append(rows, []string{age(c.now().Sub(e.Last.Time)), e.Type, e.Reason, names[e.Object], fmt.Sprint(e.Count), oneLine(e.Message)})
		}
		p.table(rows)
	}
	for _, note := range a.Notes {
		p.linef("%s %s", p.paint(yellow, "NOT READ"), oneLine(note))
	}
}

func printLog(p *printer, l *musterv1alpha1.InspectedLog) {
	p.line(p.paint(faint, fmt.Sprintf("container %s of pod %s/%s", l.Container, l.Namespace, l.Pod)))
	if l.Cut {
		p.line(p.paint(faint, "… lines before these are left out"))
	}
	for line := range strings.Lines(l.Text) {
		p.line(strings.TrimRight(line, "\r\n"))
	}
}
