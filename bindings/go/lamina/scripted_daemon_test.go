package lamina

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// scriptedDaemon answers the n-th connection with its n-th step, and all further ones with the last.
type scriptedDaemon struct {
	t        *testing.T
	socket   string
	listener net.Listener
	handlers sync.WaitGroup

	mutex    sync.Mutex
	steps    []step
	requests []string // "METHOD TARGET BODY"
	accepted int
}

// step handles one connection, which is closed afterwards.
type step func(d *scriptedDaemon, conn net.Conn)

// newDaemon returns one that listens until the test ends.
func newDaemon(t *testing.T, steps ...step) *scriptedDaemon {
	t.Helper()
	d := &scriptedDaemon{t: t, socket: socketPath(t), steps: steps}
	d.listen()
	t.Cleanup(d.close)
	return d
}

// socketPath returns a path that is short enough for a Unix socket, whatever the test's name is.
func socketPath(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "lamina")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	return filepath.Join(directory, "d.sock")
}

func (d *scriptedDaemon) listen() {
	listener, err := net.Listen("unix", d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	d.listener = listener
	d.handlers.Add(1)
	go func() {
		defer d.handlers.Done()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d.mutex.Lock()
			index := d.accepted
			d.accepted++
			if index >= len(d.steps) {
				index = len(d.steps) - 1
			}
			run := d.steps[index]
			d.mutex.Unlock()
			d.handlers.Add(1)
			go func() {
				defer d.handlers.Done()
				defer conn.Close()
				run(d, conn)
			}()
		}
	}()
}

// close ends what waits, too.
func (d *scriptedDaemon) close() {
	d.listener.Close()
	d.handlers.Wait()
}

// seen returns the requests that were received.
func (d *scriptedDaemon) seen() []string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return append([]string(nil), d.requests...)
}

func (d *scriptedDaemon) connections() int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.accepted
}

// receive reads one request and notes it.
func (d *scriptedDaemon) receive(conn net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return // the client has gone
	}
	body, _ := io.ReadAll(request.Body)
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.requests = append(d.requests, request.Method+" "+request.URL.RequestURI()+" "+string(body))
}

func response(status int, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), len(body), body)
}

// replies receives a request and answers it.
func replies(status int, body string) step {
	return sends(response(status, body))
}

// sends receives a request, sends these bytes and closes the connection.
func sends(bytes string) step {
	return func(d *scriptedDaemon, conn net.Conn) {
		d.receive(conn)
		_, _ = io.WriteString(conn, bytes)
	}
}

// refuses answers with an error of a kind.
func refuses(status int, kind Kind) step {
	return replies(status, fmt.Sprintf(
		`{"error": {"kind": "%s", "message": "what failed", "remedy": "what to do", "notes": ["a note"]}}`, kind))
}

// hangsUp receives a request and closes the connection.
func hangsUp(d *scriptedDaemon, conn net.Conn) { d.receive(conn) }

// waits receives a request, reports that, and leaves it without a reply until the client goes.
func waits(received chan<- struct{}) step {
	return func(d *scriptedDaemon, conn net.Conn) {
		d.receive(conn)
		received <- struct{}{}
		_, _ = io.Copy(io.Discard, conn)
	}
}

// newClient returns a client of a daemon that waits for nothing before it repeats a request.
func newClient(d *scriptedDaemon, options ...Option) *Client {
	c := New(d.socket, options...)
	c.wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return c
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
