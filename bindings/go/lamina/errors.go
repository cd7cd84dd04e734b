package lamina

import (
	"errors"
	"fmt"
	"syscall"
)

// Error makes a kind a target for errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is a failure that the daemon has reported. errors.Is(err, KindBusy) compares its kind.
type Error struct {
	// Operation is the operationId of the request in docs/openapi.json: "pause", "resume", …
	Operation string
	// Status is the HTTP status: docs/api.md has a table. 0: the client refused the request.
	Status int
	Kind   Kind
	// Message says what failed, on which object, with which value.
	Message string
	// Remedy says what can be done about it. Empty: unknown.
	Remedy string
	// Notes are for a person, one line each.
	Notes []string
	// Stopping: the daemon is stopping, and nothing was begun.
	Stopping bool
}

func (e *Error) Error() string { return describe(e.Operation+": "+e.Message, e.Remedy) }

// Is compares with a Kind.
func (e *Error) Is(target error) bool {
	kind, ok := target.(Kind)
	return ok && kind == e.Kind
}

// Error makes the failure of one of several snapshots usable as an error.
func (e *ItemError) Error() string { return describe(e.Message, e.Remedy) }

// Is compares with a Kind.
func (e *ItemError) Is(target error) bool {
	kind, ok := target.(Kind)
	return ok && kind == e.Kind
}

func describe(message, remedy string) string {
	if remedy == "" {
		return message
	}
	return message + "; " + remedy
}

// ErrOutcomeUnknown is for errors.Is: the request was sent, but its reply is missing. The daemon may
// have carried it out, may be at it, or may have been killed before it began. Client.Events,
// Client.List and Client.Recover show the outcome. A request that only reads has never this error.
var ErrOutcomeUnknown = errors.New("the outcome of the request is unknown")

// TransportError is a request without a reply. errors.Is finds its cause (context.Canceled,
// syscall.ECONNREFUSED, …), and ErrOutcomeUnknown.
type TransportError struct {
	// Operation is the operationId of the request.
	Operation string
	// Socket is the daemon's.
	Socket string
	// Sent: the whole request was sent. Otherwise nothing was begun.
	Sent bool
	Err  error

	onlyReads bool
	// malformed: the same request would fail in the same way.
	malformed bool
	// last is the failure that was about to be repeated when the wait for that was ended.
	last error
}

func (e *TransportError) Error() string {
	switch {
	case e.last != nil:
		return fmt.Sprintf("%v; waited to repeat it: %v", e.last, e.Err)
	case e.outcomeUnknown():
		return fmt.Sprintf("%s: laminad at '%s': %v; the outcome is unknown: look at the daemon's events, and do not repeat the request before",
			e.Operation, e.Socket, e.Err)
	default:
		return fmt.Sprintf("%s: laminad at '%s': %v", e.Operation, e.Socket, e.Err)
	}
}

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// Is also finds ErrOutcomeUnknown, and the failure that was to be repeated.
func (e *TransportError) Is(target error) bool {
	if target == ErrOutcomeUnknown {
		return e.outcomeUnknown()
	}
	return e.last != nil && errors.Is(e.last, target)
}

// As also finds the failure that was to be repeated.
func (e *TransportError) As(target any) bool {
	if _, same := target.(**TransportError); same {
		return false
	}
	return e.last != nil && errors.As(e.last, target)
}

func (e *TransportError) outcomeUnknown() bool { return e.Sent && !e.onlyReads && e.last == nil }

// mayRepeat tells whether a failed request may be sent again: it was not carried out, or it
// only reads; and another attempt may succeed. docs/api.md says what the statuses promise.
func mayRepeat(op operation, err error) bool {
	var reply *Error
	if errors.As(err, &reply) {
		// 409 busy: "repeat the request". 503 busy: nothing was started. 503 interrupted is not
		// among them: an operation that was cut off after its beginning has that kind too.
		const conflict, unavailable = 409, 503
		return reply.Kind == KindBusy && (reply.Status == conflict || reply.Status == unavailable)
	}
	var transport *TransportError
	if !errors.As(err, &transport) || transport.malformed || isContextError(err) {
		return false
	}
	if transport.Sent {
		return op.onlyReads()
	}
	// The daemon restarts (no socket, or nobody listens), has no room for the connection, or has
	// closed it before the request was sent.
	for _, one := range []syscall.Errno{syscall.ENOENT, syscall.ECONNREFUSED, syscall.EAGAIN,
		syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}
