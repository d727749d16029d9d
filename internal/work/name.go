package work

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// longestName is how much of an application's name goes into the names of its works.
const longestName = 40

// Name of a part of an application's works, the same on every cluster: <name cut to 40>-<10 hex>-<part>. No repository,
// commit or placement is in it, so that moving files about moves nothing on clusters.
func Name(namespace, name string, part int) string {
	prefix := name
	if len(prefix) > longestName {
		prefix = strings.TrimRight(prefix[:longestName], "-.")
	}
	return fmt.Sprintf("%s-%s-%d", prefix, shortHash(namespace+"/"+name, 10), part)
}

// Owner is the value of the label muster.dev/owner on what an object of the hub has made.
func Owner(kind, namespace, name string) string {
	return shortHash(kind+"/"+namespace+"/"+name, 20)
}

// FieldManager under which an application's objects are applied. Two works that apply one object under one manager
// delete each other's fields without a conflict, so each application has its own; OCM wants the prefix work-agent.
func FieldManager(namespace, name string) string {
	return "work-agent-" + shortHash(namespace+"/"+name, 10)
}

func shortHash(text string, digits int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:digits]
}
