package render

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"text/template/parse"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// The delimiters of an expression. They differ from Helm's and Prometheus', whose templates pass through untouched.
const (
	openExpression  = "${{"
	closeExpression = "}}"
)

// scope is what expressions can ask for: one cluster.
type scope struct {
	cluster *clusterv1.ManagedCluster
}

// expression is a text whose expressions are parsed. It is evaluated for one cluster at a time, and counts on from where the
// scope's meter is.
type expression struct {
	scope    scope
	template *template.Template
	// alone is true when the text is exactly one expression, whose value is captured with its type in result.
	alone  bool
	result any
}

// expressionError is a failure that was put into words for the author of the expression.
type expressionError struct{ message string }

func (e expressionError) Error() string { return e.message }

// ErrLabelMissing is behind the fault of a cluster that lacks a label which an expression asks for: its file is to be changed.
var ErrLabelMissing = errors.New("the cluster lacks a label")

type missingLabel struct{ expressionError }

func (m missingLabel) Unwrap() error { return m.expressionError }

func (missingLabel) Is(target error) bool { return target == ErrLabelMissing }

// evaluationError is the failure of an expression in words for its author, with what caused it.
type evaluationError struct {
	message string
	cause   error
}

func (e evaluationError) Error() string { return e.message }

func (e evaluationError) Unwrap() error { return e.cause }

func newScope(cluster *clusterv1.ManagedCluster) scope {
	return scope{cluster: cluster}
}

func (e *expression) vocabulary() template.FuncMap {
	s := &e.scope
	return template.FuncMap{
		"print": fmt.Sprint, "printf": fmt.Sprintf, "println": fmt.Sprintln,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,

		"label":            s.label,
		"claim":            s.claim,
		"cluster":          s.facts,
		optional + "label": func(key string) any { return orNil(s.labels(key)) },
		optional + "claim": func(key string) any { return orNil(s.claims(key)) },
		capture:            e.capture,

		"upper":      strings.ToUpper,
		"lower":      strings.ToLower,
		"trim":       strings.TrimSpace,
		"trimPrefix": func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
		"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
		"replace":    func(old, new, s string) string { return strings.ReplaceAll(s, old, new) },
		"hasPrefix":  func(prefix, s string) bool { return strings.HasPrefix(s, prefix) },
		"hasSuffix":  func(suffix, s string) bool { return strings.HasSuffix(s, suffix) },
		"contains":   func(part, s string) bool { return strings.Contains(s, part) },
		"split":      func(separator, s string) []string { return strings.Split(s, separator) },
		"join":       join,
		"quote":      func(value any) string { return strconv.Quote(fmt.Sprint(value)) },
		"toString":   func(value any) string { return fmt.Sprint(value) },
		"int":        toInt,
		"float":      toFloat,
		"bool":       toBool,
		"list":       func(values ...any) []any { return values },
		"default":    fallback,
		"ternary":    ternary,
	}
}

// optional prefixes the forms of label and claim whose missing key a following default replaces.
const optional = "optional_"

// capture is the function through which the value of an expression leaves it with its type.
const capture = "capture_"

func (e *expression) capture(value any) any {
	if !e.alone {
		return value
	}
	e.result = value
	return ""
}

// facts of the cluster, for expressions such as cluster.name. Values of clusters come with ClusterValues.
func (s *scope) facts() map[string]any {
	labels := map[string]any{}
	for key, value := range s.cluster.Labels {
		labels[key] = value
	}
	return map[string]any{"name": s.cluster.Name, "labels": labels}
}

func (s *scope) labels(key string) (string, bool) {
	value, ok := s.cluster.Labels[key]
	return value, ok
}

func (s *scope) claims(key string) (string, bool) {
	for _, claim := range s.cluster.Status.ClusterClaims {
		if claim.Name == key {
			return claim.Value, true
		}
	}
	return "", false
}

func orNil(value string, ok bool) any {
	if !ok {
		return nil
	}
	return value
}

func (s *scope) label(key string, or ...any) (any, error) {
	if value, ok := s.labels(key); ok {
		return value, nil
	}
	if len(or) > 0 {
		return or[0], nil
	}
	return nil, missingLabel{expressionError{
		fmt.Sprintf("label %q is missing on cluster %s: set it in the cluster's file or give a default: label %q \"x\"", key, s.cluster.Name, key),
	}}
}

func (s *scope) claim(key string, or ...any) (any, error) {
	if value, ok := s.claims(key); ok {
		return value, nil
	}
	if len(or) > 0 {
		return or[0], nil
	}
	return nil, expressionError{fmt.Sprintf("claim %q is not reported by cluster %s: create the ClusterClaim there or give a default: claim %q \"x\"", key, s.cluster.Name, key)}
}

func join(separator string, values any) (string, error) {
	list := reflect.ValueOf(values)
	if list.Kind() != reflect.Slice {
		return "", expressionError{"join wants a list"}
	}
	texts := make([]string, list.Len())
	for i := range texts {
		texts[i] = fmt.Sprint(list.Index(i).Interface())
	}
	return strings.Join(texts, separator), nil
}

func toInt(value any) (int64, error) {
	number, err := strconv.ParseInt(strings.TrimSpace(fmt.Sprint(value)), 10, 64)
	if err != nil {
		return 0, expressionError{"int: the value is not a whole number"}
	}
	return number, nil
}

func toFloat(value any) (float64, error) {
	number, err := strconv.ParseFloat(strings.TrimSpace(fmt.Sprint(value)), 64)
	if err != nil {
		return 0, expressionError{"float: the value is not a number"}
	}
	return number, nil
}

func toBool(value any) (bool, error) {
	truth, err := strconv.ParseBool(strings.TrimSpace(fmt.Sprint(value)))
	if err != nil {
		return false, expressionError{"bool: the value is neither true nor false"}
	}
	return truth, nil
}

// fallback gives value, or or when value is missing or empty.
func fallback(or any, value ...any) any {
	if len(value) == 0 || value[0] == nil {
		return or
	}
	if truth, ok := template.IsTrue(value[0]); ok && !truth {
		return or
	}
	return value[0]
}

func ternary(yes, no any, condition bool) any {
	if condition {
		return yes
	}
	return no
}

// text evaluates the expressions in a string to a string.
func (s scope) text(source string) (string, error) {
	value, err := s.value(source)
	if err != nil {
		return "", err
	}
	if value == nil {
		return "", nil
	}
	return fmt.Sprint(value), nil
}

// value evaluates the expressions in a string. A string that is exactly one expression gives that expression's value with
// its type, any other string gives a string.
func (s scope) value(source string) (any, error) {
	if !strings.Contains(source, openExpression) {
		return source, nil
	}
	e, err := idle.take(source)
	if err != nil {
		return nil, err
	}
	defer idle.giveBack(source, e)
	return e.evaluate(s)
}

func (e *expression) evaluate(s scope) (any, error) {
	e.scope, e.result = s, nil
	var out strings.Builder
	if err := e.template.Execute(&out, nil); err != nil {
		return nil, evaluationError{executionMessage(err), err}
	}
	if e.alone {
		return e.result, nil
	}
	return out.String(), nil
}

func parseExpression(source string) (*expression, error) {
	if strings.Count(source, openExpression) > maxExpressions {
		return nil, fmt.Errorf("there are more than %d expressions in one text", maxExpressions)
	}
	e := &expression{}
	t, err := template.New("expression").Delims(openExpression, closeExpression).
		Option("missingkey=error").Funcs(e.vocabulary()).Parse(source)
	if err != nil {
		return nil, errors.New("the expression does not parse: " + parseMessage(err))
	}
	e.template = t
	allowDefaults(t.Root)
	if pipe := only(t.Root); pipe != nil {
		e.alone = true
		pipe.Cmds = append(pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pipe.Pos,
			Args: []parse.Node{parse.NewIdentifier(capture).SetPos(pipe.Pos).SetTree(t.Tree)}})
	}
	return e, nil
}

// maxExpressions in one text: the parser needs some of the stack for each that is nested.
const maxExpressions = 1000

// idle keeps expressions that nobody evaluates at the moment: a thousand clusters ask for the same few.
var idle = expressionCache{idle: map[string][]*expression{}}

// idleExpressions bounds how many are kept.
const idleExpressions = 4096

type expressionCache struct {
	mutex sync.Mutex
	idle  map[string][]*expression
	count int
}

func (c *expressionCache) take(source string) (*expression, error) {
	if e := c.find(source); e != nil {
		return e, nil
	}
	return parseExpression(source)
}

func (c *expressionCache) find(source string) *expression {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	idle := c.idle[source]
	if len(idle) == 0 {
		return nil
	}
	c.idle[source] = idle[:len(idle)-1]
	c.count--
	return idle[len(idle)-1]
}

func (c *expressionCache) giveBack(source string, e *expression) {
	e.scope, e.result = scope{}, nil
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.count == idleExpressions {
		clear(c.idle)
		c.count = 0
	}
	c.idle[source] = append(c.idle[source], e)
	c.count++
}

// only gives the pipeline of a template that is nothing but one expression.
func only(root *parse.ListNode) *parse.PipeNode {
	if len(root.Nodes) != 1 {
		return nil
	}
	action, ok := root.Nodes[0].(*parse.ActionNode)
	if !ok || len(action.Pipe.Decl) > 0 {
		return nil
	}
	return action.Pipe
}

// allowDefaults lets label and claim answer nothing where default takes their answer: label "x" | default "y", and
// default "y" (label "x"). Arguments are evaluated before the function, so that default itself would come too late.
func allowDefaults(root parse.Node) {
	walk(root, func(n parse.Node) {
		pipe, ok := n.(*parse.PipeNode)
		if !ok {
			return
		}
		for i, command := range pipe.Cmds {
			if !calls(command, "default") {
				continue
			}
			if i > 0 {
				makeOptional(pipe.Cmds[i-1])
			}
			for _, arg := range command.Args[1:] {
				if below, ok := arg.(*parse.PipeNode); ok && len(below.Cmds) == 1 {
					makeOptional(below.Cmds[0])
				}
			}
		}
	})
}

func makeOptional(command *parse.CommandNode) {
	if len(command.Args) == 2 && (calls(command, "label") || calls(command, "claim")) {
		name := command.Args[0].(*parse.IdentifierNode)
		name.Ident = optional + name.Ident
	}
}

func calls(command *parse.CommandNode, function string) bool {
	name, ok := command.Args[0].(*parse.IdentifierNode)
	return ok && name.Ident == function
}

var (
	templatePrefix = regexp.MustCompile(`^template: expression:\d+(:\d+)?: `)
	executing      = regexp.MustCompile(`^executing "expression" at <(.*?)>: `)
)

func parseMessage(err error) string { return templatePrefix.ReplaceAllString(err.Error(), "") }

// executionMessage takes the words of an expression's error that are for its author.
func executionMessage(err error) string {
	var known expressionError
	if errors.As(err, &known) {
		return known.message
	}
	message := templatePrefix.ReplaceAllString(err.Error(), "")
	if at := executing.FindStringSubmatch(message); at != nil {
		return "the expression fails at " + at[1] + ": " + message[len(at[0]):]
	}
	return "the expression fails: " + message
}

// walk visits the nodes of a template.
func walk(n parse.Node, visit func(parse.Node)) {
	if n == nil || reflect.ValueOf(n).IsNil() {
		return
	}
	visit(n)
	switch n := n.(type) {
	case *parse.ListNode:
		for _, below := range n.Nodes {
			walk(below, visit)
		}
	case *parse.ActionNode:
		walk(n.Pipe, visit)
	case *parse.TemplateNode:
		walk(n.Pipe, visit)
	case *parse.IfNode:
		walkBranch(&n.BranchNode, visit)
	case *parse.RangeNode:
		walkBranch(&n.BranchNode, visit)
	case *parse.WithNode:
		walkBranch(&n.BranchNode, visit)
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			walk(command, visit)
		}
	case *parse.CommandNode:
		for _, arg := range n.Args {
			walk(arg, visit)
		}
	case *parse.ChainNode:
		walk(n.Node, visit)
	}
}

func walkBranch(n *parse.BranchNode, visit func(parse.Node)) {
	walk(n.Pipe, visit)
	walk(n.List, visit)
	walk(n.ElseList, visit)
}
