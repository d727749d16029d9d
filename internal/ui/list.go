package ui

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// list is a part of a list: which, out of how many.
type list[T any] struct {
	Items []T `json:"items"`
	// Total matches the filter; Of is all there are.
	Total int `json:"total"`
	Of    int `json:"of"`
	Page  int `json:"page"`
	Pages int `json:"pages"`
	// Query is the filter as the person wrote it.
	Query string `json:"query,omitempty"`
	State string `json:"state,omitempty"`

	path   string
	values url.Values
}

// The rows on a page, and how many a program may ask for with limit=.
const (
	pageRows = 100
	maxRows  = 1000
)

// part takes the page of a list that a request asks for with page= and limit=, of the rows that match.
func part[T any](r *http.Request, all []T, match func(*T) bool) list[T] {
	query := r.URL.Query()
	limit := number(query.Get("limit"), pageRows, maxRows)
	l := list[T]{Items: []T{}, Of: len(all), Query: strings.TrimSpace(query.Get("q")), State: query.Get("state"), path: r.URL.Path, values: query}
	l.Page = number(query.Get("page"), 1, 1<<30)
	first := (l.Page - 1) * limit
	for i := range all {
		if !match(&all[i]) {
			continue
		}
		if l.Total >= first && l.Total < first+limit {
			l.Items = append(l.Items, all[i])
		}
		l.Total++
	}
	l.Pages = max(1, (l.Total+limit-1)/limit)
	return l
}

// Link is the address of another page of the list.
func (l list[T]) Link(page int) string {
	values := url.Values{}
	for key, value := range l.values {
		values[key] = value
	}
	values.Set("page", strconv.Itoa(page))
	return l.path + "?" + values.Encode()
}

// Previous and Next are the pages beside this one, 0 where there is none.
func (l list[T]) Previous() int {
	if l.Page > 1 {
		return min(l.Page-1, l.Pages)
	}
	return 0
}

// Next is the page after this one, 0 where there is none.
func (l list[T]) Next() int {
	if l.Page < l.Pages {
		return l.Page + 1
	}
	return 0
}

func number(text string, otherwise, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return otherwise
	}
	return min(n, most)
}

// contains says whether a text holds what a person looks for, in any case of letters.
func contains(text, lowered string) bool {
	return lowered == "" || strings.Contains(strings.ToLower(text), lowered)
}
