package render

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"text/template"
	"text/template/parse"
)

// mark is in the names of functions that are put into trees and that no text may call: they come after parsing, when names
// were checked. It is a letter, as the names of functions have to be.
const mark = "ǃ"

const (
	stepName     = "step" + mark     // before each turn of a range
	enterName    = "enter" + mark    // before a template
	leaveName    = "leave" + mark    // after it
	rangedName   = "ranged" + mark   // what a range goes over
	printedName  = "printed" + mark  // what an action prints
	comparedName = "compared" + mark // what text/template's own functions take, which cannot be wrapped
	madeName     = "made" + mark     // what a method gave
	receiverName = "receiver" + mark // what has a method that needs care
)

// parsed is a template text with the meter in its trees. It is never changed: runs share it.
type parsed struct {
	trees map[string]*parse.Tree
	sites []*site
	// cost of the trees in bytes of memory.
	cost int64
}

// site is a call, in a text, of a function that has to know from where it is called.
type site struct {
	name     string // under which the call finds its function
	function string
	template string // the text's name: a file's, as Helm says it
	pos      parse.Pos
	line     int
}

// sites counts the sites of this process, so that their names differ. It reaches no result.
var sites atomic.Int64

// parseText parses a template text and puts the meter in. known are the functions that it may call.
func parseText(m *meter, name, text string, known map[string]any) (*parsed, error) {
	if strings.Count(text, leftDelim) > maxActions {
		return nil, m.pass("has a template of more than %d actions: make several of it", maxActions)
	}
	trees, err := parse.Parse(name, text, leftDelim, rightDelim, known)
	if err != nil {
		return nil, err
	}
	p := &parsed{trees: trees, cost: actionCost * actionBytes(text)}
	for _, tree := range trees {
		p.instrument(tree, text, siteTable)
	}
	return p, nil
}

const leftDelim, rightDelim = "{{", "}}"

// actionBytes is how much of a text is in actions.
func actionBytes(text string) int64 {
	n := 0
	for {
		_, after, ok := strings.Cut(text, leftDelim)
		if !ok {
			return int64(n)
		}
		action, rest, _ := strings.Cut(after, rightDelim)
		n, text = n+len(action), rest
	}
}

// instrument puts the meter into a tree. An empty one stays: it does not replace a template of its name.
func (p *parsed) instrument(tree *parse.Tree, text string, located map[string]bool) {
	if tree.Root == nil || parse.IsEmptyTree(tree.Root) {
		return
	}
	i := instrumenter{tree: tree, text: text, parsed: p, located: located}
	w := i.list(tree.Root)
	pos := tree.Root.Pos
	tree.Root.Nodes = slices.Concat([]parse.Node{i.hidden(pos, enterName, w.nodes, w.levels)}, tree.Root.Nodes, []parse.Node{i.hidden(pos, leaveName, w.levels)})
}

// weight is what the execution of a node takes: nodes, without the turns of ranges, which count for themselves; and levels.
type weight struct{ nodes, levels int64 }

func (w *weight) add(below weight) {
	w.nodes += below.nodes
	w.levels = max(w.levels, below.levels)
}

type instrumenter struct {
	tree    *parse.Tree
	text    string
	parsed  *parsed
	located map[string]bool // the functions whose calls are sites
}

// hidden is an action that prints nothing and leaves nothing: {{ if function arguments }}{{ end }}.
func (i *instrumenter) hidden(pos parse.Pos, function string, args ...int64) parse.Node {
	command := i.call(pos, function)
	for _, n := range args {
		command.Args = append(command.Args, &parse.NumberNode{NodeType: parse.NodeNumber, Pos: pos, IsInt: true, Int64: n, Text: strconv.FormatInt(n, 10)})
	}
	return &parse.IfNode{BranchNode: parse.BranchNode{
		NodeType: parse.NodeIf, Pos: pos, Pipe: pipeOf(pos, command), List: &parse.ListNode{NodeType: parse.NodeList, Pos: pos},
	}}
}

func (i *instrumenter) call(pos parse.Pos, function string, args ...parse.Node) *parse.CommandNode {
	name := parse.NewIdentifier(function).SetPos(pos).SetTree(i.tree)
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: append([]parse.Node{name}, args...)}
}

func pipeOf(pos parse.Pos, commands ...*parse.CommandNode) *parse.PipeNode {
	return &parse.PipeNode{NodeType: parse.NodePipe, Pos: pos, Cmds: commands}
}

func (i *instrumenter) list(list *parse.ListNode) weight {
	w := weight{levels: 1}
	if list == nil {
		return w
	}
	for _, n := range list.Nodes {
		below := i.node(n)
		below.levels++
		w.add(below)
	}
	return w
}

func (i *instrumenter) node(n parse.Node) weight {
	w := weight{nodes: 1}
	switch n := n.(type) {
	case *parse.ActionNode:
		w.add(i.pipe(n.Pipe))
		if last := n.Pipe.Cmds[len(n.Pipe.Cmds)-1]; len(n.Pipe.Decl) == 0 && !givesText(last) {
			n.Pipe.Cmds = append(n.Pipe.Cmds, i.call(last.Pos, printedName))
		}
	case *parse.TemplateNode:
		w.add(i.pipe(n.Pipe))
	case *parse.IfNode:
		w.add(i.branch(&n.BranchNode))
	case *parse.WithNode:
		w.add(i.branch(&n.BranchNode))
	case *parse.RangeNode:
		w.add(i.pipe(n.Pipe))
		n.Pipe.Cmds = append(n.Pipe.Cmds, i.call(n.Pipe.Pos, rangedName))
		turn := i.list(n.List)
		n.List.Nodes = slices.Insert(n.List.Nodes, 0, i.hidden(n.Pos, stepName, turn.nodes+1))
		w.add(weight{levels: turn.levels})
		w.add(i.list(n.ElseList))
	}
	return w
}

func (i *instrumenter) branch(n *parse.BranchNode) weight {
	w := i.pipe(n.Pipe)
	w.add(i.list(n.List))
	w.add(i.list(n.ElseList))
	return w
}

func (i *instrumenter) pipe(pipe *parse.PipeNode) weight {
	w := weight{nodes: 1}
	if pipe == nil {
		return w
	}
	var commands []*parse.CommandNode
	for at, command := range pipe.Cmds {
		w.nodes++
		w.add(i.arguments(command))
		commands = append(commands, i.guarded(command, at > 0)...)
	}
	pipe.Cmds = commands
	return w
}

// arguments looks through a command, and puts into place what stands for one of its arguments.
func (i *instrumenter) arguments(command *parse.CommandNode) weight {
	var w weight
	for at, arg := range command.Args {
		w.nodes++
		w.add(i.argument(arg))
		command.Args[at] = i.receiver(arg)
	}
	return w
}

func (i *instrumenter) argument(arg parse.Node) weight {
	switch n := arg.(type) {
	case *parse.PipeNode:
		w := i.pipe(n)
		w.levels++
		return w
	case *parse.ChainNode:
		w := i.argument(n.Node)
		w.levels++
		return w
	case *parse.IdentifierNode:
		if i.located[n.Ident] {
			s := &site{function: n.Ident, template: i.tree.ParseName, pos: n.Pos, line: 1 + strings.Count(i.text[:n.Pos], "\n")}
			s.name = n.Ident + mark + strconv.FormatInt(sites.Add(1), 10)
			n.Ident = s.name
			i.parsed.sites = append(i.parsed.sites, s)
		}
	}
	return weight{}
}

// comparing are functions of text/template that look through all of what they are given, or print it when they fail.
var comparing = map[string]bool{"eq": true, "ne": true, "lt": true, "le": true, "gt": true, "ge": true, "index": true}

// guarded gives a command, with what has to be before and after it in its pipe.
func (i *instrumenter) guarded(command *parse.CommandNode, piped bool) []*parse.CommandNode {
	switch head := command.Args[0].(type) {
	case *parse.IdentifierNode:
		if comparing[head.Ident] {
			return i.guardedComparison(command, piped)
		}
	case *parse.FieldNode, *parse.VariableNode, *parse.ChainNode:
		if piped || len(command.Args) > 1 { // a method
			return []*parse.CommandNode{command, i.call(command.Pos, madeName)}
		}
	}
	return []*parse.CommandNode{command}
}

// guardedComparison looks at the arguments first. Nothing takes long where all but one are constants; nil is none, for a value
// that is compared with it may be printed. What index goes into is not looked through.
func (i *instrumenter) guardedComparison(command *parse.CommandNode, piped bool) []*parse.CommandNode {
	var open []int
	for at := 1; at < len(command.Args); at++ {
		switch command.Args[at].(type) {
		case *parse.StringNode, *parse.NumberNode, *parse.BoolNode:
		default:
			open = append(open, at)
		}
	}
	if len(open) == 0 || len(open) == 1 && !piped {
		return []*parse.CommandNode{command}
	}
	indexing := command.Args[0].(*parse.IdentifierNode).Ident == "index"
	for _, at := range open {
		if command.Args[at].Type() != parse.NodeNil && (at > 1 || !indexing) {
			command.Args[at] = pipeOf(command.Pos, i.call(command.Pos, comparedName, command.Args[at]))
		}
	}
	if piped {
		return []*parse.CommandNode{i.call(command.Pos, comparedName), command}
	}
	return []*parse.CommandNode{command}
}

// careful are the methods, among those that templates can reach, that go through all of a value or look at the machine.
var careful = []string{"YAML", "Glob", "AsConfig", "AsSecrets", "Local"}

// receiver turns .Values.YAML into (receiver "YAML" .Values).YAML, which looks at the value first.
func (i *instrumenter) receiver(arg parse.Node) parse.Node {
	var idents []string
	var base func(n int) parse.Node
	switch n := arg.(type) {
	case *parse.FieldNode:
		idents = n.Ident
		base = func(k int) parse.Node {
			if k == 0 {
				return &parse.DotNode{NodeType: parse.NodeDot, Pos: n.Pos}
			}
			return &parse.FieldNode{NodeType: parse.NodeField, Pos: n.Pos, Ident: n.Ident[:k]}
		}
	case *parse.VariableNode:
		idents = n.Ident
		base = func(k int) parse.Node {
			return &parse.VariableNode{NodeType: parse.NodeVariable, Pos: n.Pos, Ident: n.Ident[:k]}
		}
	case *parse.ChainNode:
		idents = n.Field
		base = func(k int) parse.Node {
			if k == 0 {
				return n.Node
			}
			return &parse.ChainNode{NodeType: parse.NodeChain, Pos: n.Pos, Node: n.Node, Field: n.Field[:k]}
		}
	}
	for k := len(idents) - 1; k >= 0; k-- {
		if slices.Contains(careful, idents[k]) {
			pos := arg.Position()
			method := &parse.StringNode{NodeType: parse.NodeString, Pos: pos, Quoted: strconv.Quote(idents[k]), Text: idents[k]}
			looked := pipeOf(pos, i.call(pos, receiverName, method, i.receiver(base(k))))
			return &parse.ChainNode{NodeType: parse.NodeChain, Pos: pos, Node: looked, Field: idents[k:]}
		}
	}
	return arg
}

// givesText tells whether what a command gives is surely nothing to look through.
func givesText(command *parse.CommandNode) bool {
	switch head := command.Args[0].(type) {
	case *parse.IdentifierNode:
		name, _, _ := strings.Cut(head.Ident, mark)
		return textFunctions[name]
	case *parse.StringNode, *parse.NumberNode, *parse.BoolNode:
		return true
	}
	return false
}

var (
	markedPipe = regexp.MustCompile(` \| \w+` + mark)
	markedName = regexp.MustCompile(mark + `\d*`)
)

// unmarked takes what was put into a tree out of what is said about it.
func unmarked(text string) string {
	if !strings.Contains(text, mark) {
		return text
	}
	return markedName.ReplaceAllString(markedPipe.ReplaceAllString(text, ""), "")
}

// add puts the trees into a template of their name.
func (p *parsed) add(t *template.Template) error {
	for name, tree := range p.trees {
		if _, err := t.AddParseTree(name, tree); err != nil {
			return err
		}
	}
	return nil
}
