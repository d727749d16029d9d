package githost

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// rest asks an API for which there is no SDK that somebody keeps: JSON over HTTP.
type rest struct {
	client                *http.Client
	base, username, token string
}

// do sends a request below the base, or to a whole URL that the API has given, and reads the answer. It gives the answer's header.
func (r *rest) do(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode a request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	address := path
	if !strings.HasPrefix(path, r.base+"/") {
		address = r.base + path
	}
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("spec.review.apiURL: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.username != "" {
		request.SetBasicAuth(r.username, r.token)
	} else {
		request.Header.Set("Authorization", "Bearer "+r.token)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if out != nil {
		if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
			return nil, fmt.Errorf("the Git host answers %s %s with what is no JSON: %w", method, request.URL.Path, err)
		}
	}
	return answer.Header, nil
}

// hidden and shown translate the line by which a comment of ours is found again. A comment of HTML, which other hosts hide, is text on
// Bitbucket; a link definition that nothing refers to is hidden there.
func hidden(body string) string {
	first, rest, _ := strings.Cut(body, "\n")
	marker, isMarker := strings.CutPrefix(first, "<!-- ")
	marker, ends := strings.CutSuffix(marker, " -->")
	if !isMarker || !ends || strings.ContainsAny(marker, "[]") {
		return body
	}
	return "[" + marker + "]: #\n\n" + rest
}

func shown(body string) string {
	first, rest, _ := strings.Cut(strings.ReplaceAll(body, "\r\n", "\n"), "\n")
	marker, isMarker := strings.CutPrefix(first, "[muster:")
	marker, ends := strings.CutSuffix(marker, "]: #")
	if !isMarker || !ends {
		return body
	}
	return "<!-- muster:" + marker + " -->\n" + strings.TrimPrefix(rest, "\n")
}

// millis is a time as Bitbucket Data Center has it.
func millis(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n)
}
