package work

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
)

// FormatObjects writes identities for the annotation muster.dev/objects. Neighbours that differ only in name share what
// goes before:
//
//	v1,ConfigMap,configmaps,shop,settings,themes;apps/v1,Deployment,deployments,shop,web
//
// Each field is escaped as in a URL's path, so that a name may hold anything.
func FormatObjects(keys []fleet.ObjectKey) string {
	var b strings.Builder
	before := ""
	for _, k := range keys {
		apiVersion := url.PathEscape(k.Version)
		if k.Group != "" {
			apiVersion = url.PathEscape(k.Group) + "/" + apiVersion
		}
		header := strings.Join([]string{apiVersion, url.PathEscape(k.Kind), url.PathEscape(k.Resource), url.PathEscape(k.Namespace)}, ",")
		if header != before {
			if b.Len() > 0 {
				b.WriteByte(';')
			}
			b.WriteString(header)
			before = header
		}
		b.WriteString("," + url.PathEscape(k.Name))
	}
	return b.String()
}

// ParseObjects reads what FormatObjects wrote, in the same order.
func ParseObjects(text string) ([]fleet.ObjectKey, error) {
	if text == "" {
		return nil, nil
	}
	var keys []fleet.ObjectKey
	for group := range strings.SplitSeq(text, ";") {
		fields := strings.Split(group, ",")
		if len(fields) < 5 {
			return nil, fmt.Errorf("parse objects: %q has fewer than five fields", group)
		}
		apiGroup, version, ok := strings.Cut(fields[0], "/")
		if !ok {
			apiGroup, version = "", fields[0]
		}
		plain := append([]string{apiGroup, version}, fields[1:]...)
		for i, field := range plain {
			var err error
			if plain[i], err = url.PathUnescape(field); err != nil {
				return nil, fmt.Errorf("parse objects: %w", err)
			}
		}
		for _, name := range plain[5:] {
			keys = append(keys, fleet.ObjectKey{
				Group: plain[0], Version: plain[1], Kind: plain[2], Resource: plain[3], Namespace: plain[4], Name: name,
			})
		}
	}
	return keys, nil
}
