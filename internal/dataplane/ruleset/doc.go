// Package ruleset keeps a table of nftables as it is wanted, by netlink and by differences: a table of tens of thousands
// of rules and set elements is not written anew because one of them changes.
//
// Read types.go first: chains, rules, sets and their elements, as values. expr.go has the expressions that rules are made
// of, each one typed, so that no text is ever composed. Table (table.go) holds what is wanted and what the kernel has;
// apply.go sends the difference as one transaction: a packet sees the rules before it or the rules after it. conn.go is
// the socket below, read.go reads a table back.
//
// How a fresh process finds its way: each rule carries a comment with a label and a hash of its expressions, so a rule is
// known again without being decoded, and people see in `nft list` what it is for. What is as it should be stays.
//
// Where the kernel can do it (Linux 6.9), the table belongs to the socket of the process that keeps it, and survives it:
// nobody else can flush, change or delete it meanwhile, not even with `nft flush ruleset`. Elsewhere the generation of
// the ruleset tells that somebody has changed something, and the table is compared again.
package ruleset
