package openstack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/pflag"
)

// printer writes answers in the form that was asked for.
type printer struct {
	out      io.Writer
	format   string
	columns  []string // only these, unless it is empty
	sortBy   []string
	reverse  bool
	noIndent bool
	quote    string // of CSV
}

// printerFlags adds the options of the output; what it returns makes the printer once they are parsed.
func printerFlags(flags *pflag.FlagSet, v verb) func(io.Writer) (printer, error) {
	var p printer
	formats := []string{"table", "json", "yaml", "value"}
	if v == create || v == show || v == list {
		flags.StringVarP(&p.format, "format", "f", "table", "table, json, yaml, value, and csv of lists")
		flags.StringArrayVarP(&p.columns, "column", "c", nil, "only this column; may be repeated")
		flags.BoolVar(&p.noIndent, "noindent", false, "JSON on one line")
	}
	if v == list {
		formats = append(formats, "csv")
		flags.StringVar(&p.quote, "quote", "nonnumeric", "what CSV quotes: all, minimal, nonnumeric or none")
		flags.StringArrayVar(&p.sortBy, "sort-column", nil, "sort by this column; may be repeated")
		flags.BoolVar(&p.reverse, "sort-descending", false, "sort the other way round")
		flags.Bool("sort-ascending", true, "sort upwards (default)")
		for _, rare := range []string{"quote", "noindent", "sort-ascending"} {
			_ = flags.MarkHidden(rare)
		}
	}
	return func(out io.Writer) (printer, error) {
		p.out = out
		if p.format != "" && !slices.Contains(formats, p.format) {
			return p, fmt.Errorf("the format %q is not one of %s", p.format, strings.Join(formats, ", "))
		}
		return p, nil
	}
}

// choose keeps the columns that were asked for. Their names may be spelt as in tables or as in JSON.
func (p *printer) choose(columns []column, rows [][]any) ([]column, [][]any, error) {
	if len(p.columns) == 0 {
		return columns, rows, nil
	}
	wanted := map[string]bool{}
	for _, c := range p.columns {
		wanted[plain(c)] = true
	}
	var keep []int
	var kept []column
	for i, c := range columns {
		if wanted[plain(c.title)] {
			keep, kept = append(keep, i), append(kept, c)
		}
	}
	if len(keep) == 0 {
		titles := make([]string, len(columns))
		for i, c := range columns {
			titles[i] = c.title
		}
		return nil, nil, fmt.Errorf("there is no such column; there are %s", strings.Join(titles, ", "))
	}
	out := make([][]any, len(rows))
	for i, row := range rows {
		for _, j := range keep {
			out[i] = append(out[i], row[j])
		}
	}
	return kept, out, nil
}

func plain(title string) string { return strings.ToLower(strings.ReplaceAll(title, " ", "_")) }

// list writes objects, one a row.
func (p printer) list(columns []column, rows [][]any) error {
	p.sort(columns, rows)
	columns, rows, err := p.choose(columns, rows)
	if err != nil {
		return err
	}
	switch p.format {
	case "json":
		var b bytes.Buffer
		b.WriteByte('[')
		for i, row := range rows {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeObject(&b, columns, row); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return p.writeJSON(b.Bytes())
	case "yaml":
		items := []yaml.MapSlice{}
		for _, row := range rows {
			items = append(items, mapSlice(columns, row))
		}
		return p.writeYAML(items)
	case "value":
		for _, row := range rows {
			cells := make([]string, len(row))
			for i, v := range row {
				cells[i] = literal(v)
			}
			fmt.Fprintln(p.out, strings.Join(cells, " "))
		}
		return nil
	case "csv":
		p.csv(columns, rows)
		return nil
	}
	t := newTable(p.out)
	header := table.Row{}
	for _, c := range columns {
		header = append(header, c.title)
	}
	t.AppendHeader(header)
	for _, row := range rows {
		cells := table.Row{}
		for i, v := range row {
			cells = append(cells, cell(columns[i].attribute, v))
		}
		t.AppendRow(cells)
	}
	if len(rows) > 0 {
		t.Render()
	} else {
		fmt.Fprintln(p.out)
	}
	return nil
}

// one writes a single object, one attribute a row.
func (p printer) one(columns []column, row []any) error {
	columns, rows, err := p.choose(columns, [][]any{row})
	if err != nil {
		return err
	}
	row = rows[0]
	switch p.format {
	case "json":
		var b bytes.Buffer
		if err := writeObject(&b, columns, row); err != nil {
			return err
		}
		return p.writeJSON(b.Bytes())
	case "yaml":
		return p.writeYAML(mapSlice(columns, row))
	case "value":
		for _, v := range row {
			fmt.Fprintln(p.out, literal(v))
		}
		return nil
	case "csv":
		return fmt.Errorf("csv is for lists")
	}
	t := newTable(p.out)
	t.AppendHeader(table.Row{"Field", "Value"})
	for i, c := range columns {
		t.AppendRow(table.Row{c.title, cell(c.attribute, row[i])})
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignLeft}})
	t.Render()
	return nil
}

func newTable(out io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	style := table.StyleDefault
	style.Format.Header = text.FormatDefault
	style.Format.HeaderAlign = text.AlignCenter
	t.SetStyle(style)
	return t
}

func (p printer) sort(columns []column, rows [][]any) {
	for _, name := range slices.Backward(p.sortBy) {
		i := slices.IndexFunc(columns, func(c column) bool { return plain(c.title) == plain(name) })
		if i < 0 {
			continue
		}
		slices.SortStableFunc(rows, func(a, b []any) int {
			order := compare(a[i], b[i])
			if p.reverse {
				return -order
			}
			return order
		})
	}
}

// compare orders two values: numbers by their size, everything else as text.
func compare(a, b any) int {
	x, ok := a.(json.Number)
	y, also := b.(json.Number)
	if ok && also {
		m, _ := x.Float64()
		n, _ := y.Float64()
		switch {
		case m < n:
			return -1
		case m > n:
			return 1
		}
		return 0
	}
	return strings.Compare(literal(a), literal(b))
}

// writeObject writes a JSON object whose members are in the order of the columns.
func writeObject(b *bytes.Buffer, columns []column, row []any) error {
	b.WriteByte('{')
	for i, c := range columns {
		if i > 0 {
			b.WriteByte(',')
		}
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false)
		if err := e.Encode(c.title); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := e.Encode(row[i]); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func (p printer) writeJSON(compactJSON []byte) error {
	var b bytes.Buffer
	var err error
	if p.noIndent {
		err = json.Compact(&b, compactJSON)
	} else {
		err = json.Indent(&b, compactJSON, "", "  ")
	}
	if err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = p.out.Write(b.Bytes())
	return err
}

func mapSlice(columns []column, row []any) yaml.MapSlice {
	var m yaml.MapSlice
	for i, c := range columns {
		m = append(m, yaml.MapItem{Key: c.title, Value: native(row[i])})
	}
	return m
}

// native turns the numbers of a JSON value into numbers of Go, which YAML writes as such.
func native(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		n, _ := v.Float64()
		return n
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = native(v[i])
		}
		return out
	case object:
		out := object{}
		for k, item := range v {
			out[k] = native(item)
		}
		return out
	}
	return v
}

func (p printer) writeYAML(v any) error {
	b, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	_, err = p.out.Write(b)
	return err
}
