package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/smtp"
	"net/url"
	"strconv"
	"strings"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Refusal is an answer that will be the same next time: the message is given up.
type Refusal struct{ error }

func (r *Refusal) Unwrap() error { return r.error }

// Later is an answer that asks for patience.
type Later struct {
	error
	After time.Duration
}

func (l *Later) Unwrap() error { return l.error }

// timeout of one attempt.
const timeout = 20 * time.Second

// Send tells a receiver. The error has neither its URL, which may be a secret, nor what it answered but for the status.
func Send(ctx context.Context, spec *musterv1alpha1.NotificationSpec, secret Secret, m Message, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	roots, err := rootsOf(secret)
	if err != nil {
		return &Refusal{err}
	}
	if spec.Type == musterv1alpha1.NotifyEmail {
		return sendMail(ctx, spec.Email, secret, roots, m, now)
	}
	requests, err := Requests(ctx, spec, secret, m, now)
	if err != nil {
		return &Refusal{err}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	transport.DisableKeepAlives = true
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, request := range requests {
		answer, err := client.Do(request)
		if err != nil {
			return plainError(err)
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
		_ = answer.Body.Close()
		if err := judge(answer); err != nil {
			return err
		}
	}
	return nil
}

// plainError is a network error without the URL.
func plainError(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return fmt.Errorf("the receiver cannot be reached: %w", err)
}

// judge says what an answer means: taken, later, or never.
func judge(answer *http.Response) error {
	code := answer.StatusCode
	err := fmt.Errorf("the receiver answers %s", answer.Status)
	switch {
	case code < 300:
		return nil
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		if seconds, ok := strconv.ParseFloat(answer.Header.Get("Retry-After"), 64); ok == nil && seconds > 0 { // Discord's has a fraction
			return &Later{err, min(time.Duration(seconds*float64(time.Second)), time.Hour)}
		}
		return err
	case code >= 500 || code == http.StatusRequestTimeout:
		return err
	}
	return &Refusal{err}
}

func rootsOf(secret Secret) (*x509.CertPool, error) {
	if secret["caFile"] == "" {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM([]byte(secret["caFile"])) {
		return nil, errors.New("the Secret's key caFile holds no certificate: it wants PEM")
	}
	return roots, nil
}

// sendMail sends over SMTP. A password is sent over TLS only, or to this machine.
func sendMail(ctx context.Context, to *musterv1alpha1.EmailReceiver, secret Secret, roots *x509.CertPool, m Message, now time.Time) error {
	host, port, err := net.SplitHostPort(to.Server)
	if err != nil {
		return &Refusal{fmt.Errorf("spec.email.server is not host:port: %w", err)}
	}
	text, from, recipients, err := Mail(to, m, now)
	if err != nil {
		return &Refusal{err}
	}
	config := &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12}
	var conn net.Conn
	dialer := &net.Dialer{}
	if port == "465" {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", to.Server)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", to.Server)
	}
	if err != nil {
		return fmt.Errorf("the mail server cannot be reached: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("the mail server does not speak SMTP: %w", err)
	}
	defer func() { _ = c.Close() }()
	if offered, _ := c.Extension("STARTTLS"); offered && port != "465" {
		if err := c.StartTLS(config); err != nil {
			return fmt.Errorf("begin TLS with the mail server: %w", err)
		}
	}
	if secret["username"] != "" {
		if err := c.Auth(smtp.PlainAuth("", secret["username"], secret["password"], host)); err != nil {
			return verdict("sign in at the mail server", err)
		}
	}
	if err := c.Mail(from); err != nil {
		return verdict("mail from "+from, err)
	}
	for _, r := range recipients {
		if err := c.Rcpt(r); err != nil {
			return verdict("mail to "+r, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return verdict("mail", err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	if err := w.Close(); err != nil {
		return verdict("mail", err)
	}
	_ = c.Quit() // it has been taken
	return nil
}

// verdict of a mail server: 5xx is for ever.
func verdict(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	text := errors.Unwrap(err).Error()
	if strings.HasPrefix(text, "5") || strings.Contains(text, "unencrypted connection") {
		return &Refusal{err}
	}
	return err
}

// Mail is a message as mail: headers that nothing in it can add to, and plain text.
func Mail(to *musterv1alpha1.EmailReceiver, m Message, now time.Time) (text, from string, recipients []string, err error) {
	sender, err := mail.ParseAddress(to.From)
	if err != nil {
		return "", "", nil, fmt.Errorf("spec.email.from: %w", err)
	}
	var shown []string
	for _, t := range to.To {
		a, err := mail.ParseAddress(t)
		if err != nil {
			return "", "", nil, fmt.Errorf("spec.email.to: %w", err)
		}
		recipients, shown = append(recipients, a.Address), append(shown, a.String())
	}
	var b strings.Builder
	for _, header := range [][2]string{
		{"From", sender.String()}, {"To", strings.Join(shown, ", ")}, {"Subject", mime.QEncoding.Encode("utf-8", strings.Join(strings.Fields(m.Title), " "))},
		{"Date", now.Format(time.RFC1123Z)}, {"Message-ID", "<" + m.ID + "@muster.dev>"}, {"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	} {
		b.WriteString(header[0] + ": " + header[1] + "\r\n")
	}
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	if _, err := io.WriteString(q, strings.ReplaceAll(m.Body, "\r", "")); err != nil {
		return "", "", nil, err
	}
	if err := q.Close(); err != nil {
		return "", "", nil, err
	}
	return b.String() + "\r\n", sender.Address, recipients, nil
}
