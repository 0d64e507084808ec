package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"github.com/neutrino-net/neutrino/internal/fault"
)

const (
	// defaultPasswordCost makes a check take some 50 ms.
	defaultPasswordCost = 10
	// maxPasswordLength is in bytes; bcrypt takes no more.
	maxPasswordLength = 72
	// maxWaiting bounds the checks that wait for a processor: as many as are done in some seconds.
	maxWaiting = 64
	// maxVerified bounds the passwords that are recognised without bcrypt.
	maxVerified = 1024
)

// passwords hashes and checks passwords.
//
// The openstack command asks for a token each time it runs, and bcrypt would add its 50 ms each time. So a password
// that was found right is remembered, as an HMAC of hash and password under a key that lives only in this process. It
// is found again in a microsecond. A wrong password is never remembered and always costs the full time; a changed
// password has another hash, so what was remembered of the old one fits no more.
type passwords struct {
	cost  int
	decoy string
	key   [32]byte
	// slots limits how many processors bcrypt can occupy, whoever asks; queue, how many ask at a time.
	slots, queue chan struct{}

	mu       sync.Mutex
	verified map[[sha256.Size]byte]bool
}

func newPasswords(cost int) *passwords {
	if cost == 0 {
		cost = defaultPasswordCost
	}
	p := &passwords{
		cost: cost,
		// A well-formed hash that no known password has.
		decoy:    fmt.Sprintf("$2a$%02d$%s", cost, strings.Repeat("u", 53)),
		slots:    make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		queue:    make(chan struct{}, maxWaiting),
		verified: map[[sha256.Size]byte]bool{},
	}
	rand.Read(p.key[:])
	return p
}

// hash returns what to keep of a new password.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	if password == "" {
		return "", fault.Input("password", "it may not be empty")
	}
	if len(password) > maxPasswordLength {
		return "", fault.Input("password", "it may not be longer than %d bytes", maxPasswordLength)
	}
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), p.cost)
	if err != nil {
		return "", fmt.Errorf("identity: hash a password: %w", err)
	}
	return string(hash), nil
}

// verify says whether the password is the one of the hash. It works as hard where there is no hash as where there is,
// so that its time does not tell which users exist. It fails only if ctx ends first.
func (p *passwords) verify(ctx context.Context, hash, password string) (bool, error) {
	digest := p.digest(hash, password)
	p.mu.Lock()
	known := p.verified[digest]
	p.mu.Unlock()
	if known {
		return true, nil
	}
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer p.leave()
	against := hash
	if hash == "" || len(password) > maxPasswordLength {
		against = p.decoy
	}
	if bcrypt.CompareHashAndPassword([]byte(against), []byte(password)) != nil || against != hash {
		return false, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.verified) >= maxVerified {
		clear(p.verified) // rare; all come back at the price of one bcrypt each
	}
	p.verified[digest] = true
	return true, nil
}

func (p *passwords) digest(hash, password string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, p.key[:])
	fmt.Fprintf(mac, "%d:%s%s", len(hash), hash, password)
	return [sha256.Size]byte(mac.Sum(nil))
}

// enter waits for a processor. It fails at once when too many wait already: those who come later would only give up.
func (p *passwords) enter(ctx context.Context) error {
	busy := fault.New(fault.Unavailable, "ServiceUnavailable", "Too many passwords are being checked, try again.")
	select {
	case p.queue <- struct{}{}:
		defer func() { <-p.queue }()
	default:
		return busy
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return busy
	}
}

func (p *passwords) leave() { <-p.slots }
