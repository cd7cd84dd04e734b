// Package lamina is a client of laminad, the daemon that keeps the memory of paused microVMs. It
// speaks the daemon's HTTP API over its Unix socket; docs/api.md describes the API.
//
//	client := lamina.New("/run/laminad/laminad.sock")
//	report, err := client.Pause(ctx, lamina.PauseRequest{APISocket: "/run/vm7/api.sock", Name: "vm7"})
//	if errors.Is(err, lamina.KindNotFound) { … }
//
// The types and the methods of Client are generated from docs/openapi.json. Fields that a newer
// daemon adds to its replies are ignored.
//
// # Long operations
//
// A pause, resume or merge can take minutes, and the daemon answers when it is done. So there is no
// time limit unless the caller sets one, by the context or by WithTimeout. A request that was sent
// is carried out even if the caller stops waiting: the error then is ErrOutcomeUnknown, and
// Client.Events (or a Follower) shows what became of it.
//
// # Errors
//
// An *Error is the daemon's reply. A *TransportError means that there is no reply. Both, and
// ItemError, which is a part of some replies, work with errors.Is and the kinds (KindBusy, …).
//
// # Repeated requests
//
// A request is repeated only if it did not succeed and may be sent again, or if it only reads: see
// Retry.
//
// # Rights
//
// The daemon works with its own rights: paths in requests are paths as its user sees them. They
// should be absolute.
package lamina

//go:generate go run ./internal/generate/command ../../../docs/openapi.json api_generated.go

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// DefaultSocket is where the daemon listens if it was started by its service unit.
	DefaultSocket = "/run/laminad/laminad.sock"
	// maxReplyBytes is far more than the listing of the largest store.
	maxReplyBytes = 256 << 20
)

// Client sends requests to one daemon. Its methods may be called from several goroutines. It keeps
// no connection open and needs no Close.
type Client struct {
	socket        string
	timeout       time.Duration
	retry         Retry
	checksPeer    bool
	peerUID       uint32
	maxReplyBytes int64

	mutex  sync.Mutex // guards random
	random *rand.Rand
	// wait waits between attempts. Tests replace it.
	wait func(ctx context.Context, delay time.Duration) error
}

// Option changes a Client; see New.
type Option func(*Client)

// WithTimeout limits each call whose context has no deadline, including its repetitions. Without
// it there is no limit.
func WithTimeout(limit time.Duration) Option {
	return func(c *Client) { c.timeout = limit }
}

// WithRetry replaces DefaultRetry. WithRetry(Retry{}) repeats nothing.
func WithRetry(retry Retry) Option {
	return func(c *Client) { c.retry = retry }
}

// WithPeerUID sends requests only if the process that listens belongs to this user, as the kernel
// says (SO_PEERCRED). Use it if others can write to the directory of the socket. A systemd socket
// unit listens as root, whatever the daemon's user is.
func WithPeerUID(uid uint32) Option {
	return func(c *Client) { c.checksPeer, c.peerUID = true, uid }
}

// New returns a client of the daemon that listens at a Unix socket. The link STORE/.vms/laminad.sock
// leads to the daemon of a store while it runs. New connects to nothing.
func New(socket string, options ...Option) *Client {
	c := &Client{
		socket:        socket,
		retry:         DefaultRetry,
		maxReplyBytes: maxReplyBytes,
		random:        rand.New(rand.NewSource(time.Now().UnixNano())),
		wait:          waitFor,
	}
	for _, option := range options {
		option(c)
	}
	return c
}

// operation is one request that the daemon has.
type operation struct {
	id, method, path string
}

func (o operation) onlyReads() bool { return o.method == http.MethodGet }

// pathValue is the part of a path that the caller gives.
type pathValue struct {
	name, value string
}

// call sends a request, repeats it where that is safe, and decodes the reply.
func (c *Client) call(ctx context.Context, op operation, parts []pathValue, query url.Values, request, reply any) error {
	target := op.path
	for _, part := range parts {
		if part.value == "" {
			return &Error{Operation: op.id, Kind: KindUsage, Message: fmt.Sprintf("the %s in '%s' is empty", part.name, op.path)}
		}
		target = strings.Replace(target, "{"+part.name+"}", url.PathEscape(part.value), 1)
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return fmt.Errorf("%s: %w", op.id, err)
		}
	}
	if _, hasDeadline := ctx.Deadline(); !hasDeadline && c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	for attempt := 1; ; attempt++ {
		err := c.attempt(ctx, op, target, body, reply)
		if err == nil || attempt >= c.retry.Attempts || !mayRepeat(op, err) {
			return err
		}
		if waitError := c.wait(ctx, c.delay(attempt)); waitError != nil {
			return &TransportError{Operation: op.id, Socket: c.socket, Err: waitError, last: err}
		}
	}
}

func (c *Client) attempt(ctx context.Context, op operation, target string, body []byte, reply any) error {
	status, data, err := c.exchange(ctx, op, target, body)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return errorOf(op, status, data)
	}
	if err := decode(data, reply); err != nil {
		return fmt.Errorf("%s: laminad at '%s' has done it, but its reply cannot be read: %w", op.id, c.socket, err)
	}
	return nil
}

func decode(data []byte, reply any) error {
	switch target := reply.(type) {
	case *string:
		*target = string(data)
		return nil
	case *[]Event:
		events, err := decodeEvents(data)
		*target = events
		return err
	default:
		return json.Unmarshal(data, reply)
	}
}

// errorOf returns the error of a reply whose status is not 200.
func errorOf(op operation, status int, data []byte) error {
	var body errorBody
	if json.Unmarshal(data, &body) != nil || body.Error.Message == "" {
		const shown = 200
		text := bytes.TrimSpace(data)
		if len(text) > shown {
			text = text[:shown]
		}
		return &Error{Operation: op.id, Status: status, Kind: KindFailed,
			Message: fmt.Sprintf("the reply has status %d and no error: %q", status, text)}
	}
	return &Error{
		Operation: op.id,
		Status:    status,
		Kind:      body.Error.Kind,
		Message:   body.Error.Message,
		Remedy:    body.Error.Remedy,
		Notes:     body.Error.Notes,
		Stopping:  body.Error.Stopping,
	}
}
