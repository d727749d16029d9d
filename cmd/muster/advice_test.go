package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/muster-io/muster/internal/doctor"
)

var commandInText = regexp.MustCompile(`\bmuster ([a-z]+)(?: ([a-z]+)\b)?`)

// TestAdviceNamesCommands: the commands that messages about installing, joining and doctor name are there. A word after a command that
// has subcommands is one of them.
func TestAdviceNamesCommands(t *testing.T) {
	root := newRoot(&cli{})
	sub := func(of *cobra.Command, name string) *cobra.Command {
		i := slices.IndexFunc(of.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
		if i < 0 {
			return nil
		}
		return of.Commands()[i]
	}
	found := 0
	for _, pattern := range []string{
		"join.go", "install.go", "doctor.go", "init.go", "../../internal/doctor/*.go", "../../internal/chart/*.go", "../../internal/hub/install/*.go", "../../charts/*/templates/*",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files (%v)", pattern, len(files), err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, words := range commandInText.FindAllStringSubmatch(string(data), -1) {
				found++
				if command := sub(root, words[1]); command == nil || words[2] != "" && command.HasSubCommands() && sub(command, words[2]) == nil {
					t.Errorf("%s names %q, which is no command", file, words[0])
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("%d commands are named: the files are elsewhere", found)
	}
}

// TestManifestHoldsTheRepository: what muster hub install --manifest prints has the FleetRepository that it was asked for, after its kind.
func TestManifestHoldsTheRepository(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"hub", "install", "--manifest", "--set", "fleetRepository.url=https://git.example.com/fleet.git"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d\n%s", code, errs.String())
	}
	kind, repository := -1, -1
	decoder := utilyaml.NewYAMLOrJSONDecoder(&out, 4096)
	for i := 0; ; i++ {
		var o metav1.PartialObjectMetadata
		if err := decoder.Decode(&o); err != nil {
			break
		}
		switch {
		case o.Kind == "CustomResourceDefinition" && o.Name == "fleetrepositories.muster.dev":
			kind = i
		case o.Kind == "FleetRepository" && o.Name == "fleet":
			repository = i
			if o.Annotations["helm.sh/hook"] != "" {
				t.Error("it is a hook")
			}
		}
	}
	if kind < 0 || repository < kind {
		t.Errorf("the kind is object %d and the repository object %d", kind, repository)
	}
}

// TestWhileAvailable: a cluster whose agent of before has reported has not joined before the agent that is installed now has taken over.
func TestWhileAvailable(t *testing.T) {
	replicas := int32(2)
	agent := func(status appsv1.DeploymentStatus) *doctor.Agent {
		return &doctor.Agent{ClusterName: "one", Deployment: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "muster-agent", Name: "klusterlet", Generation: 2}, Spec: appsv1.DeploymentSpec{Replicas: &replicas}, Status: status,
		}}
	}
	rolledOut := appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2}
	applied, surging := rolledOut, rolledOut
	applied.ObservedGeneration = 1
	surging.Replicas, surging.UpdatedReplicas = 3, 1
	for name, row := range map[string]struct {
		agent *doctor.Agent
		name  string
		done  bool
		step  string
	}{
		"rolled out":                     {agent(rolledOut), "one", true, "available"},
		"applied":                        {agent(applied), "one", false, "is being rolled out"},
		"a pod of before runs":           {agent(surging), "one", false, "is being rolled out"},
		"the agent of another hub":       {agent(applied), "two", true, "available"},
		"no agent is where it should be": {nil, "one", false, "not installed"},
	} {
		t.Run(name, func(t *testing.T) {
			if step, done := whileAvailable(row.agent, nil, row.name); done != row.done || !strings.Contains(step, row.step) {
				t.Errorf("%v %q, want %v %q", done, step, row.done, row.step)
			}
		})
	}
}
