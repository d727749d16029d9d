package render

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Masterminds/sprig/v3"
)

// Charts may call functions whose result differs from run to run. Whether that matters depends on the values: a password
// that is supplied is used although `default (randAlphaNum 10)` was evaluated beside it. So each gives one of two fixed
// results, and a chart that calls any is rendered with both. Equal output proves that no result of them reaches it; else the
// first call that changes the output is the fault's.
//
// Functions that give the order of a Go map, which is random too, have an order instead: see keys and values. What an
// address in memory reaches is a fault at once: see addressed.

// variant is which of the two fixed results the calls give.
type variant int

const (
	first variant = iota
	second
)

// drawn makes the function of one call. pick says which result it has to give, and notes that it was asked.
type drawn func(m *meter, pick func() variant) any

// moments are what the clock says.
var moments = [2]time.Time{
	time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC),
	time.Date(2035, 11, 25, 16, 17, 18, 0, time.UTC),
}

// random are the functions that draw lots or look at the clock, with the signatures of sprig's.
var random = map[string]drawn{
	"randAlphaNum": letters("q", "z"),
	"randAlpha":    letters("q", "z"),
	"randAscii":    letters("q", "z"),
	"randNumeric":  letters("1", "2"),
	"randBytes": func(m *meter, pick func() variant) any {
		return func(count int) (string, error) {
			if count < 0 {
				return "", errors.New("a negative number of bytes")
			}
			text, err := run(m, "randBytes", count, [2]string{"q", "z"}[pick()])
			return base64.StdEncoding.EncodeToString([]byte(text)), err
		}
	},
	"randInt": func(_ *meter, pick func() variant) any {
		return func(from, to int) (int, error) {
			if to <= from {
				return 0, errors.New("randInt wants a smaller and a larger number")
			}
			return [2]int{from, to - 1}[pick()], nil
		}
	},
	"uuidv4": func(_ *meter, pick func() variant) any {
		return func() string {
			return [2]string{"00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"}[pick()]
		}
	},
	"shuffle": func(m *meter, pick func() variant) any {
		return func(text string) (string, error) {
			if pick() == second {
				_, n := utf8.DecodeRuneInString(text)
				text = text[n:] + text[:n]
			}
			return text, m.make("shuffle", int64(len(text)))
		}
	},
	"bcrypt": func(_ *meter, pick func() variant) any {
		return func(string) string { return hashes[pick()] }
	},
	"htpasswd": func(m *meter, pick func() variant) any {
		return func(user, _ string) (string, error) {
			if strings.Contains(user, ":") {
				return "invalid username: " + user, m.make("htpasswd", int64(len(user)))
			}
			return user + ":" + hashes[pick()], m.make("htpasswd", int64(len(user)))
		}
	},
	"encryptAES": func(m *meter, pick func() variant) any {
		return func(text, _ string) (string, error) {
			sealed := make([]byte, len(text)/16*16+32)
			sealed[0] = byte(pick())
			return base64.StdEncoding.EncodeToString(sealed), m.make("encryptAES", 2*int64(len(sealed)))
		}
	},
	"genPrivateKey": func(_ *meter, pick func() variant) any {
		return func(typ string) string {
			label, ok := map[string]string{"": "RSA PRIVATE KEY", "rsa": "RSA PRIVATE KEY", "dsa": "DSA PRIVATE KEY", "ecdsa": "EC PRIVATE KEY", "ed25519": "PRIVATE KEY"}[typ]
			if !ok {
				return "Unknown type " + typ
			}
			return armoured(label, pick())
		}
	},
	"genCA": func(_ *meter, pick func() variant) any {
		return func(string, int) certificate { return certificateOf(pick()) }
	},
	"genCAWithKey": func(_ *meter, pick func() variant) any {
		return func(_ string, _ int, key string) certificate { return certificate{certificateOf(pick()).Cert, key} }
	},
	"genSelfSignedCert": func(_ *meter, pick func() variant) any {
		return func(string, []any, []any, int) certificate { return certificateOf(pick()) }
	},
	"genSelfSignedCertWithKey": func(_ *meter, pick func() variant) any {
		return func(_ string, _, _ []any, _ int, key string) certificate {
			return certificate{certificateOf(pick()).Cert, key}
		}
	},
	"genSignedCert": func(_ *meter, pick func() variant) any {
		return func(_ string, _, _ []any, _ int, _ any) certificate { return certificateOf(pick()) }
	},
	"genSignedCertWithKey": func(_ *meter, pick func() variant) any {
		return func(_ string, _, _ []any, _ int, _ any, key string) certificate {
			return certificate{certificateOf(pick()).Cert, key}
		}
	},

	"now": func(_ *meter, pick func() variant) any { return func() time.Time { return moments[pick()] } },
	"ago": func(_ *meter, pick func() variant) any {
		return func(date any) string {
			if _, ok := moment(date); !ok {
				return "0s"
			}
			at, _ := moment(date)
			return moments[pick()].Sub(at).Round(time.Second).String()
		}
	},
	"durationRound": func(_ *meter, pick func() variant) any {
		return func(duration any) string {
			if at, ok := duration.(time.Time); ok {
				duration = int64(moments[pick()].Sub(at))
			}
			return roundDuration(duration)
		}
	},
	"date": func(m *meter, pick func() variant) any {
		return func(layout string, date any) (string, error) { return dated(m, pick, layout, date, "Local") }
	},
	"htmlDate": func(m *meter, pick func() variant) any {
		return func(date any) (string, error) { return dated(m, pick, time.DateOnly, date, "Local") }
	},
	"htmlDateInZone": func(m *meter, pick func() variant) any {
		return func(date any, zone string) (string, error) { return dated(m, pick, time.DateOnly, date, zone) }
	},
	"dateInZone":   dateInZone,
	"date_in_zone": dateInZone,
}

func dateInZone(m *meter, pick func() variant) any {
	return func(layout string, date any, zone string) (string, error) { return dated(m, pick, layout, date, zone) }
}

var roundDuration = sprig.TxtFuncMap()["durationRound"].(func(any) string)

// dated writes a date. What is no date means now, as in sprig; the zone of the machine is UTC.
func dated(m *meter, pick func() variant, layout string, date any, zone string) (string, error) {
	if err := m.step(400 + int64(len(layout)+len(zone))/16); err != nil { // a zone is read from a file
		return "", err
	}
	at, ok := moment(date)
	if !ok {
		at = moments[pick()]
	}
	place := time.UTC
	if zone != "Local" {
		if found, err := time.LoadLocation(zone); err == nil {
			place = found
		}
	}
	if err := m.room("date", 16*int64(len(layout))); err != nil {
		return "", err
	}
	text := at.In(place).Format(layout)
	return text, m.make("date", int64(len(text)))
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

func letters(a, b string) drawn {
	return func(m *meter, pick func() variant) any {
		return func(count int) (string, error) {
			if count < 0 {
				return "", nil // as sprig does
			}
			return run(m, "a random text", count, [2]string{a, b}[pick()])
		}
	}
}

// run is a random text: a long enough run of one letter.
func run(m *meter, function string, count int, letter string) (string, error) {
	if err := m.make(function, int64(count)); err != nil {
		return "", err
	}
	return strings.Repeat(letter, count), nil
}

// certificate is what sprig's functions give and take.
type certificate struct{ Cert, Key string }

func certificateOf(v variant) certificate {
	return certificate{Cert: armoured("CERTIFICATE", v), Key: armoured("RSA PRIVATE KEY", v)}
}

func armoured(label string, v variant) string {
	return fmt.Sprintf("-----BEGIN %[1]s-----\n%[2]s\n-----END %[1]s-----\n", label, strings.Repeat([2]string{"q", "z"}[v], 64))
}

var hashes = [2]string{"$2a$10$" + strings.Repeat("q", 53), "$2a$10$" + strings.Repeat("z", 53)}

// call is a call of such a function: where it is, and what tells it from others in each run of the chart.
type call struct {
	*site
	key string
	// inText is true when the call is in a text that tpl renders; template and line are then those of the call of tpl.
	inText bool
}

// maxSuspects bounds how many calls are tried one by one to find the one that changes the output.
const maxSuspects = 64
