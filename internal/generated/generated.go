// Package generated holds what a chart's random functions become: the hub puts placeholders into Secrets, and the klusterlet puts
// values in their place that it makes once and keeps.
//
// A value never exists in Git or on the hub. A Secret with placeholders is such that an agent which does not know them cannot apply
// it: an API server takes no data that is not base64, and so never a placeholder for a password.
package generated

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
)

// Call is a call of a chart's random function. Arguments may hold placeholders of other calls.
type Call struct {
	Function string   `json:"function"`
	Args     []string `json:"args,omitempty"`
}

// The parts of what a call gives.
const (
	Value = "Value"
	Cert  = "Cert"
	Key   = "Key"
)

// Parts that a function gives.
func (c Call) Parts() []string {
	switch c.Function {
	case "genCA", "genSelfSignedCert", "genSignedCert":
		return []string{Cert, Key}
	}
	return []string{Value}
}

// ID of a call: the same for the same call of the same application.
func ID(application string, call Call, number int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d", application, call.Function, call.Args, number))
	return hex.EncodeToString(sum[:12])
}

// Placeholder stands for a part of what a call gives. It is letters and digits only, so that quoting and encoding leave it as it is.
func Placeholder(id, part string) string { return "musterGenerated" + id + part }

var (
	placeholder = regexp.MustCompile(`musterGenerated([0-9a-f]{24})(Value|Cert|Key)`)
	encoded     = regexp.MustCompile(`[A-Za-z0-9+/]{56,}={0,2}`) // as long as a placeholder is, at least
)

// maxDepth is how often a text may be encoded within another.
const maxDepth = 4

// Fill replaces placeholders in a text, also where they are encoded in base64 within it.
func Fill(text string, by func(id, part string) (string, error)) (string, error) {
	return fill(text, by, maxDepth)
}

func fill(text string, by func(id, part string) (string, error), depth int) (string, error) {
	var failed error
	if depth > 0 {
		text = encoded.ReplaceAllStringFunc(text, func(run string) string {
			plain, err := base64.StdEncoding.DecodeString(run)
			if err != nil {
				return run
			}
			filled, err := fill(string(plain), by, depth-1)
			failed = errors.Join(failed, err)
			if filled == string(plain) {
				return run
			}
			return base64.StdEncoding.EncodeToString([]byte(filled))
		})
	}
	text = placeholder.ReplaceAllStringFunc(text, func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		value, err := by(m[1], m[2])
		failed = errors.Join(failed, err)
		return value
	})
	return text, failed
}

// In are the calls whose placeholders a text holds, of those that are known, with the calls that their arguments name.
func In(text string, known map[string]Call) map[string]Call {
	found := map[string]Call{}
	_, _ = Fill(text, func(id, _ string) (string, error) { // it does not fail
		if call, ok := known[id]; ok {
			found[id] = call
			for _, arg := range call.Args {
				maps.Copy(found, In(arg, known))
			}
		}
		return "", nil
	})
	return found
}

// prefix is what no base64 has.
const prefix = "muster-generated:"

// Text is the value of a Secret's key with placeholders, and what they stand for.
type Text struct {
	Text  []byte          `json:"text"`
	Calls map[string]Call `json:"calls"`
}

// Encode writes a text as the value of a key of a Secret's data.
func (t Text) Encode() (string, error) {
	data, err := json.Marshal(t)
	return prefix + base64.StdEncoding.EncodeToString(data), err
}

// Decode reads what Encode wrote; it says whether it is such a value.
func Decode(value string) (t Text, ok bool, err error) {
	rest, ok := strings.CutPrefix(value, prefix)
	if !ok {
		return t, false, nil
	}
	data, err := base64.StdEncoding.DecodeString(rest)
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	if err != nil {
		return t, true, errors.New("a text with generated values cannot be read")
	}
	return t, true, nil
}
