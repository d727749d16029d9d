// Package doctor finds what keeps a hub from working, or a cluster from joining it.
//
// A check looks at one thing that commonly fails and says what is wrong and what to do next. Checks read; they change nothing.
package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// State of what a check looked at.
type State string

// The states.
const (
	OK      State = "ok"
	Problem State = "problem"
	Unknown State = "unknown" // it cannot be seen, or another problem hides it
)

// Finding is the answer of one check.
type Finding struct {
	Check   string `json:"check"`
	State   State  `json:"state"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"` // what to do, of a problem
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, State: OK, Message: fmt.Sprintf(format, args...)}
}

func problem(check, next, format string, args ...any) Finding {
	return Finding{Check: check, State: Problem, Message: fmt.Sprintf(format, args...), Next: next}
}

func unknown(check, format string, args ...any) Finding {
	return Finding{Check: check, State: Unknown, Message: fmt.Sprintf(format, args...)}
}

// Problems are those findings that are problems.
func Problems(all []Finding) []Finding {
	var found []Finding
	for _, f := range all {
		if f.State == Problem {
			found = append(found, f)
		}
	}
	return found
}

// NotOK are those findings that are problems or unknown.
func NotOK(all []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(all), func(f Finding) bool { return f.State == OK })
}

// probeTimeout bounds one question to an API server.
const probeTimeout = 10 * time.Second

// clockTolerance is how far two clocks may be apart. A certificate counts from the minute it was issued, and tokens too.
const clockTolerance = time.Minute

// answer is what an API server said to a first question.
type answer struct {
	err  error
	date time.Time // of its clock; zero if it did not say
}

// ask asks an API server who the caller is allowed to be: the answer needs DNS, the network, a trusted certificate and a valid
// credential.
func ask(ctx context.Context, config *rest.Config) answer {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return answer{err: err}
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return answer{err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("api").String(), nil) // discovery: all who are authenticated may read it
	if err != nil {
		return answer{err: err}
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	a := answer{}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		a.date = date
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusForbidden:
	case http.StatusUnauthorized:
		a.err = apierrors.NewUnauthorized("the API server rejected the credential")
	default:
		a.err = fmt.Errorf("it answers %s", response.Status)
	}
	return a
}

// reach turns an answer into findings about the way: address, certificate, credential, clock. who is whose API server it is,
// fix the part of a sentence that says where its address is written.
func reach(who, host, fix string, a answer, now time.Time) []Finding {
	address, trust, credential, clock := who+": address", who+": certificate", who+": credential", who+": clock"
	if f, failed := notReached(address, host, fix, a.err); failed {
		return []Finding{f}
	}
	findings := []Finding{ok(address, "%s answers", host)}
	if next, failed := notTrusted(a.err); failed {
		return append(findings, problem(trust, next+" "+fix, "%v", rootCause(a.err)))
	}
	findings = append(findings, ok(trust, "it is trusted"))
	switch {
	case apierrors.IsUnauthorized(a.err):
		findings = append(findings, problem(credential, "make a new one: muster join NAME for an agent; for yourself log in again", "%s rejected the credential: it has expired, or it is of another cluster", host))
	case a.err != nil:
		findings = append(findings, problem(credential, "see whether it is a Kubernetes API server, and "+fix, "%v", a.err))
	default:
		findings = append(findings, ok(credential, "it is accepted"))
	}
	if !a.date.IsZero() {
		if skew := now.Sub(a.date); skew.Abs() > clockTolerance {
			findings = append(findings, problem(clock, "set both clocks by NTP: certificates and tokens are judged by them",
				"the clock here and that of %s are %s apart", host, skew.Abs().Round(time.Second)))
		} else {
			findings = append(findings, ok(clock, "it agrees with the one here"))
		}
	}
	return findings
}

// notReached says why an address cannot be reached.
func notReached(check, host, fix string, err error) (Finding, bool) {
	var dns *net.DNSError
	var network *net.OpError
	switch {
	case err == nil:
		return Finding{}, false
	case errors.As(err, &dns):
		return problem(check, "see whether it is written well and whether DNS knows it where the agent runs; "+fix, "the name %s cannot be resolved", dns.Name), true
	case strings.Contains(err.Error(), "proxyconnect"):
		return problem(check, "see whether the proxy runs and lets the address through; it comes from proxy-url in the kubeconfig or from HTTPS_PROXY; NO_PROXY names exceptions",
			"the proxy on the way to %s does not answer: %v", host, rootCause(err)), true
	case errors.Is(err, syscall.ECONNREFUSED):
		return problem(check, "see whether the API server runs and the port is right; "+fix, "nobody listens at %s", host), true
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return problem(check, "see whether a firewall or a missing proxy is in the way (HTTPS_PROXY, proxy-url); "+fix, "%s does not answer within %s", host, probeTimeout), true
	case errors.As(err, &network):
		return problem(check, "see whether the network leads there; "+fix, "%s cannot be reached: %v", host, rootCause(err)), true
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return problem(check, "name the https port; "+fix, "%s speaks HTTP and no HTTPS", host), true
	}
	return Finding{}, false
}

// notTrusted says what is wrong with a server's certificate.
func notTrusted(err error) (next string, failed bool) {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return "give the CA that signed it: certificate-authority-data of the kubeconfig (muster join --hub-ca-file);", true
	case errors.As(err, &name):
		return "use a name that is in the certificate, or say tls-server-name;", true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the certificate of the API server, or set the clock here;", true
	case errors.As(err, &invalid):
		return "", true
	}
	return "", false
}

// rootCause is the innermost error: what is around it repeats the address.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
