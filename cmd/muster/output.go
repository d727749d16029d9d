package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/muster-io/muster/internal/overview"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// print writes a value as the output flag says: as it is for programs, through table for people.
func (c *cli) print(value any, table func(*printer)) error {
	switch c.output {
	case "json":
		data, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		return write(c.out, append(data, '\n'))
	case "yaml":
		data, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		return write(c.out, data)
	}
	p := &printer{color: c.color(), width: c.width()}
	table(p)
	return write(c.out, []byte(p.b.String()))
}

func write(w io.Writer, data []byte) error {
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// color is for terminals only.
func (c *cli) color() bool { return !c.noColor && os.Getenv("NO_COLOR") == "" && c.terminal() }

func (c *cli) terminal() bool {
	f, ok := c.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width of the terminal; 0 for files and pipes, which have room for all.
func (c *cli) width() int {
	f, ok := c.out.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// printer collects text for people.
type printer struct {
	b     strings.Builder
	width int // of a terminal; 0 is no bound
	color bool
	full  bool // nothing is left out
}

// line prints a line. Whatever is in it, from manifests and clusters too, it moves no cursor, changes no colour and ends where
// it is to end: only what paint marked becomes an escape sequence.
func (p *printer) line(parts ...string) {
	text := oneLine(strings.TrimRight(strings.Join(parts, " "), " "))
	p.b.WriteString(strings.ReplaceAll(text, painted, "\x1b[") + "\n")
}

// painted stands for the beginning of an escape sequence until the line is printed. Nobody else knows it.
var painted = rand.Text()

func (p *printer) linef(format string, args ...any) { p.line(fmt.Sprintf(format, args...)) }

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (p *printer) paint(style, text string) string {
	if !p.color || text == "" {
		return text
	}
	return painted + style + "m" + text + painted + "0m"
}

// table prints rows in columns. The first row is the header; a table without other rows is not printed.
func (p *printer) table(rows [][]string) {
	if len(rows) < 2 {
		return
	}
	for i, line := range aligned(rows) {
		if i == 0 {
			line = p.paint(bold, line)
		}
		p.line(line)
	}
}

// columns prints rows in columns without a header.
func (p *printer) columns(rows [][]string) {
	for _, line := range aligned(rows) {
		p.line(line)
	}
}

// cut shortens a cell for a terminal. Who reads from a pipe, or a log, gets it whole.
func (p *printer) cut(text string, limit int) string {
	if p.width == 0 {
		return text
	}
	return shorten(text, limit)
}

// cutLast shortens the last cell of rows so that they fit into a terminal's lines.
func (p *printer) cutLast(rows [][]string) [][]string {
	if len(rows) == 0 {
		return rows
	}
	last := len(rows[0]) - 1
	room := p.width
	for i := range last {
		longest := 0
		for _, row := range rows {
			longest = max(longest, utf8.RuneCountInString(row[i]))
		}
		room -= longest + 2
	}
	for _, row := range rows {
		row[last] = p.cut(row[last], max(room, 20))
	}
	return rows
}

// paragraph prints a text behind a margin, which goes on below it in a terminal that is too narrow.
func (p *printer) paragraph(margin, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(margin))
	room := max(p.width-len(indent), 20)
	line := margin
	for i, word := range strings.Fields(oneLine(text)) {
		switch {
		case i == 0:
		case p.width > 0 && utf8.RuneCountInString(line)-len(indent)+1+utf8.RuneCountInString(word) > room:
			p.line(line)
			line = indent
		default:
			line += " "
		}
		line += word
	}
	p.line(line)
}

// aligned are the rows as lines.
func aligned(rows [][]string) []string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, oneLine(cell))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // to memory
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// oneLine removes line breaks and control characters: text of others must not move the cursor or break a table.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return -1
		}
		return r
	}, text)
}

// harmless removes control characters, except line breaks.
func harmless(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = oneLine(line)
	}
	return strings.Join(lines, "\n")
}

// shorten cuts a text to a number of characters.
func shorten(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}

// limited gives the first entries of a list, and how many are left out.
func limited[T any](p *printer, list []T, limit int) ([]T, int) {
	if p.full || len(list) <= limit {
		return list, 0
	}
	return list[:limit], len(list) - limit
}

// names of clusters on one line.
func (p *printer) names(names []string) string {
	shown, more := limited(p, names, 6)
	text := strings.Join(shown, " ")
	if more > 0 {
		text += fmt.Sprintf(" … %d more", more)
	}
	return text
}

// The words for people that the overview uses too.
var (
	age      = overview.Age
	count    = overview.Count
	short    = overview.Short
	orNone   = overview.OrNone
	position = overview.Position
)
