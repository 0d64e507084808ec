package policy

import (
	"fmt"
	"strings"
)

// Bounds of one rule. Real rules stay far below; the bounds keep a broken file from costing memory or stack.
const (
	maxRuleLength = 4096 // bytes
	maxDepth      = 32   // parentheses and nots inside each other
)

// operator is the kind of a node in the tree of a rule.
type operator int

const (
	opAnd   operator = iota // all of kids
	opOr                    // one of kids
	opNot                   // not kids[0]
	opTrue                  // @
	opFalse                 // !
	opRule                  // rule:right
	opRole                  // role:right
	opField                 // field:right
	opMatch                 // left:right
)

// node is a part of a parsed rule.
type node struct {
	op          operator
	column      int // where it begins, from 1
	kids        []*node
	left, right string
}

// syntaxError is a mistake at a place in a rule.
type syntaxError struct {
	column int
	reason string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("column %d: %s", e.column, e.reason) }

func mistake(column int, format string, args ...any) error {
	return &syntaxError{column: column, reason: fmt.Sprintf(format, args...)}
}

// parse turns the text of a rule into its tree. The grammar, where not binds closest and or loosest:
//
//	rule   = [ or ]
//	or     = and { "or" and }
//	and    = not { "and" not }
//	not    = { "not" } atom
//	atom   = "(" or ")" | "@" | "!" | left ":" right
func parse(text string) (*node, error) {
	if len(text) > maxRuleLength {
		return nil, mistake(maxRuleLength+1, "a rule may not be longer than %d bytes", maxRuleLength)
	}
	p := parser{text: text}
	p.advance()
	if p.token.kind == tokenEnd {
		return &node{op: opTrue, column: 1}, nil
	}
	n, err := p.parseOr(0)
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, mistake(p.token.column, "expected and, or, or the end of the rule, found %q", p.token.text)
	}
	return n, nil
}

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenOpen
	tokenClose
	tokenAnd
	tokenOr
	tokenNot
	tokenCheck
)

type token struct {
	kind   tokenKind
	column int
	text   string
}

// parser reads a rule from left to right, with one token of foresight.
type parser struct {
	text   string
	offset int
	token  token
}

const blanks = " \t\r\n"

// advance reads the next token. A check extends to the next blank; closing parentheses at its end belong to it only as
// far as it opened them itself, as in "(project_id:%(project_id)s)".
func (p *parser) advance() {
	for p.offset < len(p.text) && strings.IndexByte(blanks, p.text[p.offset]) >= 0 {
		p.offset++
	}
	start := p.offset
	p.token = token{kind: tokenEnd, column: start + 1, text: "the end"}
	if start == len(p.text) {
		return
	}
	switch p.text[start] {
	case '(':
		p.offset++
		p.token = token{kind: tokenOpen, column: start + 1, text: "("}
		return
	case ')':
		p.offset++
		p.token = token{kind: tokenClose, column: start + 1, text: ")"}
		return
	}
	word := p.text[start:]
	if end := strings.IndexAny(word, blanks); end >= 0 {
		word = word[:end]
	}
	surplus := strings.Count(word, ")") - strings.Count(word, "(")
	for ; surplus > 0 && strings.HasSuffix(word, ")"); surplus-- {
		word = word[:len(word)-1]
	}
	p.offset = start + len(word)
	p.token = token{kind: tokenCheck, column: start + 1, text: word}
	switch strings.ToLower(word) {
	case "and":
		p.token.kind = tokenAnd
	case "or":
		p.token.kind = tokenOr
	case "not":
		p.token.kind = tokenNot
	}
}

func (p *parser) parseOr(depth int) (*node, error) {
	return p.parseList(tokenOr, opOr, func() (*node, error) {
		return p.parseList(tokenAnd, opAnd, func() (*node, error) { return p.parseNot(depth) })
	})
}

// parseList reads items joined by the separator; a single item stands for itself.
func (p *parser) parseList(separator tokenKind, op operator, item func() (*node, error)) (*node, error) {
	first, err := item()
	if err != nil || p.token.kind != separator {
		return first, err
	}
	n := &node{op: op, column: first.column, kids: []*node{first}}
	for p.token.kind == separator {
		p.advance()
		next, err := item()
		if err != nil {
			return nil, err
		}
		n.kids = append(n.kids, next)
	}
	return n, nil
}

func (p *parser) parseNot(depth int) (*node, error) {
	t := p.token
	if t.kind != tokenNot {
		return p.parseAtom(depth)
	}
	if depth >= maxDepth {
		return nil, mistake(t.column, "nested deeper than %d", maxDepth)
	}
	p.advance()
	kid, err := p.parseNot(depth + 1)
	if err != nil {
		return nil, err
	}
	return &node{op: opNot, column: t.column, kids: []*node{kid}}, nil
}

func (p *parser) parseAtom(depth int) (*node, error) {
	t := p.token
	switch t.kind {
	case tokenCheck:
		n, err := parseCheck(t)
		if err != nil {
			return nil, err
		}
		p.advance()
		return n, nil
	case tokenOpen:
		if depth >= maxDepth {
			return nil, mistake(t.column, "nested deeper than %d", maxDepth)
		}
		p.advance()
		n, err := p.parseOr(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.token.kind != tokenClose {
			return nil, mistake(p.token.column, "the parenthesis of column %d is not closed", t.column)
		}
		p.advance()
		return n, nil
	default:
		return nil, mistake(t.column, "expected a check, found %s", t.text)
	}
}

// parseCheck turns one word into a node.
func parseCheck(t token) (*node, error) {
	switch t.text {
	case "@":
		return &node{op: opTrue, column: t.column}, nil
	case "!":
		return &node{op: opFalse, column: t.column}, nil
	}
	left, right, found := cutCheck(t.text)
	if !found || left == "" {
		return nil, mistake(t.column, "expected kind:match, @ or !, found %q", t.text)
	}
	n := &node{op: opMatch, column: t.column, left: left, right: right}
	switch left {
	case "rule":
		n.op = opRule
	case "role":
		n.op = opRole
	case "field":
		n.op = opField
	case "http", "https":
		return nil, mistake(t.column, "checks that ask another server (%s:) are not supported", left)
	}
	return n, nil
}

// cutCheck splits a check at the colon after its left side, which may be quoted and then hold colons itself.
func cutCheck(text string) (left, right string, found bool) {
	if text[0] == '\'' || text[0] == '"' {
		if end := strings.IndexByte(text[1:], text[0]); end >= 0 && strings.HasPrefix(text[end+2:], ":") {
			return text[:end+2], text[end+3:], true
		}
		return "", "", false
	}
	return strings.Cut(text, ":")
}
