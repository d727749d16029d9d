package render

import (
	"errors"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"text/template"
)

// Regular expressions of Go take as long as text and expression are long, multiplied, for one match; to find all matches takes
// that once, but again for each match where the expression looks far ahead before it settles for less.

const (
	// maxInstructions of a compiled expression. x{1000} has a thousand.
	maxInstructions = 100_000
	// instructionsPerStep is how many instructions, each on one character, take about the time of a step.
	instructionsPerStep = 64
	// matchCost is what the indexes of one match take.
	matchCost = 64
)

// pattern is a compiled regular expression.
type pattern struct {
	*regexp.Regexp
	instructions int64
	// ahead is true when a match may look at all of the rest of the text and then be short.
	ahead bool
}

// pattern compiles an expression; what Go cannot compile is an error as in sprig.
func (m *meter) pattern(expression string) (*pattern, error) {
	if err := m.step(4 + int64(len(expression))/8); err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, err
	}
	p := &pattern{instructions: instructions(tree), ahead: !anchored(tree) && looksAhead(tree)}
	if p.instructions > maxInstructions {
		return nil, m.pass("uses a regular expression that is too large: repeat less in it")
	}
	if err := m.step(p.instructions / 4); err != nil {
		return nil, err
	}
	p.Regexp, err = regexp.Compile(expression)
	return p, err
}

func instructions(tree *syntax.Regexp) int64 {
	n := int64(1 + len(tree.Rune))
	for _, sub := range tree.Sub {
		n = min(n+instructions(sub), math.MaxInt32)
	}
	if tree.Op == syntax.OpRepeat {
		n *= int64(max(tree.Min, tree.Max, 1))
	}
	return n
}

// anchored tells whether an expression matches only at the beginning of a text, and so once.
func anchored(tree *syntax.Regexp) bool {
	if tree.Op == syntax.OpConcat {
		return anchored(tree.Sub[0])
	}
	return tree.Op == syntax.OpBeginText
}

// looksAhead tells whether there is a choice of which one side may go on without end.
func looksAhead(tree *syntax.Regexp) bool {
	switch tree.Op {
	case syntax.OpAlternate, syntax.OpQuest, syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		for _, sub := range tree.Sub {
			if endless(sub) {
				return true
			}
		}
	}
	for _, sub := range tree.Sub {
		if looksAhead(sub) {
			return true
		}
	}
	return false
}

func endless(tree *syntax.Regexp) bool {
	if tree.Op == syntax.OpStar || tree.Op == syntax.OpPlus || tree.Op == syntax.OpRepeat && tree.Max < 0 {
		return true
	}
	for _, sub := range tree.Sub {
		if endless(sub) {
			return true
		}
	}
	return false
}

// once allows one match in a text.
func (p *pattern) once(m *meter, text string) error {
	return m.step(1 + product(p.instructions, int64(len(text)))/instructionsPerStep)
}

// all allows the matches in a text, and gives how many there may be.
func (p *pattern) all(m *meter, text string) (int, error) {
	if err := p.once(m, text); err != nil {
		return 0, err
	}
	if n := int64(len(text)); p.ahead {
		if err := m.step(product(product(n, n), p.instructions) / (8 * instructionsPerStep)); err != nil {
			return 0, err
		}
	}
	return int(m.limits.value) / (matchCost + 16*p.NumSubexp()), nil
}

// find gives at most n matches, all for less than none.
func (p *pattern) find(m *meter, function, text string, n int) ([]string, error) {
	most, err := p.all(m, text)
	if err != nil {
		return nil, err
	}
	if n < 0 || n > most {
		n = most + 1
	}
	found := p.FindAllString(text, n)
	if len(found) > most {
		return nil, m.room(function, math.MaxInt64)
	}
	return found, m.make(function, elementCost*int64(len(found)))
}

// replace replaces all matches.
func (p *pattern) replace(m *meter, function, text, with string, literal bool) (string, error) {
	if _, err := p.all(m, text); err != nil {
		return "", err
	}
	// Each match becomes with, in which each $ becomes at most the match.
	repeated := product(int64(strings.Count(with, "$")), int64(len(text)))
	bound := func(matches int64) int64 { return int64(len(text)) + product(matches, int64(len(with))) + repeated }
	if n := int64(len(text)) + 1; bound(n) > m.limits.value {
		matches := int64(0)
		p.ReplaceAllStringFunc(text, func(string) string { matches++; return "" })
		if err := m.room(function, bound(matches)); err != nil {
			return "", err
		}
	}
	result := ""
	if literal {
		result = p.ReplaceAllLiteralString(text, with)
	} else {
		result = p.ReplaceAllString(text, with)
	}
	return result, m.make(function, int64(len(result)))
}

// split gives the pieces between at most n matches.
func (p *pattern) split(m *meter, function, text string, n int) ([]string, error) {
	most, err := p.all(m, text)
	if err != nil {
		return nil, err
	}
	if n < 0 || n > most {
		n = most + 1
	}
	pieces := p.Split(text, n)
	if len(pieces) > most {
		return nil, m.room(function, math.MaxInt64)
	}
	return pieces, m.make(function, elementCost*int64(len(pieces)))
}

// patterns are sprig's functions that take a regular expression.
func (m *meter) patterns() template.FuncMap {
	match := func(expression, text string) (bool, error) {
		p, err := m.pattern(expression)
		if err == nil {
			err = p.once(m, text)
		}
		return err == nil && p.MatchString(text), err
	}
	find := func(expression, text string) (string, error) {
		p, err := m.pattern(expression)
		if err == nil {
			err = p.once(m, text)
		}
		if err != nil {
			return "", err
		}
		return p.FindString(text), nil
	}
	findAll := func(expression, text string, n int) ([]string, error) {
		p, err := m.pattern(expression)
		if err != nil {
			return nil, err
		}
		return p.find(m, "regexFindAll", text, n)
	}
	replace := func(literal bool) func(expression, text, with string) (string, error) {
		return func(expression, text, with string) (string, error) {
			p, err := m.pattern(expression)
			if err != nil {
				return "", err
			}
			return p.replace(m, "regexReplaceAll", text, with, literal)
		}
	}
	split := func(expression, text string, n int) ([]string, error) {
		p, err := m.pattern(expression)
		if err != nil {
			return nil, err
		}
		return p.split(m, "regexSplit", text, n)
	}
	return template.FuncMap{
		"regexMatch": func(expression, text string) (bool, error) {
			matches, err := match(expression, text)
			if wrong := (*syntax.Error)(nil); errors.As(err, &wrong) {
				err = nil // sprig swallows it
			}
			return matches, err
		},
		"mustRegexMatch": match,
		"regexFind":      find, "mustRegexFind": find,
		"regexFindAll": findAll, "mustRegexFindAll": findAll,
		"regexReplaceAll": replace(false), "mustRegexReplaceAll": replace(false),
		"regexReplaceAllLiteral": replace(true), "mustRegexReplaceAllLiteral": replace(true),
		"regexSplit": split, "mustRegexSplit": split,
	}
}
