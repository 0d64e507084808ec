package nft

import (
	"context"
	"strings"
)

// Keeper keeps tables that never change. One goroutine at a time may use it.
type Keeper struct {
	client *Client
	tables []Table
	drift  func(what string)
	// right is how the kernel tells the tables when they are right. Programs of other versions may print the same rules
	// in another way, so it is what was read after they had been written. Empty: they have not been seen to be right.
	right string
}

// NewKeeper makes a keeper; nothing is touched before Ensure. drift is called when tables that were right had been
// changed by somebody else, and were repaired.
func NewKeeper(client *Client, drift func(what string), tables ...Table) *Keeper {
	return &Keeper{client: client, tables: tables, drift: drift}
}

// Ensure looks at the tables and writes them if they are not as they should be. With an error, nothing is known of them.
func (k *Keeper) Ensure(ctx context.Context) error {
	what := "changed"
	have, err := k.client.List(ctx, k.tables...)
	switch {
	case err != nil: // most of all because one is
		what = "missing"
	case k.right != "" && have == k.right:
		return nil
	case k.right == "" && have == k.text():
		k.right = have // a former process of ours wrote them
		return nil
	}
	if err := k.client.Replace(ctx, k.tables...); err != nil {
		return err
	}
	now, err := k.client.List(ctx, k.tables...)
	if err != nil {
		return err
	}
	if k.right != "" {
		k.drift(what)
	}
	k.right = now
	return nil
}

func (k *Keeper) text() string {
	var all strings.Builder
	for _, t := range k.tables {
		all.WriteString(t.String())
	}
	return all.String()
}
