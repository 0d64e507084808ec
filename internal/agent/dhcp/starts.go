package dhcp

import (
	"time"

	"github.com/neutrino-net/neutrino/internal/reconcile"
)

// Bounds of how often one dnsmasq is started. Tenants can ask for a new configuration as often as they like, and each
// takes a restart; what they asked for last is what the next start reads.
const (
	startBurst    = 5
	startInterval = 2 * time.Second
)

// starts bounds the starts of one dnsmasq: a bucket with startBurst tokens that gets one each startInterval, and a pause
// after a start that failed, which doubles each time. The zero value is a full bucket.
type starts struct {
	used   int       // tokens
	filled time.Time // when the bucket got its last token

	pause  time.Duration // after the next failure
	until  time.Time     // no start before, unless the configuration is another one
	failed string        // the hash of the configuration that could not be started
}

// wait says how long the next start has to wait; 0: not at all.
func (b *starts) wait(now time.Time, configuration string) time.Duration {
	b.fill(now)
	var wait time.Duration
	if b.used >= startBurst {
		wait = b.filled.Add(startInterval).Sub(now)
	}
	if configuration == b.failed {
		wait = max(wait, b.until.Sub(now))
	}
	return wait
}

func (b *starts) fill(now time.Time) {
	n := int(now.Sub(b.filled) / startInterval)
	if b.used -= n; b.used <= 0 {
		b.used, b.filled = 0, now
		return
	}
	b.filled = b.filled.Add(time.Duration(n) * startInterval)
}

// begun takes a token.
func (b *starts) begun(now time.Time) {
	b.fill(now)
	b.used++
}

// ended notes how the start went; configuration is the hash of what was started.
func (b *starts) ended(now time.Time, configuration string, err error) {
	if err == nil {
		b.failed, b.pause = "", 0
		return
	}
	b.pause = min(max(reconcile.FirstPause, 2*b.pause), reconcile.LastPause)
	b.failed, b.until = configuration, now.Add(b.pause)
}
