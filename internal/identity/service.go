package identity

import (
	"context"
	"fmt"
)

// serviceAccount is the name of the user, and of its project, as which the server itself calls other services.
const serviceAccount = "service"

// Services gives tokens for calls to other services of the cloud.
type Services struct{ identity *Embedded }

// Services returns the source of such tokens. They belong to the user service, in the project service; what they allow is
// decided by the roles that this user has there, as with everybody.
func (e *Embedded) Services() Services { return Services{e} }

// Token returns a new token; there is nothing to renew.
func (s Services) Token(context.Context, bool) (string, error) {
	d := s.identity.current.Load()
	userID := d.userNames[name{defaultDomainID, serviceAccount}]
	home := scope{projectScope, d.projectNames[name{defaultDomainID, serviceAccount}]}
	token, _, err := s.identity.issue(proof{userID: userID, how: byPassword}, home)
	if err != nil {
		return "", fmt.Errorf("identity: the user %s has no role in the project %s: %w", serviceAccount, serviceAccount, err)
	}
	return token, nil
}
