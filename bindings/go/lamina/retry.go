package lamina

import (
	"context"
	"errors"
	"time"
)

// Retry says how often a request is repeated. It is repeated only where docs/api.md says that this is
// safe:
//
//   - The daemon could not be reached, or the request was not sent completely: nothing was begun.
//     So calls outlast a restart of the daemon.
//   - The daemon has too much to do or is stopping (503 busy): nothing was begun.
//   - Something else is at work on the same VM or name (409 busy): docs/api.md says to repeat the
//     request. If a pause was acknowledged by Firecracker before it failed so, it is queued, and the
//     repeated pause completes it first.
//   - The request only reads, and the connection ended without a reply.
//
// It is not repeated if the reply is missing after a request that changes something
// (ErrOutcomeUnknown), after any other error of the daemon, and when the context is done.
type Retry struct {
	// Attempts is how often a request is sent at most. Less than 2: it is not repeated.
	Attempts int
	// Delay is the longest wait before the second attempt. It doubles from attempt to attempt.
	Delay time.Duration
	// MaxDelay limits each wait. 0: no limit.
	MaxDelay time.Duration
}

// DefaultRetry repeats for about two seconds.
var DefaultRetry = Retry{Attempts: 6, Delay: 100 * time.Millisecond, MaxDelay: time.Second}

// delay returns the wait after a failed attempt: between half of the longest one and all of it, so
// that clients that failed together do not come back together.
func (c *Client) delay(attempt int) time.Duration {
	longest := c.retry.Delay
	for i := 1; i < attempt && longest < time.Hour; i++ {
		longest *= 2
	}
	if c.retry.MaxDelay > 0 && longest > c.retry.MaxDelay {
		longest = c.retry.MaxDelay
	}
	if longest <= 1 {
		return longest
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return longest/2 + time.Duration(c.random.Int63n(int64(longest/2)))
}

func waitFor(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
