package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apivalidation "k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/internal/embedded"
	"github.com/muster-io/muster/internal/fleet"
)

func clustersCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clusters",
		Short: "Write files of clusters",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(importCommand(c))
	return cmd
}

func importCommand(c *cli) *cobra.Command {
	var dir string
	var replace bool
	cmd := &cobra.Command{
		Use:   "import FILE.csv",
		Short: "Write a file for each cluster of a table",
		Long: "Reads a table in CSV, whose first line names the columns, and writes DIR/<env>/NAME.yaml for each line, or DIR/NAME.yaml where\n" +
			"there is no column env. A cluster with a file is let in without muster accept, when its agent joins with the account that\n" +
			"muster join NAME makes.\n\n" +
			"  name              of the cluster; the one column that must be there\n" +
			"  clusterset        the set that it belongs to\n" +
			"  accept            false: a person has to accept it\n" +
			"  annotation:KEY    an annotation\n" +
			"  any other         a label, with the column's name as key; an empty cell is no label",
		Example: "  name,clusterset,env,region\n  edge-1,edge,prod,north",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			in := io.Reader(os.Stdin)
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			files, err := clusterFiles(args[0], in)
			if err != nil {
				return err
			}
			written, err := writeClusters(dir, files, replace)
			if err != nil {
				return err
			}
			return c.print(map[string]any{"files": written}, func(p *printer) {
				p.linef("wrote %s below %s", count(len(written), "file"), dir)
				p.line("next: muster validate, then commit them")
			})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "clusters", "folder to write to")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace files that are there")
	return cmd
}

// clusterFile is a file to write, below the folder of clusters.
type clusterFile struct {
	path string
	data []byte
}

// clusterFiles turns a table into files. All that is wrong is told, each with its line.
func clusterFiles(name string, in io.Reader) ([]clusterFile, error) {
	reader := csv.NewReader(in)
	reader.TrimLeadingSpace = true
	header, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: read the names of the columns: %w", name, err)
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff") // spreadsheets write one
	if !slices.Contains(header, "name") {
		return nil, fmt.Errorf("%s:1: there is no column name; the columns are %s", name, strings.Join(header, ", "))
	}
	var files []clusterFile
	var wrong []error
	lineOf := map[string]int{}
	for {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := reader.FieldPos(0)
		file, cluster, err := clusterOf(header, row)
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", name, line, err))
			continue
		case lineOf[cluster] > 0:
			wrong = append(wrong, fmt.Errorf("%s:%d: cluster %s stands in line %d already", name, line, cluster, lineOf[cluster]))
		}
		lineOf[cluster] = line
		files = append(files, file)
	}
	return files, errors.Join(wrong...)
}

func clusterOf(header, row []string) (clusterFile, string, error) {
	labels, annotations := map[string]string{}, map[string]string{}
	name, env, accept := "", "", true
	for i, column := range header {
		value := strings.TrimSpace(row[i])
		switch key := strings.TrimSpace(column); {
		case key == "name":
			name = value
		case value == "":
		case key == "accept":
			if value != "true" && value != "false" {
				return clusterFile{}, name, fmt.Errorf("accept is %q, and may be true or false", value)
			}
			accept = value == "true"
		case strings.HasPrefix(key, "annotation:"):
			annotations[strings.TrimPrefix(key, "annotation:")] = value
		default:
			if key == "clusterset" {
				key = "cluster.open-cluster-management.io/clusterset"
			}
			if problems := append(apivalidation.IsQualifiedName(key), apivalidation.IsValidLabelValue(value)...); len(problems) > 0 {
				return clusterFile{}, name, fmt.Errorf("label %s: %q: %s", key, value, problems[0])
			}
			labels[key] = value
		}
	}
	if problem := fleet.WrongClusterName(name); problem != "" {
		return clusterFile{}, name, fmt.Errorf("cluster name %q: %s", name, problem)
	}
	env = labels["env"]
	annotations["muster.dev/join-identity"] = embedded.JoinIdentity(name)
	metadata := map[string]any{"name": name, "annotations": annotations}
	if len(labels) > 0 {
		metadata["labels"] = labels
	}
	data, err := yaml.Marshal(map[string]any{
		"apiVersion": "cluster.open-cluster-management.io/v1", "kind": "ManagedCluster", "metadata": metadata, "spec": map[string]any{"hubAcceptsClient": accept},
	})
	return clusterFile{path: filepath.Join(env, name+".yaml"), data: data}, name, err
}

// writeClusters writes all files or, where one of them is there already, none.
func writeClusters(dir string, files []clusterFile, replace bool) ([]string, error) {
	written := []string{}
	for _, f := range files {
		path := filepath.Join(dir, f.path)
		if _, err := os.Stat(path); err == nil && !replace {
			return nil, fmt.Errorf("%s is there already: nothing was written; --replace replaces it", path)
		}
		written = append(written, path)
	}
	for i, f := range files {
		if err := os.MkdirAll(filepath.Dir(written[i]), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(written[i], f.data, 0o644); err != nil {
			return nil, err
		}
	}
	return written, nil
}
