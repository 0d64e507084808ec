package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/neutrino-net/neutrino/internal/identity"
	"github.com/neutrino-net/neutrino/internal/nova"
	"github.com/neutrino-net/neutrino/internal/state"
)

// novaOutbox returns what queues the events for Nova with each change; nil where there is no Nova to tell.
func (s *server) novaOutbox() func(*state.Tx, []state.Change) error {
	if s.NovaURL == "" {
		return nil
	}
	return new(nova.Outbox).Derive
}

// openNova makes the notifier of Nova. It logs in at the identity service of the environment, if that names one, and
// otherwise at the embedded one.
func (s *server) openNova(context.Context) error {
	if s.NovaURL == "" {
		return nil
	}
	if u, err := url.Parse(s.NovaURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--nova-url %q is not a URL like http://nova:8774/v2.1", s.NovaURL)
	}
	tokens, err := s.novaTokens()
	if err != nil {
		return err
	}
	s.nova = nova.New(nova.Options{Store: s.store, URL: s.NovaURL, Tokens: tokens, Logger: s.Logger, Metrics: s.registry})
	return nil
}

func (s *server) novaTokens() (nova.TokenSource, error) {
	keystone, err := nova.KeystoneFrom(os.Getenv)
	if err != nil {
		return nil, err
	}
	if keystone != nil {
		return keystone, nil
	}
	embedded, ok := s.authenticator.(*identity.Embedded)
	if !ok {
		return nil, errors.New("--nova-url needs --auth embedded, or a login at Keystone in the environment (OS_AUTH_URL and so on)")
	}
	return embedded.Services(), nil
}
