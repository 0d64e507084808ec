package identity

import (
	"slices"
	"testing"
)

func TestTheServerCallsAsTheServiceUser(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	tokens := c.Services()
	token, err := tokens.Token(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	caller, err := c.Authenticate(t.Context(), token)
	if err != nil || caller.UserName != "service" || caller.ProjectName != "service" || !slices.Equal(caller.Roles, []string{"service"}) {
		t.Errorf("the caller is %+v, %v", caller, err)
	}
	c.as(c.login("admin"), 204, "DELETE", "/v3/users/"+caller.UserID, "")
	if _, err := tokens.Token(t.Context(), true); err == nil {
		t.Error("a token was given for a user who is gone")
	}
}
