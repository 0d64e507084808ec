package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// Of linux/netfilter/nfnetlink.h and nf_tables.h.
const (
	groupNFTables  = 7  // NFNLGRP_NFTABLES
	subsysNFTables = 10 // NFNL_SUBSYS_NFTABLES, the upper byte of a message's type
	headerLength   = 4  // struct nfgenmsg: family, version, resource id
	attrTable      = 1  // the name of the table, in the messages of tables, chains, rules and sets alike
)

// families are the numbers of netfilter's families, by the names that nft has for them.
var families = map[string]uint8{"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}

// Watch calls changed when one of the tables was changed by anybody, us included, or may have been. It returns nil when
// ctx ends.
func (c *Client) Watch(ctx context.Context, changed func(), tables ...Table) error {
	var socket *nl.NetlinkSocket
	subscribe := func() (err error) {
		socket, err = nl.Subscribe(unix.NETLINK_NETFILTER, groupNFTables)
		return err
	}
	var err error
	if c.Namespace == nil {
		err = subscribe()
	} else {
		err = netns.Do(c.Namespace, subscribe)
	}
	if err != nil {
		return fmt.Errorf("subscribe to nftables events: %w", err)
	}
	stop := context.AfterFunc(ctx, socket.Close) // wakes up the receiver below
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	changed() // what happened before the subscription was not heard
	for {
		messages, from, err := socket.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			changed()
			continue
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return fmt.Errorf("receive nftables events: %w", err)
		case from.Pid != nl.PidKernel:
			continue // any process may send to the socket
		}
		for _, m := range messages {
			if m.Header.Type>>8 == subsysNFTables && concerns(m.Data, tables) {
				changed()
				break
			}
		}
	}
}

// concerns says whether an event is about one of the tables.
func concerns(data []byte, tables []Table) bool {
	if len(data) < headerLength {
		return false
	}
	return slices.ContainsFunc(tables, func(t Table) bool {
		return families[t.Family] == data[0] && t.Name == tableName(data[headerLength:])
	})
}

// tableName is the value of the attribute with the table's name, or "".
func tableName(attributes []byte) string {
	for b := attributes; len(b) >= unix.SizeofNlAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return ""
		}
		if binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK == attrTable {
			return strings.TrimRight(string(b[unix.SizeofNlAttr:size]), "\x00")
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return ""
}
