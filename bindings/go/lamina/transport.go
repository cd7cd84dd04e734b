package lamina

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// net/http's Transport is not used. It reports a failed write without looking for a reply, but a
// daemon that refuses a connection replies and closes it without reading the request. And it does
// not tell whether the whole request was sent, which decides whether it may be repeated. A
// connection of its own for each request costs little on a Unix socket, and cannot be one that the
// daemon has just closed because it was idle.

// exchange sends one request and returns the status and body of a complete reply. Every error is a
// *TransportError.
func (c *Client) exchange(ctx context.Context, op operation, target string, body []byte) (status int, data []byte, err error) {
	failure := &TransportError{Operation: op.id, Socket: c.socket, onlyReads: op.onlyReads()}
	message, request, err := encode(op, target, body)
	if err != nil {
		failure.Err, failure.malformed = err, true
		return 0, nil, failure
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		failure.Err = prefer(ctx.Err(), causeOf(err))
		return 0, nil, failure
	}
	defer conn.Close()
	if c.checksPeer {
		if err := checkPeer(conn, c.peerUID); err != nil {
			failure.Err, failure.malformed = err, true
			return 0, nil, failure
		}
	}
	stop := closeWhenDone(ctx, conn)
	defer stop()

	// The daemon acts only on whole requests: one that was sent in part was not carried out.
	count, writeError := conn.Write(message)
	failure.Sent = count == len(message)
	status, data, err = c.readReply(conn, request)
	if err == nil {
		return status, data, nil
	}
	failure.malformed = errors.Is(err, errTooLarge)
	failure.Err = prefer(ctx.Err(), causeOf(prefer(writeError, err)))
	return 0, nil, failure
}

// encode returns the bytes of a request.
func encode(op operation, target string, body []byte) ([]byte, *http.Request, error) {
	// An *http.Request with a nil body has no Content-Length; a POST needs one.
	request, err := http.NewRequest(op.method, "http://localhost"+target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	request.Close = true
	request.Header.Set("User-Agent", "lamina-go")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	var message bytes.Buffer
	if err := request.Write(&message); err != nil {
		return nil, nil, err
	}
	return message.Bytes(), request, nil
}

var errTooLarge = errors.New("the reply is too large")

func (c *Client) readReply(conn net.Conn, request *http.Request) (status int, data []byte, err error) {
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the connection was closed without a reply: %w", io.ErrUnexpectedEOF)
		}
		return 0, nil, err
	}
	defer response.Body.Close()
	// Without a length, a reply that was cut off would look complete.
	if response.ContentLength < 0 && !isChunked(response) {
		return 0, nil, errors.New("the reply has no length")
	}
	data, err = io.ReadAll(io.LimitReader(response.Body, c.maxReplyBytes+1))
	if err != nil {
		return 0, nil, fmt.Errorf("the connection was closed within the reply: %w", err)
	}
	if int64(len(data)) > c.maxReplyBytes {
		return 0, nil, fmt.Errorf("%w: more than %d bytes", errTooLarge, c.maxReplyBytes)
	}
	return response.StatusCode, data, nil
}

func isChunked(response *http.Response) bool {
	codings := response.TransferEncoding
	return len(codings) > 0 && codings[0] == "chunked"
}

// closeWhenDone ends reads and writes of the connection when the context is done. The caller calls
// the function that it returns when it needs the connection no more.
func closeWhenDone(ctx context.Context, conn net.Conn) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	finished := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			// A deadline in the past ends what waits. It can fail only if the connection is closed.
			_ = conn.SetDeadline(time.Unix(1, 0))
		case <-finished:
		}
	}()
	return func() { close(finished) }
}

// causeOf returns a network error without the names of sockets, which the caller adds.
func causeOf(err error) error {
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Err
	}
	return err
}

// prefer returns the first error that is not nil.
func prefer(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
