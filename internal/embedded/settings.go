package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/muster-io/muster/internal/fleet"
)

// settings are in fleet.json of a fleet's directory: an Up without options starts the same fleet again.
type settings struct {
	Clusters          []string      `json:"clusters,omitempty"`
	RealClusters      []string      `json:"realClusters,omitempty"` // those with a real node, also when they were removed: their data has it
	LocalRepositories []string      `json:"localRepositories,omitempty"`
	StatusInterval    time.Duration `json:"statusInterval,omitempty"` // in nanoseconds
	HealthPeriod      time.Duration `json:"healthPeriod,omitempty"`   // in nanoseconds
}

// with merges the options of an Up: clusters are added, any other option replaces the setting.
func (s settings) with(o Options) settings {
	for _, name := range o.Clusters {
		if !slices.Contains(s.Clusters, name) {
			s.Clusters = append(slices.Clip(s.Clusters), name)
			if o.Real && !slices.Contains(s.RealClusters, name) {
				s.RealClusters = append(slices.Clip(s.RealClusters), name)
			}
		}
	}
	if o.Repositories != nil {
		s.LocalRepositories = o.Repositories
	}
	if o.StatusInterval > 0 {
		s.StatusInterval = o.StatusInterval
	}
	if o.HealthPeriod > 0 {
		s.HealthPeriod = o.HealthPeriod
	}
	return s
}

// without removes clusters.
func (s settings) without(names []string) settings {
	s.Clusters = slices.DeleteFunc(slices.Clone(s.Clusters), func(name string) bool { return slices.Contains(names, name) })
	return s
}

// check refuses names that no cluster can have: the name is also that of a namespace, of a folder, and of a prefix in the etcd that
// the hub shares.
func (s settings) check() error {
	for _, name := range s.Clusters {
		if name == hubName {
			return fmt.Errorf("cluster name %q: that is the hub's own", name)
		}
		if problem := fleet.WrongClusterName(name); problem != "" {
			return fmt.Errorf("cluster name %q: %s", name, problem)
		}
	}
	return nil
}

func settingsFile(dir string) string { return filepath.Join(dir, "fleet.json") }

func readSettings(dir string) (settings, error) {
	var s settings
	data, err := os.ReadFile(settingsFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read what the fleet in %s is made of: %w", dir, err)
	}
	return s, nil
}

// write replaces the file in one step.
func (s settings) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	next := settingsFile(dir) + ".new"
	if err := os.WriteFile(next, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, settingsFile(dir))
}
