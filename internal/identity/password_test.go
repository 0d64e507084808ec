package identity

import (
	"context"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

func TestTooManyPasswordsAtATimeAreRefusedAtOnce(t *testing.T) {
	p := newPasswords(4)
	for range cap(p.slots) {
		p.slots <- struct{}{} // all processors are busy
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, maxWaiting)
	for range maxWaiting {
		go func() {
			_, err := p.verify(ctx, "", "x")
			waiting <- err
		}()
	}
	testkit.Eventually(t, 10*time.Second, "all wait", func() bool { return len(p.queue) == maxWaiting })
	if _, err := p.verify(t.Context(), "", "x"); fault.As(err) == nil || fault.As(err).Kind != fault.Unavailable {
		t.Errorf("one more than may wait: %v", err)
	}
	cancel()
	for range maxWaiting {
		if err := <-waiting; fault.As(err) == nil {
			t.Errorf("a check whose caller has gone: %v", err)
		}
	}
	p.leave()
	if _, err := p.verify(t.Context(), "", "x"); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

func TestALoginThatANewPasswordOvertakesFails(t *testing.T) {
	c := openCloud(t)
	user := c.id("users", "demo")
	begun := time.Now()
	c.as(c.login("admin"), 200, "PATCH", "/v3/users/"+user, `{"user":{"password":"another one"}}`)
	if token, _, err := c.issue(proof{userID: user, how: byPassword, begun: begun}, scope{}); err == nil {
		t.Errorf("the old password, checked before, gives a token after the change: %q", token)
	}
	if _, _, err := c.issue(proof{userID: user, how: byPassword}, scope{}); err != nil {
		t.Errorf("a login after the change: %v", err)
	}
}
