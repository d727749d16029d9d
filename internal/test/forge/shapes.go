package forge

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The answers of GitHub (REST API, version 2022-11-28) and GitLab (v4) as their documentation has them, with what this package's user
// does not read too: null where they may be, fields that only some answers have, errors with what goes with them.

const gitHubAPI = "https://api.github.com"

// gitHubUser is null for an account that is gone.
func gitHubUser(login string) any {
	if login == "ghost" {
		return nil
	}
	kind := "User"
	if strings.HasSuffix(login, "[bot]") {
		kind = "Bot"
	}
	return map[string]any{
		"login": login, "id": 583231, "node_id": "MDQ6VXNlcjU4MzIzMQ==", "avatar_url": "https://avatars.githubusercontent.com/u/583231", "gravatar_id": "",
		"url": gitHubAPI + "/users/" + login, "html_url": "https://github.com/" + login, "type": kind, "user_view_type": "public", "site_admin": false,
	}
}

func gitHubRepository() map[string]any {
	return map[string]any{
		"id": 1, "node_id": "R_1", "name": "fleet", "full_name": "acme/fleet", "private": true, "owner": gitHubUser("acme"), "fork": false,
		"html_url": "https://github.com/acme/fleet", "url": gitHubAPI + "/repos/acme/fleet", "default_branch": "main", "archived": false, "disabled": false,
		"visibility": "private", "permissions": map[string]any{"admin": false, "push": true, "pull": true},
	}
}

// gitHubPull is a pull request. The list of them does not say whether one is merged; an open one has the commit of a trial merge.
func (f *Forge) gitHubPull(n int, inList bool) map[string]any {
	p := f.Pulls[n]
	merge := any(p.Merged)
	if p.Merged == "" {
		merge = "e5bd3914e2e596debea16f433f57875b5b90bcd6"
	}
	head := map[string]any{"label": "acme:" + p.Branch, "ref": p.Branch, "sha": p.Head, "user": gitHubUser("acme"), "repo": any(gitHubRepository())}
	if p.Fork { // whose repository is gone
		head["repo"] = nil
	}
	at := func(done bool) any {
		if done {
			return f.Now.Format(time.RFC3339)
		}
		return nil
	}
	pull := map[string]any{
		"url": fmt.Sprint(gitHubAPI, "/repos/acme/fleet/pulls/", n), "id": 1000 + n, "node_id": "PR_1", "html_url": fmt.Sprint("https://git/pull/", n), "number": n,
		"state": p.State, "locked": p.Locked, "active_lock_reason": nil, "title": p.Title, "user": gitHubUser(p.Author), "body": nil,
		"labels":    []any{map[string]any{"id": 208045946, "node_id": "L_1", "name": "risky", "description": nil, "color": "f29513", "default": false}},
		"milestone": nil, "assignee": nil, "assignees": []any{}, "requested_reviewers": []any{}, "requested_teams": []any{},
		"created_at": f.Now.Format(time.RFC3339), "updated_at": f.Now.Format(time.RFC3339), "closed_at": at(p.State == "closed"), "merged_at": at(p.Merged != ""),
		"merge_commit_sha": merge, "head": head,
		"base":               map[string]any{"label": "acme:" + p.Base, "ref": p.Base, "sha": "6dcb09b5b57875f334f61aebed695e2e4193db5e", "user": gitHubUser("acme"), "repo": gitHubRepository()},
		"author_association": "MEMBER", "auto_merge": nil, "draft": false,
	}
	if !inList {
		pull["merged"], pull["mergeable"], pull["mergeable_state"], pull["merged_by"] = p.Merged != "", nil, "unknown", nil
		pull["comments"], pull["commits"], pull["additions"], pull["deletions"], pull["changed_files"] = len(p.Notes), 1, 1, 1, 1
	}
	return pull
}

func gitHubComment(n *Note) map[string]any {
	return map[string]any{
		"id": n.ID, "node_id": "IC_1", "url": fmt.Sprint(gitHubAPI, "/repos/acme/fleet/issues/comments/", n.ID), "html_url": fmt.Sprint("https://git/c/", n.ID), "body": n.Body,
		"user": gitHubUser(n.Author), "created_at": n.Created.Format(time.RFC3339), "updated_at": n.Updated.Format(time.RFC3339),
		"author_association": "COLLABORATOR", "performed_via_github_app": nil, "reactions": map[string]any{"total_count": 0},
	}
}

// gitHubReview has no time while it is not submitted.
func (f *Forge) gitHubReview(id int, r Review) map[string]any {
	review := map[string]any{
		"id": id, "node_id": "PRR_1", "user": gitHubUser(r.User), "body": "", "state": r.State, "commit_id": r.Commit,
		"html_url": "https://git/review", "pull_request_url": gitHubAPI + "/repos/acme/fleet/pulls/1", "author_association": "MEMBER",
	}
	if r.State != "PENDING" {
		review["submitted_at"] = f.at(r).Format(time.RFC3339)
	}
	return review
}

func (f *Forge) gitHubStatus(sha string, body map[string]any) map[string]any {
	return map[string]any{
		"url": gitHubAPI + "/repos/acme/fleet/statuses/" + sha, "id": 1, "node_id": "SC_1", "state": body["state"], "description": body["description"],
		"target_url": body["target_url"], "context": body["context"], "created_at": f.Now.Format(time.RFC3339), "updated_at": f.Now.Format(time.RFC3339),
		"creator": gitHubUser(f.self()), "avatar_url": "https://avatars.githubusercontent.com/u/583231",
	}
}

// refuse answers as GitHub refuses.
func refuse(w http.ResponseWriter, code int, message string) {
	answer(w, code, map[string]any{"message": message, "documentation_url": "https://docs.github.com/rest", "status": fmt.Sprint(code)})
}

// invalid is GitHub's 422, which names the field.
func invalid(w http.ResponseWriter, resource, field, message string) {
	answer(w, http.StatusUnprocessableEntity, map[string]any{
		"message": "Validation Failed", "documentation_url": "https://docs.github.com/rest", "status": "422",
		"errors": []any{map[string]any{"resource": resource, "code": "custom", "field": field, "message": message}},
	})
}

func gitLabUser(name string) map[string]any {
	return map[string]any{
		"id": 1, "username": name, "public_email": "", "name": name, "state": "active", "locked": false, "avatar_url": nil, "web_url": "https://gitlab.example.com/" + name,
	}
}

func (f *Forge) gitLabMergeRequest(n int) map[string]any {
	p, source := f.Pulls[n], 1
	if p.Fork {
		source = 2
	}
	merge := any(nil)
	if p.Merged != "" {
		merge = p.Merged
	}
	return map[string]any{
		"id": 1000 + n, "iid": n, "project_id": 1, "title": p.Title, "description": nil, "state": map[string]string{"open": "opened", "closed": "closed", "merged": "merged"}[p.State],
		"created_at": f.Now, "updated_at": f.Now, "merged_by": nil, "merge_user": nil, "merged_at": nil, "closed_by": nil, "closed_at": nil,
		"target_branch": p.Base, "source_branch": p.Branch, "user_notes_count": len(p.Notes), "upvotes": 0, "downvotes": 0, "author": gitLabUser(p.Author),
		"assignees": []any{}, "assignee": nil, "reviewers": []any{}, "source_project_id": source, "target_project_id": 1, "labels": []string{"risky"}, "draft": false,
		"work_in_progress": false, "milestone": nil, "merge_when_pipeline_succeeds": false, "detailed_merge_status": "mergeable", "sha": p.Head, "merge_commit_sha": merge,
		"squash_commit_sha": nil, "discussion_locked": nil, "reference": fmt.Sprint("!", n), "web_url": fmt.Sprint("https://git/mr/", n), "has_conflicts": false,
		"diff_refs": map[string]any{"base_sha": "b", "start_sha": "s", "head_sha": p.Head},
	}
}

func gitLabNote(c *Note) map[string]any {
	return map[string]any{
		"id": c.ID, "type": nil, "body": c.Body, "author": gitLabUser(c.Author), "created_at": c.Created, "updated_at": c.Updated, "system": c.System,
		"noteable_id": 377, "noteable_type": "MergeRequest", "project_id": 1, "resolvable": false, "confidential": false, "internal": false, "noteable_iid": 377, "commands_changes": map[string]any{},
	}
}

func gitLabApprovals(p *Pull) map[string]any {
	list := []any{}
	for _, v := range p.Reviews {
		if v.State == "APPROVED" {
			list = append(list, map[string]any{"user": gitLabUser(v.User)})
		}
	}
	return map[string]any{"user_has_approved": false, "user_can_approve": true, "approved": len(list) > 0, "approved_by": list}
}

func (f *Forge) gitLabStatusBody(sha string, body map[string]any) map[string]any {
	return map[string]any{
		"id": 93, "sha": sha, "ref": nil, "status": body["state"], "name": body["name"], "target_url": body["target_url"], "description": body["description"],
		"created_at": f.Now, "started_at": nil, "finished_at": nil, "allow_failure": false, "coverage": nil, "pipeline_id": 7, "author": gitLabUser("muster"),
	}
}
