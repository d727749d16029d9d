package controlplane

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"sigs.k8s.io/yaml"
)

// encryptionConfiguration is the part of apiserver.config.k8s.io/v1 EncryptionConfiguration that is used here.
type encryptionConfiguration struct {
	APIVersion string               `json:"apiVersion"`
	Kind       string               `json:"kind"`
	Resources  []encryptedResources `json:"resources"`
}

type encryptedResources struct {
	Resources []string             `json:"resources"`
	Providers []encryptionProvider `json:"providers"`
}

// encryptionProvider has one of the two. The first provider of a list encrypts what is written; all of them are tried to read.
type encryptionProvider struct {
	Secretbox *secretbox `json:"secretbox,omitempty"`
	Identity  *struct{}  `json:"identity,omitempty"` // reads what was written before encryption was turned on
}

type secretbox struct {
	Keys []encryptionKey `json:"keys"`
}

type encryptionKey struct {
	Name   string `json:"name"`
	Secret string `json:"secret"` // 32 bytes, base64
}

// encryption is the path of the configuration that encrypts the wanted resources, or empty when there are none.
//
// The key is made once. A resource that was encrypted before stays in the configuration, even if the options do not name it any
// more: without its key it could not be read.
func (c *ControlPlane) encryption() (string, error) {
	path := c.site.in("encryption.yaml")
	config, err := readEncryption(path)
	if err != nil {
		return "", err
	}
	wanted := &config.Resources[0].Resources
	*wanted = append(*wanted, c.site.Encrypt...)
	slices.Sort(*wanted)
	*wanted = slices.Compact(*wanted)
	if len(*wanted) == 0 {
		return "", nil
	}
	data, err := yaml.Marshal(config)
	if err != nil {
		return "", err
	}
	return path, writeFile(path, data)
}

// readEncryption reads the configuration, or makes one with a new key and without resources.
func readEncryption(path string) (encryptionConfiguration, error) {
	var config encryptionConfiguration
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newEncryption(), nil
	}
	if err != nil {
		return config, err
	}
	if err := yaml.UnmarshalStrict(data, &config); err != nil {
		return config, fmt.Errorf("read %s: %w", path, err)
	}
	if len(config.Resources) != 1 {
		return config, fmt.Errorf("read %s: %d groups of resources, want 1", path, len(config.Resources))
	}
	return config, nil
}

func newEncryption() encryptionConfiguration {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return encryptionConfiguration{
		APIVersion: "apiserver.config.k8s.io/v1",
		Kind:       "EncryptionConfiguration",
		Resources: []encryptedResources{{Providers: []encryptionProvider{
			{Secretbox: &secretbox{Keys: []encryptionKey{{Name: "key1", Secret: base64.StdEncoding.EncodeToString(key)}}}},
			{Identity: &struct{}{}},
		}}},
	}
}
