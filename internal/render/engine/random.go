package engine

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"
	_ "time/tzdata" // so that a zone is the same on a machine that has no list of them
	"unicode/utf8"

	"github.com/Masterminds/sprig/v3"
)

// Charts may call functions whose result differs from run to run. Whether that matters depends on the values: a password
// that is supplied is used although `default (randAlphaNum 10)` was evaluated beside it. So each call gives one of two fixed
// results, and a chart that makes such calls is rendered with both. Equal output proves that no result of them reaches it.
// Otherwise the first call that changes the output is searched for, and made to fail: Helm's error then says where it is.
//
// Functions that give the order of a Go map, which is random too, have an order instead: see keys and values. Addresses in
// memory differ between the two runs by themselves.

// draws gives the random and time functions of one run, and counts their calls.
type draws struct {
	// second is how many of the first calls give their second result.
	second int
	// stop is the call that fails; 0 is none.
	stop  int
	calls int
	// generate gives placeholders for what a cluster can make; nil gives none.
	generate *generator
}

// all is more calls than there are.
const all = math.MaxInt

// drawnError is the failure of the call that is searched for.
type drawnError struct{ function string }

func (e *drawnError) Error() string { return e.function + " is not deterministic" }

// draw says which of its two results, 0 or 1, a call gives.
func (d *draws) draw(function string) (int, error) {
	d.calls++
	switch {
	case d.calls == d.stop:
		return 0, &drawnError{function}
	case d.calls <= d.second:
		return 1, nil
	}
	return 0, nil
}

// drawn makes a result of one of two.
func drawn[T any](d *draws, function string, results [2]T) (T, error) {
	which, err := d.draw(function)
	return results[which], err
}

// moments are what the clock says.
var moments = [2]time.Time{
	time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC),
	time.Date(2035, 11, 25, 16, 17, 18, 0, time.UTC),
}

// functions take the place of those of sprig and Helm that draw lots, look at the clock, at the machine's time zone or at the
// order of a Go map.
func (d *draws) functions() template.FuncMap {
	functions := template.FuncMap{"keys": keys, "values": values, "toDate": toDate, "mustToDate": mustToDate}
	maps.Copy(functions, d.texts())
	maps.Copy(functions, d.certificates())
	maps.Copy(functions, d.times())
	return functions
}

func (d *draws) texts() template.FuncMap {
	letters := func(function, a, b string) func(count int) (string, error) {
		return func(count int) (string, error) {
			letter, err := drawn(d, function, [2]string{a, b})
			return strings.Repeat(letter, max(count, 0)), err
		}
	}
	bytes := letters("randBytes", "q", "z")
	return template.FuncMap{
		"randAlphaNum": letters("randAlphaNum", "q", "z"),
		"randAlpha":    letters("randAlpha", "q", "z"),
		"randAscii":    letters("randAscii", "q", "z"),
		"randNumeric":  letters("randNumeric", "1", "2"),
		"randBytes": func(count int) (string, error) {
			if count < 0 {
				return "", errors.New("a negative number of bytes")
			}
			text, err := bytes(count)
			return base64.StdEncoding.EncodeToString([]byte(text)), err
		},
		"randInt": func(from, to int) (int, error) {
			if to <= from {
				return 0, errors.New("randInt wants a smaller and a larger number")
			}
			return drawn(d, "randInt", [2]int{from, to - 1})
		},
		"uuidv4": func() (string, error) {
			return drawn(d, "uuidv4", [2]string{"00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"})
		},
		"shuffle": func(text string) (string, error) {
			_, n := utf8.DecodeRuneInString(text)
			return drawn(d, "shuffle", [2]string{text, text[n:] + text[:n]})
		},
		"bcrypt": func(string) (string, error) { return drawn(d, "bcrypt", hashes) },
		"htpasswd": func(user, _ string) (string, error) {
			if strings.Contains(user, ":") {
				return "invalid username: " + user, nil
			}
			hash, err := drawn(d, "htpasswd", hashes)
			return user + ":" + hash, err
		},
		"encryptAES": func(text, _ string) (string, error) {
			which, err := d.draw("encryptAES")
			sealed := make([]byte, len(text)/16*16+32)
			sealed[0] = byte(which)
			return base64.StdEncoding.EncodeToString(sealed), err
		},
	}
}

var hashes = [2]string{"$2a$10$" + strings.Repeat("q", 53), "$2a$10$" + strings.Repeat("z", 53)}

// certificate is what sprig's functions give and take.
type certificate struct{ Cert, Key string }

func (d *draws) certificates() template.FuncMap {
	drawCertificate := func(function string) (certificate, error) {
		which, err := d.draw(function)
		return certificate{Cert: armoured("CERTIFICATE", which), Key: armoured("RSA PRIVATE KEY", which)}, err
	}
	withKey := func(function, key string) (certificate, error) {
		c, err := drawCertificate(function)
		return certificate{c.Cert, key}, err
	}
	return template.FuncMap{
		"genPrivateKey": func(typ string) (string, error) {
			label, ok := map[string]string{"": "RSA PRIVATE KEY", "rsa": "RSA PRIVATE KEY", "dsa": "DSA PRIVATE KEY", "ecdsa": "EC PRIVATE KEY", "ed25519": "PRIVATE KEY"}[typ]
			if !ok {
				return "Unknown type " + typ, nil
			}
			which, err := d.draw("genPrivateKey")
			return armoured(label, which), err
		},
		"genCA":             func(string, int) (certificate, error) { return drawCertificate("genCA") },
		"genCAWithKey":      func(_ string, _ int, key string) (certificate, error) { return withKey("genCAWithKey", key) },
		"genSelfSignedCert": func(string, []any, []any, int) (certificate, error) { return drawCertificate("genSelfSignedCert") },
		"genSelfSignedCertWithKey": func(_ string, _, _ []any, _ int, key string) (certificate, error) {
			return withKey("genSelfSignedCertWithKey", key)
		},
		"genSignedCert": func(_ string, _, _ []any, _ int, _ any) (certificate, error) { return drawCertificate("genSignedCert") },
		"genSignedCertWithKey": func(_ string, _, _ []any, _ int, _ any, key string) (certificate, error) {
			return withKey("genSignedCertWithKey", key)
		},
	}
}

func armoured(label string, which int) string {
	return fmt.Sprintf("-----BEGIN %[1]s-----\n%[2]s\n-----END %[1]s-----\n", label, strings.Repeat([2]string{"q", "z"}[which], 64))
}

func (d *draws) times() template.FuncMap {
	dateInZone := func(layout string, date any, zone string) (string, error) {
		return d.date("dateInZone", layout, date, zone)
	}
	return template.FuncMap{
		"now": func() (time.Time, error) { return drawn(d, "now", moments) },
		"ago": func(date any) (string, error) {
			then, ok := moment(date)
			if !ok {
				return "0s", nil
			}
			now, err := drawn(d, "ago", moments)
			return now.Sub(then).Round(time.Second).String(), err
		},
		"durationRound": func(duration any) (string, error) {
			then, ok := duration.(time.Time)
			if !ok {
				return roundDuration(duration), nil
			}
			now, err := drawn(d, "durationRound", moments)
			return roundDuration(int64(now.Sub(then))), err
		},
		"date":     func(layout string, date any) (string, error) { return d.date("date", layout, date, "Local") },
		"htmlDate": func(date any) (string, error) { return d.date("htmlDate", time.DateOnly, date, "Local") },
		"htmlDateInZone": func(date any, zone string) (string, error) {
			return d.date("htmlDateInZone", time.DateOnly, date, zone)
		},
		"dateInZone":   dateInZone,
		"date_in_zone": dateInZone,
	}
}

// roundDuration is sprig's.
func roundDuration(duration any) string { return sprigDurationRound()(duration) }

var sprigDurationRound = sync.OnceValue(func() func(any) string { return sprig.TxtFuncMap()["durationRound"].(func(any) string) })

// date writes a date. What is no date means now, as in sprig; the zone of the machine is UTC.
func (d *draws) date(function, layout string, date any, zone string) (string, error) {
	then, ok := moment(date)
	if !ok {
		var err error
		if then, err = drawn(d, function, moments); err != nil {
			return "", err
		}
	}
	place := time.UTC
	if zone != "Local" {
		if found, err := time.LoadLocation(zone); err == nil {
			place = found
		}
	}
	return then.In(place).Format(layout), nil
}

// moment is the time that a value stands for.
func moment(date any) (time.Time, bool) {
	switch date := date.(type) {
	case time.Time:
		return date, true
	case *time.Time:
		return *date, true
	case int64:
		return time.Unix(date, 0), true
	case int:
		return time.Unix(int64(date), 0), true
	case int32:
		return time.Unix(int64(date), 0), true
	}
	return time.Time{}, false
}

// keys and values, which sprig gives in the order of a Go map.
func keys(tables ...map[string]any) []string {
	found := []string{}
	for _, table := range tables {
		found = append(found, slices.Sorted(maps.Keys(table))...)
	}
	return found
}

func values(table map[string]any) []any {
	found := []any{}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		found = append(found, table[key])
	}
	return found
}

// toDate and mustToDate read a date in UTC, where sprig takes the zone of the machine.
func toDate(layout, text string) time.Time {
	t, _ := time.ParseInLocation(layout, text, time.UTC)
	return t
}

func mustToDate(layout, text string) (time.Time, error) {
	return time.ParseInLocation(layout, text, time.UTC)
}
