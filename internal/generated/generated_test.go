package generated

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestMake(t *testing.T) {
	cases := map[string]struct {
		call Call
		want string // a pattern
	}{
		"letters and digits": {Call{"randAlphaNum", []string{"32"}}, `^[a-zA-Z0-9]{32}$`},
		"letters":            {Call{"randAlpha", []string{"8"}}, `^[a-zA-Z]{8}$`},
		"digits":             {Call{"randNumeric", []string{"6"}}, `^[0-9]{6}$`},
		"ascii":              {Call{"randAscii", []string{"20"}}, `^[ -~]{20}$`},
		"bytes":              {Call{"randBytes", []string{"16"}}, `^[A-Za-z0-9+/]{22}==$`},
		"uuid":               {Call{"uuidv4", nil}, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`},
		"rsa":                {Call{"genPrivateKey", []string{"rsa"}}, `^-----BEGIN RSA PRIVATE KEY-----\n`},
		"ecdsa":              {Call{"genPrivateKey", []string{"ecdsa"}}, `^-----BEGIN EC PRIVATE KEY-----\n`},
		"ed25519":            {Call{"genPrivateKey", []string{"ed25519"}}, `^-----BEGIN PRIVATE KEY-----\n`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			first, err := Make(c.call)
			if err != nil || !regexp.MustCompile(c.want).MatchString(first[Value]) {
				t.Fatalf("made %q, %v", first, err)
			}
			if second, err := Make(c.call); err != nil || second[Value] == first[Value] {
				t.Errorf("made the same again, %v", err)
			}
		})
	}
	hash, err := Make(Call{"bcrypt", []string{"secret"}})
	if err != nil || bcrypt.CompareHashAndPassword([]byte(hash[Value]), []byte("secret")) != nil {
		t.Errorf("bcrypt: %v", err)
	}
	for _, call := range []Call{{"randInt", []string{"1", "2"}}, {"randAlpha", nil}, {"randAlpha", []string{"99999999"}}, {"genCA", []string{"a"}}, {"genPrivateKey", []string{"dsa"}}} {
		if made, err := Make(call); err == nil {
			t.Errorf("%v made %q", call, made)
		}
	}
}

func TestCertificatesAreOfTheirAuthority(t *testing.T) {
	ca, err := Make(Call{"genCA", []string{"shop-ca", "365"}})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := Make(Call{"genSignedCert", []string{"shop", "30", "127.0.0.1", "shop.svc,shop", ca[Cert], ca[Key]}})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca[Cert]))
	block, _ := pem.Decode([]byte(signed[Cert]))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop.svc", "127.0.0.1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if own, err := Make(Call{"genSelfSignedCert", []string{"shop", "30", "", "shop"}}); err != nil || !strings.HasPrefix(own[Cert], "-----BEGIN CERTIFICATE-----") {
		t.Errorf("signed by itself: %v", err)
	}
	if _, err := Make(Call{"genSignedCert", []string{"shop", "30", "", "shop", "none", "none"}}); err == nil {
		t.Error("an authority that is none")
	}
}

func TestFillFindsWhatIsEncoded(t *testing.T) {
	id := ID("retail/shop", Call{Function: "randAlphaNum", Args: []string{"8"}}, 1)
	p := Placeholder(id, Value)
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for text, want := range map[string]string{
		p:                                "S3cret",
		"user:" + p + "@db":              "user:S3cret@db",
		b64("ann:" + p):                  b64("ann:S3cret"),
		`{"auth":"` + b64("a:"+p) + `"}`: `{"auth":"` + b64("a:S3cret") + `"}`,
		b64("x " + b64("yz"+p)):          b64("x " + b64("yzS3cret")),
		b64("nothing to be seen here, whatever its length is"): b64("nothing to be seen here, whatever its length is"),
		p[:len(p)-1]: p[:len(p)-1],
	} {
		got, err := Fill(text, func(of, part string) (string, error) {
			if of != id || part != Value {
				t.Errorf("asked for %s %s", of, part)
			}
			return "S3cret", nil
		})
		if err != nil || got != want {
			t.Errorf("%s became %s, %v; want %s", text, got, err, want)
		}
	}
}

func FuzzFill(f *testing.F) {
	f.Add("user:" + Placeholder(strings.Repeat("0a", 12), Value))
	f.Fuzz(func(t *testing.T, text string) {
		same, err := Fill(text, func(id, part string) (string, error) { return Placeholder(id, part), nil })
		if err != nil || same != text {
			t.Errorf("%q became %q, %v", text, same, err)
		}
	})
}
