package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
)

// claimsFile keeps the newest claims that were known, by the number of the group: an agent that is started again must not
// take an old claim of its own for the newest.
const claimsFile = "claims.json"

type claims map[uint8]gatewaygroup.Claim

func loadClaims(dir string) (claims, error) {
	all := claims{}
	text, err := os.ReadFile(filepath.Join(dir, claimsFile))
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return claims{}, fmt.Errorf("reading the claims of gateway groups: %w", err)
	}
	return all, nil
}

// save replaces the file if the claims are others than those that it has.
func (c claims) save(dir string, saved claims) error {
	if maps.Equal(c, saved) {
		return nil
	}
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing the claims of gateway groups: %w", err)
	}
	candidate := filepath.Join(dir, "."+claimsFile)
	if err = os.WriteFile(candidate, append(text, '\n'), 0o600); err == nil {
		err = os.Rename(candidate, filepath.Join(dir, claimsFile))
	}
	if err != nil {
		return fmt.Errorf("writing the claims of gateway groups: %w", err)
	}
	return nil
}
