package ruleset

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// attempts bounds how often a change begins anew because others have changed the ruleset meanwhile. Reading it takes a
// fraction of a second at most.
const attempts = 10

// Apply makes the kernel's table as it is wanted, in one transaction, and in one more for chains that vouch. changes is the
// number of objects that were not right. What the kernel refuses is left as it is there, and told by Err, and the rest is
// done. With an error nothing is known of the table.
func (t *Table) Apply() (changes int, err error) {
	t.drifted, t.reread = false, false
	for range attempts {
		var n int
		n, err = t.apply()
		changes += n
		if !errors.Is(err, errStale) {
			break
		}
	}
	if errors.Is(err, errStale) {
		err = fmt.Errorf("others change nftables faster than the table %s can be read and written", t)
	}
	if err != nil {
		t.have = nil
		return 0, err
	}
	t.drifted = t.reread && changes > 0
	return changes, nil
}

func (t *Table) apply() (changes int, err error) {
	if err := t.observe(); err != nil {
		return 0, err
	}
	if !t.have.exists {
		if err := t.create(); err != nil {
			return 0, err
		}
	}
	if t.outdated() {
		if err := t.replace(); err != nil {
			return 0, err
		}
	}
	changes, err = t.change(false)
	if err == nil && len(t.dirtyChains) > 0 {
		grace()
		var n int
		n, err = t.change(true)
		changes += n
	}
	if err != nil {
		return changes, fmt.Errorf("change the nftables table %s: %w", t, err)
	}
	return changes, nil
}

// change makes one transaction, with or without the rules of chains that vouch. changes is how many objects it has changed.
func (t *Table) change(vouching bool) (changes int, err error) {
	for {
		p := plan{Table: t, vouching: vouching}
		if err := p.make(); err != nil {
			return 0, err
		}
		err := t.commit(p.messages)
		var refused Refused
		if errors.As(err, &refused) && refused[""] == nil && t.leaveOut(refused) {
			continue
		}
		if err != nil {
			return 0, err
		}
		p.done()
		return p.changes, nil
	}
}

// commit makes a transaction. Of a table that anybody can change, it must be known what is there: it is made only if nobody
// has changed anything since that was read.
func (t *Table) commit(messages []message) error {
	if t.owned || len(messages) == 0 {
		return t.conn.commit(messages, 0)
	}
	err := t.conn.commit(messages, t.generation)
	if err == nil {
		t.generation++
	}
	return err
}

// grace waits until all packets that are on their way through the kernel now have been through. The membarrier of all
// processes waits for that (synchronize_rcu in kernel/sched/membarrier.c); where a kernel has none, packets get a time that
// is long for them.
func grace() {
	const global = 1 // MEMBARRIER_CMD_GLOBAL, linux/membarrier.h
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); errno != 0 {
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // such a kernel tells nothing that could be waited for
	}
}

// leaveOut notes what the kernel has refused, and says whether a round without it makes sense: each leaves out an object
// more. A refusal that comes again is about one that cannot be removed.
func (t *Table) leaveOut(refused Refused) (more bool) {
	for name, reason := range refused {
		more = more || t.refused[name] == nil
		t.refused[name] = reason
	}
	return more
}

// outdated says that a chain or set of a wanted name is of another kind: the table is that of another version.
func (t *Table) outdated() bool {
	for name, c := range t.chains {
		have := t.have.chains[name]
		if have != nil && ((have.base == nil) != (c.Base == nil) || c.Base != nil && *c.Base != *have.base) {
			return true
		}
	}
	for name, s := range t.sets {
		if have := t.have.sets[name]; have != nil && (have.keyType != s.keyType() || have.flags != s.flags()) {
			return true
		}
	}
	return false
}

// replace has the table written anew. It is emptied first, since what is wanted cannot stand beside what is there.
func (t *Table) replace() error {
	if err := t.conn.commit([]message{t.delTable()}, 0); err != nil {
		return fmt.Errorf("remove the outdated nftables table %s %s: %w", t.family, t.name, err)
	}
	t.have = &actual{chains: map[string]*actualChain{}, sets: map[string]*actualSet{}, limits: map[string]bool{}}
	if err := t.create(); err != nil {
		return err
	}
	t.touchAll()
	return nil
}

// plan is the difference as a transaction. What is referred to comes before what refers to it, and goes after it.
type plan struct {
	*Table
	vouching bool // also the rules of chains that vouch
	messages []message
	changes  int
	effects  []func() // on what is believed of the kernel, once it has been done
	later    []string // chains whose rules are for another transaction
}

func (p *plan) make() error {
	p.newLimits()
	var goneChains, goneSets []string
	for name := range p.dirtySets {
		s, have := p.sets[name], p.have.sets[name]
		switch {
		case s == nil && have != nil:
			goneSets = append(goneSets, name)
		case s != nil && have == nil && p.refused[name] == nil:
			p.newSet(name, s)
		}
	}
	var newChains []string
	for name := range p.dirtyChains {
		_, wanted := p.chains[name]
		have := p.have.chains[name]
		switch {
		case !wanted && have != nil:
			goneChains = append(goneChains, name)
		case wanted && have == nil && p.refused[name] == nil:
			newChains = append(newChains, name)
		}
	}
	slices.SortFunc(newChains, p.lastFirst)
	for _, name := range newChains {
		c := p.chains[name]
		p.add(p.Table.newChain(name, c))
		p.changes++
		p.then(func() { p.have.chains[name] = &actualChain{base: c.Base} })
	}
	// Elements before rules, so that no rule asks a set that is not complete; but for verdicts that lead to chains, the
	// order within a transaction does not matter to the kernel.
	for name, dirty := range p.dirtyElements {
		if s := p.sets[name]; s != nil && p.refused[name] == nil {
			p.setElements(name, s, dirty)
		}
	}
	for name := range p.dirtyChains {
		if c, wanted := p.chains[name]; wanted && p.refused[name] == nil {
			if err := p.setRules(name, c); err != nil {
				return err
			}
		}
	}
	p.remove(goneChains, goneSets)
	p.removeLimits()
	return nil
}

// lastFirst orders chains so that a packet comes to the last ones first. When somebody removes the table, the kernel takes
// the chains off their hooks one after the other, in the order in which they were made: what is at the end of the way, and
// relies on those before it, must not be there without them.
func (p *plan) lastFirst(a, b string) int {
	x, y := p.chains[a].Base, p.chains[b].Base
	switch {
	case x != nil && y != nil:
		return cmp.Or(cmp.Compare(y.Hook, x.Hook), cmp.Compare(y.Priority, x.Priority), strings.Compare(a, b))
	case x != nil:
		return -1
	case y != nil:
		return 1
	}
	return strings.Compare(a, b)
}

func (p *plan) add(messages ...message) { p.messages = append(p.messages, messages...) }

func (p *plan) then(effect func()) { p.effects = append(p.effects, effect) }

func (p *plan) newSet(name string, s *wantedSet) {
	p.add(p.Table.newSet(name, s.Set))
	p.changes++
	p.then(func() {
		p.have.sets[name] = &actualSet{flags: s.flags(), keyType: s.keyType(), elements: map[Element]Value{}}
	})
}

func (p *plan) setElements(name string, s *wantedSet, dirty map[Element]bool) {
	var have map[Element]Value
	if actual := p.have.sets[name]; actual != nil {
		have = actual.elements
	}
	var gone, fresh []entry
	for e := range dirty {
		want, wanted := s.elements[e]
		is, there := have[e]
		if wanted == there && want == is {
			continue
		}
		p.changes++
		if there {
			gone = append(gone, entry{e, is})
		}
		if wanted {
			fresh = append(fresh, entry{e, want})
		}
	}
	p.add(p.elements(unix.NFT_MSG_DELSETELEM, name, s.Set, gone)...)
	p.add(p.elements(unix.NFT_MSG_NEWSETELEM, name, s.Set, fresh)...)
	p.then(func() {
		elements := p.have.sets[name].elements
		for _, e := range gone {
			delete(elements, e.Element)
		}
		for _, e := range fresh {
			elements[e.Element] = e.Value
		}
	})
}

func (p *plan) setRules(name string, c Chain) error {
	have := p.have.chains[name]
	if have == nil {
		have = &actualChain{}
	}
	if slices.EqualFunc(have.rules, c.Rules, func(a actualRule, w Rule) bool { return a.comment == w.comment }) {
		return nil
	}
	if c.Vouches && !p.vouching {
		p.later = append(p.later, name)
		return nil
	}
	if c.AnyOrder {
		return p.amend(name, c, have)
	}
	if len(have.rules) > 0 {
		p.add(p.delRule(name, 0))
	}
	now := make([]actualRule, 0, len(c.Rules))
	for _, r := range c.Rules {
		p.add(p.newRule(name, r))
		now = append(now, actualRule{comment: r.comment})
	}
	p.changes += max(len(now), 1)
	p.then(func() { p.have.chains[name].rules, p.have.chains[name].blind = now, true })
	return nil
}

// amend adds the rules that are missing and removes those that are too many; the others are not touched.
func (p *plan) amend(name string, c Chain, have *actualChain) error {
	missing := map[string]int{}
	for _, r := range c.Rules {
		missing[r.comment]++
	}
	surplus := func(r actualRule) bool {
		missing[r.comment]--
		return missing[r.comment] < 0
	}
	var keep, gone []actualRule
	for _, r := range have.rules {
		if surplus(r) {
			gone = append(gone, r)
		} else {
			keep = append(keep, r)
		}
	}
	if len(gone) > 0 && have.blind {
		if err := p.readRules(map[string]*actualChain{name: have}, name); err != nil {
			return err
		}
		return p.setRules(name, c)
	}
	for _, r := range gone {
		p.add(p.delRule(name, r.handle))
	}
	blind := have.blind
	for _, r := range c.Rules {
		if missing[r.comment] > 0 {
			missing[r.comment]--
			p.add(p.newRule(name, r))
			keep = append(keep, actualRule{comment: r.comment})
			blind = true
			p.changes++
		}
	}
	p.changes += len(gone)
	p.then(func() { p.have.chains[name].rules, p.have.chains[name].blind = keep, blind })
	return nil
}

func (p *plan) remove(chains, sets []string) {
	for _, name := range chains {
		p.add(p.delRule(name, 0)) // all first: they may lead to each other
	}
	for _, name := range chains {
		p.add(p.delChain(name))
		p.changes++
		p.then(func() { delete(p.have.chains, name) })
	}
	for _, name := range sets {
		p.add(p.delSet(name))
		p.changes++
		p.then(func() { delete(p.have.sets, name) })
	}
}

// done records what the transaction has made true. Refused objects stay marked: they are compared again next time.
func (p *plan) done() {
	for _, effect := range p.effects {
		effect()
	}
	clear(p.dirtyChains)
	clear(p.dirtySets)
	clear(p.dirtyElements)
	for _, name := range p.later {
		p.dirtyChains[name] = true
	}
}
