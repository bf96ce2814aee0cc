package tcproom

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// causesInSource returns the doc comment of Cause, and the codes of the exported
// constants of that type.
func causesInSource(t *testing.T) (doc string, exported map[string]Cause) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "cause.go", nil, parser.ParseComments)
	require.NoError(t, err)
	exported = make(map[string]Cause)
	for _, d := range file.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.Name == "Cause" {
					doc = gen.Doc.Text()
				}
			case *ast.ValueSpec:
				if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Cause" || !spec.Names[0].IsExported() {
					continue
				}
				code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				exported[spec.Names[0].Name] = Cause(code)
			}
		}
	}
	return doc, exported
}

// TestCauseTable: the table in the doc of Cause has each cause once, the constant of
// each that has one, and the standard library's errors that it matches.
func TestCauseTable(t *testing.T) {
	doc, exported := causesInSource(t)
	_, table, ok := strings.Cut(doc, "standard error\n")
	require.True(t, ok)
	table, _, ok = strings.Cut(table, "\n\n")
	require.True(t, ok)
	rows := make(map[Cause]string) // what the table says of each
	var code Cause
	for line := range strings.Lines(table) {
		line = strings.TrimPrefix(line, "\t")
		if !strings.HasPrefix(line, " ") {
			code = Cause(strings.Fields(line)[0])
			require.NotContains(t, rows, code, "is there twice")
			line = strings.TrimPrefix(line, string(code))
		}
		rows[code] += line
	}
	require.Len(t, rows, len(causes))
	require.Len(t, Causes(), len(causes))

	constant := regexp.MustCompile(`\bErr[A-Z]\w*`)
	named := make(map[string]Cause)
	for _, c := range causes {
		require.Contains(t, rows, c.cause)
		require.Contains(t, Causes(), c.cause)
		for name, err := range map[string]error{
			"io.EOF": io.EOF, "io.ErrUnexpectedEOF": io.ErrUnexpectedEOF, "net.ErrClosed": net.ErrClosed,
			"os.ErrDeadlineExceeded": os.ErrDeadlineExceeded, "context.DeadlineExceeded": context.DeadlineExceeded,
		} {
			require.Equal(t, errors.Is(c.cause, err), strings.Contains(rows[c.cause], name), "%s and %s", c.cause, name)
		}
		row := regexp.MustCompile(`\b(io|net|os)\.\w+`).ReplaceAllString(rows[c.cause], "")
		if name := constant.FindString(row); name != "" {
			named[name] = c.cause
		}
	}
	require.Equal(t, exported, named)
}

// TestTimeoutsAreNoRetry: a hook's error that is one of our timeouts, of another
// connection of the hook's, is not a deadline of the hook's own.
func TestTimeoutsAreNoRetry(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Cause
	}{
		{err: errWriteTimeout, want: ErrDenied},
		{err: errIdleTimeout, want: ErrDenied},
		{err: &EndError{Cause: errIdleTimeout}, want: ErrDenied},
		{err: os.ErrDeadlineExceeded, want: ErrDenied},
		{err: errHandshakeTimeout, want: errHandshakeTimeout},
		{err: context.DeadlineExceeded, want: errRetry},
	} {
		require.Equal(t, tt.want, refusalCause(tt.err), "%v", tt.err)
		require.Equal(t, tt.want, refusalCause(fmt.Errorf("hook: %w", tt.err)), "%v", tt.err)
	}
}

// TestRefusalsOfALog: what a log has let down is no hook's fault, other than what became of
// a connection of the hook's own, or of its context.
func TestRefusalsOfALog(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Cause
	}{
		{err: ErrUnavailable, want: ErrUnavailable},
		{err: errLostOnTheWay, want: ErrUnavailable},
		{err: &givenUpError{nil, ErrUncertain, errSilent}, want: ErrUnavailable},
		{err: &givenUpError{nil, ErrUnavailable, nil}, want: ErrUnavailable},
		{err: &EndError{Cause: ErrUnavailable}, want: ErrDenied},
		{err: ErrUncertain, want: ErrDenied},
		{err: fmt.Errorf("%w: %w", ErrUncertain, context.Canceled), want: ErrDenied},
	} {
		require.Equal(t, tt.want, refusalCause(tt.err), "%v", tt.err)
		require.Equal(t, tt.want, refusalCause(fmt.Errorf("hook: %w", tt.err)), "%v", tt.err)
	}
}

// TestResumed: two outcomes say that the stream goes on.
func TestResumed(t *testing.T) {
	require.False(t, (*WelcomeInfo)(nil).Resumed())
	for outcome, want := range map[string]bool{"": false, "joined": false, "resumed": true, "gap": true, "expired": false, "Resumed": false} {
		require.Equal(t, want, (&WelcomeInfo{Outcome: outcome}).Resumed(), outcome)
	}
}

// TestEndErrorSaysItOnce: a reason that is the text of the cause is not said again.
func TestEndErrorSaysItOnce(t *testing.T) {
	for _, tt := range []struct {
		end  EndError
		want string
	}{
		{EndError{Cause: ErrKicked, Text: "enough"}, `tcproom: kicked: the room's reason is "enough"`},
		{EndError{Cause: ErrKicked, Text: "kicked"}, "tcproom: kicked"},
		{EndError{Cause: ErrRestarting, Text: "the process stops, and the room goes on in others"}, "tcproom: the process stops, and the room goes on in others"},
		{EndError{Cause: ErrKicked}, "tcproom: kicked"},
	} {
		require.Equal(t, tt.want, tt.end.Error())
	}
}
