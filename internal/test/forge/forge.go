// Package forge is a Git host that tests can steer: what GitHub, GitLab and Bitbucket answer, and what they refuse.
package forge

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Forge behaves as GitHub, GitLab and Bitbucket do towards what this package asks of them, and refuses what they refuse: wrong tokens, rights
// that lack (404), texts that are too long (422, 400), limits (403, 429), states that a pipeline has already (GitLab's 400).
type Forge struct {
	mu sync.Mutex
	// Token that may everything.
	Token string
	Limit string // "primary", "secondary" or "": of the next requests
	Away  bool
	Asked []string // method and path
	// AskedAt is when.
	AskedAt []time.Time
	Pulls   map[int]*Pull
	Checks  map[string]map[string]Check
	// Runs are the check runs of GitHub Apps, by commit, the newest last.
	Runs   map[string][]Run
	NextID int
	Teams  map[string][]string
	Now    time.Time
	// RetryAfter of a secondary limit, in seconds.
	RetryAfter int
	written    map[string]int // statuses, by commit and name
	// OnCheck is called when a check is written, before it is there.
	OnCheck func(sha string, c Check)
}

// Pull is a pull request.
type Pull struct {
	Title, Author, Base, Branch, Head string
	Fork                              bool
	Locked                            bool   // its conversation takes no more comments
	State, Merged                     string // open, closed; but on GitHub merged too
	Notes                             []*Note
	Reviews                           []Review
	Threads                           []*Note  // of GitLab, at lines
	Changed                           []string // file:line that a thread may be at
}

// Note is a comment.
type Note struct {
	ID               int
	Author, Body     string
	Created, Updated time.Time
	System           bool
	Version          int // of Bitbucket Data Center
}

// Review of a pull request.
type Review struct {
	User, State, Commit string
	At                  time.Time // left out, now
}

// Run is a check run.
type Run struct {
	Name, ExternalID, Conclusion string
	Annotations                  []string // file:line message
}

// Check is a commit status.
type Check struct{ State, Description, URL string }

// New gives an empty one.
func New() *Forge {
	return &Forge{
		Token: "good", Pulls: map[int]*Pull{}, Checks: map[string]map[string]Check{}, NextID: 100, Teams: map[string][]string{"platform": {"bob"}},
		RetryAfter: 90, Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

// Do changes what is there while nothing is answered.
func (f *Forge) Do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// Handler serves the API of a kind of host, which is below the path.
func (f *Forge) Handler(kind string) (handler http.Handler, path string) {
	switch kind {
	case "GitHub":
		return f.GitHub(), "/api/v3"
	case "GitLab":
		return f.GitLab(), "/api/v4"
	case "Bitbucket":
		return f.Bitbucket(), "/2.0"
	case "BitbucketDataCenter":
		return f.BitbucketDataCenter(), "/rest/api/latest"
	}
	panic("no such kind of host: " + kind)
}

// Open makes a pull request.
func (f *Forge) Open(number int, head string, fork bool) {
	f.Pulls[number] = &Pull{Title: "change", Author: "alice", Base: "main", Branch: "topic", Head: head, Fork: fork, State: "open"}
}

func (f *Forge) at(r Review) time.Time {
	if r.At.IsZero() {
		return f.Now
	}
	return r.At
}

func (f *Forge) tick() time.Time {
	f.Now = f.Now.Add(time.Minute)
	return f.Now
}

// Comment adds one. The caller holds no lock.
func (f *Forge) Comment(number int, author, body string) *Note {
	at := f.tick()
	f.NextID++
	n := &Note{ID: f.NextID, Author: author, Body: body, Created: at, Updated: at}
	f.Pulls[number].Notes = append(f.Pulls[number].Notes, n)
	return n
}

// begin answers what every request is answered before it is looked at.
func (f *Forge) begin(w http.ResponseWriter, r *http.Request, authorized bool) bool {
	f.Asked, f.AskedAt = append(f.Asked, r.Method+" "+r.URL.EscapedPath()), append(f.AskedAt, time.Now())
	switch {
	case f.Away:
		http.Error(w, "upstream", http.StatusBadGateway)
	case f.Limit == "primary":
		w.Header().Set("X-RateLimit-Limit", "5000")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(30*time.Minute).Unix()))
		refuse(w, http.StatusForbidden, "API rate limit exceeded for user ID 583231.")
	case f.Limit == "secondary":
		w.Header().Set("Retry-After", fmt.Sprint(f.RetryAfter))
		refuse(w, http.StatusForbidden, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
	case f.Limit == "gitlab":
		w.Header().Set("RateLimit-Reset", fmt.Sprint(time.Now().Add(10*time.Minute).Unix()))
		answer(w, http.StatusTooManyRequests, map[string]any{"message": "429 Too Many Requests"})
	case !authorized && r.Header.Get("Private-Token") != "":
		answer(w, http.StatusUnauthorized, map[string]any{"message": "401 Unauthorized"})
	case !authorized:
		refuse(w, http.StatusUnauthorized, "Bad credentials")
	default:
		return true
	}
	return false
}

func answer(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value)
}

func missing(w http.ResponseWriter) { refuse(w, http.StatusNotFound, "Not Found") }

func bodyOf(r *http.Request) map[string]any {
	data, _ := io.ReadAll(r.Body)
	var body map[string]any
	_ = json.Unmarshal(data, &body)
	return body
}

func text(body map[string]any, key string) string {
	value, _ := body[key].(string)
	return value
}

// page cuts a list as the query asks for, and says where the next one is.
func page[T any](w http.ResponseWriter, r *http.Request, list []T, most int) []T {
	per, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	if per == 0 || per > most {
		per = min(30, most)
	}
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from := min(max(n-1, 0)*per, len(list))
	if from+per < len(list) {
		query := r.URL.Query()
		query.Set("page", fmt.Sprint(max(n, 1)+1))
		next := "http://" + r.Host + r.URL.EscapedPath() + "?" + query.Encode()
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, next))
		w.Header().Set("X-Next-Page", fmt.Sprint(max(n, 1)+1))
	}
	return list[from:min(from+per, len(list))]
}

// GitHub serves the API of GitHub Enterprise.
func (f *Forge) GitHub() http.Handler { //nolint:gocyclo,funlen // a list of routes
	mux := http.NewServeMux()
	handle := func(pattern string, do func(w http.ResponseWriter, r *http.Request)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			app := strings.Count(bearer, ".") == 2 && strings.HasPrefix(r.URL.Path, "/api/v3/app") // a JWT is for the App's own
			if f.begin(w, r, bearer == f.Token || app) {
				do(w, r)
			}
		})
	}
	const repo = "/api/v3/repos/acme/fleet"
	number := func(r *http.Request) *Pull {
		n, _ := strconv.Atoi(r.PathValue("number"))
		return f.Pulls[n]
	}
	handle("GET "+repo+"/commits/{ref}/check-runs", func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		for _, run := range slices.Backward(f.Runs[r.PathValue("ref")]) {
			if run.Name == r.URL.Query().Get("check_name") && len(list) == 0 { // filter=latest
				list = append(list, map[string]any{"id": 1, "name": run.Name, "external_id": run.ExternalID})
			}
		}
		answer(w, 200, map[string]any{"total_count": len(list), "check_runs": list})
	})
	handle("POST "+repo+"/check-runs", func(w http.ResponseWriter, r *http.Request) { f.checkRun(w, r) })
	handle("GET "+repo, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, gitHubRepository()) })
	handle("GET "+repo+"/pulls", func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		for _, n := range f.Numbers() {
			if p := f.Pulls[n]; p.State == r.URL.Query().Get("state") && (r.URL.Query().Get("base") == "" || r.URL.Query().Get("base") == p.Base) {
				list = append(list, f.gitHubPull(n, true))
			}
		}
		answer(w, 200, page(w, r, list, 100))
	})
	handle("GET "+repo+"/pulls/{number}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("number"))
		if f.Pulls[n] == nil {
			missing(w)
			return
		}
		answer(w, 200, f.gitHubPull(n, false))
	})
	handle("POST "+repo+"/statuses/{sha}", func(w http.ResponseWriter, r *http.Request) {
		body := bodyOf(r)
		sha := r.PathValue("sha")
		switch {
		case utf8.RuneCountInString(text(body, "description")) > 140:
			invalid(w, "Status", "description", "description is too long (maximum is 140 characters)")
			return
		case !slices.Contains([]string{"pending", "success", "failure", "error"}, text(body, "state")):
			invalid(w, "Status", "state", "state is not included in the list")
			return
		case f.written[sha+" "+text(body, "context")] >= 1000:
			invalid(w, "Status", "sha", "This SHA and context has reached the maximum number of statuses.")
			return
		}
		f.set(sha, text(body, "context"), Check{text(body, "state"), text(body, "description"), text(body, "target_url")})
		answer(w, http.StatusCreated, f.gitHubStatus(sha, body))
	})
	handle("GET "+repo+"/issues/{number}/comments", func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		for _, n := range number(r).Notes {
			list = append(list, gitHubComment(n))
		}
		answer(w, 200, page(w, r, list, 100))
	})
	handle("POST "+repo+"/issues/{number}/comments", func(w http.ResponseWriter, r *http.Request) {
		body := text(bodyOf(r), "body")
		if len(body) > 65536 {
			invalid(w, "IssueComment", "body", "body is too long (maximum is 65536 characters)")
			return
		}
		n, _ := strconv.Atoi(r.PathValue("number"))
		if f.Pulls[n].Locked {
			refuse(w, http.StatusForbidden, "Unable to create comment because issue is locked.")
			return
		}
		answer(w, http.StatusCreated, gitHubComment(f.Comment(n, f.self(), body)))
	})
	handle("PATCH "+repo+"/issues/comments/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, p := range f.Pulls {
			for _, n := range p.Notes {
				if fmt.Sprint(n.ID) == r.PathValue("id") {
					n.Body, n.Updated = text(bodyOf(r), "body"), f.tick()
					answer(w, 200, gitHubComment(n))
					return
				}
			}
		}
		missing(w)
	})
	handle("GET "+repo+"/pulls/{number}/reviews", func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		for i, v := range number(r).Reviews {
			list = append(list, f.gitHubReview(i, v))
		}
		answer(w, 200, page(w, r, list, 100))
	})
	handle("GET /api/v3/orgs/{org}/teams/{team}/memberships/{user}", func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(f.Teams[r.PathValue("team")], r.PathValue("user")) {
			missing(w)
			return
		}
		answer(w, 200, map[string]any{"url": gitHubAPI + "/teams/1/memberships", "role": "member", "state": "active"})
	})
	handle("GET /api/v3/orgs/{org}/teams/{team}", func(w http.ResponseWriter, r *http.Request) {
		if _, ok := f.Teams[r.PathValue("team")]; !ok {
			missing(w)
			return
		}
		answer(w, 200, map[string]any{"id": 1, "name": r.PathValue("team"), "slug": r.PathValue("team"), "privacy": "closed", "permission": "pull", "parent": nil})
	})
	handle("GET /api/v3/user", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, gitHubUser("muster")) })
	handle("GET /api/v3/app", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{"id": 1, "slug": "muster", "name": "Muster", "owner": gitHubUser("acme")})
	})
	handle("POST /api/v3/app/installations/{id}/access_tokens", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != "5" {
			missing(w)
			return
		}
		answer(w, http.StatusCreated, map[string]any{"token": f.Token, "expires_at": time.Now().Add(time.Hour).Format(time.RFC3339)})
	})
	handle("/", func(w http.ResponseWriter, _ *http.Request) { missing(w) }) // what the token may not know of
	return mux
}

// Numbers of the pull requests, the newest first.
func (f *Forge) Numbers() []int {
	var list []int
	for n := range f.Pulls {
		list = append(list, n)
	}
	slices.Sort(list)
	slices.Reverse(list)
	return list
}

// self is how a comment of the token's account is signed: an App is a bot.
func (f *Forge) self() string {
	if f.Token == "installation" {
		return "muster[bot]"
	}
	return "muster"
}

// checkRun is for Apps alone, and takes fifty annotations at a time.
func (f *Forge) checkRun(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name       string `json:"name"`
		HeadSHA    string `json:"head_sha"`
		ExternalID string `json:"external_id"`
		Conclusion string `json:"conclusion"`
		Output     struct {
			Title, Summary string
			Annotations    []struct {
				Path    string `json:"path"`
				Start   int    `json:"start_line"`
				End     int    `json:"end_line"`
				Level   string `json:"annotation_level"`
				Message string `json:"message"`
			}
		} `json:"output"`
	}
	err := json.NewDecoder(r.Body).Decode(&body)
	switch {
	case f.Token != "installation":
		refuse(w, http.StatusForbidden, "You must authenticate via a GitHub App.")
		return
	case err != nil || body.Name == "" || body.HeadSHA == "" || body.Output.Title == "" || body.Output.Summary == "" || len(body.Output.Annotations) > 50:
		answer(w, http.StatusUnprocessableEntity, map[string]any{"message": "Validation Failed"})
		return
	}
	run := Run{Name: body.Name, ExternalID: body.ExternalID, Conclusion: body.Conclusion}
	for _, a := range body.Output.Annotations {
		if a.Path == "" || a.Start < 1 || a.End < a.Start || a.Level != "failure" || a.Message == "" {
			answer(w, http.StatusUnprocessableEntity, map[string]any{"message": "Validation Failed"})
			return
		}
		run.Annotations = append(run.Annotations, fmt.Sprintf("%s:%d %s", a.Path, a.Start, a.Message))
	}
	if f.Runs == nil {
		f.Runs = map[string][]Run{}
	}
	f.Runs[body.HeadSHA] = append(f.Runs[body.HeadSHA], run)
	answer(w, http.StatusCreated, map[string]any{"id": 1})
}

func (f *Forge) set(sha, name string, c Check) {
	if f.OnCheck != nil {
		f.OnCheck(sha, c)
	}
	if f.Checks[sha] == nil {
		f.Checks[sha] = map[string]Check{}
	}
	f.Checks[sha][name] = c
	if f.written == nil {
		f.written = map[string]int{}
	}
	f.written[sha+" "+name]++
}

// GitLab serves the API of GitLab.
func (f *Forge) GitLab() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.begin(w, r, r.Header.Get("Private-Token") == f.Token) {
			return
		}
		path, isProject := strings.CutPrefix(r.URL.EscapedPath(), "/api/v4/projects/acme%2Ffleet")
		if !isProject {
			f.gitLabElse(w, r)
			return
		}
		parts := strings.Split(strings.Trim(path, "/"), "/")
		switch {
		case path == "":
			answer(w, 200, map[string]any{"id": 1, "path_with_namespace": "acme/fleet", "default_branch": "main", "visibility": "private", "archived": false})
		case path == "/merge_requests":
			list := []any{}
			for _, n := range f.Numbers() {
				if p := f.Pulls[n]; p.State == "open" && (r.URL.Query().Get("target_branch") == "" || r.URL.Query().Get("target_branch") == p.Base) {
					list = append(list, f.gitLabMergeRequest(n))
				}
			}
			answer(w, 200, page(w, r, list, 100))
		case parts[0] == "statuses" && r.Method == http.MethodPost:
			f.gitLabStatus(w, r, parts[1])
		case parts[0] == "merge_requests":
			n, _ := strconv.Atoi(parts[1])
			if f.Pulls[n] == nil {
				missing(w)
				return
			}
			f.gitLabRequest(w, r, n, parts[2:])
		default:
			missing(w)
		}
	})
}

func (f *Forge) gitLabStatus(w http.ResponseWriter, r *http.Request, sha string) {
	body := bodyOf(r)
	if utf8.RuneCountInString(text(body, "description")) > 255 || !slices.Contains([]string{"pending", "running", "success", "failed", "canceled"}, text(body, "state")) {
		answer(w, http.StatusBadRequest, map[string]any{"message": "description is too long"})
		return
	}
	name := text(body, "name")
	if f.Checks[sha][name].State == text(body, "state") && text(body, "state") == "pending" {
		answer(w, http.StatusBadRequest, map[string]any{"message": "Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"})
		return
	}
	f.set(sha, name, Check{text(body, "state"), text(body, "description"), text(body, "target_url")})
	answer(w, http.StatusCreated, f.gitLabStatusBody(sha, body))
}

func (f *Forge) gitLabRequest(w http.ResponseWriter, r *http.Request, n int, rest []string) {
	p := f.Pulls[n]
	switch {
	case len(rest) == 0:
		answer(w, 200, f.gitLabMergeRequest(n))
	case rest[0] == "approvals":
		answer(w, 200, gitLabApprovals(p))
	case rest[0] == "notes" && r.Method == http.MethodGet:
		list := []any{}
		for _, c := range p.Notes {
			list = append(list, gitLabNote(c))
		}
		answer(w, 200, page(w, r, list, 100))
	case rest[0] == "notes" && r.Method == http.MethodPost:
		body := text(bodyOf(r), "body")
		if len(body) > 1_000_000 {
			answer(w, http.StatusBadRequest, map[string]any{"message": map[string]any{"note": []string{"is too long (maximum is 1000000 characters)"}}})
			return
		}
		answer(w, http.StatusCreated, gitLabNote(f.Comment(n, "muster", body)))
	case rest[0] == "discussions":
		f.gitLabThreads(w, r, p, rest[1:])
	case rest[0] == "notes" && r.Method == http.MethodPut:
		for _, c := range p.Notes {
			if fmt.Sprint(c.ID) == rest[1] {
				c.Body, c.Updated = text(bodyOf(r), "body"), f.tick()
				answer(w, 200, gitLabNote(c))
				return
			}
		}
		missing(w)
	default:
		missing(w)
	}
}

// gitLabThreads are at lines that the merge request changes.
func (f *Forge) gitLabThreads(w http.ResponseWriter, r *http.Request, p *Pull, rest []string) {
	shown := func(c *Note) map[string]any {
		return map[string]any{"id": fmt.Sprint("thread", c.ID), "individual_note": false, "notes": []any{gitLabNote(c)}}
	}
	switch r.Method {
	case http.MethodGet:
		list := []any{}
		for _, c := range p.Threads {
			list = append(list, shown(c))
		}
		answer(w, 200, page(w, r, list, 100))
	case http.MethodPost:
		body := bodyOf(r)
		position, _ := body["position"].(map[string]any)
		line, _ := position["new_line"].(float64)
		at := fmt.Sprintf("%s:%d", text(position, "new_path"), int(line))
		if text(position, "position_type") != "text" || text(position, "old_path") == "" || text(position, "head_sha") != p.Head || !slices.Contains(p.Changed, at) {
			answer(w, http.StatusBadRequest, map[string]any{"message": "400 Bad request - Note {:line_code=>[\"can't be blank\"]}"})
			return
		}
		f.NextID++
		c := &Note{ID: f.NextID, Author: "muster", Body: text(body, "body"), Created: f.tick(), Updated: f.Now}
		p.Threads = append(p.Threads, c)
		answer(w, http.StatusCreated, shown(c))
	case http.MethodDelete: // thread/notes/id
		p.Threads = slices.DeleteFunc(p.Threads, func(c *Note) bool { return len(rest) == 3 && fmt.Sprint(c.ID) == rest[2] })
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f *Forge) gitLabElse(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.EscapedPath(); {
	case path == "/api/v4/user":
		answer(w, 200, gitLabUser("muster"))
	case strings.HasPrefix(path, "/api/v4/groups/acme%2Fplatform/members/all"):
		list := []any{}
		for _, user := range f.Teams["platform"] {
			if strings.Contains(user, r.URL.Query().Get("query")) {
				list = append(list, gitLabUser(user))
			}
		}
		answer(w, 200, page(w, r, list, 100))
	default:
		missing(w)
	}
}
