package nftmap

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// writtenPrefix begins the name of the chain that marks a table, see MarkWritten.
const writtenPrefix = "written-"

// Attributes of chains and rules (nf_tables.h) that say what they do, and not how the kernel keeps them.
const (
	chainName   = 3 // NFTA_CHAIN_NAME
	chainHook   = 4
	chainPolicy = 5
	chainType   = 7

	ruleChain       = 2 // NFTA_RULE_CHAIN
	ruleExpressions = 4
)

// MarkWritten notes in the table that it was made from this source text, and how the kernel tells its rules: as the
// name of a chain which has no rules and is never jumped to. It is the last step of writing a table; one without the
// mark is incomplete.
//
// The mark is in the kernel, so that it comes and goes with the table; and it does not depend on how a program
// prints the rules, so that the table is known again after an upgrade of that program.
func (c *Conn) MarkWritten(t Table, source string) error {
	mark, _, err := c.mark(t, source)
	if err != nil {
		return err
	}
	req := newRequest(newChain, unix.NLM_F_CREATE|unix.NLM_F_ACK, t.Family)
	req.AddData(nl.NewRtAttr(attrTable, nl.ZeroTerminated(t.Name)))
	req.AddData(nl.NewRtAttr(chainName, nl.ZeroTerminated(mark)))
	if err := c.batch([]*nl.NetlinkRequest{req}); err != nil {
		return fmt.Errorf("mark the nftables table %s: %w", t.Name, err)
	}
	return nil
}

// Written says whether the table was made from this source text, and nobody has changed its rules since. Elements of
// named maps are not looked at. The error wraps unix.ENOENT when there is no such table, or none with chains.
func (c *Conn) Written(t Table, source string) (bool, error) {
	mark, chains, err := c.mark(t, source)
	return err == nil && slices.Contains(chains, mark), err
}

// mark is the name of the mark as it should be, beside the names of all chains there are.
func (c *Conn) mark(t Table, source string) (mark string, chains []string, err error) {
	sum := sha256.New()
	request := func(kind int) func() *nl.NetlinkRequest {
		return func() *nl.NetlinkRequest {
			req := newRequest(kind, unix.NLM_F_DUMP, t.Family)
			req.AddData(nl.NewRtAttr(attrTable, nl.ZeroTerminated(t.Name)))
			return req
		}
	}
	reset := func() { chains = nil; sum.Reset() }
	err = c.dump(request(getChain), reset, func(m []byte) {
		if name := textAttr(m, chainName); textAttr(m, attrTable) == t.Name {
			chains = append(chains, name)
			if !strings.HasPrefix(name, writtenPrefix) {
				digest(sum, m, chainName, chainHook, chainPolicy, chainType)
			}
		}
	})
	if err != nil {
		return "", nil, fmt.Errorf("read the chains of the nftables table %s: %w", t.Name, err)
	}
	if len(chains) == 0 { // a dump of a table that is not there is empty
		return "", nil, fmt.Errorf("the nftables table %s: %w", t.Name, unix.ENOENT)
	}
	rules := sha256.New()
	err = c.dump(request(getRule), rules.Reset, func(m []byte) {
		if textAttr(m, attrTable) == t.Name {
			digest(rules, m, ruleChain, ruleExpressions)
		}
	})
	if err != nil {
		return "", nil, fmt.Errorf("read the rules of the nftables table %s: %w", t.Name, err)
	}
	source += string(sum.Sum(nil)) + string(rules.Sum(nil))
	whole := sha256.Sum256([]byte(source))
	return writtenPrefix + hex.EncodeToString(whole[:16]), chains, nil
}

// digest adds the attributes of the kinds given, with their lengths.
func digest(sum hash.Hash, message []byte, kinds ...int) {
	eachAttr(message, func(kind int, v []byte) {
		if slices.Contains(kinds, kind) {
			sum.Write(binary.NativeEndian.AppendUint32([]byte{byte(kind)}, uint32(len(v))))
			sum.Write(v)
		}
	})
}

func textAttr(message []byte, wanted int) (text string) {
	eachAttr(message, func(kind int, v []byte) {
		if kind == wanted {
			text = strings.TrimRight(string(v), "\x00")
		}
	})
	return text
}
