package tour

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/sys/unix"
)

// screen prints the tour.
type screen struct {
	out    io.Writer
	colour bool
}

func newScreen(out io.Writer, colour bool) *screen { return &screen{out, colour} }

// The styles in use, as parameters of the SGR escape sequence (ECMA-48).
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	cyan   = "36"
	indent = "     "
)

func (s *screen) paint(style, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// paragraph is a heading with text under it.
type paragraph struct{ heading, text string }

// stepTime is a row of the summary.
type stepTime struct {
	title string
	took  time.Duration
}

func (s *screen) introduce(cloudsFile string) {
	fmt.Fprintf(s.out, "\nEvery step shows what you would type. For the openstack command, this comes first:\n")
	fmt.Fprintf(s.out, "%s%s\n", indent, s.paint(cyan, "$ export OS_CLOUD=demo OS_CLIENT_CONFIG_FILE="+cloudsFile))
}

func (s *screen) begin(number int, title, why string) {
	fmt.Fprintf(s.out, "\n%s %s\n", s.paint(bold, fmt.Sprintf("%2d. ", number)+title), s.paint(faint, "- "+why))
}

func (s *screen) typed(command string) {
	fmt.Fprintf(s.out, "%s%s\n", indent, s.paint(cyan, "$ "+command))
}

func (s *screen) result(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Fprintf(s.out, "%s%s\n", indent, strings.TrimRight(line, "\n"))
	}
}

func (s *screen) end(took time.Duration) {
	fmt.Fprintf(s.out, "%s%s\n", indent, s.paint(green, "ok")+s.paint(faint, "  "+short(took)))
}

func (s *screen) fail(said []paragraph, took time.Duration) {
	fmt.Fprintf(s.out, "%s%s\n", indent, s.paint(red, "FAILED")+s.paint(faint, "  "+short(took)))
	for _, p := range said {
		fmt.Fprintf(s.out, "%s%s\n", indent, s.paint(bold, p.heading+":"))
		s.result(indent + strings.ReplaceAll(p.text, "\n", "\n"+indent))
	}
}

func (s *screen) summary(times []stepTime, versions []paragraph) {
	fmt.Fprintf(s.out, "\n%s\n", s.paint(bold, "Summary"))
	t := table.NewWriter()
	t.SetStyle(plainStyle())
	var total time.Duration
	for _, st := range times {
		t.AppendRow(table.Row{st.title, short(st.took)})
		total += st.took
	}
	t.AppendRow(table.Row{"total", short(total)})
	s.result(t.Render())
	var parts []string
	for _, v := range versions {
		parts = append(parts, v.heading+" "+v.text)
	}
	s.result(s.paint(faint, strings.Join(parts, ", ")))
}

// plainStyle is a table without lines.
func plainStyle() table.Style {
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	return style
}

// short renders a time so that it can be compared at a glance: milliseconds below a second.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	default:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
}

// versions names what did the work.
func versions(ctx context.Context, own string) []paragraph {
	found := []paragraph{{"neutrino", own}, {"go", strings.TrimPrefix(runtime.Version(), "go")}}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		found = append(found, paragraph{"linux", unix.ByteSliceToString(uts.Release[:])})
	}
	// "Dnsmasq version 2.90  Copyright …"
	if out, err := exec.CommandContext(ctx, "dnsmasq", "--version").Output(); err == nil {
		if words := strings.Fields(string(out)); len(words) > 2 {
			found = append(found, paragraph{"dnsmasq", words[2]})
		}
	}
	return found
}
