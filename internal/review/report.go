package review

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"path"

	"github.com/muster-io/muster/internal/fleet"
)

// annotation is what a host shows beside a line of a file.
type annotation struct {
	rule, level, message, file string
	line                       int
}

// annotations are the faults, holds and findings of a review. Their files are those of the repository, which has the fleet in a folder.
func (r *Review) annotations(folder string) []annotation {
	list := r.found()
	for i := range list {
		list[i].file = below(folder, list[i].file)
	}
	return list
}

// below is a file of the fleet as the repository names it.
func below(folder, file string) string {
	if file == "" {
		return ""
	}
	return path.Join(folder, file)
}

func (r *Review) found() []annotation {
	var list []annotation
	faults := func(level string, faults []fleet.Fault) {
		for _, g := range fleet.GroupFaults(faults) {
			f := g.Fault
			text := f.Message
			if f.Application != "" {
				text = f.Application + ": " + text
			}
			if n := len(g.Clusters); n > 1 {
				text += fmt.Sprintf(" (on %d clusters, the first is %s)", n, g.Clusters[0])
			}
			list = append(list, annotation{string(f.Reason), level, oneLine(text), f.File, f.Line})
		}
	}
	faults("error", r.NewFaults)
	for _, f := range r.Findings {
		level := "warning"
		if f.Deny {
			level = "error"
		}
		list = append(list, annotation{"Policy/" + f.Policy, level, f.Message, f.File, f.Line})
	}
	for _, h := range r.Held {
		a := annotation{"Held/" + string(h.Reason), "warning", oneLine(h.Message), "", 0}
		for _, x := range r.Applications {
			if x.Application == h.Application {
				a.file, a.line = x.File, x.Line
			}
		}
		list = append(list, a)
	}
	faults("warning", r.NewWarnings)
	return list
}

// SARIF is the review as hosts read it to annotate files: version 2.1.0 of the OASIS standard. Hosts look for files from the repository's root.
func (r *Review) SARIF(version, folder string) ([]byte, error) {
	type text struct {
		Text string `json:"text"`
	}
	type region struct {
		StartLine int `json:"startLine"`
	}
	type physical struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *region `json:"region,omitempty"`
	}
	type location struct {
		PhysicalLocation physical `json:"physicalLocation"`
	}
	type result struct {
		RuleID    string     `json:"ruleId"`
		Level     string     `json:"level"`
		Message   text       `json:"message"`
		Locations []location `json:"locations,omitempty"`
	}
	type rule struct {
		ID string `json:"id"`
	}
	results, rules, known := []result{}, []rule{}, map[string]bool{}
	for _, a := range r.annotations(folder) {
		one := result{RuleID: a.rule, Level: a.level, Message: text{a.message}}
		if a.file != "" {
			var at location
			at.PhysicalLocation.ArtifactLocation.URI = a.file
			if a.line > 0 {
				at.PhysicalLocation.Region = &region{a.line}
			}
			one.Locations = []location{at}
		}
		results = append(results, one)
		if !known[a.rule] {
			known[a.rule] = true
			rules = append(rules, rule{a.rule})
		}
	}
	data, err := json.MarshalIndent(map[string]any{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []any{map[string]any{
			"tool":    map[string]any{"driver": map[string]any{"name": "muster", "version": version, "rules": rules}},
			"results": results,
		}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the review as SARIF: %w", err)
	}
	return append(data, '\n'), nil
}

// JUnit is the review as CI systems read test reports: one case for each application that changes, and one for each policy, fault of
// no application and hold that fails the check.
func (r *Review) JUnit(folder string, failOn ...Failure) ([]byte, error) {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		File    string   `xml:"file,attr,omitempty"`
		Failure *failure `xml:"failure,omitempty"`
		Output  string   `xml:"system-out,omitempty"`
	}
	type suite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	s := suite{Name: "muster review"}
	add := func(c testcase) {
		s.Tests++
		if c.Failure != nil {
			s.Failures++
		}
		s.Cases = append(s.Cases, c)
	}
	for _, a := range r.Applications {
		add(testcase{Class: "application", Name: a.Application, File: below(folder, a.File), Output: fmt.Sprintf("%s, %s", counts(a.Before, a.After), count(len(a.Changes), "kind")+" of change")})
	}
	fails := map[Failure]bool{}
	for _, f := range failOn {
		fails[f] = true
	}
	for _, a := range r.annotations(folder) {
		c := testcase{Class: a.rule, Name: a.message, File: a.file}
		if a.level == "error" && (fails[OnFaults] || a.rule[:min(7, len(a.rule))] == "Policy/") {
			c.Failure = &failure{a.message, position(a.file, a.line)}
		}
		add(c)
	}
	if fails[OnHeld] && r.unapproved() > 0 {
		text := count(r.unapproved(), "deletion") + " wait for an approval"
		add(testcase{Class: "held", Name: "deletions", Failure: &failure{text, text}})
	}
	data, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the review as JUnit: %w", err)
	}
	return append([]byte(xml.Header), append(data, '\n')...), nil
}
