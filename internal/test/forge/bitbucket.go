package forge

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// FullHash is the hash of a commit, of which Bitbucket Cloud tells the beginning in pull requests.
func FullHash(hash string) string { return hash + strings.Repeat("0", 40-len(hash)) }

// bitbucketState is how both Bitbuckets call it.
func bitbucketState(p *Pull) string {
	return map[string]string{"open": "OPEN", "closed": "DECLINED", "merged": "MERGED"}[p.State]
}

// build is a status of a commit, as both take it: they want a URL, and Cloud a short key.
func (f *Forge) build(w http.ResponseWriter, r *http.Request, sha string, maxKey int) {
	body := bodyOf(r)
	key := text(body, "key")
	if key == "" || len(key) > maxKey || !strings.HasPrefix(text(body, "url"), "http") || utf8.RuneCountInString(text(body, "description")) > 255 ||
		!slices.Contains([]string{"INPROGRESS", "SUCCESSFUL", "FAILED"}, text(body, "state")) {
		answer(w, http.StatusBadRequest, map[string]any{"type": "error", "error": map[string]any{"message": "key: Bad Request"}})
		return
	}
	f.set(sha, key, Check{text(body, "state"), text(body, "description"), text(body, "url")})
	answer(w, http.StatusCreated, body)
}

// words are the last of each reviewer.
func (p *Pull) words() map[string]Review {
	last := map[string]Review{}
	for _, v := range p.Reviews {
		last[v.User] = v
	}
	return last
}

// find a comment of a pull request.
func (p *Pull) find(id string) *Note {
	for _, n := range p.Notes {
		if fmt.Sprint(n.ID) == id {
			return n
		}
	}
	return nil
}

// Bitbucket serves the API of Bitbucket Cloud: to an account with its e-mail address and the token, or to the bearer of the token.
func (f *Forge) Bitbucket() http.Handler { //nolint:gocyclo,funlen // a list of routes
	mux := http.NewServeMux()
	const repo = "/2.0/repositories/acme/fleet"
	handle := func(pattern string, do func(w http.ResponseWriter, r *http.Request, p *Pull)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			user, password, basic := r.BasicAuth()
			known := basic && strings.Contains(user, "@") && password == f.Token || r.Header.Get("Authorization") == "Bearer "+f.Token
			if !f.begin(w, r, known) {
				return
			}
			n, _ := strconv.Atoi(r.PathValue("number"))
			p := f.Pulls[n]
			if r.PathValue("number") != "" && p == nil {
				answer(w, http.StatusNotFound, map[string]any{"type": "error", "error": map[string]any{"message": "Resource not found"}})
				return
			}
			do(w, r, p)
		})
	}
	user := func(name string) map[string]any {
		return map[string]any{"account_id": name, "nickname": "anybody"}
	}
	shown := func(n int, p *Pull) map[string]any {
		from, participants := "acme/fleet", []any{}
		if p.Fork {
			from = "eve/fleet"
		}
		for _, v := range p.words() {
			participants = append(participants, map[string]any{"user": user(v.User), "approved": v.State == "APPROVED"})
		}
		side := func(branch, hash, repository string) map[string]any {
			return map[string]any{"branch": map[string]any{"name": branch}, "commit": map[string]any{"hash": hash}, "repository": map[string]any{"full_name": repository}}
		}
		return map[string]any{
			"id": n, "title": p.Title, "state": bitbucketState(p), "author": user(p.Author), "source": side(p.Branch, p.Head[:min(12, len(p.Head))], from),
			"destination": side(p.Base, "", "acme/fleet"), "merge_commit": map[string]any{"hash": p.Merged[:min(12, len(p.Merged))]}, "updated_on": f.Now,
			"links": map[string]any{"html": map[string]any{"href": fmt.Sprint("https://bitbucket.org/acme/fleet/pull-requests/", n)}}, "participants": participants,
		}
	}
	comment := func(n *Note) map[string]any {
		return map[string]any{
			"id": n.ID, "content": map[string]any{"raw": n.Body}, "user": user(n.Author), "created_on": n.Created, "updated_on": n.Updated,
			"links": map[string]any{"html": map[string]any{"href": fmt.Sprint("https://bitbucket.org/c/", n.ID)}},
		}
	}
	pages := func(w http.ResponseWriter, r *http.Request, list []any) {
		per, _ := strconv.Atoi(r.URL.Query().Get("pagelen"))
		n, _ := strconv.Atoi(r.URL.Query().Get("page"))
		from := min(max(n-1, 0)*max(per, 10), len(list))
		to := min(from+max(per, 10), len(list))
		out := map[string]any{"values": list[from:to]}
		if to < len(list) {
			query := r.URL.Query()
			query.Set("page", fmt.Sprint(max(n, 1)+1))
			out["next"] = "http://" + r.Host + r.URL.Path + "?" + query.Encode()
		}
		answer(w, 200, out)
	}
	handle("GET "+repo, func(w http.ResponseWriter, _ *http.Request, _ *Pull) {
		answer(w, 200, map[string]any{"mainbranch": map[string]any{"name": "main"}})
	})
	handle("GET "+repo+"/pullrequests", func(w http.ResponseWriter, r *http.Request, _ *Pull) {
		list := []any{}
		for _, n := range f.Numbers() {
			query := r.URL.Query().Get("q")
			if p := f.Pulls[n]; p.State == "open" && strings.Contains(query, `state="OPEN"`) && (!strings.Contains(query, "branch") || strings.Contains(query, fmt.Sprintf("destination.branch.name=%q", p.Base))) {
				list = append(list, shown(n, p))
			}
		}
		pages(w, r, list)
	})
	handle("GET "+repo+"/pullrequests/{number}", func(w http.ResponseWriter, r *http.Request, p *Pull) {
		n, _ := strconv.Atoi(r.PathValue("number"))
		answer(w, 200, shown(n, p))
	})
	handle("GET "+repo+"/commit/{hash}", func(w http.ResponseWriter, r *http.Request, _ *Pull) {
		for _, p := range f.Pulls {
			for _, hash := range []string{p.Head, p.Merged} {
				if hash != "" && strings.HasPrefix(hash, r.PathValue("hash")) {
					answer(w, 200, map[string]any{"hash": FullHash(hash)})
					return
				}
			}
		}
		missing(w)
	})
	handle("POST "+repo+"/commit/{hash}/statuses/build", func(w http.ResponseWriter, r *http.Request, _ *Pull) { f.build(w, r, r.PathValue("hash"), 40) })
	handle("GET "+repo+"/pullrequests/{number}/comments", func(w http.ResponseWriter, r *http.Request, p *Pull) {
		list := []any{map[string]any{"id": 1, "deleted": true, "content": map[string]any{"raw": ""}}}
		for _, n := range p.Notes {
			list = append(list, comment(n))
		}
		pages(w, r, list)
	})
	write := func(do func(w http.ResponseWriter, r *http.Request, p *Pull, body string)) func(http.ResponseWriter, *http.Request, *Pull) {
		return func(w http.ResponseWriter, r *http.Request, p *Pull) {
			content, _ := bodyOf(r)["content"].(map[string]any)
			if body := text(content, "raw"); body != "" && len(body) <= 32768 {
				do(w, r, p, body)
				return
			}
			answer(w, http.StatusBadRequest, map[string]any{"type": "error", "error": map[string]any{"message": "Bad request", "fields": map[string]any{"content": []string{"too long"}}}})
		}
	}
	handle("POST "+repo+"/pullrequests/{number}/comments", write(func(w http.ResponseWriter, r *http.Request, _ *Pull, body string) {
		n, _ := strconv.Atoi(r.PathValue("number"))
		answer(w, http.StatusCreated, comment(f.Comment(n, "muster", body)))
	}))
	handle("PUT "+repo+"/pullrequests/{number}/comments/{id}", write(func(w http.ResponseWriter, r *http.Request, p *Pull, body string) {
		n := p.find(r.PathValue("id"))
		if n == nil {
			missing(w)
			return
		}
		n.Body, n.Updated = body, f.tick()
		answer(w, 200, comment(n))
	}))
	handle("GET "+repo+"/pullrequests/{number}/activity", func(w http.ResponseWriter, r *http.Request, p *Pull) {
		list := []any{map[string]any{"update": map[string]any{"state": "OPEN"}}}
		for _, v := range slices.Backward(p.Reviews) { // one that is taken back stays among what has happened
			list = append(list, map[string]any{"approval": map[string]any{"date": f.at(v), "user": user(v.User)}})
		}
		pages(w, r, list)
	})
	handle("GET /2.0/user", func(w http.ResponseWriter, _ *http.Request, _ *Pull) { answer(w, 200, user("muster")) })
	handle("/", func(w http.ResponseWriter, _ *http.Request, _ *Pull) { missing(w) })
	return mux
}

// BitbucketDataCenter serves the API of Bitbucket Data Center.
func (f *Forge) BitbucketDataCenter() http.Handler { //nolint:funlen // a list of routes
	mux := http.NewServeMux()
	const repo = "/rest/api/latest/projects/acme/repos/fleet"
	refuse := func(w http.ResponseWriter, code int, message string) {
		answer(w, code, map[string]any{"errors": []any{map[string]any{"message": message}}})
	}
	handle := func(pattern string, do func(w http.ResponseWriter, r *http.Request, p *Pull)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if !f.begin(w, r, r.Header.Get("Authorization") == "Bearer "+f.Token) {
				return
			}
			w.Header().Set("X-AUSERNAME", "muster")
			n, _ := strconv.Atoi(r.PathValue("number"))
			p := f.Pulls[n]
			if r.PathValue("number") != "" && p == nil {
				refuse(w, http.StatusNotFound, "no such pull request")
				return
			}
			do(w, r, p)
		})
	}
	user := func(name string) map[string]any { return map[string]any{"name": name} }
	shown := func(n int, p *Pull) map[string]any {
		from, reviewers := 1, []any{}
		if p.Fork {
			from = 2
		}
		for _, v := range p.words() {
			reviewers = append(reviewers, map[string]any{"user": user(v.User), "approved": v.State == "APPROVED", "lastReviewedCommit": v.Commit})
		}
		return map[string]any{
			"id": n, "title": p.Title, "state": bitbucketState(p), "author": map[string]any{"user": user(p.Author)}, "updatedDate": f.Now.UnixMilli(),
			"fromRef": map[string]any{"displayId": p.Branch, "latestCommit": p.Head, "repository": map[string]any{"id": from}},
			"toRef":   map[string]any{"displayId": p.Base, "repository": map[string]any{"id": 1}}, "reviewers": reviewers,
			"properties": map[string]any{"mergeCommit": map[string]any{"id": p.Merged}},
		}
	}
	comment := func(n *Note) map[string]any {
		return map[string]any{
			"id": n.ID, "text": n.Body, "author": user(n.Author), "createdDate": n.Created.UnixMilli(), "updatedDate": n.Updated.UnixMilli(), "version": n.Version,
		}
	}
	pages := func(w http.ResponseWriter, r *http.Request, list []any, most int) {
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		start, _ := strconv.Atoi(r.URL.Query().Get("start"))
		end := min(start+min(limit, most), len(list))
		answer(w, 200, map[string]any{"values": list[min(start, len(list)):end], "isLastPage": end == len(list), "nextPageStart": end})
	}
	handle("GET "+repo, func(w http.ResponseWriter, _ *http.Request, _ *Pull) { answer(w, 200, map[string]any{"slug": "fleet"}) })
	handle("GET "+repo+"/default-branch", func(w http.ResponseWriter, _ *http.Request, _ *Pull) {
		answer(w, 200, map[string]any{"displayId": "main"})
	})
	handle("GET "+repo+"/pull-requests", func(w http.ResponseWriter, r *http.Request, _ *Pull) {
		list := []any{}
		for _, n := range f.Numbers() {
			at := r.URL.Query().Get("at")
			if p := f.Pulls[n]; p.State == "open" && r.URL.Query().Get("state") == "OPEN" && (at == "" || at == "refs/heads/"+p.Base) {
				list = append(list, shown(n, p))
			}
		}
		pages(w, r, list, 1000)
	})
	handle("GET "+repo+"/pull-requests/{number}", func(w http.ResponseWriter, r *http.Request, p *Pull) {
		n, _ := strconv.Atoi(r.PathValue("number"))
		answer(w, 200, shown(n, p))
	})
	handle("POST "+repo+"/commits/{hash}/builds", func(w http.ResponseWriter, r *http.Request, _ *Pull) { f.build(w, r, r.PathValue("hash"), 255) })
	handle("GET "+repo+"/pull-requests/{number}/activities", func(w http.ResponseWriter, r *http.Request, p *Pull) {
		type happened struct {
			at   time.Time
			what map[string]any
		}
		var all []happened
		for _, v := range p.Reviews {
			all = append(all, happened{f.at(v), map[string]any{"action": "APPROVED", "user": user(v.User), "createdDate": f.at(v).UnixMilli()}})
		}
		for _, n := range p.Notes {
			all = append(all, happened{n.Created, map[string]any{"action": "COMMENTED", "commentAction": "ADDED", "user": user(n.Author), "comment": comment(n), "createdDate": n.Created.UnixMilli()}})
		}
		slices.SortStableFunc(all, func(a, b happened) int { return b.at.Compare(a.at) })
		list := []any{}
		for _, h := range all {
			list = append(list, h.what)
		}
		pages(w, r, list, 100)
	})
	handle("POST "+repo+"/pull-requests/{number}/comments", func(w http.ResponseWriter, r *http.Request, _ *Pull) {
		body := text(bodyOf(r), "text")
		if len(body) > 32768 {
			refuse(w, http.StatusBadRequest, "Please enter a non-empty value less than 32768 characters")
			return
		}
		n, _ := strconv.Atoi(r.PathValue("number"))
		answer(w, http.StatusCreated, comment(f.Comment(n, "muster", body)))
	})
	handle("/rest/api/latest/projects/acme/repos/fleet/pull-requests/{number}/comments/{id}", func(w http.ResponseWriter, r *http.Request, p *Pull) {
		n := p.find(r.PathValue("id"))
		if n == nil {
			refuse(w, http.StatusNotFound, "no such comment")
			return
		}
		if r.Method == http.MethodPut {
			body := bodyOf(r)
			if version, _ := body["version"].(float64); int(version) != n.Version {
				refuse(w, http.StatusConflict, "another version")
				return
			}
			n.Body, n.Updated, n.Version = text(body, "text"), f.tick(), n.Version+1
		}
		answer(w, 200, comment(n))
	})
	handle("/", func(w http.ResponseWriter, _ *http.Request, _ *Pull) { refuse(w, http.StatusNotFound, "no such thing") })
	return mux
}
