package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The parts of an SPDX 2.3 document that are used here.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		License       string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Relationships []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID        string         `json:"SPDXID"`
		Name      string         `json:"name"`
		Version   string         `json:"versionInfo"`
		Location  string         `json:"downloadLocation"`
		Analyzed  bool           `json:"filesAnalyzed"`
		License   string         `json:"licenseConcluded"`
		Declared  string         `json:"licenseDeclared"`
		Copyright string         `json:"copyrightText"`
		Checksums []spdxChecksum `json:"checksums,omitempty"`
		External  []spdxExternal `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxExternal struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

// sbom writes which modules, at which versions, the programs are linked with: what the linker noted in them.
func (r release) sbom(programs []string) error {
	document := spdxDocument{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "muster-" + r.version,
		Namespace: "https://github.com/muster-io/muster/spdx/" + r.version + "-" + r.revision,
		Creation:  spdxCreation{r.time.Format(time.RFC3339), []string{"Tool: muster-pack", "Organization: Muster"}},
	}
	modules := map[string]spdxPackage{}
	for _, file := range programs {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read what %s is linked with: %w", file, err)
		}
		name := filepath.Base(file)
		program := spdxPackage{
			ID: spdxID("Program", name), Name: name, Version: r.version, Location: "https://github.com/muster-io/muster",
			License: "Apache-2.0", Declared: "Apache-2.0", Copyright: "NOASSERTION",
		}
		document.Packages = append(document.Packages, program)
		document.Relationships = append(document.Relationships, spdxRelationship{document.ID, "DESCRIBES", program.ID})
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			p := modulePackage(m.Path, m.Version, m.Sum)
			modules[p.ID] = p
			document.Relationships = append(document.Relationships, spdxRelationship{program.ID, "DEPENDS_ON", p.ID})
		}
		standard := modulePackage("stdlib", strings.TrimPrefix(info.GoVersion, "go"), "")
		modules[standard.ID] = standard
		document.Relationships = append(document.Relationships, spdxRelationship{program.ID, "DEPENDS_ON", standard.ID})
	}
	for _, id := range slices.Sorted(maps.Keys(modules)) {
		document.Packages = append(document.Packages, modules[id])
	}
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.out, append(data, '\n'), 0o644)
}

func modulePackage(path, version, sum string) spdxPackage {
	p := spdxPackage{
		ID: spdxID("Module", path+"-"+version), Name: path, Version: version, Location: "NOASSERTION",
		License: "NOASSERTION", Declared: "NOASSERTION", Copyright: "NOASSERTION",
		External: []spdxExternal{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + path + "@" + version}},
	}
	if path != "stdlib" {
		p.Location = "https://proxy.golang.org/" + strings.ToLower(path) + "/@v/" + version + ".zip"
	}
	// h1: is the SHA-256 of the list of the module's files with theirs.
	if hash, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && len(hash) > 0 {
		p.Checksums = []spdxChecksum{{"SHA256", hex.EncodeToString(hash)}}
	}
	return p
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

func spdxID(kind, name string) string {
	return "SPDXRef-" + kind + "-" + notInID.ReplaceAllString(name, "-")
}
